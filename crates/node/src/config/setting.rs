//! Table of all settings: name, kind of value, default and description.
//!
//! Errors, `fanfare config` and `docs/configuration.md` use this table. Tests check that it has exactly the fields of
//! the structs, with their defaults.

use std::time::Duration;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Name, as `group.name`.
    pub name: &'static str,
    /// Kind of the value.
    pub kind: Kind,
    /// Default, as written in the environment; empty if there is none.
    pub default: &'static str,
    /// Description.
    pub meaning: &'static str,
}

/// Kind of a value, which determines how its text is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `15s`, `2m`, `1h30m`; at most a year, so that adding it to a time does not overflow.
    Duration,
    /// `64KiB`, `1MB`, or bytes.
    Size,
    /// A whole number.
    Count,
    /// `true` or `false`.
    Switch,
    /// Any text.
    Text,
    /// Any text; never shown.
    Secret,
    /// A URL; its password is never shown.
    Url,
    /// `ip:port`.
    Address,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Texts; separated by commas in the environment.
    List,
    /// Retention rules; in the environment `pattern events=… age=… positions=…`, separated by commas.
    Rules,
}

/// Maximum duration of any setting.
pub const MAX_DURATION: Duration = Duration::from_hours(366 * 24);

impl Kind {
    /// Returns the accepted form, for error messages.
    pub fn right(self) -> String {
        match self {
            Self::Duration => "a duration with a unit, at most a year, like 15s, 2m or 1h30m".to_owned(),
            Self::Size => "a size with a unit, like 64KiB or 1MB".to_owned(),
            Self::Count => "a whole number, like 100".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::Text | Self::Secret => "a text".to_owned(),
            Self::Url => "a URL like redis://127.0.0.1:6379".to_owned(),
            Self::Address => "an IP address and a port, like 0.0.0.0:8080 or [::]:8080".to_owned(),
            Self::Choice(words) => format!("one of: {}", words.join(", ")),
            Self::List => "a list of texts; separated by commas in the environment".to_owned(),
            Self::Rules => "a list of tables with channel, events, age and positions; in the environment \
                            like room:* events=100 age=10m, log:* events=5"
                .to_owned(),
        }
    }
}

impl Setting {
    /// Returns the setting with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Returns the name of the environment variable.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('.', "__").to_uppercase())
    }
}

/// Prefix of the environment variables.
pub const VARIABLE_PREFIX: &str = "FANFARE_";

const fn setting(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, kind, default, meaning }
}

/// All settings, by topic.
pub const SETTINGS: &[Setting] = &[
    setting(
        "node.id",
        Kind::Text,
        "",
        "Node name, unique in the cluster. Default: the host name and six random characters.",
    ),
    setting(
        "node.listen",
        Kind::Address,
        "0.0.0.0:8080",
        "Listen address for clients. Port 0 picks any free port.",
    ),
    setting(
        "node.address",
        Kind::Text,
        "",
        "The `host:port` that `/v1/nodes` shows. Default: the listen address.",
    ),
    setting(
        "node.proxy_protocol",
        Kind::Switch,
        "false",
        "Whether each connection begins with a PROXY protocol v2 header. Only `http.trusted_proxies` may connect then.",
    ),
    setting(
        "admin.listen",
        Kind::Address,
        "",
        "Listen address for `/healthz`, `/readyz`, `/metrics` and the admin calls, in clear text. Default: they are served on `node.listen`.",
    ),
    setting(
        "admin.sockets",
        Kind::Count,
        "64",
        "Maximum number of open sockets on `admin.listen`; further ones wait to be accepted.",
    ),
    setting(
        "redis.url",
        Kind::Url,
        "",
        "URL of Redis; `rediss://` uses TLS. Only database 0. Without a URL the node keeps everything in its own memory.",
    ),
    setting(
        "redis.password_file",
        Kind::Text,
        "",
        "File with the password of Redis, in place of a password in the URL. One line ending at the end of the file is ignored.",
    ),
    setting(
        "redis.ca",
        Kind::Text,
        "",
        "PEM file with the certificates to trust in place of the system's, for a `rediss://` URL.",
    ),
    setting(
        "redis.prefix",
        Kind::Text,
        "fanfare",
        "Prefix of every key and topic in Redis. Each cluster that shares a Redis needs its own.",
    ),
    setting("redis.connect_timeout", Kind::Duration, "1s", "Timeout for connecting to Redis."),
    setting("redis.timeout", Kind::Duration, "2s", "Timeout for a reply from Redis."),
    setting(
        "redis.pool_size",
        Kind::Count,
        "4",
        "Maximum number of connections for blocking reads and rare commands.",
    ),
    setting(
        "redis.probe_interval",
        Kind::Duration,
        "1s",
        "Interval between liveness probes of the subscriber connection.",
    ),
    setting(
        "redis.probe_timeout",
        Kind::Duration,
        "3s",
        "A subscriber connection that does not answer a probe within this time is replaced.",
    ),
    setting(
        "auth.mode",
        Kind::Choice(&["jwt", "none"]),
        "",
        "`jwt`: every request needs a token. `none`: every request may do everything. Required.",
    ),
    setting(
        "auth.cookie",
        Kind::Text,
        "fanfare_token",
        "Name of the cookie that may carry the token. Checked after the header and the query.",
    ),
    setting("auth.jwt.secret", Kind::Secret, "", "HS256 secret, at least 32 bytes."),
    setting(
        "auth.jwt.secret_file",
        Kind::Text,
        "",
        "File with the secret, in place of `auth.jwt.secret`. One line ending at the end of the file is ignored.",
    ),
    setting("auth.jwt.issuer", Kind::Text, "", "Required value of a token's `iss`."),
    setting("auth.jwt.audience", Kind::Text, "", "Required value of a token's `aud`, or one of its values."),
    setting(
        "auth.jwt.leeway",
        Kind::Duration,
        "5s",
        "Tolerated clock difference between the token issuer and the node.",
    ),
    setting(
        "auth.jwt.max_lifetime",
        Kind::Duration,
        "366d",
        "Maximum lifetime of a token, from its `iat` (or else from now) to its `exp`; `0s` disables the limit.",
    ),
    setting(
        "stream.heartbeat",
        Kind::Duration,
        "15s",
        "Interval after which a comment is sent on a stream that is otherwise silent.",
    ),
    setting("stream.retry", Kind::Duration, "2s", "Minimum `retry:` (reconnection time) sent to clients."),
    setting(
        "stream.retry_spread",
        Kind::Duration,
        "2s",
        "Maximum random addition to `stream.retry`, drawn for each client.",
    ),
    setting(
        "stream.write_timeout",
        Kind::Duration,
        "30s",
        "A client that reads nothing for this time although data is queued is disconnected.",
    ),
    setting(
        "stream.peer_timeout",
        Kind::Duration,
        "30s",
        "A client whose machine acknowledges nothing for this time is disconnected; at least `stream.write_timeout`.",
    ),
    setting(
        "stream.max_age",
        Kind::Duration,
        "0s",
        "Maximum age of a stream, plus up to a tenth; `0s` disables the limit.",
    ),
    setting(
        "stream.idle_timeout",
        Kind::Duration,
        "0s",
        "A stream is closed after this time without an event, plus up to a tenth; `0s` disables the limit.",
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
        "Maximum bytes queued for one client; beyond it the client catches up from the log.",
    ),
    setting("stream.page_events", Kind::Count, "100", "Maximum number of events that one log read fetches."),
    setting(
        "stream.page_bytes",
        Kind::Size,
        "64KiB",
        "Maximum bytes of events that one log read fetches; a single event may be larger.",
    ),
    setting("stream.max_log_reads", Kind::Count, "64", "Maximum number of concurrent log reads."),
    setting(
        "stream.max_log_read_bytes",
        Kind::Size,
        "4MiB",
        "Maximum bytes of concurrent log reads, for streams and the history call together.",
    ),
    setting(
        "stream.recent_events",
        Kind::Count,
        "64",
        "Number of recent events of each channel that are kept in memory.",
    ),
    setting(
        "stream.recent_bytes",
        Kind::Size,
        "64KiB",
        "Maximum bytes of recent events of each channel that are kept in memory.",
    ),
    setting(
        "stream.shard_queue",
        Kind::Size,
        "64MiB",
        "Maximum bytes of events queued for one shard; further events are dropped and its streams catch up from the log.",
    ),
    setting(
        "stream.unsubscribe_delay",
        Kind::Duration,
        "5s",
        "How long the node stays subscribed to a channel after its last stream is gone.",
    ),
    setting(
        "stream.gzip",
        Kind::Switch,
        "true",
        "Whether streams are compressed for clients that accept gzip.",
    ),
    setting(
        "stream.shards",
        Kind::Count,
        "0",
        "Number of shards (event loops that own the streams); 0 uses one for each core.",
    ),
    setting(
        "limits.connections",
        Kind::Count,
        "50000",
        "Maximum number of streams on this node; further ones get an `overloaded` event.",
    ),
    setting(
        "limits.connects_per_second",
        Kind::Count,
        "5000",
        "Maximum rate of new streams on this node; further ones get an `overloaded` event. `0` disables the limit.",
    ),
    setting(
        "limits.memory",
        Kind::Size,
        "256MiB",
        "Maximum resident memory of the process: 32 MiB for the process itself, the rest for sockets, requests, their bodies, answers and stream queues. Each stream takes 4 KiB in addition. At least 33 MiB plus 24 times `limits.batch_bytes`.",
    ),
    setting(
        "limits.sockets",
        Kind::Count,
        "4096",
        "Maximum number of open sockets that serve no stream, if they fit into a quarter of `limits.memory`.",
    ),
    setting(
        "limits.sockets_per_address",
        Kind::Count,
        "1024",
        "Maximum number of these for one address. An IPv6 address counts by its first 64 bits.",
    ),
    setting(
        "limits.when_full",
        Kind::Choice(&["evict", "refuse"]),
        "evict",
        "What happens to a socket beyond these limits. `evict`: it replaces the socket that has been idle longest, of the address that has most. `refuse`: it is closed.",
    ),
    setting(
        "limits.control_frames",
        Kind::Count,
        "100",
        "Maximum rate of HTTP/2 frames without data from a client, not counting acknowledgements of received data.",
    ),
    setting(
        "limits.requests_per_connection",
        Kind::Count,
        "128",
        "Maximum number of concurrent requests, streams included, on one HTTP/2 connection; 1 to 10000.",
    ),
    setting(
        "limits.sessions_per_user",
        Kind::Count,
        "16",
        "Maximum number of sessions of a user in the whole cluster; at most 1000, since Redis scans them.",
    ),
    setting(
        "limits.history_reads",
        Kind::Count,
        "16",
        "Maximum number of concurrent history calls on this node; further ones get `503`.",
    ),
    setting(
        "limits.history_reads_per_user",
        Kind::Count,
        "4",
        "Maximum number of concurrent history calls of one user; further ones get `429`.",
    ),
    setting(
        "limits.channels_per_stream",
        Kind::Count,
        "256",
        "Maximum number of channels of a stream, the user's own and `broadcast` included; at most 256.",
    ),
    setting(
        "limits.event_data",
        Kind::Size,
        "60KiB",
        "Maximum size of an event's data; at most 1 MiB. Lines of more than 60 KiB are too long for some clients.",
    ),
    setting("limits.batch_events", Kind::Count, "1000", "Maximum number of events in one publish request."),
    setting(
        "limits.batch_bytes",
        Kind::Size,
        "8MiB",
        "Maximum size of the body of a publish request; at most 256 MiB.",
    ),
    setting(
        "limits.head_bytes",
        Kind::Size,
        "32KiB",
        "Maximum size of a request's head, with room for a stream's cursor; 16 to 64 KiB. Balancers must let as much through.",
    ),
    setting(
        "limits.rate_keys",
        Kind::Count,
        "100000",
        "Number of users, and of addresses, that have their own bucket for each of the rates below; further ones share buckets.",
    ),
    setting(
        "limits.user.connects_per_second",
        Kind::Count,
        "50",
        "Maximum rate of new streams of one user on this node; further ones get an `overloaded` event. `0` disables the limit.",
    ),
    setting(
        "limits.user.requests_per_second",
        Kind::Count,
        "2000",
        "Maximum rate of other requests with a token of one user; further ones get `429`. `0` disables the limit.",
    ),
    setting(
        "limits.user.events_per_second",
        Kind::Count,
        "20000",
        "Maximum rate of events that one user publishes over HTTP; further ones get `429`. `0` disables the limit.",
    ),
    setting(
        "limits.user.bytes_per_second",
        Kind::Size,
        "32MiB",
        "Maximum rate of request body bytes that one user publishes over HTTP; further ones get `429`. `0B` disables the limit.",
    ),
    setting(
        "limits.user.channels_per_second",
        Kind::Count,
        "1000",
        "Maximum rate of channels that one user creates by publishing over HTTP; further ones get `429`. `0` disables the limit.",
    ),
    setting(
        "limits.address.connects_per_second",
        Kind::Count,
        "2000",
        "Maximum rate of new streams from one address (IPv4, or an IPv6 /64; not a trusted proxy's) on this node; further ones get an `overloaded` event. `0` disables the limit.",
    ),
    setting(
        "limits.address.requests_per_second",
        Kind::Count,
        "10000",
        "Maximum rate of other requests with a token from one address (IPv4, or an IPv6 /64; not a trusted proxy's); further ones get `429`. `0` disables the limit.",
    ),
    setting(
        "limits.address.events_per_second",
        Kind::Count,
        "40000",
        "Maximum rate of events published over HTTP from one address (IPv4, or an IPv6 /64; not a trusted proxy's); further ones get `429`. `0` disables the limit.",
    ),
    setting(
        "limits.address.bytes_per_second",
        Kind::Size,
        "64MiB",
        "Maximum rate of request body bytes published over HTTP from one address (IPv4, or an IPv6 /64; not a trusted proxy's); further ones get `429`. `0B` disables the limit.",
    ),
    setting(
        "limits.address.channels_per_second",
        Kind::Count,
        "2000",
        "Maximum rate of channels created by publishing over HTTP from one address (IPv4, or an IPv6 /64; not a trusted proxy's); further ones get `429`. `0` disables the limit.",
    ),
    setting(
        "retention.events",
        Kind::Count,
        "1000",
        "Number of events that a channel keeps at least, unless they are older than `retention.age`.",
    ),
    setting("retention.age", Kind::Duration, "1h", "Maximum age of a stored event."),
    setting(
        "retention.positions",
        Kind::Duration,
        "7d",
        "How long a channel's last position is kept after its newest event; at least `retention.age`.",
    ),
    setting(
        "retention.rules",
        Kind::Rules,
        "",
        "Different retention for channels that match a pattern; the first matching rule applies.",
    ),
    setting(
        "retention.lifecycle_events",
        Kind::Count,
        "100000",
        "Approximate number of entries that the lifecycle stream keeps.",
    ),
    setting(
        "retention.dead_events",
        Kind::Count,
        "10000",
        "Approximate number of entries that the dead-letter stream keeps.",
    ),
    setting(
        "publish.idempotency_window",
        Kind::Duration,
        "10m",
        "How long an idempotency key is remembered.",
    ),
    setting("intake.enabled", Kind::Switch, "true", "Whether this node may lead the intake."),
    setting("intake.batch", Kind::Count, "500", "Maximum number of intake entries published at once."),
    setting(
        "intake.lease",
        Kind::Duration,
        "3s",
        "Lease duration of the intake leader; another node takes over when it expires.",
    ),
    setting(
        "session.grace",
        Kind::Duration,
        "15s",
        "How long after their last stream a user is reported offline, and how long a session that a draining node released waits for another node. `0s` reports at once.",
    ),
    setting(
        "session.lifecycle_per_minute",
        Kind::Count,
        "60",
        "Maximum rate of session events of one user in the lifecycle stream; further ones are merged. `0` disables the limit.",
    ),
    setting(
        "lease.ttl",
        Kind::Duration,
        "10s",
        "Node lease duration, renewed every third of it. A node whose lease expires is considered dead.",
    ),
    setting(
        "http.allowed_origins",
        Kind::List,
        "",
        "Origins whose pages may call the API (CORS), like `https://app.example`; `*` allows every origin, without cookies.",
    ),
    setting(
        "http.allowed_hosts",
        Kind::List,
        "",
        "Names allowed in a request's `Host`, besides addresses and `localhost`; `*` allows every name. Default: every name; on the loopback without tokens only those without a dot.",
    ),
    setting(
        "http.trusted_proxies",
        Kind::List,
        "",
        "Addresses and ranges (`10.0.0.0/8`) of the load balancers in front of the node, whose client addresses are trusted.",
    ),
    setting(
        "http.forwarded_header",
        Kind::Choice(&["x-forwarded-for", "forwarded"]),
        "x-forwarded-for",
        "Header that trusted proxies set to the client's address. Name the one that they overwrite.",
    ),
    setting(
        "http.header_read_timeout",
        Kind::Duration,
        "30s",
        "Timeout for receiving the head of the next request, and so the keep-alive timeout.",
    ),
    setting("http.body_read_timeout", Kind::Duration, "30s", "Timeout for receiving a request's body."),
    setting(
        "http.min_rate",
        Kind::Size,
        "1KiB",
        "Minimum bytes per second at which a client sends a body or reads an answer; slower clients are disconnected. Streams are exempt.",
    ),
    setting("http.min_rate_window", Kind::Duration, "10s", "Time over which `http.min_rate` is measured."),
    setting(
        "tls.certificate",
        Kind::Text,
        "",
        "PEM file with the node's certificate, followed by intermediate certificates. The node then speaks only TLS.",
    ),
    setting("tls.key", Kind::Text, "", "PEM file with the certificate's private key."),
    setting(
        "tls.reload_interval",
        Kind::Duration,
        "1m",
        "Interval between checks of the two files; a renewed certificate is loaded without a restart.",
    ),
    setting(
        "drain.notice",
        Kind::Duration,
        "5s",
        "How long a node keeps its streams after it was asked to stop, so that load balancers notice first.",
    ),
    setting("drain.window", Kind::Duration, "20s", "Time over which streams are closed, in even waves."),
    setting(
        "drain.retry_spread",
        Kind::Duration,
        "400ms",
        "Clients of a draining node reconnect after 100 ms plus a random part of this time.",
    ),
    setting(
        "drain.deadline",
        Kind::Duration,
        "45s",
        "Maximum time from the request to stop to the exit; remaining streams are cut. Longer than `drain.notice` and `drain.window` together.",
    ),
    setting(
        "log.level",
        Kind::Text,
        "info",
        "`error`, `warn`, `info`, `debug`, `trace` or `off`; also per module: `info,fanfare_node::http=debug`.",
    ),
    setting("log.format", Kind::Choice(&["text", "json"]), "text", "`text` for people, `json` for machines."),
];
