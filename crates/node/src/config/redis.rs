//! Settings of the way to Redis: `[redis]`.

use std::path::PathBuf;
use std::time::Duration;

use fanfare_broker::redis::RedisSettings;
use serde::{Deserialize, Serialize};

use super::secret::Secret;

/// `[redis]`: where it is, and how long to wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// Where it is; without it the node keeps everything in its own memory. `FANFARE_REDIS__URL`.
    pub url: Option<Secret>,
    /// A file that holds the password instead of the URL; one line ending at its end is left out.
    /// `FANFARE_REDIS__PASSWORD_FILE`.
    pub password_file: Option<PathBuf>,
    /// What the file holds, once it is read.
    #[serde(skip)]
    pub password: Option<Secret>,
    /// A PEM file with the certificates to trust instead of the system's, for a URL that begins with `rediss://`.
    /// `FANFARE_REDIS__CA`.
    pub ca: Option<PathBuf>,
    /// What every name in Redis begins with. `FANFARE_REDIS__PREFIX`.
    pub prefix: String,
    /// How long a connection may take to be made. `FANFARE_REDIS__CONNECT_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long an answer may take. `FANFARE_REDIS__TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How many connections serve blocking reads and rare commands at most. `FANFARE_REDIS__POOL_SIZE`.
    pub pool_size: usize,
    /// How often the live wire is asked whether it is still there. `FANFARE_REDIS__PROBE_INTERVAL`.
    #[serde(with = "humantime_serde")]
    pub probe_interval: Duration,
    /// A live wire is given up when it did not answer for so long. `FANFARE_REDIS__PROBE_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub probe_timeout: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        let RedisSettings { prefix, timeout, connect_timeout, pool_size, probe_every, probe_timeout, .. } =
            RedisSettings::default();
        Self {
            url: None,
            password_file: None,
            password: None,
            ca: None,
            prefix,
            connect_timeout,
            timeout,
            pool_size: pool_size,
            probe_interval: probe_every,
            probe_timeout,
        }
    }
}

impl RedisConfig {
    /// What the broker is told; none if there is no URL.
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
            probe_every: self.probe_interval,
            probe_timeout: self.probe_timeout,
            ..RedisSettings::default()
        })
    }
}
