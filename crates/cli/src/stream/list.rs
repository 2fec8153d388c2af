//! `fanfare stream list`.

use std::io::{self, Write};
use std::process::ExitCode;

use fanfare_api::finite_streams::FiniteStream;

use crate::call::CallArgs;
use crate::{display, table};

/// List the streams, which needs an admin's token or the right look.
///
/// A stream that is created or deleted meanwhile may be missing.
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
pub(super) async fn run(Args { call }: Args) -> anyhow::Result<ExitCode> {
    let call = call.open()?;
    let mut after = None;
    loop {
        let page = call.client.list_streams(after.as_deref()).await?;
        if call.json {
            for stream in &page.streams {
                writeln!(io::stdout(), "{}", display::json(stream)?)?;
            }
        } else if !page.streams.is_empty() {
            // A page at a time, since there may be many.
            table::print(["NAME", "TYPE", "BYTES", "END", "REASON"], page.streams.into_iter().map(row))?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn row(stream: FiniteStream) -> [String; 5] {
    let FiniteStream { name, media_type, bytes, end, reason, .. } = stream;
    let end = end.unwrap_or_else(|| "open".to_owned());
    [name, media_type, bytes.to_string(), end, reason.unwrap_or_else(|| "-".to_owned())]
}
