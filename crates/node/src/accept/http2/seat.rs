//! What one HTTP/2 connection holds of the node, and whether it does anything.
//!
//! `limits.sockets` bounds the sockets that carry no stream, and `limits.connections` the streams, and so the sockets
//! that carry one. A connection changes from one to the other as its streams come and go, so that neither bound is
//! passed, and clients with streams leave room for others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::accept::slots::{InHand, Slot};

/// Of one connection. Lives as long as it and all its requests.
#[derive(Debug)]
pub(super) struct Seat {
    slot: Slot,
    load: watch::Sender<Load>,
}

#[derive(Debug)]
struct Load {
    /// Whether the connection has its slot: it leaves it to others while there are streams, and finds none when there was no
    /// room once the last has ended.
    placed: bool,
    /// Requests, streams among them, that are not over.
    open: usize,
    /// Streams that are not over.
    streams: usize,
    /// How many requests there have been.
    begun: u64,
}

/// The place of one request. Given up when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    seat: Arc<Seat>,
    stream: bool,
    _in_hand: InHand,
}

impl Seat {
    /// A connection that has a slot.
    pub(super) fn new(slot: Slot) -> Arc<Self> {
        let load = Load { placed: true, open: 0, streams: 0, begun: 0 };
        Arc::new(Self { slot, load: watch::Sender::new(load) })
    }

    /// Waits until its slot is given to another, and answers whether nothing is open on it.
    pub(super) async fn evicted(&self) -> bool {
        self.slot.activity().evicted().await;
        self.slot.activity().is_idle()
    }

    /// A request begins.
    pub(super) fn enter(seat: &Arc<Self>) -> Place {
        seat.load.send_modify(|load| {
            load.open += 1;
            load.begun += 1;
        });
        let in_hand = seat.slot.activity().begin();
        Place { seat: Arc::clone(seat), stream: false, _in_hand: in_hand }
    }

    /// Waits for the first request.
    pub(super) async fn begun(&self) {
        self.until(|load| load.begun > 0).await;
    }

    /// Waits until the connection has neither a stream nor room among the sockets without one.
    pub(super) async fn crowded(&self) {
        self.until(|load| load.streams == 0 && !load.placed).await;
    }

    /// Waits until nothing was open for so long.
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
        // The sender is ours, so it is not gone.
        let _ = self.load.subscribe().wait_for(is).await;
    }
}

impl Place {
    /// The request became a stream.
    pub(super) fn carry_stream(&mut self) {
        if !std::mem::replace(&mut self.stream, true) {
            self.seat.slot.activity().count_stream(true);
            self.seat.load.send_modify(|load| {
                load.streams += 1;
                if std::mem::take(&mut load.placed) {
                    self.seat.slot.release();
                }
            });
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.stream {
            self.seat.slot.activity().count_stream(false);
        }
        self.seat.load.send_modify(|load| {
            load.open -= 1;
            load.streams -= usize::from(self.stream);
            if self.stream && load.streams == 0 {
                load.placed = self.seat.slot.retake();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::accept::slots::Slots;
    use crate::config::limits::LimitsConfig;
    use crate::http::metrics::HttpMetrics;

    /// A moment of virtual time.
    const MOMENT: Duration = Duration::from_millis(1);
    const IDLE: Duration = Duration::from_secs(30);

    fn seat(sockets: usize) -> (Arc<Seat>, Arc<Slots>) {
        let limits = LimitsConfig { sockets, ..LimitsConfig::default() };
        let slots = Slots::new(&limits, HttpMetrics::register(&mut Registry::default()));
        (Seat::new(slots.enter(None).unwrap()), slots)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_streams_leaves_its_place_to_others_and_takes_it_back() {
        let (seat, sockets) = seat(1);
        let (mut first, mut second) = (Seat::enter(&seat), Seat::enter(&seat));
        assert_eq!(sockets.free(), 0);
        first.carry_stream();
        second.carry_stream();
        assert_eq!(sockets.free(), 1);
        drop(first);
        assert_eq!(sockets.free(), 1);
        drop(second);
        assert_eq!(sockets.free(), 0);
        assert!(timeout(MOMENT, seat.crowded()).await.is_err());
        drop(seat);
        assert_eq!(sockets.free(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_place_was_taken_is_one_too_many() {
        let (seat, sockets) = seat(1);
        let mut stream = Seat::enter(&seat);
        stream.carry_stream();
        let other = sockets.enter(None).unwrap();
        assert!(timeout(MOMENT, seat.crowded()).await.is_err());
        drop(stream);
        timeout(MOMENT, seat.crowded()).await.unwrap();
        drop(other);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_is_without_any_request_for_the_whole_time() {
        let (seat, _sockets) = seat(1);
        let waiting = Arc::clone(&seat);
        let begun = tokio::time::Instant::now();
        let idle = tokio::spawn(async move { waiting.idle(IDLE).await });
        tokio::time::sleep(IDLE / 2).await;
        // One that is over before anybody looks counts, too.
        drop(Seat::enter(&seat));
        tokio::time::sleep(IDLE / 2).await;
        let place = Seat::enter(&seat);
        tokio::time::sleep(IDLE * 2).await;
        drop(place);
        idle.await.unwrap();
        assert!(begun.elapsed() >= IDLE * 4 && begun.elapsed() < IDLE * 5, "{:?}", begun.elapsed());
    }
}
