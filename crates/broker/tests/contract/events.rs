//! Contracts of logs.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::intake::{IntakeOutcome, chain};
use fanfare_broker::log::{Likely, Page, PageLimit, event_bytes, is_gap};
use fanfare_broker::{Broker, BrokerSettings, Published, Retention, RetentionRules};
use fanfare_protocol::publish::{Publication, TimedPublication};
use fanfare_protocol::start::StartAt;
use fanfare_protocol::wire::{Frame, Topic};
use fanfare_protocol::{Channel, Entry, Event, Except, Pattern, Position, TraceParent};
use fanfare_testkit::deadline::eventually;

use crate::fixture::{Fixture, Subscriber, channel, event, new, publication, publish, read};
use crate::intake::{begin, put};

pub(crate) async fn an_event_is_read_as_it_was_published<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let plain = Event::new(None, String::new(), 100).unwrap();
    let events = [
        event("one\r\ntwo\nthree\r"),
        event("größer als 1 KB: \u{1F980}\0"),
        plain,
        event(&"x".repeat(65_536)),
    ];
    for event in events.clone() {
        let mut publication = publication("room:7", "");
        publication.event = event;
        broker.publish(vec![publication]).await.pop().unwrap().unwrap();
    }
    let page = broker.page(&channel("room:7"), Position::ZERO, PageLimit::entries(10)).await.unwrap();
    let found: Vec<Event> = page.entries.iter().map(|entry| entry.event.clone()).collect();
    assert_eq!(found, events);
    assert_eq!(page.malformed, 0);
}

/// A session of a user, and one of a client without a user.
fn excepts() -> [Except; 2] {
    let session = "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11";
    [format!("al/ice/{session}"), session.to_owned()].map(|text| text.parse().unwrap())
}

pub(crate) async fn the_session_that_does_not_get_an_event_is_kept_with_it_by_every_way_in<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let subscriber = Subscriber::open(broker, "n").await;
    subscriber.subscribe(&["a"], 1).await;
    let [of_user, of_anonymous] = excepts();
    let with = |data: &str, except: &Except| {
        let publication = publication("a", data);
        Publication { event: publication.event.clone().except(Some(except.clone())), ..publication }
    };
    let keyed = Publication { key: Some("k".into()), ..with("3", &of_anonymous) };
    let ephemeral = Publication { ephemeral: true, ..with("4", &of_user) };
    let batch = vec![publication("a", "1"), with("2", &of_user), keyed.clone(), ephemeral, keyed];
    let answers: Vec<Published> = broker.publish(batch).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(
        answers.iter().map(|answer| answer.repeat).collect::<Vec<_>>(),
        [false, false, false, false, true]
    );
    let known = broker.publish_known(vec![with("5", &of_anonymous)]).await.pop().unwrap().unwrap();
    assert!(known.is_some());
    let reading = begin(broker).await;
    let entries = [(1, false, None), (2, true, None), (3, false, Some(1 << 52)), (4, true, Some(1 << 52))];
    let entries = chain(entries.map(|(n, has_key, until)| {
        let publication = with(&format!("intake {n}"), &of_user);
        let key = has_key.then(|| format!("key {n}"));
        (Position::new(7, n), TimedPublication { publication: Publication { key, ..publication }, until })
    }));
    assert_eq!(put(broker, &reading, entries).await, [IntakeOutcome::Published; 4]);

    let (user, anonymous) = (Some(&of_user), Some(&of_anonymous));
    let wanted = [None, user, anonymous, anonymous, user, user, user, user];
    let excepted = |entries: &[Arc<Entry>]| -> Vec<Option<Except>> {
        entries.iter().map(|entry| entry.event.excepted().cloned()).collect()
    };
    let page = broker.page(&channel("a"), Position::ZERO, PageLimit::entries(10)).await.unwrap();
    assert_eq!(excepted(&page.entries).iter().map(Option::as_ref).collect::<Vec<_>>(), wanted);
    // What the session takes counts in a page.
    let bytes = page.entries.iter().map(|entry| event_bytes(&entry.event)).sum();
    let limit = |bytes| PageLimit { bytes, ..PageLimit::entries(10) };
    let read = async |limit| broker.page(&channel("a"), Position::ZERO, limit).await.unwrap().entries.len();
    assert_eq!((read(limit(bytes)).await, read(limit(bytes - 1)).await), (8, 7));
    // Other pages are read with plain commands.
    for (from, last) in page.entries[4..].windows(2).map(|two| (two[0].position, &two[1])) {
        let likely = Likely::Short { latest: page.now.unwrap() };
        let short = broker.page(&channel("a"), from, PageLimit { likely, ..PageLimit::entries(10) }).await;
        assert_eq!(&short.unwrap().entries[0], last);
    }
    let messages = subscriber.wait_messages("a", 9).await;
    let live = messages.iter().filter_map(|message| match Frame::parse(Topic::Live, message, 1000) {
        Ok(Frame::Kept(entry)) => Some(Arc::new(entry)),
        _ => None,
    });
    assert_eq!(live.collect::<Vec<_>>(), page.entries);
    let sent = messages.iter().filter_map(|message| Frame::parse(Topic::Ephemeral, message, 1000).ok());
    let sent: Vec<_> = sent.collect();
    let [Frame::Ephemeral(event)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(event.excepted(), user);
}

pub(crate) async fn the_trace_of_an_event_is_in_its_live_message_by_every_way_in<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let subscriber = Subscriber::open(broker, "n").await;
    subscriber.subscribe(&["a"], 1).await;
    let trace = TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let [of_user, _] = excepts();
    let with = |data: &str, except: Option<&Except>| {
        let publication = publication("a", data);
        let event = publication.event.clone().except(except.cloned()).traced(trace);
        Publication { event, ..publication }
    };
    let keyed = Publication { key: Some("k".into()), ..with("3", None) };
    let ephemeral = Publication { ephemeral: true, ..with("4", Some(&of_user)) };
    let batch = vec![publication("a", "1"), with("2", Some(&of_user)), keyed, ephemeral];
    for answer in broker.publish(batch).await {
        answer.unwrap();
    }
    let reading = begin(broker).await;
    let entries = [(1, false, None), (2, true, None), (3, false, Some(1 << 52)), (4, true, Some(1 << 52))];
    let entries = chain(entries.map(|(n, has_key, until)| {
        let publication = with(&format!("intake {n}"), None);
        let key = has_key.then(|| format!("key {n}"));
        (Position::new(7, n), TimedPublication { publication: Publication { key, ..publication }, until })
    }));
    assert_eq!(put(broker, &reading, entries).await, [IntakeOutcome::Published; 4]);
    let messages = subscriber.wait_messages("a", 8).await;
    let frames = messages.iter().map(|message| {
        let topic = if message.starts_with(b"{") { Topic::Ephemeral } else { Topic::Live };
        match Frame::parse(topic, message, 1000).unwrap() {
            Frame::Kept(entry) => entry.event,
            Frame::Ephemeral(event) => event,
        }
    });
    let traces: Vec<_> = frames.map(|event| event.trace().copied()).collect();
    assert_eq!(traces.iter().filter(|found| **found == trace).count(), 7, "{traces:?}");
    // A page is read with plain commands and with the script, whether or not its entries have traces.
    let page = broker.page(&channel("a"), Position::ZERO, PageLimit::entries(10)).await.unwrap();
    assert_eq!(page.entries.len(), 7);
    for two in page.entries.windows(2) {
        let likely = Likely::Short { latest: page.now.unwrap() };
        let limit = PageLimit { likely, ..PageLimit::entries(10) };
        let short = broker.page(&channel("a"), two[0].position, limit).await.unwrap();
        assert_eq!(
            (short.entries[0].position, &short.entries[0].event.data_bytes()[..]),
            (two[1].position, &two[1].event.data_bytes()[..])
        );
        assert_eq!(short.entries[0].event.excepted(), two[1].event.excepted());
    }
}

pub(crate) async fn positions_grow_and_each_entry_knows_the_one_before<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    for n in 0..50 {
        publish(broker, "a", &n.to_string()).await;
    }
    let page = broker.page(&channel("a"), Position::ZERO, PageLimit::entries(100)).await.unwrap();
    let mut previous = Position::ZERO;
    for entry in &page.entries {
        assert!(entry.position > previous);
        assert_eq!(entry.previous, previous);
        previous = entry.position;
    }
    assert_eq!(page.entries.len(), 50);
}

pub(crate) async fn a_batch_keeps_its_order_and_is_answered_in_it<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let mut batch = Vec::new();
    for n in 0..300 {
        batch.push(Publication {
            ephemeral: n % 3 == 2,
            ..publication(["a", "b", "a"][n % 3], &n.to_string())
        });
    }
    let answers = broker.publish(batch).await;
    assert_eq!(answers.len(), 300);
    for (n, answer) in answers.iter().enumerate() {
        let Published { position, repeat, .. } = answer.clone().unwrap();
        assert!(!repeat);
        assert_eq!(position.is_none(), n % 3 == 2);
    }
    for (name, first) in [("a", 0), ("b", 1)] {
        let wanted: Vec<String> = (0..100).map(|n| (n * 3 + first).to_string()).collect();
        assert_eq!(read(broker, name, Position::ZERO).await, wanted);
        let page = broker.page(&channel(name), Position::ZERO, PageLimit::entries(1000)).await.unwrap();
        let positions: Vec<_> = page.entries.iter().map(|entry| Some(entry.position)).collect();
        let answered: Vec<_> =
            answers.iter().skip(first).step_by(3).map(|answer| answer.clone().unwrap().position).collect();
        assert_eq!(positions, answered);
    }
    assert!(broker.publish(Vec::new()).await.is_empty());
}

pub(crate) async fn a_key_stores_an_event_once_in_its_channel<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let keyed =
        |name: &str, data: &str| Publication { key: Some("k 1:ü".into()), ..publication(name, data) };
    let answers =
        broker.publish(vec![keyed("a", "1"), keyed("a", "2"), publication("a", "3"), keyed("b", "4")]).await;
    let answers: Vec<Published> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().map(|answer| answer.repeat).collect::<Vec<_>>(), [false, true, false, false]);
    assert_eq!(answers[0].position, answers[1].position);
    let later = broker.publish(vec![keyed("a", "5")]).await.pop().unwrap().unwrap();
    assert_eq!(later, Published { position: answers[0].position, repeat: true, created: false });
    assert_eq!(read(broker, "a", Position::ZERO).await, ["1", "3"]);
    assert_eq!(read(broker, "b", Position::ZERO).await, ["4"]);
}

pub(crate) async fn a_key_is_forgotten_after_its_time<F: Fixture>() {
    let settings =
        BrokerSettings { idempotency_window: Duration::from_millis(100), ..BrokerSettings::default() };
    let fixture = F::with(settings).await;
    let broker = fixture.broker();
    let keyed = || Publication { key: Some("k".into()), ..publication("a", "1") };
    assert!(!broker.publish(vec![keyed()]).await.pop().unwrap().unwrap().repeat);
    eventually("the key is forgotten", || async {
        !broker.publish(vec![keyed()]).await.pop().unwrap().unwrap().repeat
    })
    .await;
}

pub(crate) async fn an_ephemeral_event_is_not_kept<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let ephemeral = Publication { ephemeral: true, ..publication("a", "1") };
    let answer = broker.publish(vec![ephemeral]).await.pop().unwrap().unwrap();
    assert_eq!(answer, Published { position: None, repeat: false, created: false });
    assert_eq!(broker.locate(&channel("a"), StartAt::Latest).await.unwrap(), Position::ZERO);
    assert!(read(broker, "a", Position::ZERO).await.is_empty());
}

pub(crate) async fn pages_lead_through_a_log<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let a = channel("a");
    let empty = broker.page(&a, Position::new(5, 1), PageLimit::entries(3)).await.unwrap();
    assert_eq!((empty.entries.len(), empty.next, empty.end), (0, Position::new(5, 1), true));
    for n in 0..10 {
        publish(broker, "a", &n.to_string()).await;
    }
    let mut after = Position::ZERO;
    let mut sizes = Vec::new();
    let mut all = Vec::new();
    loop {
        let page = broker.page(&a, after, PageLimit::entries(5)).await.unwrap();
        sizes.push((page.entries.len(), page.end));
        assert_eq!(page.entries.last().map_or(after, |last| last.position), page.next);
        assert!(!page.gap_after(after));
        all.extend(page.entries.iter().map(|entry| entry.event.data().to_owned()));
        after = page.next;
        if page.end {
            break;
        }
    }
    assert_eq!(sizes, [(5, false), (5, true)]);
    assert_eq!(all, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    let beyond = broker.page(&a, after, PageLimit::entries(5)).await.unwrap();
    assert_eq!((beyond.entries.len(), beyond.next, beyond.end), (0, after, true));
}

pub(crate) async fn a_trimmed_log_tells_whether_something_was_missed<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let mut positions = Vec::new();
    for n in 0..10 {
        positions.push(publish(broker, "a", &n.to_string()).await);
    }
    fixture.trim(&channel("a"), 4).await;
    let missed = broker.page(&channel("a"), positions[4], PageLimit::entries(100)).await.unwrap();
    assert!(missed.gap_after(positions[4]));
    let whole = broker.page(&channel("a"), positions[5], PageLimit::entries(100)).await.unwrap();
    assert!(!whole.gap_after(positions[5]), "trimmed up to the position exactly is no gap");
    assert_eq!(whole.entries.len(), 4);
}

pub(crate) async fn the_chain_outlives_the_events<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let first = publish(broker, "a", "1").await;
    let last = publish(broker, "a", "2").await;
    fixture.expire(&channel("a")).await;
    let empty = [true, false].map(|timed| Likely::Empty { timed });
    for likely in [Likely::Long, empty[0], empty[1], Likely::Short { latest: 0 }] {
        let limit = PageLimit { likely, ..PageLimit::entries(10) };
        let page = broker.page(&channel("a"), last, limit).await.unwrap();
        assert!(page.entries.is_empty() && page.end && !page.is_expired() && !page.gap_after(last));
        let page = broker.page(&channel("a"), first, limit).await.unwrap();
        assert_eq!((page.entries.len(), page.end, page.next, page.last), (0, true, first, last));
        assert!(page.is_expired() && page.gap_after(first), "the second event is missed");
    }
    let next = publish(broker, "a", "3").await;
    assert!(next > last);
    let page = broker.page(&channel("a"), last, PageLimit::entries(10)).await.unwrap();
    assert_eq!((page.entries[0].position, page.entries[0].previous), (next, last));
    assert!(!page.gap_after(last));
}

pub(crate) async fn a_wiped_channel_begins_again<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let last = publish(broker, "a", "1").await;
    fixture.wipe().await;
    assert_eq!(broker.locate(&channel("a"), StartAt::Latest).await.unwrap(), Position::ZERO);
    publish(broker, "a", "2").await;
    let page = broker.page(&channel("a"), Position::ZERO, PageLimit::entries(10)).await.unwrap();
    assert_eq!(page.entries[0].previous, Position::ZERO);
    assert!(is_gap(last, None, page.entries[0].previous));
}

fn keeping(retention: Retention) -> BrokerSettings {
    let retention = RetentionRules { default: retention, ..RetentionRules::default() };
    BrokerSettings { retention, ..BrokerSettings::default() }
}

pub(crate) async fn a_log_keeps_at_least_as_many_events_as_it_should<F: Fixture>() {
    let fixture = F::with(keeping(Retention { events: 100, ..Retention::default() })).await;
    let broker = fixture.broker();
    let batch = (0..1000).map(|n| publication("a", &n.to_string())).collect();
    assert!(broker.publish(batch).await.iter().all(Result::is_ok));
    let kept = read(broker, "a", Position::ZERO).await;
    assert!((100..=300).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last().unwrap(), "999");
    let page = broker.page(&channel("a"), Position::new(1, 0), PageLimit::entries(1)).await.unwrap();
    assert!(page.gap_after(Position::new(1, 0)));
}

pub(crate) async fn what_is_too_old_is_not_shown<F: Fixture>() {
    let age = Duration::from_millis(1500);
    let fixture = F::with(keeping(Retention { age, ..Retention::default() })).await;
    let broker = fixture.broker();
    let a = channel("a");
    let old = publish(broker, "a", "old").await;
    // Published so late that the log as a whole lives on when the first event is too old.
    eventually("time goes by", || async { publish(broker, "clock", "").await.ms > old.ms + 1000 }).await;
    let young = publish(broker, "a", "young").await;
    eventually("the old event is not shown", || async {
        read(broker, "a", Position::ZERO).await == ["young"]
    })
    .await;
    assert!(
        broker
            .page(&a, Position::new(1, 0), PageLimit::entries(1))
            .await
            .unwrap()
            .gap_after(Position::new(1, 0))
    );
    assert_eq!(broker.locate(&a, StartAt::Earliest).await.unwrap(), old);
    assert_eq!(broker.locate(&a, StartAt::Newest(5)).await.unwrap(), old);
    eventually("nothing is shown", || async { read(broker, "a", Position::ZERO).await.is_empty() }).await;
    assert_eq!(broker.locate(&a, StartAt::Earliest).await.unwrap(), young);
    let page = broker.page(&a, old, PageLimit::entries(10)).await.unwrap();
    assert_eq!((page.next, page.end), (old, true), "the next event is to tell what was missed");
}

pub(crate) async fn a_last_position_is_forgotten_after_its_time<F: Fixture>() {
    let (age, positions) = (Duration::from_millis(20), Duration::from_millis(100));
    let fixture = F::with(keeping(Retention { age, positions, events: 10 })).await;
    let broker = fixture.broker();
    publish(broker, "a", "1").await;
    eventually("the position is forgotten", || async {
        broker.locate(&channel("a"), StartAt::Latest).await.unwrap() == Position::ZERO
    })
    .await;
}

pub(crate) async fn a_rule_decides_what_is_kept_of_a_channel<F: Fixture>() {
    let short = Retention { age: Duration::from_millis(100), ..Retention::default() };
    let rules = vec![
        (Pattern::new("log:*").unwrap(), Retention::default()),
        (Pattern::new("*:short").unwrap(), short),
    ];
    let retention = RetentionRules { rules, default: Retention::default() };
    let fixture = F::with(BrokerSettings { retention, ..BrokerSettings::default() }).await;
    let broker = fixture.broker();
    for name in ["log:short", "room:short", "room:long"] {
        publish(broker, name, "1").await;
    }
    eventually("the short one is gone", || async {
        read(broker, "room:short", Position::ZERO).await.is_empty()
    })
    .await;
    assert_eq!(read(broker, "log:short", Position::ZERO).await, ["1"], "the first rule that matches decides");
    assert_eq!(read(broker, "room:long", Position::ZERO).await, ["1"]);
}

pub(crate) async fn an_empty_channel_is_located_at_zero<F: Fixture>() {
    let fixture = new::<F>().await;
    let time = Position::new(1_700_000_000_000, u64::MAX);
    for from in [StartAt::Latest, StartAt::Earliest, StartAt::Newest(3), StartAt::Time(time)] {
        let located = fixture.broker().locate(&channel("a"), from).await.unwrap();
        assert_eq!(located, Position::ZERO, "{from:?}");
    }
    let position = Position::new(7, 3);
    let located = fixture.broker().locate(&channel("a"), StartAt::Position(position)).await.unwrap();
    assert_eq!(located, position, "a position is what the client has really held");
}

/// Publishes events each in a millisecond of its own.
async fn spread(broker: &dyn Broker, name: &str, count: usize) -> Vec<Position> {
    let mut positions: Vec<Position> = Vec::new();
    for n in 0..count {
        if let Some(last) = positions.last().copied() {
            eventually("a millisecond goes by", || async {
                publish(broker, "clock", "").await.ms > last.ms + 1
            })
            .await;
        }
        positions.push(publish(broker, name, &n.to_string()).await);
    }
    positions
}

pub(crate) async fn the_newest_and_the_earliest_are_located_before_the_oldest_meant<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let at = spread(broker, "a", 6).await;
    let a = channel("a");
    let locate = async |from| broker.locate(&a, from).await.unwrap();
    assert_eq!(locate(StartAt::Latest).await, at[5]);
    assert_eq!(locate(StartAt::Earliest).await, Position::ZERO);
    assert_eq!(locate(StartAt::Newest(0)).await, at[5]);
    assert_eq!(locate(StartAt::Newest(1)).await, at[4]);
    assert_eq!(locate(StartAt::Newest(3)).await, at[2]);
    assert_eq!(locate(StartAt::Newest(6)).await, Position::ZERO);
    assert_eq!(locate(StartAt::Newest(usize::MAX)).await, Position::ZERO);
    fixture.trim(&a, 4).await;
    assert_eq!(locate(StartAt::Earliest).await, at[1]);
    assert_eq!(locate(StartAt::Newest(9)).await, at[1]);
    assert_eq!(read(broker, "a", at[1]).await.len(), 4);
}

pub(crate) async fn a_time_is_located_at_the_last_entry_before_it<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let at = spread(broker, "a", 3).await;
    let a = channel("a");
    let locate = async |from| broker.locate(&a, StartAt::Time(from)).await.unwrap();
    for position in &at {
        assert_eq!(locate(*position).await, *position);
        assert_eq!(locate(Position::new(position.ms, u64::MAX)).await, *position);
    }
    assert_eq!(locate(Position::new(at[1].ms - 1, u64::MAX)).await, at[0]);
    assert_eq!(locate(Position::new(at[2].ms + 9_999, 0)).await, at[2]);
    assert_eq!(locate(Position::new(1, 0)).await, Position::ZERO, "nothing is missing before the first");
}

pub(crate) async fn a_time_before_what_is_kept_is_located_so_that_the_gap_is_reported<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let at = spread(broker, "a", 5).await;
    let a = channel("a");
    fixture.trim(&a, 2).await;
    let locate = async |from| broker.locate(&a, StartAt::Time(from)).await.unwrap();
    let long_ago = Position::new(at[1].ms, 5);
    assert_eq!(locate(long_ago).await, long_ago);
    assert!(broker.page(&a, long_ago, PageLimit::entries(10)).await.unwrap().gap_after(long_ago));
    let between = Position::new(at[2].ms, u64::MAX);
    assert_eq!(locate(between).await, at[2], "only younger ones are kept, but none is missing");
    assert!(!broker.page(&a, at[2], PageLimit::entries(10)).await.unwrap().gap_after(at[2]));
}

pub(crate) async fn a_channel_without_events_is_located_at_its_last_position<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let at = spread(broker, "a", 2).await;
    let a = channel("a");
    fixture.expire(&a).await;
    for from in [
        StartAt::Latest,
        StartAt::Earliest,
        StartAt::Newest(3),
        StartAt::Time(Position::new(at[1].ms + 5, 0)),
    ] {
        assert_eq!(broker.locate(&a, from).await.unwrap(), at[1], "{from:?}");
    }
    let missed = Position::new(at[0].ms, u64::MAX);
    assert_eq!(broker.locate(&a, StartAt::Time(missed)).await.unwrap(), missed);
}

/// Publishes events with so many bytes of data each, and answers their positions.
async fn publish_sizes(broker: &dyn Broker, name: &str, sizes: &[usize]) -> Vec<Position> {
    let batch = sizes.iter().map(|&size| publication(name, &"x".repeat(size))).collect();
    let published = broker.publish(batch).await;
    published.into_iter().map(|published| published.unwrap().position.unwrap()).collect()
}

pub(crate) async fn a_page_is_bounded_in_bytes_whatever_the_sizes<F: Fixture>() {
    let fixture = F::with(BrokerSettings { max_data: 1 << 20, ..BrokerSettings::default() }).await;
    let broker = fixture.broker();
    let limit = PageLimit { entries: 50, bytes: 10_000, likely: Likely::Long };
    let small = 100 - event_bytes(&event(""));
    let mut sizes = vec![small; 130];
    sizes.extend([9_000, 2_000, 1_000_000, small, small, 9_900, small, 300_000, 300_000, small]);
    let at = publish_sizes(broker, "a", &sizes).await;
    let (mut after, mut read, mut pages) = (Position::ZERO, Vec::new(), Vec::new());
    loop {
        let page = broker.page(&channel("a"), after, limit).await.unwrap();
        let bytes: usize = page.entries.iter().map(|entry| event_bytes(&entry.event)).sum();
        assert!(bytes <= limit.bytes, "{bytes}");
        assert_eq!(page.last, *at.last().unwrap());
        read.extend(page.entries.iter().map(|entry| (entry.position, entry.event.data().len())));
        pages.push(page.entries.len());
        after = page.next;
        if let Some(needs) = page.needs {
            assert!(page.entries.is_empty() && !page.end && needs > limit.bytes);
            let limit = PageLimit { bytes: needs, ..limit };
            let large = broker.page(&channel("a"), after, limit).await.unwrap();
            assert_eq!(
                (large.entries.len(), large.end),
                (1, false),
                "the one that needs so much and no other"
            );
            assert_eq!(event_bytes(&large.entries[0].event), needs);
            read.push((large.next, large.entries[0].event.data().len()));
            after = large.next;
        } else if page.end {
            break;
        }
        assert!(pages.len() < 20);
    }
    assert_eq!(read, at.into_iter().zip(sizes).collect::<Vec<_>>());
    assert_eq!(pages[..3], [50, 50, 30], "small ones by their number, and then by their bytes");
}

/// Returns a page after a position, and checks that no expectation changes it.
async fn page_by_any_means(broker: &dyn Broker, channel: &Channel, after: Position) -> Page {
    let limit = PageLimit::entries(3);
    let page = broker.page(channel, after, limit).await.unwrap();
    assert!(page.now.is_some(), "the time of Redis comes with it");
    let without_time = Page { now: None, ..page.clone() };
    let empty = [true, false].map(|timed| Likely::Empty { timed });
    for likely in empty.into_iter().chain([0, u64::MAX].map(|latest| Likely::Short { latest })) {
        let other = broker.page(channel, after, PageLimit { likely, ..limit }).await.unwrap();
        assert!(other.now.is_none_or(|now| Some(now) >= page.now));
        let is_untimed = matches!(likely, Likely::Short { .. } | Likely::Empty { timed: false });
        assert!(other.now.is_some() || is_untimed);
        let is_whole = other.end || other.entries.len() == without_time.entries.len();
        if is_whole {
            assert_eq!(Page { now: None, ..other }, without_time, "{likely:?}");
            continue;
        }
        assert!(other.now.is_none(), "only plain commands read less than was asked for");
        let more = PageLimit::entries(3 - other.entries.len());
        let mut whole = broker.page(channel, other.next, more).await.unwrap();
        whole.entries.splice(0..0, other.entries);
        assert_eq!(Page { now: None, ..whole }, without_time, "{likely:?}");
    }
    page
}

pub(crate) async fn a_page_is_the_same_whatever_is_expected<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let a = channel("a");
    let same = async |after: Position| page_by_any_means(broker, &a, after).await;
    let ahead = Position::new(1 << 50, 0);
    for after in [Position::ZERO, Position::new(5, 1), ahead] {
        assert_eq!(same(after).await.last, Position::ZERO, "nothing was published");
    }
    let at = publish_sizes(broker, "a", &[1, 2, 3, 4, 5]).await;
    let places = [Position::ZERO, at[0], at[1], at[4], Position::new(5, 1), ahead];
    for after in places {
        assert_eq!(same(after).await.last, at[4]);
    }
    assert!(same(at[4]).await.end && same(ahead).await.went_back(ahead));
    assert_eq!(same(at[3]).await.entries.len(), 1);
    assert_eq!(same(at[2]).await.entries.len(), 2);
    fixture.trim(&a, 2).await;
    for after in places {
        same(after).await;
    }
    fixture.expire(&a).await;
    for after in places {
        assert_eq!(same(after).await.last, at[4], "a last position outlives its events");
    }
    fixture.wipe().await;
    for after in places {
        assert_eq!(same(after).await.last, Position::ZERO);
    }
}

pub(crate) async fn a_page_tells_the_channels_last_position<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let a = channel("a");
    let page = async |after| broker.page(&a, after, PageLimit::entries(2)).await.unwrap();
    assert_eq!(page(Position::ZERO).await.last, Position::ZERO);
    let at = publish_sizes(broker, "a", &[1, 2, 3]).await;
    for after in [Position::ZERO, at[0], at[2], at[2].next().unwrap(), Position::new(u64::MAX, u64::MAX)] {
        let page = page(after).await;
        assert_eq!(page.last, at[2], "after {after}");
        assert_eq!(page.went_back(after), after > at[2], "after {after}");
    }
    fixture.expire(&a).await;
    assert_eq!(page(at[0]).await.last, at[2], "it outlives the events");
    assert!(!page(at[2]).await.went_back(at[2]));
    fixture.wipe().await;
    let gone = page(at[2]).await;
    assert_eq!((gone.last, gone.went_back(at[2])), (Position::ZERO, true));
}

pub(crate) async fn nothing_comes_after_the_greatest_position<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    publish(broker, "a", "1").await;
    for greatest in [Position::new(u64::MAX, u64::MAX), Position::new(u64::MAX, 0), Position::new(1 << 60, 0)]
    {
        let page = broker.page(&channel("a"), greatest, PageLimit::entries(5)).await.unwrap();
        assert_eq!((page.entries.len(), page.next, page.end), (0, greatest, true));
        let located = broker.locate(&channel("a"), StartAt::Time(greatest)).await.unwrap();
        assert_eq!(located, page.last);
    }
    let first = broker.locate(&channel("a"), StartAt::Time(Position::ZERO)).await.unwrap();
    assert_eq!(first, Position::ZERO);
}

pub(crate) async fn the_newest_are_bounded_in_bytes_too<F: Fixture>() {
    let fixture = F::with(BrokerSettings { max_data: 1 << 20, ..BrokerSettings::default() }).await;
    let broker = fixture.broker();
    let sizes: Vec<usize> = (0..40).map(|n| if n % 3 == 0 { 1_000_000 } else { 10 }).collect();
    let at = publish_sizes(broker, "a", &sizes).await;
    // The fourth would be the second of a million bytes.
    for (n, meant) in [(1, 1), (2, 2), (3, 3), (4, 3), (40, 3), (usize::MAX, 3)] {
        let located = broker.locate(&channel("a"), StartAt::Newest(n)).await.unwrap();
        assert_eq!(located, at[40 - meant - 1], "the newest {n}");
    }
    let at = publish_sizes(broker, "b", &[10, 1 << 20]).await;
    let located = broker.locate(&channel("b"), StartAt::Newest(2)).await.unwrap();
    assert_eq!(located, at[0], "one event may be larger by itself");
    let sizes = [100; 1200];
    let at = publish_sizes(broker, "c", &sizes).await;
    let located = broker.locate(&channel("c"), StartAt::Newest(usize::MAX)).await.unwrap();
    assert_eq!(located, at[199], "and in number");
}

pub(crate) async fn only_the_first_event_makes_a_channel_and_a_publisher_may_be_kept_from_it<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let created = async |name: &str| {
        let answers = broker.publish(vec![publication(name, "x"), publication(name, "y")]).await;
        answers.into_iter().map(|answer| answer.unwrap().created).collect::<Vec<_>>()
    };
    assert_eq!(created("old").await, [true, false]);
    assert_eq!(created("old").await, [false, false]);
    let ephemeral = Publication { ephemeral: true, ..publication("new", "e") };
    let batch = vec![publication("old", "1"), publication("new", "2"), ephemeral, publication("old", "3")];
    let answers = broker.publish_known(batch).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()).collect();
    let stored = |at: usize| answers[at].as_ref().map(|published| published.position.is_some());
    assert_eq!([0, 1, 2, 3].map(stored), [Some(true), None, Some(false), Some(true)]);
    assert_eq!(read(broker, "new", Position::ZERO).await, [""; 0]);
    assert_eq!(read(broker, "old", Position::ZERO).await, ["x", "y", "x", "y", "1", "3"]);
    // Without its events a channel is known by its last position.
    fixture.expire(&channel("old")).await;
    assert!(broker.publish_known(vec![publication("old", "4")]).await[0].as_ref().unwrap().is_some());
    assert_eq!(created("new").await, [true, false]);
}
