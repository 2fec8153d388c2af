//! The heartbeat over a broker that fails by script, in virtual time.

use fanfare_broker::SessionStore;
use fanfare_broker::session::Claim;
use fanfare_protocol::{SessionId, User};
use prometheus_client::registry::Registry;

use super::*;
use fanfare_broker::testing::{Call, Fault, FaultyBroker, settle_tasks, until};

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

fn standing(lease: &NodeLease) -> Standing {
    lease.state().borrow().standing
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
async fn what_publishers_rely_on_is_there_before_the_node_is_ready() {
    let broker = FaultyBroker::new();
    broker.next(Call::Prepare, [Fault::Late(Duration::from_secs(2))]);
    let (lease, _) = start(&broker, "1");
    tokio::time::sleep(Duration::from_millis(1900)).await;
    assert_eq!(broker.calls(Call::Lease), 0);
    lease.first().await.unwrap();
    assert!(lease.state().borrow().held());
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_held_as_long_as_the_heart_beats_and_given_up_in_the_end() {
    let broker = FaultyBroker::new();
    let (lease, metrics) = start(&broker, "1");
    lease.first().await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(TTL).await;
        assert!(lease.state().borrow().held());
        assert_eq!(broker.inner.nodes().await.unwrap()[0].connections, 7);
    }
    assert_eq!((metrics.beats_taken.get(), metrics.lease_held.get()), (1, 1));
    assert!((29..=31).contains(&metrics.beats_renewed.get()), "{}", metrics.beats_renewed.get());
    assert_eq!(broker.calls(Call::Prepare), broker.calls(Call::Lease));
    lease.set_draining(true);
    settle_tasks().await;
    assert!(broker.inner.nodes().await.unwrap()[0].draining);
    lease.shutdown().await;
    assert_eq!(broker.inner.nodes().await, Ok(vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_lease_counts_as_lost_when_it_may_have_lapsed_and_is_taken_anew() {
    let broker = FaultyBroker::new();
    let (lease, metrics) = start(&broker, "1");
    lease.first().await.unwrap();
    let state = lease.state();
    broker.down(true);
    let begun = Instant::now();
    until("it is lost", || !state.borrow().held()).await;
    assert!(begun.elapsed() >= TTL * 2 / 3 && begun.elapsed() <= TTL, "{:?}", begun.elapsed());
    until("it is said", || metrics.lease_held.get() == 0).await;
    assert_eq!((standing(&lease), &*state.borrow().why), (Standing::Away, "Redis does not answer"));
    tokio::time::sleep(TTL).await;
    broker.down(false);
    let begun = Instant::now();
    until("it is held again", || state.borrow().held()).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!((state.borrow().taken, standing(&lease)), (2, Standing::Held));
    lease.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_lapse_is_noticed_though_the_answer_that_told_of_it_is_lost() {
    let broker = FaultyBroker::new();
    let (lease, metrics) = start(&broker, "1");
    lease.first().await.unwrap();
    broker.down(true);
    tokio::time::sleep(TTL * 2).await;
    broker.next(Call::Lease, [Fault::ReplyLost]);
    broker.down(false);
    until("it is held again", || lease.state().borrow().held()).await;
    assert_eq!((metrics.beats_taken.get(), lease.state().borrow().taken), (1, 2));
    lease.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_lost_heartbeats_cost_nobody_the_lease() {
    let broker = FaultyBroker::new();
    let (lease, metrics) = start(&broker, "1");
    lease.first().await.unwrap();
    broker.next(Call::Lease, [Fault::Unavailable, Fault::Hung, Fault::ReplyLost]);
    broker.always(Call::Prepare, Fault::Unavailable);
    for _ in 0..TTL.as_millis() * 3 / 10 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(lease.state().borrow().held());
    }
    assert_eq!((metrics.beats_failed.get(), lease.state().borrow().taken), (3, 1));
    assert!(metrics.prepares_failed.get() > 5);
    lease.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_starts_without_a_lease_while_the_broker_is_away() {
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
    assert_eq!((standing(&lease), &*lease.state().borrow().why), (Standing::Waiting, "10.0.0.1:80"));
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
    // What is claimed from now on is ours.
    let ours = claimed(&broker, "a").await;
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(sessions(&broker).await, [ours]);
    lease.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_predecessor_left_is_swept_also_where_another_node_is_elected_to_sweep() {
    let broker = FaultyBroker::new();
    broker.inner.lease(&info("1"), TTL).await.unwrap();
    let other = NodeId::new("b").unwrap();
    claimed(&broker, "a").await;
    broker.inner.sweep(&other, TTL * 100).await.unwrap();
    let (lease, metrics) = start(&broker, "2");
    lease.first().await.unwrap();
    let ours = claimed(&broker, "a").await;
    assert_eq!((metrics.swept.get(), sessions(&broker).await.len()), (0, 2));
    assert_eq!(broker.inner.sweep(&other, TTL).await.unwrap().sessions, 1);
    assert_eq!(sessions(&broker).await, [ours]);
    lease.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_process_of_the_same_name_does_not_start() {
    let broker = FaultyBroker::new();
    let (first, _) = start(&broker, "1");
    first.first().await.unwrap();
    let (second, metrics) = start(&broker, "2");
    let begun = Instant::now();
    let error = second.first().await.unwrap_err();
    assert_eq!(error.to_string(), "node id a is in use by another process at 10.0.0.1:80");
    assert!(begun.elapsed() < TTL * 2, "{:?}", begun.elapsed());
    assert_eq!((metrics.beats_taken.get(), second.lost_name().await), (0, error));
    second.shutdown().await;
    assert_eq!(broker.inner.nodes().await.unwrap(), [NodeInfo { connections: 7, ..info("1") }]);
    assert!(first.state().borrow().held());
    first.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_name_was_taken_while_it_was_away_is_told_to_stop() {
    let broker = FaultyBroker::new();
    let (lease, metrics) = start(&broker, "1");
    lease.first().await.unwrap();
    broker.down(true);
    tokio::time::sleep(TTL * 2).await;
    broker.inner.lease(&info("2"), TTL).await.unwrap();
    broker.down(false);
    let error = lease.lost_name().await;
    assert_eq!(error, NameInUse { id: NodeId::new("a").unwrap(), address: "10.0.0.2:80".into() });
    assert!(!lease.state().borrow().held());
    assert_eq!((metrics.beats_foreign.get(), metrics.lease_held.get()), (1, 0));
    lease.shutdown().await;
    assert_eq!(broker.inner.nodes().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_predecessor_whose_sessions_cannot_be_swept_does_not_keep_the_node_out() {
    let broker = FaultyBroker::new();
    broker.next(Call::Sweep, [Fault::Unavailable, Fault::Hung, Fault::Refused]);
    let (lease, metrics) = start(&broker, "1");
    until("it is held", || lease.state().borrow().held()).await;
    assert_eq!((broker.calls(Call::Sweep), metrics.sweeps_failed.get()), (3, 1));
    lease.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_answer_does_not_hold_up_the_shutdown() {
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
