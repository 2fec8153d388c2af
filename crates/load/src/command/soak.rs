//! `fanfare-load soak`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use fanfare_load::control::Control;
use fanfare_load::plan::Mix;
use fanfare_load::scenario::{Scenario, Score};
use fanfare_load::soak::{Settings, Soak};

/// What it is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the cluster, or its balancer, is. It must believe `?user=` (`--auth none`)
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Where its Redis is: for publishing past the nodes, and for the lifecycle stream
    #[arg(long)]
    redis: Option<String>,
    /// What its keys begin with
    #[arg(long, default_value = "fanfare")]
    prefix: String,
    /// What is done meanwhile: steady, roll, kill, redis-restart, redis-disconnect, partition, pause, stall, random
    #[arg(long, default_value = "steady")]
    scenario: Scenario,
    /// How many clients
    #[arg(long, default_value_t = 500)]
    clients: usize,
    /// How many of them connect in a second at the start
    #[arg(long, default_value_t = 250.0)]
    ramp: f64,
    /// How many channels every other client shares with some
    #[arg(long, default_value_t = 10)]
    shared: usize,
    /// Events a second, over all channels
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Bytes of data in each event
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// By which ways events come in [default: fcall:2,xadd:1; without --redis: http]. Requests that end can hide from a
    /// balancer what streams alone do to it, so there are none by default
    #[arg(long)]
    mix: Option<Mix>,
    /// How long `steady` and `random` last, and each part of `stall`
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long a fault lasts that has a length [default: by scenario; 10s for `partition`, 15s for `pause`]
    #[arg(long, value_parser = humantime::parse_duration)]
    fault: Option<Duration>,
    /// The quiet time between one fault and the next
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    quiet: Duration,
    /// How long after the scenario everything that was accepted may still come
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    settle: Duration,
    /// How many clients stop reading in `stall`
    #[arg(long, default_value_t = 1000)]
    stalled: usize,
    /// What `random` draws from: the same faults for the same number [default: another one each time, which is told]
    #[arg(long)]
    seed: Option<u64>,
    /// The nodes' names, for the command below
    #[arg(long, value_delimiter = ',', default_value = "a,b,c")]
    nodes: Vec<String>,
    /// A shell command that does one thing to the cluster and ends when it is done, like
    /// `./control {verb} {who}`. Verbs: stop, kill, start, pause, resume, cut, mend; and of redis alone fill, demote,
    /// delay and disconnect
    #[arg(long)]
    control: Option<String>,
    /// How often to tell how it goes
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    progress: Duration,
    /// Where to write the report as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs it.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mix = args.mix.clone().map_or_else(|| usual_mix(args.redis.is_some()), Ok)?;
    let score = Score {
        nodes: args.nodes.len(),
        quiet: args.quiet,
        fault: args.fault.unwrap_or(args.scenario.usual_fault()),
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
    for step in args.scenario.steps(&score) {
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

fn usual_mix(redis: bool) -> anyhow::Result<Mix> {
    Ok(if redis { "fcall:2,xadd:1" } else { "http" }.parse()?)
}
