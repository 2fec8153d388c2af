//! `fanfare dev`: a node and a page to play with.

pub(crate) mod page;

use std::process::ExitCode;

use fanfare_node::Config;
use fanfare_node::config::source::{Flag, Sources};

use crate::{config, serve};

/// Run a node to play with: in memory, without auth, and with a page at `/` that shows events and publishes some.
///
/// Listens on this machine only. Neither the environment nor a file changes it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    listen: String,
}

/// Runs the command.
///
/// # Errors
///
/// When the node cannot start.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let flags = [("--listen", "node.listen", args.listen), ("dev", "auth.mode", "none".to_owned())];
    let flags = flags.map(|(flag, setting, value)| Flag { flag, setting, value });
    let sources = Sources { flags: flags.into(), ..Sources::default() };
    match Config::load(&sources) {
        Ok(config) => serve::serve(&config, page::page()).await,
        Err(faults) => Ok(config::wrong(&faults)),
    }
}
