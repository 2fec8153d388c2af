//! `fanfare nodes`: the cluster's nodes.

use std::io::Write;
use std::process::ExitCode;

use crate::display::{self, ago};
use crate::server::ServerArgs;
use crate::table;

/// List the cluster's nodes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server cannot be reached or refuses the request.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let list = args.server.client(None)?.nodes().await?;
    if args.json {
        writeln!(std::io::stdout(), "{}", display::json(&list)?)?;
    } else {
        let rows = list.nodes.into_iter().map(|node| {
            let state = if node.draining { "draining" } else { "serving" };
            [node.id, node.address, ago(node.since), node.connections.to_string(), state.to_owned()]
        });
        table::print(["NODE", "ADDRESS", "UP FOR", "CONNECTIONS", "STATE"], rows)?;
    }
    Ok(ExitCode::SUCCESS)
}
