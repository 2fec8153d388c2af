//! `fanfare revoke`: revokes tokens.

use std::io::Write;
use std::process::ExitCode;

use fanfare_api::revocations::Revocation;

use crate::display::{self, visible};
use crate::server::ServerArgs;

/// Revoke a token, or the tokens of a user that were issued before a time.
#[derive(clap::Args)]
#[group(id = "what", required = true, args = ["jti", "user"])]
pub(crate) struct Args {
    /// The token's jti.
    #[arg(long)]
    jti: Option<String>,
    /// The user whose tokens are revoked.
    #[arg(long)]
    user: Option<String>,
    /// Revoke the user's tokens whose iat is before this time, in seconds since 1970. Default: all issued until now.
    #[arg(long, value_name = "SECONDS", requires = "user")]
    before: Option<u64>,
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
    let Args { jti, user, before, json, server } = args;
    let revoked = server.client(None)?.revoke(&Revocation { jti, user, before }).await?;
    let mut out = std::io::stdout();
    if json {
        writeln!(out, "{}", display::json(&revoked)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    match revoked {
        Revocation { user: Some(user), before: Some(before), .. } => {
            writeln!(out, "tokens of {} issued before {before} are revoked", visible(&user))?;
        }
        _ => writeln!(out, "the token is revoked")?,
    }
    Ok(ExitCode::SUCCESS)
}
