//! What a node does together with others: sessions, lease, sweeper, commands, revocations, intake.

use std::net::SocketAddr;
use std::sync::Arc;

use fanfare_broker::clock::unix_ms;
use fanfare_broker::{Broker, NodeInfo};
use fanfare_config::auth::AuthMode;
use fanfare_config::{Config, bytes};
use fanfare_coordination::control::{CommandReceiver, ControlTask};
use fanfare_coordination::intake::{Intake, IntakeSettings};
use fanfare_coordination::lease::{LeaseState, NodeIdInUse, NodeLease};
use fanfare_coordination::metrics::ClusterMetrics;
use fanfare_coordination::revocations::stream_token::StreamTokens;
use fanfare_coordination::revocations::{RevocationReader, Revocations};
use fanfare_coordination::session::{EndStream, SessionSettings, Sessions};
use fanfare_coordination::sweeper::Sweeper;
use fanfare_hub::Hub;
use fanfare_telemetry::traces::Tracer;
use tokio::sync::watch;
use tokio::time::Instant;

/// The tasks of a node that coordinate it with others.
#[derive(Debug)]
pub(super) struct Coordination {
    control: ControlTask,
    revocations: Option<RevocationReader>,
    tokens: StreamTokens,
    intake: Intake,
    sweeper: Sweeper,
    sessions: Sessions,
    lease: NodeLease,
}

impl Coordination {
    /// Starts the tasks of a node that listens on `bound`.
    pub(super) fn start(
        config: &Config,
        broker: &Arc<dyn Broker>,
        hub: &Hub,
        waiting: CommandReceiver,
        (bound, revocations, tracer): (SocketAddr, &Revocations, &Tracer),
        metrics: &Arc<ClusterMetrics>,
    ) -> Self {
        let node = &config.node.id;
        let (counted, ended) = (hub.clone(), hub.clone());
        let connections = Arc::new(move || counted.connections() as u64);
        let end: EndStream = Arc::new(move |session, below, reason| ended.end(session, below, reason));
        let info = info(config, bound);
        let lease = NodeLease::start(broker.clone(), info, &config.lease, connections, Arc::clone(metrics));
        let settings = SessionSettings { node: node.clone(), limit: config.limits.sessions_per_user };
        let sessions = Sessions::start(
            broker.clone(),
            broker.clone(),
            settings,
            lease.state(),
            hub.wire(),
            Arc::clone(&end),
            Arc::clone(metrics),
        );
        let replacing = hub.clone();
        let replace = Arc::new(move |session, token| replacing.replace_token(session, token));
        let tokens = StreamTokens::new(broker.clone(), node.clone(), revocations.clone(), replace);
        let of_tokens = (tokens.clone(), revocations.clone());
        let control = ControlTask::start(waiting, sessions.clone(), end, of_tokens, Arc::clone(metrics));
        let checking = hub.clone();
        let reads = config.auth.mode != Some(AuthMode::None);
        let revocations = if reads {
            Some(RevocationReader::start(revocations, Arc::new(move || checking.check_tokens())))
        } else {
            // Without tokens, nothing can be revoked.
            revocations.skip_reading();
            None
        };
        let sweeper =
            Sweeper::start(broker.clone(), node.clone(), &config.lease, lease.state(), Arc::clone(metrics));
        let max_data = bytes(config.limits.event_data);
        let settings = IntakeSettings {
            node: node.clone(),
            config: config.intake.clone(),
            max_data,
            tracer: tracer.clone(),
        };
        let intake = Intake::start(broker.clone(), settings, Arc::clone(metrics));
        Self { control, revocations, tokens, intake, sweeper, sessions, lease }
    }

    pub(super) fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }

    pub(super) fn tokens(&self) -> StreamTokens {
        self.tokens.clone()
    }

    pub(super) fn lease(&self) -> watch::Receiver<LeaseState> {
        self.lease.state()
    }

    /// Waits until another running process uses this node's id.
    pub(super) async fn node_id_conflict(&self) -> NodeIdInUse {
        self.lease.node_id_conflict().await
    }

    /// Announces to other nodes that this one drains.
    pub(super) fn set_draining(&self) {
        self.lease.set_draining(true);
    }

    /// Ends the tasks, releases the sessions until `deadline`, then the lease. Returns the number of sessions that are
    /// not released.
    pub(super) async fn shutdown(self, deadline: Instant) -> usize {
        tokio::join!(self.control.shutdown(), self.intake.shutdown(), self.sweeper.shutdown());
        if let Some(revocations) = self.revocations {
            revocations.shutdown().await;
        }
        let left = self.sessions.shutdown(deadline.saturating_duration_since(Instant::now())).await;
        self.lease.shutdown().await;
        left
    }
}

/// Returns what other nodes see of this one.
fn info(config: &Config, bound: SocketAddr) -> NodeInfo {
    NodeInfo {
        id: config.node.id.clone(),
        incarnation: uuid::Uuid::new_v4().to_string(),
        address: config.node.advertised(bound),
        since: unix_ms(),
        connections: 0,
        draining: false,
    }
}
