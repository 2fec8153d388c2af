//! `fanfare sessions`: lists and disconnects a user's sessions.

use std::io::Write;
use std::process::ExitCode;

use fanfare_protocol::SessionId;

use crate::call::{Call, CallArgs};
use crate::display::{ago, visible};
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
    match args.disconnect {
        None => show(&call, &args.user).await?,
        Some(session) => disconnect(&call, &args.user, session).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(call: &Call, user: &str) -> anyhow::Result<()> {
    call.print(call.client.sessions(user).await?, |out, list| {
        if list.sessions.is_empty() {
            return writeln!(out, "{} has no sessions", visible(user));
        }
        let sessions = list.sessions.into_iter();
        let rows = sessions.map(|session| [session.id, session.node, ago(session.since), session.address]);
        table::print(["SESSION", "NODE", "SINCE", "ADDRESS"], rows)
    })
}

async fn disconnect(call: &Call, user: &str, session: Option<SessionId>) -> anyhow::Result<()> {
    call.print(call.client.disconnect(user, session).await?, |out, answer| {
        let plural = if answer.disconnected == 1 { "" } else { "s" };
        writeln!(out, "{} session{plural} disconnected", answer.disconnected)
    })
}
