//! Log reads of a shard: their start, their retries, and delivery of the pages that they return.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::BrokerError;
use fanfare_broker::backoff::Backoff;
use fanfare_broker::clock::unix_ms;
use fanfare_broker::log::Page;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Position};
use fanfare_telemetry::Throttle;

use super::{Shard, Timer};
use crate::connection::{ChannelState, PageOutcome};
use crate::encoded_event::{ChainLink, EncodedEvent};
use crate::log_reads::{LogQuery, LogResult, TopicKey};
use crate::topic::{PendingRead, Subscriber};

/// First and longest time before a failed read is retried.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

impl Shard {
    /// Starts a log read, or joins a pending one with the same query.
    pub(super) fn read_log(&mut self, at: usize, query: LogQuery, subscriber: Subscriber) {
        let connection = &self.slots[subscriber.connection].connection;
        let (waiting, requester) =
            ((subscriber, connection.serial()), connection.identity().requester(&self.requester_hash));
        let subscription = connection.subscription(subscriber.index);
        let is_check = matches!(query, LogQuery::Page(after) if after != subscription.position);
        // A page that was read before a rollback does not show it.
        let awaits_log = subscription.awaits_log() || is_check;
        let topic = &mut self.topics[at];
        let key = (at, topic.serial);
        if let Some(read) = topic.reads.get_mut(&query) {
            if awaits_log && read.started {
                read.late.push(waiting);
                return;
            }
            self.context.metrics.reads_shared.inc();
            read.waiting.push(waiting);
            // The read starts when it is the turn of any of its requesters.
            if read.queued && !read.started && read.requester != requester {
                self.reads.enqueue(key, query, requester);
            }
            return;
        }
        let read = PendingRead {
            version: topic.version,
            waiting: vec![waiting],
            queued: true,
            started: false,
            requester,
            late: Vec::new(),
            backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST),
        };
        topic.reads.insert(query, read);
        self.reads.enqueue(key, query, requester);
    }

    /// Handles the result of a log read.
    pub(super) fn read_finished(
        &mut self,
        key: TopicKey,
        query: LogQuery,
        result: Result<LogResult, BrokerError>,
    ) {
        let Some(mut read) = self.topic(key).and_then(|topic| topic.reads.remove(&query)) else { return };
        let late = std::mem::take(&mut read.late);
        match (result, query) {
            (Ok(LogResult::Page(page)), _) => self.page(key.0, query, read, &page),
            (Ok(LogResult::Located(position)), _) => self.located(key.0, query, read, position),
            // Locating fails until an operator fixes the log: start this channel now, so that it does not block
            // others.
            (Err(error), LogQuery::Locate(_)) if !error.is_passing() => {
                self.log_failure(key, &error);
                self.located(key.0, query, read, Position::new(unix_ms(), 0));
            }
            (Err(error), _) => {
                read.waiting.extend(late);
                return self.failed(key, query, read, &error);
            }
        }
        for (subscriber, serial) in late {
            if self
                .connection(subscriber, serial)
                .is_some_and(|connection| connection.is_reading(subscriber.index))
            {
                self.read_log(key.0, query, subscriber);
            }
        }
    }

    fn page(&mut self, at: usize, query: LogQuery, read: PendingRead, page: &Page) {
        let topic = &mut self.topics[at];
        // Nothing arrived since the read started: the page's end is the channel's end. If the channel is not
        // subscribed yet, every connection of the topic reads the log again once it is.
        let is_refuted = topic.record_read(page.last, read.version);
        topic.hints = self.reads.hints(page);
        let channel = topic.channel.clone();
        let entries: Vec<(ChainLink, Arc<EncodedEvent>)> = page
            .entries
            .iter()
            .map(|entry| {
                let link = ChainLink { position: entry.position, previous: entry.previous };
                (link, EncodedEvent::stored(&channel, entry))
            })
            .collect();
        for (subscriber, serial) in read.waiting {
            self.turn_page((at, read.version), query, (subscriber, serial), (&channel, page, &entries));
        }
        if is_refuted {
            self.refuted(at);
        }
    }

    /// Delivers a page of a topic to one connection. `version` is the topic's version when the read started.
    fn turn_page(
        &mut self,
        (at, version): (usize, u64),
        query: LogQuery,
        (subscriber, serial): (Subscriber, u64),
        page: (&Channel, &Page, &[(ChainLink, Arc<EncodedEvent>)]),
    ) {
        let Subscriber { connection: key, index } = subscriber;
        let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.connection.serial() == serial) else {
            return;
        };
        let connection = &mut slot.connection;
        let state = connection.state(index);
        if !connection.is_open() || !matches!(state, Some(ChannelState::Reading | ChannelState::Stalled)) {
            return;
        }
        // After a failed log recovers, more channels may complete at once than may be queued.
        let fits = state == Some(ChannelState::Reading) || !connection.is_full(&self.context);
        let mut outcome = PageOutcome::default();
        if fits {
            self.context.enter(self.topics[at].namespace);
            let (topic, position) = (&mut self.topics[at], connection.subscription(index).position);
            outcome = match query {
                LogQuery::Page(fork) if fork != position => {
                    if topic.confirm_fork(fork, position, page.1) {
                        connection.rewind(index, fork, page, &self.context)
                    } else {
                        // The log is read again from the connection's position.
                        outcome
                    }
                }
                _ => connection.queue_page(index, page, topic.fork(position), &self.context),
            };
        }
        if let Some(fork) = outcome.check {
            connection.set_state(index, ChannelState::Reading, &self.context);
            return self.read_log(at, LogQuery::Page(fork), subscriber);
        }
        let current = self.topics[at].version == version;
        let state = if outcome.at_end && current { ChannelState::Live } else { ChannelState::Behind };
        connection.set_state(index, state, &self.context);
        self.mark(key);
        self.observe_live(key);
        if outcome.back && self.topics[at].went_back(page.1) {
            let subscribed = self.topics[at].subscribed;
            self.topics[at].invalidate(subscribed);
            self.repair(at);
        }
        self.advance(key);
    }

    fn located(&mut self, at: usize, query: LogQuery, read: PendingRead, position: Position) {
        let topic = &mut self.topics[at];
        // A channel that is not subscribed yet is read once it is. Until then there is nothing to read.
        let is_refuted =
            query == LogQuery::Locate(StartAt::Latest) && topic.record_read(position, read.version);
        for (subscriber, serial) in read.waiting {
            let Some(connection) = self.connection(subscriber, serial) else { continue };
            if connection.is_open() && connection.state(subscriber.index) == Some(ChannelState::Locating) {
                self.start_at(subscriber, position);
                self.greet(subscriber.connection);
            }
        }
        if is_refuted {
            self.refuted(at);
        }
    }

    fn failed(&mut self, key: TopicKey, query: LogQuery, mut read: PendingRead, error: &BrokerError) {
        if !read.backoff.is_failing() {
            self.log_failure(key, error);
        }
        self.context.metrics.reads_failed.inc();
        let slots = &self.slots;
        read.waiting.retain(|(subscriber, serial)| {
            slots.get(subscriber.connection).is_some_and(|slot| slot.connection.serial() == *serial)
        });
        // Channels that can be read must not wait for one that cannot.
        for &(subscriber, serial) in &read.waiting {
            if let Some(connection) = self.connection(subscriber, serial)
                && connection.state(subscriber.index) == Some(ChannelState::Reading)
            {
                let Subscriber { connection: at, index } = subscriber;
                self.slots[at].connection.set_state(index, ChannelState::Stalled, &self.context);
                self.advance(at);
            }
        }
        let Some(topic) = self.topic(key).filter(|_| !read.waiting.is_empty()) else { return };
        let pause = read.backoff.fail();
        (read.queued, read.started) = (false, false);
        topic.reads.insert(query, read);
        self.timers.insert(Timer::Retry(key, query), pause);
    }

    fn log_failure(&mut self, key: TopicKey, error: &BrokerError) {
        static LOG: Throttle = Throttle::of_events();
        if let Some(topic) = self.topic(key)
            && let Some(held_back) = LOG.admit()
        {
            tracing::warn!(channel = %topic.channel, %error, held_back, "failed to read a log; retrying");
        }
    }

    /// Retries a failed read, unless it was retried meanwhile.
    pub(super) fn retry_read(&mut self, key: TopicKey, query: LogQuery) {
        let read = self.topic(key).and_then(|topic| topic.reads.get_mut(&query));
        if let Some(read) = read.filter(|read| !read.queued) {
            read.queued = true;
            let requester = read.requester;
            self.reads.enqueue(key, query, requester);
        }
    }
}
