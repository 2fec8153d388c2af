//! Keys of a wrong type, and values that no node has written.

use std::time::Duration;

use fanfare_broker::dead_letter::Rejected;
use fanfare_broker::intake::{IntakeOutcome, chain};
use fanfare_broker::lease::LeaseOutcome;
use fanfare_broker::log::PageLimit;
use fanfare_broker::session::{Claimed, CloseReason, Holding, SessionEnd};
use fanfare_broker::{BrokerError, EventLog, IntakeQueue, Membership, SessionStore};
use fanfare_protocol::publish::Publication;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Position, SessionId};

use crate::fixture::{Fixture, Redis, channel, info, new, node, publication, publish, read};
use crate::intake::begin;
use crate::sessions::{claim, hold, user};

const TTL: Duration = Duration::from_secs(30);

fn assert_refused<T: std::fmt::Debug>(result: Result<T, BrokerError>) {
    let error = result.expect_err("a key of a wrong type");
    assert!(!error.is_passing() && error.to_string().contains("WRONGTYPE"), "{error}");
}

async fn keys(redis: &Redis) -> Vec<String> {
    let mut keys: Vec<String> = redis.server.get(&["KEYS", "*"]).await;
    keys.sort();
    keys
}

#[tokio::test]
async fn publishing_onto_a_key_of_another_type_changes_nothing() {
    let redis = new::<Redis>().await;
    for spoilt in ["fanfare:{a}:log", "fanfare:{a}:last", "fanfare:{a}:once:k"] {
        redis.server.get::<()>(&["FLUSHALL"]).await;
        redis.server.get::<()>(&["RPUSH", spoilt, "x"]).await;
        let keyed = Publication { key: Some("k".into()), ..publication("a", "1") };
        // The others of the batch are not affected.
        let mut answers =
            redis.broker.publish(vec![publication("b", "0"), keyed, publication("b", "1")]).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
        assert_refused(answers.remove(1));
        assert_eq!(keys(&redis).await, [spoilt, "fanfare:{b}:last", "fanfare:{b}:log"]);
    }
}

#[tokio::test]
async fn entries_for_a_key_of_another_type_are_refused_all_in_one_call() {
    let redis = new::<Redis>().await;
    let reading = begin(&redis.broker).await;
    for spoilt in ["fanfare:{a}:log", "fanfare:{a}:last"] {
        redis.server.get::<()>(&["RPUSH", spoilt, "x"]).await;
        let entries = chain((1..=3).map(|n| (Position::new(n, 0), publication("a", "1"))));
        for answer in redis.broker.publish_intake(&reading, entries).await {
            assert_refused(answer);
        }
        redis.server.get::<()>(&["DEL", spoilt]).await;
    }
    // A key of its own concerns its entry; the one behind it waits for the next call.
    redis.server.get::<()>(&["RPUSH", "fanfare:{a}:once:k", "x"]).await;
    let keyed = Publication { key: Some("k".into()), ..publication("a", "1") };
    let entries = chain([(Position::new(1, 0), keyed), (Position::new(2, 0), publication("a", "2"))]);
    let mut answers = redis.broker.publish_intake(&reading, entries).await;
    assert_eq!(answers.pop().unwrap(), Ok(IntakeOutcome::Blocked));
    assert_refused(answers.remove(0));
    assert_eq!(keys(&redis).await, ["fanfare:ingest", "fanfare:ingest:leader", "fanfare:{a}:once:k"]);
}

#[tokio::test]
async fn reading_a_key_of_another_type_is_refused() {
    let redis = new::<Redis>().await;
    redis.server.get::<()>(&["SET", "fanfare:{a}:log", "x"]).await;
    assert_refused(redis.broker.page(&channel("a"), Position::ZERO, PageLimit::entries(10)).await);
    for from in [StartAt::Latest, StartAt::Earliest, StartAt::Newest(1), StartAt::Time(Position::new(5, 0))] {
        assert_refused(redis.broker.locate(&channel("a"), from).await);
    }
    redis.server.get::<()>(&["RPUSH", "fanfare:{b}:last", "x"]).await;
    assert_refused(redis.broker.locate(&channel("b"), StartAt::Latest).await);
}

#[tokio::test]
async fn a_session_is_not_claimed_by_half() {
    let redis = new::<Redis>().await;
    let session = SessionId::random();
    for spoilt in ["fanfare:{user:u}:sessions", "fanfare:node:n1:sessions", "fanfare:lifecycle"] {
        redis.server.get::<()>(&["FLUSHALL"]).await;
        redis.server.get::<()>(&["SET", spoilt, "x"]).await;
        assert_refused(redis.broker.claim(&claim("u", session, "n1")).await);
        let holding = Holding { user: user("u"), session, epoch: 1, since: 1, client: "c".into() };
        assert_refused(redis.broker.renew(&node("n1"), &[holding]).await);
        let end = SessionEnd::new(CloseReason::Closed, Some(Duration::from_secs(12)));
        assert_refused(redis.broker.release(&node("n1"), &user("u"), session, 1, end).await);
        assert_eq!(keys(&redis).await, [spoilt]);
    }
    // The tip is not needed for a claim.
    redis.server.get::<()>(&["FLUSHALL"]).await;
    redis.server.get::<()>(&["RPUSH", "fanfare:{user:u}:last", "x"]).await;
    let claimed = redis.broker.claim(&claim("u", session, "n1")).await.unwrap();
    assert!(matches!(claimed, Claimed::Held { tip: None, .. }), "{claimed:?}");
    // The old owner's index is known to the script only.
    redis.server.get::<()>(&["FLUSHALL"]).await;
    let epoch = hold(&redis.broker, "u", session, "n1").await;
    redis.server.get::<()>(&["SET", "fanfare:node:n1:sessions", "x"]).await;
    assert_refused(redis.broker.claim(&claim("u", session, "n2")).await);
    assert_eq!(redis.broker.sessions(&user("u")).await.unwrap()[0].epoch, epoch);
}

#[tokio::test]
async fn leases_and_locks_of_another_type_are_refused() {
    let redis = new::<Redis>().await;
    for spoilt in
        ["fanfare:node:n1", "fanfare:nodes", "fanfare:node:n1:sessions", "fanfare:node:n1:incarnation"]
    {
        redis.server.get::<()>(&["FLUSHALL"]).await;
        redis.server.get::<()>(&["SET", "fanfare:node:n1:incarnation", "another"]).await;
        redis.server.get::<()>(&["DEL", spoilt]).await;
        redis.server.get::<()>(&["XADD", spoilt, "*", "x", "x"]).await;
        let before = keys(&redis).await;
        assert_refused(redis.broker.lease(&info("n1", "i"), TTL).await);
        assert_eq!(keys(&redis).await, before);
    }
    redis.server.get::<()>(&["FLUSHALL"]).await;
    for lock in ["fanfare:sweeper", "fanfare:ingest:leader"] {
        redis.server.get::<()>(&["RPUSH", lock, "x"]).await;
    }
    assert_refused(redis.broker.sweep(&node("n1"), TTL).await);
    assert_refused(redis.broker.lead_intake(&node("n1"), TTL).await);
}

#[tokio::test]
async fn an_intake_of_another_type_is_refused_and_loses_nothing() {
    let redis = new::<Redis>().await;
    redis.ingest(&[("colour", "red")]).await;
    redis.server.get::<()>(&["SET", "fanfare:ingest:dead", "x"]).await;
    let take = async |reading: &_| redis.broker.take_intake(reading, 10, Duration::ZERO).await;
    let reading = begin(&redis.broker).await;
    let entry = take(&reading).await.unwrap().pop().unwrap();
    let rejected = vec![Rejected { id: entry.id, reason: "why".into(), fields: entry.fields }];
    assert_refused(redis.broker.reject_intake(&reading, rejected).await);
    let reading = begin(&redis.broker).await;
    assert_eq!(take(&reading).await.unwrap().len(), 1, "it is still there");
    redis.server.get::<()>(&["SET", "fanfare:ingest", "x"]).await;
    assert_refused(take(&reading).await);
    assert_refused(redis.broker.read_intake(&node("n1")).await);
}

#[tokio::test]
async fn entries_that_are_no_events_are_left_out_and_counted() {
    let redis = new::<Redis>().await;
    let first = publish(&redis.broker, "a", "1").await;
    let log = "fanfare:{a}:log";
    for fields in [
        vec!["x", "y"],
        vec!["t", "", "d", "no previous"],
        vec!["t", "", "d", "bad previous", "p", "x"],
        vec!["t", "", "d", "previous not before", "p", "99999999999999-0"],
        vec!["t", "gap", "d", "reserved", "p", "1-0"],
        vec!["t", "a\nb", "d", "two lines", "p", "1-0"],
    ] {
        let mut command = vec!["XADD", log, "*"];
        command.extend(fields);
        redis.server.get::<String>(&command).await;
    }
    let wrong_bytes: [&[u8]; 9] = [b"XADD", log.as_bytes(), b"*", b"t", b"", b"d", b"\xff", b"p", b"1-0"];
    redis.server.ask::<String>(&wrong_bytes).await.unwrap();
    let last = publish(&redis.broker, "a", "2").await;

    let page = redis.broker.page(&channel("a"), Position::ZERO, PageLimit::entries(100)).await.unwrap();
    assert_eq!((page.entries.len(), page.malformed, page.next, page.end), (2, 7, last, true));
    assert_eq!(page.entries[1].previous, first, "the chain goes on");
    let none = redis.broker.page(&channel("a"), first, PageLimit::entries(3)).await.unwrap();
    assert_eq!((none.entries.len(), none.malformed, none.end), (0, 3, false));
    assert!(none.next > first && none.next < last, "and the reader goes on");
    redis.server.get::<()>(&["XTRIM", log, "MAXLEN", "=", "4"]).await;
    let earliest = redis.broker.locate(&channel("a"), StartAt::Earliest).await.unwrap();
    assert_eq!(read(&redis.broker, "a", earliest).await, ["2"]);
}

#[tokio::test]
async fn sessions_and_leases_that_cannot_be_read_are_left_out_and_replaced() {
    let redis = new::<Redis>().await;
    let session = SessionId::random();
    let hash = "fanfare:{user:u}:sessions";
    for value in
        ["x", "7", "null", "{}", "{\"node\":7,\"epoch\":1}", "{\"node\":\"a b\",\"epoch\":1,\"since\":1}"]
    {
        redis.server.get::<()>(&["HSET", hash, &session.to_string(), value, "not a session", "x"]).await;
        assert!(redis.broker.sessions(&user("u")).await.unwrap().is_empty(), "{value}");
        assert!(
            !redis
                .broker
                .release(&node("n1"), &user("u"), session, 1, CloseReason::Closed.into())
                .await
                .unwrap()
        );
        hold(&redis.broker, "u", session, "n1").await;
        assert_eq!(redis.broker.sessions(&user("u")).await.unwrap().len(), 1, "{value}");
    }
    for value in ["x", "7", "{}", "[]"] {
        redis.server.get::<()>(&["SET", "fanfare:node:n1", value]).await;
        redis.server.get::<()>(&["SADD", "fanfare:nodes", "n1", "no node"]).await;
        assert!(redis.broker.nodes().await.unwrap().is_empty(), "{value}");
        assert_eq!(redis.broker.lease(&info("n1", "i"), TTL).await.unwrap(), LeaseOutcome::Taken, "{value}");
    }
}

#[tokio::test]
async fn an_index_with_foreign_members_is_swept_clean() {
    let redis = new::<Redis>().await;
    redis.broker.lease(&info("n1", "i"), TTL).await.unwrap();
    hold(&redis.broker, "u", SessionId::random(), "n1").await;
    let random = SessionId::random().to_string();
    let gone = format!("{random} unknown");
    redis.server.get::<()>(&["SADD", "fanfare:node:n1:sessions", "x", "x y", &random, &gone]).await;
    redis.broker.leave(&info("n1", "i")).await.unwrap();
    redis.server.get::<()>(&["ZADD", "fanfare:leaving", "0", "no user"]).await;
    let swept = redis.broker.sweep(&node("n2"), TTL).await.unwrap();
    // `gone` is well-formed.
    assert_eq!((swept.sessions, swept.malformed), (1, 4));
    assert_eq!(keys(&redis).await, ["fanfare:lifecycle", "fanfare:sweeper"]);
}

#[tokio::test]
async fn nothing_is_left_of_sessions_that_ended() {
    let redis = new::<Redis>().await;
    let sessions: Vec<_> = (0..50).map(|_| SessionId::random()).collect();
    for (n, session) in sessions.iter().enumerate() {
        let of = format!("u{}", n / 2);
        let stale = hold(&redis.broker, &of, *session, "n1").await;
        let epoch = hold(&redis.broker, &of, *session, "n2").await;
        let release = async |by: &str, epoch| {
            redis
                .broker
                .release(&node(by), &user(&of), *session, epoch, CloseReason::Closed.into())
                .await
                .unwrap()
        };
        assert!(!release("n1", stale).await);
        assert!(release("n2", epoch).await);
    }
    assert_eq!(redis.broker.sweep(&node("n3"), TTL).await.unwrap().sessions, 0);
    assert_eq!(keys(&redis).await, ["fanfare:lifecycle", "fanfare:sweeper"]);
}
