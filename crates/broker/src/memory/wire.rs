//! Subscriber connections of this process's nodes.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fanfare_protocol::Channel;
use fanfare_protocol::session::Control;
use fanfare_protocol::wire::Frame;
use indexmap::IndexMap;
use tokio::sync::mpsc;

use super::State;
use crate::lease::NodeId;
use crate::wire::{Ticket, Wire, WireCommand, WireEvent, WireSink};

/// All subscribers.
#[derive(Debug, Default)]
pub(super) struct Wires {
    next: u64,
    open: IndexMap<u64, Listener>,
}

/// Subscription of one node. Its queue is unbounded, but the receiving task never blocks.
#[derive(Debug)]
struct Listener {
    node: NodeId,
    followed: IndexMap<Channel, Ticket>,
    events: mpsc::UnboundedSender<WireEvent>,
}

impl Listener {
    fn tell(&self, event: WireEvent) {
        // A subscriber whose task has ended is removed by that task.
        let _ = self.events.send(event);
    }
}

impl Wires {
    pub(super) fn message(&self, channel: &Channel, frame: &Frame) {
        let (topic, message) = (frame.topic(), Bytes::from(frame.encode()));
        for listener in self.open.values().filter(|listener| listener.followed.contains_key(channel)) {
            listener.tell(WireEvent::Message(channel.clone(), topic, message.clone()));
        }
    }

    pub(super) fn control(&self, node: &NodeId, command: &Control) {
        for listener in self.open.values().filter(|listener| listener.node == *node) {
            listener.tell(WireEvent::Control(command.encode().into()));
        }
    }

    fn command(&mut self, id: u64, command: WireCommand) {
        let Some(listener) = self.open.get_mut(&id) else { return };
        match command {
            WireCommand::Follow(channels) => {
                listener.followed.extend(channels.iter().cloned());
                listener.tell(WireEvent::Followed(channels));
            }
            WireCommand::Unfollow(channels) => {
                for channel in &channels {
                    listener.followed.swap_remove(channel);
                }
            }
        }
    }
}

pub(super) fn open(state: Arc<Mutex<State>>, node: NodeId, mut sink: WireSink) -> Wire {
    let (commands, mut asked) = mpsc::unbounded_channel();
    let (events, mut heard) = mpsc::unbounded_channel();
    let id = with(&state, |wires| {
        let id = wires.next;
        wires.next += 1;
        wires.open.insert(id, Listener { node, followed: IndexMap::new(), events });
        id
    });
    let task = tokio::spawn(async move {
        sink(WireEvent::Up);
        loop {
            // Both branches are cancel-safe receives.
            tokio::select! {
                biased;
                event = heard.recv() => match event {
                    Some(event) => sink(event),
                    None => break,
                },
                command = asked.recv() => match command {
                    Some(command) => with(&state, |wires| wires.command(id, command)),
                    None => break,
                },
            }
        }
        with(&state, |wires| wires.open.swap_remove(&id));
    });
    Wire::new(commands, task)
}

fn with<T>(state: &Mutex<State>, act: impl FnOnce(&mut Wires) -> T) -> T {
    act(&mut state.lock().unwrap_or_else(PoisonError::into_inner).wires)
}
