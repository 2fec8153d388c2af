//! What waits for one writer loop.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_protocol::Channel;
use futures_util::task::AtomicWaker;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::delivery::Delivery;
use crate::ending::Ending;
use crate::stream::{Identity, Socket, Stream};

/// For how many messages a queue keeps its memory once it is empty.
const KEPT_MESSAGES: usize = 4096;

/// One thing for a writer loop to do.
pub(crate) enum Message {
    /// An event of a channel that the loop follows.
    Event(Arc<Delivery>),
    /// The channel is heard from here on.
    Followed(Channel),
    /// The wire is lost: nothing is heard of any channel until it is `Followed` again.
    Down,
    /// A new stream.
    Open(Box<Stream>, Box<dyn Socket>),
    /// The end of an identity's stream, if its epoch is below.
    End { identity: Identity, below: u64, ending: Ending },
    /// The end of every stream, in even waves until the moment. `done` is dropped when the last has begun to end.
    Drain { until: Instant, done: mpsc::Sender<()> },
    /// The end of every stream, and of the loop.
    Close(Ending),
}

/// A writer loop's queue. Events in it are bounded in bytes; the other messages are bounded by what causes them
/// (connects, channels followed).
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// Wakes the loop; its connections' wakers share it.
    pub(crate) waker: AtomicWaker,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    bytes: usize,
    overflowed: bool,
    /// Whether the loop has ended.
    closed: bool,
}

impl Inbox {
    /// Adds a message. Answers false, and drops it, if the loop has ended.
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

    /// Adds an event. Answers false, and drops it, if more than `bound` bytes would wait.
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
    /// again, unless a burst made it large. Answers whether events were dropped since the last time: every channel must be repaired from its log.
    pub(crate) fn take(&self, messages: &mut VecDeque<Message>) -> bool {
        if messages.capacity() > KEPT_MESSAGES {
            *messages = VecDeque::new();
        }
        let mut state = self.state();
        state.bytes = 0;
        std::mem::swap(&mut state.messages, messages);
        std::mem::take(&mut state.overflowed)
    }

    /// Takes nothing any more. Answers what waited.
    pub(crate) fn close(&self) -> VecDeque<Message> {
        let mut state = self.state();
        state.closed = true;
        std::mem::take(&mut state.messages)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The queue is whole after each of the calls above.
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
