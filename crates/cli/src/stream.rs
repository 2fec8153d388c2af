//! `fanfare stream`: finite streams.
//!
//! # Layout
//!
//! - [`create`], [`append`], [`read`], [`end`], [`list`]: a file for each command
//! - `input`: what stdin has, in batches
//! - `patience`: when a call that failed is repeated

mod append;
mod create;
mod end;
mod input;
mod list;
mod patience;
mod read;

use std::process::ExitCode;

use fanfare_protocol::finite::{End, EndKind};

use crate::display::visible;

/// Exit code if the stream ended as `error`.
const FAILED: u8 = 3;
/// Exit code if the stream ended as `cancelled`.
const CANCELLED: u8 = 4;

/// Write and read finite streams: bytes that end, like an AI answer or the log of a job.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Create(create::Args),
    Append(append::Args),
    Read(read::Args),
    End(end::Args),
    List(list::Args),
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server cannot be reached or refuses the request, or if stdin or stdout fails.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Create(args) => create::run(args).await,
        Command::Append(args) => append::run(args).await,
        Command::Read(args) => read::run(args).await,
        Command::End(args) => end::run(args).await,
        Command::List(args) => list::run(args).await,
    }
}

/// Returns how a stream ended, for people.
fn ended(End { kind, reason }: &End) -> String {
    if reason.is_empty() { kind.to_string() } else { format!("{kind}: {}", visible(reason)) }
}

/// Returns the exit code of a command whose stream has ended.
fn exit_code(end: &End) -> ExitCode {
    match end.kind {
        EndKind::Complete => ExitCode::SUCCESS,
        EndKind::Error => FAILED.into(),
        EndKind::Cancelled => CANCELLED.into(),
    }
}
