//! The queue of a shard.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_protocol::Channel;
use futures_util::task::AtomicWaker;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::delivery::Delivery;
use crate::ending::Ending;
use crate::stream::{Identity, Socket, Stream};

/// Maximum capacity that an empty queue keeps, in messages.
const KEPT_MESSAGES: usize = 4096;

/// A message to a shard.
pub(crate) enum Message {
    /// An event of a channel that the shard follows.
    Event(Arc<Delivery>),
    /// The channel is subscribed: all later messages arrive.
    Followed(Channel),
    /// The subscriber connection is lost: no messages of a channel arrive until it is `Followed` again.
    Down,
    /// A new stream.
    Open(Box<Stream>, Box<dyn Socket>),
    /// Ends an identity's stream, if its epoch is below.
    End { identity: Identity, below: u64, ending: Ending },
    /// Ends all streams in even waves until a moment. `done` is dropped when the last one has started to end.
    Drain { until: Instant, done: mpsc::Sender<()> },
    /// Ends all streams and the shard.
    Close(Ending),
}

/// The queue of a shard. Events are bounded in bytes; other messages are bounded by their causes (connects, followed
/// channels).
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// Wakes the shard; its connections' wakers share it.
    pub(crate) waker: AtomicWaker,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    bytes: usize,
    overflowed: bool,
    /// Whether the shard has ended.
    closed: bool,
}

impl Inbox {
    /// Adds a message. Returns false, and drops the message, if the shard has ended.
    pub(crate) fn push(&self, message: Message) -> bool {
        let mut state = self.state();
        if state.closed {
            return false;
        }
        state.messages.push_back(message);
        drop(state);
        self.waker.wake();
        true
    }

    /// Adds an event. Returns false, and drops the event, if more than `bound` bytes would be queued.
    pub(crate) fn push_event(&self, delivery: Arc<Delivery>, bound: usize) -> bool {
        let weight = delivery.weight();
        let mut state = self.state();
        let fits = state.bytes == 0 || state.bytes + weight <= bound;
        if state.closed {
            return true;
        }
        if fits {
            state.bytes += weight;
            state.messages.push_back(Message::Event(delivery));
        } else {
            state.overflowed = true;
        }
        drop(state);
        self.waker.wake();
        fits
    }

    /// Takes everything into `messages`, which must be empty and becomes the new queue, so that its memory is used
    /// again, unless a burst made it large. Answers whether events were dropped since the last time: every channel
    /// must be repaired from its log.
    pub(crate) fn take(&self, messages: &mut VecDeque<Message>) -> bool {
        if messages.capacity() > KEPT_MESSAGES {
            *messages = VecDeque::new();
        }
        let mut state = self.state();
        state.bytes = 0;
        std::mem::swap(&mut state.messages, messages);
        std::mem::take(&mut state.overflowed)
    }

    /// Closes the queue. Returns the queued messages.
    pub(crate) fn close(&self) -> VecDeque<Message> {
        let mut state = self.state();
        state.closed = true;
        std::mem::take(&mut state.messages)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each of the calls above leaves a consistent queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_burst_needed_is_not_kept() {
        let (inbox, mut messages) = (Inbox::default(), VecDeque::new());
        for _ in 0..100 * KEPT_MESSAGES {
            inbox.push(Message::Down);
        }
        inbox.take(&mut messages);
        assert!(messages.capacity() > KEPT_MESSAGES);
        for _ in 0..2 {
            messages.clear();
            inbox.push(Message::Down);
            inbox.take(&mut messages);
        }
        assert!(messages.capacity() <= KEPT_MESSAGES, "{}", messages.capacity());
        assert!(inbox.state().messages.capacity() <= KEPT_MESSAGES);
    }
}
