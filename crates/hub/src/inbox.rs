//! The queue of a shard.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_broker::session::CloseReason;
use fanfare_coordination::revocations::stream_token::Replacement;
use fanfare_protocol::Channel;
use fanfare_telemetry::traces::FanOutSpan;
use futures_util::task::AtomicWaker;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::encoded_event::EncodedEvent;
use crate::stream::{Identity, NewStream, Transport};

/// Maximum capacity that an empty queue keeps, in messages.
const KEPT_MESSAGES: usize = 4096;

/// A message to a shard.
pub(crate) enum Message {
    /// An event of a channel that the shard is subscribed to.
    Event(Arc<EncodedEvent>),
    /// The same for a traced event, with the span of its fan-out.
    Traced(Box<(Arc<EncodedEvent>, FanOutSpan)>),
    /// The subscriber connection is up: each channel will be `Subscribed`.
    Up,
    /// The channel is subscribed: all later messages arrive.
    Subscribed(Channel),
    /// The subscriber connection is lost: no messages of a channel arrive until it is `Subscribed` again.
    Down,
    /// A new stream.
    Open(Box<(NewStream, Transport)>),
    /// Ends an identity's stream, if its epoch is below.
    End { identity: Identity, below: u64, reason: CloseReason },
    /// Replaces the token of an identity's stream.
    Replace(Box<(Identity, Replacement)>),
    /// Ends the streams whose tokens are revoked.
    CheckTokens,
    /// Ends all streams in even waves until a moment. `done` is dropped when the last one has started to end.
    Drain { until: Instant, done: mpsc::Sender<()> },
    /// Ends all streams and the shard.
    Close(CloseReason),
}

/// The queue of a shard. Events are bounded in bytes; other messages are bounded by their causes (connects and
/// subscriptions).
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<Queued>,
    /// `fanfare_shard_queue_bytes`: the bytes of events in the queues of all shards.
    gauge: Gauge,
    /// Wakes the shard; its connections' wakers share it.
    pub(crate) waker: AtomicWaker,
}

#[derive(Default)]
struct Queued {
    messages: VecDeque<Message>,
    bytes: usize,
    overflowed: bool,
    /// Whether the shard has ended.
    closed: bool,
}

impl Inbox {
    /// Creates a queue whose bytes are added to `gauge`.
    pub(crate) fn new(gauge: Gauge) -> Self {
        Self { gauge, ..Self::default() }
    }

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

    /// Adds an event, and the span of its fan-out. Returns false, and drops the event, if more than `bound` bytes would be queued.
    pub(crate) fn push_event(
        &self,
        event: Arc<EncodedEvent>,
        span: Option<FanOutSpan>,
        bound: usize,
    ) -> bool {
        let weight = event.weight();
        let mut state = self.state();
        let fits = state.bytes == 0 || state.bytes + weight <= bound;
        if state.closed {
            return true;
        }
        if fits {
            state.bytes += weight;
            self.gauge.inc_by(signed(weight));
            state.messages.push_back(match span {
                None => Message::Event(event),
                Some(span) => Message::Traced(Box::new((event, span))),
            });
        } else {
            state.overflowed = true;
        }
        drop(state);
        self.waker.wake();
        fits
    }

    /// Moves all messages into `messages`, which must be empty and becomes the new queue. Its memory is reused, unless a
    /// burst made it large. Returns whether events were dropped since the last call: then every channel must be read
    /// from its log.
    pub(crate) fn take(&self, messages: &mut VecDeque<Message>) -> bool {
        if messages.capacity() > KEPT_MESSAGES {
            *messages = VecDeque::new();
        }
        let mut state = self.state();
        self.gauge.dec_by(signed(std::mem::take(&mut state.bytes)));
        std::mem::swap(&mut state.messages, messages);
        std::mem::take(&mut state.overflowed)
    }

    /// Closes the queue. Returns the queued messages.
    pub(crate) fn close(&self) -> VecDeque<Message> {
        let mut state = self.state();
        state.closed = true;
        self.gauge.dec_by(signed(std::mem::take(&mut state.bytes)));
        std::mem::take(&mut state.messages)
    }

    fn state(&self) -> MutexGuard<'_, Queued> {
        // Each change leaves a consistent queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_burst_is_freed() {
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
