//! Every setting by name: what kind of value it has, its default and its meaning.
//!
//! This table is what errors, `fanfare config` and `docs/configuration.md` are made from. That it names exactly the
//! fields of the structs, with their defaults, is tested.

use std::time::Duration;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `group.name`, as in the file.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// The default as it would be written in the environment; empty is none.
    pub default: &'static str,
    /// What the value changes, in one sentence.
    pub meaning: &'static str,
}

/// What a value is, and so how its text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `15s`, `2m`, `1h30m`; at most a year, so that no clock is passed by adding one.
    Duration,
    /// `64KiB`, `1MB`, or bytes.
    Size,
    /// A whole number.
    Count,
    /// `true` or `false`.
    Switch,
    /// Any text.
    Text,
    /// Any text, never shown.
    Secret,
    /// A URL whose password is never shown.
    Url,
    /// `ip:port`.
    Address,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Texts; in the environment with commas between them.
    List,
    /// Retention rules; in the environment `pattern events=… age=… positions=…` with commas between them.
    Rules,
}

/// The longest duration that any setting may have.
pub const MAX_DURATION: Duration = Duration::from_hours(366 * 24);

impl Kind {
    /// What would be right, for error messages.
    pub fn right(self) -> String {
        match self {
            Self::Duration => "a duration with its unit, at most a year, like 15s, 2m or 1h30m".to_owned(),
            Self::Size => "a size with its unit, like 64KiB or 1MB".to_owned(),
            Self::Count => "a whole number, like 100".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::Text | Self::Secret => "a text".to_owned(),
            Self::Url => "a URL like redis://127.0.0.1:6379".to_owned(),
            Self::Address => "an address and a port, like 0.0.0.0:8080 or [::]:8080".to_owned(),
            Self::Choice(words) => format!("one of: {}", words.join(", ")),
            Self::List => "a list of texts; in the environment with commas between them".to_owned(),
            Self::Rules => "a list of tables with channel, events, age and positions; in the environment \
                            like: room:* events=100 age=10m, log:* events=5"
                .to_owned(),
        }
    }
}

impl Setting {
    /// The setting of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// The name of its environment variable.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('.', "__").to_uppercase())
    }
}

/// What the names of environment variables begin with.
pub const VARIABLE_PREFIX: &str = "FANFARE_";

const fn setting(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, kind, default, meaning }
}

/// All of them, by topic.
pub const SETTINGS: &[Setting] = &[
    setting(
        "node.id",
        Kind::Text,
        "",
        "The node's name, unique in the cluster. Without it: the host's name and six random characters.",
    ),
    setting("node.listen", Kind::Address, "0.0.0.0:8080", "Where it listens. Port 0 is any free one."),
    setting(
        "node.address",
        Kind::Text,
        "",
        "The `host:port` that `/v1/nodes` shows. Without it: what it listens on.",
    ),
    setting(
        "node.proxy_protocol",
        Kind::Switch,
        "false",
        "Whether each connection begins with a PROXY protocol v2 header. Then only `http.trusted_proxies` may connect.",
    ),
    setting(
        "admin.listen",
        Kind::Address,
        "",
        "Where `/healthz`, `/readyz`, `/metrics` and the admin calls are served, in clear text. Without it they are on \
         `node.listen`.",
    ),
    setting(
        "admin.sockets",
        Kind::Count,
        "64",
        "How many sockets may be open there; more wait to be accepted.",
    ),
    setting(
        "redis.url",
        Kind::Url,
        "",
        "Where Redis is; `rediss://` is over TLS. Only database 0. Without it the node keeps everything in its own memory.",
    ),
    setting(
        "redis.password_file",
        Kind::Text,
        "",
        "A file that holds the password of Redis instead of the URL. One line ending at its end is left out.",
    ),
    setting(
        "redis.ca",
        Kind::Text,
        "",
        "A PEM file with the certificates to trust instead of the system's, for a URL that begins with `rediss://`.",
    ),
    setting(
        "redis.prefix",
        Kind::Text,
        "fanfare",
        "What every name in Redis begins with. Each cluster on one Redis needs its own.",
    ),
    setting("redis.connect_timeout", Kind::Duration, "1s", "How long a connection may take to be made."),
    setting("redis.timeout", Kind::Duration, "2s", "How long an answer may take."),
    setting(
        "redis.pool_size",
        Kind::Count,
        "4",
        "How many connections serve blocking reads and rare commands at most.",
    ),
    setting(
        "redis.probe_interval",
        Kind::Duration,
        "1s",
        "How often the live wire is asked whether it is still there.",
    ),
    setting(
        "redis.probe_timeout",
        Kind::Duration,
        "3s",
        "A live wire is given up when it did not answer for so long.",
    ),
    setting(
        "auth.mode",
        Kind::Choice(&["jwt", "none"]),
        "",
        "`jwt`: every request carries a token. `none`: everybody may do everything. Must be said.",
    ),
    setting("auth.cookie", Kind::Text, "fanfare_token", "The cookie in which a token is looked for last."),
    setting("auth.jwt.secret", Kind::Secret, "", "The HS256 secret, at least 32 bytes."),
    setting(
        "auth.jwt.secret_file",
        Kind::Text,
        "",
        "A file that holds the secret instead. One line ending at its end is left out.",
    ),
    setting("auth.jwt.issuer", Kind::Text, "", "What a token's `iss` must be."),
    setting("auth.jwt.audience", Kind::Text, "", "What a token's `aud` must be or contain."),
    setting("auth.jwt.leeway", Kind::Duration, "5s", "How far the clock of who makes the tokens may be off."),
    setting(
        "auth.jwt.max_lifetime",
        Kind::Duration,
        "366d",
        "How long a token may be good, from its `iat` or else from now to its `exp`; `0s` is no limit.",
    ),
    setting(
        "stream.heartbeat",
        Kind::Duration,
        "15s",
        "A comment is sent after so long without anything else.",
    ),
    setting("stream.retry", Kind::Duration, "2s", "The shortest `retry:` that a client is told."),
    setting(
        "stream.retry_spread",
        Kind::Duration,
        "2s",
        "Each client's `retry:` is longer than that by a random part of this.",
    ),
    setting(
        "stream.write_timeout",
        Kind::Duration,
        "30s",
        "A client that takes nothing for so long although something waits is cut off.",
    ),
    setting(
        "stream.peer_timeout",
        Kind::Duration,
        "30s",
        "A client whose machine answers nothing for so long is given up; at least `stream.write_timeout`.",
    ),
    setting(
        "stream.max_age",
        Kind::Duration,
        "0s",
        "A stream ends at this age, or up to a tenth later; `0s` is never.",
    ),
    setting(
        "stream.idle_timeout",
        Kind::Duration,
        "0s",
        "A stream ends after so long without an event, or up to a tenth later; `0s` is never.",
    ),
    setting(
        "stream.linger",
        Kind::Duration,
        "2s",
        "How long a client may take to close a connection that the node has ended.",
    ),
    setting(
        "stream.queue",
        Kind::Size,
        "64KiB",
        "How much may wait for one client; beyond it the client catches up from the log.",
    ),
    setting("stream.page_events", Kind::Count, "100", "How many events one read of a log brings at most."),
    setting(
        "stream.page_bytes",
        Kind::Size,
        "64KiB",
        "How many bytes of events one read of a log brings at most; a single event may be larger.",
    ),
    setting("stream.max_log_reads", Kind::Count, "64", "How many reads of logs may be under way at once."),
    setting(
        "stream.max_log_read_bytes",
        Kind::Size,
        "4MiB",
        "How many bytes of logs may be on their way to the node at once, for streams and the history call together.",
    ),
    setting(
        "stream.recent_events",
        Kind::Count,
        "64",
        "How many recent events of a channel are kept at hand.",
    ),
    setting("stream.recent_bytes", Kind::Size, "64KiB", "How many bytes of them."),
    setting(
        "stream.shard_queue",
        Kind::Size,
        "64MiB",
        "How much may wait for one writer loop; beyond it events are dropped and its streams catch up from the logs.",
    ),
    setting(
        "stream.unsubscribe_delay",
        Kind::Duration,
        "5s",
        "How long a channel that nobody follows any more is still heard.",
    ),
    setting(
        "stream.gzip",
        Kind::Switch,
        "true",
        "Whether streams are compressed for clients that accept gzip.",
    ),
    setting("stream.shards", Kind::Count, "0", "How many writer loops there are; 0 is one for each core."),
    setting(
        "limits.connections",
        Kind::Count,
        "50000",
        "How many streams this node holds; more are answered as overloaded.",
    ),
    setting(
        "limits.connects_per_second",
        Kind::Count,
        "5000",
        "How many streams a second this node opens; more are answered as overloaded. `0` is no limit.",
    ),
    setting(
        "limits.memory",
        Kind::Size,
        "256MiB",
        "How many bytes requests, their bodies, answers and the queues of streams may hold together; at least 24 times \
         `limits.batch_bytes`.",
    ),
    setting(
        "limits.sockets",
        Kind::Count,
        "4096",
        "How many sockets may be open beside those of the streams.",
    ),
    setting(
        "limits.sockets_per_address",
        Kind::Count,
        "1024",
        "How many of them one address may have. An IPv6 address counts by its first 64 bits.",
    ),
    setting(
        "limits.when_full",
        Kind::Choice(&["evict", "refuse"]),
        "evict",
        "What happens to a socket beyond these. `evict`: the one that has been idle longest is closed for it, of the \
         address that has most. `refuse`: it is closed.",
    ),
    setting(
        "limits.control_frames",
        Kind::Count,
        "100",
        "How many frames a second that carry no data an HTTP/2 client may send, beside those that acknowledge what it \
         received.",
    ),
    setting(
        "limits.requests_per_connection",
        Kind::Count,
        "128",
        "How many requests, streams among them, may be open on one HTTP/2 connection; 1 to 10000.",
    ),
    setting(
        "limits.sessions_per_user",
        Kind::Count,
        "16",
        "How many sessions a user may have in the whole cluster; at most 1000, since Redis looks through them.",
    ),
    setting(
        "limits.history_reads",
        Kind::Count,
        "16",
        "How many history calls may be under way on this node, until their answers are written; more are answered with `503`.",
    ),
    setting(
        "limits.history_reads_per_user",
        Kind::Count,
        "4",
        "How many of them one user may have; more are answered with `429`.",
    ),
    setting(
        "limits.channels_per_stream",
        Kind::Count,
        "256",
        "How many channels a stream may follow, its user's own and `broadcast` included; at most 256.",
    ),
    setting(
        "limits.event_data",
        Kind::Size,
        "60KiB",
        "The most data an event may have; at most 1 MiB. More than 60 KiB are too long a line for some clients.",
    ),
    setting("limits.batch_events", Kind::Count, "1000", "How many events one request may publish."),
    setting(
        "limits.batch_bytes",
        Kind::Size,
        "8MiB",
        "How many bytes the body of such a request may have; at most 256 MiB.",
    ),
    setting(
        "limits.head_bytes",
        Kind::Size,
        "32KiB",
        "How many bytes the head of a request may have, with room for a stream's cursor; 16 to 64 KiB. Balancers must let as much through.",
    ),
    setting(
        "limits.rate_keys",
        Kind::Count,
        "100000",
        "How many users, and how many addresses, have a bucket of their own for each of the rates below; those beyond share some.",
    ),
    setting(
        "limits.user.connects_per_second",
        Kind::Count,
        "50",
        "How many streams a second one user may ask this node for; more are answered as overloaded. `0` is no limit.",
    ),
    setting(
        "limits.user.requests_per_second",
        Kind::Count,
        "2000",
        "How many other requests with a token a second one user may send; more are answered `429`. `0` is no limit.",
    ),
    setting(
        "limits.user.events_per_second",
        Kind::Count,
        "20000",
        "How many events a second one user may publish over HTTP; more are answered `429`. `0` is no limit.",
    ),
    setting(
        "limits.user.bytes_per_second",
        Kind::Size,
        "32MiB",
        "How many bytes of bodies a second one user may publish over HTTP; more are answered `429`. `0B` is no limit.",
    ),
    setting(
        "limits.user.channels_per_second",
        Kind::Count,
        "1000",
        "How many channels that do not exist a second one user may make by publishing over HTTP; more are answered `429`. `0` is no limit.",
    ),
    setting(
        "limits.address.connects_per_second",
        Kind::Count,
        "2000",
        "How many streams a second one address (IPv4, or an IPv6 /64; not a trusted proxy's) may ask this node for; more are answered as overloaded. `0` is no limit.",
    ),
    setting(
        "limits.address.requests_per_second",
        Kind::Count,
        "10000",
        "How many other requests with a token a second one address (IPv4, or an IPv6 /64; not a trusted proxy's) may send; more are answered `429`. `0` is no limit.",
    ),
    setting(
        "limits.address.events_per_second",
        Kind::Count,
        "40000",
        "How many events a second one address (IPv4, or an IPv6 /64; not a trusted proxy's) may publish over HTTP; more are answered `429`. `0` is no limit.",
    ),
    setting(
        "limits.address.bytes_per_second",
        Kind::Size,
        "64MiB",
        "How many bytes of bodies a second one address (IPv4, or an IPv6 /64; not a trusted proxy's) may publish over HTTP; more are answered `429`. `0B` is no limit.",
    ),
    setting(
        "limits.address.channels_per_second",
        Kind::Count,
        "2000",
        "How many channels that do not exist a second one address (IPv4, or an IPv6 /64; not a trusted proxy's) may make by publishing over HTTP; more are answered `429`. `0` is no limit.",
    ),
    setting(
        "retention.events",
        Kind::Count,
        "1000",
        "How many events a channel keeps at least, if they are young enough.",
    ),
    setting("retention.age", Kind::Duration, "1h", "How old a kept event may become."),
    setting(
        "retention.positions",
        Kind::Duration,
        "7d",
        "How long a channel's last position outlives its newest event; at least `retention.age`.",
    ),
    setting(
        "retention.rules",
        Kind::Rules,
        "",
        "Other figures for channels that match a pattern; the first rule that matches counts.",
    ),
    setting(
        "retention.lifecycle_events",
        Kind::Count,
        "100000",
        "About how many entries the lifecycle stream keeps.",
    ),
    setting("retention.dead_events", Kind::Count, "10000", "About how many dead intake entries are kept."),
    setting(
        "publish.idempotency_window",
        Kind::Duration,
        "10m",
        "How long an idempotency key is remembered.",
    ),
    setting("intake.enabled", Kind::Switch, "true", "Whether this node takes entries of the ingest stream."),
    setting("intake.batch", Kind::Count, "500", "How many entries are taken and published at once."),
    setting(
        "intake.lease",
        Kind::Duration,
        "3s",
        "The node that leads the intake is replaced when it was not heard of for so long.",
    ),
    setting(
        "session.grace",
        Kind::Duration,
        "15s",
        "How long a user without a stream is not reported offline yet, and a session that a leaving node let go of waits \
         for another. `0s` reports at once.",
    ),
    setting(
        "session.lifecycle_per_minute",
        Kind::Count,
        "60",
        "How many session events a minute one user may cause in the lifecycle stream; beyond that they are merged. `0` is no \
         limit.",
    ),
    setting(
        "lease.ttl",
        Kind::Duration,
        "10s",
        "A node that was not heard of for so long is dead. It is heard of three times as often.",
    ),
    setting(
        "http.allowed_origins",
        Kind::List,
        "",
        "The origins whose pages may call (CORS), like `https://app.example`; `*` is every one, without cookies.",
    ),
    setting(
        "http.allowed_hosts",
        Kind::List,
        "",
        "The names that a request's `Host` may have, besides addresses and `localhost`; `*` is every one. Without it: every \
         one, but where no token is asked for on the loopback those without a dot.",
    ),
    setting(
        "http.trusted_proxies",
        Kind::List,
        "",
        "Addresses and ranges (`10.0.0.0/8`) of the balancers in front of the node. They tell which client they serve.",
    ),
    setting(
        "http.forwarded_header",
        Kind::Choice(&["x-forwarded-for", "forwarded"]),
        "x-forwarded-for",
        "The header in which they tell it: the one that they set, since the other is passed on as a client sent it.",
    ),
    setting(
        "http.header_read_timeout",
        Kind::Duration,
        "30s",
        "How long a client may take to send the head of its next request, and so how long a connection may be idle.",
    ),
    setting("http.body_read_timeout", Kind::Duration, "30s", "How long it may take to send the body."),
    setting(
        "http.min_rate",
        Kind::Size,
        "1KiB",
        "How much a client must send of a body, or take of an answer, in each second at least; a slower one is cut off. \
         Streams may be as slow as they are.",
    ),
    setting("http.min_rate_window", Kind::Duration, "10s", "The time over which that rate is measured."),
    setting(
        "tls.certificate",
        Kind::Text,
        "",
        "A PEM file with the node's certificate, and after it those that lead to its issuer. With it the node speaks only \
         TLS.",
    ),
    setting("tls.key", Kind::Text, "", "A PEM file with the certificate's private key."),
    setting(
        "tls.reload_interval",
        Kind::Duration,
        "1m",
        "How often the two files are looked at, so that a renewed certificate is taken without a restart.",
    ),
    setting(
        "drain.notice",
        Kind::Duration,
        "5s",
        "How long a node that was told to stop keeps its streams before it sends them away, so that the balancer notices.",
    ),
    setting("drain.window", Kind::Duration, "20s", "The time over which streams are ended, in even waves."),
    setting(
        "drain.retry_spread",
        Kind::Duration,
        "400ms",
        "A client that is sent away comes back after 100 ms and a random part of this.",
    ),
    setting(
        "drain.deadline",
        Kind::Duration,
        "45s",
        "How long a node that was told to stop may take in all; what is left then is cut off. Longer than notice and \
         window together.",
    ),
    setting(
        "log.level",
        Kind::Text,
        "info",
        "`error`, `warn`, `info`, `debug`, `trace` or `off`; also for parts: `info,fanfare_node::http=debug`.",
    ),
    setting("log.format", Kind::Choice(&["text", "json"]), "text", "Lines for people or for machines."),
];
