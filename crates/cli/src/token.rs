//! `fanfare token`: creates and checks tokens.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use fanfare_auth::new_token::NewToken;
use fanfare_auth::remote_keys::metrics::FetchMetrics;
use fanfare_auth::signing_key::SigningKey;
use fanfare_auth::{Algorithm, Authenticator, Identity};
use fanfare_config::Config;
use fanfare_config::auth::{AuthConfig, JwtConfig};
use fanfare_config::fault::{Fault, Faults};
use fanfare_config::source::{Flag, Sources};
use fanfare_protocol::rights::{Right, Rights};
use fanfare_protocol::{Grants, Pattern, User};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config;

/// Create a token for a user, or check a token.
///
/// Prints only the token. Signs it with a private key (--key), or else with the secret of a node with the same settings:
/// --jwt-secret-file, `FANFARE_AUTH__JWT__SECRET`, or the settings file. Exits with 2 if there is neither.
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
    /// Pattern of finite streams that the user may cancel, like 'stream:chat-*'; may be repeated.
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::new)]
    cancel: Vec<Pattern>,
    /// Allow everything: all channels, all sessions, the nodes.
    #[arg(long, conflicts_with = "right")]
    admin: bool,
    /// Right beyond channels: look, disconnect or publish; may be repeated.
    #[arg(long, value_name = "RIGHT", value_parser = right)]
    right: Vec<Right>,
    /// Lifetime of the token.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = positive)]
    ttl: Duration,
    /// PEM file with the private key that signs the token: RSA, P-256, P-384 or Ed25519.
    #[arg(long, value_name = "FILE", conflicts_with = "jwt_secret_file")]
    key: Option<PathBuf>,
    /// Algorithm of the signature, out of those of the key [default: RS256 for RSA, HS256 for a secret].
    #[arg(long, value_name = "NAME", value_parser = algorithm)]
    alg: Option<Algorithm>,
    /// Key id: the header's `kid`.
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
    /// The `issuer` of the settings to use, of several in auth.issuers [default: the first].
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
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
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(Command::Check(CheckArgs { token, secret })) = args.check {
        return match secret.settings(true) {
            Ok(auth) => check(&auth, token).await,
            Err(faults) => Ok(config::wrong(&faults)),
        };
    }
    let Args { user, subscribe, publish, cancel, admin, right, ttl, key, alg, kid, issuer, secret, .. } =
        args;
    // A private key is no setting of a node, which may have no keys here.
    let auth = match secret.settings(key.is_none()) {
        Ok(auth) => auth,
        Err(faults) => return Ok(config::wrong(&faults)),
    };
    let user = user.context("--user is missing")?;
    let (place, jwt) = chosen(&auth, issuer.as_deref())?;
    let key = signing_key(jwt, key.as_deref(), alg)?.with_id(kid);
    let admin = if admin { Rights::ADMIN } else { Rights::of(&right) };
    let token = NewToken { user, grants: Grants { subscribe, publish, cancel, admin }, ttl };
    writeln!(std::io::stdout(), "{}", token.sign(&key, &jwt.settings(place), SystemTime::now())?)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the settings of an issuer, or else of the first one, with their place.
fn chosen<'a>(auth: &'a AuthConfig, name: Option<&str>) -> anyhow::Result<(String, &'a JwtConfig)> {
    let mut issuers = auth.all_issuers();
    match name {
        Some(name) => issuers
            .find(|(_, jwt)| jwt.issuer.as_deref() == Some(name))
            .with_context(|| format!("no issuer in the settings is {name} (--issuer)")),
        None => Ok(issuers.next().unwrap_or_else(|| ("auth.jwt".to_owned(), &auth.jwt))),
    }
}

/// Returns the key of a file, or else the secret of the settings.
fn signing_key(jwt: &JwtConfig, file: Option<&Path>, alg: Option<Algorithm>) -> anyhow::Result<SigningKey> {
    if let Some(file) = file {
        let name = || format!("{} (--key)", file.display());
        let text = std::fs::read(file).with_context(|| format!("{} cannot be read", name()))?;
        return SigningKey::pem(&text, alg).with_context(name);
    }
    let secret = jwt.secret.as_ref().context("the settings have no secret to sign with: set --key")?;
    Ok(SigningKey::secret(secret.expose().as_bytes(), alg)?)
}

impl Secret {
    /// Reads the settings for tokens, which must have keys if `keys`. Faults of other settings are ignored: the node
    /// reports them.
    fn settings(self, keys: bool) -> Result<AuthConfig, Faults> {
        let flag = |flag, setting, value| Flag { flag, setting, value };
        let mode = if keys { "jwt" } else { "none" };
        let mut flags = vec![flag("fanfare token", "auth.mode", mode.to_owned())];
        flags
            .extend(self.jwt_secret_file.map(|file| flag("--jwt-secret-file", "auth.jwt.secret_file", file)));
        let reading = Config::read(&Sources::of_process(self.config, flags));
        let matters = |fault: &Fault| !fault.setting.contains('.') || fault.setting.starts_with("auth.");
        let faults: Vec<_> = reading.faults.into_iter().filter(matters).collect();
        if faults.is_empty() { Ok(reading.config.auth) } else { Err(Faults(faults)) }
    }
}

async fn check(auth: &AuthConfig, token: Option<String>) -> anyhow::Result<ExitCode> {
    let token = match token {
        Some(token) if token != "-" => token,
        _ => {
            let mut text = String::new();
            // More than any node accepts in a request's head.
            std::io::stdin().lock().take(1 << 20).read_to_string(&mut text).context("cannot read stdin")?;
            text
        }
    };
    let authenticator = Authenticator::new(auth.issuer_settings())?;
    // End when they are dropped.
    let mut fetching = JoinSet::new();
    for refresh in authenticator.refreshes()? {
        fetching.spawn(refresh.run(FetchMetrics::default(), CancellationToken::new()));
    }
    show(&authenticator.authenticate(token.trim(), SystemTime::now()).await?)?;
    Ok(ExitCode::SUCCESS)
}

fn show(Identity { user, grants, expires, stamp: _ }: &Identity) -> anyhow::Result<()> {
    let list = |patterns: &[Pattern]| match patterns {
        [] => "-".to_owned(),
        patterns => patterns.iter().map(Pattern::as_str).collect::<Vec<_>>().join(" "),
    };
    let expires = humantime::format_rfc3339_seconds(*expires);
    let mut out = std::io::stdout();
    writeln!(out, "user       {user}")?;
    writeln!(out, "subscribe  {}", list(&grants.subscribe))?;
    writeln!(out, "publish    {}", list(&grants.publish))?;
    writeln!(out, "cancel     {}", list(&grants.cancel))?;
    writeln!(out, "admin      {}", shown(grants.admin))?;
    writeln!(out, "expires    {expires}")?;
    Ok(())
}

/// Returns the rights of an admin as `true`, others as their names.
fn shown(rights: Rights) -> String {
    let names: Vec<&str> = rights.iter().map(Right::as_str).collect();
    if rights.is_admin() || names.is_empty() { rights.is_admin().to_string() } else { names.join(" ") }
}

fn right(name: &str) -> Result<Right, String> {
    Right::named(name).ok_or_else(|| "the rights are look, disconnect and publish".to_owned())
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::named(name).ok_or_else(|| format!("expected one of {}", fanfare_auth::Algorithms::ALL))
}

fn positive(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time >= Duration::from_secs(1) => Ok(time),
        Ok(_) => Err("at least 1s".to_owned()),
        Err(error) => Err(format!("{error}; expected a duration like 30m, 1h or 7days")),
    }
}
