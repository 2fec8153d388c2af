//! The `fanfare-load` command.
//!
//! # Layout
//!
//! One file for each subcommand, in `command/`.

mod command;

use std::process::ExitCode;

use clap::Parser;

use command::{bench, floor, soak, table};

/// Load tests of a Fanfare cluster, with a verdict on what every client received.
#[derive(Parser)]
#[command(version)]
enum Line {
    /// Soak test: browser-like clients, numbered events, faults, and a verdict on every client
    ///
    /// Exits with 0 if every client received all accepted events, once and in order, and no client gave up; with 1
    /// if not; with 2 if the test could not run.
    Soak(soak::Args),
    /// Measures one server: deliveries, processor time, delays, loss and order
    ///
    /// Exits with 0, even if events were lost; with 2 if the measurement failed.
    Bench(bench::Args),
    /// Runs the baseline server, which only writes: the lower bound of every benchmark
    Floor(floor::Args),
    /// Measures all servers side by side, and writes docs/performance.md
    ///
    /// Starts all processes: the servers on the first core, the load and Redis on the second.
    Table(table::Args),
}

/// One thread: what this program takes of a machine is one core.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    raise_file_limit();
    let result = match Line::parse() {
        Line::Soak(args) => soak::run(args).await,
        Line::Bench(args) => bench::run(&args),
        Line::Floor(args) => floor::run(&args),
        Line::Table(args) => table::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("fanfare-load: {error:#}");
        ExitCode::from(2)
    })
}

/// Each client is an open file.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Refused, the run says soon enough that files are out.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
