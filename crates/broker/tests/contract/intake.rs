//! Contracts of the durable intake.

use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::dead_letter::Rejected;
use fanfare_broker::intake::{ChainedEntry, IntakeEntry, IntakeOutcome, Reading, chain};
use fanfare_broker::log::PageLimit;
use fanfare_broker::{
    Broker, BrokerError, BrokerSettings, EventLog, IntakeQueue, Membership, RedisBroker, RedisSettings,
    Retention, RetentionRules, SessionStore,
};
use fanfare_protocol::publish::{Publication, TimedPublication};
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Position, SessionId};
use fanfare_testkit::deadline::eventually;

use crate::fixture::{Fixture, LONG, Redis, channel, info, new, node, publication, publish, read};
use crate::sessions::{hold, user};

const NOT: Duration = Duration::ZERO;

async fn leave<F: Fixture>(fixture: &F, count: usize) -> Vec<Position> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(fixture.ingest(&[("channel", "a"), ("data", &n.to_string())]).await);
    }
    ids
}

/// Begins a reading as the node that leads.
pub(crate) async fn begin(broker: &dyn Broker) -> Reading {
    begin_as(broker, "n1").await
}

async fn begin_as(broker: &dyn Broker, id: &str) -> Reading {
    assert!(broker.lead_intake(&node(id), LONG).await.unwrap());
    broker.read_intake(&node(id)).await.unwrap().expect("it leads")
}

pub(crate) async fn take(broker: &dyn Broker, reading: &Reading, limit: usize) -> Vec<IntakeEntry> {
    broker.take_intake(reading, limit, NOT).await.unwrap()
}

/// An answer about a reading that is over.
#[track_caller]
fn assert_over<T: std::fmt::Debug>(answer: Result<T, BrokerError>) {
    assert!(answer.unwrap_err().is_passing());
}

fn ids(entries: &[IntakeEntry]) -> Vec<Position> {
    entries.iter().map(|entry| entry.id).collect()
}

async fn settle(broker: &dyn Broker, reading: &Reading, ids: &[Position]) {
    broker.settle_intake(reading, ids.to_vec()).await.unwrap();
}

async fn reject(broker: &dyn Broker, reading: &Reading, ids: &[Position]) -> Result<(), BrokerError> {
    let entries = ids.iter().map(|&id| IntakeEntry { id, fields: Vec::new() });
    reject_entries(broker, reading, entries.collect()).await
}

pub(crate) async fn reject_entries(
    broker: &dyn Broker,
    reading: &Reading,
    entries: Vec<IntakeEntry>,
) -> Result<(), BrokerError> {
    let rejected = |IntakeEntry { id, fields }| Rejected { id, reason: "for a reason".into(), fields };
    broker.reject_intake(reading, entries.into_iter().map(rejected).collect()).await
}

/// Returns an entry of the channel `a` whose data is its id.
fn entry(id: Position) -> (Position, Publication) {
    (id, publication("a", &id.to_string()))
}

fn keyed(id: Position, key: &str) -> (Position, Publication) {
    (id, Publication { key: Some(key.into()), ..entry(id).1 })
}

pub(crate) async fn put(
    broker: &dyn Broker,
    reading: &Reading,
    entries: Vec<ChainedEntry>,
) -> Vec<IntakeOutcome> {
    let results = broker.publish_intake(reading, entries).await;
    results.into_iter().map(Result::unwrap).collect()
}

/// Returns the ids of the entries in the log of `a`.
pub(crate) async fn log(broker: &dyn Broker) -> Vec<Position> {
    read(broker, "a", Position::ZERO).await.iter().map(|data| data.parse().unwrap()).collect()
}

fn id(seq: u64) -> Position {
    Position::new(7, seq)
}

fn chained(seqs: impl IntoIterator<Item = u64>) -> Vec<ChainedEntry> {
    chain(seqs.into_iter().map(|seq| entry(id(seq))))
}

// ---- reading the stream

pub(crate) async fn entries_are_taken_once_and_in_order<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let reading = begin(broker).await;
    assert!(take(broker, &reading, 10).await.is_empty());
    let left = leave(&fixture, 5).await;
    let first = take(broker, &reading, 3).await;
    assert_eq!(ids(&first), left[..3]);
    let field = |name: &'static str, value: &'static str| {
        (Bytes::from_static(name.as_bytes()), Bytes::from_static(value.as_bytes()))
    };
    assert_eq!(first[1].fields, [field("channel", "a"), field("data", "1")]);
    assert_eq!(ids(&take(broker, &reading, 10).await), left[3..]);
    assert!(take(broker, &reading, 10).await.is_empty());
    settle(broker, &reading, &left).await;
    settle(broker, &reading, &[]).await;
    assert!(take(broker, &begin(broker).await, 10).await.is_empty());
}

pub(crate) async fn entries_left_before_anybody_asked_are_taken<F: Fixture>() {
    let fixture = new::<F>().await;
    fixture.wipe().await;
    let left = leave(&fixture, 2).await;
    let broker = fixture.broker();
    assert_eq!(ids(&take(broker, &begin(broker).await, 10).await), left);
}

pub(crate) async fn what_is_not_settled_is_taken_again_in_its_place<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let left = leave(&fixture, 6).await;
    let former = begin(broker).await;
    assert_eq!(take(broker, &former, 5).await.len(), 5);
    settle(broker, &former, &left[1..2]).await;
    let unsettled = [left[0], left[2], left[3], left[4], left[5]];
    let reading = begin(broker).await;
    assert_eq!(ids(&take(broker, &reading, 2).await), unsettled[..2], "the earliest first");
    assert_eq!(ids(&take(broker, &reading, 10).await), unsettled[2..]);
    settle(broker, &reading, &unsettled).await;
    assert!(take(broker, &begin(broker).await, 10).await.is_empty());
}

pub(crate) async fn only_the_leader_reads_and_a_former_one_takes_nothing_away<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    assert_eq!(broker.read_intake(&node("n1")).await.unwrap(), None, "no node leads");
    let former = begin(broker).await;
    assert_eq!(broker.read_intake(&node("n2")).await.unwrap(), None, "n1 leads");
    broker.resign_intake(&node("n1")).await.unwrap();
    let reading = begin_as(broker, "n2").await;
    assert_eq!(reading.generation, former.generation);
    let left = leave(&fixture, 2).await;
    // A call of the former leader that was long on its way.
    assert_over(broker.take_intake(&former, 1, NOT).await);
    assert_over(broker.settle_intake(&former, left.clone()).await);
    assert_over(reject(broker, &former, &left).await);
    assert!(fixture.dead().await.is_empty());
    assert_eq!(ids(&take(broker, &reading, 10).await), left);
    settle(broker, &reading, &left).await;
    assert!(take(broker, &begin_as(broker, "n2").await, 10).await.is_empty());
}

pub(crate) async fn a_call_that_waits_ends_with_its_reading<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let wait = Duration::from_secs(15);
    let former = begin(broker).await;
    let next = async {
        fixture.a_reader_waits().await;
        begin(broker).await
    };
    let (taken, reading) = tokio::join!(broker.take_intake(&former, 1, wait), next);
    assert_over(taken);
    let deleted = async {
        fixture.a_reader_waits().await;
        fixture.delete_ingest().await;
    };
    let (taken, ()) = tokio::join!(broker.take_intake(&reading, 1, wait), deleted);
    assert_over(taken);
}

pub(crate) async fn what_cannot_be_published_goes_to_the_dead_with_the_reason<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    fixture.ingest(&[("colour", "red"), ("colour", "blue")]).await;
    let reading = begin(broker).await;
    let IntakeEntry { id, fields } = take(broker, &reading, 1).await.pop().unwrap();
    let rejected = vec![Rejected { id, reason: "no channel".into(), fields }];
    broker.reject_intake(&reading, rejected.clone()).await.unwrap();
    // The answer may have been lost.
    broker.reject_intake(&reading, rejected).await.unwrap();
    assert!(take(broker, &begin(broker).await, 1).await.is_empty());
    let dead = fixture.dead().await;
    let wanted = [
        field("reason", "no channel"),
        field("entry", &id.to_string()),
        field("colour", "red"),
        field("colour", "blue"),
    ];
    assert_eq!(dead, [wanted]);
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

pub(crate) async fn of_a_dead_entry_that_is_too_large_a_part_is_kept<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let most = BrokerSettings::default().max_data;
    // An event of the greatest size may be dead for another reason: it is kept whole.
    let whole = "x".repeat(most);
    let large = "y".repeat(1_000_000);
    let many: Vec<(String, String)> = (0..5000).map(|n| (format!("f{n}"), n.to_string())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let mut left = Vec::new();
    for fields in [&[("channel", "a"), ("data", &whole)], &[("data", &large), ("channel", "a")], &many[..]] {
        left.push(fixture.ingest(fields).await);
    }
    let reading = begin(broker).await;
    let taken = take(broker, &reading, 3).await;
    reject_entries(broker, &reading, taken).await.unwrap();
    let dead = fixture.dead().await;
    assert_eq!(dead[0][..2], [field("reason", "for a reason"), field("entry", &left[0].to_string())]);
    assert_eq!(dead[0][2..], [field("channel", "a"), field("data", &whole)]);
    for dead in &dead[1..] {
        assert_eq!(dead[0].1, "for a reason (the rest of the entry is truncated)");
    }
    assert_eq!(dead[1][2], field("data", &large[..most + 4096 - "data".len()]));
    assert_eq!((dead[2].len(), &dead[2][101]), (102, &field("f99", "99")));
    assert!(take(broker, &reading, 10).await.is_empty());
}

pub(crate) async fn taking_waits_for_the_first_entry<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let reading = begin(broker).await;
    let late = async {
        // By then the consumer either waits, or finds the entry.
        tokio::task::yield_now().await;
        fixture.ingest(&[("channel", "a"), ("data", "1")]).await
    };
    let wait = Duration::from_secs(15);
    let (taken, id) = tokio::join!(broker.take_intake(&reading, 10, wait), late);
    assert_eq!(ids(&taken.unwrap()), [id]);
}

pub(crate) async fn taking_does_not_wait_for_ever<F: Fixture>() {
    let fixture = new::<F>().await;
    let wait = Duration::from_millis(50);
    let reading = begin(fixture.broker()).await;
    let taken = fixture.broker().take_intake(&reading, 10, wait).await.unwrap();
    assert_eq!(taken, []);
}

// ---- publishing what was read

pub(crate) async fn entries_published_twice_land_once<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let first = begin(broker).await;
    assert_eq!(put(broker, &first, chained(1..=3)).await, [IntakeOutcome::Published; 3]);
    // The node dies here, and the next takes them again.
    let second = begin(broker).await;
    let (repeat, published) = (IntakeOutcome::Repeat, IntakeOutcome::Published);
    assert_eq!(put(broker, &second, chained(2..=4)).await, [repeat, repeat, published]);
    // The first was only paused.
    assert_eq!(put(broker, &first, chained(1..=3)).await, [repeat; 3]);
    assert_eq!(log(broker).await, [1, 2, 3, 4].map(id));
}

pub(crate) async fn ids_are_compared_as_numbers_of_any_length<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let reading = begin(broker).await;
    // Beyond 2^53 neighbours are equal to a double; as text, 10 comes before 9.
    let big = 1 << 60;
    let ascending = [
        Position::new(9, 9),
        Position::new(9, 10),
        Position::new(10, 0),
        Position::new(big, 9),
        Position::new(big, u64::MAX - 1),
        Position::new(big, u64::MAX),
        Position::new(big + 1, 0),
    ];
    for (n, newest) in ascending.into_iter().enumerate() {
        assert_eq!(
            put(broker, &reading, chain([entry(newest)])).await,
            [IntakeOutcome::Published],
            "{newest}"
        );
        for older in &ascending[..=n] {
            let again = put(broker, &reading, chain([entry(*older)])).await;
            assert_eq!(again, [IntakeOutcome::Repeat], "{older} after {newest}");
        }
        for missing in &ascending[n + 1..] {
            let later = Position::new(u64::MAX, 0);
            let blocked = ChainedEntry { after: Some(*missing), ..chain([entry(later)]).remove(0) };
            assert_eq!(
                put(broker, &reading, vec![blocked]).await,
                [IntakeOutcome::Blocked],
                "{missing} missing"
            );
        }
    }
    assert_eq!(log(broker).await, ascending);
}

pub(crate) async fn an_entry_is_held_up_by_the_one_before_it<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let reading = begin(broker).await;
    let all = chain((1..=4).map(|seq| entry(id(seq))).chain([(id(5), publication("b", "5"))]));
    assert_eq!(all.iter().map(|placed| placed.after).collect::<Vec<_>>(), {
        [None, Some(id(1)), Some(id(2)), Some(id(3)), None]
    });
    let (published, blocked, repeat) =
        (IntakeOutcome::Published, IntakeOutcome::Blocked, IntakeOutcome::Repeat);
    // The first did not reach the broker: a channel without a mark, then one with an older one.
    assert_eq!(put(broker, &reading, all[1..].to_vec()).await, [blocked, blocked, blocked, published]);
    assert_eq!(put(broker, &reading, all[..1].to_vec()).await, [published]);
    assert_eq!(put(broker, &reading, all[2..4].to_vec()).await, [blocked; 2]);
    assert_eq!(log(broker).await, [id(1)], "and none has passed another");
    // Again without the second, which is dead.
    assert_eq!(put(broker, &reading, chained([3, 4])).await, [published; 2]);
    assert_eq!(put(broker, &reading, all[..4].to_vec()).await, [repeat; 4]);
    assert_eq!(log(broker).await, [1, 3, 4].map(id));
}

/// What was published, and may be until 1970 or until a time far away.
fn timed((id, publication): (Position, Publication), is_late: bool) -> (Position, TimedPublication) {
    (id, TimedPublication { publication, until: Some(if is_late { 1 } else { 1 << 52 }) })
}

pub(crate) async fn an_entry_whose_time_is_over_is_dropped_and_the_chain_goes_on<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let reading = begin(broker).await;
    let (published, late) = (IntakeOutcome::Published, IntakeOutcome::Late);
    // In a channel without a log, and after others.
    let all = [(1, true), (2, false), (3, true), (4, true), (5, false)];
    let all = chain(all.map(|(seq, is_late)| timed(entry(id(seq)), is_late)));
    assert_eq!(put(broker, &reading, all[..1].to_vec()).await, [late]);
    assert_eq!(broker.locate(&channel("a"), StartAt::Latest).await.unwrap(), Position::ZERO);
    assert_eq!(put(broker, &reading, all[1..4].to_vec()).await, [published, late, late]);
    let last = broker.locate(&channel("a"), StartAt::Latest).await.unwrap();
    assert_eq!(put(broker, &reading, all[3..].to_vec()).await, [IntakeOutcome::Repeat, published]);
    assert_eq!(log(broker).await, [2, 5].map(id));
    let page = broker.page(&channel("a"), last, PageLimit::entries(9)).await.unwrap();
    assert_eq!(page.entries[0].previous, last, "what was dropped is no gap");
    // What was dropped has not used its key; what has used it is no longer late.
    let late_key = chain([timed(keyed(id(6), "k"), true), timed(keyed(id(7), "k"), false)]);
    assert_eq!(put(broker, &reading, late_key).await, [late, published]);
    let again = chain([timed(keyed(id(8), "k"), true)]);
    assert_eq!(put(broker, &reading, again).await, [IntakeOutcome::Repeat]);
}

pub(crate) async fn a_key_of_its_own_stores_an_entry_once_and_the_chain_goes_on<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let reading = begin(broker).await;
    let other = Publication { key: Some("k".into()), ..publication("a", "7-0") };
    broker.publish(vec![other]).await.pop().unwrap().unwrap();
    // The first two were brought before, by another way; the third is of the same key as the fourth.
    let all =
        chain([keyed(id(1), "k"), keyed(id(2), "k"), keyed(id(3), "l"), keyed(id(4), "l"), entry(id(5))]);
    let (published, repeat) = (IntakeOutcome::Published, IntakeOutcome::Repeat);
    assert_eq!(put(broker, &reading, all.clone()).await, [repeat, repeat, published, repeat, published]);
    assert_eq!(put(broker, &reading, all).await, [repeat; 5]);
    assert_eq!(log(broker).await, [Position::new(7, 0), id(3), id(5)]);
    // A key that is seen moves the mark and not the position.
    fixture.expire(&channel("a")).await;
    let last = broker.locate(&channel("a"), StartAt::Latest).await.unwrap();
    assert_eq!(put(broker, &reading, chain([keyed(id(6), "l")])).await, [repeat]);
    for from in [StartAt::Latest, StartAt::Earliest, StartAt::Newest(1)] {
        assert_eq!(broker.locate(&channel("a"), from).await.unwrap(), last, "{from:?}");
    }
    assert_eq!(put(broker, &reading, chained([6])).await, [repeat]);
}

pub(crate) async fn other_ways_in_leave_the_mark_as_it_is<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let reading = begin(broker).await;
    assert_eq!(put(broker, &reading, chained(1..=2)).await, [IntakeOutcome::Published; 2]);
    for data in ["8-0", "9-0"] {
        let at = publish(broker, "a", data).await;
        for from in [StartAt::Latest, StartAt::Newest(0), StartAt::Time(Position::new(u64::MAX, 0))] {
            assert_eq!(broker.locate(&channel("a"), from).await.unwrap(), at, "{from:?}");
        }
    }
    assert_eq!(put(broker, &reading, chained(1..=3)).await, {
        [IntakeOutcome::Repeat, IntakeOutcome::Repeat, IntakeOutcome::Published]
    });
    let whole = [id(1), id(2), Position::new(8, 0), Position::new(9, 0), id(3)];
    assert_eq!(log(broker).await, whole);
    let page = broker.page(&channel("a"), Position::ZERO, PageLimit::entries(10)).await.unwrap();
    let chain = page.entries.windows(2).all(|pair| pair[1].previous == pair[0].position);
    assert!(chain, "{page:?}");
}

pub(crate) async fn a_recreated_stream_begins_with_smaller_ids<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let fields = [("channel", "a"), ("data", "x")];
    let former = begin(broker).await;
    fixture.ingest_as(id(5), &fields).await;
    assert_eq!(ids(&take(broker, &former, 10).await), [id(5)]);
    assert_eq!(put(broker, &former, chained([5])).await, [IntakeOutcome::Published]);
    fixture.delete_ingest().await;
    assert_over(broker.settle_intake(&former, vec![id(5)]).await);
    fixture.ingest_as(id(3), &fields).await;
    fixture.ingest_as(id(5), &fields).await;
    assert_over(broker.take_intake(&former, 10, NOT).await);
    assert_over(broker.settle_intake(&former, vec![id(5)]).await);
    assert_over(reject(broker, &former, &[id(5)]).await);
    let reading = begin(broker).await;
    assert_ne!(reading.generation, former.generation);
    assert_eq!(ids(&take(broker, &reading, 10).await), [id(3), id(5)]);
    assert_eq!(
        put(broker, &reading, chained([3, 5])).await,
        [IntakeOutcome::Published; 2],
        "not silently lost"
    );
    assert_eq!(log(broker).await, [5, 3, 5].map(id));
    // What the former leader has in hand is not of this generation: twice is better than never.
    assert_eq!(put(broker, &former, chained([5])).await, [IntakeOutcome::Published]);
    assert_eq!(put(broker, &reading, chained([6])).await, [IntakeOutcome::Published]);
}

pub(crate) async fn a_stream_whose_ids_are_far_ahead_begins_again_when_it_is_empty<F: Fixture>() {
    const LAST: Position = Position::new(u64::MAX, u64::MAX);
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let fields = [("channel", "a"), ("data", "x")];
    let former = begin(broker).await;
    assert_eq!(broker.reset_intake(&former).await.unwrap(), None, "a new stream");
    let now = fixture.ingest(&fields).await;
    // A clock that was set back, or a publisher's own clock.
    let later = Position::new(now.ms + 60 * 60 * 1000, 0);
    fixture.ingest_as(later, &fields).await;
    settle(broker, &former, &[now, later]).await;
    assert_eq!(broker.reset_intake(&former).await.unwrap(), None, "an hour ahead");

    fixture.ingest_as(LAST, &fields).await;
    assert_eq!(ids(&take(broker, &former, 10).await), [LAST]);
    assert_eq!(broker.reset_intake(&former).await.unwrap(), None, "an entry is not acknowledged");
    assert_eq!(put(broker, &former, chain([entry(LAST)])).await, [IntakeOutcome::Published]);
    settle(broker, &former, &[LAST]).await;
    assert_eq!(broker.reset_intake(&former).await.unwrap(), Some(LAST));
    assert_over(broker.take_intake(&former, 10, NOT).await);
    assert_over(broker.reset_intake(&former).await);

    let next = fixture.ingest(&fields).await;
    assert!(next < later, "{next}");
    let reading = begin(broker).await;
    assert_ne!(reading.generation, former.generation);
    assert_eq!(ids(&take(broker, &reading, 10).await), [next]);
    assert_eq!(put(broker, &reading, chain([entry(next)])).await, [IntakeOutcome::Published], "no repeat");
    assert_eq!(log(broker).await, [LAST, next]);
}

// ---- leading

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

// ---- Redis

#[tokio::test]
async fn a_renamed_stream_keeps_its_generation() {
    let redis = new::<Redis>().await;
    let broker = &redis.broker;
    let first = begin(broker).await;
    redis.server.get::<()>(&["RENAME", "fanfare:ingest", "aside"]).await;
    assert_ne!(begin(broker).await.generation, first.generation);
    redis.server.get::<()>(&["RENAME", "aside", "fanfare:ingest"]).await;
    assert_eq!(begin(broker).await.generation, first.generation);
    let groups: Vec<redis::Value> = redis.server.get(&["XINFO", "GROUPS", "fanfare:ingest"]).await;
    assert_eq!(groups.len(), 1, "former readings leave nothing behind");
}

#[tokio::test]
async fn groups_of_others_are_left_alone() {
    let redis = new::<Redis>().await;
    begin(&redis.broker).await;
    redis.server.get::<()>(&["XGROUP", "CREATE", "fanfare:ingest", "audit", "0"]).await;
    begin(&redis.broker).await;
    let groups: Vec<redis::Value> = redis.server.get(&["XINFO", "GROUPS", "fanfare:ingest"]).await;
    assert_eq!(groups.len(), 2);
}

#[tokio::test]
async fn a_stream_that_begins_again_exists_throughout_with_the_groups_of_others() {
    let redis = new::<Redis>().await;
    let reading = begin(&redis.broker).await;
    redis.server.get::<()>(&["XGROUP", "CREATE", "fanfare:ingest", "audit", "0"]).await;
    // Entries that are trimmed away by the same command are never read.
    let last = format!("{0}-{0}", u64::MAX);
    redis.server.get::<String>(&["XADD", "fanfare:ingest", "MAXLEN", "0", &last, "data", "x"]).await;
    assert!(redis.broker.reset_intake(&reading).await.unwrap().is_some());
    let groups = async || -> Vec<String> {
        let groups: Vec<redis::Value> = redis.server.get(&["XINFO", "GROUPS", "fanfare:ingest"]).await;
        groups.iter().map(|group| format!("{group:?}")).collect()
    };
    let before = groups().await;
    assert!(before.len() == 2 && before.iter().any(|group| group.contains("audit")), "{before:?}");
    redis.server.get::<String>(&["XADD", "fanfare:ingest", "NOMKSTREAM", "*", "data", "x"]).await;
    begin(&redis.broker).await;
    assert_eq!(groups().await.len(), 2, "the group of the reset goes with the next reading");
}

#[tokio::test]
async fn as_many_entries_as_a_batch_may_have_are_settled() {
    let redis = new::<Redis>().await;
    let reading = begin(&redis.broker).await;
    let fill = "for i = 1, 10000 do redis.call('XADD', KEYS[1], '*', 'data', i) end";
    redis.server.get::<()>(&["EVAL", fill, "1", "fanfare:ingest"]).await;
    let taken = ids(&take(&redis.broker, &reading, 10_000).await);
    assert_eq!(taken.len(), 10_000);
    settle(&redis.broker, &reading, &taken[1..]).await;
    assert_eq!(ids(&take(&redis.broker, &begin(&redis.broker).await, 10).await), taken[..1]);
}

#[tokio::test]
async fn what_is_settled_leaves_nothing_behind() {
    let redis = new::<Redis>().await;
    let broker = &redis.broker;
    let reading = begin(broker).await;
    let left = leave(&redis, 3).await;
    take(broker, &reading, 3).await;
    put(broker, &reading, chain(left.iter().map(|id| entry(*id)))).await;
    settle(broker, &reading, &left).await;
    assert_eq!(redis.server.get::<u64>(&["XLEN", "fanfare:ingest"]).await, 0);
    let mut keys: Vec<String> = redis.server.get(&["KEYS", "fanfare:{a}:*"]).await;
    keys.sort();
    assert_eq!(keys, ["fanfare:{a}:last", "fanfare:{a}:log"], "no key for each entry");
    let last: String = redis.server.get(&["GET", "fanfare:{a}:last"]).await;
    let position = broker.locate(&channel("a"), StartAt::Latest).await.unwrap();
    assert_eq!(last, format!("{position} {} {}", reading.generation, left[2]), "as the contract says");
}

#[tokio::test]
async fn a_lost_last_position_lets_an_entry_come_twice_and_not_never() {
    let redis = new::<Redis>().await;
    let broker = &redis.broker;
    let reading = begin(broker).await;
    for lost in [
        ["DEL", "fanfare:{a}:last", ""],
        ["SET", "fanfare:{a}:last", "x"],
        ["SET", "fanfare:{a}:last", "x 1 2"],
    ] {
        put(broker, &reading, chained(1..=2)).await;
        let words: Vec<&str> = lost.into_iter().filter(|word| !word.is_empty()).collect();
        redis.server.get::<()>(&words).await;
        assert_eq!(put(broker, &reading, chained(2..=3)).await, [IntakeOutcome::Published; 2], "{lost:?}");
        redis.server.get::<()>(&["DEL", "fanfare:{a}:last"]).await;
    }
    // A repeated key renews the mark, and the last position with it.
    put(broker, &reading, chain([keyed(id(9), "k")])).await;
    let newest = broker.locate(&channel("a"), StartAt::Latest).await.unwrap();
    redis.server.get::<()>(&["DEL", "fanfare:{a}:last"]).await;
    assert_eq!(put(broker, &reading, chain([keyed(id(9), "k")])).await, [IntakeOutcome::Repeat]);
    assert_eq!(put(broker, &reading, chained([9])).await, [IntakeOutcome::Repeat]);
    assert_eq!(broker.locate(&channel("a"), StartAt::Latest).await.unwrap(), newest);
    // A position with something else behind it than a mark is a position.
    for behind in ["what is this".to_owned(), format!("{} it", reading.generation)] {
        let at = publish(broker, "a", "8-0").await;
        redis.server.get::<()>(&["SET", "fanfare:{a}:last", &format!("{at} {behind}")]).await;
        assert_eq!(broker.locate(&channel("a"), StartAt::Latest).await.unwrap(), at);
        assert_eq!(broker.locate(&channel("a"), StartAt::Newest(0)).await.unwrap(), at);
        assert_eq!(put(broker, &reading, chained([1])).await, [IntakeOutcome::Published], "{behind}");
        let page = broker.page(&channel("a"), at, PageLimit::entries(1)).await.unwrap();
        assert_eq!(page.entries[0].previous, at);
    }
}

#[tokio::test]
async fn the_mark_is_kept_for_as_long_as_a_key_even_where_positions_are_not() {
    let retention = Retention { positions: LONG, age: LONG, ..Retention::default() };
    let settings = BrokerSettings {
        retention: RetentionRules { default: retention, ..RetentionRules::default() },
        ..BrokerSettings::default()
    };
    let once = settings.idempotency_window;
    assert!(LONG < once / 2);
    let redis = Redis::with(settings).await;
    let reading = begin(&redis.broker).await;
    put(&redis.broker, &reading, chained([1])).await;
    let kept: u64 = redis.server.get(&["PTTL", "fanfare:{a}:last"]).await;
    assert!(Duration::from_millis(kept) > once / 2, "{kept} ms");
}

#[tokio::test]
async fn what_a_user_of_redis_may_not_do_is_not_the_fault_of_an_entry() {
    let redis = new::<Redis>().await;
    let reading = begin(&redis.broker).await;
    redis.server.get::<()>(&["ACL", "SETUSER", "default", "resetchannels"]).await;
    let refused = redis.broker.publish_intake(&reading, chained([1])).await.remove(0);
    assert!(refused.clone().unwrap_err().is_passing(), "{refused:?}");
    redis.server.get::<()>(&["ACL", "SETUSER", "default", "allchannels"]).await;
    assert_eq!(put(&redis.broker, &reading, chained([1])).await, [IntakeOutcome::Repeat], "it was stored");
    assert_eq!(log(&redis.broker).await, [id(1)]);
}

#[tokio::test]
async fn a_leader_can_free_memory_where_there_is_none() {
    let redis = new::<Redis>().await;
    let broker = &redis.broker;
    let reading = begin(broker).await;
    let left = leave(&redis, 4).await;
    put(broker, &reading, chain(left[..2].iter().map(|id| entry(*id)))).await;
    redis.server.get::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    redis.server.get::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let full = broker.publish_intake(&reading, chain([entry(left[2])])).await.remove(0);
    assert!(full.unwrap_err().is_passing());
    settle(broker, &reading, &left[..1]).await;
    let again = begin(broker).await;
    assert_eq!(ids(&take(broker, &again, 10).await), left[1..]);
    settle(broker, &again, &left[1..2]).await;
    reject(broker, &again, &left[2..3]).await.unwrap();
    broker.resign_intake(&node("n1")).await.unwrap();
    assert_eq!(ids(&take(broker, &begin_as(broker, "n2").await, 10).await), left[3..]);
    assert_eq!(redis.dead().await.len(), 1);
}

#[tokio::test]
async fn no_node_is_swept_where_memory_is_short() {
    let redis = new::<Redis>().await;
    let broker = &redis.broker;
    broker.lease(&info("n1", "i"), LONG).await.unwrap();
    hold(broker, "u", SessionId::random(), "n1").await;
    redis.server.get::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    redis.server.get::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    // It lives, and cannot say so.
    redis.lapse(&node("n1")).await;
    assert!(broker.lease(&info("n1", "i"), LONG).await.unwrap_err().is_passing());
    assert!(broker.sweep(&node("n2"), LONG).await.unwrap_err().is_passing());
    assert_eq!(broker.sessions(&user("u")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_stranger_leaves_the_mark_as_it_is() {
    let redis = new::<Redis>().await;
    let broker = &redis.broker;
    let reading = begin(broker).await;
    put(broker, &reading, chained([1])).await;
    let call = ["FCALL", "fanfare_publish", "1", "fanfare:{a}:log", "t", "8-0"];
    redis.server.get::<(String, u8)>(&call).await;
    assert_eq!(
        put(broker, &reading, chained(1..=2)).await,
        [IntakeOutcome::Repeat, IntakeOutcome::Published]
    );
    assert_eq!(log(broker).await, [id(1), Position::new(8, 0), id(2)]);
}

/// Redis fails in the middle of pipelines and recovers in them, again and again: it runs out of memory whenever
/// another connection says so.
#[tokio::test]
async fn a_redis_that_fails_in_the_middle_of_a_call_neither_reorders_nor_loses() {
    const ALL: u64 = 30_000;
    const BATCH: u64 = 1_000;
    let redis = new::<Redis>().await;
    let broker = &redis.broker;
    redis.server.get::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let reading = begin(broker).await;
    let (mut blocked, mut failed) = (0, 0);
    let work = async {
        for from in (0..ALL).step_by(usize::try_from(BATCH).unwrap()) {
            let mut left: Vec<u64> = (from..from + BATCH).collect();
            while !left.is_empty() {
                let entries = chain(left.iter().map(|n| (id(*n), publication("a", &n.to_string()))));
                let results = broker.publish_intake(&reading, entries).await;
                let mut again = Vec::new();
                for (n, result) in left.into_iter().zip(results) {
                    match result {
                        Ok(IntakeOutcome::Blocked) => blocked += 1,
                        Ok(_) => continue,
                        Err(error) => {
                            assert!(error.is_passing(), "{error}");
                            failed += 1;
                        }
                    }
                    again.push(n);
                }
                left = again;
            }
        }
    };
    let trouble = async {
        loop {
            redis.server.get::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
            redis.server.get::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = trouble => {}
    }
    redis.server.get::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(failed > 0 && blocked > 0, "{failed} failed, {blocked} were held up");
    let mut after = Position::ZERO;
    let mut kept: Vec<u64> = Vec::new();
    loop {
        let page = broker.page(&channel("a"), after, PageLimit::entries(1000)).await.unwrap();
        kept.extend(page.entries.iter().map(|entry| entry.event.data().parse::<u64>().unwrap()));
        after = page.next;
        if page.end {
            break;
        }
    }
    let newest = usize::try_from(ALL).unwrap() - kept.len();
    assert_eq!(kept, (newest as u64..ALL).collect::<Vec<_>>(), "in order, each once");
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
