//! `fanfare-bench observability`.

use std::process::ExitCode;
use std::time::Duration;

use fanfare_bench::observability::{self, ObservabilitySettings, node_cpu};

/// The arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of streams, which all get every event
    #[arg(long, default_value_t = 5000)]
    streams: usize,
    /// Events a second
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Number of pairs of rounds, one without and one with metrics, figures and log
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Duration of a round
    #[arg(long, default_value = "20s", value_parser = humantime::parse_duration)]
    window: Duration,
    /// How often /metrics is read
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    scrape: Duration,
    /// Clients a second that open a stream and leave
    #[arg(long, default_value_t = 20)]
    churn: u32,
}

/// Measures, and prints a table.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let &Args { streams, rate, pairs, window, scrape, churn } = args;
    let pairs =
        observability::measure(ObservabilitySettings { streams, rate, pairs, window, scrape, churn })?;
    println!(
        "{streams} streams, {rate} events a second, {churn} visitors a second; CPU of the node per delivery"
    );
    let mut costs = Vec::new();
    for pair in &pairs {
        let (off, on, cost) = (node_cpu(&pair.off), node_cpu(&pair.on), 100.0 * pair.cost());
        let (off_rate, on_rate) = (pair.off.deliveries_per_second, pair.on.deliveries_per_second);
        println!("off {off:.3} us ({off_rate:.0}/s), on {on:.3} us ({on_rate:.0}/s): {cost:+.2} %");
        costs.push(cost);
    }
    costs.sort_unstable_by(f64::total_cmp);
    let (Some(least), Some(most)) = (costs.first(), costs.last()) else { return Ok(ExitCode::SUCCESS) };
    println!("median {:+.2} %, from {least:+.2} to {most:+.2} %", costs[costs.len() / 2]);
    Ok(ExitCode::SUCCESS)
}
