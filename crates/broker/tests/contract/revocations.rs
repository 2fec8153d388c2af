//! Contracts of the log of revocations.

use std::time::Duration;

use fanfare_broker::Broker;
use fanfare_broker::credential_store::{Append, Appended};
use fanfare_protocol::Position;
use fanfare_protocol::revocation::{Revocation, Revoked};
use fanfare_testkit::deadline::eventually;

use crate::fixture::{Fixture, Redis, new};
use crate::sessions::user;

const APPEND: Append = Append { limit: 10, keep: None, after: None };

fn revoked(before: u64) -> Revoked {
    Revoked { revocation: Revocation::User { user: user("7"), before }, at: before }
}

async fn append(broker: &dyn Broker, times: &[u64], append: Append) -> Appended {
    let revoked: Vec<_> = times.iter().map(|time| revoked(*time)).collect();
    broker.revoke(&revoked, append).await.unwrap()
}

fn position(appended: Appended) -> Position {
    match appended {
        Appended::Done(position) => position,
        other => panic!("{other:?}"),
    }
}

async fn times(broker: &dyn Broker, from: Position, limit: usize) -> Vec<u64> {
    let entries = broker.revocations(from, limit).await.unwrap();
    assert!(entries.is_sorted_by_key(|(position, _)| *position));
    entries.into_iter().map(|(_, revoked)| revoked.unwrap().at).collect()
}

pub(crate) async fn revocations_are_read_in_order_from_a_position_on<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    assert_eq!(times(broker, Position::ZERO, 10).await, [0_u64; 0]);
    let first = position(append(broker, &[1], APPEND).await);
    let last = position(append(broker, &[2, 3], APPEND).await);
    assert!(last > first);
    assert_eq!(times(broker, Position::ZERO, 10).await, [1, 2, 3]);
    assert_eq!(times(broker, Position::ZERO, 2).await, [1, 2]);
    assert_eq!(times(broker, first, 10).await, [1, 2, 3], "the position is included");
    assert_eq!(times(broker, last, 10).await, [3]);
    let entries = broker.revocations(last, 10).await.unwrap();
    assert_eq!(entries, [(last, Some(revoked(3)))]);
    assert_eq!(times(broker, last.next().unwrap(), 10).await, [0_u64; 0]);
    fixture.wipe().await;
    assert_eq!(times(broker, Position::ZERO, 10).await, [0_u64; 0]);
}

pub(crate) async fn revocations_are_appended_together_or_not_at_all<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let few = Append { limit: 2, ..APPEND };
    assert_eq!(append(broker, &[1, 2, 3], few).await, Appended::Full);
    assert_eq!(times(broker, Position::ZERO, 10).await, [0_u64; 0]);
    let last = position(append(broker, &[1, 2], few).await);
    assert_eq!(append(broker, &[3], few).await, Appended::Full);
    for after in [Position::ZERO, Position::new(last.ms, last.seq + 1), Position::new(1, 1)] {
        assert_eq!(append(broker, &[3], Append { after: Some(after), ..APPEND }).await, Appended::Moved);
    }
    let next = position(append(broker, &[3], Append { after: Some(last), ..APPEND }).await);
    assert_eq!(append(broker, &[4], Append { after: Some(last), ..APPEND }).await, Appended::Moved);
    position(append(broker, &[4], Append { after: Some(next), ..APPEND }).await);
    assert_eq!(times(broker, Position::ZERO, 10).await, [1, 2, 3, 4]);
    fixture.wipe().await;
    position(append(broker, &[5], Append { after: Some(Position::ZERO), ..APPEND }).await);
}

pub(crate) async fn old_revocations_make_room<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    position(append(broker, &[1], APPEND).await);
    let long = Append { limit: 1, keep: Some(Duration::from_hours(1)), after: None };
    assert_eq!(append(broker, &[2], long).await, Appended::Full);
    let short = Append { limit: 1, keep: Some(Duration::from_millis(5)), after: None };
    eventually("the first is too old", async || {
        matches!(append(broker, &[2], short).await, Appended::Done(_))
    })
    .await;
    assert_eq!(times(broker, Position::ZERO, 10).await, [2]);
}

#[tokio::test]
async fn entries_that_no_node_wrote_are_passed_over() {
    let fixture = new::<Redis>().await;
    let broker = fixture.broker();
    for field in [["x", "1"], ["revoked", "x"], ["revoked", r#"{"revocation":{"all":true},"at":1}"#]] {
        fixture.server.cli(&["XADD", "fanfare:revocations", "*", field[0], field[1]]).await;
    }
    position(append(broker, &[1], APPEND).await);
    let entries = broker.revocations(Position::ZERO, 10).await.unwrap();
    let read: Vec<_> = entries.into_iter().map(|(_, revoked)| revoked).collect();
    assert_eq!(read, [None, None, None, Some(revoked(1))]);
}
