//! The subscriber connection: its events and commands.

use bytes::Bytes;
use fanfare_protocol::Channel;
use fanfare_protocol::wire::Topic;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Outage;

/// Number of a `Subscribe` command, so that an earlier confirmation is not taken for a later one. Grows.
pub type Ticket = u64;

/// An event of the subscriber connection, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriberEvent {
    /// Connected. Each channel is confirmed by `Subscribed`.
    Up,
    /// The connection is lost: no messages of a channel arrive until the channel is confirmed again.
    Down,
    /// Why the connection is down. After each failed attempt to connect, too.
    Unavailable(Outage),
    /// From here on, and until `Down` or an `Unsubscribe`, every message on both topics of these channels arrives, in the
    /// order in which they were published.
    Subscribed(Vec<(Channel, Ticket)>),
    /// A message on one of a channel's topics.
    Message(Channel, Topic, Bytes),
    /// A message on the node's control topic.
    Control(Bytes),
}

/// The state of the subscriber connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriberState {
    /// Whether the connection is up.
    pub up: bool,
    /// Number of connects.
    pub connects: u64,
    /// Why the connection is down, as far as the broker said.
    pub outage: Option<Outage>,
}

/// Receives the events. Called from the connection's task: it must not block.
pub type SubscriberSink = Box<dyn FnMut(SubscriberEvent) + Send>;

/// A command to the subscriber connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriberCommand {
    /// Subscribes to channels. A repeated command for a channel replaces its ticket and is confirmed again.
    Subscribe(Vec<(Channel, Ticket)>),
    /// Unsubscribes from channels.
    Unsubscribe(Vec<Channel>),
}

/// Handle of the subscriber connection: one task that keeps one connection, reconnects forever, and subscribes again
/// in batches. The task ends when the handle is closed or dropped.
#[derive(Debug)]
pub struct SubscriberConnection {
    /// Unbounded, but the task receives commands at once, also while it has no connection, and keeps one entry for
    /// each channel.
    commands: mpsc::UnboundedSender<SubscriberCommand>,
    task: JoinHandle<()>,
}

impl SubscriberConnection {
    /// Creates a handle of `task`, which ends when the command channel closes.
    pub fn new(commands: mpsc::UnboundedSender<SubscriberCommand>, task: JoinHandle<()>) -> Self {
        Self { commands, task }
    }

    /// Subscribes to channels; confirmed by [`SubscriberEvent::Subscribed`] with the same tickets.
    pub fn subscribe(&self, channels: Vec<(Channel, Ticket)>) {
        // A closed channel means that the task has ended.
        let _ = self.commands.send(SubscriberCommand::Subscribe(channels));
    }

    /// Unsubscribes from channels.
    pub fn unsubscribe(&self, channels: Vec<Channel>) {
        let _ = self.commands.send(SubscriberCommand::Unsubscribe(channels));
    }

    /// Closes the connection and waits until its task has ended.
    pub async fn close(self) {
        let Self { commands, task } = self;
        drop(commands);
        let _ = task.await;
    }
}
