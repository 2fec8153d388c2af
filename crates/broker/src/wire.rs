//! What a live wire tells the node, and what the node asks of it.

use bytes::Bytes;
use fanfare_protocol::Channel;
use fanfare_protocol::wire::Topic;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Names one `follow`, so that the answer to an earlier one is not taken for the answer to a later one. Grows.
pub type Ticket = u64;

/// What comes out of a wire, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireEvent {
    /// Connected. Each channel followed is confirmed by `Followed` of its own.
    Up,
    /// The connection is lost: nothing is heard of any channel until it is confirmed again.
    Down,
    /// From here on, and until `Down` or an unfollow, every message on both topics of these channels arrives, in the
    /// order in which they were published.
    Followed(Vec<(Channel, Ticket)>),
    /// A message on one of a channel's topics.
    Message(Channel, Topic, Bytes),
    /// A message on the node's control topic.
    Control(Bytes),
}

/// The state of the live wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireState {
    /// Whether it is connected.
    pub up: bool,
    /// How often it has been connected.
    pub connects: u64,
}

/// What takes the events. Called from the wire's own task: it must not block.
pub type WireSink = Box<dyn FnMut(WireEvent) + Send>;

/// What the node asks of its wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireCommand {
    /// Hear these channels. Following one again replaces its ticket and confirms it again.
    Follow(Vec<(Channel, Ticket)>),
    /// Stop hearing these.
    Unfollow(Vec<Channel>),
}

/// The node's hold on its wire: one task that keeps one connection, comes back by itself for ever, and
/// subscribes again in batches. Ends when this is closed or dropped.
#[derive(Debug)]
pub struct Wire {
    /// Not bounded by itself: the wire's task takes commands at once, also while it has no connection, and what it
    /// keeps of them is one entry for each channel followed.
    commands: mpsc::UnboundedSender<WireCommand>,
    task: JoinHandle<()>,
}

impl Wire {
    /// Creates a wire served by `task`, which ends when the command channel closes.
    pub fn new(commands: mpsc::UnboundedSender<WireCommand>, task: JoinHandle<()>) -> Self {
        Self { commands, task }
    }

    /// Asks to hear these channels; confirmed by [`WireEvent::Followed`] with the same tickets.
    pub fn follow(&self, channels: Vec<(Channel, Ticket)>) {
        // A closed channel is a wire at its end: there is nothing left to hear.
        let _ = self.commands.send(WireCommand::Follow(channels));
    }

    /// Asks to hear these channels no longer.
    pub fn unfollow(&self, channels: Vec<Channel>) {
        let _ = self.commands.send(WireCommand::Unfollow(channels));
    }

    /// Ends the wire and waits until its task has ended.
    pub async fn close(self) {
        let Self { commands, task } = self;
        drop(commands);
        let _ = task.await;
    }
}
