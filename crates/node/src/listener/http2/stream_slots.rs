//! Slots of an HTTP/2 connection and of its requests, and whether the connection is idle.
//!
//! `limits.sockets` limits sockets without a stream, and `limits.connections` limits streams, and so sockets with a
//! stream. A connection moves from one limit to the other as its streams open and close, so that neither limit is
//! exceeded, and clients with streams leave slots to others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::listener::slots::{RequestInFlight, Slot};

/// Slots of one connection. Lives as long as the connection and all its requests.
#[derive(Debug)]
pub(super) struct StreamSlots {
    slot: Slot,
    load: watch::Sender<Load>,
    /// Whether the connection is closed because the client stopped responding.
    timed_out: AtomicBool,
}

#[derive(Debug)]
struct Load {
    /// Whether the connection has a socket slot. It releases the slot while it has streams, and has none afterwards if all
    /// slots are taken then.
    has_slot: bool,
    /// Number of open requests, including streams.
    open: usize,
    /// Number of open streams.
    streams: usize,
    /// Number of requests so far.
    begun: u64,
}

/// The slot of one request. Released when it is dropped.
#[derive(Debug)]
pub(super) struct StreamSlot {
    stream_slots: Arc<StreamSlots>,
    stream: bool,
    _in_flight: RequestInFlight,
}

impl StreamSlots {
    /// Creates the slots of a connection that has a socket slot.
    pub(super) fn new(slot: Slot) -> Arc<Self> {
        let load = Load { has_slot: true, open: 0, streams: 0, begun: 0 };
        Arc::new(Self { slot, load: watch::Sender::new(load), timed_out: AtomicBool::new(false) })
    }

    /// Records that the connection is closed because the client stopped responding.
    pub(super) fn time_out(&self) {
        self.timed_out.store(true, Ordering::Release);
    }

    /// Waits until the connection loses its socket slot. Returns whether it has no open request.
    pub(super) async fn evicted(&self) -> bool {
        self.slot.activity().evicted().await;
        self.slot.activity().is_idle()
    }

    /// Takes a slot for a request.
    pub(super) fn enter(stream_slots: &Arc<Self>) -> StreamSlot {
        stream_slots.load.send_modify(|load| {
            load.open += 1;
            load.begun += 1;
        });
        let in_flight = stream_slots.slot.activity().begin();
        StreamSlot { stream_slots: Arc::clone(stream_slots), stream: false, _in_flight: in_flight }
    }

    /// Waits for the first request.
    pub(super) async fn begun(&self) {
        self.until(|load| load.begun > 0).await;
    }

    /// Waits until the connection has neither a stream nor a socket slot.
    pub(super) async fn crowded(&self) {
        self.until(|load| load.streams == 0 && !load.has_slot).await;
    }

    /// Waits until there was no open request for `time`.
    pub(super) async fn idle(&self, time: Duration) {
        loop {
            let mut begun = 0;
            self.until(|load| {
                begun = load.begun;
                load.open == 0
            })
            .await;
            if timeout(time, self.until(|load| load.begun != begun)).await.is_err() {
                return;
            }
        }
    }

    async fn until(&self, is: impl FnMut(&Load) -> bool) {
        // `self` has the sender, so it exists.
        let _ = self.load.subscribe().wait_for(is).await;
    }
}

impl StreamSlot {
    /// Returns whether the connection is closed because the client stopped responding.
    pub(super) fn timed_out(&self) -> bool {
        self.stream_slots.timed_out.load(Ordering::Acquire)
    }

    /// Marks the request as a stream.
    pub(super) fn carry_stream(&mut self) {
        if !std::mem::replace(&mut self.stream, true) {
            self.stream_slots.slot.activity().count_stream(true);
            self.stream_slots.load.send_modify(|load| {
                load.streams += 1;
                if std::mem::take(&mut load.has_slot) {
                    self.stream_slots.slot.release();
                }
            });
        }
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        if self.stream {
            self.stream_slots.slot.activity().count_stream(false);
        }
        self.stream_slots.load.send_modify(|load| {
            load.open -= 1;
            load.streams -= usize::from(self.stream);
            if self.stream && load.streams == 0 {
                load.has_slot = self.stream_slots.slot.retake();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use fanfare_config::limits::LimitsConfig;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::http::metrics::HttpMetrics;
    use crate::listener::slots::Slots;
    use crate::memory::Memory;

    /// A moment of virtual time.
    const MOMENT: Duration = Duration::from_millis(1);
    const IDLE: Duration = Duration::from_secs(30);

    fn stream_slots(sockets: usize) -> (Arc<StreamSlots>, Arc<Slots>) {
        let limits = LimitsConfig { sockets, ..LimitsConfig::default() };
        let slots = Slots::new(&limits, HttpMetrics::register(&mut Registry::default()));
        (StreamSlots::new(slots.enter(None, &Memory::new(1 << 40).account(None)).unwrap()), slots)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_streams_releases_its_socket_slot_and_takes_it_back() {
        let (stream_slots, sockets) = stream_slots(1);
        let (mut first, mut second) = (StreamSlots::enter(&stream_slots), StreamSlots::enter(&stream_slots));
        assert_eq!(sockets.free(), 0);
        first.carry_stream();
        second.carry_stream();
        assert_eq!(sockets.free(), 1);
        drop(first);
        assert_eq!(sockets.free(), 1);
        drop(second);
        assert_eq!(sockets.free(), 0);
        assert!(timeout(MOMENT, stream_slots.crowded()).await.is_err());
        drop(stream_slots);
        assert_eq!(sockets.free(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_socket_slot_was_taken_is_crowded() {
        let (stream_slots, sockets) = stream_slots(1);
        let mut stream = StreamSlots::enter(&stream_slots);
        stream.carry_stream();
        let other = sockets.enter(None, &Memory::new(1 << 40).account(None)).unwrap();
        assert!(timeout(MOMENT, stream_slots.crowded()).await.is_err());
        drop(stream);
        timeout(MOMENT, stream_slots.crowded()).await.unwrap();
        drop(other);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_after_the_whole_time_without_a_request() {
        let (stream_slots, _sockets) = stream_slots(1);
        let waiting = Arc::clone(&stream_slots);
        let begun = tokio::time::Instant::now();
        let idle = tokio::spawn(async move { waiting.idle(IDLE).await });
        tokio::time::sleep(IDLE / 2).await;
        // A request that ends before the next check counts, too.
        drop(StreamSlots::enter(&stream_slots));
        tokio::time::sleep(IDLE / 2).await;
        let stream_slot = StreamSlots::enter(&stream_slots);
        tokio::time::sleep(IDLE * 2).await;
        drop(stream_slot);
        idle.await.unwrap();
        assert!(begun.elapsed() >= IDLE * 4 && begun.elapsed() < IDLE * 5, "{:?}", begun.elapsed());
    }
}
