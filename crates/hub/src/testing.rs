//! A hub without a node, streams and their sockets for tests, behind the feature `testing`.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::{EventLog, LiveTopics, NodeId};
use fanfare_config::stream::StreamConfig;
use fanfare_coordination::control::{self, CommandReceiver};
use fanfare_coordination::metrics::ClusterMetrics;
use fanfare_protocol::event::DEFAULT_MAX_DATA_BYTES;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, SessionId};
use fanfare_telemetry::traces::Tracer;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::io::{BufWriter, DuplexStream};
use tokio::time::Instant;

use crate::connection_log::ConnectionLog;
use crate::dialect::Dialect;
use crate::metrics::HubMetrics;
use crate::queue_budget::QueueBudget;
use crate::retry::{RetryPolicy, RetrySettings};
use crate::stream::{Coding, NewStream, Socket};
use crate::{Hub, HubSettings, PREFETCH};

/// A pipe.
impl Socket for DuplexStream {}

/// Buffered bytes have not been sent: the writer must be flushed.
impl<S: Socket> Socket for BufWriter<S> {}

/// A hub whose node receives no commands.
#[derive(Debug)]
pub struct TestHub {
    /// The hub.
    pub hub: Hub,
    /// Its metrics.
    pub metrics: Arc<HubMetrics>,
    /// Open, so that the hub queues commands as on a node.
    _commands: CommandReceiver,
}

impl TestHub {
    /// Starts a hub with the limits of tests: 16 sockets of a user, 1000 lingering sockets, and queues without a budget.
    ///
    /// # Panics
    ///
    /// If `node` is not a node id.
    pub fn start<B>(broker: &B, node: &str, stream: StreamConfig) -> Self
    where
        B: EventLog + LiveTopics + Clone + 'static,
    {
        Self::start_with_prefetch(broker, node, stream, PREFETCH)
    }

    /// Starts such a hub with a [`HubSettings::prefetch`].
    ///
    /// # Panics
    ///
    /// If `node` is not a node id.
    pub fn start_with_prefetch<B>(broker: &B, node: &str, stream: StreamConfig, prefetch: usize) -> Self
    where
        B: EventLog + LiveTopics + Clone + 'static,
    {
        let log: Arc<dyn EventLog> = Arc::new(broker.clone());
        let metrics = Arc::new(HubMetrics::register(&mut Registry::default()));
        let (control, commands) =
            control::queue(&Arc::new(ClusterMetrics::register(&mut Registry::default())));
        let retry = RetryPolicy::new(RetrySettings::new(&stream, Duration::from_millis(600)));
        let settings = HubSettings {
            stream,
            max_data: DEFAULT_MAX_DATA_BYTES,
            retry,
            log: ConnectionLog::default(),
            tracer: Tracer::default(),
            sockets_per_user: 16,
            lingering: 1000,
            queues: QueueBudget::new(usize::MAX, Gauge::default()),
            prefetch,
        };
        let node = NodeId::new(node).expect("a node id");
        let hub = Hub::start(&log, broker, &node, &settings, &metrics, control);
        Self { hub, metrics, _commands: commands }
    }
}

/// Returns a stream of these channels, of a client without a user.
pub fn stream(session: SessionId, channels: Vec<(Channel, StartAt)>) -> NewStream {
    NewStream {
        begun: Instant::now(),
        user: None,
        session,
        held: None,
        channels,
        dialect: Dialect::default(),
        coding: Coding::Identity,
        expires: None,
        token: None,
        cursor: None,
        heartbeat: None,
        wait: None,
    }
}
