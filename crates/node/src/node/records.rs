//! What the node tells of single connections and events: the log of connections, and traces.

use fanfare_config::Config;
use fanfare_config::trace::TraceConfig;
use fanfare_hub::connection_log::ConnectionLog;
use fanfare_telemetry::traces::{TraceMetrics, TraceSettings, Tracer};
use prometheus_client::registry::Registry;

use super::StartError;

/// Both, with their threads. Must be shut down after the hub.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) log: ConnectionLog,
    pub(super) tracer: Tracer,
}

impl Records {
    /// Starts both.
    ///
    /// # Errors
    ///
    /// Fails if a thread or the client of the collector cannot be started.
    pub(super) fn start(config: &Config, registry: &mut Registry) -> Result<Self, StartError> {
        let log = ConnectionLog::start(config.log.connections, &config.node.id, registry);
        let log = log.map_err(StartError::Thread)?;
        let tracer = Tracer::start(trace_settings(config), TraceMetrics::register(registry))?;
        Ok(Self { log, tracer })
    }

    /// Writes and sends the rest.
    pub(super) async fn shutdown(&self) {
        tokio::join!(self.log.shutdown(), self.tracer.shutdown());
    }
}

fn trace_settings(config: &Config) -> TraceSettings {
    let TraceConfig { endpoint, queue, interval, timeout } = &config.trace;
    TraceSettings {
        endpoint: endpoint.as_ref().map(|url| url.expose().to_owned()),
        queue: *queue,
        interval: *interval,
        timeout: *timeout,
        node: config.node.id.to_string(),
    }
}
