//! Contracts of the share that a user has of the lifecycle stream: beyond it events are merged, and right at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare_broker::session::{Claimed, CloseReason};
use fanfare_broker::{Broker, BrokerSettings};
use fanfare_protocol::SessionId;
use fanfare_testkit::deadline::eventually;

use crate::fixture::{Fixture, LONG, info, node};
use crate::sessions::{claim, hold, life, user};

const PER_MINUTE: u32 = 10;

async fn sharing<F: Fixture>(grace: Duration) -> F {
    let settings = BrokerSettings { grace, lifecycle_per_minute: PER_MINUTE, ..BrokerSettings::default() };
    let fixture = F::with(settings).await;
    for name in ["n1", "n2"] {
        fixture.broker().lease(&info(name, "i"), LONG).await.unwrap();
    }
    fixture
}

/// What a consumer knows who has read the stream from its beginning.
#[derive(Debug, Default, PartialEq)]
struct Consumer {
    online: bool,
    /// Session → node.
    sessions: BTreeMap<String, String>,
}

impl Consumer {
    /// Reads the stream. Panics where it contradicts itself.
    fn of(lines: &[String]) -> Self {
        let mut consumer = Self::default();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let known = |session: &str| consumer.sessions.get(session).cloned();
            match words[..] {
                ["user.online", _] => assert!(!std::mem::replace(&mut consumer.online, true), "{lines:#?}"),
                ["user.offline", _] => assert!(std::mem::replace(&mut consumer.online, false), "{lines:#?}"),
                ["session.connected", _, session, node] => {
                    assert_eq!(known(session), None, "{line} in {lines:#?}");
                    consumer.sessions.insert(session.to_owned(), node.to_owned());
                }
                ["session.moved", _, session, from, node] => {
                    assert_eq!(known(session).as_deref(), Some(from), "{line} in {lines:#?}");
                    consumer.sessions.insert(session.to_owned(), node.to_owned());
                }
                ["session.disconnected", _, session, _, _] => {
                    assert!(consumer.sessions.remove(session).is_some(), "{line} in {lines:#?}");
                }
                _ => panic!("{line}"),
            }
        }
        consumer
    }
}

/// Sweeps until a consumer knows what is so.
async fn comes_to<F: Fixture>(fixture: &F, expected: Consumer) {
    eventually("the lifecycle stream is right", || async {
        fixture.broker().sweep(&node("n1"), LONG).await.unwrap();
        Consumer::of(&life(fixture, &[]).await) == expected
    })
    .await;
}

async fn comes_and_goes(broker: &dyn Broker, times: usize) {
    for _ in 0..times {
        let session = SessionId::random();
        let epoch = hold(broker, "u", session, "n1").await;
        assert!(
            broker
                .release(&node("n1"), &user("u"), session, epoch, CloseReason::Closed.into())
                .await
                .unwrap()
        );
    }
}

pub(crate) async fn a_user_who_comes_and_goes_does_not_fill_the_lifecycle_stream<F: Fixture>() {
    let fixture = sharing::<F>(Duration::ZERO).await;
    let broker = fixture.broker();
    comes_and_goes(broker, 300).await;
    let reported = life(&fixture, &[]).await;
    // Each of the ten, and some more while the share fills again, may have brought the user online or offline.
    assert!(reported.len() <= 3 * PER_MINUTE as usize, "{} events: {reported:#?}", reported.len());
    Consumer::of(&reported);
    // Another user has a share of their own.
    let other = SessionId::random();
    hold(broker, "other", other, "n1").await;
    let reported = life(&fixture, &[(other, "s")]).await;
    assert_eq!(reported[reported.len() - 2..], ["session.connected other s n1", "user.online other"]);
}

pub(crate) async fn what_was_merged_is_right_at_the_end<F: Fixture>() {
    for grace in [Duration::ZERO, Duration::from_millis(100)] {
        let fixture = sharing::<F>(grace).await;
        let broker = fixture.broker();
        let (stays, goes, moves, comes) =
            (SessionId::random(), SessionId::random(), SessionId::random(), SessionId::random());
        hold(broker, "u", stays, "n1").await;
        let last = hold(broker, "u", goes, "n1").await;
        comes_and_goes(broker, 100).await;
        assert!(broker.release(&node("n1"), &user("u"), goes, last, CloseReason::Idle.into()).await.unwrap());
        hold(broker, "u", moves, "n1").await;
        hold(broker, "u", moves, "n2").await;
        assert!(matches!(broker.claim(&claim("u", stays, "n2")).await.unwrap(), Claimed::Held { .. }));
        hold(broker, "u", comes, "n1").await;
        let sessions = [(stays, "n2"), (moves, "n2"), (comes, "n1")];
        let sessions = sessions.map(|(session, node)| (session.to_string(), node.to_owned())).into();
        comes_to(&fixture, Consumer { online: true, sessions }).await;
        let reported =
            life(&fixture, &[(stays, "stays"), (goes, "goes"), (moves, "moves"), (comes, "comes")]).await;
        for line in [
            "session.disconnected u goes n1 idle",
            "session.moved u stays n1 n2",
            "session.connected u moves n2",
            "session.connected u comes n1",
        ] {
            assert_eq!(
                reported.iter().filter(|reported| *reported == line).count(),
                1,
                "{line} in {reported:#?}"
            );
        }
    }
}

pub(crate) async fn a_user_who_left_while_events_were_merged_is_offline_at_the_end<F: Fixture>() {
    for grace in [Duration::ZERO, Duration::from_millis(100)] {
        let fixture = sharing::<F>(grace).await;
        let broker = fixture.broker();
        comes_and_goes(broker, 100).await;
        comes_to(&fixture, Consumer::default()).await;
        // And comes back: the share is used up still.
        let session = SessionId::random();
        hold(broker, "u", session, "n2").await;
        comes_and_goes(broker, 20).await;
        let sessions = [(session.to_string(), "n2".to_owned())].into();
        comes_to(&fixture, Consumer { online: true, sessions }).await;
    }
}
