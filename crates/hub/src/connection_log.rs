//! The log of ended connections: one line for each.
//!
//! A thread of its own writes the lines, so that a slow log never delays a shard. Lines are bounded in rate, and the queue of the
//! thread in number; a line that is over a bound is counted, and the next line has the count.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fanfare_broker::NodeId;
use fanfare_broker::session::CloseReason;
use fanfare_telemetry::{Throttle, registered};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use crate::stream::{Coding, Identity, Protocol};

/// Target of the lines.
pub const TARGET: &str = "fanfare::connection";

/// What a line says.
#[derive(Debug)]
pub(crate) struct ConnectionEnd {
    pub(crate) identity: Identity,
    pub(crate) reason: CloseReason,
    /// From the request to the end.
    pub(crate) duration: Duration,
    /// Events that were queued for the client.
    pub(crate) events: u64,
    /// Bytes that the socket accepted.
    pub(crate) bytes: u64,
    pub(crate) channels: usize,
    pub(crate) protocol: Protocol,
    pub(crate) coding: Coding,
    /// Whether the client had a cursor.
    pub(crate) resumed: bool,
}

enum Message {
    /// A connection ended; lines that were held back before it.
    Ended(Box<ConnectionEnd>, u64),
    Stop,
}

/// The log. Clones share it.
#[derive(Clone, Default)]
pub struct ConnectionLog(Option<Arc<Inner>>);

struct Inner {
    throttle: Throttle,
    queue: mpsc::Sender<Message>,
    /// Lines that found the queue full, since the last line.
    overflow: AtomicU64,
    /// `fanfare_connection_lines_held_back_total`: connections that ended without a line.
    held_back: Counter,
    /// Joined by `shutdown`.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl ConnectionLog {
    /// Starts a log of this many lines per second, on average over a minute; of none with 0.
    ///
    /// # Errors
    ///
    /// Fails if the system has no room for a thread.
    pub fn start(per_second: u32, node: &NodeId, registry: &mut Registry) -> io::Result<Self> {
        let help = "Connections that ended without a line in the log, because of log.connections";
        let held_back = registered(registry, "fanfare_connection_lines_held_back", help);
        if per_second == 0 {
            return Ok(Self(None));
        }
        let throttle = Throttle::per_second(per_second);
        let (queue, ends) = mpsc::channel(usize::try_from(throttle.burst()).unwrap_or(usize::MAX));
        let node = node.clone();
        let thread = std::thread::Builder::new()
            .name("connection-log".to_owned())
            .spawn(move || write_lines(&node, ends))?;
        let (overflow, thread) = (AtomicU64::new(0), Mutex::new(Some(thread)));
        Ok(Self(Some(Arc::new(Inner { throttle, queue, overflow, held_back, thread }))))
    }

    /// Logs the end of a connection. Never waits.
    pub(crate) fn ended(&self, end: impl FnOnce() -> ConnectionEnd) {
        let Some(inner) = self.0.as_ref().filter(|_| tracing::enabled!(target: TARGET, tracing::Level::INFO))
        else {
            return;
        };
        let Some(held_back) = inner.throttle.admit() else {
            inner.held_back.inc();
            return;
        };
        let held_back = held_back + inner.overflow.swap(0, Ordering::Relaxed);
        if inner.queue.try_send(Message::Ended(Box::new(end()), held_back)).is_err() {
            inner.held_back.inc();
            inner.overflow.fetch_add(held_back + 1, Ordering::Relaxed);
        }
    }

    /// Writes the queued lines, and ends the thread.
    pub async fn shutdown(&self) {
        let Some(inner) = &self.0 else { return };
        let thread = inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Fails only if the thread panicked.
        let _ = inner.queue.send(Message::Stop).await;
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(|| thread.join()).await;
        }
    }
}

impl fmt::Debug for ConnectionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConnectionLog").field(&self.0.is_some()).finish()
    }
}

fn write_lines(node: &NodeId, mut ends: mpsc::Receiver<Message>) {
    while let Some(Message::Ended(end, held_back)) = ends.blocking_recv() {
        let ConnectionEnd { identity, reason, duration, events, bytes, channels, protocol, coding, resumed } =
            *end;
        // docs/operations.md lists the fields.
        tracing::info!(
            target: TARGET,
            %node,
            session = %identity.session(),
            user = identity.user().map(tracing::field::display),
            reason = reason.as_str(),
            duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            events,
            bytes,
            channels,
            protocol = protocol.as_str(),
            gzip = coding == Coding::Gzip,
            resumed,
            held_back = (held_back > 0).then_some(held_back),
            "connection ended"
        );
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::SessionKey;
    use fanfare_protocol::{SessionId, User};

    use super::*;

    fn end() -> ConnectionEnd {
        let key = SessionKey { user: User::new("42").unwrap(), session: SessionId::random() };
        ConnectionEnd {
            identity: key.into(),
            reason: CloseReason::Closed,
            duration: Duration::from_secs(1),
            events: 1,
            bytes: 2,
            channels: 1,
            protocol: Protocol::Http2,
            coding: Coding::Identity,
            resumed: false,
        }
    }

    /// Returns a log whose queue has this room, and the queue, which no thread reads.
    fn log(room: usize) -> (ConnectionLog, mpsc::Receiver<Message>) {
        let (queue, ends) = mpsc::channel(room);
        let (overflow, held_back) = (AtomicU64::new(0), Counter::default());
        let throttle = Throttle::per_second(1);
        let inner = Inner { throttle, queue, overflow, held_back, thread: Mutex::default() };
        (ConnectionLog(Some(Arc::new(inner))), ends)
    }

    fn held_back(ends: &mut mpsc::Receiver<Message>) -> Vec<u64> {
        let next = |ends: &mut mpsc::Receiver<Message>| match ends.try_recv() {
            Ok(Message::Ended(_, held_back)) => Some(held_back),
            _ => None,
        };
        std::iter::from_fn(|| next(ends)).collect()
    }

    /// Lets every line be written.
    struct Everything;

    impl tracing::Subscriber for Everything {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[tokio::test(start_paused = true)]
    async fn lines_over_the_rate_and_lines_that_find_the_queue_full_are_counted_in_a_later_line() {
        let _everything = tracing::subscriber::set_default(Everything);
        let (log, mut ends) = log(10);
        for _ in 0..100 {
            log.ended(end);
        }
        let inner = log.0.as_ref().unwrap();
        // A minute's lines, of which the queue takes ten.
        assert_eq!((held_back(&mut ends), inner.held_back.get()), (vec![0; 10], 90));
        tokio::time::advance(Duration::from_secs(1)).await;
        log.ended(end);
        assert_eq!((held_back(&mut ends), inner.held_back.get()), (vec![90], 90));
    }

    #[tokio::test]
    async fn a_log_of_no_lines_has_no_thread_and_does_not_ask_how_a_connection_ended() {
        let log = ConnectionLog::start(0, &NodeId::new("a").unwrap(), &mut Registry::default()).unwrap();
        log.ended(|| unreachable!("nothing is logged"));
        log.shutdown().await;
    }
}
