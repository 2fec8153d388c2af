//! `fanfare stream end`.

use std::process::ExitCode;

use fanfare_client::finite::{Append, Appended};
use fanfare_protocol::finite::{End, EndKind, StreamName};

use super::ended;
use crate::server::ServerArgs;

/// End a stream: as complete, unless --error or --cancelled is given.
///
/// Exits with 0, also if the stream had ended before, which is said on stderr.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the stream.
    #[arg(value_parser = StreamName::new)]
    name: StreamName,
    /// The producer failed.
    #[arg(long, conflicts_with = "cancelled")]
    error: bool,
    /// The stream was cancelled.
    #[arg(long)]
    cancelled: bool,
    /// Why, for readers: at most 256 visible ASCII characters.
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = reason)]
    reason: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server cannot be reached or refuses the request.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { name, error, cancelled, reason, server } = args;
    let kind = match (error, cancelled) {
        (true, _) => EndKind::Error,
        (false, true) => EndKind::Cancelled,
        (false, false) => EndKind::Complete,
    };
    let wanted = End { kind, reason };
    let append = Append { end: Some(wanted.clone()), ..Append::default() };
    if let Appended::Closed(end) | Appended::Done(Some(end)) =
        server.client(None)?.append_stream(&name, &append).await?
        && end != wanted
    {
        eprintln!("fanfare: the stream had ended before: {}", ended(&end));
    }
    Ok(ExitCode::SUCCESS)
}

fn reason(text: &str) -> Result<String, String> {
    End::new(None, Some(text)).map(|end| end.reason).map_err(|error| error.to_string())
}
