//! Which writer loops follow which channel, and the wire that hears them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fanfare_broker::clock::unix_ms;
use fanfare_broker::subscriber::{SubscriberConnection, SubscriberEvent, SubscriberState, Ticket};
use fanfare_protocol::Channel;
use fanfare_protocol::event::MAX_DATA_BYTES;
use fanfare_protocol::wire::{Frame, Topic};
use foldhash::fast::RandomState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::inbox::{Inbox, Message};
use crate::control::Commands;
use crate::delivery::Delivery;
use crate::metrics::Metrics;
use crate::throttle::Throttle;

/// One channel that somebody on this node follows.
#[derive(Debug)]
struct Follow {
    /// Names the newest request to the wire, so that an earlier confirmation is not taken for it.
    ticket: Ticket,
    /// Whether the wire has confirmed it since it was last lost.
    heard: bool,
    /// A bit for each writer loop that has a connection there.
    writers: u64,
}

/// Sends what the wire says to the writer loops it concerns.
pub(crate) struct Follows {
    table: Mutex<Table>,
    /// None before the start and after the end.
    wire: Mutex<Option<SubscriberConnection>>,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    /// How many bytes of events may wait for one loop.
    inbox_bytes: usize,
    /// The most data an ephemeral event may have. Those that are kept were checked when they were published, maybe
    /// by a node with another setting.
    max_ephemeral: usize,
    pub(crate) state: watch::Sender<SubscriberState>,
    control: Commands,
    metrics: Arc<Metrics>,
    logs: Logs,
    /// Cancelled when a writer loop broke.
    pub(crate) broken: CancellationToken,
}

/// What is logged of things that were dropped.
struct Logs {
    malformed: Throttle,
    inbox: Throttle,
}

impl Default for Logs {
    fn default() -> Self {
        Self { malformed: Throttle::of_events(), inbox: Throttle::of_a_condition() }
    }
}

#[derive(Debug, Default)]
struct Table {
    follows: HashMap<Channel, Follow, RandomState>,
    last_ticket: Ticket,
}

impl Follows {
    pub(crate) fn new(
        inboxes: Vec<Arc<Inbox>>,
        inbox_bytes: usize,
        max_ephemeral: usize,
        control: Commands,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            table: Mutex::default(),
            wire: Mutex::default(),
            inboxes,
            inbox_bytes,
            max_ephemeral,
            state: watch::Sender::default(),
            control,
            metrics,
            logs: Logs::default(),
            broken: CancellationToken::new(),
        }
    }

    pub(crate) fn attach(&self, wire: SubscriberConnection) {
        *lock(&self.wire) = Some(wire);
    }

    /// Ends the wire and waits for it.
    pub(crate) async fn close(&self) {
        let wire = lock(&self.wire).take();
        if let Some(wire) = wire {
            wire.close().await;
        }
    }

    /// A writer loop follows channels that it did not follow before. Each is answered by [`Message::Followed`] when
    /// it is heard; also one that is heard already, so that the answer keeps its place behind an earlier
    /// [`Message::Down`] in the inbox.
    pub(crate) fn join(&self, writer: usize, channels: &[Channel]) {
        let mut asked = Vec::new();
        let mut table = lock(&self.table);
        for channel in channels {
            if let Some(follow) = table.follows.get_mut(channel) {
                follow.writers |= 1 << writer;
                if follow.heard {
                    self.inboxes[writer].push(Message::Followed(channel.clone()));
                }
                continue;
            }
            table.last_ticket += 1;
            let ticket = table.last_ticket;
            table.follows.insert(channel.clone(), Follow { ticket, heard: false, writers: 1 << writer });
            asked.push((channel.clone(), ticket));
        }
        self.metrics.channels.set(i64::try_from(table.follows.len()).unwrap_or(i64::MAX));
        // Under the table's lock, so that the wire gets follows and unfollows in the order of the table's changes.
        if !asked.is_empty()
            && let Some(wire) = &*lock(&self.wire)
        {
            wire.subscribe(asked);
        }
    }

    /// A writer loop follows a channel no longer.
    pub(crate) fn leave(&self, writer: usize, channel: &Channel) {
        let mut table = lock(&self.table);
        let Some(follow) = table.follows.get_mut(channel) else { return };
        follow.writers &= !(1 << writer);
        if follow.writers != 0 {
            return;
        }
        table.follows.remove(channel);
        self.metrics.channels.set(i64::try_from(table.follows.len()).unwrap_or(i64::MAX));
        if let Some(wire) = &*lock(&self.wire) {
            wire.unsubscribe(vec![channel.clone()]);
        }
    }

    /// Takes what the wire says. Never waits: the wire's reader must not.
    pub(crate) fn take(&self, event: SubscriberEvent) {
        match event {
            SubscriberEvent::Message(channel, topic, message) => self.message(&channel, topic, &message),
            SubscriberEvent::Subscribed(channels) => self.followed(&channels),
            SubscriberEvent::Control(message) => self.control.offer(&message),
            SubscriberEvent::Up => self.state.send_modify(|state| {
                state.up = true;
                state.connects += 1;
            }),
            SubscriberEvent::Down => self.down(),
        }
    }

    fn message(&self, channel: &Channel, topic: Topic, message: &Bytes) {
        let limit = match topic {
            Topic::Live => MAX_DATA_BYTES,
            Topic::Ephemeral => self.max_ephemeral,
        };
        let delivery = match Frame::parse(topic, message, limit) {
            Ok(Frame::Kept(entry)) => Delivery::kept(channel, &entry),
            Ok(Frame::Ephemeral(event)) => Delivery::ephemeral(channel, event, unix_ms()),
            Err(error) => {
                // A stranger can send these as fast as Redis takes them.
                self.metrics.wire_malformed.inc();
                if let Some(held_back) = self.logs.malformed.admit() {
                    let (reason, bytes) = (error.reason(), message.len());
                    tracing::warn!(%channel, reason, bytes, held_back, "dropped a malformed message of a live topic");
                }
                return;
            }
        };
        let Some(writers) = lock(&self.table).follows.get(channel).map(|follow| follow.writers) else {
            return;
        };
        for (writer, inbox) in self.inboxes.iter().enumerate() {
            if writers & (1 << writer) != 0
                && !inbox.push_event(delivery.for_another_loop(), self.inbox_bytes)
            {
                self.metrics.inbox_dropped.inc();
                if let Some(held_back) = self.logs.inbox.admit() {
                    let stored = delivery.kept.is_some();
                    tracing::warn!(
                        %channel, stored, held_back,
                        "dropped events: shard queue full (stream.shard_queue); streams catch up from the log"
                    );
                }
            }
        }
    }

    fn followed(&self, channels: &[(Channel, Ticket)]) {
        let mut table = lock(&self.table);
        for (channel, ticket) in channels {
            let Some(follow) = table.follows.get_mut(channel).filter(|f| f.ticket == *ticket) else {
                continue;
            };
            follow.heard = true;
            for (writer, inbox) in self.inboxes.iter().enumerate() {
                if follow.writers & (1 << writer) != 0 {
                    inbox.push(Message::Followed(channel.clone()));
                }
            }
        }
    }

    fn down(&self) {
        self.metrics.wire_lost.inc();
        for follow in lock(&self.table).follows.values_mut() {
            follow.heard = false;
        }
        for inbox in &self.inboxes {
            inbox.push(Message::Down);
        }
        self.state.send_modify(|state| state.up = false);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics half way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
