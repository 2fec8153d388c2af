//! Delivering one event to many streams of one shard, with sockets that cost nothing: `cargo bench --package fanfare-hub`.
//!
//! - `plain`: an event of 100 bytes. With 30,000 streams the state of connections is in no cache when it is needed, which is
//!   what the prefetch of ADR 8 is for
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

/// A socket that takes all that is written to it and counts the writes of all sockets together.
struct Sink(Arc<AtomicUsize>);

impl Socket for Sink {}

impl AsyncRead for Sink {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.fetch_add(1, Ordering::Relaxed);
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
    writes: Arc<AtomicUsize>,
    streams: usize,
    _test: TestHub,
}

impl Node {
    fn start(streams: usize, coding: Coding) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let broker = MemoryBroker::new(BrokerSettings::default());
        let hour = Duration::from_hours(1);
        let settings =
            StreamConfig { shards: 1, heartbeat: hour, write_timeout: hour, ..StreamConfig::default() };
        let writes = Arc::new(AtomicUsize::new(0));
        let test = runtime.block_on(async {
            let test = TestHub::start(&broker, "a", settings);
            for _ in 0..streams {
                test.hub.open(stream(coding), transport(Sink(Arc::clone(&writes))));
            }
            test
        });
        let node = Self { runtime, broker, writes, streams, _test: test };
        // Each stream begins with one write; after that an event reaches all of them by a write each.
        node.written(streams);
        node.deliver("the first");
        node
    }

    /// Publishes an event and waits until every stream has it.
    fn deliver(&self, data: &str) {
        let before = self.writes.load(Ordering::Relaxed);
        let event = Event::new(None, data.to_owned(), MAX_DATA_BYTES).expect("an event");
        let publication = Publication { channel: Channel::broadcast(), event, key: None, ephemeral: false };
        for published in self.runtime.block_on(self.broker.publish(vec![publication])) {
            published.expect("the broker stores it");
        }
        self.written(before + self.streams);
    }

    fn written(&self, writes: usize) {
        self.runtime.block_on(async {
            while self.writes.load(Ordering::Relaxed) < writes {
                tokio::task::yield_now().await;
            }
        });
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
    let (node, data) = (Node::start(streams, Coding::Identity), order(100));
    bencher.counter(ItemsCount::new(streams)).bench_local(|| node.deliver(&data));
}

#[divan::bench(args = STREAMS)]
fn compressed(bencher: Bencher<'_, '_>, streams: usize) {
    let (node, data) = (Node::start(streams, Coding::Gzip), order(1024));
    bencher.counter(ItemsCount::new(streams)).bench_local(|| node.deliver(&data));
}

#[divan::bench(args = [1024, 16 * 1024, 60 * 1024])]
fn compress(bencher: Bencher<'_, '_>, bytes: usize) {
    let (node, data) = (Node::start(1, Coding::Gzip), order(bytes));
    bencher.counter(BytesCount::new(bytes)).bench_local(|| node.deliver(&data));
}
