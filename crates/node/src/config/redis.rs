//! Settings of the way to Redis: `[redis]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::secret::Secret;

/// `[redis]`: where it is, and how long to wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// Where it is; without it the node keeps everything in its own memory. `FANFARE_REDIS__URL`.
    pub url: Option<Secret>,
    /// What every key begins with. `FANFARE_REDIS__PREFIX`.
    pub prefix: String,
    /// How long a connection may take to be made. `FANFARE_REDIS__CONNECT_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long an answer may take. `FANFARE_REDIS__TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How many connections serve blocking reads and administration. `FANFARE_REDIS__POOL`.
    pub pool: usize,
    /// How often Redis and the live wire are asked whether they still answer. `FANFARE_REDIS__PROBE`.
    #[serde(with = "humantime_serde")]
    pub probe: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: None,
            prefix: "fanfare".to_owned(),
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(2),
            pool: 8,
            probe: Duration::from_secs(2),
        }
    }
}
