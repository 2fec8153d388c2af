//! Contracts of leases and the sweep.

use std::time::Duration;

use fanfare_broker::lease::LeaseOutcome;
use fanfare_broker::session::CloseReason;
use fanfare_broker::{Broker, Membership, NodeInfo, SessionStore};
use fanfare_protocol::SessionId;
use fanfare_testkit::deadline::eventually;

use crate::fixture::{Fixture, LONG, Redis, info, new, node};
use crate::sessions::{hold, holding, life, user};

const TTL: Duration = Duration::from_secs(30);
/// For locks that are to lapse within a test.
const SHORT: Duration = Duration::from_millis(50);

async fn lease(broker: &dyn Broker, info: &NodeInfo) -> LeaseOutcome {
    broker.lease(info, TTL).await.unwrap()
}

pub(crate) async fn a_lease_belongs_to_one_process<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    assert_eq!(lease(broker, &info("n1", "i1")).await, LeaseOutcome::Taken);
    assert_eq!(lease(broker, &info("n1", "i1")).await, LeaseOutcome::Renewed);
    assert_eq!(lease(broker, &info("n1", "i2")).await, LeaseOutcome::Foreign);
    assert_eq!(broker.nodes().await.unwrap(), [info("n1", "i1")], "nothing was changed");
    fixture.lapse(&node("n1")).await;
    assert_eq!(lease(broker, &info("n1", "i2")).await, LeaseOutcome::Taken);
    assert_eq!(lease(broker, &info("n1", "i1")).await, LeaseOutcome::Foreign);
    assert_eq!(broker.lease(&info("n2", "i1"), SHORT).await.unwrap(), LeaseOutcome::Taken);
    eventually("the lease lapses", || async { broker.nodes().await.unwrap().len() == 1 }).await;
    assert_eq!(lease(broker, &info("n2", "i1")).await, LeaseOutcome::Taken);
}

pub(crate) async fn a_node_that_left_is_not_listed_and_its_name_is_free<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    lease(broker, &info("n1", "i1")).await;
    broker.leave(&info("n1", "another")).await.unwrap();
    assert_eq!(broker.nodes().await.unwrap().len(), 1, "not ours to give up");
    broker.leave(&info("n1", "i1")).await.unwrap();
    assert!(broker.nodes().await.unwrap().is_empty());
    assert_eq!(lease(broker, &info("n1", "i2")).await, LeaseOutcome::Taken);
    broker.leave(&info("unknown", "i")).await.unwrap();
}

pub(crate) async fn nodes_are_listed_by_name_as_they_last_said<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    assert!(broker.nodes().await.unwrap().is_empty());
    for id in ["b", "c", "a"] {
        lease(broker, &info(id, "i")).await;
    }
    let news = NodeInfo { connections: 77, draining: true, ..info("b", "i") };
    lease(broker, &news).await;
    assert_eq!(broker.nodes().await.unwrap(), [info("a", "i"), news, info("c", "i")]);
}

pub(crate) async fn the_sessions_of_a_dead_node_are_swept_and_reported<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let (dead, alive) = (SessionId::random(), SessionId::random());
    for id in ["n1", "n2"] {
        lease(broker, &info(id, "i")).await;
    }
    hold(broker, "u", dead, "n1").await;
    hold(broker, "v", alive, "n2").await;
    assert_eq!(broker.sweep(&node("n2"), TTL).await.unwrap().sessions, 0);
    fixture.lapse(&node("n1")).await;
    assert_eq!(broker.sweep(&node("n2"), TTL).await.unwrap().sessions, 1);
    assert_eq!(broker.sweep(&node("n2"), TTL).await.unwrap().sessions, 0);
    assert!(broker.sessions(&user("u")).await.unwrap().is_empty());
    assert_eq!(broker.sessions(&user("v")).await.unwrap().len(), 1);
    let lines = life(&fixture, &[(dead, "dead")]).await;
    assert_eq!(lines[4..], ["session.disconnected u dead n1 node-lost", "user.offline u"]);
}

pub(crate) async fn what_moved_away_in_time_is_not_swept<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    for id in ["n1", "n2"] {
        lease(broker, &info(id, "i")).await;
    }
    let (moved, released) = (SessionId::random(), SessionId::random());
    hold(broker, "u", moved, "n1").await;
    hold(broker, "u", moved, "n2").await;
    let epoch = hold(broker, "u", released, "n1").await;
    broker.release(&node("n1"), &user("u"), released, epoch, CloseReason::Closed.into()).await.unwrap();
    fixture.lapse(&node("n1")).await;
    assert_eq!(broker.sweep(&node("n2"), TTL).await.unwrap().sessions, 0);
    assert_eq!(broker.sessions(&user("u")).await.unwrap()[0].node, node("n2"));
}

pub(crate) async fn what_an_earlier_process_left_is_swept_also_when_its_successor_leaves<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    lease(broker, &info("n1", "i1")).await;
    hold(broker, "u", SessionId::random(), "n1").await;
    fixture.lapse(&node("n1")).await;
    lease(broker, &info("n1", "i2")).await;
    broker.leave(&info("n1", "i2")).await.unwrap();
    assert_eq!(broker.sweep(&node("n2"), TTL).await.unwrap().sessions, 1);
    assert!(broker.sessions(&user("u")).await.unwrap().is_empty());
}

pub(crate) async fn a_successor_that_came_back_in_time_keeps_its_sessions<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    lease(broker, &info("n1", "i1")).await;
    fixture.lapse(&node("n1")).await;
    lease(broker, &info("n1", "i2")).await;
    hold(broker, "u", SessionId::random(), "n1").await;
    fixture.lapse(&node("n1")).await;
    assert_eq!(lease(broker, &info("n1", "i2")).await, LeaseOutcome::Taken);
    assert_eq!(broker.sweep(&node("n2"), TTL).await.unwrap().sessions, 0);
    assert_eq!(broker.sessions(&user("u")).await.unwrap().len(), 1);
}

pub(crate) async fn a_session_of_an_unknown_node_is_swept<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    // Its node died before its first heartbeat to a broker that came back empty, or its claim arrived after all of it
    // was swept.
    hold(broker, "u", SessionId::random(), "n1").await;
    let holding = holding("v", SessionId::random(), 7);
    broker.renew(&node("n3"), &[holding]).await.unwrap();
    lease(broker, &info("n2", "i")).await;
    assert_eq!(broker.sweep(&node("n2"), TTL).await.unwrap().sessions, 2);
    for id in ["u", "v"] {
        assert!(broker.sessions(&user(id)).await.unwrap().is_empty());
    }
}

pub(crate) async fn one_node_sweeps_at_a_time<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let sweep = async |by: &str, ttl| broker.sweep(&node(by), ttl).await.unwrap().sessions;
    let orphan = async || {
        lease(broker, &info("n1", "i")).await;
        hold(broker, "u", SessionId::random(), "n1").await;
        fixture.lapse(&node("n1")).await;
    };
    assert_eq!(sweep("n2", LONG * 3).await, 0);
    orphan().await;
    assert_eq!(sweep("n3", TTL).await, 0, "n2 is elected");
    assert_eq!(broker.sessions(&user("u")).await.unwrap().len(), 1);
    assert_eq!(sweep("n2", SHORT).await, 1);
    orphan().await;
    eventually("another is elected", || async { sweep("n3", TTL).await == 1 }).await;
}

pub(crate) async fn a_node_that_left_is_swept_clean<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    for id in ["n1", "n2"] {
        lease(broker, &info(id, "i")).await;
    }
    hold(broker, "u", SessionId::random(), "n1").await;
    broker.leave(&info("n1", "i")).await.unwrap();
    assert_eq!(broker.sweep(&node("n2"), TTL).await.unwrap().sessions, 1);
    assert!(broker.sessions(&user("u")).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_node_that_leaves_nothing_behind_leaves_no_key() {
    let redis = new::<Redis>().await;
    let left = async || redis.server.get::<Vec<String>>(&["KEYS", "fanfare:node*"]).await;
    let epoch = |session| hold(&redis.broker, "u", session, "n1");
    lease(&redis.broker, &info("n1", "i")).await;
    let session = SessionId::random();
    let epoch = epoch(session).await;
    redis.broker.leave(&info("n1", "another")).await.unwrap();
    assert_eq!(left().await.len(), 4, "not ours to give up");
    redis
        .broker
        .release(&node("n1"), &user("u"), session, epoch, CloseReason::Shutdown.into())
        .await
        .unwrap();
    redis.broker.leave(&info("n1", "i")).await.unwrap();
    assert_eq!(left().await, Vec::<String>::new());
}

pub(crate) async fn a_node_that_came_back_in_time_keeps_its_sessions<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    for id in ["n1", "n2"] {
        lease(broker, &info(id, "i")).await;
    }
    hold(broker, "u", SessionId::random(), "n1").await;
    fixture.lapse(&node("n1")).await;
    assert_eq!(lease(broker, &info("n1", "i")).await, LeaseOutcome::Taken);
    assert_eq!(broker.sweep(&node("n2"), TTL).await.unwrap().sessions, 0);
    assert_eq!(broker.sessions(&user("u")).await.unwrap().len(), 1);
}

pub(crate) async fn what_an_earlier_process_of_the_name_left_is_swept<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    for id in ["n1", "n2"] {
        lease(broker, &info(id, "i1")).await;
    }
    let (left, back) = (SessionId::random(), SessionId::random());
    hold(broker, "u", left, "n1").await;
    hold(broker, "u", back, "n1").await;
    fixture.lapse(&node("n1")).await;
    assert_eq!(lease(broker, &info("n1", "i2")).await, LeaseOutcome::Taken);
    hold(broker, "u", back, "n1").await;
    assert_eq!(broker.sweep(&node("n2"), TTL).await.unwrap().sessions, 1);
    let sessions = broker.sessions(&user("u")).await.unwrap();
    assert_eq!(sessions.iter().map(|info| info.session).collect::<Vec<_>>(), [back]);
    assert_eq!(broker.sweep(&node("n2"), TTL).await.unwrap().sessions, 0);
    fixture.lapse(&node("n1")).await;
    assert_eq!(broker.sweep(&node("n2"), TTL).await.unwrap().sessions, 1);
}
