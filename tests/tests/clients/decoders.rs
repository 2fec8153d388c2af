//! Every decoder of gzip, a piece at a time: the next is published when the one before has been printed.

use std::fmt::Write as _;
use std::time::Duration;

use fanfare_testkit::node::Node;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use futures_util::StreamExt;

use crate::catalog::{DECODERS, Entry};
use crate::program::Program;

/// How long a piece may take. Only a test that fails waits so long; a virtual machine that starts beside others, nearly.
const LIMIT: Duration = Duration::from_mins(1);
/// How many decoders are tried at once: most of the work is starting them.
const AT_ONCE: usize = 4;
/// Sizes of events, in bytes, that are published at once.
const BURST: [usize; 12] = [10, 3000, 40, 299, 300, 301, 20_000, 1, 1000, 100, 50_000, 10];

#[tokio::test]
async fn every_decoder_shows_each_piece_before_the_next_is_sent() {
    let redis = Redis::start().await;
    // Without heartbeats nothing but the piece itself can push it out of a decoder.
    let quiet = Node::of(&redis).id("quiet").set("STREAM__HEARTBEAT", "1h").start().await;
    let beating = Node::of(&redis).id("beating").set("STREAM__HEARTBEAT", "500ms").start().await;
    let outcomes = futures_util::stream::iter(&DECODERS).map(async |entry| {
        let heartbeats = Reading::of(entry, &beating).heartbeats();
        let pieces = Reading::of(entry, &quiet).pieces(Publisher::on(&redis).await, &quiet);
        let (heartbeats, pieces) = tokio::join!(heartbeats, pieces);
        println!("{:<25} {}", entry.name, if heartbeats.is_ok() && pieces.is_ok() { "ok" } else { "FAULT" });
        heartbeats.and(pieces).map_err(|why| format!("{}: {why}", entry.name))
    });
    let outcomes: Vec<_> = outcomes.buffer_unordered(AT_ONCE).collect().await;
    let faults: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(faults.is_empty(), "{} of {} decoders:\n{}", faults.len(), DECODERS.len(), faults.join("\n"));
    let compressed = quiet.metrics().await.sum("sse_gzip_connections_total", &[]);
    let wanted: u32 = DECODERS.iter().map(|entry| u32::from(entry.is_compressed())).sum();
    assert!(
        (compressed - f64::from(wanted)).abs() < f64::EPSILON,
        "{compressed} streams of {wanted} were compressed"
    );
}

/// A program that reads a stream.
struct Reading {
    program: Program,
    user: String,
}

impl Reading {
    fn of(entry: &Entry, node: &Node) -> Self {
        // Its two streams are of two users, so that the end of one is not that of the other.
        let user = format!("{}-{}", entry.name, node.id());
        let url = format!("http://{}/v1/events?user={user}", node.address());
        Self { program: Program::start(&entry.command(&url)), user }
    }

    /// The first block, and two heartbeats.
    async fn heartbeats(mut self) -> Result<(), String> {
        self.shows("the first block", |text| text.contains("event: connected\n")).await?;
        for wanted in 1..=2 {
            self.shows("a heartbeat", |text| {
                text.lines().filter(|line| line.starts_with(':')).count() >= wanted
            })
            .await?;
        }
        Ok(())
    }

    /// Everything else.
    async fn pieces(mut self, mut publisher: Publisher, node: &Node) -> Result<(), String> {
        let channel = format!("user:{}", self.user);
        self.shows("the first block", |text| {
            text.split_once("event: connected\n").is_some_and(|(_, rest)| rest.contains("\n\n"))
        })
        .await?;
        for size in [100, 1000, 10] {
            let data = text(size);
            publisher.publish(&channel, "note", &data).await;
            self.shows(&format!("an event of {size} bytes"), |text| {
                text.contains(&format!("data: {data}\n\n"))
            })
            .await?;
        }
        let burst = BURST.map(text);
        publisher.publish_all(&channel, "note", &burst).await;
        self.shows("the last of many", |text| {
            let mut rest = text;
            burst.iter().all(|data| {
                let found = rest.split_once(&format!("data: {data}\n\n"));
                rest = found.map_or("", |(_, after)| after);
                found.is_some()
            })
        })
        .await?;
        let ended = node.api().delete(&format!("/v1/users/{}/sessions", self.user)).await;
        assert_eq!(ended.status, 200, "{}", ended.text);
        self.shows("the last word", |text| text.contains("event: disconnected\n")).await?;
        self.ends().await
    }

    async fn shows(&mut self, what: &str, holds: impl Fn(&str) -> bool) -> Result<(), String> {
        let outcome = wait(async || if holds(&self.program.output()) { Ok(()) } else { Err(()) });
        outcome.await.map_err(|()| {
            let output = self.program.output();
            let end =
                output.chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect::<String>();
            format!(
                "it does not show {what}; the end of {} bytes: {end:?}\n{}",
                output.len(),
                self.program.errors()
            )
        })
    }

    /// A clean end: the checksum fits, and nothing is missing.
    async fn ends(&mut self) -> Result<(), String> {
        let status = wait(async || self.program.ended().ok_or(())).await;
        let status = status.map_err(|()| "it does not end".to_owned())?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("it ended with {status}: {}", self.program.errors()))
        }
    }
}

/// Looks until there is something.
async fn wait<T>(mut look: impl AsyncFnMut() -> Result<T, ()>) -> Result<T, ()> {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        match look().await {
            Err(()) if tokio::time::Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            outcome => return outcome,
        }
    }
}

/// Data of so many bytes that does not compress away.
fn text(size: usize) -> String {
    let mut text = String::new();
    let mut number = fastrand::u64(..);
    while text.len() < size {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let _ = write!(text, "{{\"sku\":{}}},", number >> 40);
    }
    text.truncate(size);
    text
}
