//! `fanfare dead`: the entries of the intake that could not be published.
//!
//! # Layout
//!
//! - `change`: requeues and drops entries
//! - `show`: lists entries, and shows one

mod change;
mod show;

use std::process::ExitCode;

use fanfare_protocol::Position;

use crate::call::CallArgs;
use crate::server::limit;

/// List, show, requeue or drop the entries of the intake that could not be published.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// List the entries, oldest first.
    List {
        /// Start after the entry with this id.
        #[arg(long, value_name = "ID", default_value = "0-0", hide_default_value = true)]
        after: Position,
        /// Maximum number of entries.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = limit)]
        limit: usize,
        #[command(flatten)]
        call: CallArgs,
    },
    /// Show one entry with its fields.
    Show {
        /// Id in the dead-letter stream.
        id: Position,
        #[command(flatten)]
        call: CallArgs,
    },
    /// Move entries back to the end of the intake, after the reason why they could not be published is gone.
    Requeue(Change),
    /// Remove entries.
    Drop(Change),
}

/// The entries that are changed.
#[derive(clap::Args)]
struct Change {
    /// Ids in the dead-letter stream.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<Position>,
    #[command(flatten)]
    call: CallArgs,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server cannot be reached or refuses the request.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.what {
        What::List { after, limit, call } => show::list(&call.open()?, after, limit).await,
        What::Show { id, call } => show::one(&call.open()?, id).await,
        What::Requeue(Change { ids, call }) => change::requeue(&call.open()?, &ids).await,
        What::Drop(Change { ids, call }) => change::drop(&call.open()?, &ids).await,
    }
}
