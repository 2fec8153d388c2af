//! Fan-out of one event to the connections of its topic.
//!
//! If no other messages are queued, each connection is written to as soon as the event is queued for it: the
//! connection is in the processor's caches then, and on a busy channel fetching it twice would cost more than
//! everything else. If more events are queued, they are first queued for all connections, so that several leave in
//! one write.

use std::hint::black_box;
use std::sync::Arc;
use std::task::Context;

use super::Writer;
use crate::connection::Taken;
use crate::delivery::Delivery;
use crate::hub::reads::TopicKey;
use crate::hub::topic::Member;

/// Bytes that are compressed in the time in which an event is delivered to one more connection.
const PACKED_AN_OFFER: usize = 10;

/// Number of connections that are prefetched at a time.
const AHEAD: usize = 16;

/// An unfinished fan-out: an event that was delivered to some connections of its topic.
pub(super) struct Offering {
    delivery: Arc<Delivery>,
    topic: TopicKey,
    /// Members before this index have received the event.
    place: usize,
}

impl Writer {
    /// Starts the fan-out of an event to the connections of the topic at `at`.
    pub(super) fn begin_offering(&mut self, delivery: Arc<Delivery>, at: usize) {
        let topic = (at, self.topics[at].serial);
        self.offering = Some(Offering { delivery, topic, place: 0 });
    }

    /// Continues the fan-out, if there is one. `writes` is the number of connections that may be written to, and is
    /// reduced accordingly. Returns the number of deliveries, with compression counted in, or `None` if it must
    /// continue later.
    pub(super) fn offer(&mut self, writes: &mut usize) -> Option<usize> {
        // If more events are queued, they leave in the same write.
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

    /// Prefetches the next connections. Between two writes nothing of a connection is in the processor's caches; this
    /// fetches several of them in parallel.
    fn fetch_ahead(&self, at: usize) {
        let place = self.offering.as_ref().map_or(0, |offering| offering.place);
        let ahead = self.topics[at].members.iter().skip(place).take(AHEAD);
        black_box(
            ahead.map(|member| self.seats[member.connection].connection.fetch()).fold(0, usize::wrapping_add),
        );
    }

    /// Returns the next member. The topic may be gone by now.
    fn next_member(&mut self, topic: TopicKey) -> Option<Member> {
        let place = self.offering.as_ref()?.place;
        self.topic(topic)?.members.get(place).copied()
    }

    /// Delivers an event to one connection, and writes it if `at_once`.
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
                // A blocked connection is woken when it can write.
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

    /// Removes a member of a topic. Another member moves to its index.
    pub(super) fn remove_member(&mut self, at: usize, place: usize) {
        let mut place = place;
        // No member may move among those that have received the event without having received it.
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

    /// Stores a member's index in its connection.
    fn note_place(&mut self, at: usize, place: usize) {
        if let Some(&member) = self.topics[at].members.get(place)
            && let Some(following) = self.seats[member.connection].connection.follows.get_mut(member.index)
        {
            following.place = place;
        }
    }
}
