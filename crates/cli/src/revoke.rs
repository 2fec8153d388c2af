//! `fanfare revoke`: revokes tokens.

use std::io::Write;
use std::process::ExitCode;

use fanfare_api::revocations::Revocation;

use crate::call::CallArgs;
use crate::display::visible;

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
    #[command(flatten)]
    call: CallArgs,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server cannot be reached or refuses the request.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { jti, user, before, call } = args;
    let call = call.open()?;
    let revoked = call.client.revoke(&Revocation { jti, user, before }).await?;
    call.print(revoked, |out, revoked| match revoked {
        Revocation { user: Some(user), before: Some(before), .. } => {
            writeln!(out, "tokens of {} issued before {before} are revoked", visible(&user))
        }
        _ => writeln!(out, "the token is revoked"),
    })?;
    Ok(ExitCode::SUCCESS)
}
