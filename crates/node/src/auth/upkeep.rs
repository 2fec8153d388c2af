//! The tasks that keep the keys of tokens up to date, and the secret by which the application knows the node.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fanfare_auth::Authenticator;
use fanfare_auth::callback::{Callback, secret};
use fanfare_auth::issuer::Issuer;
use fanfare_auth::key::Key;
use fanfare_auth::key_file::{FileKeys, KeyFileError};
use fanfare_auth::remote_keys::source::SourceError;
use http::HeaderValue;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Auth;
use super::metrics::KeyMetrics;
use crate::reload::{Files, Reload};

/// The tasks. End when they are shut down or dropped.
#[derive(Debug)]
pub struct KeyUpkeep {
    stop: DropGuard,
    tasks: JoinSet<()>,
}

impl KeyUpkeep {
    /// Starts a task for each issuer that has key files, for each that has a URL, and for the secret's file. Must be called
    /// within a runtime.
    ///
    /// # Errors
    ///
    /// Fails if a URL or its trusted certificates cannot be used.
    pub fn start(auth: &Auth, every: Duration, metrics: &KeyMetrics) -> Result<Self, SourceError> {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        if let Some(callback) = auth.callback()
            && let Some((_, mark)) = callback.secret().file()
        {
            let file = SecretFile { callback: Arc::clone(callback), metrics: metrics.clone() };
            tasks.spawn(Reload::new(file, mark, every).run(stop.clone()));
        }
        if let Some(authenticator) = auth.authenticator() {
            for refresh in authenticator.refreshes()? {
                tasks.spawn(refresh.run(metrics.fetches.clone(), stop.clone()));
            }
            for (index, issuer) in authenticator.issuers().iter().enumerate() {
                if !issuer.settings().files.is_empty() {
                    let files = IssuerFiles {
                        authenticator: Arc::clone(authenticator),
                        index,
                        metrics: metrics.clone(),
                    };
                    tasks.spawn(Reload::new(files, issuer.mark(), every).run(stop.clone()));
                }
            }
        }
        Ok(Self { stop: stop.drop_guard(), tasks })
    }

    /// Ends the tasks.
    pub async fn shutdown(self) {
        let Self { stop, tasks } = self;
        drop(stop);
        tasks.join_all().await;
    }
}

/// The key files of one issuer.
struct IssuerFiles {
    authenticator: Arc<Authenticator>,
    /// Index of the issuer.
    index: usize,
    metrics: KeyMetrics,
}

impl IssuerFiles {
    fn issuer(&self) -> &Issuer {
        &self.authenticator.issuers()[self.index]
    }
}

impl Files for IssuerFiles {
    type Content = Vec<Key>;
    type Error = KeyFileError;

    fn read(&self) -> Result<(Vec<Key>, u64), KeyFileError> {
        self.issuer().settings().files.read().map(|FileKeys { keys, mark }| (keys, mark))
    }

    fn replace(&self, keys: Vec<Key>) {
        self.metrics.loaded.inc();
        tracing::info!(
            issuer = self.issuer().settings().place,
            keys = keys.len(),
            "loaded changed key files"
        );
        self.issuer().use_files(keys);
    }

    fn keep(&self, error: &str) {
        self.metrics.failures.inc();
        let issuer = &self.issuer().settings().place;
        tracing::error!(issuer, error, "failed to load changed key files; keeping the old keys");
    }
}

/// The file with the secret by which the application knows the node.
struct SecretFile {
    callback: Arc<Callback>,
    metrics: KeyMetrics,
}

impl Files for SecretFile {
    type Content = HeaderValue;
    type Error = KeyFileError;

    fn read(&self) -> Result<(HeaderValue, u64), KeyFileError> {
        // The task runs only with a file.
        let file = self.callback.secret().file().map_or(Path::new(""), |(file, _)| file);
        secret::read(file)
    }

    fn replace(&self, value: HeaderValue) {
        self.metrics.loaded.inc();
        tracing::info!("loaded the changed auth.callback.secret_file");
        self.callback.secret().replace(value);
    }

    fn keep(&self, error: &str) {
        self.metrics.failures.inc();
        tracing::error!(
            error,
            "failed to load the changed auth.callback.secret_file; keeping the old secret"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use fanfare_config::auth::{AuthConfig, AuthMode};
    use fanfare_protocol::{Grants, User};

    use super::*;
    use crate::reload::Look;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "another 9abcdef0123456789abcdefxx";

    #[test]
    fn a_changed_secret_is_taken_when_it_is_good_and_a_fault_is_reported_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, OLD).unwrap();
        let mut config = AuthConfig { mode: Some(AuthMode::Jwt), ..AuthConfig::default() };
        config.jwt.secret_file = Some(file.clone());
        let authenticator = Arc::new(Authenticator::new(config.issuer_settings()).unwrap());
        let accepted = |secret: &str| {
            let key = fanfare_auth::signing_key::SigningKey::secret(secret.as_bytes(), None).unwrap();
            let user = User::new("7").unwrap();
            let ttl = Duration::from_mins(1);
            let token = fanfare_auth::new_token::NewToken { user, grants: Grants::default(), ttl };
            let issuer = authenticator.issuers()[0].settings();
            let token = token.sign(&key, issuer, SystemTime::now()).unwrap();
            authenticator.check(&token, SystemTime::now()).is_ok()
        };
        let metrics = KeyMetrics::default();
        let files =
            IssuerFiles { authenticator: Arc::clone(&authenticator), index: 0, metrics: metrics.clone() };
        let mut reload = Reload::new(files, authenticator.issuers()[0].mark(), Duration::from_secs(1));
        assert_eq!(reload.look(), Look::Same);
        assert!(accepted(OLD) && !accepted(NEW));
        std::fs::write(&file, "short").unwrap();
        assert_eq!((reload.look(), reload.look()), (Look::Refused, Look::Same));
        assert!(accepted(OLD));
        std::fs::write(&file, NEW).unwrap();
        assert_eq!((reload.look(), reload.look()), (Look::Taken, Look::Same));
        assert!(!accepted(OLD) && accepted(NEW));
        assert_eq!((metrics.loaded.get(), metrics.failures.get()), (1, 1));
    }
}
