//! Settings of the Redis connection: `[redis]`.

use std::path::PathBuf;
use std::time::Duration;

use fanfare_broker::redis::{Prefix, RedisSettings};

use crate::certificate::Files;
use crate::check::Checks;
use crate::secret::{Secret, Url};
use crate::setting::settings;
use crate::{Config, certificate};

settings! {
    /// `[redis]`: address, credentials and timeouts.
    pub struct RedisConfig = "redis", |config| config.redis => {
        /// URL of Redis; `rediss://` uses TLS. Only database 0; a parameter or fragment that has no effect is
        /// refused. Without a URL the node keeps everything in its own
        /// memory.
        url: Option<Url>;
        /// File with the password of Redis, in place of a password in the URL. One line ending at the end of the file
        /// is ignored.
        password_file: Option<PathBuf>;
        /// PEM file with the certificates to trust in place of the system's, for a `rediss://` URL. This file and the two below are
        /// read again when the node reconnects.
        ca: Option<PathBuf>;
        /// PEM file with the certificate that the node shows to Redis, followed by intermediate certificates, if Redis
        /// asks for one (`tls-auth-clients`).
        certificate: Option<PathBuf>;
        /// PEM file with the private key of `redis.certificate`.
        key: Option<PathBuf>;
        /// Prefix of every key and topic in Redis, in lower case. Each cluster that shares a Redis needs its own.
        prefix: String = "fanfare";
        /// Timeout for connecting to Redis.
        connect_timeout: Duration = "1s", in "1ms" to "1h";
        /// Timeout for a reply from Redis.
        timeout: Duration = "2s", in "1ms" to "1h";
        /// Maximum number of connections for blocking reads and rare commands.
        pool_size: usize = "4", in "1" to "1024";
        /// Interval between liveness probes of the subscriber connection.
        probe_interval: Duration = "1s", in "1ms" to "1h";
        /// A subscriber connection that does not answer a probe within this time is replaced.
        probe_timeout: Duration = "3s", in "1ms" to "1h";
    }
    with {
        /// Content of the file, once it is read.
        password: Option<Secret> = None;
    }
}

impl RedisConfig {
    /// Returns the settings for the broker; `None` if there is no URL.
    pub fn settings(&self) -> Option<RedisSettings> {
        let url = self.url.as_ref()?.expose().to_owned();
        Some(RedisSettings {
            url,
            password: self.password.as_ref().map(|password| password.expose().to_owned()),
            ca: self.ca.clone(),
            identity: self.certificate.clone().zip(self.key.clone()),
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

/// Checks the URL, the certificates and the prefix, and reads the password's file.
pub(crate) fn check(config: &mut Config, checks: &mut Checks<'_>) {
    read_password(config, checks);
    let redis = &config.redis;
    if let Some(Err(error)) = redis.settings().map(|settings| settings.check_url()) {
        checks.fail(&["redis.url"], &error.to_string(), error.right());
    }
    if let Some(ca) = &redis.ca {
        if let Err(error) = certificate::certificates(ca) {
            checks.fail(
                &["redis.ca"],
                &error.to_string(),
                "a PEM file with certificates that this process may read",
            );
        }
        hold_tls(redis, "redis.ca", checks);
    }
    check_certificate(redis, checks);
    if let Err(error) = Prefix::new(&redis.prefix) {
        checks.fail(
            &["redis.prefix"],
            &error.to_string(),
            "1 to 64 bytes: words of lower-case ASCII letters and digits, separated by a single ':', '_', '-' or '.', \
             without 'ingest', 'node' or 'probe' after a ':'",
        );
    }
}

/// Reads the certificate that the node shows, and its key, and checks that they match.
fn check_certificate(redis: &RedisConfig, checks: &mut Checks<'_>) {
    let pair = match (&redis.certificate, &redis.key) {
        (None, None) => return,
        (Some(certificate), Some(key)) => Files { certificate: certificate.clone(), key: key.clone() },
        (certificate, _) => {
            let name = if certificate.is_none() { "redis.certificate" } else { "redis.key" };
            let right = "both redis.certificate and redis.key, or neither";
            return checks.fail(&[name], "only one of redis.certificate and redis.key is set", right);
        }
    };
    hold_tls(redis, "redis.certificate", checks);
    if let Err(error) = pair.read() {
        let name = if error.is_of(&pair.key) { "redis.key" } else { "redis.certificate" };
        let right = "two readable PEM files: redis.certificate with the certificate chain, and redis.key with its private key";
        checks.fail(&[name], &error.to_string(), right);
    }
}

/// Checks that a setting of TLS has an effect.
fn hold_tls(redis: &RedisConfig, name: &'static str, checks: &mut Checks<'_>) {
    checks.hold(
        redis.url.as_ref().is_some_and(|url| url.expose().starts_with("rediss://")),
        &[name, "redis.url"],
        &format!("{name} needs TLS, but redis.url does not use TLS"),
        &format!("a redis.url that begins with rediss://, or no {name}"),
    );
}

/// Reads the password's file.
fn read_password(config: &mut Config, checks: &mut Checks<'_>) {
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
    config.redis.password = checks.secret_in("redis.password_file", &file);
    checks.hold(
        !config.redis.password.as_ref().is_some_and(|password| password.expose().is_empty()),
        &["redis.password_file"],
        "the file is empty",
        "a file that contains only the password",
    );
}
