//! Live topics, and the subscriber connections of this process's nodes.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fanfare_protocol::Channel;
use fanfare_protocol::session::Control;
use fanfare_protocol::wire::{Frame, Topic};
use indexmap::IndexMap;
use tokio::sync::mpsc;

use super::{MemoryBroker, State};
use crate::LiveTopics;
use crate::lease::NodeId;
use crate::subscriber::{SubscriberCommand, SubscriberConnection, SubscriberEvent, SubscriberSink, Ticket};

impl LiveTopics for MemoryBroker {
    fn open_subscriber(&self, node: &NodeId, sink: SubscriberSink) -> SubscriberConnection {
        open(Arc::clone(&self.state), node.clone(), sink)
    }
}

/// All subscribers.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    next: u64,
    open: IndexMap<u64, Subscriber>,
}

/// Subscription of one node. Its queue is unbounded, but the receiving task never blocks.
#[derive(Debug)]
struct Subscriber {
    node: NodeId,
    subscribed: IndexMap<Channel, Ticket>,
    events: mpsc::UnboundedSender<SubscriberEvent>,
}

impl Subscriber {
    fn send(&self, event: SubscriberEvent) {
        // A subscriber whose task has ended is removed by that task.
        let _ = self.events.send(event);
    }
}

impl Subscribers {
    pub(super) fn message(&self, channel: &Channel, frame: &Frame) {
        self.send(channel, frame.topic(), &frame.encode().into());
    }

    /// Sends a message on a topic of a channel.
    pub(super) fn send(&self, channel: &Channel, topic: Topic, message: &Bytes) {
        for subscriber in self.open.values().filter(|subscriber| subscriber.subscribed.contains_key(channel))
        {
            subscriber.send(SubscriberEvent::Message(channel.clone(), topic, message.clone()));
        }
    }

    pub(super) fn control(&self, node: &NodeId, command: &Control) {
        for subscriber in self.open.values().filter(|subscriber| subscriber.node == *node) {
            subscriber.send(SubscriberEvent::Control(command.encode().into()));
        }
    }

    fn command(&mut self, id: u64, command: SubscriberCommand) {
        let Some(subscriber) = self.open.get_mut(&id) else { return };
        match command {
            SubscriberCommand::Subscribe(channels) => {
                subscriber.subscribed.extend(channels.iter().cloned());
                subscriber.send(SubscriberEvent::Subscribed(channels));
            }
            SubscriberCommand::Unsubscribe(channels) => {
                for channel in &channels {
                    subscriber.subscribed.swap_remove(channel);
                }
            }
        }
    }
}

fn open(state: Arc<Mutex<State>>, node: NodeId, mut sink: SubscriberSink) -> SubscriberConnection {
    let (sender, mut commands) = mpsc::unbounded_channel();
    let (events, mut queue) = mpsc::unbounded_channel();
    let id = with(&state, |subscribers| {
        let id = subscribers.next;
        subscribers.next += 1;
        subscribers.open.insert(id, Subscriber { node, subscribed: IndexMap::new(), events });
        id
    });
    let task = tokio::spawn(async move {
        sink(SubscriberEvent::Up);
        loop {
            // Both branches are cancel-safe receives.
            tokio::select! {
                biased;
                event = queue.recv() => match event {
                    Some(event) => sink(event),
                    None => break,
                },
                command = commands.recv() => match command {
                    Some(command) => with(&state, |subscribers| subscribers.command(id, command)),
                    None => break,
                },
            }
        }
        with(&state, |subscribers| subscribers.open.swap_remove(&id));
    });
    SubscriberConnection::new(sender, task)
}

fn with<T>(state: &Mutex<State>, act: impl FnOnce(&mut Subscribers) -> T) -> T {
    act(&mut state.lock().unwrap_or_else(PoisonError::into_inner).subscribers)
}
