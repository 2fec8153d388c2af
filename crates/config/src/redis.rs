//! Settings of the Redis connection: `[redis]`.

use std::path::PathBuf;
use std::time::Duration;

use fanfare_broker::redis::RedisSettings;
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// `[redis]`: address, credentials and timeouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// URL of Redis; `rediss://` uses TLS. Only database 0. Without a URL the node keeps everything in its own
    /// memory. `FANFARE_REDIS__URL`.
    pub url: Option<Secret>,
    /// File with the password of Redis, in place of a password in the URL. One line ending at the end of the file is
    /// ignored. `FANFARE_REDIS__PASSWORD_FILE`.
    pub password_file: Option<PathBuf>,
    /// Content of the file, once it is read.
    #[serde(skip)]
    pub password: Option<Secret>,
    /// PEM file with the certificates to trust in place of the system's, for a `rediss://` URL. `FANFARE_REDIS__CA`.
    pub ca: Option<PathBuf>,
    /// Prefix of every key and topic in Redis. Each cluster that shares a Redis needs its own. Default: `fanfare`.
    /// `FANFARE_REDIS__PREFIX`.
    pub prefix: String,
    /// Timeout for connecting to Redis. Default: `1s`. `FANFARE_REDIS__CONNECT_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Timeout for a reply from Redis. Default: `2s`. `FANFARE_REDIS__TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Maximum number of connections for blocking reads and rare commands. Default: `4`. `FANFARE_REDIS__POOL_SIZE`.
    pub pool_size: usize,
    /// Interval between liveness probes of the subscriber connection. Default: `1s`. `FANFARE_REDIS__PROBE_INTERVAL`.
    #[serde(with = "humantime_serde")]
    pub probe_interval: Duration,
    /// A subscriber connection that does not answer a probe within this time is replaced. Default: `3s`.
    /// `FANFARE_REDIS__PROBE_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub probe_timeout: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        let RedisSettings {
            prefix, timeout, connect_timeout, pool_size, probe_interval, probe_timeout, ..
        } = RedisSettings::default();
        Self {
            url: None,
            password_file: None,
            password: None,
            ca: None,
            prefix,
            connect_timeout,
            timeout,
            pool_size,
            probe_interval,
            probe_timeout,
        }
    }
}

impl RedisConfig {
    /// Returns what the broker is told; `None` if there is no URL.
    pub fn settings(&self) -> Option<RedisSettings> {
        let url = self.url.as_ref()?.expose().to_owned();
        Some(RedisSettings {
            url,
            password: self.password.as_ref().map(|password| password.expose().to_owned()),
            ca: self.ca.clone(),
            prefix: self.prefix.clone(),
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
            pool_size: self.pool_size,
            probe_interval: self.probe_interval,
            probe_timeout: self.probe_timeout,
            ..RedisSettings::default()
        })
    }
}
