//! `fanfare token`: creates and checks tokens.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use fanfare_config::Config;
use fanfare_config::auth::AuthConfig;
use fanfare_config::fault::{Fault, Faults};
use fanfare_config::source::{Flag, Sources};
use fanfare_node::auth::issue::NewToken;
use fanfare_node::auth::{Asked, Auth, AuthError, Bearer};
use fanfare_protocol::{Grants, Pattern, User};

use crate::config;

/// Create a token for a user, or check a token.
///
/// Prints only the token. Signs it with the secret of a node with the same settings: --jwt-secret-file,
/// `FANFARE_AUTH__JWT__SECRET`, or the settings file. Exits with 2 if no secret is set.
///
/// A token allows its user to follow their own channel and `broadcast`; everything else must be granted.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    check: Option<Command>,
    /// User id: the token's `sub`.
    #[arg(long, value_name = "ID", required = true, value_parser = User::new)]
    user: Option<User>,
    /// Pattern of channels that the user may follow, like 'room:*'; may be repeated.
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::new)]
    subscribe: Vec<Pattern>,
    /// Pattern of channels that the user may publish to; may be repeated.
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::new)]
    publish: Vec<Pattern>,
    /// Allow everything: all channels, all sessions, the nodes.
    #[arg(long)]
    admin: bool,
    /// Lifetime of the token.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = positive)]
    ttl: Duration,
    #[command(flatten)]
    secret: Secret,
}

#[derive(clap::Subcommand)]
enum Command {
    Check(CheckArgs),
}

/// Show the user, the grants and the expiry of a token.
///
/// Exits with 1 if a node with the same settings would not accept the token; the reason is on stderr.
#[derive(clap::Args)]
struct CheckArgs {
    /// The token; read from stdin if it is missing or `-`. Arguments are visible to other users of this machine.
    token: Option<String>,
    #[command(flatten)]
    secret: Secret,
}

#[derive(clap::Args)]
struct Secret {
    /// File with the HS256 secret, at least 32 bytes, as for `fanfare serve`.
    #[arg(long, value_name = "FILE")]
    jwt_secret_file: Option<String>,
    /// TOML file with settings [default: `FANFARE_CONFIG`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the token cannot be created, or is not accepted.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(Command::Check(CheckArgs { token, secret })) = args.check {
        return match secret.settings() {
            Ok(auth) => check(&auth, token),
            Err(faults) => Ok(config::wrong(&faults)),
        };
    }
    let Args { user, subscribe, publish, admin, ttl, secret, .. } = args;
    let auth = match secret.settings() {
        Ok(auth) => auth,
        Err(faults) => return Ok(config::wrong(&faults)),
    };
    let user = user.context("--user is missing")?;
    let token = NewToken { user, grants: Grants { subscribe, publish, admin }, ttl };
    writeln!(std::io::stdout(), "{}", token.sign(&auth.jwt, SystemTime::now())?)?;
    Ok(ExitCode::SUCCESS)
}

impl Secret {
    /// Reads the settings for tokens. Faults of other settings are ignored: the node reports them.
    fn settings(self) -> Result<AuthConfig, Faults> {
        let flag = |flag, setting, value| Flag { flag, setting, value };
        let mut flags = vec![flag("fanfare token", "auth.mode", "jwt".to_owned())];
        flags
            .extend(self.jwt_secret_file.map(|file| flag("--jwt-secret-file", "auth.jwt.secret_file", file)));
        let reading = Config::read(&Sources::of_process(self.config, flags));
        let matters = |fault: &Fault| !fault.setting.contains('.') || fault.setting.starts_with("auth.");
        let faults: Vec<_> = reading.faults.into_iter().filter(matters).collect();
        if faults.is_empty() { Ok(reading.config.auth) } else { Err(Faults(faults)) }
    }
}

fn check(auth: &AuthConfig, token: Option<String>) -> anyhow::Result<ExitCode> {
    let token = match token {
        Some(token) if token != "-" => token,
        _ => {
            let mut text = String::new();
            // More than any node accepts in a request's head.
            std::io::stdin().lock().take(1 << 20).read_to_string(&mut text).context("cannot read stdin")?;
            text
        }
    };
    let asked = Asked { token: Some(token.trim()), user: None };
    match Auth::new(auth).bearer(&http::HeaderMap::new(), asked, SystemTime::now()) {
        Ok(bearer) => show(&bearer)?,
        Err(error @ (AuthError::Expired | AuthError::BadToken(_))) => bail!("{error}"),
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(Bearer { user, grants, expires, .. }: &Bearer) -> anyhow::Result<()> {
    let list = |patterns: &[Pattern]| match patterns {
        [] => "-".to_owned(),
        patterns => patterns.iter().map(Pattern::as_str).collect::<Vec<_>>().join(" "),
    };
    let user = user.as_ref().map_or("-", User::id);
    let expires =
        expires.map_or_else(|| "never".to_owned(), |at| humantime::format_rfc3339_seconds(at).to_string());
    let mut out = std::io::stdout();
    writeln!(out, "user       {user}")?;
    writeln!(out, "subscribe  {}", list(&grants.subscribe))?;
    writeln!(out, "publish    {}", list(&grants.publish))?;
    writeln!(out, "admin      {}", grants.admin)?;
    writeln!(out, "expires    {expires}")?;
    Ok(())
}

fn positive(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time >= Duration::from_secs(1) => Ok(time),
        Ok(_) => Err("at least 1s".to_owned()),
        Err(error) => Err(format!("{error}; expected a duration like 30m, 1h or 7days")),
    }
}
