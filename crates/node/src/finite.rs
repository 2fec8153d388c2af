//! Finite streams on this node: who reads them live, and what their calls share.
//!
//! # Layout
//!
//! - [`readers`]: the streams that are read live, and the subscriber connection that wakes their readers
//! - `window`: the newest bytes of such a stream
//! - [`reader`]: reads a stream from a place on, as far as it is stored
//! - `metrics`: metrics

mod metrics;
pub mod reader;
pub mod readers;
mod window;

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::{Broker, LiveTopics, NodeId};
use fanfare_config::{Config, bytes};
use prometheus_client::registry::Registry;

use self::metrics::FiniteMetrics;
use self::reader::Pages;
use self::readers::LiveReaders;

/// What the calls about finite streams share. Lives as long as the node.
#[derive(Debug)]
pub struct Finite {
    /// Live readers.
    pub(crate) readers: LiveReaders,
    /// The size of pages.
    pub(crate) pages: Pages,
    /// Maximum number of bytes of a stream.
    pub(crate) most_bytes: usize,
    /// How long a long poll waits.
    pub(crate) long_poll: Duration,
    /// How long a live reader is served.
    pub(crate) live_age: Duration,
    /// How long a body that is appended as it arrives may pause.
    pub(crate) append_idle: Duration,
    /// Time over which live readers end when the node drains.
    pub(crate) drain_window: Duration,
    /// Whether clients speak TLS with this node.
    pub(crate) is_tls: bool,
    /// Metrics.
    pub(crate) metrics: FiniteMetrics,
}

impl Finite {
    /// Creates the shared state.
    pub fn new(config: &Config, broker: &Arc<dyn Broker>, node: &NodeId, registry: &mut Registry) -> Self {
        let settings = &config.finite;
        let topics: Arc<dyn LiveTopics> = Arc::<dyn Broker>::clone(broker);
        let most = most_readers(config);
        let readers = LiveReaders::new(topics, node.clone(), most);
        let metrics = FiniteMetrics::register(registry, &readers);
        Self {
            pages: Pages::new(bytes(settings.page), metrics.lapses.clone()),
            metrics,
            readers,
            most_bytes: bytes(settings.stream_bytes),
            long_poll: settings.long_poll,
            live_age: settings.live_age,
            append_idle: settings.append_idle,
            drain_window: config.drain.window,
            is_tls: config.tls.certificate.is_some(),
        }
    }
}

/// Returns the maximum number of live readers. Each holds a socket without a stream, so half of these remain for other calls.
fn most_readers(config: &Config) -> usize {
    config.limits.connections.min(config.limits.sockets.div_ceil(2))
}
