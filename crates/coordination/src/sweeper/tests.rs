//! Sweeping, in virtual time.

use fanfare_broker::lease::SWEEP_STEP;
use fanfare_broker::session::{Claim, Claimed, CloseReason};
use fanfare_broker::testing::{Call, Fault, FaultyBroker, until};
use fanfare_broker::{BrokerSettings, NodeInfo, SessionStore};
use fanfare_protocol::{SessionId, User};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::*;

const TTL: Duration = Duration::from_secs(10);

fn start(broker: &FaultyBroker, node: &str, held: Duration) -> (Sweeper, Arc<ClusterMetrics>) {
    let metrics = Arc::new(ClusterMetrics::register(&mut Registry::default()));
    let (_, lease) = watch::channel(LeaseState::held_until(Instant::now() + held));
    let node = NodeId::new(node).unwrap();
    let config = LeaseConfig { ttl: TTL };
    (Sweeper::start(broker.shared(), node, &config, lease, Arc::clone(&metrics)), metrics)
}

/// A node that took a lease, claimed sessions of user 42 and was killed.
async fn die(broker: &FaultyBroker, node: &str, sessions: usize) {
    die_holding(broker, node, (0..sessions).map(|_| User::new("42").unwrap())).await;
}

/// The same with a session of each of these users.
async fn die_holding(broker: &FaultyBroker, node: &str, users: impl Iterator<Item = User>) {
    let node = NodeId::new(node).unwrap();
    let info = NodeInfo {
        id: node.clone(),
        incarnation: "1".into(),
        address: String::new(),
        since: 0,
        connections: 0,
        draining: false,
    };
    broker.inner.lease(&info, TTL).await.unwrap();
    for user in users {
        let (node, session) = (node.clone(), SessionId::random());
        let claim = Claim { user, session, node, client: "".into(), limit: usize::MAX };
        broker.inner.claim(&claim).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_sessions_of_a_dead_node_are_swept_once_by_one_of_the_survivors() {
    let broker = FaultyBroker::new();
    die(&broker, "dead", 30).await;
    let ((b, b_metrics), (c, c_metrics)) = (start(&broker, "b", TTL * 100), start(&broker, "c", TTL * 100));
    broker.next(Call::Sweep, [Fault::Unavailable, Fault::Hung, Fault::Refused]);
    let swept = || b_metrics.swept.get() + c_metrics.swept.get();
    tokio::time::sleep(TTL * 9 / 10).await;
    assert_eq!(swept(), 0);
    let begun = Instant::now();
    until("they are swept", || swept() == 30).await;
    assert!(begun.elapsed() < TTL * 2, "{:?}", begun.elapsed());
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(swept(), 30);
    let lines = broker.lifecycle();
    assert_eq!(lines.iter().filter(|line| *line == "session.disconnected node-lost").count(), 30);
    assert_eq!(lines.iter().filter(|line| *line == "user.offline").count(), 1);
    b.shutdown().await;
    c.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_without_a_lease_does_not_sweep() {
    let broker = FaultyBroker::new();
    die(&broker, "dead", 1).await;
    tokio::time::advance(TTL).await;
    let (sweeper, metrics) = start(&broker, "b", TTL / 3);
    tokio::time::sleep(TTL * 10).await;
    assert_eq!((broker.calls(Call::Sweep), metrics.swept.get()), (0, 0));
    sweeper.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_started_together_do_not_sweep_together() {
    let broker = FaultyBroker::new();
    let (sweeper, _) = start(&broker, "b", TTL * 1000);
    tokio::time::sleep(TTL * 100).await;
    let calls = broker.calls(Call::Sweep);
    assert!((160..=240).contains(&calls), "{calls} sweeps in 100 leases");
    broker.always(Call::Sweep, Fault::Hung);
    tokio::time::sleep(TTL).await;
    let begun = Instant::now();
    sweeper.shutdown().await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn twenty_thousand_users_who_leave_together_are_reported_by_the_next_sweep() {
    const USERS: usize = 20_000;
    let grace = Duration::from_secs(2);
    let broker = FaultyBroker::with(BrokerSettings { grace, ..BrokerSettings::default() });
    let node = NodeId::new("b").unwrap();
    for n in 0..USERS {
        let (user, session) = (User::new(&n.to_string()).unwrap(), SessionId::random());
        let claim = Claim { user, session, node: node.clone(), client: "".into(), limit: 1 };
        let Claimed::Held { epoch, .. } = broker.inner.claim(&claim).await.unwrap() else { panic!("full") };
        assert!(
            broker
                .inner
                .release(&node, &claim.user, session, epoch, CloseReason::Closed.into())
                .await
                .unwrap()
        );
    }
    let begun = Instant::now();
    let (sweeper, metrics) = start(&broker, "b", TTL * 1000);
    until("all are reported", || metrics.departed.get() == USERS as u64).await;
    // Half a lease, a quarter more by chance, and no rate.
    assert!(begun.elapsed() < grace + TTL * 5 / 8 + Duration::from_secs(1), "{:?}", begun.elapsed());
    let calls = broker.calls(Call::Sweep);
    assert!(calls <= USERS / SWEEP_STEP + 3, "{calls} calls");
    assert_eq!(broker.lifecycle().iter().filter(|line| *line == "user.offline").count(), USERS);
    sweeper.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn twenty_thousand_sessions_of_a_killed_node_are_swept_at_once() {
    const SESSIONS: usize = 20_000;
    let broker = FaultyBroker::new();
    die_holding(&broker, "dead", (0..SESSIONS).map(|n| User::new(&n.to_string()).unwrap())).await;
    let begun = Instant::now();
    let (sweeper, metrics) = start(&broker, "b", TTL * 1000);
    until("all are swept", || metrics.swept.get() == SESSIONS as u64).await;
    assert!(begun.elapsed() < TTL + TTL * 5 / 8 + Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(broker.calls(Call::Sweep) <= SESSIONS / SWEEP_STEP + 5);
    sweeper.shutdown().await;
}
