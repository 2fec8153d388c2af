//! `fanfare nodes`: the cluster's nodes.

use std::process::ExitCode;

use crate::call::CallArgs;
use crate::display::ago;
use crate::table;

/// List the cluster's nodes.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    call: CallArgs,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server cannot be reached or refuses the request.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let call = args.call.open()?;
    call.print(call.client.nodes().await?, |_, list| {
        let rows = list.nodes.into_iter().map(|node| {
            let state = if node.draining { "draining" } else { "serving" };
            [node.id, node.address, ago(node.since), node.connections.to_string(), state.to_owned()]
        });
        table::print(["NODE", "ADDRESS", "UP FOR", "CONNECTIONS", "STATE"], rows)
    })?;
    Ok(ExitCode::SUCCESS)
}
