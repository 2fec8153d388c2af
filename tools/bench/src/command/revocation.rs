//! `fanfare-bench revocation`.

use std::process::ExitCode;
use std::time::Duration;

use fanfare_bench::revocation;

/// The arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of streams, of which each node has a third
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=1000))]
    streams: u16,
    /// Number of revocations; the streams are opened anew for each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
}

/// Measures, and prints a table.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rounds = runtime.block_on(revocation::measure(args.streams.into(), args.rounds.into()))?;
    println!("{} streams on 3 nodes, {} revocations, ms from the call", args.streams, args.rounds);
    print("response of the call", rounds.iter().map(|delays| delays.response));
    print("half of the streams have ended", rounds.iter().map(|delays| delays.median));
    print("all streams have ended", rounds.iter().map(|delays| delays.longest));
    Ok(ExitCode::SUCCESS)
}

/// Prints the times of all rounds.
fn print(name: &str, times: impl Iterator<Item = Duration>) {
    let mut times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1000.0).collect();
    times.sort_unstable_by(f64::total_cmp);
    let (Some(longest), Some(median)) = (times.last(), times.get(times.len() / 2)) else { return };
    println!("{name}: median {median:.1}, longest {longest:.1}");
}
