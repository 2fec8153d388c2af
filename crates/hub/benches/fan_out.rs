//! Delivering one event to many streams of one shard, with sockets that cost nothing: `cargo bench --package fanfare-hub`.
//!
//! - `plain`: an event of 100 bytes
//! - `prefetch`: the same where connections have come and gone, so that their order in memory is not that of the channel.
//!   Without and with the prefetch of ADR 8: with 15,000 streams the state of connections is in no cache when it is needed
//! - `compressed`: the same for clients that accept gzip (ADR 7); the event is compressed once
//! - `compress`: one client, and events that are compressed

#![allow(missing_docs, reason = "a benchmark has no users")]

use std::fmt::Write;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fanfare_broker::{BrokerSettings, EventLog, MemoryBroker};
use fanfare_config::stream::StreamConfig;
use fanfare_hub::PREFETCH;
use fanfare_hub::stream::{Coding, Framing, NewStream, Socket, Transport};
use fanfare_hub::testing::{self, TestHub};
use fanfare_protocol::event::MAX_DATA_BYTES;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Event, SessionId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;

const STREAMS: [usize; 3] = [100, 5_000, 30_000];

fn main() {
    divan::main();
}

/// What all sockets of a node share.
#[derive(Default)]
struct Sockets {
    /// Number of writes.
    writes: AtomicUsize,
    /// Number of times that half of the sockets were closed.
    closed: AtomicUsize,
}

/// A socket that takes all that is written to it, until it is closed.
struct Sink {
    sockets: Arc<Sockets>,
    /// The value of [`Sockets::closed`] at which it is closed.
    until: usize,
}

impl Sink {
    fn new(sockets: &Arc<Sockets>) -> Self {
        // Half of those that are open are closed next time.
        let life = 1 + fastrand::u64(1..).trailing_zeros() as usize;
        Self { sockets: Arc::clone(sockets), until: sockets.closed.load(Ordering::Relaxed) + life }
    }
}

impl Socket for Sink {}

impl AsyncRead for Sink {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.sockets.closed.load(Ordering::Relaxed) >= self.until {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.sockets.writes.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A hub with one shard and all its streams live.
struct Node {
    runtime: Runtime,
    broker: MemoryBroker,
    sockets: Arc<Sockets>,
    streams: usize,
    test: TestHub,
}

impl Node {
    fn start(streams: usize, coding: Coding, prefetch: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let broker = MemoryBroker::new(BrokerSettings::default());
        let hour = Duration::from_hours(1);
        let settings =
            StreamConfig { shards: 1, heartbeat: hour, write_timeout: hour, ..StreamConfig::default() };
        let test = runtime.block_on(async { TestHub::start_with_prefetch(&broker, "a", settings, prefetch) });
        let node = Self { runtime, broker, sockets: Arc::default(), streams, test };
        node.open(streams, coding);
        node.deliver("the first");
        node
    }

    /// Opens streams. Each begins with one write; after that an event reaches all of them by a write each.
    fn open(&self, streams: usize, coding: Coding) {
        let before = self.writes();
        self.runtime.block_on(async {
            for _ in 0..streams {
                self.test.hub.open(stream(coding), transport(Sink::new(&self.sockets)));
            }
        });
        self.written(before + streams);
    }

    /// Closes half of the streams and opens as many, a few times.
    fn scatter(&self) {
        for _ in 0..3 {
            self.sockets.closed.fetch_add(1, Ordering::Relaxed);
            let before = self.writes();
            self.publish("the last for some");
            let left = self.settled(before);
            self.open(self.streams - left, Coding::Identity);
        }
    }

    /// Publishes an event and waits until every stream has it.
    fn deliver(&self, data: &str) {
        let before = self.writes();
        self.publish(data);
        self.written(before + self.streams);
    }

    fn publish(&self, data: &str) {
        let event = Event::new(None, data.to_owned(), MAX_DATA_BYTES).expect("an event");
        let publication = Publication { channel: Channel::broadcast(), event, key: None, ephemeral: false };
        for published in self.runtime.block_on(self.broker.publish(vec![publication])) {
            published.expect("the broker stores it");
        }
    }

    fn writes(&self) -> usize {
        self.sockets.writes.load(Ordering::Relaxed)
    }

    fn written(&self, writes: usize) {
        self.runtime.block_on(async {
            while self.writes() < writes {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Waits until an event, before which there were this many writes, has reached all streams that are open, and the others have
    /// ended. Returns the number of those that are open.
    fn settled(&self, before: usize) -> usize {
        self.runtime.block_on(async {
            loop {
                let active = usize::try_from(self.test.metrics.active.get()).expect("a number");
                if self.writes() - before == active {
                    return active;
                }
                tokio::task::yield_now().await;
            }
        })
    }
}

fn transport(socket: Sink) -> Transport {
    Transport { framing: Framing::Chunked, ..Transport::plain(socket) }
}

fn stream(coding: Coding) -> NewStream {
    let channels = vec![(Channel::broadcast(), StartAt::Latest)];
    NewStream { coding, ..testing::stream(SessionId::random(), channels) }
}

/// Something like an order, which compresses as such texts do.
fn order(bytes: usize) -> String {
    let mut text = String::new();
    let mut number = 1_u64;
    while text.len() < bytes {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let _ = write!(
            text,
            r#"{{"item":"{:08x}","quantity":{},"price":{}}},"#,
            number >> 32,
            number % 9,
            number % 9973
        );
    }
    text.truncate(bytes);
    text
}

#[divan::bench(args = STREAMS)]
fn plain(bencher: Bencher<'_, '_>, streams: usize) {
    let (node, data) = (Node::start(streams, Coding::Identity, PREFETCH), order(100));
    bencher.counter(ItemsCount::new(streams)).bench_local(|| node.deliver(&data));
}

#[divan::bench(args = [1_000, 15_000], consts = [0, PREFETCH])]
fn prefetch<const AHEAD: usize>(bencher: Bencher<'_, '_>, streams: usize) {
    let (node, data) = (Node::start(streams, Coding::Identity, AHEAD), order(100));
    node.scatter();
    bencher.counter(ItemsCount::new(streams)).bench_local(|| node.deliver(&data));
}

#[divan::bench(args = STREAMS)]
fn compressed(bencher: Bencher<'_, '_>, streams: usize) {
    let (node, data) = (Node::start(streams, Coding::Gzip, PREFETCH), order(1024));
    bencher.counter(ItemsCount::new(streams)).bench_local(|| node.deliver(&data));
}

#[divan::bench(args = [1024, 16 * 1024, 60 * 1024])]
fn compress(bencher: Bencher<'_, '_>, bytes: usize) {
    let (node, data) = (Node::start(1, Coding::Gzip, PREFETCH), order(bytes));
    bencher.counter(BytesCount::new(bytes)).bench_local(|| node.deliver(&data));
}
