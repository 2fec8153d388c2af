//! Parameters that a stream's request has and that the node does not know: passed over, counted and named in the log.
//!
//! A native `EventSource` gives up for good on a `400`, so a cache buster, or what a proxy or a library adds, must
//! not be one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;

use super::params::shown;
use crate::throttle::Throttle;

/// How many names are logged apart from each other. Others share one line a minute.
const NAMES: usize = 32;

/// Counts and names ignored parameters. Lives as long as the node.
#[derive(Debug, Default)]
pub struct Ignored {
    /// Logged so far, each at most once a minute.
    names: Mutex<HashMap<String, Throttle>>,
}

impl Ignored {
    /// Notes one.
    pub(super) fn note(&self, name: &str, counter: &Counter) {
        counter.inc();
        let name = shown(name);
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        // The empty name is one of those that share.
        let apart = names.contains_key(&name) || names.len() < NAMES;
        let throttle = names.entry(if apart { name.clone() } else { String::new() }).or_default();
        let admitted = throttle.admit();
        drop(names);
        if let Some(more) = admitted {
            tracing::info!(
                name,
                more,
                "ignored an unknown parameter of GET /v1/events; `more` counts those since the last such event"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_is_counted_and_only_so_many_names_are_kept() {
        let (ignored, counter) = (Ignored::default(), Counter::default());
        for n in 0..1000 {
            ignored.note(&format!("{n}{}", "x".repeat(1000)), &counter);
        }
        assert_eq!(counter.get(), 1000);
        let names = ignored.names.lock().unwrap();
        assert!(names.len() <= NAMES + 1 && names.keys().all(|name| name.len() <= 64), "{names:?}");
    }
}
