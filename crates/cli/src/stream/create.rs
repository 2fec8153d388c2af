//! `fanfare stream create`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use fanfare_client::finite::NewStream;
use fanfare_protocol::finite::StreamName;

use crate::server::ServerArgs;

/// Create a stream.
///
/// Prints `created`, or `exists` if there is one with the same settings.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the stream.
    #[arg(value_parser = StreamName::new)]
    name: StreamName,
    #[command(flatten)]
    new: NewArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What a stream is created with.
#[derive(clap::Args, Clone)]
pub(super) struct NewArgs {
    /// Media type of the bytes. Of `application/json`, each line is a message.
    #[arg(long = "type", value_name = "TYPE", default_value = "text/plain")]
    pub(super) media_type: String,
    /// How long the stream is kept after its last read or write, in whole seconds [default: finite.keep of the server].
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    ttl: Option<u64>,
}

impl NewArgs {
    pub(super) fn stream(&self) -> NewStream {
        NewStream { media_type: self.media_type.clone(), ttl: self.ttl }
    }
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server cannot be reached or refuses the request.
pub(super) async fn run(Args { name, new, server }: Args) -> anyhow::Result<ExitCode> {
    let is_new = server.client(None)?.create_stream(&name, &new.stream()).await?;
    writeln!(std::io::stdout(), "{}", if is_new { "created" } else { "exists" })?;
    Ok(ExitCode::SUCCESS)
}

fn seconds(text: &str) -> Result<u64, String> {
    let wrong = "expected whole seconds, like 90s, 30m or 7days";
    let time: Duration = humantime::parse_duration(text).map_err(|error| format!("{error}; {wrong}"))?;
    if time.subsec_nanos() > 0 { Err(wrong.to_owned()) } else { Ok(time.as_secs()) }
}
