//! The `fanfare-attack` command.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fanfare_testkit::attack::Attack;

/// Attack on one node of a test cluster: hostile clients that come from this machine's address until the time is up
///
/// Exits with 0 if the clients came, with 1 if none did. What the node did about them is in its metrics.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// What the clients do: dribbling, never-reading, zero-windows, connects, publishes, idle-sockets, json-bombs,
    /// untaken-history, history-reads, unfinished-bodies
    attack: Attack,
    /// IP address and port of the node. It must accept clients without tokens (`--auth none`)
    node: SocketAddr,
    /// Number of clients; of those with large requests, there is one for each fifty
    #[arg(long, default_value_t = 2000)]
    members: usize,
    /// Duration, with the time in which the clients come
    #[arg(long, default_value = "20s", value_parser = humantime::parse_duration)]
    duration: Duration,
}

/// One thread: this program takes one core of a machine.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    fanfare_testkit::open_files::raise_limit();
    let Args { attack, node, members, duration } = Args::parse();
    let end = tokio::time::Instant::now() + duration;
    let raised = attack.raise(node, members).await;
    let came = raised.members;
    println!("{came}");
    tokio::time::sleep_until(end).await;
    if came > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
