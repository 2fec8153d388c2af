//! The `fanfare-load` command.
//!
//! # Layout
//!
//! One file for each subcommand, in `command/`.

mod command;

use std::process::ExitCode;

use clap::Parser;

use command::{bench, floor, soak, table};

/// Load on a Fanfare cluster from outside, and a verdict on what every client got.
#[derive(Parser)]
#[command(version)]
enum Line {
    /// Many clients as browsers are, numbered events, and faults meanwhile
    ///
    /// Ends with 0 when every client got everything that was accepted, once and in order, and none gave up; with 1
    /// when not; with 2 when the run could not be made.
    Soak(soak::Args),
    /// One measurement of any server: deliveries, processor time, delays, loss and order
    ///
    /// Ends with 0, also when events were lost; with 2 when nothing could be measured.
    Bench(bench::Args),
    /// The server that does nothing but write: what it costs is the measure
    Floor(floor::Args),
    /// Every server side by side, every row of the table, and the document
    ///
    /// Starts everything by itself: servers on the first core, load and Redis on the second.
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
