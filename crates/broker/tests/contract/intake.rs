//! Contracts of the durable intake.

use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::intake::{IntakeEntry, Settlement, once_key};
use fanfare_broker::settings::INTAKE_SETTLED_ONCE;
use fanfare_broker::{Broker, BrokerSettings, RedisBroker, RedisSettings};
use fanfare_protocol::Position;
use fanfare_protocol::publish::Publication;

use crate::eventually;
use crate::fixture::{Fixture, Memory, Redis, channel, new, node, publication, read};

const NOT: Duration = Duration::ZERO;

async fn leave<F: Fixture>(fixture: &F, count: usize) -> Vec<Position> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(fixture.ingest(&[("channel", "a"), ("data", &n.to_string())]).await);
    }
    ids
}

async fn take(broker: &dyn Broker, again: bool, limit: usize) -> Vec<IntakeEntry> {
    broker.take_intake(again, limit, NOT).await.unwrap()
}

fn ids(entries: &[IntakeEntry]) -> Vec<Position> {
    entries.iter().map(|entry| entry.id).collect()
}

fn done(id: Position) -> Settlement {
    Settlement::Done { id, channel: channel("a") }
}

pub(crate) async fn entries_are_taken_once_and_in_order<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    assert!(take(broker, false, 10).await.is_empty());
    let left = leave(&fixture, 5).await;
    let first = take(broker, false, 3).await;
    assert_eq!(ids(&first), left[..3]);
    let field = |name: &'static str, value: &'static str| {
        (Bytes::from_static(name.as_bytes()), Bytes::from_static(value.as_bytes()))
    };
    assert_eq!(first[1].fields, [field("channel", "a"), field("data", "1")]);
    assert_eq!(ids(&take(broker, false, 10).await), left[3..]);
    assert!(take(broker, false, 10).await.is_empty());
    broker.settle_intake(left.iter().map(|id| done(*id)).collect()).await.unwrap();
    assert!(take(broker, true, 10).await.is_empty());
    broker.settle_intake(Vec::new()).await.unwrap();
}

pub(crate) async fn entries_left_before_anybody_asked_are_taken<F: Fixture>() {
    let fixture = new::<F>().await;
    fixture.wipe().await;
    let left = leave(&fixture, 2).await;
    let broker = fixture.broker();
    broker.prepare().await.unwrap();
    assert_eq!(ids(&take(broker, false, 10).await), left);
}

pub(crate) async fn what_is_not_settled_is_taken_again_by_whoever_asks<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let left = leave(&fixture, 6).await;
    assert_eq!(take(broker, false, 5).await.len(), 5);
    broker.settle_intake(vec![done(left[1])]).await.unwrap();
    let unsettled = [left[0], left[2], left[3], left[4]];
    assert_eq!(ids(&take(broker, true, 2).await), unsettled[..2], "the earliest first");
    assert_eq!(ids(&take(broker, true, 10).await), unsettled);
    broker.settle_intake(unsettled.iter().map(|id| done(*id)).collect()).await.unwrap();
    assert!(take(broker, true, 10).await.is_empty());
    assert_eq!(ids(&take(broker, false, 10).await), left[5..]);
}

pub(crate) async fn what_cannot_be_published_goes_to_the_dead_with_the_reason<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    fixture.ingest(&[("colour", "red"), ("colour", "blue")]).await;
    let entry = take(broker, false, 1).await.pop().unwrap();
    let id = entry.id.to_string();
    broker.settle_intake(vec![Settlement::Dead(entry, "no channel".into())]).await.unwrap();
    assert!(take(broker, true, 1).await.is_empty());
    let dead = fixture.dead().await;
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let wanted =
        [field("reason", "no channel"), field("entry", &id), field("colour", "red"), field("colour", "blue")];
    assert_eq!(dead, [wanted]);
}

pub(crate) async fn an_entry_published_twice_lands_once<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let id = leave(&fixture, 1).await[0];
    take(broker, false, 1).await;
    let publication = || Publication { key: Some(once_key(id)), ..publication("a", "0") };
    assert!(!broker.publish(vec![publication()]).await.pop().unwrap().unwrap().repeat);
    // The node dies here, and another takes the entry.
    assert_eq!(take(broker, true, 1).await.len(), 1);
    assert!(broker.publish(vec![publication()]).await.pop().unwrap().unwrap().repeat);
    broker.settle_intake(vec![done(id)]).await.unwrap();
    // The first was only paused.
    assert!(broker.publish(vec![publication()]).await.pop().unwrap().unwrap().repeat);
    assert_eq!(read(broker, "a", Position::ZERO).await, ["0"]);
}

pub(crate) async fn taking_waits_for_the_first_entry<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let late = async {
        // Whoever takes is asleep by then, or comes to find it.
        tokio::task::yield_now().await;
        fixture.ingest(&[("channel", "a"), ("data", "1")]).await
    };
    let wait = Duration::from_secs(15);
    let (taken, id) = tokio::join!(broker.take_intake(false, 10, wait), late);
    assert_eq!(ids(&taken.unwrap()), [id]);
}

pub(crate) async fn taking_does_not_wait_for_ever<F: Fixture>() {
    let fixture = new::<F>().await;
    let wait = Duration::from_millis(50);
    let taken = fixture.broker().take_intake(false, 10, wait).await.unwrap();
    assert!(taken.is_empty());
}

pub(crate) async fn one_node_leads_at_a_time<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let (short, long) = (Duration::from_millis(50), Duration::from_secs(30));
    let lead = async |by: &str, ttl| broker.lead_intake(&node(by), ttl).await.unwrap();
    assert!(lead("n1", short).await);
    eventually("the lock lapses", || async { lead("n2", long).await }).await;
    assert!(lead("n2", long).await);
    assert!(!lead("n1", long).await);
    broker.resign_intake(&node("n1")).await.unwrap();
    assert!(!lead("n1", long).await, "not n1's to give up");
    broker.resign_intake(&node("n2")).await.unwrap();
    assert!(lead("n1", long).await);
}

#[tokio::test(start_paused = true)]
async fn the_memory_twin_forgets_a_settled_entry_soon() {
    let memory = new::<Memory>().await;
    let id = leave(&memory, 1).await[0];
    let publication = || Publication { key: Some(once_key(id)), ..publication("a", "0") };
    let repeats = async || memory.broker().publish(vec![publication()]).await.pop().unwrap().unwrap().repeat;
    assert!(!repeats().await);
    tokio::time::advance(INTAKE_SETTLED_ONCE * 2).await;
    assert!(repeats().await);
    memory.broker().settle_intake(vec![done(id)]).await.unwrap();
    tokio::time::advance(INTAKE_SETTLED_ONCE / 2).await;
    assert!(repeats().await);
    tokio::time::advance(INTAKE_SETTLED_ONCE).await;
    assert!(!repeats().await);
}

#[tokio::test]
async fn redis_forgets_a_settled_entry_soon() {
    let redis = new::<Redis>().await;
    let id = leave(&redis, 1).await[0];
    let publication = Publication { key: Some(once_key(id)), ..publication("a", "0") };
    redis.broker().publish(vec![publication]).await.pop().unwrap().unwrap();
    let key = format!("fanfare:{{a}}:once:ingest:{id}");
    let ttl = async || Duration::from_millis(redis.server.run::<u64>(&["PTTL", &key]).await);
    assert!(ttl().await > INTAKE_SETTLED_ONCE * 2);
    redis.broker().settle_intake(vec![done(id)]).await.unwrap();
    let left = ttl().await;
    assert!(left <= INTAKE_SETTLED_ONCE && left > INTAKE_SETTLED_ONCE / 2, "{left:?}");
    assert_eq!(redis.server.run::<u64>(&["XLEN", "fanfare:ingest"]).await, 0);
}

#[tokio::test]
async fn of_two_processes_with_one_name_one_leads() {
    let redis = new::<Redis>().await;
    let settings = RedisSettings { url: redis.server.url(), ..RedisSettings::default() };
    let other = RedisBroker::connect(settings, BrokerSettings::default()).unwrap();
    let ttl = Duration::from_secs(30);
    assert!(redis.broker.lead_intake(&node("n"), ttl).await.unwrap());
    assert!(!other.lead_intake(&node("n"), ttl).await.unwrap(), "the lead is a process's, not a name's");
    other.resign_intake(&node("n")).await.unwrap();
    assert!(!other.lead_intake(&node("n"), ttl).await.unwrap());
    assert!(redis.broker.lead_intake(&node("n"), ttl).await.unwrap());
    redis.broker.resign_intake(&node("n")).await.unwrap();
    assert!(other.lead_intake(&node("n"), ttl).await.unwrap());
}
