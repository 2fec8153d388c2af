//! Settings of the Redis connection.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ::redis::io::tcp::{TcpSettings, socket2};
use ::redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use super::prefix::Prefix;
use super::url::{self, UrlError};
use crate::BrokerError;

/// Address, credentials and timeouts.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// URL: `redis://[user:password@]host[:port]`, `rediss://` with TLS, or `unix:///path`. Only database 0. Its
    /// secrets are never shown.
    pub url: String,
    /// Password, in place of a password in the URL.
    pub password: Option<String>,
    /// PEM file with the certificates to trust in place of the system's, for `rediss://`.
    pub ca: Option<PathBuf>,
    /// PEM files with the certificate that the node shows, and its private key, for `rediss://`.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Prefix of every key and topic: a [`Prefix`].
    pub prefix: String,
    /// Timeout for a reply. The outcome of a call that timed out is unknown.
    pub timeout: Duration,
    /// Timeout for connecting.
    pub connect_timeout: Duration,
    /// Maximum number of connections for blocking reads and rare commands.
    pub pool_size: usize,
    /// Interval between liveness probes of the subscriber connection.
    pub probe_interval: Duration,
    /// A subscriber connection that does not answer a probe within this time is replaced.
    pub probe_timeout: Duration,
    /// Maximum time between two connection attempts of the subscriber connection.
    pub retry_max: Duration,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".into(),
            password: None,
            ca: None,
            identity: None,
            prefix: "fanfare".into(),
            timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
            pool_size: 4,
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(3),
            retry_max: Duration::from_secs(2),
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("address", &self.address())
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("pool_size", &self.pool_size)
            .finish_non_exhaustive()
    }
}

impl RedisSettings {
    /// Returns the host and port, or the socket's path, without secrets.
    pub fn address(&self) -> String {
        match self.url.as_str().into_connection_info() {
            Ok(info) => info.addr().to_string(),
            Err(_) => "not a Redis URL".into(),
        }
    }

    /// Returns whether the URL contains a password.
    pub fn has_password(&self) -> bool {
        let info = self.url.as_str().into_connection_info();
        info.is_ok_and(|info| info.redis_settings().password().is_some())
    }

    /// Checks the URL.
    ///
    /// # Errors
    ///
    /// Fails if the URL is invalid, selects another database than 0, or has a part that would be ignored.
    pub fn check_url(&self) -> Result<(), UrlError> {
        url::check(&self.url)
    }

    /// Checks the settings without connecting. Returns the prefix.
    ///
    /// # Errors
    ///
    /// Fails if the URL or the prefix is invalid, or if the URL selects another database than 0.
    pub(super) fn check(&self) -> Result<Prefix, BrokerError> {
        self.check_url().map_err(|error| {
            BrokerError::Refused(format!("redis.url: {error} (expected {})", error.right()))
        })?;
        Prefix::new(&self.prefix).map_err(|error| {
            let shown: String = self.prefix.chars().take(80).collect();
            BrokerError::Refused(format!("redis.prefix {shown:?}: {error}"))
        })
    }

    /// Parses the URL and adds the options of all connections.
    ///
    /// # Errors
    ///
    /// Fails if the URL is invalid.
    pub(super) fn info(&self) -> Result<ConnectionInfo, BrokerError> {
        // The library's error may contain parts of the URL, so it is not shown.
        let refused = |_| {
            BrokerError::Refused("invalid Redis URL: expected redis[s]://[user:password@]host[:port]".into())
        };
        let info = self.url.as_str().into_connection_info().map_err(refused)?;
        let mut redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        // It would need a right of its own, and says no more than the connection's name does.
        redis = redis.set_skip_set_lib_name();
        if let Some(password) = &self.password {
            redis = redis.set_password(password);
        }
        let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(15));
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(keepalive)
            // A call that timed out must not reach Redis much later: a late claim would own a session that no node
            // serves, after the node has checked for it.
            .set_user_timeout(self.timeout.saturating_mul(2));
        Ok(info.set_redis_settings(redis).set_tcp_settings(tcp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_the_url_are_never_shown() {
        let url = "redis://ann:hunter2@redis.example:6380/0".to_owned();
        let shown = format!("{:?}", RedisSettings { url, ..RedisSettings::default() });
        assert!(shown.contains("redis.example:6380"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("ann"), "{shown}");
    }

    #[test]
    fn what_is_no_url_or_prefix_is_refused_without_repeating_secrets() {
        for url in ["", "http://ann:hunter2@x", "redis://ann:hunter2@:x:y", "redis//ann:hunter2@x"] {
            let settings = RedisSettings { url: url.into(), ..RedisSettings::default() };
            let error = settings.check().expect_err(url).to_string();
            assert!(!error.contains("hunter2") && !format!("{settings:?}").contains("hunter2"), "{error}");
        }
        for prefix in ["", "a b", "a{b}", "é", &"x".repeat(65)] {
            let settings = RedisSettings { prefix: prefix.into(), ..RedisSettings::default() };
            assert!(settings.check().is_err(), "{prefix:?}");
        }
        RedisSettings::default().check().unwrap();
    }
}
