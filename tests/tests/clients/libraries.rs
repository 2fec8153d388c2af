//! Every library through every scene.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fanfare_testkit::lifecycle;
use fanfare_testkit::publisher::Publisher;
use serde_json::json;
use tokio::time::Instant;

use crate::account::{Account, SHORT};
use crate::catalog::LIBRARIES;
use crate::dead_end::DeadEnd;
use crate::message::Message;
use crate::stage::Stage;

/// How long the clients may take for what they should do. Some wait longer each time.
const LIMIT: Duration = Duration::from_secs(90);
/// A wait for longer than this is worth a line.
const SLOW: Duration = Duration::from_secs(5);
/// How long between two looks at what the clients printed.
const STEP: Duration = Duration::from_millis(20);
/// Events in a row on each channel.
const ROW: usize = 5;

#[tokio::test]
async fn every_library_gets_every_event_once_or_a_gap_through_kills_drains_and_outages() {
    let mut play = Play::open().await;
    play.both_nodes_are_killed_before_the_first_event().await;
    play.each_node_drains().await;
    play.each_node_is_killed().await;
    play.everything_is_away().await;
    play.retention_passes().await;
    play.judge().await;
    crate::table::check();
}

/// The stage, the clients, and what was published.
struct Play {
    stage: Stage,
    publisher: Publisher,
    clients: Vec<Account>,
    /// How many events each channel has had.
    published: BTreeMap<String, u64>,
    scene: &'static str,
    since: Instant,
}

impl Play {
    async fn open() -> Self {
        let stage = Stage::set().await;
        let publisher = Publisher::on(&stage.redis).await;
        let url = stage.balancer.url();
        let clients = LIBRARIES.iter().map(|entry| Account::open(entry, &url)).collect();
        let (published, since) = (BTreeMap::new(), Instant::now());
        Self { stage, publisher, clients, published, scene: "the first connect", since }
    }

    async fn both_nodes_are_killed_before_the_first_event(&mut self) {
        self.all("to be connected", |client| client.count(is_connected) > 0).await;
        self.begin("both nodes are killed before the first event");
        self.stage.kill_all().await;
        self.publish().await;
        self.stage.start_all().await;
        self.caught_up().await;
    }

    async fn each_node_drains(&mut self) {
        self.begin("each node drains");
        for place in Stage::places() {
            self.typing().await;
            self.stage.drain(place).await;
            self.publish().await;
            self.stage.start(place).await;
            self.caught_up().await;
        }
        self.reconnected().await;
    }

    async fn each_node_is_killed(&mut self) {
        self.begin("each node is killed");
        for place in Stage::places() {
            self.typing().await;
            self.publish().await;
            self.stage.kill(place).await;
            self.publish().await;
            self.caught_up().await;
            self.stage.start(place).await;
        }
        self.reconnected().await;
    }

    async fn everything_is_away(&mut self) {
        self.begin("all nodes and the balancer are away");
        self.typing().await;
        self.stage.kill_all().await;
        let overloaded = |client: &Account| client.count(|message| *message == Message::Overloaded) > 0;
        self.all("the balancer's `overloaded`", overloaded).await;
        self.stage.balancer.stop().await;
        let nothing = DeadEnd::at(self.stage.balancer.address()).await;
        self.all("a refused connect", |client| nothing.has_met(client.name)).await;
        self.publish().await;
        self.publish_by_intake("broadcast").await;
        nothing.close().await;
        self.stage.start_all().await;
        self.stage.balancer.start_again().await;
        self.caught_up().await;
        self.reconnected().await;
    }

    async fn retention_passes(&mut self) {
        self.begin("retention passes");
        self.publish_to(SHORT).await;
        self.caught_up().await;
        self.typing().await;
        self.stage.kill_all().await;
        // No client gets these two.
        for number in 0..2 {
            let data = json!({"channel": SHORT, "lost": number});
            self.publisher.publish(SHORT, "note", &data.to_string()).await;
        }
        self.publish().await;
        let log = fanfare_testkit::publisher::log_key(SHORT);
        fanfare_testkit::deadline::becomes("the log is gone", 0, async || {
            self.stage.redis.get::<u64>(&["EXISTS", &log]).await
        })
        .await;
        self.stage.start_all().await;
        self.caught_up().await;
        // The next event says that others came before it.
        self.publish_to(SHORT).await;
        self.all("a gap", |client| client.count(is_gap) > 0).await;
        self.caught_up().await;
        self.reconnected().await;
    }

    /// Starts counting for a scene.
    fn begin(&mut self, scene: &'static str) {
        println!("{:>5.1} s  {scene}", self.since.elapsed().as_secs_f64());
        self.scene = scene;
        self.clients.iter_mut().for_each(Account::begin);
    }

    /// Waits until this holds for all clients; blames those for which it does not come to.
    async fn all(&mut self, what: &str, holds: impl Fn(&Account) -> bool) {
        let begin = Instant::now();
        let mut last = Vec::new();
        loop {
            let mut waiting = Vec::new();
            for client in &mut self.clients {
                client.read(self.scene);
                if client.takes_part() && !holds(client) {
                    waiting.push(client);
                }
            }
            if waiting.is_empty() {
                if begin.elapsed() > SLOW {
                    println!("{:>5.1} s  {what}: the last are {last:?}", self.since.elapsed().as_secs_f64());
                }
                return;
            }
            if begin.elapsed() >= LIMIT {
                for client in waiting {
                    println!("{:>5.1} s  {} without {what}", self.since.elapsed().as_secs_f64(), client.name);
                    client.blame(format!("{}: not within {LIMIT:?}: {what}", self.scene));
                }
                return;
            }
            last = waiting.iter().map(|client| client.name).collect();
            tokio::time::sleep(STEP).await;
        }
    }

    /// A row of events on each channel, `FCALL` by `FCALL`.
    async fn publish(&mut self) {
        let channels = self.clients.iter().map(Account::channel);
        for channel in channels.chain(["broadcast".to_owned()]).collect::<Vec<_>>() {
            for _ in 0..ROW {
                self.publish_to(&channel).await;
            }
        }
    }

    async fn publish_to(&mut self, channel: &str) {
        let data = self.next(channel);
        self.publisher.publish(channel, kind_on(channel), &data).await;
    }

    /// A row of events on a channel, by the durable intake.
    async fn publish_by_intake(&mut self, channel: &str) {
        for _ in 0..ROW {
            let data = self.next(channel);
            let fields = [("channel", channel), ("type", kind_on(channel)), ("data", &data)]
                .map(|(k, v)| (k, v.as_bytes()));
            self.publisher.ingest(&fields).await.expect("Redis is there");
        }
    }

    fn next(&mut self, channel: &str) -> String {
        let number = self.published.entry(channel.to_owned()).or_default();
        *number += 1;
        // For Turbo, which renders such elements in plain messages.
        let html = format!(
            "<turbo-stream action='append' target='log'><template><i>{number}</i></template></turbo-stream>"
        );
        json!({"channel": channel, "n": number, "html": html}).to_string()
    }

    /// An ephemeral event, which is the last that all clients see before a fault.
    async fn typing(&mut self) {
        // Disconnected clients miss it, so all clients must be connected first.
        self.present().await;
        // Each is another one: what was published before tells them apart.
        let scene = format!("{} {:?}", self.scene, self.published["broadcast"]);
        let mark = json!({"type": "typing", "data": {"typing": scene}}).to_string();
        self.publisher.ephemeral("broadcast", mark).await.expect("Redis is there");
        let seen = |client: &Account| {
            client
                .so_far()
                .iter()
                .any(|message| matches!(message, Message::Typing { scene: of } if *of == scene))
        };
        self.all("the typing mark", seen).await;
    }

    /// Waits until all clients get what is published now.
    async fn present(&mut self) {
        self.publish_to("broadcast").await;
        self.caught_up().await;
    }

    /// Waits until the last event of each channel has reached all clients.
    async fn caught_up(&mut self) {
        let published = self.published.clone();
        let last = |client: &Account, channel: &str| {
            published.get(channel).is_none_or(|last| client.numbers(channel).contains(last))
        };
        let all = |client: &Account| {
            [client.channel().as_str(), "broadcast", SHORT].iter().all(|channel| last(client, channel))
        };
        self.all("the last event of each channel", all).await;
    }

    /// The fault happened: each client has come back in this scene.
    async fn reconnected(&mut self) {
        self.all("a reconnect", |client| client.count(is_connected) > 0).await;
    }

    /// Compares what came with what was published.
    async fn judge(mut self) {
        println!("{:>5.1} s  the end", self.since.elapsed().as_secs_f64());
        let sessions = sessions(&self.stage.redis).await;
        for client in &mut self.clients {
            let mine: BTreeSet<String> = client.messages().iter().filter_map(session).collect();
            if let Some(unknown) =
                mine.iter().find(|id| !sessions.contains(&(client.name.to_owned(), (*id).clone())))
            {
                client.blame(format!("no node knows of its session {unknown}"));
            }
            for channel in [client.channel(), "broadcast".to_owned(), SHORT.to_owned()] {
                let wanted: Vec<u64> = (1..=self.published[&channel]).collect();
                let came = client.numbers(&channel);
                if came != wanted {
                    client.blame(difference(&channel, &wanted, &came));
                }
            }
            let gaps: Vec<_> = client.messages().iter().filter(|message| is_gap(message)).collect();
            if gaps != [&Message::Gap { channel: SHORT.to_owned() }] {
                client.blame(format!("the gaps that it received: {gaps:?}"));
            }
            println!(
                "{:<25} {:>2} connects, {:>3} messages",
                client.name,
                mine.len(),
                client.messages().len()
            );
        }
        let faults: Vec<String> = self.clients.iter().filter_map(Account::faults).collect();
        for client in self.clients {
            client.close().await;
        }
        assert!(faults.is_empty(), "{} of {} clients:\n{}", faults.len(), LIBRARIES.len(), faults.join("\n"));
    }
}

/// Both kinds of events: with a type, and plain messages.
fn kind_on(channel: &str) -> &'static str {
    if channel == "broadcast" { "" } else { "note" }
}

fn is_connected(message: &Message) -> bool {
    matches!(message, Message::Connected { .. })
}

fn is_gap(message: &Message) -> bool {
    matches!(message, Message::Gap { .. })
}

fn session(message: &Message) -> Option<String> {
    if let Message::Connected { session } = message { Some(session.clone()) } else { None }
}

/// The users and sessions that the nodes have reported as connected.
async fn sessions(redis: &fanfare_testkit::redis::Redis) -> BTreeSet<(String, String)> {
    let all = lifecycle::all(redis).await;
    let connected = all.into_iter().filter(|fields| fields["event"] == "session.connected");
    connected.map(|fields| (fields["user"].clone(), fields["session"].clone())).collect()
}

fn difference(channel: &str, wanted: &[u64], came: &[u64]) -> String {
    let missing: Vec<_> = wanted.iter().filter(|number| !came.contains(number)).collect();
    let mut seen = BTreeSet::new();
    let twice: Vec<_> = came.iter().filter(|number| !seen.insert(**number)).collect();
    let order = if came.is_sorted() { "" } else { ", out of order" };
    format!("{channel}: {} events: missing {missing:?}, twice {twice:?}{order}", wanted.len())
}
