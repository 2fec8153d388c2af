//! The heartbeat over a broker that fails by script, in virtual time.

use fanfare_broker::Outage;
use fanfare_broker::SessionStore;
use fanfare_broker::session::Claim;
use fanfare_broker::testing::{Call, Fault, FaultyBroker, settle_tasks, until};
use fanfare_protocol::{SessionId, User};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::*;

const TTL: Duration = Duration::from_secs(10);

fn info(incarnation: &str) -> NodeInfo {
    NodeInfo {
        id: NodeId::new("a").unwrap(),
        incarnation: incarnation.into(),
        address: format!("10.0.0.{incarnation}:80"),
        since: 1,
        connections: 0,
        draining: false,
    }
}

fn start(broker: &FaultyBroker, incarnation: &str) -> (NodeLease, Arc<ClusterMetrics>) {
    let metrics = Arc::new(ClusterMetrics::register(&mut Registry::default()));
    let config = LeaseConfig { ttl: TTL };
    let lease =
        NodeLease::start(broker.shared(), info(incarnation), &config, Arc::new(|| 7), Arc::clone(&metrics));
    (lease, metrics)
}

fn status(lease: &NodeLease) -> LeaseStatus {
    lease.state().borrow().status
}

async fn claimed(broker: &FaultyBroker, node: &str) -> SessionId {
    let claim = Claim {
        user: User::new("42").unwrap(),
        session: SessionId::random(),
        node: NodeId::new(node).unwrap(),
        client: "".into(),
        limit: 10,
    };
    broker.inner.claim(&claim).await.unwrap();
    claim.session
}

async fn sessions(broker: &FaultyBroker) -> Vec<SessionId> {
    let all = broker.inner.sessions(&User::new("42").unwrap()).await.unwrap();
    all.into_iter().map(|info| info.session).collect()
}

#[tokio::test(start_paused = true)]
async fn the_function_library_is_loaded_before_the_node_is_ready() {
    let broker = FaultyBroker::new();
    broker.next(Call::Prepare, [Fault::Late(Duration::from_secs(2))]);
    let (lease, _) = start(&broker, "1");
    tokio::time::sleep(Duration::from_millis(1900)).await;
    assert_eq!(broker.calls(Call::Lease), 0);
    lease.first().await.unwrap();
    assert!(lease.state().borrow().held());
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_held_while_heartbeats_succeed_and_released_at_the_shutdown() {
    let broker = FaultyBroker::new();
    let (lease, metrics) = start(&broker, "1");
    lease.first().await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(TTL).await;
        assert!(lease.state().borrow().held());
        assert_eq!(broker.inner.nodes().await.unwrap()[0].connections, 7);
    }
    assert_eq!((metrics.heartbeats_acquired.get(), metrics.lease_held.get()), (1, 1));
    assert!((29..=31).contains(&metrics.heartbeats_renewed.get()), "{}", metrics.heartbeats_renewed.get());
    assert_eq!(broker.calls(Call::Prepare), broker.calls(Call::Lease));
    lease.set_draining(true);
    settle_tasks().await;
    assert!(broker.inner.nodes().await.unwrap()[0].draining);
    lease.shutdown().await;
    assert_eq!(broker.inner.nodes().await, Ok(vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_may_have_expired_is_not_held_until_it_is_acquired_again() {
    let broker = FaultyBroker::new();
    let (lease, metrics) = start(&broker, "1");
    lease.first().await.unwrap();
    let state = lease.state();
    broker.down(true);
    let begun = Instant::now();
    until("it is lost", || !state.borrow().held()).await;
    assert!(begun.elapsed() >= TTL * 2 / 3 && begun.elapsed() <= TTL, "{:?}", begun.elapsed());
    until("it is said", || metrics.lease_held.get() == 0).await;
    assert_eq!((status(&lease), state.borrow().outage), (LeaseStatus::Unavailable, Some(Outage::NoAnswer)));
    tokio::time::sleep(TTL).await;
    broker.down(false);
    let begun = Instant::now();
    until("it is held again", || state.borrow().held()).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!((state.borrow().acquisitions, status(&lease)), (2, LeaseStatus::Held));
    lease.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_expiry_is_detected_even_if_the_reply_is_lost() {
    let broker = FaultyBroker::new();
    let (lease, metrics) = start(&broker, "1");
    lease.first().await.unwrap();
    broker.down(true);
    tokio::time::sleep(TTL * 2).await;
    broker.next(Call::Lease, [Fault::ReplyLost]);
    broker.down(false);
    until("it is held again", || lease.state().borrow().held()).await;
    assert_eq!((metrics.heartbeats_acquired.get(), lease.state().borrow().acquisitions), (1, 2));
    lease.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_lost_heartbeats_do_not_lose_the_lease() {
    let broker = FaultyBroker::new();
    let (lease, metrics) = start(&broker, "1");
    lease.first().await.unwrap();
    broker.next(Call::Lease, [Fault::Unavailable, Fault::Hung, Fault::ReplyLost]);
    broker.always(Call::Prepare, Fault::Unavailable);
    for _ in 0..TTL.as_millis() * 3 / 10 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(lease.state().borrow().held());
    }
    assert_eq!((metrics.heartbeats_failed.get(), lease.state().borrow().acquisitions), (3, 1));
    assert!(metrics.function_load_failures.get() > 5);
    lease.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_starts_without_a_lease_while_the_broker_is_unavailable() {
    let broker = FaultyBroker::new();
    broker.down(true);
    let (lease, _) = start(&broker, "1");
    lease.first().await.unwrap();
    assert!(!lease.state().borrow().held());
    tokio::time::sleep(TTL * 10).await;
    broker.down(false);
    let begun = Instant::now();
    until("it is held", || lease.state().borrow().held()).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    lease.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_killed_and_started_again_waits_for_its_old_lease_and_sweeps_its_old_sessions() {
    let broker = FaultyBroker::new();
    broker.inner.lease(&info("1"), TTL).await.unwrap();
    claimed(&broker, "a").await;
    let begun = Instant::now();
    let (lease, metrics) = start(&broker, "2");
    settle_tasks().await;
    assert_eq!((status(&lease), &*lease.state().borrow().occupant), (LeaseStatus::Waiting, "10.0.0.1:80"));
    lease.first().await.unwrap();
    assert!(
        begun.elapsed() >= TTL && begun.elapsed() < TTL + Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert!(lease.state().borrow().held());
    assert_eq!(sessions(&broker).await, []);
    assert_eq!(metrics.swept.get(), 1);
    let lines = broker.lifecycle();
    assert!(lines.contains(&"session.disconnected node-lost".to_owned()), "{lines:?}");
    // Sessions claimed from now on belong to the new process.
    let claimed_now = claimed(&broker, "a").await;
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(sessions(&broker).await, [claimed_now]);
    lease.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn sessions_of_an_earlier_process_are_swept_even_if_another_node_is_elected() {
    let broker = FaultyBroker::new();
    broker.inner.lease(&info("1"), TTL).await.unwrap();
    let other = NodeId::new("b").unwrap();
    claimed(&broker, "a").await;
    broker.inner.sweep(&other, TTL * 100).await.unwrap();
    let (lease, metrics) = start(&broker, "2");
    lease.first().await.unwrap();
    let claimed_now = claimed(&broker, "a").await;
    assert_eq!((metrics.swept.get(), sessions(&broker).await.len()), (0, 2));
    assert_eq!(broker.inner.sweep(&other, TTL).await.unwrap().sessions, 1);
    assert_eq!(sessions(&broker).await, [claimed_now]);
    lease.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_process_with_the_same_node_id_does_not_start() {
    let broker = FaultyBroker::new();
    let (first, _) = start(&broker, "1");
    first.first().await.unwrap();
    let (second, metrics) = start(&broker, "2");
    let begun = Instant::now();
    let error = second.first().await.unwrap_err();
    assert_eq!(error.to_string(), "node id a is in use by another process at 10.0.0.1:80");
    assert!(begun.elapsed() < TTL * 2, "{:?}", begun.elapsed());
    assert_eq!((metrics.heartbeats_acquired.get(), second.node_id_conflict().await), (0, error));
    second.shutdown().await;
    assert_eq!(broker.inner.nodes().await.unwrap(), [NodeInfo { connections: 7, ..info("1") }]);
    assert!(first.state().borrow().held());
    first.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_id_was_taken_during_an_outage_must_stop() {
    let broker = FaultyBroker::new();
    let (lease, metrics) = start(&broker, "1");
    lease.first().await.unwrap();
    broker.down(true);
    tokio::time::sleep(TTL * 2).await;
    broker.inner.lease(&info("2"), TTL).await.unwrap();
    broker.down(false);
    let error = lease.node_id_conflict().await;
    assert_eq!(error, NodeIdInUse { id: NodeId::new("a").unwrap(), address: "10.0.0.2:80".into() });
    assert!(!lease.state().borrow().held());
    assert_eq!((metrics.heartbeats_foreign.get(), metrics.lease_held.get()), (1, 0));
    lease.shutdown().await;
    assert_eq!(broker.inner.nodes().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_starts_even_if_the_sessions_of_an_earlier_process_cannot_be_swept() {
    let broker = FaultyBroker::new();
    broker.next(Call::Sweep, [Fault::Unavailable, Fault::Hung, Fault::Refused]);
    let (lease, metrics) = start(&broker, "1");
    until("it is held", || lease.state().borrow().held()).await;
    assert_eq!((broker.calls(Call::Sweep), metrics.sweeps_failed.get()), (3, 1));
    lease.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_unresponsive_broker_does_not_delay_the_shutdown() {
    let broker = FaultyBroker::new();
    let (lease, _) = start(&broker, "1");
    lease.first().await.unwrap();
    for call in [Call::Lease, Call::Leave, Call::Prepare] {
        broker.always(call, Fault::Hung);
    }
    tokio::time::sleep(TTL / 2).await;
    let begun = Instant::now();
    lease.shutdown().await;
    assert!(begun.elapsed() < TTL / 2, "{:?}", begun.elapsed());
}
