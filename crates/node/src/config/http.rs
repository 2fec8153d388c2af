//! Settings of HTTP: `[http]`.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::address::trusted::{ForwardedHeader, Network, TrustedProxies};

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// The origins whose pages may call (CORS), like `https://app.example`; `*` is every one, without cookies.
    /// `FANFARE_HTTP__ALLOWED_ORIGINS`.
    pub allowed_origins: Vec<String>,
    /// The names that a request's `Host` may have, besides addresses and `localhost`; `*` is every one. Without it: every
    /// one, but where no token is asked for on the loopback those without a dot. `FANFARE_HTTP__ALLOWED_HOSTS`.
    pub allowed_hosts: Vec<String>,
    /// Addresses and ranges of the balancers in front of the node. `FANFARE_HTTP__TRUSTED_PROXIES`.
    pub trusted_proxies: Vec<Network>,
    /// The header in which they name the client. `FANFARE_HTTP__FORWARDED_HEADER`.
    pub forwarded_header: ForwardedHeader,
    /// How long a client may take to send the head of its next request, and so also how long a connection may be
    /// idle between requests. `FANFARE_HTTP__HEADER_READ_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub header_read_timeout: Duration,
    /// How long it may take to send the body. `FANFARE_HTTP__BODY_READ_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub body_read_timeout: Duration,
    /// How many bytes a second a client must send of a body, or take of an answer, at least; a slower one is cut off. Streams
    /// may be as slow as they are. `FANFARE_HTTP__MIN_RATE`.
    pub min_rate: ByteSize,
    /// The time over which that rate is measured. `FANFARE_HTTP__MIN_RATE_WINDOW`.
    #[serde(with = "humantime_serde")]
    pub min_rate_window: Duration,
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

impl HttpConfig {
    /// Returns the proxies that are believed.
    pub fn proxies(&self) -> TrustedProxies {
        TrustedProxies::new(self.trusted_proxies.clone(), self.forwarded_header)
    }
}
