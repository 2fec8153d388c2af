//! `fanfare key`: makes an API key.

use std::io::Write;
use std::process::ExitCode;

use anyhow::anyhow;
use fanfare_auth::api_key::{self, KeyHash};
use fanfare_protocol::User;

/// Make an API key for a service.
///
/// Prints the key, which is stored nowhere, and an entry for `auth.keys` in the settings, which has only its hash.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the service: its user.
    #[arg(long, value_name = "NAME", value_parser = User::new)]
    name: User,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the system has no random numbers.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let key = api_key::generate().map_err(|_| anyhow!("the system has no random numbers"))?;
    let mut out = std::io::stdout();
    writeln!(out, "{key}\n")?;
    writeln!(out, "[[auth.keys]]")?;
    writeln!(out, "name = \"{}\"", args.name)?;
    writeln!(out, "sha256 = \"{}\"", KeyHash::of(&key))?;
    writeln!(out, "publish = []")?;
    Ok(ExitCode::SUCCESS)
}
