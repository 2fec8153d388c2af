//! Delivery of events to connections: from the live topic, the window and the log.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::BrokerError;
use fanfare_broker::backoff::Backoff;
use fanfare_broker::clock::unix_ms;
use fanfare_broker::log::Page;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Position};

use super::{Timer, Writer};
use crate::config::bytes;
use crate::connection::{State, Turned};
use crate::delivery::{Delivery, Kept};
use crate::hub::reads::{Answer, Ask, TopicKey};
use crate::hub::topic::{Member, Read};
use crate::metrics::Doubt;
use crate::throttle::Throttle;

/// First and longest time before a failed read is retried.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// Maximum number of concurrent log reads for one connection, and so of pages that wait for one client.
const READS_AT_ONCE: u32 = 4;

impl Writer {
    /// Handles an event of a live topic.
    pub(super) fn deliver(&mut self, delivery: Arc<Delivery>) {
        let Some(&at) = self.by_channel.get(&delivery.channel) else { return };
        if let Some(kept) = delivery.kept {
            if self.topics[at].is_ahead(kept, self.reads.latest(self.around.now)) {
                return self.look(at, Doubt::Ahead);
            }
            if self.topics[at].contradicts(kept) {
                self.topics[at].doubt(kept);
                self.tell_doubt(at, Doubt::Chain);
                self.repair(at);
            } else if self.topics[at].is_stray(kept) {
                self.tell_doubt(at, Doubt::Chain);
            }
            let topic = &mut self.topics[at];
            topic.told(kept.position);
            let settings = &self.around.settings;
            let most = bytes(settings.recent_bytes);
            // A window set by a log read may be ahead of the live topic, but other connections still need this event.
            topic.window.add(kept, &delivery, settings.recent_events, most);
        }
        self.begin_offering(delivery, at);
    }

    /// Ignores a suspect live event, and lets every connection read the log: if the event is genuine, it is read
    /// there.
    fn look(&mut self, at: usize, doubt: Doubt) {
        let topic = &mut self.topics[at];
        topic.unsettle(topic.heard);
        self.tell_doubt(at, doubt);
        self.repair(at);
    }

    /// Counts and logs a suspect live event. After a failover, or after events of this shard were dropped, a genuine
    /// event may look forged: the log decides.
    fn tell_doubt(&self, at: usize, doubt: Doubt) {
        static LOG: Throttle = Throttle::of_events();
        self.around.metrics.count_doubt(doubt);
        if let Some(held_back) = LOG.admit() {
            let (channel, why) = (&self.topics[at].channel, doubt.as_str());
            tracing::warn!(%channel, why, held_back, "suspect live event: forged, or Redis lost data; checking the log");
        }
    }

    /// Completes the fan-out of an event.
    pub(super) fn offered(&mut self, topic: TopicKey, delivery: &Delivery) {
        if self.topic(topic).is_none_or(|topic| topic.members.is_empty()) {
            return;
        }
        self.forget_window(topic.0);
        if let Some(kept) = delivery.kept {
            self.fresh.push_back((self.written_then(), kept.position.ms));
        }
    }

    /// Shrinks the window of a channel whose only connection is live to its tip. A window serves connections that are
    /// behind and new ones; most channels have one live connection, and their windows would use most of the memory.
    fn forget_window(&mut self, at: usize) {
        let topic = &mut self.topics[at];
        if let [only] = topic.members[..]
            && self.seats[only.connection].connection.follows[only.index].state == State::Live
        {
            topic.window.shrink();
        }
    }

    /// Handles the confirmation of a subscription. Events that were published before are in the log.
    pub(super) fn followed(&mut self, channel: &Channel) {
        let Some(&at) = self.by_channel.get(channel) else { return };
        self.topics[at].unsettle(true);
        self.repair(at);
        // The broker is available again: failed reads are retried at once.
        let key = (at, self.topics[at].serial);
        let failed = self.topics[at].reads.iter().filter(|(_, read)| !read.asked).map(|(ask, _)| *ask);
        for ask in failed.collect::<Vec<_>>() {
            self.ask_again(key, ask);
        }
    }

    /// Handles the loss of the subscriber connection. Connections do not change until their channels are subscribed
    /// again.
    pub(super) fn lost(&mut self) {
        for (_, topic) in &mut self.topics {
            topic.unsettle(false);
        }
    }

    /// Handles dropped events of this shard: all channels may have missing events.
    pub(super) fn repair_all(&mut self) {
        let keys: Vec<usize> = self.topics.iter().map(|(key, _)| key).collect();
        for at in keys {
            let heard = self.topics[at].heard;
            self.topics[at].unsettle(heard);
            self.repair(at);
        }
    }

    /// Lets every connection of a topic catch up from the log. Connections at the same position share the read.
    fn repair(&mut self, at: usize) {
        for place in 0..self.topics[at].members.len() {
            let Member { connection: key, index } = self.topics[at].members[place];
            let connection = &mut self.seats[key].connection;
            if connection.follows[index].state == State::Live {
                connection.set_state(index, State::Behind);
                self.advance(key);
            }
        }
    }

    /// Continues the catch-up of a connection, if its client has received all queued data.
    pub(super) fn advance(&mut self, key: usize) {
        let connection = &self.seats[key].connection;
        if connection.locating == 0 && connection.wants_more() {
            self.catch_up(key);
        }
    }

    /// Continues the catch-up in one channel after another, within the limit of pages for one client.
    pub(super) fn catch_up(&mut self, key: usize) {
        for _ in 0..self.seats[key].connection.follows.len() {
            let connection = &mut self.seats[key].connection;
            if connection.behind == 0
                || connection.reading >= READS_AT_ONCE
                || connection.is_full(&self.around)
            {
                return;
            }
            let index = connection.next_behind % connection.follows.len();
            connection.next_behind = index + 1;
            if connection.follows[index].state == State::Behind {
                self.step(key, index);
            }
        }
    }

    /// Makes a connection live with the window, or starts a log read.
    fn step(&mut self, key: usize, index: usize) {
        let connection = &mut self.seats[key].connection;
        let following = &connection.follows[index];
        let (at, position, awaits_log) = (following.topic, following.position, following.awaits_log());
        // The log is read once the channel is subscribed. Before that, there would probably be nothing.
        if connection.follows[index].takes_tip() && !self.topics[at].heard {
            connection.set_state(index, State::Live);
            return;
        }
        let rest = self.topics[at].window.after(position).filter(|_| !awaits_log);
        if rest.map(|rest| connection.take_entries(index, rest, &self.around)).is_some() {
            connection.set_state(index, State::Live);
            self.mark(key);
            return;
        }
        connection.set_state(index, State::Reading);
        self.ask(at, Ask::Page(position), Member { connection: key, index });
    }

    /// Starts a log read, or joins a pending one with the same query.
    pub(super) fn ask(&mut self, at: usize, ask: Ask, member: Member) {
        let connection = &self.seats[member.connection].connection;
        let (waiting, asker) = ((member, connection.serial), connection.identity.asker(&self.askers));
        let awaits_log = connection.follows[member.index].awaits_log();
        let topic = &mut self.topics[at];
        let key = (at, topic.serial);
        if let Some(read) = topic.reads.get_mut(&ask) {
            if awaits_log && read.sent {
                read.late.push(waiting);
                return;
            }
            self.around.metrics.reads_shared.inc();
            read.waiting.push(waiting);
            // The read starts when it is the turn of any of its askers.
            if read.asked && !read.sent && read.asker != asker {
                self.reads.ask(key, ask, asker);
            }
            return;
        }
        let read = Read {
            version: topic.version,
            waiting: vec![waiting],
            asked: true,
            sent: false,
            asker,
            late: Vec::new(),
            backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST),
        };
        topic.reads.insert(ask, read);
        self.reads.ask(key, ask, asker);
    }

    /// Handles the result of a log read.
    pub(super) fn answered(&mut self, key: TopicKey, ask: Ask, answer: Result<Answer, BrokerError>) {
        let Some(mut read) = self.topic(key).and_then(|topic| topic.reads.remove(&ask)) else { return };
        let late = std::mem::take(&mut read.late);
        match (answer, ask) {
            (Ok(Answer::Page(page)), _) => self.page(key.0, read, &page),
            (Ok(Answer::Located(position)), _) => self.located(key.0, ask, read, position),
            // Locating fails until an operator fixes the log: start this channel now, so that it does not block
            // others.
            (Err(error), Ask::Locate(_)) if !error.is_passing() => {
                self.tell_failure(key, &error);
                self.located(key.0, ask, read, Position::new(unix_ms(), 0));
            }
            (Err(error), _) => {
                read.waiting.extend(late);
                return self.failed(key, ask, read, &error);
            }
        }
        for (member, serial) in late {
            if self.connection(member, serial).is_some_and(|connection| connection.is_reading(member.index)) {
                self.ask(key.0, ask, member);
            }
        }
    }

    fn page(&mut self, at: usize, read: Read, page: &Page) {
        let topic = &mut self.topics[at];
        if page.malformed > 0 {
            static LOG: Throttle = Throttle::of_events();
            self.around.metrics.log_malformed.inc_by(page.malformed as u64);
            if let Some(held_back) = LOG.admit() {
                let (channel, entries) = (&topic.channel, page.malformed);
                tracing::warn!(%channel, entries, held_back, "skipped malformed log entries");
            }
        }
        let fork = topic.fork(page);
        // Nothing arrived since the read started: the page's end is the channel's end. If the channel is not
        // subscribed yet, every connection of the topic reads the log again once it is.
        let is_refuted = topic.read(page.last, read.version);
        topic.hints = self.reads.hints(page);
        let channel = topic.channel.clone();
        let entries: Vec<(Kept, Arc<Delivery>)> = page
            .entries
            .iter()
            .map(|entry| {
                let kept = Kept { position: entry.position, previous: entry.previous };
                (kept, Delivery::kept(&channel, entry))
            })
            .collect();
        for (member, serial) in read.waiting {
            self.turn_page((at, read.version), (member, serial), (&channel, page, &entries), fork);
        }
        if is_refuted {
            self.refuted(at);
        }
    }

    /// Handles a live event that the log does not have: connections that received it read the log.
    fn refuted(&mut self, at: usize) {
        self.tell_doubt(at, Doubt::Log);
        self.repair(at);
    }

    /// Delivers a page of a topic to one connection. `version` is the topic's version when the read started.
    fn turn_page(
        &mut self,
        (at, version): (usize, u64),
        (member, serial): (Member, u64),
        page: (&Channel, &Page, &[(Kept, Arc<Delivery>)]),
        fork: Option<Position>,
    ) {
        let Member { connection: key, index } = member;
        let Some(seat) = self.seats.get_mut(key).filter(|seat| seat.connection.serial == serial) else {
            return;
        };
        let connection = &mut seat.connection;
        let state = connection.follows.get(index).map(|following| following.state);
        if connection.ending.is_some() || !matches!(state, Some(State::Reading | State::Stalled)) {
            return;
        }
        // After a failed log recovers, more channels may complete at once than may be queued.
        let fits = state == Some(State::Reading) || !connection.is_full(&self.around);
        let mut turned = Turned { at_end: false, back: false };
        if fits {
            turned = connection.take_page(index, page, fork, &self.around);
        }
        let current = self.topics[at].version == version;
        connection.set_state(index, if turned.at_end && current { State::Live } else { State::Behind });
        self.mark(key);
        if turned.back && self.topics[at].went_back(page.1) {
            let heard = self.topics[at].heard;
            self.topics[at].unsettle(heard);
            self.repair(at);
        }
        self.advance(key);
    }

    fn located(&mut self, at: usize, ask: Ask, read: Read, position: Position) {
        let topic = &mut self.topics[at];
        // A channel that is not subscribed yet is read once it is. Until then there is nothing to read.
        let is_refuted = ask == Ask::Locate(StartAt::Latest) && topic.read(position, read.version);
        for (member, serial) in read.waiting {
            let Some(connection) = self.connection(member, serial) else { continue };
            if connection.ending.is_none() && connection.follows[member.index].state == State::Locating {
                connection.located(member.index, position);
                self.greet(member.connection);
            }
        }
        if is_refuted {
            self.refuted(at);
        }
    }

    fn failed(&mut self, key: TopicKey, ask: Ask, mut read: Read, error: &BrokerError) {
        if !read.backoff.is_failing() {
            self.tell_failure(key, error);
        }
        self.around.metrics.reads_failed.inc();
        let seats = &self.seats;
        read.waiting.retain(|(member, serial)| {
            seats.get(member.connection).is_some_and(|seat| seat.connection.serial == *serial)
        });
        // Channels that can be read must not wait for one that cannot.
        for &(member, serial) in &read.waiting {
            if let Some(connection) = self.connection(member, serial)
                && connection
                    .follows
                    .get(member.index)
                    .is_some_and(|following| following.state == State::Reading)
            {
                connection.set_state(member.index, State::Stalled);
                self.advance(member.connection);
            }
        }
        let Some(topic) = self.topic(key).filter(|_| !read.waiting.is_empty()) else { return };
        let pause = read.backoff.fail();
        (read.asked, read.sent) = (false, false);
        topic.reads.insert(ask, read);
        self.timers.insert(Timer::Retry(key, ask), pause);
    }

    fn tell_failure(&mut self, key: TopicKey, error: &BrokerError) {
        static LOG: Throttle = Throttle::of_events();
        if let Some(topic) = self.topic(key)
            && let Some(held_back) = LOG.admit()
        {
            tracing::warn!(channel = %topic.channel, %error, held_back, "failed to read a log; retrying");
        }
    }

    /// Retries a failed read, unless it was retried meanwhile.
    pub(super) fn ask_again(&mut self, key: TopicKey, ask: Ask) {
        let read = self.topic(key).and_then(|topic| topic.reads.get_mut(&ask));
        if let Some(read) = read.filter(|read| !read.asked) {
            read.asked = true;
            let asker = read.asker;
            self.reads.ask(key, ask, asker);
        }
    }
}
