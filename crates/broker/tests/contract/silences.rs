//! Contracts of the silences in which the connections of sessions are lost.

use std::time::Duration;

use fanfare_broker::session::{Claim, Claimed, CloseReason, SessionClient, SessionEnd};
use fanfare_broker::{Broker, BrokerSettings};
use fanfare_protocol::SessionId;
use fanfare_testkit::deadline::eventually;

use crate::fixture::{Fixture, Redis, new, node};
use crate::sessions::{claim, user};

/// The client of a session that comes back, with a cursor or without one.
async fn open(broker: &dyn Broker, session: SessionId, resumes: bool) -> (u64, Option<u64>) {
    let client = SessionClient { named: true, resumes, ..SessionClient::from("c") };
    let claim = Claim { client, limit: 1000, ..claim("u", session, "n1") };
    match broker.claim(&claim).await.unwrap() {
        Claimed::Held { epoch, silence, .. } => {
            (epoch, silence.map(|silence| u64::try_from(silence.as_millis()).unwrap()))
        }
        Claimed::Full => panic!("full"),
    }
}

async fn lose(broker: &dyn Broker, session: SessionId, epoch: u64, silence: u64) {
    let silence = (silence > 0).then(|| Duration::from_millis(silence));
    let end = SessionEnd::new(CloseReason::Closed, silence);
    broker.release(&node("n1"), &user("u"), session, epoch, end).await.unwrap();
}

/// Opens a connection and loses it in a silence of so many milliseconds. Returns the silence that was known before.
async fn lost(broker: &dyn Broker, session: SessionId, silence: u64) -> Option<u64> {
    let (epoch, known) = open(broker, session, true).await;
    lose(broker, session, epoch, silence).await;
    known
}

/// Returns the silence that is known now.
async fn known(broker: &dyn Broker, session: SessionId) -> Option<u64> {
    lost(broker, session, 0).await
}

pub(crate) async fn two_connections_that_are_lost_after_about_the_same_silence_tell_it<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let (session, other) = (SessionId::random(), SessionId::random());
    assert_eq!(lost(broker, session, 12_100).await, None);
    // A connection that ended otherwise says nothing.
    assert_eq!(lost(broker, session, 0).await, None);
    assert_eq!(lost(broker, session, 12_000).await, None);
    for _ in 0..2 {
        assert_eq!(known(broker, session).await, Some(12_000));
        assert_eq!(known(broker, other).await, None);
    }
    // Another silence does not replace it, unless it repeats.
    lost(broker, session, 6000).await;
    assert_eq!(lost(broker, session, 8000).await, Some(12_000));
    assert_eq!(lost(broker, session, 8100).await, Some(12_000));
    assert_eq!(known(broker, session).await, Some(8100));
}

pub(crate) async fn a_page_that_is_loaded_again_has_not_lost_its_connection<F: Fixture>() {
    let fixture = new::<F>().await;
    let (broker, session) = (fixture.broker(), SessionId::random());
    for _ in 0..3 {
        let (epoch, silence) = open(broker, session, false).await;
        assert_eq!(silence, None);
        lose(broker, session, epoch, 12_000).await;
    }
    assert_eq!(lost(broker, session, 12_000).await, None);
    // What is known stays known, and is the page's as well.
    assert_eq!(open(broker, session, false).await.1, Some(12_000));
    assert_eq!(known(broker, session).await, Some(12_000));
}

pub(crate) async fn a_release_that_is_repeated_counts_as_one_loss<F: Fixture>() {
    let fixture = new::<F>().await;
    let (broker, session) = (fixture.broker(), SessionId::random());
    let (epoch, _) = open(broker, session, true).await;
    for _ in 0..3 {
        lose(broker, session, epoch, 12_000).await;
    }
    assert_eq!(lost(broker, session, 12_000).await, None);
    assert_eq!(known(broker, session).await, Some(12_000));
}

pub(crate) async fn a_connection_that_was_superseded_may_have_been_lost<F: Fixture>() {
    let fixture = new::<F>().await;
    let (broker, session) = (fixture.broker(), SessionId::random());
    let (first, _) = open(broker, session, true).await;
    let (second, _) = open(broker, session, true).await;
    let end = SessionEnd::new(CloseReason::Superseded, Some(Duration::from_secs(12)));
    for epoch in [first, second] {
        let third = open(broker, session, true).await;
        assert_eq!(third.1, None);
        assert!(!broker.release(&node("n1"), &user("u"), session, epoch, end).await.unwrap());
    }
    assert_eq!(known(broker, session).await, Some(12_000));
    assert_eq!(broker.sessions(&user("u")).await.unwrap().len(), 0);
}

pub(crate) async fn a_silence_is_forgotten_after_its_time_and_one_loss_recalls_it<F: Fixture>() {
    let memory = Duration::from_secs(3);
    let fixture = F::with(BrokerSettings { heartbeat_memory: memory, ..BrokerSettings::default() }).await;
    let (broker, session) = (fixture.broker(), SessionId::random());
    lost(broker, session, 12_000).await;
    lost(broker, session, 12_000).await;
    assert_eq!(known(broker, session).await, Some(12_000));
    eventually("it is forgotten", async || known(broker, session).await.is_none()).await;
    lost(broker, session, 12_300).await;
    assert_eq!(known(broker, session).await, Some(12_300));
}

pub(crate) async fn the_sessions_whose_silences_are_kept_are_bounded<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let sessions: Vec<_> = (0..33).map(|_| SessionId::random()).collect();
    for session in &sessions {
        lost(broker, *session, 12_000).await;
        lost(broker, *session, 12_000).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for (at, session) in sessions.iter().enumerate() {
        let silence = (at > 0).then_some(12_000);
        assert_eq!(known(broker, *session).await, silence, "{at}: the longest known one made room");
    }
}

#[tokio::test]
async fn silences_end_in_redis_by_themselves_and_a_spoilt_key_stops_nothing() {
    let redis = new::<Redis>().await;
    let (broker, session, key) = (redis.broker(), SessionId::random(), "fanfare:{user:u}:silences");
    let ttl = async || redis.server.get::<i64>(&["PTTL", key]).await;
    lost(broker, session, 12_000).await;
    assert!((590_000..=600_000).contains(&ttl().await), "{}", ttl().await);
    lost(broker, session, 12_000).await;
    assert!((7_100_000..=7_200_000).contains(&ttl().await), "{}", ttl().await);
    lost(broker, SessionId::random(), 12_000).await;
    assert!(ttl().await > 7_100_000);
    let field = session.to_string();
    for spoilt in ["", "12000", "12000 0 x 7", "-1 0 0 0"] {
        redis.server.get::<u64>(&["HSET", key, &field, spoilt]).await;
        assert_eq!(known(broker, session).await, None, "{spoilt}");
    }
    redis.server.get::<()>(&["SET", key, "x"]).await;
    assert_eq!(lost(broker, session, 12_000).await, None);
    assert_eq!(redis.server.get::<String>(&["GET", key]).await, "x");
    assert!(broker.sessions(&user("u")).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_session_is_released_although_redis_has_no_memory_for_its_silence() {
    let redis = new::<Redis>().await;
    let (broker, session) = (redis.broker(), SessionId::random());
    let (epoch, _) = open(broker, session, true).await;
    redis.server.get::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    lose(broker, session, epoch, 12_000).await;
    assert!(broker.sessions(&user("u")).await.unwrap().is_empty());
}
