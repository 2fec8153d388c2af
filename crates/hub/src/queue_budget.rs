//! Budget of the queues of all streams, in bytes. Beyond it, queues shrink.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::gauge::Gauge;

/// Divisor of `stream.queue` while the queues hold more than the budget.
const SHRUNK: usize = 16;
/// Minimum size of a shrunk queue, in bytes.
const LEAST_QUEUE: usize = 4096;

/// A node's budget. Clones are handles of the same budget.
#[derive(Clone, Debug)]
pub struct QueueBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    /// Bytes in the queues of streams.
    queued: AtomicUsize,
    /// The same, as a metric.
    gauge: Gauge,
}

impl QueueBudget {
    /// Creates a budget of `total` bytes. `gauge` has the bytes in the queues.
    pub fn new(total: usize, gauge: Gauge) -> Self {
        Self(Arc::new(Inner { total, queued: AtomicUsize::new(0), gauge }))
    }

    /// Adds a change of the bytes in the queues. Each shard sums up its changes before.
    pub(crate) fn count(&self, more: isize) {
        // Wraps if bytes left.
        self.0.queued.fetch_add(more.cast_unsigned(), Ordering::Relaxed);
        self.0.gauge.inc_by(more as i64);
    }

    /// Returns the maximum bytes queued for one stream now; `bound` unless the queues hold more than the budget.
    pub(crate) fn queue_bound(&self, bound: usize) -> usize {
        if self.0.queued.load(Ordering::Relaxed) <= self.0.total {
            return bound;
        }
        (bound / SHRUNK).max(LEAST_QUEUE).min(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_shrink_beyond_the_budget() {
        let gauge = Gauge::default();
        let budget = QueueBudget::new(200, gauge.clone());
        let bound = 64 * 1024;
        assert_eq!(budget.queue_bound(bound), bound);
        budget.count(201);
        assert_eq!((budget.queue_bound(bound), gauge.get()), (LEAST_QUEUE, 201));
        assert_eq!((budget.queue_bound(100), budget.queue_bound(1 << 20)), (100, (1 << 20) / SHRUNK));
        budget.count(-1);
        assert_eq!((budget.queue_bound(bound), gauge.get()), (bound, 200));
    }
}
