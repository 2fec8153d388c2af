//! Metrics of the connections to Redis. Names and meanings are public: `docs/operations.md` lists them.

use ::redis::{ServerErrorKind, Value};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of the latency of commands, in seconds.
const LATENCY_BUCKETS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];

type Labels = [(&'static str, &'static str); 1];
type ErrorLabels = [(&'static str, &'static str); 2];

/// Metrics of all connections to Redis. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct RedisMetrics {
    opened: Family<Labels, Counter>,
    failed: Family<Labels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    latencies: Family<Labels, Histogram>,
}

/// Metrics of the connections for one purpose. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct ConnectionMetrics {
    /// `fanfare_redis_connections_total`: connections that were made.
    pub(super) opened: Counter,
    /// `fanfare_redis_connect_failures_total`: connections that could not be made.
    pub(super) failed: Counter,
    /// `fanfare_redis_command_errors_total` with `kind="error-reply"`: commands that Redis answered with an error.
    error_replies: Counter,
    /// `fanfare_redis_command_errors_total` with `kind="no-reply"`: calls without an answer.
    pub(super) no_replies: Counter,
    /// `fanfare_redis_latency_seconds`: from a write of commands to their replies.
    pub(super) latency: Histogram,
}

impl ConnectionMetrics {
    /// Counts the error replies among these. Those that the node expects are none: it loads the script, or has the group.
    pub(super) fn count_replies(&self, replies: &[Value]) {
        let is_error = |reply: &&Value| match reply {
            Value::ServerError(error) => {
                error.kind() != Some(ServerErrorKind::NoScript) && error.code() != "BUSYGROUP"
            }
            _ => false,
        };
        let errors = replies.iter().filter(is_error).count();
        if errors > 0 {
            self.error_replies.inc_by(errors as u64);
        }
    }
}

impl Default for RedisMetrics {
    fn default() -> Self {
        let histogram = || Histogram::new(LATENCY_BUCKETS);
        Self {
            opened: Family::default(),
            failed: Family::default(),
            errors: Family::default(),
            latencies: Family::new_with_constructor(histogram as fn() -> Histogram),
        }
    }
}

impl RedisMetrics {
    /// Returns the metrics of the connections with a name. `timed`: the latency of their commands says something.
    pub(super) fn of(&self, name: &'static str, timed: bool) -> ConnectionMetrics {
        let connection = ("connection", name);
        let errors = |kind| self.errors.get_or_create_owned(&[connection, ("kind", kind)]);
        ConnectionMetrics {
            opened: self.opened.get_or_create_owned(&[connection]),
            failed: self.failed.get_or_create_owned(&[connection]),
            error_replies: errors("error-reply"),
            no_replies: errors("no-reply"),
            latency: if timed {
                self.latencies.get_or_create_owned(&[connection])
            } else {
                Histogram::new(LATENCY_BUCKETS)
            },
        }
    }

    /// Registers the metrics.
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { opened, failed, errors, latencies } = self.clone();
        registry.register("fanfare_redis_connections", "Connections to Redis that were made", opened);
        registry.register(
            "fanfare_redis_connect_failures",
            "Connections to Redis that could not be made",
            failed,
        );
        registry.register(
            "fanfare_redis_command_errors",
            "Commands that Redis answered with an error, and calls without an answer",
            errors,
        );
        registry.register(
            "fanfare_redis_latency_seconds",
            "Time from a write of commands to their replies",
            latencies,
        );
    }
}
