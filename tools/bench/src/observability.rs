//! What metrics, figures and the log of connections cost a node: rounds with and without them, in turn.
//!
//! With them, `/metrics` is read as Prometheus does, a stream follows the figures that the node publishes each second, and each
//! connection that ends has a line in the log. Without them, nothing is read and the log is off. In both, the same events go to the
//! same number of streams, while other clients come and go. Counting itself cannot be turned off.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::endpoint::{Audience, Endpoint, Way};
use crate::load_generator::{GeneratorSettings, LoadGenerator};
use crate::measure::{Load, Pace};
use crate::measurement::Measurement;
use crate::process::Watched;
use crate::sample::Content;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct ObservabilitySettings {
    /// Number of streams, which all get every event.
    pub streams: usize,
    /// Events a second.
    pub rate: f64,
    /// Number of pairs of rounds.
    pub pairs: usize,
    /// Duration of a round.
    pub window: Duration,
    /// How often `/metrics` is read.
    pub scrape: Duration,
    /// Clients a second that open a stream and leave, in both kinds of rounds.
    pub churn: u32,
}

/// One pair of rounds.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Without metrics being read, figures being followed, and lines in the log.
    pub off: Measurement,
    /// With them.
    pub on: Measurement,
}

impl Pair {
    /// Returns the node's additional processor time for a delivery, as a part of that without.
    pub fn cost(&self) -> f64 {
        node_cpu(&self.on) / node_cpu(&self.off) - 1.0
    }
}

/// Returns the node's processor time for a delivery, in microseconds.
pub fn node_cpu(round: &Measurement) -> f64 {
    round.cpu.get("node").map_or(f64::NAN, |cpu| cpu.per_delivery)
}

/// Measures pairs of rounds. Every second pair begins with the round that is on, so that drift affects both alike.
///
/// # Errors
///
/// Fails if a round cannot be measured.
pub fn measure(settings: ObservabilitySettings) -> anyhow::Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for pair in 0..settings.pairs {
        let on_first = pair % 2 == 1;
        let first = round(settings, on_first)?;
        let second = round(settings, !on_first)?;
        let (off, on) = if on_first { (second, first) } else { (first, second) };
        pairs.push(Pair { off, on });
    }
    Ok(pairs)
}

fn round(settings: ObservabilitySettings, is_on: bool) -> anyhow::Result<Measurement> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (redis, node) = runtime.block_on(async {
        let redis = Redis::start().await;
        let node = Node::of(&redis).set("LOG__LEVEL", if is_on { "info" } else { "off" });
        let node = node.set("LOG__FORMAT", "json").set("LIMITS__CONNECTS_PER_SECOND", "0");
        let limits = ["CONNECTS", "REQUESTS"].map(|kind| format!("LIMITS__ADDRESS__{kind}_PER_SECOND"));
        let node = limits.iter().fold(node, |node, limit| node.set(limit, "0")).start().await;
        (redis, node)
    });
    place_on_first_core(node.pid())?;
    let command = ["FCALL", "fanfare_publish", "1", "fanfare:{broadcast}:log", "", "{data}"];
    let way = Way::Redis { address: redis.address(), command: command.map(str::to_owned).to_vec() };
    let endpoint = Endpoint {
        ready: "event: connected".into(),
        ..Endpoint::new(node.address(), "/v1/events?user={user}", way)
    };
    let publishers = 64;
    let generator =
        GeneratorSettings { streams: settings.streams, audience: Audience::All, sampled: 100, publishers };
    let mut generator = LoadGenerator::new(endpoint, generator)?;
    generator.open(64)?;
    let visitors = Visitors::start(node.address(), settings, is_on);
    let load = Load {
        pace: Pace::Rate(settings.rate),
        size: 100,
        content: Content::Filler,
        warm_up: Duration::from_secs(2),
        window: settings.window,
        progress: false,
    };
    let found = generator.measure(&load, &[Watched::new("node", node.pid())]);
    visitors.leave()?;
    Ok(found?)
}

/// Lets all threads of a process run on the first core only.
fn place_on_first_core(pid: u32) -> anyhow::Result<()> {
    let mut core = CpuSet::new();
    core.set(0)?;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let task: i32 = task.file_name().to_string_lossy().parse()?;
        sched_setaffinity(Pid::from_raw(task), &core)?;
    }
    Ok(())
}

/// Clients besides the streams. They end when they are asked to.
struct Visitors {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Visitors {
    fn start(address: SocketAddr, settings: ObservabilitySettings, is_on: bool) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut visitors = Self { is_over, threads: Vec::new() };
        let mut user = 0;
        if settings.churn > 0 {
            visitors.repeat(Duration::from_secs(1) / settings.churn, move || {
                user += 1;
                let mut stream = request(address, &format!("/v1/events?user=visitor-{user}"))?;
                let read = stream.read(&mut [0; 1024])?;
                anyhow::ensure!(read > 0, "a visitor's stream is refused");
                Ok(())
            });
        }
        if is_on {
            visitors.repeat(settings.scrape, move || {
                let mut text = String::new();
                request(address, "/metrics")?.read_to_string(&mut text)?;
                anyhow::ensure!(text.contains("sse_events_sent_total"), "no metrics: {text}");
                Ok(())
            });
            // The figures of each second.
            let mut page = None;
            visitors.repeat(Duration::from_millis(100), move || {
                if page.is_none() {
                    page = Some(request(address, "/v1/events?channel=fanfare:stats")?);
                }
                if let Some(page) = &mut page {
                    page.set_read_timeout(Some(Duration::from_millis(50)))?;
                    // Nothing came, or something.
                    let _ = page.read(&mut [0; 8192]);
                }
                Ok(())
            });
        }
        visitors
    }

    fn repeat(&mut self, every: Duration, mut work: impl FnMut() -> anyhow::Result<()> + Send + 'static) {
        let is_over = Arc::clone(&self.is_over);
        self.threads.push(thread::spawn(move || {
            let mut due = Instant::now();
            while !is_over.load(Ordering::Relaxed) {
                work()?;
                due += every;
                // In small steps, so that the end is not late.
                while !is_over.load(Ordering::Relaxed) && Instant::now() < due {
                    thread::sleep(
                        due.saturating_duration_since(Instant::now()).min(Duration::from_millis(50)),
                    );
                }
            }
            Ok(())
        }));
    }

    fn leave(self) -> anyhow::Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))?.context("a visitor")?;
        }
        Ok(())
    }
}

fn request(address: SocketAddr, path: &str) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect(address)?;
    let close = if path == "/metrics" { "Connection: close\r\n" } else { "" };
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n{close}\r\n").as_bytes())?;
    Ok(socket)
}
