//! One shard: owns its connections exclusively, so that nothing about them is locked or shared.
//!
//! A shard is one task. Each pass takes the queued messages, queues events for the connections, and then writes once to
//! each connection with queued data, so that several events leave in one write.
//!
//! # Layout
//!
//! - `event_loop`: the event loop
//! - `open_close`: opening and closing of connections
//! - `live`: events of live topics, and what makes one suspect
//! - `fan_out`: fan-out of one event to the connections of its topic
//! - `catch_up`: connections that are behind, from the window or from the log
//! - `pages`: log reads, and delivery of their pages
//! - `tokens`: streams whose tokens are revoked or replaced
//! - `drain`: closing of all streams in waves

mod catch_up;
mod drain;
mod event_loop;
mod fan_out;
mod live;
mod open_close;
mod pages;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use fanfare_broker::session::CloseReason;
use fanfare_protocol::{Channel, TraceParent};
use foldhash::fast::RandomState;
use slab::Slab;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue;

use self::drain::Drain;
use self::fan_out::FanOut;

use crate::connection::{Connection, ShardContext};
use crate::inbox::{Inbox, Message};
use crate::log_reads::{LogQuery, LogReads, TopicKey};
use crate::ready_list::{ConnectionWaker, ReadyList};
use crate::stream::Identity;
use crate::subscription_table::SubscriptionTable;
use crate::topic::{Subscriber, Topic};

/// Purpose of a timer.
#[derive(Clone, Copy, Debug)]
enum Timer {
    /// Check a connection's deadlines.
    Connection(usize),
    /// Retry a log read.
    Retry(TopicKey, LogQuery),
    /// Drop a topic that still has no connections.
    Unsubscribe(TopicKey),
    /// Forget a topic's fork if it is old.
    ForgetFork(TopicKey),
    /// The next wave of a drain.
    Wave,
}

/// A connection, with the shard's state of it.
struct ConnectionSlot {
    connection: Connection,
    waker: Waker,
    timer: delay_queue::Key,
}

/// An event that is not written to all connections yet.
#[derive(Clone, Copy, Debug)]
struct Fresh {
    /// The value of [`Shard::written`] at which it is.
    written: u64,
    /// Unix time of its position, in milliseconds.
    published: u64,
    /// Index of its channel's namespace.
    namespace: u8,
}

/// The shard's state. Lives as long as its task.
pub(crate) struct Shard {
    /// Index of the shard.
    index: usize,
    context: ShardContext,
    table: Arc<SubscriptionTable>,
    inbox: Arc<Inbox>,
    ready: Arc<ReadyList>,
    slots: Slab<ConnectionSlot>,
    by_identity: HashMap<Identity, usize, RandomState>,
    topics: Slab<Topic>,
    by_channel: HashMap<Channel, usize, RandomState>,
    reads: LogReads,
    /// Hashes identities to requesters.
    requester_hash: foldhash::fast::FixedState,
    timers: DelayQueue<Timer>,
    /// Connections with queued data.
    dirty: VecDeque<usize>,
    /// Number of connections taken from `dirty` since the start.
    written: u64,
    /// Events that are not written to all connections yet.
    fresh: VecDeque<Fresh>,
    /// The same for sampled events, with their traces.
    fresh_traced: VecDeque<(Fresh, TraceParent)>,
    /// Grows with each connection and topic.
    serial: u64,
    /// Whether the subscriber connection is up, at the place in the order of messages where this shard is.
    is_connected: bool,
    /// Set during a drain.
    draining: Option<Drain>,
    /// Set when the shard ends after its last connection.
    closing: Option<CloseReason>,
    /// Messages taken from the inbox that are not handled yet.
    messages: VecDeque<Message>,
    /// An unfinished fan-out, of an event before these messages.
    fan_out: Option<FanOut>,
    /// Number of connections that a fan-out fetches from memory at a time, or 0.
    prefetch: usize,
    /// Whether events were dropped among `messages`.
    overflowed: bool,
    /// Buffers reused in each pass.
    spare_keys: Vec<Arc<ConnectionWaker>>,
    scratch: Vec<u8>,
}

impl Shard {
    pub(crate) fn new(
        index: usize,
        context: ShardContext,
        table: Arc<SubscriptionTable>,
        reads: LogReads,
        prefetch: usize,
    ) -> Self {
        let inbox = Arc::clone(&table.inboxes[index]);
        Self {
            index,
            context,
            table,
            ready: ReadyList::new(Arc::clone(&inbox)),
            inbox,
            slots: Slab::new(),
            by_identity: HashMap::default(),
            topics: Slab::new(),
            by_channel: HashMap::default(),
            reads,
            requester_hash: foldhash::fast::FixedState::with_seed(fastrand::u64(..)),
            timers: DelayQueue::new(),
            dirty: VecDeque::new(),
            written: 0,
            fresh: VecDeque::new(),
            fresh_traced: VecDeque::new(),
            serial: 0,
            is_connected: false,
            draining: None,
            closing: None,
            messages: VecDeque::new(),
            fan_out: None,
            prefetch,
            overflowed: false,
            spare_keys: Vec::new(),
            scratch: Vec::new(),
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Returns the connection with this key, if its serial is the same.
    fn connection(&mut self, subscriber: Subscriber, serial: u64) -> Option<&mut Connection> {
        self.slots
            .get_mut(subscriber.connection)
            .map(|slot| &mut slot.connection)
            .filter(|connection| connection.serial() == serial)
    }

    /// Returns the topic with this key, if its serial is the same.
    fn topic(&mut self, key: TopicKey) -> Option<&mut Topic> {
        self.topics.get_mut(key.0).filter(|topic| topic.serial == key.1)
    }

    /// Returns the value of `written` after all queued data was written.
    fn written_then(&self) -> u64 {
        self.written + self.dirty.len() as u64
    }

    /// Marks a connection as having queued data.
    fn mark(&mut self, key: usize) {
        let connection = &mut self.slots[key].connection;
        if connection.mark_dirty() {
            self.dirty.push_back(key);
        }
    }
}

/// Runs at the end of the shard, also after a panic: its remaining streams are not served any more.
impl Drop for Shard {
    fn drop(&mut self) {
        let mut unserved = self.slots.len();
        for (_, slot) in &mut self.slots {
            slot.connection.count_gone(&self.context);
            slot.connection.log_end(CloseReason::Shutdown, &self.context);
        }
        self.context.publish_counts();
        for message in self.messages.drain(..).chain(self.inbox.close()) {
            if let Message::Open(new) = message {
                self.context.metrics.count_end(CloseReason::Shutdown, new.0.begun);
                unserved += 1;
            }
        }
        self.context.open_streams.remove(unserved);
        if std::thread::panicking() {
            self.table.broken.cancel();
            tracing::error!(
                shard = self.index,
                streams = unserved,
                "shard task panicked; closing its streams"
            );
        }
    }
}
