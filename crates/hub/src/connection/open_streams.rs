//! The number of open streams, which `limits.connections` limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::metrics::HubMetrics;

/// Counts the open streams of the node. Shared by the hub and its shards; lives as long as the hub.
#[derive(Debug)]
pub(crate) struct OpenStreams {
    count: AtomicUsize,
    /// Shows the count to operators.
    metrics: Arc<HubMetrics>,
}

impl OpenStreams {
    pub(crate) fn new(metrics: Arc<HubMetrics>) -> Arc<Self> {
        Arc::new(Self { count: AtomicUsize::new(0), metrics })
    }

    /// Returns the number of open streams.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts a stream that opens.
    pub(crate) fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.metrics.active.inc();
    }

    /// Counts streams that ended.
    pub(crate) fn remove(&self, streams: usize) {
        self.count.fetch_sub(streams, Ordering::Relaxed);
        self.metrics.active.dec_by(i64::try_from(streams).unwrap_or(i64::MAX));
    }
}
