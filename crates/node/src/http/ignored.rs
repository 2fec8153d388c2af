//! Unknown parameters of a stream request, which are ignored, counted and logged.
//!
//! A native `EventSource` ends permanently on a `400`, so a cache buster, or a parameter that a proxy or a library
//! adds, must not cause one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use fanfare_telemetry::Throttle;
use prometheus_client::metrics::counter::Counter;

use super::params::shown;

/// Maximum number of names that are logged separately. Others share one log event per minute.
const NAMES: usize = 32;

/// Counts and names ignored parameters. Lives as long as the node.
#[derive(Debug, Default)]
pub struct Ignored {
    /// Names logged so far, each at most once per minute.
    names: Mutex<HashMap<String, Throttle>>,
}

impl Ignored {
    /// Records an ignored parameter.
    pub(super) fn note(&self, name: &str, counter: &Counter) {
        counter.inc();
        let name = shown(name);
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        // Names beyond the limit share the empty name.
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
