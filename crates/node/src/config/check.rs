//! Checks of single values and of values that depend on each other.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use fanfare_broker::redis::Prefix;
use fanfare_protocol::cursor::MAX_CURSOR_CHANNELS;
use fanfare_protocol::event::MAX_DATA_BYTES;

use super::Config;
use super::auth::{AuthMode, MIN_SECRET_BYTES};
use super::fault::Fault;
use super::lease::LeaseConfig;
use super::secret::Secret;
use super::setting::Setting;
use super::source::Given;
use super::value::{Origin, show};
use super::{host, origin};
use crate::address::trusted::Network;
use crate::certificate::{self, Files, PairError};
use crate::memory::{self, BODY_COPIES, CONNECTIONS};

/// Minimum number of different bytes in a secret. A random secret has more: of secrets of 32 decimal digits, one in
/// ten million has fewer.
const MIN_SECRET_KINDS: usize = 6;
/// Secrets that are long enough, but published as examples.
const PUBLISHED_SECRETS: [&str; 2] = [
    // jwt.io
    "a-string-secret-at-least-256-bits-long",
    "a-string-secret-at-least-512-bits-long-when-using-HS512",
];

/// Collects the faults.
struct Checks<'a> {
    given: &'a HashMap<&'static str, Given>,
    faults: &'a mut Vec<Fault>,
}

impl Checks<'_> {
    /// Records a fault of the first setting unless `holds`. Skips the check when one of the settings could not be
    /// read: its default is in its place then, and a conflict with the default is not a fault of the configuration.
    fn hold(&mut self, holds: bool, settings: &[&'static str], wrong: &str, right: &str) {
        let unread = |name: &&str| self.faults.iter().any(|fault| fault.setting == **name);
        if holds || settings.iter().any(unread) {
            return;
        }
        // Report the setting that was set explicitly, not one that has its default.
        let name = settings.iter().find(|name| self.given.contains_key(*name)).unwrap_or(&settings[0]);
        let given = self.given.get(name);
        let default = Setting::named(name).map(|setting| setting.default).filter(|text| !text.is_empty());
        self.faults.push(Fault {
            setting: (*name).to_owned(),
            value: given
                .map(|given| show(given.setting.kind, &given.value))
                .or_else(|| default.map(str::to_owned)),
            origin: given.map_or(Origin::Default, |given| given.origin.clone()),
            wrong: wrong.to_owned(),
            right: right.to_owned(),
        });
    }
}

/// Checks all settings, and reads the secret's file.
pub(super) fn check(config: &mut Config, given: &HashMap<&'static str, Given>, faults: &mut Vec<Fault>) {
    let mut checks = Checks { given, faults };
    admin(config, &mut checks);
    auth(config, &mut checks);
    redis(config, &mut checks);
    stream(config, &mut checks);
    limits(config, &mut checks);
    retention(config, &mut checks);
    workers(config, &mut checks);
    http(config, &mut checks);
    tls(config, &mut checks);
    log(config, &mut checks);
}

fn auth(config: &mut Config, checks: &mut Checks<'_>) {
    let auth = &mut config.auth;
    checks.hold(
        auth.mode.is_some(),
        &["auth.mode"],
        "auth.mode is not set",
        "--auth jwt and auth.jwt.secret, so that every request needs a token; or --auth none, so that every request \
         may do everything",
    );
    checks.hold(is_token(&auth.cookie), &["auth.cookie"], "invalid cookie name", "letters, digits, _ and -");
    checks.hold(
        auth.jwt.leeway <= Duration::from_hours(1),
        &["auth.jwt.leeway"],
        "value out of range",
        "at most 1h",
    );
    if auth.mode != Some(AuthMode::Jwt) {
        return;
    }
    let (secret, file) = (&auth.jwt.secret, &auth.jwt.secret_file);
    checks.hold(
        secret.is_none() || file.is_none(),
        &["auth.jwt.secret_file", "auth.jwt.secret"],
        "the secret is set twice, as a value and as a file",
        "one of auth.jwt.secret and auth.jwt.secret_file",
    );
    checks.hold(
        secret.is_some() || file.is_some(),
        &["auth.jwt.secret", "auth.jwt.secret_file"],
        "auth.mode is jwt, but no secret is set to verify tokens with",
        "auth.jwt.secret or auth.jwt.secret_file, with at least 32 random bytes (openssl rand -hex 32)",
    );
    if let (None, Some(file)) = (secret, file) {
        auth.jwt.secret = secret_of(checks, "auth.jwt.secret_file", file);
    }
    if let Some(secret) = &auth.jwt.secret {
        let weak = weakness(secret.expose());
        checks.hold(
            weak.is_none(),
            &["auth.jwt.secret", "auth.jwt.secret_file"],
            &weak.unwrap_or_default(),
            "at least 32 random bytes (openssl rand -hex 32)",
        );
    }
}

/// Reads a secret from a file. Returns `None`, and records a fault, if the file cannot be used.
fn secret_of(checks: &mut Checks<'_>, name: &'static str, file: &Path) -> Option<Secret> {
    match std::fs::read_to_string(file) {
        // As a part of the secret it would make every token's signature wrong.
        Ok(text) if text.starts_with('\u{feff}') => checks.hold(
            false,
            &[name],
            "begins with a byte order mark (the bytes EF BB BF)",
            "a file that contains only the secret",
        ),
        Ok(text) => {
            let line = text.strip_suffix('\n').unwrap_or(&text);
            return Some(Secret::new(line.strip_suffix('\r').unwrap_or(line).to_owned()));
        }
        Err(error) => checks.hold(
            false,
            &[name],
            &format!("cannot be read: {error}"),
            "a text file that this process may read",
        ),
    }
    None
}

/// Returns why a secret is easy to guess, or `None` if it passes. A random secret passes.
fn weakness(secret: &str) -> Option<String> {
    let bytes = secret.as_bytes();
    let unit = (1..=bytes.len() / 2).find(|&unit| bytes.chunks(unit).all(|part| bytes.starts_with(part)));
    let kinds = bytes.iter().collect::<HashSet<_>>().len();
    let words = match unit {
        _ if bytes.len() < MIN_SECRET_BYTES => format!("has {} bytes", bytes.len()),
        Some(unit) if unit < MIN_SECRET_BYTES / 2 => format!("repeats the same {unit} bytes"),
        _ if kinds < MIN_SECRET_KINDS => format!("has only {kinds} different bytes"),
        _ if PUBLISHED_SECRETS.contains(&secret) => "is a published example".to_owned(),
        _ => return None,
    };
    Some(format!("the secret {words} and is easy to guess"))
}

fn admin(config: &Config, checks: &mut Checks<'_>) {
    let (admin, node) = (&config.admin, &config.node);
    within(checks, "admin.sockets", admin.sockets, 1, 10_000);
    checks.hold(
        admin.listen.is_none_or(|listen| !overlap(listen, node.listen)),
        &["admin.listen", "node.listen"],
        "admin.listen and node.listen use the same address and port",
        "another port, like 0.0.0.0:8081; or no admin.listen, so that node.listen serves all calls",
    );
}

/// Returns whether two listeners cannot be bound to these addresses at the same time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_port = one.port() == other.port() && one.port() != 0;
    same_port && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

fn redis(config: &mut Config, checks: &mut Checks<'_>) {
    password(config, checks);
    let redis = &config.redis;
    if let Some(url) = &redis.url {
        let schemes = ["redis://", "rediss://", "unix://", "redis+unix://"];
        let rest = schemes.iter().find_map(|s| url.expose().strip_prefix(s));
        let settings = redis.settings().unwrap_or_default();
        checks.hold(
            rest.is_some_and(|rest| !rest.is_empty()) && settings.is_url(),
            &["redis.url"],
            "not a Redis URL",
            "redis://[[user]:password@]host[:port], rediss:// with TLS, or unix:///path",
        );
        let other = redis.settings().and_then(|settings| settings.other_database());
        checks.hold(
            other.is_none(),
            &["redis.url"],
            &format!(
                "the URL selects database {}, but Pub/Sub ignores databases: clusters in two databases would receive \
                 each other's events",
                other.as_deref().unwrap_or_default()
            ),
            "a URL without a database (database 0), and a different redis.prefix for each cluster",
        );
    }
    if let Some(ca) = &redis.ca {
        let told = certificate::certificates(ca).err().map(|error| error.to_string());
        checks.hold(
            told.is_none(),
            &["redis.ca"],
            &told.unwrap_or_default(),
            "a PEM file with certificates that this process may read",
        );
        checks.hold(
            redis.url.as_ref().is_some_and(|url| url.expose().starts_with("rediss://")),
            &["redis.ca", "redis.url"],
            "redis.ca needs TLS, but redis.url does not use TLS",
            "a redis.url that begins with rediss://, or no redis.ca",
        );
    }
    let prefix = Prefix::new(&redis.prefix);
    checks.hold(
        prefix.is_ok(),
        &["redis.prefix"],
        &prefix.err().map(|error| error.to_string()).unwrap_or_default(),
        "1 to 64 bytes: words of ASCII letters and digits, separated by a single ':', '_', '-' or '.', without \
         'ingest', 'node' or 'probe' after a ':'",
    );
    checks.hold(
        (1..=1024).contains(&redis.pool_size),
        &["redis.pool_size"],
        "value out of range",
        "1 to 1024",
    );
    for (name, duration) in [
        ("redis.connect_timeout", redis.connect_timeout),
        ("redis.timeout", redis.timeout),
        ("redis.probe_interval", redis.probe_interval),
        ("redis.probe_timeout", redis.probe_timeout),
    ] {
        positive(checks, name, duration);
    }
}

/// Reads the password's file.
fn password(config: &mut Config, checks: &mut Checks<'_>) {
    let Some(file) = config.redis.password_file.clone() else { return };
    checks.hold(
        config.redis.url.is_some(),
        &["redis.password_file"],
        "redis.password_file is set, but redis.url is not",
        "a redis.url, or no redis.password_file",
    );
    checks.hold(
        !config.redis.settings().is_some_and(|settings| settings.has_password()),
        &["redis.password_file", "redis.url"],
        "the password is set twice, in the URL and as a file",
        "a redis.url without a password, like redis://user@host:6379, and redis.password_file",
    );
    config.redis.password = secret_of(checks, "redis.password_file", &file);
    checks.hold(
        !config.redis.password.as_ref().is_some_and(|password| password.expose().is_empty()),
        &["redis.password_file"],
        "the file is empty",
        "a file that contains only the password",
    );
}

fn stream(config: &Config, checks: &mut Checks<'_>) {
    let stream = &config.stream;
    for (name, duration) in [
        ("stream.heartbeat", stream.heartbeat),
        ("stream.retry", stream.retry),
        ("stream.write_timeout", stream.write_timeout),
    ] {
        positive(checks, name, duration);
    }
    checks.hold(
        stream.peer_timeout >= stream.write_timeout,
        &["stream.peer_timeout", "stream.write_timeout"],
        "stream.peer_timeout is shorter than stream.write_timeout and would disconnect a slow client first",
        &format!("at least stream.write_timeout ({})", humantime::format_duration(stream.write_timeout)),
    );
    checks.hold(
        (Duration::from_secs(1)..=Duration::from_hours(24)).contains(&stream.peer_timeout),
        &["stream.peer_timeout"],
        "value out of range",
        "1s to 24h",
    );
    for (name, count, most) in [
        ("stream.page_events", stream.page_events, 10_000),
        ("stream.max_log_reads", stream.max_log_reads, 100_000),
        ("stream.recent_events", stream.recent_events, 100_000),
    ] {
        within(checks, name, count, 1, most);
    }
    within(checks, "stream.shards", stream.shards, 0, 1024);
    sized(checks, "stream.queue", stream.queue, ByteSize::kib(1), ByteSize::gib(1));
    sized(checks, "stream.page_bytes", stream.page_bytes, ByteSize::kib(1), ByteSize::mib(64));
    // The largest allowed event must fit.
    sized(checks, "stream.max_log_read_bytes", stream.max_log_read_bytes, ByteSize::mib(2), ByteSize::gib(1));
    sized(checks, "stream.shard_queue", stream.shard_queue, ByteSize::mib(1), ByteSize::gib(64));
}

fn limits(config: &Config, checks: &mut Checks<'_>) {
    let limits = &config.limits;
    within(checks, "limits.connections", limits.connections, 1, 10_000_000);
    within(checks, "limits.sockets", limits.sockets, 1, 1_000_000);
    within(checks, "limits.sockets_per_address", limits.sockets_per_address, 1, 1_000_000);
    let frames = usize::try_from(limits.control_frames).unwrap_or(usize::MAX);
    within(checks, "limits.control_frames", frames, 1, 1_000_000);
    sized(checks, "limits.memory", limits.memory, ByteSize::mib(1), ByteSize::tib(1));
    let requests = usize::try_from(limits.requests_per_connection).unwrap_or(usize::MAX);
    within(checks, "limits.requests_per_connection", requests, 1, 10_000);
    within(checks, "limits.rate_keys", limits.rate_keys, 1000, 10_000_000);
    within(checks, "limits.sessions_per_user", limits.sessions_per_user, 1, 1000);
    within(checks, "limits.history_reads", limits.history_reads, 1, 10_000);
    within(checks, "limits.history_reads_per_user", limits.history_reads_per_user, 1, 10_000);
    within(checks, "limits.batch_events", limits.batch_events, 1, 100_000);
    // Every user's stream includes two channels implicitly.
    within(checks, "limits.channels_per_stream", limits.channels_per_stream, 2, MAX_CURSOR_CHANNELS);
    let data = ByteSize::b(MAX_DATA_BYTES as u64);
    sized(checks, "limits.event_data", limits.event_data, ByteSize::b(1), data);
    sized(checks, "limits.head_bytes", limits.head_bytes, ByteSize::kib(16), ByteSize::kib(64));
    sized(checks, "limits.batch_bytes", limits.batch_bytes, ByteSize::kib(1), ByteSize::mib(256));
    // One connection may always send one body, and the body is copied while it is published.
    let copies = (CONNECTIONS * BODY_COPIES) as u64;
    let least = ByteSize::b(memory::LEAST as u64 + copies.saturating_mul(limits.batch_bytes.as_u64()));
    checks.hold(
        limits.memory >= least,
        &["limits.memory", "limits.batch_bytes"],
        "a body of limits.batch_bytes does not fit into the part of limits.memory that one connection may hold",
        &format!(
            "limits.memory at least {}: {} plus {copies} times limits.batch_bytes ({})",
            least,
            ByteSize::b(memory::LEAST as u64),
            limits.batch_bytes
        ),
    );
    checks.hold(
        limits.batch_bytes >= limits.event_data,
        &["limits.batch_bytes", "limits.event_data"],
        "an event of limits.event_data does not fit into limits.batch_bytes",
        "limits.batch_bytes larger than limits.event_data",
    );
}

fn retention(config: &Config, checks: &mut Checks<'_>) {
    let retention = &config.retention;
    within(checks, "retention.events", retention.events, 1, 100_000_000);
    within(checks, "retention.lifecycle_events", retention.lifecycle_events, 1, 100_000_000);
    within(checks, "retention.dead_events", retention.dead_events, 1, 100_000_000);
    positive(checks, "retention.age", retention.age);
    checks.hold(
        retention.positions >= retention.age,
        &["retention.positions", "retention.age"],
        "a channel's last position would expire before its events",
        "retention.positions at least as long as retention.age",
    );
    for (pattern, rule) in &retention.rules().rules {
        checks.hold(
            rule.positions >= rule.age && rule.events >= 1 && !rule.age.is_zero(),
            &["retention.rules"],
            &format!(
                "the rule for {} keeps {} events for {} and positions for {}",
                pattern.as_str(),
                rule.events,
                humantime::format_duration(rule.age),
                humantime::format_duration(rule.positions)
            ),
            "events at least 1, age longer than 0s, positions at least as long as age",
        );
    }
}

fn workers(config: &Config, checks: &mut Checks<'_>) {
    let Config { lease, intake, publish, drain, session, .. } = config;
    let per_minute = usize::try_from(session.lifecycle_per_minute).unwrap_or(usize::MAX);
    within(checks, "session.lifecycle_per_minute", per_minute, 0, 60_000);
    positive(checks, "publish.idempotency_window", publish.idempotency_window);
    checks.hold(
        drain.deadline > drain.notice.saturating_add(drain.window),
        &["drain.deadline", "drain.notice", "drain.window"],
        "the deadline expires before the last wave of streams is closed",
        "longer than drain.notice and drain.window together",
    );
    within(checks, "intake.batch", intake.batch, 1, 10_000);
    checks.hold(
        intake.lease >= Duration::from_millis(500),
        &["intake.lease"],
        "too short: the lease would expire between two renewals",
        "at least 500ms",
    );
    checks.hold(
        lease.ttl >= LeaseConfig::SHORTEST_TTL,
        &["lease.ttl"],
        "too short: the lease would expire between two heartbeats",
        "at least 1s",
    );
}

fn http(config: &Config, checks: &mut Checks<'_>) {
    positive(checks, "http.header_read_timeout", config.http.header_read_timeout);
    positive(checks, "http.body_read_timeout", config.http.body_read_timeout);
    sized(checks, "http.min_rate", config.http.min_rate, ByteSize::b(0), ByteSize::mib(1));
    checks.hold(
        (Duration::from_secs(1)..=Duration::from_mins(10)).contains(&config.http.min_rate_window),
        &["http.min_rate_window"],
        "value out of range",
        "1s to 10m",
    );
    let origins = &config.http.allowed_origins;
    for origin in origins {
        let wrong = origin::wrong(origin, origins.len());
        checks.hold(
            wrong.is_none(),
            &["http.allowed_origins"],
            &format!("{origin:?} {}", wrong.unwrap_or_default()),
            "a scheme and a host as browsers send them, like https://app.example:8443, without a path; or only *",
        );
    }
    for host in &config.http.allowed_hosts {
        let wrong = host::wrong(host, config.http.allowed_hosts.len());
        checks.hold(
            wrong.is_none(),
            &["http.allowed_hosts"],
            &format!("{host:?} {}", wrong.unwrap_or_default()),
            "host names without scheme, port and path, like sse.example; or only *",
        );
    }
    checks.hold(
        !config.http.trusted_proxies.iter().any(Network::is_everything),
        &["http.trusted_proxies"],
        "trusts every address: any client could claim any client address",
        "the addresses of the load balancers, like 10.0.0.5 or 10.0.0.0/24",
    );
    checks.hold(
        !config.node.proxy_protocol || !config.http.trusted_proxies.is_empty(),
        &["node.proxy_protocol", "http.trusted_proxies"],
        "node.proxy_protocol is on, but no proxy is trusted to send the PROXY protocol header",
        "http.trusted_proxies with the addresses of the load balancers",
    );
}

fn tls(config: &Config, checks: &mut Checks<'_>) {
    positive(checks, "tls.reload_interval", config.tls.reload_interval);
    let files = Files::named(config.tls.certificate.as_deref(), config.tls.key.as_deref());
    let pair = files.and_then(|files| files.map(|files| files.read()).transpose());
    let Err(error) = pair else { return };
    let names: &[&str] = match error {
        PairError::Half if config.tls.key.is_none() => &["tls.key"],
        PairError::Unreadable(ref path, _) | PairError::NoKey(ref path) | PairError::Pem(ref path, _)
            if config.tls.key.as_ref() == Some(path) =>
        {
            &["tls.key"]
        }
        _ => &["tls.certificate"],
    };
    checks.hold(
        false,
        names,
        &error.to_string(),
        "two readable PEM files: tls.certificate with the certificate chain (the node's own certificate first), and \
         tls.key with its private key",
    );
}

fn log(config: &Config, checks: &mut Checks<'_>) {
    let level = |part: &str| {
        let (target, level) = part.rsplit_once('=').unwrap_or(("", part));
        let known = level.parse::<tracing::level_filters::LevelFilter>().is_ok();
        known && target.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b))
    };
    checks.hold(
        config.log.level.split(',').all(level),
        &["log.level"],
        "unknown log level",
        "error, warn, info, debug, trace or off; per module like info,fanfare_node::http=debug",
    );
}

fn positive(checks: &mut Checks<'_>, name: &'static str, duration: Duration) {
    checks.hold(!duration.is_zero(), &[name], "must be greater than 0s", "longer than 0s");
}

fn within(checks: &mut Checks<'_>, name: &'static str, count: usize, least: usize, most: usize) {
    let right = format!("{least} to {most}");
    checks.hold((least..=most).contains(&count), &[name], "value out of range", &right);
}

fn sized(checks: &mut Checks<'_>, name: &'static str, size: ByteSize, least: ByteSize, most: ByteSize) {
    let right = format!("{least} to {most}");
    checks.hold((least..=most).contains(&size), &[name], "value out of range", &right);
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}
