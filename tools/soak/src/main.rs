//! The `fanfare-soak` command.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use fanfare_soak::control::Control;
use fanfare_soak::plan::Mix;
use fanfare_soak::scenario::{Scenario, ScenarioOptions};
use fanfare_soak::soak::{Settings, Soak};

/// Soak test of a cluster: browser-like clients, numbered events, faults, and a verdict on every client
///
/// Exits with 0 if every client received all accepted events, once and in order, and no client gave up; with 1 if not;
/// with 2 if the test could not run.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// URL of the cluster or its load balancer. The cluster must accept `?user=` (`--auth none`)
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// URL of the cluster's Redis, for publishing through Redis and for the lifecycle stream
    #[arg(long)]
    redis: Option<String>,
    /// Prefix of the cluster's keys (`redis.prefix`)
    #[arg(long, default_value = "fanfare")]
    prefix: String,
    /// Faults to cause: steady (none), roll, kill, redis-restart, redis-disconnect, partition, pause, stall, attack,
    /// random
    #[arg(long, default_value = "steady")]
    scenario: Scenario,
    /// Number of clients
    #[arg(long, default_value_t = 500)]
    clients: usize,
    /// Clients that connect per second at the start
    #[arg(long, default_value_t = 250.0)]
    ramp: f64,
    /// Number of shared channels; every second client subscribes to one
    #[arg(long, default_value_t = 10)]
    shared: usize,
    /// Events a second, over all channels
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Bytes of data in each event
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Publishing interfaces and their weights [default: fcall:2,xadd:1; without --redis: http]. Short HTTP requests
    /// change how a balancer behaves with streams alone, so there are none by default
    #[arg(long)]
    mix: Option<Mix>,
    /// Duration of `steady` and `random`, and of each part of `stall`
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Duration of a fault [default: by scenario; 10s for `partition`, 15s for `pause`]
    #[arg(long, value_parser = humantime::parse_duration)]
    fault: Option<Duration>,
    /// Pause between two faults
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    quiet: Duration,
    /// Time after the scenario in which accepted events may still arrive
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    settle: Duration,
    /// Number of clients that stop reading in `stall`
    #[arg(long, default_value_t = 1000)]
    stalled: usize,
    /// Seed of `random`: the same seed causes the same faults [default: a new seed, which is printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Names of the nodes, for --control; in `attack`, names of the attacks
    #[arg(long, value_delimiter = ',', default_value = "a,b,c")]
    nodes: Vec<String>,
    /// Shell command that causes one fault and exits when the fault is in place, like
    /// `./control {verb} {who}`. Verbs: stop, kill, start, pause, resume, cut, mend, attack; for redis only: fill,
    /// demote, delay and disconnect
    #[arg(long)]
    control: Option<String>,
    /// Interval between progress lines
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    progress: Duration,
    /// File for the report as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One thread: this program takes one core of a machine.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    fanfare_testkit::open_files::raise_limit();
    run(Args::parse()).await.unwrap_or_else(|error| {
        eprintln!("fanfare-soak: {error:#}");
        ExitCode::from(2)
    })
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mix = args.mix.clone().map_or_else(|| default_mix(args.redis.is_some()), Ok)?;
    let options = ScenarioOptions {
        nodes: args.nodes.len(),
        quiet: args.quiet,
        fault: args.fault.unwrap_or(args.scenario.default_fault()),
        duration: args.duration,
        seed,
        stalled: args.stalled,
    };
    if args.scenario == Scenario::Random {
        eprintln!("seed {seed}");
    }
    let mut control = Control { command: args.control, nodes: args.nodes };
    let mut soak = Soak::start(Settings {
        name: args.scenario.to_string(),
        url: args.url,
        redis: args.redis,
        prefix: args.prefix,
        clients: args.clients,
        ramp: args.ramp,
        shared: args.shared,
        rate: args.rate,
        size: args.size,
        mix,
        settle: args.settle,
        progress: Some(args.progress),
        online: args.scenario.keeps_users_online(),
    })
    .await?;
    for step in args.scenario.steps(&options) {
        soak.step(&step, &mut control).await?;
    }
    let report = soak.finish().await?;
    print!("{}", report.table());
    if let Some(path) = args.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn default_mix(redis: bool) -> anyhow::Result<Mix> {
    Ok(if redis { "fcall:2,xadd:1" } else { "http" }.parse()?)
}
