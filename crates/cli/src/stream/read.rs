//! `fanfare stream read`.

use std::io::Write;
use std::process::ExitCode;

use fanfare_client::ApiClient;
use fanfare_client::finite::Page;
use fanfare_protocol::finite::{EndKind, StreamName, messages};
use tokio_util::sync::CancellationToken;

use super::patience::Patience;
use super::{ended, exit_code};
use crate::server::ServerArgs;

/// Print the bytes of a stream as they are appended, until it ends.
///
/// Resumes at the next byte if the connection breaks. Messages of `application/json` are printed one on each line. Exit codes: 0 if
/// the stream is complete, 3 if it ended as error, 4 if it was cancelled (the reason is on stderr), 1 if it cannot be read.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the stream.
    #[arg(value_parser = StreamName::new)]
    name: StreamName,
    /// Start here: an offset, `-1` for the start, or `now`.
    #[arg(long, value_name = "OFFSET", default_value = "-1", allow_hyphen_values = true)]
    from: String,
    /// Print what is stored, and exit with 0 if the stream has not ended.
    #[arg(long)]
    no_follow: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the stream cannot be read, or stdout cannot be written to.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { name, from: mut offset, no_follow, server } = args;
    let client = server.client(None)?;
    loop {
        let page = read(&client, &name, &offset, !no_follow).await?;
        print(&page)?;
        if let Some(end) = page.end {
            if end.kind != EndKind::Complete {
                eprintln!("fanfare: the stream ended: {}", ended(&end));
            }
            return Ok(exit_code(&end));
        }
        if no_follow && page.up_to_date {
            return Ok(ExitCode::SUCCESS);
        }
        offset = page.next;
    }
}

async fn read(client: &ApiClient, name: &StreamName, offset: &str, wait: bool) -> anyhow::Result<Page> {
    // Ctrl-C ends the process.
    let mut patience = Patience::new(&CancellationToken::new());
    loop {
        match client.read_stream(name, offset, wait).await {
            Ok(page) => return Ok(page),
            Err(error) => patience.after(error).await?,
        }
    }
}

fn print(page: &Page) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if page.is_json && !page.bytes.is_empty() {
        out.write_all(&messages::lines(&page.bytes)?)?;
    } else {
        out.write_all(&page.bytes)?;
    }
    out.flush()?;
    Ok(())
}
