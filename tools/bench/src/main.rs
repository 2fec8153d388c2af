//! The `fanfare-bench` command.
//!
//! # Layout
//!
//! One file for each subcommand, in `command/`.

mod command;

use std::process::ExitCode;

use clap::Parser;

use command::{baseline, measure, observability, revocation, table};

/// Benchmarks of Fanfare and other servers of event streams
#[derive(Parser)]
#[command(version)]
#[allow(clippy::large_enum_variant, reason = "there is one, for the whole run")]
enum Command {
    /// Measures one server: deliveries, processor time, delays, loss and order
    ///
    /// Exits with 0, even if events were lost; with 2 if the measurement failed.
    Measure(measure::Args),
    /// Runs the baseline server, which only writes: the lower bound of every benchmark
    Baseline(baseline::Args),
    /// Measures how soon a revocation ends the streams of its token, on three nodes with one Redis
    ///
    /// Starts all processes. `FANFARE_BIN` is the binary of the nodes.
    Revocation(revocation::Args),
    /// Measures what metrics, figures and the log of connections cost a node, in pairs of rounds without and with them
    ///
    /// Starts all processes; the node runs on the first core. `FANFARE_BIN` is its binary.
    Observability(observability::Args),
    /// Measures all servers side by side, and writes docs/performance.md
    ///
    /// Starts all processes: the servers on the first core, the load and Redis on the second.
    Table(table::Args),
}

/// One thread: this program takes one core of a machine.
fn main() -> ExitCode {
    fanfare_testkit::open_files::raise_limit();
    let result = match Command::parse() {
        Command::Measure(args) => measure::run(&args),
        Command::Baseline(args) => baseline::run(&args),
        Command::Revocation(args) => revocation::run(&args),
        Command::Observability(args) => observability::run(&args),
        Command::Table(args) => table::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("fanfare-bench: {error:#}");
        ExitCode::from(2)
    })
}
