//! `fanfare sessions`: lists and disconnects a user's sessions.

use std::io::Write;
use std::process::ExitCode;

use fanfare_client::ApiClient;
use fanfare_protocol::SessionId;

use crate::display::{self, ago, visible};
use crate::server::ServerArgs;
use crate::table;

/// List a user's sessions, or disconnect them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// User id.
    user: String,
    /// Disconnect this session, or all sessions of the user if no session is given.
    #[arg(long, value_name = "SESSION", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "the flag may be there with and without a session")]
    disconnect: Option<Option<SessionId>>,
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
    let client = args.server.client(None)?;
    match args.disconnect {
        None => show(&client, &args.user, args.json).await?,
        Some(session) => disconnect(&client, &args.user, session, args.json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &ApiClient, user: &str, json: bool) -> anyhow::Result<()> {
    let list = client.sessions(user).await?;
    if json {
        writeln!(std::io::stdout(), "{}", display::json(&list)?)?;
    } else if list.sessions.is_empty() {
        writeln!(std::io::stdout(), "{} has no sessions", visible(user))?;
    } else {
        let rows = list
            .sessions
            .into_iter()
            .map(|session| [session.id, session.node, ago(session.since), session.address]);
        table::print(["SESSION", "NODE", "SINCE", "ADDRESS"], rows)?;
    }
    Ok(())
}

async fn disconnect(
    client: &ApiClient,
    user: &str,
    session: Option<SessionId>,
    json: bool,
) -> anyhow::Result<()> {
    let answer = client.disconnect(user, session).await?;
    let mut out = std::io::stdout();
    if json {
        writeln!(out, "{}", display::json(&answer)?)?;
    } else {
        let plural = if answer.disconnected == 1 { "" } else { "s" };
        writeln!(out, "{} session{plural} disconnected", answer.disconnected)?;
    }
    Ok(())
}
