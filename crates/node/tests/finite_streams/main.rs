//! A simulation of finite streams: the real readers of two nodes over a broker that loses connections, answers and, in failovers,
//! acknowledged appends. A producer appends until it ends its stream or dies.
//!
//! Whatever happens, a reader has only bytes that the stream has, or learns that it must begin again; and each reader ends with
//! all bytes and the end that is stored. `FANFARE_SIM_SEEDS` is the number of seeds, `FANFARE_SIM_SEED` runs one.
//!
//! # Layout
//!
//! - `twin`: the broker, and the way to it
//! - `client`: a producer, and a reader that leaves and comes back

mod client;
mod twin;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::stream_store::{Found, ReadRange, StreamPage};
use fanfare_broker::{BrokerSettings, MemoryBroker, NodeId, StreamStore};
use fanfare_node::finite::reader::Pages;
use fanfare_node::finite::readers::LiveReaders;
use fanfare_protocol::finite::{Form, MediaType, StreamName};
use prometheus_client::metrics::counter::Counter;
use tokio::time::sleep;

use crate::client::{Client, Counts};
use crate::twin::Twin;

const READERS: usize = 4;
/// How long faults happen.
const TROUBLE: Duration = Duration::from_secs(10);
/// How long the rest may take: a lease, its renewals, and readers that come back.
const PATIENCE: Duration = Duration::from_mins(2);
/// Small pages, so that many are cut.
const PAGE: usize = 64;

/// One node: its way to the broker, and its live readers.
#[derive(Clone)]
struct Node {
    twin: Twin,
    readers: LiveReaders,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_reader_has_the_bytes_and_the_end_that_are_stored() {
    if let Some(seed) = number("FANFARE_SIM_SEED") {
        run(seed);
        return;
    }
    let counts =
        (0..number("FANFARE_SIM_SEEDS").unwrap_or(300)).map(run).fold(Counts::default(), Counts::and);
    // The faults happened, and readers met them.
    assert!(
        counts.gone > 0 && counts.left > 0 && counts.failed > 0 && counts.lapsed > 0 && counts.completed > 0,
        "{counts:?}"
    );
}

fn run(seed: u64) -> Counts {
    // What the nodes draw is the same in each run, too.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let run = tokio::time::timeout(TROUBLE + PATIENCE, World::new(seed).run());
        run.await.unwrap_or_else(|_| panic!("seed {seed}: a reader did not end"))
    })
}

struct World {
    seed: u64,
    random: fastrand::Rng,
    broker: MemoryBroker,
    nodes: Vec<Node>,
    name: StreamName,
    media_type: MediaType,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let broker = MemoryBroker::starting_at(BrokerSettings::default(), 1_800_000_000_000);
        let nodes = (0..2).map(|n| {
            let twin = Twin::new(broker.clone(), random.u64(..));
            let id = NodeId::new(&format!("node-{n}")).expect("an id");
            Node { readers: LiveReaders::new(Arc::new(twin.clone()), id, 100), twin }
        });
        let nodes = nodes.collect();
        let kinds = ["application/octet-stream", "application/json"];
        let media_type = MediaType::new(kinds[random.usize(0..2)]).expect("a media type");
        let name = StreamName::new("a").expect("a name");
        Self { seed, random, broker, nodes, name, media_type }
    }

    async fn run(mut self) -> Counts {
        let pages = Pages::new(PAGE, Counter::default());
        let client = |world: &mut Self| Client {
            random: fastrand::Rng::with_seed(world.random.u64(..)),
            nodes: world.nodes.clone(),
            name: world.name.clone(),
            media_type: world.media_type.clone(),
            pages: pages.clone(),
            counts: Counts::default(),
            last: None,
        };
        let producer = tokio::spawn(client(&mut self).produce());
        let mut readers = Vec::new();
        for _ in 0..READERS {
            readers.push(tokio::spawn(client(&mut self).read()));
        }
        let lost = self.trouble().await;
        let mut counts = producer.await.expect("the producer");
        let mut read = Vec::new();
        for reader in readers {
            read.push(reader.await.expect("a reader"));
        }
        let mut came_back = Vec::new();
        for (client, bytes, end) in read {
            // One that ended before a failover comes back, as its page does.
            came_back.push(client.read_on(bytes, end).await);
        }
        let stored = self.stored().await;
        for (client, bytes, end) in came_back {
            counts = counts.and(client);
            assert_eq!(bytes, stored.bytes, "seed {}: bytes, after {lost} failovers", self.seed);
            assert_eq!(Some(end), stored.info.end, "seed {}: end, after {lost} failovers", self.seed);
        }
        for node in &self.nodes {
            node.readers.shutdown().await;
        }
        counts
    }

    /// Draws faults for a while. Returns how many failovers there were.
    async fn trouble(&mut self) -> usize {
        let (mut copy, mut lost) = (None, 0);
        let until = tokio::time::Instant::now() + TROUBLE;
        while tokio::time::Instant::now() < until {
            sleep(Duration::from_millis(self.random.u64(1..400))).await;
            let twin = &self.nodes[self.random.usize(0..2)].twin;
            match self.random.u8(0..7) {
                0 => twin.cut(),
                1 => twin.mend(),
                2 => twin.set_failing(true),
                3 => twin.set_failing(false),
                4 | 5 => copy = Some(self.broker.copy_streams()),
                _ => {
                    if let Some(copy) = copy.take() {
                        lost += 1;
                        self.broker.fail_over_streams(copy);
                        // Half of the time, nodes notice.
                        if self.random.bool() {
                            self.nodes.iter().for_each(|node| node.twin.cut());
                        }
                    }
                }
            }
        }
        for node in &self.nodes {
            node.twin.mend();
            node.twin.set_failing(false);
            // A connection that did not notice is found by a probe.
            node.twin.cut();
            node.twin.mend();
        }
        lost
    }

    async fn stored(&self) -> StreamPage {
        let range = ReadRange { from: Some(0), bytes: usize::MAX >> 8, renews: false };
        match self.broker.read_stream(&self.name, range).await {
            Ok(Found::Here(page)) => page,
            other => panic!("seed {}: {other:?}", self.seed),
        }
    }
}

/// Returns the bytes of one append: whole lines if they are messages.
fn chunk(random: &mut fastrand::Rng, form: Form) -> Bytes {
    let letters = |random: &mut fastrand::Rng, most: usize| -> String {
        (0..random.usize(1..most)).map(|_| random.lowercase()).collect()
    };
    match form {
        Form::Json => {
            let lines = (0..random.usize(1..4)).map(|_| format!("\"{}\"\n", letters(random, 90)));
            lines.collect::<Vec<_>>().concat().into()
        }
        Form::Text | Form::Bytes => letters(random, 90).into(),
    }
}
