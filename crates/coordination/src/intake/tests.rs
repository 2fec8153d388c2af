//! The intake over a broker that fails by script, in virtual time.

use bytes::Bytes;
use fanfare_broker::log::PageLimit;
use fanfare_broker::testing::{Call, Fault, FaultyBroker, settle_tasks, until};
use fanfare_broker::{EventLog, IntakeQueue};
use fanfare_protocol::publish::Publication;
use fanfare_protocol::{Channel, Position, User};
use prometheus_client::registry::Registry;

use std::time::Duration;

use tokio::time::Instant;

use super::*;

const LEASE: Duration = Duration::from_secs(3);
/// How many entries are taken at once.
const BATCH: usize = 10;

fn start(broker: &FaultyBroker, node: &str) -> (Intake, Arc<ClusterMetrics>) {
    start_with(broker, node, 100)
}

fn start_with(broker: &FaultyBroker, node: &str, max_data: usize) -> (Intake, Arc<ClusterMetrics>) {
    start_with_batches(broker, node, max_data, BATCH)
}

fn start_with_batches(
    broker: &FaultyBroker,
    node: &str,
    max_data: usize,
    batch: usize,
) -> (Intake, Arc<ClusterMetrics>) {
    let metrics = Arc::new(ClusterMetrics::register(&mut Registry::default()));
    let config = IntakeConfig { batch, lease: LEASE, ..IntakeConfig::default() };
    let settings =
        IntakeSettings { node: NodeId::new(node).unwrap(), config, max_data, tracer: Tracer::default() };
    (Intake::start(broker.shared(), settings, Arc::clone(&metrics)), metrics)
}

fn channel(name: &str) -> Channel {
    Channel::new(name).unwrap()
}

fn fields(pairs: &[(&str, &str)]) -> Vec<(Bytes, Bytes)> {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    pairs.iter().map(|(name, value)| (bytes(name), bytes(value))).collect()
}

fn ingest(broker: &FaultyBroker, channel: &str, data: &str) -> Position {
    broker.inner.ingest(fields(&[("channel", channel), ("type", "t"), ("data", data)]))
}

/// Returns the data of a channel's log, in order.
async fn log(broker: &FaultyBroker, name: &str) -> Vec<String> {
    let page = broker.inner.page(&channel(name), Position::ZERO, PageLimit::entries(10_000)).await.unwrap();
    page.entries.iter().map(|entry| entry.event.data().to_owned()).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn away() -> BrokerError {
    BrokerError::Unavailable("by script".into())
}

#[tokio::test(start_paused = true)]
async fn entries_are_published_in_order_and_acknowledged() {
    let broker = FaultyBroker::new();
    for n in 0..95 {
        ingest(&broker, ["a", "b"][n % 2], &n.to_string());
    }
    let (intake, metrics) = start(&broker, "n1");
    until("all are done", || metrics.intake_done.get() == 95).await;
    // Afterwards as they come.
    ingest(&broker, "a", "last");
    until("the last is done", || metrics.intake_done.get() == 96).await;
    intake.shutdown().await;
    let even: Vec<_> = (0..95).step_by(2).map(|n| n.to_string()).chain(["last".to_owned()]).collect();
    let odd: Vec<_> = (1..95).step_by(2).map(|n| n.to_string()).collect();
    assert_eq!((log(&broker, "a").await, log(&broker, "b").await), (even, odd));
    assert_eq!(broker.inner.unsettled(), 0);
    assert_eq!((metrics.intake_repeat.get(), metrics.intake_leader.get()), (0, 0));
    assert_eq!(broker.calls(Call::Publish), 13);
}

#[tokio::test(start_paused = true)]
async fn an_entry_with_an_idempotency_key_is_stored_once() {
    let broker = FaultyBroker::new();
    for data in ["1", "2"] {
        broker.inner.ingest(fields(&[("channel", "a"), ("data", data), ("key", "k")]));
    }
    let (intake, metrics) = start(&broker, "n1");
    until("both are done", || metrics.intake_done.get() == 2).await;
    intake.shutdown().await;
    assert_eq!((log(&broker, "a").await, metrics.intake_repeat.get()), (vec!["1".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_time_is_over_is_dropped_and_counted() {
    let broker = FaultyBroker::new();
    for (data, until) in [("1", "1"), ("2", "18446744073709551615"), ("3", "0")] {
        broker.inner.ingest(fields(&[("channel", "a"), ("data", data), ("until", until)]));
    }
    let (intake, metrics) = start(&broker, "n1");
    until("all are handled", || metrics.intake_done.get() + metrics.intake_late.get() == 3).await;
    intake.shutdown().await;
    assert_eq!((log(&broker, "a").await, metrics.intake_late.get()), (vec!["2".to_owned()], 2));
    assert_eq!((broker.inner.unsettled(), broker.inner.dead().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn malformed_entries_are_dead_letters_with_a_reason_and_the_rest_continue() {
    let broker = FaultyBroker::new();
    let long = "x".repeat(101);
    let bad: [(&[(&str, &str)], &str); 11] = [
        (&[("data", "1")], "channel"),
        (&[("channel", "a")], "data"),
        (&[("channel", "a b"), ("data", "1")], "' '"),
        (&[("channel", ""), ("data", "1")], "empty"),
        (&[("channel", "a"), ("data", &long)], "101 bytes"),
        (&[("channel", "a"), ("data", "1"), ("type", "x\ny")], "LF"),
        (&[("channel", "a"), ("data", "1"), ("type", "gap")], "reserved"),
        (&[("channel", "a"), ("data", "1"), ("colour", "2")], "colour"),
        (&[("channel", "a"), ("data", "1"), ("data", "2")], "data"),
        (&[("channel", "a"), ("data", "1"), ("key", "")], "key"),
        (&[], "channel"),
    ];
    for (n, (pairs, _)) in bad.iter().enumerate() {
        ingest(&broker, "a", &n.to_string());
        broker.inner.ingest(fields(pairs));
    }
    broker.inner.ingest(vec![
        ("channel".into(), Bytes::from_static(b"a")),
        ("data".into(), Bytes::from_static(b"\xff")),
    ]);
    let (intake, metrics) = start(&broker, "n1");
    until("all are handled", || metrics.intake_done.get() + metrics.intake_dead.get() == 23).await;
    intake.shutdown().await;
    assert_eq!(log(&broker, "a").await, numbers(0..11));
    let dead = broker.inner.dead();
    assert_eq!(dead.len(), 12);
    let words = bad.iter().map(|(_, word)| *word).chain(["UTF-8"]);
    for ((_, fields), word) in dead.iter().zip(words) {
        assert_eq!(fields[0].0, "reason");
        assert!(fields[0].1.contains(word), "{word}: {fields:?}");
    }
    assert_eq!(broker.inner.unsettled(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_the_broker_refuses_is_a_dead_letter_and_the_rest_continue() {
    let broker = FaultyBroker::new();
    broker.fail_items(|publication| {
        (publication.channel.as_str() == "wrong").then(|| BrokerError::Refused("another type".into()))
    });
    for (channel, data) in [("a", "1"), ("wrong", "2"), ("a", "3")] {
        ingest(&broker, channel, data);
    }
    let (intake, metrics) = start(&broker, "n1");
    until("all are handled", || metrics.intake_done.get() + metrics.intake_dead.get() == 3).await;
    intake.shutdown().await;
    assert_eq!(log(&broker, "a").await, ["1", "3"]);
    assert_eq!(broker.inner.dead()[0].1[0].1, "refused by Redis: another type");
}

// ---- leaders that go

#[tokio::test(start_paused = true)]
async fn no_entry_overtakes_one_that_only_the_next_leader_can_publish() {
    let long = "x".repeat(101);
    for (name, data) in [("wrong", "1"), ("a", &long)] {
        let broker = FaultyBroker::new();
        broker.fail_items(|publication| {
            (publication.event.data() == "1").then(|| BrokerError::Refused("another type".into()))
        });
        ingest(&broker, name, "0");
        ingest(&broker, name, data);
        ingest(&broker, name, "2");
        broker.always(Call::Reject, Fault::Hung);
        let (first, _) = start(&broker, "n1");
        until("it finds the entry dead", || broker.calls(Call::Reject) == 1).await;
        first.task.abort();
        // This leader has another limit, and the channel was repaired.
        broker.heal();
        let (second, _) = start_with(&broker, "n2", 1000);
        until("all are done", || broker.inner.unsettled() == 0).await;
        second.shutdown().await;
        assert_eq!(log(&broker, name).await, ["0", data, "2"]);
        assert!(broker.inner.dead().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn entries_of_a_leader_killed_before_the_acknowledgement_are_published_once() {
    let broker = FaultyBroker::new();
    for n in 0..10 {
        ingest(&broker, "a", &n.to_string());
    }
    broker.next(Call::Settle, [Fault::Hung]);
    let (first, first_metrics) = start(&broker, "n1");
    until("it is about to acknowledge", || broker.calls(Call::Settle) == 1).await;
    assert_eq!((log(&broker, "a").await, first_metrics.intake_done.get()), (numbers(0..3), 3));
    // As with kill -9: no other node is notified.
    first.task.abort();
    ingest(&broker, "a", "10");
    let (second, metrics) = start(&broker, "n2");
    until("the next leader is done", || metrics.intake_done.get() == 11).await;
    second.shutdown().await;
    assert_eq!(log(&broker, "a").await, numbers(0..11));
    assert_eq!((metrics.intake_repeat.get(), broker.inner.unsettled()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn no_entry_is_lost_repeated_or_reordered_if_the_leader_is_killed_at_any_call() {
    for (call, fault) in [
        (Call::Take, Fault::Hung),
        (Call::Take, Fault::LateReply(LEASE * 10)),
        (Call::Publish, Fault::Hung),
        (Call::Publish, Fault::LateReply(LEASE * 10)),
        (Call::Settle, Fault::Hung),
        (Call::Settle, Fault::LateReply(LEASE * 10)),
    ] {
        for nth in 1..6 {
            let broker = FaultyBroker::new();
            for n in 0..35 {
                ingest(&broker, "a", &n.to_string());
            }
            broker.next(call, vec![Fault::Fine; nth - 1].into_iter().chain([fault]));
            let (first, _) = start(&broker, "n1");
            let begun = Instant::now();
            until("it hangs", || broker.calls(call) == nth || begun.elapsed() > LEASE * 2).await;
            first.task.abort();
            broker.heal();
            let (second, _) = start(&broker, "n2");
            ingest(&broker, "a", "35");
            tokio::time::sleep(LEASE * 4).await;
            assert_eq!(log(&broker, "a").await, numbers(0..36), "{call:?} {fault:?} {nth}");
            second.shutdown().await;
            assert_eq!(broker.inner.unsettled(), 0, "{call:?} {fault:?} {nth}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_node_leads_at_once_when_the_leader_shuts_down() {
    let broker = FaultyBroker::new();
    let (first, first_metrics) = start(&broker, "n1");
    until("the first leads", || first_metrics.intake_leader.get() == 1).await;
    let (second, second_metrics) = start(&broker, "n2");
    for n in 0..200 {
        ingest(&broker, "a", &n.to_string());
        tokio::time::sleep(LEASE / 10).await;
    }
    assert_eq!((first_metrics.intake_done.get(), second_metrics.intake_done.get()), (200, 0));
    let begun = Instant::now();
    first.shutdown().await;
    assert!(begun.elapsed() <= Duration::from_secs(1), "{:?}", begun.elapsed());
    ingest(&broker, "a", "200");
    let begun = Instant::now();
    until("the second takes over", || second_metrics.intake_done.get() == 1).await;
    assert!(begun.elapsed() <= LEASE / 2, "{:?}", begun.elapsed());
    second.shutdown().await;
    assert_eq!(log(&broker, "a").await, numbers(0..201));
}

#[tokio::test(start_paused = true)]
async fn a_leader_stops_within_a_batch_when_it_loses_the_leadership() {
    let broker = FaultyBroker::new();
    for n in 0..10 {
        ingest(&broker, "a", &n.to_string());
    }
    broker.next(Call::Publish, [Fault::LateReply(LEASE * 2)]);
    let (first, metrics) = start(&broker, "n1");
    until("it publishes", || broker.calls(Call::Publish) == 1).await;
    // It cannot renew, and the leadership expires by its clock before the reply arrives.
    broker.always(Call::Lead, Fault::Unavailable);
    until("it has let go", || metrics.intake_lead_lost.get() == 1).await;
    assert_eq!((broker.calls(Call::Settle), metrics.intake_done.get()), (0, 0));
    broker.heal();
    until("it is done later", || metrics.intake_done.get() == 10).await;
    first.shutdown().await;
    assert_eq!((log(&broker, "a").await, metrics.intake_repeat.get()), (numbers(0..10), 1));
}

#[tokio::test(start_paused = true)]
async fn the_leadership_is_renewed_while_a_slow_broker_publishes() {
    let broker = FaultyBroker::new();
    ingest(&broker, "a", "0");
    broker.next(Call::Publish, [Fault::Late(LEASE * 5)]);
    let (first, metrics) = start(&broker, "n1");
    let (second, second_metrics) = start(&broker, "n2");
    until("it is done", || metrics.intake_done.get() + second_metrics.intake_done.get() == 1).await;
    first.shutdown().await;
    second.shutdown().await;
    assert_eq!(metrics.intake_lead_lost.get() + second_metrics.intake_lead_lost.get(), 0);
    assert_eq!(log(&broker, "a").await, ["0"]);
}

#[tokio::test(start_paused = true)]
async fn a_paused_process_does_not_use_a_leadership_that_may_have_expired() {
    let broker = FaultyBroker::new();
    let node = NodeId::new("n1").unwrap();
    let metrics = Arc::new(ClusterMetrics::register(&mut Registry::default()));
    let queue: Arc<dyn IntakeQueue> = broker.shared();
    let lead = Leadership::acquire(&queue, &node, LEASE, &metrics).await.unwrap();
    let lead = lead.unwrap();
    assert_eq!(lead.during(async { 7 }).await, Ok(7));
    tokio::time::advance(LEASE).await;
    let mut done = false;
    let late = lead.during(async { done = true }).await;
    assert_eq!((late, done, broker.calls(Call::Lead)), (Err(LeadershipLost), false, 1));
    assert_eq!(lead.check(), Err(LeadershipLost));
}

// ---- a broker that fails

#[tokio::test(start_paused = true)]
async fn calls_that_fail_or_lose_their_replies_are_retried() {
    let broker = FaultyBroker::new();
    for n in 0..50 {
        ingest(&broker, "a", &n.to_string());
    }
    let (away, fine, reply_lost) = (Fault::Unavailable, Fault::Fine, Fault::ReplyLost);
    broker.next(Call::Lead, [away, fine]);
    broker.next(Call::Take, [away, reply_lost, fine, reply_lost, fine, fine, reply_lost]);
    broker.next(Call::Publish, [away, reply_lost, fine, reply_lost]);
    broker.next(Call::Settle, [away, reply_lost, fine, reply_lost]);
    let (intake, metrics) = start(&broker, "n1");
    until("all are done", || metrics.intake_done.get() >= 50).await;
    settle_tasks().await;
    intake.shutdown().await;
    assert_eq!(log(&broker, "a").await, numbers(0..50));
    assert_eq!(broker.inner.unsettled(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_broker_loses_no_entry() {
    let broker = FaultyBroker::new();
    let (intake, metrics) = start(&broker, "n1");
    for round in 0..5 {
        for n in 0..20 {
            ingest(&broker, "a", &(round * 20 + n).to_string());
        }
        settle_tasks().await;
        broker.down(true);
        tokio::time::sleep(LEASE * 3).await;
        broker.down(false);
    }
    until("all are done", || metrics.intake_done.get() >= 100).await;
    intake.shutdown().await;
    assert_eq!(log(&broker, "a").await, numbers(0..100));
    assert_eq!(broker.inner.unsettled(), 0);
}

#[tokio::test(start_paused = true)]
async fn while_entries_fail_one_by_one_their_channel_keeps_its_order() {
    for seed in 0..20 {
        let broker = FaultyBroker::new();
        for n in 0..30 {
            ingest(&broker, ["a", "b", "c"][n % 3], &n.to_string());
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let mut calls = 0;
        broker.fail_items(move |_| {
            calls += 1;
            (calls < 200 && random.bool()).then(away)
        });
        let (intake, metrics) = start(&broker, "n1");
        until("all are done", || metrics.intake_done.get() == 30).await;
        intake.shutdown().await;
        assert!(metrics.intake_retried.get() > 10);
        for (remainder, name) in ["a", "b", "c"].into_iter().enumerate() {
            let expected: Vec<_> = (remainder..30).step_by(3).map(|n| n.to_string()).collect();
            assert_eq!(log(&broker, name).await, expected, "seed {seed}");
        }
        assert_eq!((broker.inner.unsettled(), metrics.intake_repeat.get()), (0, 0), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_behind_one_that_failed_waits_for_it() {
    let broker = FaultyBroker::new();
    let mut failed = false;
    broker.fail_items(move |publication: &Publication| {
        (publication.event.data() == "1" && !std::mem::replace(&mut failed, true)).then(away)
    });
    // The first entry is a separate batch.
    for (channel, data) in [("b", "0"), ("a", "1"), ("a", "2")] {
        ingest(&broker, channel, data);
    }
    let (intake, metrics) = start(&broker, "n1");
    until("all are done", || metrics.intake_done.get() == 3).await;
    intake.shutdown().await;
    assert_eq!(log(&broker, "a").await, ["1", "2"]);
    assert_eq!((metrics.intake_retried.get(), broker.batches()), (2, vec![1, 2, 1, 1]));
}

#[tokio::test(start_paused = true)]
async fn an_entry_behind_a_dead_one_does_not_wait() {
    let broker = FaultyBroker::new();
    broker.fail_items(|publication| {
        let dead = publication.event.data() == "1";
        dead.then(|| BrokerError::Refused("for good".into()))
    });
    for data in ["0", "1", "2", "3"] {
        ingest(&broker, "a", data);
    }
    let begun = Instant::now();
    let (intake, metrics) = start(&broker, "n1");
    until("all are handled", || metrics.intake_done.get() + metrics.intake_dead.get() == 4).await;
    // Nothing failed for now, so there is nothing to wait for.
    assert!(begun.elapsed() < Duration::from_millis(10), "{:?}", begun.elapsed());
    intake.shutdown().await;
    assert_eq!(
        (log(&broker, "a").await, broker.batches()),
        (vec!["0".into(), "2".into(), "3".into()], vec![1, 2, 1, 1])
    );
}

#[tokio::test(start_paused = true)]
async fn a_fetch_whose_reply_is_lost_loses_no_entry() {
    let broker = FaultyBroker::new();
    for n in 0..25 {
        ingest(&broker, "a", &n.to_string());
    }
    // No node processes the second entry while the first is published.
    broker.next(Call::Take, [Fault::Fine, Fault::ReplyLost]);
    let (intake, metrics) = start(&broker, "n1");
    until("all are done", || metrics.intake_done.get() == 25).await;
    intake.shutdown().await;
    assert_eq!((log(&broker, "a").await, broker.inner.unsettled()), (numbers(0..25), 0));
    assert_eq!((broker.calls(Call::Read), metrics.intake_repeat.get()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_reading_begins_with_one_entry_and_doubles() {
    let broker = FaultyBroker::new();
    for n in 0..40 {
        ingest(&broker, "a", &n.to_string());
    }
    // They may be too large together to arrive in time.
    let fine = Fault::Fine;
    broker.next(Call::Publish, [fine, fine, fine, Fault::Unavailable]);
    let (intake, metrics) = start(&broker, "n1");
    until("all are done", || metrics.intake_done.get() == 40).await;
    intake.shutdown().await;
    assert_eq!(broker.batches(), [1, 2, 4, 8, 1, 2, 4, 8, 10, 8]);
}

#[tokio::test(start_paused = true)]
async fn published_entries_are_acknowledged_later_without_new_entries() {
    let broker = FaultyBroker::new();
    broker.next(Call::Settle, [Fault::LateError(Duration::from_millis(10)), Fault::Unavailable]);
    ingest(&broker, "a", "0");
    let begun = Instant::now();
    let (intake, metrics) = start(&broker, "n1");
    until("the entries are acknowledged", || broker.inner.unsettled() == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!((broker.calls(Call::Read), metrics.intake_acknowledge_failed.get()), (3, 2));
    intake.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_blocked_entry_shows_as_lag() {
    let broker = FaultyBroker::new();
    broker.always(Call::Publish, Fault::Unavailable);
    broker.inner.ingest_as(Position::new(7, 0), fields(&[("channel", "a"), ("data", "0")]));
    let (intake, metrics) = start(&broker, "n1");
    for _ in 0..3 {
        until("the lag is reported", || metrics.intake_lag.get() > 1.0).await;
        metrics.intake_lag.set(0.0);
    }
    broker.heal();
    until("it is done", || metrics.intake_done.get() == 1).await;
    until("the lag is over", || metrics.intake_lag.get() == 0.0).await;
    intake.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_deleted_and_created_again_is_read() {
    let broker = FaultyBroker::new();
    let (intake, metrics) = start(&broker, "n1");
    let entry = |n: &str| fields(&[("channel", "a"), ("data", n)]);
    broker.inner.ingest_as(Position::new(9, 0), entry("0"));
    until("the first is done", || metrics.intake_done.get() == 1).await;
    broker.inner.delete_ingest();
    broker.inner.ingest_as(Position::new(5, 0), entry("1"));
    until("the next is done", || metrics.intake_done.get() == 2).await;
    intake.shutdown().await;
    assert_eq!((log(&broker, "a").await, metrics.intake_repeat.get()), (numbers(0..2), 0));
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_the_greatest_id_is_replaced_and_the_next_entries_are_published() {
    let broker = FaultyBroker::new();
    let (intake, metrics) = start(&broker, "n1");
    let last = Position::new(u64::MAX, u64::MAX);
    let good = fields(&[("channel", "a"), ("data", "0")]);
    let malformed = fields(&[("channel", "a")]);
    let replaced = async |resets| {
        until("the stream is replaced", || metrics.intake_resets.get() == resets).await;
    };
    broker.inner.ingest_as(last, good);
    let begun = Instant::now();
    replaced(1).await;
    assert!(begun.elapsed() < Duration::from_millis(10), "as soon as it is empty: {:?}", begun.elapsed());
    ingest(&broker, "a", "1");
    until("the next entry is done", || metrics.intake_done.get() == 2).await;
    broker.inner.ingest_as(last, malformed);
    replaced(2).await;
    ingest(&broker, "a", "2");
    until("the last entry is done", || metrics.intake_done.get() == 3).await;
    intake.shutdown().await;
    assert_eq!(log(&broker, "a").await, numbers(0..3));
    assert_eq!((metrics.intake_dead.get(), metrics.intake_repeat.get()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_ids_are_ahead_is_read_until_it_is_empty() {
    let broker = FaultyBroker::new();
    for n in 0..95 {
        let id = Position::new(u64::MAX, n);
        broker.inner.ingest_as(id, fields(&[("channel", "a"), ("data", &n.to_string())]));
    }
    broker.next(Call::Reset, [Fault::Unavailable, Fault::ReplyLost]);
    let (intake, metrics) = start(&broker, "n1");
    until("all are done", || metrics.intake_done.get() == 95).await;
    ingest(&broker, "a", "95");
    until("the next is done", || metrics.intake_done.get() == 96).await;
    intake.shutdown().await;
    assert_eq!((log(&broker, "a").await, broker.inner.unsettled()), (numbers(0..96), 0));
    assert!(metrics.intake_reset_failed.get() > 0);
}

// ---- stages

#[tokio::test(start_paused = true)]
async fn acknowledging_publishing_and_fetching_overlap() {
    let broker = FaultyBroker::new();
    for n in 0..95 {
        ingest(&broker, "a", &n.to_string());
    }
    broker.next(Call::Settle, [Fault::Hung]);
    let (intake, metrics) = start(&broker, "n1");
    tokio::time::sleep(LEASE * 3).await;
    // One batch waits for its acknowledgement, one to be published.
    assert_eq!(metrics.intake_done.get(), 3);
    assert_eq!([Call::Settle, Call::Publish, Call::Take].map(|call| broker.calls(call)), [1, 2, 3]);
    assert_eq!(log(&broker, "a").await, numbers(0..3));
    intake.task.abort();
}

#[tokio::test(start_paused = true)]
async fn published_entries_are_acknowledged_without_new_entries() {
    let broker = FaultyBroker::new();
    let (intake, _) = start(&broker, "n1");
    settle_tasks().await;
    for data in ["0", "1", "2"] {
        ingest(&broker, "a", data);
        let begun = Instant::now();
        until("the entries are acknowledged", || broker.inner.unsettled() == 0).await;
        assert!(begun.elapsed() < Duration::from_millis(10), "{:?}", begun.elapsed());
    }
    intake.shutdown().await;
}

// ---- leaving

#[tokio::test(start_paused = true)]
async fn a_shutdown_finishes_the_entries_in_progress() {
    let broker = FaultyBroker::new();
    for n in 0..30 {
        ingest(&broker, "a", &n.to_string());
    }
    broker.next(Call::Publish, [Fault::LateReply(Duration::from_secs(5))]);
    let (intake, metrics) = start(&broker, "n1");
    until("it publishes", || broker.calls(Call::Publish) == 1).await;
    intake.shutdown().await;
    // The second batch was taken already.
    assert_eq!((metrics.intake_done.get(), broker.calls(Call::Resign)), (3, 1));
    assert_eq!((log(&broker, "a").await, broker.inner.unsettled()), (numbers(0..3), 27));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_an_unavailable_broker() {
    let broker = FaultyBroker::new();
    ingest(&broker, "a", "0");
    broker.always(Call::Publish, Fault::Unavailable);
    let (intake, _) = start(&broker, "n1");
    until("it publishes", || broker.calls(Call::Publish) == 5).await;
    let begun = Instant::now();
    intake.shutdown().await;
    assert!(begun.elapsed() < Duration::from_millis(10), "{:?}", begun.elapsed());
    assert_eq!(broker.inner.unsettled(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_with_the_intake_disabled_never_leads() {
    let broker = FaultyBroker::new();
    let metrics = Arc::new(ClusterMetrics::register(&mut Registry::default()));
    let config = IntakeConfig { enabled: false, ..IntakeConfig::default() };
    let settings =
        IntakeSettings { node: NodeId::new("n1").unwrap(), config, max_data: 100, tracer: Tracer::default() };
    let intake = Intake::start(broker.shared(), settings, metrics);
    tokio::time::sleep(LEASE * 3).await;
    intake.shutdown().await;
    assert_eq!(broker.calls(Call::Lead), 0);
}

#[tokio::test(start_paused = true)]
async fn entries_for_channels_of_users_are_published() {
    let broker = FaultyBroker::new();
    let user = User::new("42").unwrap();
    ingest(&broker, "user:42", "0");
    let (intake, metrics) = start(&broker, "n1");
    until("it is done", || metrics.intake_done.get() == 1).await;
    intake.shutdown().await;
    assert_eq!(log(&broker, user.channel().as_str()).await, ["0"]);
}

#[tokio::test(start_paused = true)]
async fn twenty_thousand_entries_are_published_in_full_batches_without_a_pause() {
    const ENTRIES: usize = 20_000;
    let broker = FaultyBroker::new();
    for n in 0..ENTRIES {
        ingest(&broker, ["a", "b", "c"][n % 3], &n.to_string());
    }
    let begun = Instant::now();
    let most = IntakeConfig::default().batch;
    let (intake, metrics) = start_with_batches(&broker, "n1", 100, most);
    until("all are published", || metrics.intake_done.get() == ENTRIES as u64).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // Batches grow from one entry to the most, and none but the last is smaller then.
    assert!(broker.calls(Call::Publish) <= ENTRIES / most + 12, "{} calls", broker.calls(Call::Publish));
    intake.shutdown().await;
}
