//! Asks the application who a client is, and what it may do.
//!
//! The application sees the client's credentials, like its session cookie, and answers with an identity. An answer is kept
//! for as long as the application says; requests of clients with the same credentials share one request to it. Every failure is
//! a refusal.
//!
//! # Layout
//!
//! - [`request`]: what the application is told, and the key by which answers are kept
//! - [`secret`]: the secret by which the application knows the node
//! - `turns`: places of requests, for which the networks of clients take turns
//! - `answer`: an answer, and how long it is kept
//! - [`metrics`]: metrics of these requests

mod answer;
pub mod metrics;
pub mod request;
pub mod secret;
mod turns;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fanfare_protocol::revocation::TokenStamp;
use fanfare_telemetry::Throttle;
use moka::Expiry;
use moka::future::Cache;
use reqwest::header::{HeaderName, HeaderValue};
use ring::hmac;
use ring::rand::SystemRandom;

use self::answer::{Answer, AnswerError, Bounds};
use self::metrics::CallbackMetrics;
use self::request::{CallbackRequest, RequestKey};
use self::secret::CallbackSecret;
use self::turns::Places;
use crate::http_client::{ClientError, HttpClient, Server};
use crate::identity::Identity;
use crate::key_file::KeyFileError;
use crate::token::MAX_TOKEN_BYTES;

/// Header with the secret by which the application knows the node.
pub const SECRET: HeaderName = HeaderName::from_static("fanfare-secret");
/// Maximum size of an answer, in bytes: as large as a token.
const MAX_BYTES: usize = MAX_TOKEN_BYTES;
/// Time for which a request that failed is not asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Settings of [`Callback`].
#[derive(Clone, Debug)]
pub struct CallbackSettings {
    /// The application's URL: `https`, or `http`.
    pub url: String,
    /// PEM file with the certificates to trust in place of the system's.
    pub ca: Option<PathBuf>,
    /// Value of `Fanfare-Secret` in each request. A sensitive value, which `Debug` does not show.
    pub secret: Option<HeaderValue>,
    /// File with the secret, which takes the place of the value.
    pub secret_file: Option<PathBuf>,
    /// Timeout of a request; also the longest time that one waits for its turn.
    pub timeout: Duration,
    /// Maximum number of concurrent requests.
    pub requests: usize,
    /// Maximum size of all kept answers, in bytes.
    pub cache: u64,
    /// Longest time for which an answer is kept.
    pub max_age: Duration,
    /// Longest time for which an identity holds.
    pub max_lifetime: Duration,
}

/// Why the application cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// The URL or its trusted certificates cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The secret's file cannot be used.
    #[error(transparent)]
    Secret(#[from] KeyFileError),
    /// There is no key to hash credentials with.
    #[error("the system gives no random bytes")]
    NoRandom,
}

/// What the application says of a client.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Who the client is.
    Allowed(Arc<Identity>),
    /// The application does not know the client (401).
    Unknown,
    /// The client may do nothing (403).
    Forbidden,
    /// There is no answer that can be used.
    Failed,
}

/// Sends requests to the application, and keeps its answers. Lives as long as the node.
#[derive(Debug)]
pub struct Callback {
    http: HttpClient,
    secret: CallbackSecret,
    answers: Cache<RequestKey, Answer>,
    /// Makes keys of credentials. Random, so that a key does not show credentials that are easy to guess.
    hash: hmac::Key,
    /// Places of requests to the application.
    places: Places,
    /// Longest time that a request waits for a place.
    patience: Duration,
    bounds: Bounds,
    metrics: CallbackMetrics,
}

impl Callback {
    /// Creates it. Reads the trusted certificates, and the secret's file.
    ///
    /// # Errors
    ///
    /// Fails if the URL, its trusted certificates or the secret's file cannot be used, or if the system gives no random bytes.
    pub fn new(settings: CallbackSettings, metrics: CallbackMetrics) -> Result<Self, CallbackError> {
        let CallbackSettings {
            url,
            ca,
            secret,
            secret_file,
            timeout,
            requests,
            cache,
            max_age,
            max_lifetime,
        } = settings;
        let server = Server { url, ca, timeout, idle: requests, max_bytes: MAX_BYTES };
        let answers = Cache::builder()
            .max_capacity(cache)
            .weigher(|_, answer: &Answer| answer.bytes)
            .expire_after(Kept)
            .build();
        let hash = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| CallbackError::NoRandom)?;
        Ok(Self {
            http: HttpClient::new(&server)?,
            secret: CallbackSecret::new(secret, secret_file)?,
            answers,
            hash,
            places: Places::new(requests),
            patience: timeout,
            bounds: Bounds { max_age, max_lifetime },
            metrics,
        })
    }

    /// Returns the secret by which the application knows the node.
    pub fn secret(&self) -> &CallbackSecret {
        &self.secret
    }

    /// Returns whether the answer to a request is kept.
    pub fn keeps(&self, request: &CallbackRequest) -> bool {
        self.answers.contains_key(&request.key(&self.hash))
    }

    /// Returns what the application says, or said recently. Of concurrent calls with equal requests, one sends it; when its
    /// future is dropped, another one sends it.
    pub async fn identify(&self, request: &CallbackRequest) -> Outcome {
        let asking = Box::pin(self.answer(request));
        let entry = self.answers.entry(request.key(&self.hash)).or_insert_with(asking).await;
        if entry.is_fresh() {
            // By itself the cache evicts some dozens of answers later, so that it would be larger than its setting.
            self.answers.run_pending_tasks().await;
        } else {
            self.metrics.shared.inc();
        }
        entry.into_value().outcome
    }

    /// Forgets an identity that holds no more, so that the application is asked again. A newer answer is kept.
    pub async fn forget(&self, request: &CallbackRequest, stale: &TokenStamp) {
        let key = request.key(&self.hash);
        if let Some(Answer { outcome: Outcome::Allowed(identity), .. }) = self.answers.get(&key).await
            && identity.stamp == *stale
        {
            self.answers.invalidate(&key).await;
        }
    }

    async fn answer(&self, request: &CallbackRequest) -> Answer {
        match self.send(request).await {
            Ok(answer) => {
                self.metrics.count((&answer.outcome).into());
                answer
            }
            Err(error) => {
                static LOG: Throttle = Throttle::of_a_condition();
                if let Some(held_back) = LOG.admit() {
                    tracing::warn!(%error, held_back, "the application gave no usable answer (auth.callback)");
                }
                self.metrics.count(if matches!(error, AnswerError::Busy) { "busy" } else { "failed" });
                Answer::new(Outcome::Failed, PAUSE, 0)
            }
        }
    }

    async fn send(&self, request: &CallbackRequest) -> Result<Answer, AnswerError> {
        let place = tokio::time::timeout(self.patience, self.places.enter(request.network())).await;
        let Ok(Some(_place)) = place else { return Err(AnswerError::Busy) };
        // Before the request: a revocation that happens meanwhile concerns the answer.
        let (asked, begun) = (SystemTime::now(), Instant::now());
        let mut headers = request.headers();
        headers.extend(self.secret.get().map(|secret| (SECRET, secret)));
        let response = self.http.get(headers).await?;
        answer::read(&response, (asked, begun.elapsed()), self.bounds)
    }
}

/// Each answer is kept for its own time.
struct Kept;

impl Expiry<RequestKey, Answer> for Kept {
    fn expire_after_create(&self, _: &RequestKey, answer: &Answer, _: Instant) -> Option<Duration> {
        Some(answer.keep)
    }
}
