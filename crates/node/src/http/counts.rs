//! `GET /metrics`: the text of all metrics, encoded once for concurrent requests.
//!
//! The format is negotiated: the Prometheus text format is the default, since tools such as `promtool check metrics` read no
//! other. Prometheus itself asks for `OpenMetrics`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use http::HeaderMap;
use http::header::ACCEPT;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::quality;

/// Time for which the first request waits for others.
const GATHER: Duration = Duration::from_millis(2);

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>, version 0.0.4.
    Prometheus,
    /// <https://github.com/prometheus/OpenMetrics>, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// Returns the format that a client prefers by `Accept`: `OpenMetrics` if the client accepts it and does not prefer text.
    pub fn negotiate(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let (mut text, mut open) = (0, 0);
        for member in lines.flat_map(|line| line.split(',')) {
            let mut parts = member.split(';').map(|part| part.trim_matches([' ', '\t']));
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let mut weight = 1000;
            let mut is_known = true;
            for parameter in parts {
                weight = quality::weight(parameter).unwrap_or(weight);
                is_known &= !parameter.starts_with("version=") || parameter == "version=1.0.0";
            }
            match media_type.as_str() {
                "application/openmetrics-text" if is_known => open = open.max(weight),
                "text/plain" | "text/*" | "*/*" => text = text.max(weight),
                _ => {}
            }
        }
        if open > 0 && open >= text { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Returns the media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    fn encode(self, registry: &Registry) -> Result<String, fmt::Error> {
        let mut text = String::new();
        match self {
            Self::Prometheus => prometheus_text::encode(&mut text, registry)?,
            Self::OpenMetrics => text::encode(&mut text, registry)?,
        }
        Ok(text)
    }
}

/// A text that several requests wait for.
type Next = Shared<BoxFuture<'static, Option<Bytes>>>;

/// All metrics of the node. Clones share them.
#[derive(Clone)]
pub struct Counts(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// The next text in each format, while a request waits for it.
    next: Mutex<[Option<Next>; 2]>,
}

impl Counts {
    /// Creates the text of a registry.
    pub fn new(registry: Registry) -> Self {
        Self(Arc::new(Inner { registry, next: Mutex::default() }))
    }

    /// Returns the text, which is not older than the call; `None` if encoding fails. Concurrent callers share the
    /// bytes, so that many requests cost little time and memory.
    pub async fn text(&self, format: Format) -> Option<Bytes> {
        let next = {
            // Each change leaves a consistent state.
            let mut next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner);
            let next = &mut next[format as usize];
            next.get_or_insert_with(|| self.clone().gather(format).boxed().shared()).clone()
        };
        next.await
    }

    async fn gather(self, format: Format) -> Option<Bytes> {
        sleep(GATHER).await;
        // Later callers wait for the next text.
        self.0.next.lock().unwrap_or_else(PoisonError::into_inner)[format as usize].take();
        // The kernel lists the open files of the process, which takes a while if there are many.
        let encoded = spawn_blocking(move || format.encode(&self.0.registry)).await;
        match encoded
            .map_err(|error| error.to_string())
            .and_then(|text| text.map_err(|error| error.to_string()))
        {
            Ok(text) => Some(text.into()),
            Err(error) => {
                tracing::error!(error, "failed to encode the metrics");
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
        let texts = join_all((0..1000).map(|_| counts.text(Format::Prometheus))).await;
        let first = texts[0].clone().unwrap();
        assert!(texts.iter().flatten().all(|text| text.as_ptr() == first.as_ptr()));
        counter.inc();
        let later = counts.text(Format::Prometheus).await.unwrap();
        assert!(String::from_utf8_lossy(&later).contains("asked_total 1"), "{later:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn formats_that_are_asked_for_together_are_not_mixed_up() {
        let mut registry = Registry::default();
        registry.register("asked", "so often", Counter::<u64>::default());
        let counts = Counts::new(registry);
        let (text, open) = tokio::join!(counts.text(Format::Prometheus), counts.text(Format::OpenMetrics));
        let (text, open) = (text.unwrap(), open.unwrap());
        assert_eq!(&text[..], b"# HELP asked_total so often.\n# TYPE asked_total counter\nasked_total 0\n");
        assert_eq!(&open[..], b"# HELP asked so often.\n# TYPE asked counter\nasked_total 0\n# EOF\n");
    }

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        use Format::{OpenMetrics, Prometheus};
        for (lines, expected) in [
            (&[] as &[&str], Prometheus),
            (&["*/*"], Prometheus),
            (&["text/html, */*;q=0.1"], Prometheus),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["Application/OpenMetrics-Text; version=1.0.0; charset=utf-8"], OpenMetrics),
            (&["application/openmetrics-text;version=0.0.1"], Prometheus),
            // Prometheus 2.42, and 3.
            (
                &[
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                   text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ],
                OpenMetrics,
            ),
            (
                &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                   application/openmetrics-text;version=0.0.1;q=0.5,\
                   text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"],
                OpenMetrics,
            ),
            (&["application/openmetrics-text;q=0.3, text/plain;q=0.4"], Prometheus),
            (&["application/openmetrics-text;q=0", "application/json"], Prometheus),
            (&["text/plain;q=0.4", "application/openmetrics-text;q=0.5"], OpenMetrics),
        ] {
            let lines = lines.iter().map(|line| (ACCEPT, line.parse().unwrap()));
            let mut headers = HeaderMap::new();
            lines.for_each(|(name, line)| {
                headers.append(name, line);
            });
            assert_eq!(Format::negotiate(&headers), expected, "{headers:?}");
        }
    }
}
