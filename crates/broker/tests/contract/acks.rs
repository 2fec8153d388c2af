//! Contracts of acknowledged cursors.

use std::time::Duration;

use fanfare_broker::ack_store::{AckedPosition, Receipt};
use fanfare_broker::{AckSettings, AckStore, Broker, BrokerSettings};
use fanfare_protocol::cursor::MAX_CURSOR_CHANNELS;
use fanfare_protocol::reader::Reader;
use fanfare_protocol::{Position, SessionId};
use fanfare_testkit::deadline::eventually;
use futures_util::future::join_all;

use crate::fixture::{Fields, Fixture, Redis, channel, new, publish};
use crate::sessions::user;

fn at(ms: u64) -> Position {
    Position::new(ms, 0)
}

fn device(name: &str) -> Reader {
    Reader::Device(name.parse().unwrap())
}

fn settings(acks: AckSettings) -> BrokerSettings {
    BrokerSettings { acks, ..BrokerSettings::default() }
}

async fn acknowledge(broker: &dyn Broker, reader: &Reader, positions: &[AckedPosition]) -> usize {
    broker.acknowledge(&user("7"), reader, positions).await.unwrap()
}

async fn acknowledged(broker: &dyn Broker, reader: &Reader) -> Vec<AckedPosition> {
    broker.acknowledged(&user("7"), reader).await.unwrap()
}

pub(crate) async fn a_position_is_acknowledged_for_its_reader_only<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let session = SessionId::random();
    let readers = [device("a"), device("b"), Reader::Session(session)];
    for (n, reader) in readers.iter().enumerate() {
        assert_eq!(acknowledged(broker, reader).await, []);
        assert_eq!(acknowledge(broker, reader, &[(9, at(n as u64)), (2, at(5))]).await, 2);
    }
    for (n, reader) in readers.iter().enumerate() {
        assert_eq!(acknowledged(broker, reader).await, [(2, at(5)), (9, at(n as u64))]);
    }
    assert_eq!(broker.acknowledged(&user("8"), &device("a")).await.unwrap(), []);
    fixture.wipe().await;
    assert_eq!(acknowledged(broker, &readers[0]).await, []);
}

pub(crate) async fn a_position_never_moves_backwards<F: Fixture>() {
    let fixture = new::<F>().await;
    let (broker, reader) = (fixture.broker(), device("a"));
    let steps = [
        (Position::new(5, 2), 1, Position::new(5, 2)),
        (Position::new(5, 1), 0, Position::new(5, 2)),
        (Position::new(5, 2), 0, Position::new(5, 2)),
        (Position::new(4, 9), 0, Position::new(5, 2)),
        (Position::new(5, 10), 1, Position::new(5, 10)),
        (Position::new(10, 0), 1, Position::new(10, 0)),
        (Position::new(9, u64::MAX), 0, Position::new(10, 0)),
    ];
    for (position, moved, after) in steps {
        assert_eq!(acknowledge(broker, &reader, &[(1, position)]).await, moved, "{position}");
        assert_eq!(acknowledged(broker, &reader).await, [(1, after)]);
    }
    assert_eq!(acknowledge(broker, &reader, &[(1, at(3)), (2, at(3))]).await, 1);
    assert_eq!(acknowledged(broker, &reader).await, [(1, at(10)), (2, at(3))]);
}

pub(crate) async fn acknowledgements_from_two_nodes_keep_the_greatest<F: Fixture>() {
    let fixture = new::<F>().await;
    let (broker, reader) = (fixture.broker(), device("a"));
    let calls = (0..100_u64).map(|n| {
        let positions = [(1, at((n * 37) % 101)), (2, at((n * 53) % 97))];
        let reader = &reader;
        async move { acknowledge(broker, reader, &positions).await }
    });
    join_all(calls).await;
    let greatest = |step: u64, of: u64| (0..100).map(|n| (n * step) % of).max().unwrap();
    assert_eq!(acknowledged(broker, &reader).await, [(1, at(greatest(37, 101))), (2, at(greatest(53, 97)))]);
}

pub(crate) async fn a_position_ahead_of_the_clock_does_not_stay<F: Fixture>() {
    let fixture = new::<F>().await;
    let (broker, reader) = (fixture.broker(), device("a"));
    let newest = publish(broker, "a", "x").await;
    acknowledge(broker, &reader, &[(1, Position::new(u64::MAX, u64::MAX))]).await;
    assert_eq!(acknowledge(broker, &reader, &[(1, newest)]).await, 1);
    assert_eq!(acknowledged(broker, &reader).await, [(1, newest)]);
    // In a log that is ahead itself, late acknowledgements change nothing.
    let far = |ms| Position::new(newest.ms + 3_600_000 + ms, 0);
    for (position, moved) in [(far(5), 1), (far(3), 0), (far(5), 0), (far(7), 1), (newest, 1)] {
        assert_eq!(acknowledge(broker, &reader, &[(1, position)]).await, moved, "{position}");
    }
    // A little ahead is a clock that was set, or another's.
    let soon = Position::new(newest.ms + 30_000, 0);
    acknowledge(broker, &reader, &[(1, soon)]).await;
    assert_eq!(acknowledge(broker, &reader, &[(1, newest)]).await, 0);
}

pub(crate) async fn a_reader_keeps_its_greatest_positions<F: Fixture>() {
    let fixture = new::<F>().await;
    let (broker, reader) = (fixture.broker(), device("a"));
    let most = MAX_CURSOR_CHANNELS as u64;
    let all: Vec<_> = (0..most).map(|tag| (tag, at(1000 + tag))).collect();
    assert_eq!(acknowledge(broker, &reader, &all).await, all.len());
    acknowledge(broker, &reader, &[(5000, at(3000)), (5001, at(1))]).await;
    let kept = acknowledged(broker, &reader).await;
    assert_eq!(kept.len(), all.len());
    assert_eq!(kept[..2], all[1..3], "the least positions went, the new one among them");
    assert_eq!(kept.last(), Some(&(5000, at(3000))));
}

pub(crate) async fn the_readers_of_a_user_are_bounded_and_the_longest_silent_goes<F: Fixture>() {
    let fixture = F::with(settings(AckSettings { readers: 2, ..AckSettings::default() })).await;
    let broker = fixture.broker();
    for name in ["a", "b", "a", "c"] {
        acknowledge(broker, &device(name), &[(1, at(5))]).await;
    }
    broker.acknowledge(&user("8"), &device("a"), &[(1, at(5))]).await.unwrap();
    let counts = [("a", 1), ("b", 0), ("c", 1)];
    for (name, count) in counts {
        assert_eq!(acknowledged(broker, &device(name)).await.len(), count, "{name}");
    }
}

pub(crate) async fn acknowledged_positions_are_forgotten_after_their_time<F: Fixture>() {
    let keep = Duration::from_millis(50);
    let fixture = F::with(settings(AckSettings { keep, ..AckSettings::default() })).await;
    let broker = fixture.broker();
    acknowledge(broker, &device("a"), &[(1, at(5))]).await;
    eventually("it is forgotten", async || acknowledged(broker, &device("a")).await.is_empty()).await;
    assert_eq!(acknowledge(broker, &device("a"), &[(1, at(4))]).await, 1);
}

pub(crate) async fn receipts_are_bounded<F: Fixture>() {
    let fixture = F::with(settings(AckSettings { receipts: 100, ..AckSettings::default() })).await;
    let broker = fixture.broker();
    let receipt =
        |n| Receipt { user: user("7"), reader: device("a"), channel: channel("room:1"), position: at(n) };
    for first in (0..1000).step_by(100) {
        let receipts: Vec<_> = (first..first + 100).map(receipt).collect();
        broker.report_receipts(&receipts).await.unwrap();
    }
    let kept = fixture.receipts().await;
    // Redis trims whole nodes of its tree, of 100 entries each.
    assert!((100..=200).contains(&kept.len()), "{}", kept.len());
    let fields = [("user", "7"), ("reader", "device:a"), ("channel", "room:1"), ("id", "999-0")];
    let fields: Fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(kept.last(), Some(&fields));
}

#[tokio::test]
async fn a_new_reader_stays_though_the_clock_went_back() {
    let fixture = new::<Redis>().await;
    let broker = fixture.broker();
    for n in 0..16 {
        acknowledge(broker, &device(&format!("d{n}")), &[(1, at(5))]).await;
        let name = format!("device:d{n}");
        let later = (u64::MAX >> 12).to_string();
        fixture.server.get::<usize>(&["ZADD", "fanfare:{user:7}:acked", &later, &name]).await;
    }
    acknowledge(broker, &device("new"), &[(1, at(5))]).await;
    assert_eq!(acknowledged(broker, &device("new")).await, [(1, at(5))]);
    assert_eq!(fixture.server.get::<usize>(&["ZCARD", "fanfare:{user:7}:acked"]).await, 16);
}

#[tokio::test]
async fn ten_thousand_acknowledgements_of_two_nodes_never_move_backwards() {
    let fixture = new::<Redis>().await;
    let brokers = [&fixture.broker, &fixture.another(BrokerSettings::default())];
    let (user, reader) = (user("7"), device("a"));
    let mut random = fastrand::Rng::with_seed(7);
    let (mut before, mut greatest) = (Position::ZERO, Position::ZERO);
    for _ in 0..100 {
        let positions: Vec<_> = (0..100).map(|_| Position::new(random.u64(1..1_000_000), 0)).collect();
        greatest = positions.iter().copied().max().max(Some(greatest)).unwrap();
        let call = |(n, position): (usize, &Position)| {
            let positions = [(1, *position)];
            let (broker, user, reader) = (brokers[n % 2], &user, &reader);
            async move { broker.acknowledge(user, reader, &positions).await.unwrap() }
        };
        let watch = async {
            let mut seen = Vec::new();
            for n in 0..10 {
                seen.extend(brokers[n % 2].acknowledged(&user, &reader).await.unwrap());
            }
            seen
        };
        let (_, seen) = tokio::join!(join_all(positions.iter().enumerate().map(call)), watch);
        assert!(seen.iter().all(|(_, position)| *position >= before) && seen.is_sorted(), "{seen:?}");
        let held = fixture.broker.acknowledged(&user, &reader).await.unwrap();
        assert_eq!(held, [(1, greatest)]);
        before = greatest;
    }
}
