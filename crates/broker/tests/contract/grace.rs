//! Contracts of the grace period: no user is reported offline before it is over.

use std::time::Duration;

use fanfare_broker::session::{Claimed, CloseReason, Holding, SessionClient};
use fanfare_broker::{Broker, BrokerSettings};
use fanfare_protocol::SessionId;
use fanfare_testkit::deadline::eventually;

use crate::fixture::{Fixture, LONG, info, node};
use crate::sessions::{claim, hold, life, user};

async fn with_grace<F: Fixture>(grace: Duration) -> F {
    F::with(BrokerSettings { grace, ..BrokerSettings::default() }).await
}

/// Sweeps until the lifecycle ends with a line.
async fn ends_with<F: Fixture>(fixture: &F, names: &[(SessionId, &str)], line: &str) {
    eventually(line, || async {
        fixture.broker().sweep(&node("n9"), LONG).await.unwrap();
        life(fixture, names).await.last().is_some_and(|last| last == line)
    })
    .await;
}

pub(crate) async fn a_user_who_comes_back_within_the_grace_was_never_offline<F: Fixture>() {
    let fixture = with_grace::<F>(LONG).await;
    let broker = fixture.broker();
    let (s1, s2) = (SessionId::random(), SessionId::random());
    let epoch = hold(broker, "u", s1, "n1").await;
    assert!(broker.release(&node("n1"), &user("u"), s1, epoch, CloseReason::Closed.into()).await.unwrap());
    broker.sweep(&node("n9"), LONG).await.unwrap();
    hold(broker, "u", s2, "n2").await;
    assert_eq!(
        life(&fixture, &[(s1, "s1"), (s2, "s2")]).await,
        [
            "session.connected u s1 n1",
            "user.online u",
            "session.disconnected u s1 n1 closed",
            "session.connected u s2 n2"
        ]
    );
}

pub(crate) async fn a_user_who_stays_away_is_offline_after_the_grace<F: Fixture>() {
    let fixture = with_grace::<F>(Duration::from_millis(100)).await;
    let broker = fixture.broker();
    let s1 = SessionId::random();
    let epoch = hold(broker, "u", s1, "n1").await;
    assert!(broker.release(&node("n1"), &user("u"), s1, epoch, CloseReason::Closed.into()).await.unwrap());
    ends_with(&fixture, &[(s1, "s1")], "user.offline u").await;
    hold(broker, "u", s1, "n1").await;
    assert_eq!(life(&fixture, &[(s1, "s1")]).await.last().unwrap(), "user.online u");
}

pub(crate) async fn a_session_of_a_leaving_node_waits_for_another<F: Fixture>() {
    let fixture = with_grace::<F>(LONG).await;
    let broker = fixture.broker();
    let s1 = SessionId::random();
    let epoch = hold(broker, "u", s1, "n1").await;
    assert!(broker.release(&node("n1"), &user("u"), s1, epoch, CloseReason::Shutdown.into()).await.unwrap());
    assert!(broker.sessions(&user("u")).await.unwrap().is_empty(), "no node holds it");
    broker.sweep(&node("n9"), LONG).await.unwrap();
    let claimed = broker.claim(&claim("u", s1, "n2")).await.unwrap();
    let Claimed::Held { epoch: newer, from, .. } = claimed else { panic!("full") };
    assert!(newer > epoch);
    assert_eq!(from, Some(node("n1")));
    assert_eq!(broker.sessions(&user("u")).await.unwrap().len(), 1);
    assert_eq!(
        life(&fixture, &[(s1, "s1")]).await,
        ["session.connected u s1 n1", "user.online u", "session.moved u s1 n1 n2"]
    );
}

pub(crate) async fn a_session_that_no_node_takes_over_ends_with_the_grace<F: Fixture>() {
    let fixture = with_grace::<F>(Duration::from_millis(100)).await;
    let broker = fixture.broker();
    let (s1, s2) = (SessionId::random(), SessionId::random());
    broker.lease(&info("n2", "i"), LONG).await.unwrap();
    let first = hold(broker, "u", s1, "n1").await;
    let second = hold(broker, "u", s2, "n2").await;
    assert!(broker.release(&node("n1"), &user("u"), s1, first, CloseReason::Shutdown.into()).await.unwrap());
    let names = [(s1, "s1"), (s2, "s2")];
    // The other session keeps the user here.
    ends_with(&fixture, &names, "session.disconnected u s1 n1 shutdown").await;
    assert!(broker.release(&node("n2"), &user("u"), s2, second, CloseReason::Closed.into()).await.unwrap());
    ends_with(&fixture, &names, "user.offline u").await;
}

pub(crate) async fn sessions_that_wait_do_not_count_against_the_limit<F: Fixture>() {
    let fixture = with_grace::<F>(LONG).await;
    let broker = fixture.broker();
    for _ in 0..3 {
        let session = SessionId::random();
        let epoch = hold(broker, "u", session, "n1").await;
        assert!(
            broker
                .release(&node("n1"), &user("u"), session, epoch, CloseReason::Shutdown.into())
                .await
                .unwrap()
        );
    }
    for _ in 0..3 {
        hold(broker, "u", SessionId::random(), "n2").await;
    }
    assert_eq!(broker.claim(&claim("u", SessionId::random(), "n2")).await.unwrap(), Claimed::Full);
}

/// Claims with a long poll and answers the epoch.
async fn hold_poll(broker: &dyn Broker, session: SessionId, at: &str) -> u64 {
    let mut claim = claim("u", session, at);
    claim.client.polls = true;
    match broker.claim(&claim).await.unwrap() {
        Claimed::Held { epoch, .. } => epoch,
        Claimed::Full => panic!("full"),
    }
}

async fn poll<F: Fixture>(fixture: &F, session: SessionId, at: &str) {
    let epoch = hold_poll(fixture.broker(), session, at).await;
    let released =
        fixture.broker().release(&node(at), &user("u"), session, epoch, CloseReason::Polled.into()).await;
    assert!(released.unwrap());
}

pub(crate) async fn the_long_polls_of_a_session_are_reported_as_one_session<F: Fixture>() {
    // Without merged events, which would hide what is reported.
    let settings = BrokerSettings { grace: LONG, lifecycle_per_minute: 0, ..BrokerSettings::default() };
    let fixture = F::with(settings).await;
    let s1 = SessionId::random();
    for at in ["n1", "n2", "n1", "n1"] {
        poll(&fixture, s1, at).await;
    }
    fixture.broker().sweep(&node("n9"), LONG).await.unwrap();
    assert_eq!(life(&fixture, &[(s1, "s1")]).await, ["session.connected u s1 n1", "user.online u"]);
}

pub(crate) async fn a_long_poll_is_no_move_before_the_release_of_the_last_one<F: Fixture>() {
    let settings = BrokerSettings { grace: LONG, lifecycle_per_minute: 0, ..BrokerSettings::default() };
    let fixture = F::with(settings).await;
    let (broker, s1) = (fixture.broker(), SessionId::random());
    let first = hold_poll(broker, s1, "n1").await;
    let second = hold_poll(broker, s1, "n2").await;
    let late = broker.release(&node("n1"), &user("u"), s1, first, CloseReason::Polled.into()).await;
    assert!(!late.unwrap());
    // Redis lost the session, and the node that holds it restores it.
    let client = SessionClient { polls: true, ..SessionClient::from("c") };
    broker.release(&node("n2"), &user("u"), s1, second, CloseReason::Polled.into()).await.unwrap();
    let held = Holding { user: user("u"), session: s1, epoch: second + 1, since: 1, client };
    broker.renew(&node("n2"), &[held]).await.unwrap();
    let polled = ["session.connected u s1 n1", "user.online u"];
    hold_poll(broker, s1, "n1").await;
    assert_eq!(life(&fixture, &[(s1, "s1")]).await, polled);
    // A stream goes on from polls. A poll that takes the session of a stream is a move.
    hold(broker, "u", s1, "n2").await;
    assert_eq!(life(&fixture, &[(s1, "s1")]).await, polled);
    hold_poll(broker, s1, "n3").await;
    assert_eq!(life(&fixture, &[(s1, "s1")]).await[2..], ["session.moved u s1 n2 n3"]);
}

pub(crate) async fn a_session_that_is_not_polled_again_ends_with_the_grace<F: Fixture>() {
    let fixture = with_grace::<F>(Duration::from_millis(100)).await;
    let s1 = SessionId::random();
    poll(&fixture, s1, "n1").await;
    ends_with(&fixture, &[(s1, "s1")], "user.offline u").await;
    let life = life(&fixture, &[(s1, "s1")]).await;
    assert_eq!(life[2..], ["session.disconnected u s1 n1 polled", "user.offline u"]);
}

pub(crate) async fn sessions_of_long_polls_count_against_the_limit<F: Fixture>() {
    let fixture = with_grace::<F>(LONG).await;
    let first = SessionId::random();
    for session in [first, SessionId::random(), SessionId::random(), first] {
        poll(&fixture, session, "n1").await;
    }
    let more = fixture.broker().claim(&claim("u", SessionId::random(), "n2")).await.unwrap();
    assert_eq!(more, Claimed::Full);
}
