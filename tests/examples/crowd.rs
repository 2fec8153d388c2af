//! How much later ordinary clients get their events while a hostile crowd is at the same node.
//!
//!     cargo build --release --package fanfare
//!     FANFARE_BIN=target/release/fanfare cargo run --release --package fanfare-tests --example crowd
//!
//! Two hundred clients follow one channel, to which twenty events a second are published. The delay from publish to receipt is
//! measured while each of [`Crowd::ALL`] is at another node, and while it is at theirs, in turns: what the crowd costs the
//! machine, and what else the machine does, is in both. The delays of all rounds are taken together. The nodes have the first core, the clients, the crowd and Redis the second. The crowd and the other node give way to
//! all other processes (`SCHED_IDLE`). Run it on an idle machine with two cores. `--members`, `--seconds` (of a turn) and
//! `--rounds` change the size and the duration, `--only` takes one crowd.
//!
//! Ends with 1 if the 99th percentile beside a crowd is more than 1.5 times that with the crowd elsewhere, if a client missed an
//! event, or if the node took more than its memory (`limits.memory`, 256 MiB).

use std::net::SocketAddr;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use fanfare_testkit::client::{Client, Step};
use fanfare_testkit::crowd::{Crowd, fill_queues};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

const CLIENTS: usize = 200;
const RATE: u32 = 20;
const CHANNEL: &str = "room:1";
/// How much later the slowest hundredth may get its events.
const WORST: f64 = 1.5;
const MEMORY: u64 = 256 << 20;

/// Arguments.
struct Form {
    members: usize,
    seconds: u32,
    rounds: usize,
    only: Option<String>,
    /// Of a process that is the crowd, and the node's address.
    crowd: Option<(Crowd, SocketAddr)>,
}

impl Form {
    fn parse() -> Result<Self, String> {
        let mut form = Self { members: 2000, seconds: 20, rounds: 4, only: None, crowd: None };
        let mut arguments = std::env::args().skip(1).peekable();
        if arguments.next_if(|name| name == "--crowd").is_some() {
            let name = arguments.next().unwrap_or_default();
            let crowd = Crowd::ALL.into_iter().find(|crowd| format!("{crowd:?}") == name);
            let to = arguments.next().and_then(|to| to.parse().ok());
            form.crowd = Some(crowd.zip(to).ok_or("usage: crowd --crowd NAME ADDRESS [--members N]")?);
        }
        while let Some(name) = arguments.next() {
            let value = arguments.next().unwrap_or_default();
            if name == "--only" && Crowd::ALL.iter().any(|crowd| format!("{crowd:?}") == value) {
                form.only = Some(value);
                continue;
            }
            match (name.as_str(), value.parse().ok()) {
                ("--members", Some(value)) => form.members = value as usize,
                ("--seconds", Some(value)) => form.seconds = value,
                ("--rounds", Some(value)) => form.rounds = value as usize,
                _ => {
                    return Err(format!(
                        "{name}: usage: crowd [--members N] [--seconds N] [--rounds N] [--only CROWD]"
                    ));
                }
            }
        }
        Ok(form)
    }
}

/// Delays of one phase.
struct Delays(Vec<Duration>);

impl Delays {
    fn percentile(&mut self, part: f64) -> Duration {
        self.0.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (self.0.len() as f64 * part) as usize;
        self.0.get(index.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// Has this thread, and what it starts, run on one core. A machine that does not allow it is measured as it is.
fn on_core(core: usize) {
    let mut set = CpuSet::new();
    if set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)).is_err() {
        eprintln!("the process cannot be bound to core {core}: what others do there is measured as well");
    }
}

/// Publishes for a while, and takes the delay of each event at each client. Answers with the clients.
async fn phase(node: &Node, clients: Vec<Client>, seconds: u32) -> (Vec<Client>, Delays, usize) {
    let events = seconds * RATE;
    let begun = Instant::now();
    let mut readers = JoinSet::new();
    for mut client in clients {
        readers.spawn(async move {
            let mut delays = Vec::new();
            while delays.len() < events as usize {
                match client.step(Duration::from_secs(10)).await {
                    Step::Event(event) if event.kind == "tick" => {
                        let sent: u64 = event.data.parse().expect("microseconds");
                        let at = event.at.duration_since(begun);
                        delays.push(at.saturating_sub(Duration::from_micros(sent)));
                    }
                    Step::Event(_) => {}
                    _ => break,
                }
            }
            (client, delays)
        });
    }
    let api = node.api();
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    for _ in 0..events {
        ticks.tick().await;
        let sent = begun.elapsed().as_micros().to_string();
        // One that is late is part of what is measured.
        api.publish(CHANNEL, "tick", &sent).await;
    }
    let (mut clients, mut delays) = (Vec::new(), Vec::new());
    while let Some(read) = readers.join_next().await {
        let (client, of_client) = read.expect("a reader");
        clients.push(client);
        delays.extend(of_client);
    }
    let missed = events as usize * CLIENTS - delays.len();
    (clients, Delays(delays), missed)
}

fn main() -> ExitCode {
    let form = match Form::parse() {
        Ok(form) => form,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    // One thread, so that what it starts runs where it does.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Some((crowd, to)) = form.crowd {
        runtime.block_on(be_crowd(crowd, to, form.members));
        return ExitCode::SUCCESS;
    }
    if runtime.block_on(run(&form)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Attacks until stdin is closed. Prints the number of members when all are there.
async fn be_crowd(crowd: Crowd, to: SocketAddr, members: usize) {
    let raised = timeout(Duration::from_mins(1), crowd.raise(to, members)).await;
    println!("{}", raised.as_ref().map_or(0, |raised| raised.members));
    let _ = tokio::io::stdin().read(&mut [0]).await;
}

/// Has a process run only when no other wants to.
async fn give_way(node: &Node) {
    let pid = node.pid().to_string();
    let set = Command::new("chrt").args(["--all-tasks", "--idle", "--pid", "0", &pid]).status().await;
    assert!(set.is_ok_and(|set| set.success()), "the scheduling policy is set");
}

/// Starts a crowd, and waits until its members are there.
async fn start_crowd(crowd: Crowd, to: SocketAddr, members: usize) -> (Child, usize) {
    let own = std::env::current_exe().expect("the path of this program");
    let mut child = Command::new("chrt")
        .args(["--idle", "0"])
        .arg(own)
        .args(["--crowd", &format!("{crowd:?}"), &to.to_string(), "--members", &members.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the crowd starts");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
    out.read_line(&mut line).await.expect("the crowd's size");
    (child, line.trim().parse().expect("the crowd comes within a minute"))
}

async fn run(form: &Form) -> bool {
    on_core(1);
    let redis = Redis::start().await;
    on_core(0);
    let node = Node::of(&redis).set("STREAM__SHARDS", "1").start().await;
    let elsewhere = Node::of(&redis).id("b").set("STREAM__SHARDS", "1").start().await;
    give_way(&elsewhere).await;
    on_core(1);
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        clients.push(node.stream().user(&format!("u{n}")).channel(CHANNEL).open().await);
    }
    let mut good = true;
    println!(
        "{:<14} {:>7} {:>10} {:>10} {:>6} {:>7} {:>10}",
        "crowd", "members", "elsewhere", "p99", "ratio", "missed", "peak MiB"
    );
    let crowds = Crowd::ALL.into_iter();
    for crowd in crowds.filter(|crowd| form.only.as_ref().is_none_or(|only| format!("{crowd:?}") == *only)) {
        let (mut before, mut during) = (Delays(Vec::new()), Delays(Vec::new()));
        let (mut missed, mut members) = (0, 0);
        node.forget_peak();
        for turn in 0..form.rounds * 2 {
            let (attacked, all) =
                if turn % 2 == 0 { (&elsewhere, &mut before) } else { (&node, &mut during) };
            let (mut child, came) = start_crowd(crowd, attacked.address(), form.members).await;
            if crowd == Crowd::NeverReading {
                fill_queues(&attacked.api(), 50).await;
            }
            let (left, delays, of_phase) = phase(&node, clients, form.seconds).await;
            clients = left;
            child.kill().await.expect("the crowd runs");
            all.0.extend(delays.0);
            (missed, members) = (missed + of_phase, came);
        }
        let (before, during) = (before.percentile(0.99), during.percentile(0.99));
        let ratio = during.as_secs_f64() / before.as_secs_f64();
        let peak = node.peak_memory();
        let name = format!("{crowd:?}");
        println!(
            "{name:<14} {members:>7} {before:>10.1?} {during:>10.1?} {ratio:>6.2} {missed:>7} {:>10}",
            peak >> 20
        );
        good &= members > 0 && ratio <= WORST && missed == 0 && peak < MEMORY;
    }
    good
}
