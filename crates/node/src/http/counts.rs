//! `GET /metrics`: the text of all metrics, encoded once for concurrent requests.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use prometheus_client::registry::Registry;
use tokio::time::sleep;

/// Time for which the first request waits for others.
const GATHER: Duration = Duration::from_millis(2);

/// All metrics of the node. Clones share them.
#[derive(Clone)]
pub struct Counts(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// The next text, while a request waits for it.
    next: Mutex<Option<Shared<BoxFuture<'static, Option<Bytes>>>>>,
}

impl Counts {
    /// Creates the text of a registry.
    pub fn new(registry: Registry) -> Self {
        Self(Arc::new(Inner { registry, next: Mutex::default() }))
    }

    /// Returns the text, which is not older than the call; `None` if encoding fails. Concurrent callers share the
    /// bytes, so that many requests cost little time and memory.
    pub async fn text(&self) -> Option<Bytes> {
        let next = {
            // Each change leaves a consistent state.
            let mut next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner);
            next.get_or_insert_with(|| self.clone().gather().boxed().shared()).clone()
        };
        next.await
    }

    async fn gather(self) -> Option<Bytes> {
        sleep(GATHER).await;
        // Later callers wait for the next text.
        self.0.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.0.registry) {
            Ok(()) => Some(text.into()),
            Err(error) => {
                tracing::error!(%error, "failed to encode the metrics");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_together_share_one_text_and_those_who_ask_later_get_a_new_one() {
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        registry.register("asked", "so often", counter.clone());
        let counts = Counts::new(registry);
        let texts = join_all((0..1000).map(|_| counts.text())).await;
        let first = texts[0].clone().unwrap();
        assert!(texts.iter().flatten().all(|text| text.as_ptr() == first.as_ptr()));
        counter.inc();
        let later = counts.text().await.unwrap();
        assert!(String::from_utf8_lossy(&later).contains("asked_total 1"), "{later:?}");
    }
}
