//! One event on its way to the members of its topic.
//!
//! While nothing else waits, each member is written to as soon as it has taken the event: what a connection is made of
//! is in the processor's caches then, and on a busy channel fetching it twice would cost more than anything else we do.
//! If more events wait, they are offered to everybody first, so that several leave in one write.

use std::hint::black_box;
use std::sync::Arc;
use std::task::Context;

use super::Writer;
use crate::connection::Taken;
use crate::delivery::Delivery;
use crate::hub::reads::TopicKey;
use crate::hub::topic::Member;

/// How many bytes are compressed in the time in which an event is offered to one more member.
const PACKED_AN_OFFER: usize = 10;

/// How many members are fetched from memory at a time.
const AHEAD: usize = 16;

/// An event that was offered to some members of its topic, but not to all yet.
pub(super) struct Offering {
    delivery: Arc<Delivery>,
    topic: TopicKey,
    /// Members before this place have had it.
    place: usize,
}

impl Writer {
    /// Begins to offer an event to the members of the topic at `at`.
    pub(super) fn begin_offering(&mut self, delivery: Arc<Delivery>, at: usize) {
        let topic = (at, self.topics[at].serial);
        self.offering = Some(Offering { delivery, topic, place: 0 });
    }

    /// Goes on with the offering, if there is one. `writes` is how many connections may be written to, and becomes
    /// what is left of it. Answers to how many it was offered, compression counted in, or none if it must go on later.
    pub(super) fn offer(&mut self, writes: &mut usize) -> Option<usize> {
        // Those that come behind leave in the same write.
        let at_once = self.messages.is_empty();
        let Some(offering) = &self.offering else { return Some(0) };
        let (delivery, topic) = (Arc::clone(&offering.delivery), offering.topic);
        let mut offers = 0;
        while let Some(member) = self.next_member(topic) {
            if at_once && *writes == 0 {
                return None;
            }
            if at_once && offers % AHEAD == 0 {
                self.fetch_ahead(topic.0);
            }
            if let Some(offering) = &mut self.offering {
                offering.place += 1;
            }
            offers += 1;
            self.offer_to(member, &delivery, at_once, writes);
        }
        self.offering = None;
        self.offered(topic, &delivery);
        Some(offers + delivery.packed_bytes() / PACKED_AN_OFFER)
    }

    /// Reads a little of the members to come. Between two writes nothing of a connection is in the processor's caches;
    /// what several need is fetched side by side so, and not one after another.
    fn fetch_ahead(&self, at: usize) {
        let place = self.offering.as_ref().map_or(0, |offering| offering.place);
        let ahead = self.topics[at].members.iter().skip(place).take(AHEAD);
        black_box(
            ahead.map(|member| self.seats[member.connection].connection.fetch()).fold(0, usize::wrapping_add),
        );
    }

    /// Who is offered the event next. The topic may be gone by now.
    fn next_member(&mut self, topic: TopicKey) -> Option<Member> {
        let place = self.offering.as_ref()?.place;
        self.topic(topic)?.members.get(place).copied()
    }

    /// Offers an event to one member, and writes it if it is to be written at once.
    fn offer_to(&mut self, member: Member, delivery: &Arc<Delivery>, at_once: bool, writes: &mut usize) {
        let Member { connection: key, index } = member;
        let Some(seat) = self.seats.get_mut(key) else { return };
        let connection = &mut seat.connection;
        match connection.take_live(index, delivery, &self.around) {
            Taken::Next if at_once && connection.is_drained() && !connection.clock.is_blocked() => {
                *writes -= 1;
                let cx = &mut Context::from_waker(&seat.waker);
                let flushed = connection.send((index, delivery), &self.around, &mut self.scratch, cx);
                self.after_write(key, false, flushed);
            }
            Taken::Next => {
                connection.queue_event(index, delivery, &self.around);
                // One that is blocked says when it takes more.
                if connection.clock.is_blocked() {
                    connection.count_waiting(&self.around);
                } else {
                    self.mark(key);
                }
            }
            Taken::Behind => self.advance(key),
            Taken::Passed => {}
        }
    }

    /// Takes the member at a place out of a topic. Another one moves to its place.
    pub(super) fn remove_member(&mut self, at: usize, place: usize) {
        let mut place = place;
        // Nobody may move to those who have had the event without having had it.
        if let Some(offering) = &mut self.offering
            && offering.topic == (at, self.topics[at].serial)
            && place < offering.place
        {
            offering.place -= 1;
            let last = offering.place;
            self.topics[at].members.swap(place, last);
            self.note_place(at, place);
            place = last;
        }
        self.topics[at].members.swap_remove(place);
        self.note_place(at, place);
    }

    /// Tells the member at a place where it is.
    fn note_place(&mut self, at: usize, place: usize) {
        if let Some(&member) = self.topics[at].members.get(place)
            && let Some(following) = self.seats[member.connection].connection.follows.get_mut(member.index)
        {
            following.place = place;
        }
    }
}
