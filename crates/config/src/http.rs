//! Settings of HTTP: `[http]`.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::network::Network;

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Origins whose pages may call the API (CORS), like `https://app.example`; `*` allows every origin, without
    /// cookies. `FANFARE_HTTP__ALLOWED_ORIGINS`.
    pub allowed_origins: Vec<String>,
    /// Names allowed in a request's `Host`, besides addresses and `localhost`; `*` allows every name. Default: every
    /// name; on the loopback without tokens only those without a dot. `FANFARE_HTTP__ALLOWED_HOSTS`.
    pub allowed_hosts: Vec<String>,
    /// Addresses and ranges (`10.0.0.0/8`) of the load balancers in front of the node, whose client addresses are
    /// trusted. `FANFARE_HTTP__TRUSTED_PROXIES`.
    pub trusted_proxies: Vec<Network>,
    /// Header that trusted proxies set to the client's address. Name the one that they overwrite. Default:
    /// `x-forwarded-for`. `FANFARE_HTTP__FORWARDED_HEADER`.
    pub forwarded_header: ForwardedHeader,
    /// Timeout for receiving the head of the next request, and so the keep-alive timeout. Default: `30s`.
    /// `FANFARE_HTTP__HEADER_READ_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub header_read_timeout: Duration,
    /// Timeout for receiving a request's body. Default: `30s`. `FANFARE_HTTP__BODY_READ_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub body_read_timeout: Duration,
    /// Minimum bytes per second at which a client sends a body or reads an answer; slower clients are disconnected.
    /// Streams are exempt. Default: `1KiB`. `FANFARE_HTTP__MIN_RATE`.
    pub min_rate: ByteSize,
    /// Time over which `http.min_rate` is measured. Default: `10s`. `FANFARE_HTTP__MIN_RATE_WINDOW`.
    #[serde(with = "humantime_serde")]
    pub min_rate_window: Duration,
}

/// The header in which trusted proxies report their peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses separated by commas.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239): elements whose `for=` is a peer.
    Forwarded,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            header_read_timeout: Duration::from_secs(30),
            body_read_timeout: Duration::from_secs(30),
            min_rate: ByteSize::kib(1),
            min_rate_window: Duration::from_secs(10),
        }
    }
}
