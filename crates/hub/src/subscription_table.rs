//! The subscription table: which shards have subscribers of which channel; and the subscriber connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fanfare_broker::clock::unix_ms;
use fanfare_broker::subscriber::SubscriberState;
use fanfare_broker::subscriber::{SubscriberConnection, SubscriberEvent, Ticket};
use fanfare_coordination::control::CommandSender;
use fanfare_protocol::Channel;
use fanfare_protocol::event::MAX_DATA_BYTES;
use fanfare_protocol::wire::{Frame, Topic};
use fanfare_telemetry::Throttle;
use fanfare_telemetry::traces::Tracer;
use foldhash::fast::RandomState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::encoded_event::EncodedEvent;
use crate::inbox::{Inbox, Message};
use crate::metrics::HubMetrics;

/// A channel with subscribers on this node.
#[derive(Debug)]
struct ChannelShards {
    /// Identifies the newest request to subscribe, which an earlier confirmation does not confirm.
    ticket: Ticket,
    /// Whether the subscription was confirmed since the subscriber connection was last lost.
    subscribed: bool,
    /// A bit for each shard that has subscribers.
    shards: u64,
}

/// Subscribes to live topics, and distributes their messages to the shards.
pub(crate) struct SubscriptionTable {
    table: Mutex<Channels>,
    /// The subscriber connection; `None` before [`Self::attach`] and after [`Self::close`].
    wire: Mutex<Option<SubscriberConnection>>,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    /// Maximum size of the events in the queue of one shard, in bytes.
    inbox_bytes: usize,
    /// Maximum size of an ephemeral event's data, in bytes. Stored events were checked when they were published, maybe
    /// by a node with another setting.
    max_data: usize,
    pub(crate) state: watch::Sender<SubscriberState>,
    control: CommandSender,
    metrics: Arc<HubMetrics>,
    tracer: Tracer,
    logs: Logs,
    /// Cancelled when a shard task panicked.
    pub(crate) broken: CancellationToken,
}

/// Rate limits of log events about dropped messages.
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
struct Channels {
    channels: HashMap<Channel, ChannelShards, RandomState>,
    last_ticket: Ticket,
}

impl SubscriptionTable {
    pub(crate) fn new(
        inboxes: Vec<Arc<Inbox>>,
        (inbox_bytes, max_data): (usize, usize),
        control: CommandSender,
        metrics: Arc<HubMetrics>,
        tracer: Tracer,
    ) -> Self {
        Self {
            table: Mutex::default(),
            wire: Mutex::default(),
            inboxes,
            inbox_bytes,
            max_data,
            state: watch::Sender::default(),
            control,
            metrics,
            tracer,
            logs: Logs::default(),
            broken: CancellationToken::new(),
        }
    }

    pub(crate) fn attach(&self, wire: SubscriberConnection) {
        *lock(&self.wire) = Some(wire);
    }

    /// Closes the subscriber connection and waits until its task has ended.
    pub(crate) async fn close(&self) {
        let wire = lock(&self.wire).take();
        if let Some(wire) = wire {
            wire.close().await;
        }
    }

    /// Subscribes a shard to channels without subscribers on it so far. The shard gets [`Message::Subscribed`] for each
    /// channel once the subscription is confirmed. A confirmed channel is reported through the queue, too, so that the
    /// report stays behind an earlier [`Message::Down`].
    pub(crate) fn subscribe(&self, shard: usize, channels: &[Channel]) {
        let mut new = Vec::new();
        let mut table = lock(&self.table);
        for channel in channels {
            if let Some(entry) = table.channels.get_mut(channel) {
                entry.shards |= 1 << shard;
                if entry.subscribed {
                    self.inboxes[shard].push(Message::Subscribed(channel.clone()));
                }
                continue;
            }
            table.last_ticket += 1;
            let ticket = table.last_ticket;
            table
                .channels
                .insert(channel.clone(), ChannelShards { ticket, subscribed: false, shards: 1 << shard });
            new.push((channel.clone(), ticket));
        }
        self.metrics.channels.set(i64::try_from(table.channels.len()).unwrap_or(i64::MAX));
        // Under the table's lock, so that requests are sent in the order of the table's changes.
        if !new.is_empty()
            && let Some(wire) = &*lock(&self.wire)
        {
            wire.subscribe(new);
        }
    }

    /// Unsubscribes a shard from a channel.
    pub(crate) fn unsubscribe(&self, shard: usize, channel: &Channel) {
        let mut table = lock(&self.table);
        let Some(entry) = table.channels.get_mut(channel) else { return };
        entry.shards &= !(1 << shard);
        if entry.shards != 0 {
            return;
        }
        table.channels.remove(channel);
        self.metrics.channels.set(i64::try_from(table.channels.len()).unwrap_or(i64::MAX));
        if let Some(wire) = &*lock(&self.wire) {
            wire.unsubscribe(vec![channel.clone()]);
        }
    }

    /// Handles an event of the subscriber connection. Never waits, since its caller reads that connection.
    pub(crate) fn handle(&self, event: SubscriberEvent) {
        match event {
            SubscriberEvent::Message(channel, topic, message) => self.message(&channel, topic, &message),
            SubscriberEvent::Subscribed(channels) => self.confirmed(&channels),
            SubscriberEvent::Control(message) => self.control.push(&message),
            SubscriberEvent::Up => self.up(),
            SubscriberEvent::Down => self.down(),
            SubscriberEvent::Unavailable(outage) => {
                self.state.send_modify(|state| state.outage = Some(outage));
            }
        }
    }

    fn message(&self, channel: &Channel, topic: Topic, message: &Bytes) {
        let limit = match topic {
            Topic::Live => MAX_DATA_BYTES,
            Topic::Ephemeral => self.max_data,
        };
        let event = match Frame::parse(topic, message, limit) {
            Ok(Frame::Kept(entry)) => EncodedEvent::stored(channel, &entry),
            Ok(Frame::Ephemeral(event)) => EncodedEvent::ephemeral(channel, event, unix_ms()),
            Err(error) => {
                // Any client of Redis can send these, as fast as Redis accepts them.
                self.metrics.pubsub_malformed.inc();
                if let Some(held_back) = self.logs.malformed.admit() {
                    let (reason, bytes) = (error.reason(), message.len());
                    tracing::warn!(%channel, reason, bytes, held_back, "dropped malformed Pub/Sub message");
                }
                return;
            }
        };
        let Some(shards) = lock(&self.table).channels.get(channel).map(|entry| entry.shards) else {
            return;
        };
        let span = self.tracer.fan_out(event.traced());
        for (shard, inbox) in self.inboxes.iter().enumerate() {
            if shards & (1 << shard) != 0
                && !inbox.push_event(event.for_shard(), span.clone(), self.inbox_bytes)
            {
                self.metrics.shard_queue_dropped.inc();
                if let Some(held_back) = self.logs.inbox.admit() {
                    let stored = event.link.is_some();
                    tracing::warn!(
                        %channel, stored, held_back,
                        "dropped events: shard queue full (stream.shard_queue); streams catch up from the log"
                    );
                }
            }
        }
    }

    fn confirmed(&self, channels: &[(Channel, Ticket)]) {
        let mut table = lock(&self.table);
        for (channel, ticket) in channels {
            let Some(entry) = table.channels.get_mut(channel).filter(|entry| entry.ticket == *ticket) else {
                continue;
            };
            entry.subscribed = true;
            for (shard, inbox) in self.inboxes.iter().enumerate() {
                if entry.shards & (1 << shard) != 0 {
                    inbox.push(Message::Subscribed(channel.clone()));
                }
            }
        }
    }

    fn up(&self) {
        for inbox in &self.inboxes {
            inbox.push(Message::Up);
        }
        self.state.send_modify(|state| {
            state.up = true;
            state.connects += 1;
            state.outage = None;
        });
    }

    fn down(&self) {
        self.metrics.pubsub_disconnects.inc();
        for entry in lock(&self.table).channels.values_mut() {
            entry.subscribed = false;
        }
        for inbox in &self.inboxes {
            inbox.push(Message::Down);
        }
        self.state.send_modify(|state| state.up = false);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code under these locks panics halfway through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
