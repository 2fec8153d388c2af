//! The dead-letter stream: what an operator does with entries that could not be published.

use bytes::Bytes;
use fanfare_broker::dead_letter::{DeadLetter, Requeued};
use fanfare_broker::intake::{IntakeEntry, IntakeOutcome, chain};
use fanfare_broker::{Broker, BrokerError, BrokerSettings, IntakeQueue};
use fanfare_protocol::Position;

use crate::fixture::{Fixture, Redis, new, publication, read};
use crate::intake::{begin, put, reject_entries, take};

const MANY: usize = 1000;
const LARGE: usize = 1 << 20;

/// Leaves entries and moves them to the dead-letter stream.
async fn dead<F: Fixture>(fixture: &F, entries: &[&[(&str, &str)]]) -> Vec<IntakeEntry> {
    for fields in entries {
        fixture.ingest(fields).await;
    }
    let reading = begin(fixture.broker()).await;
    let taken = take(fixture.broker(), &reading, entries.len()).await;
    reject_entries(fixture.broker(), &reading, taken.clone()).await.unwrap();
    taken
}

async fn all(broker: &dyn Broker) -> Vec<DeadLetter> {
    let found = broker.dead_letters(Position::ZERO, MANY, usize::MAX >> 12).await.unwrap();
    assert!(!found.more);
    found.letters
}

pub(crate) async fn an_entry_is_requeued_once_with_all_its_fields<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let fields =
        [("channel", "a"), ("data", ""), ("key", "k"), ("until", "5"), ("reason", "x"), ("data", "2")];
    let left = dead(&fixture, &[&fields, &[("channel", "b"), ("data", "y")]]).await;
    let letters = all(broker).await;
    let [first, second] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((&*first.reason, &first.entry), ("for a reason", &left[0].id.to_string()));
    assert_eq!((first.is_complete, &first.fields), (true, &left[0].fields));
    assert!(first.id < second.id && first.bytes() == 34, "{first:?}");

    let twice = tokio::join!(broker.requeue_dead(first.id), broker.requeue_dead(first.id));
    let (Ok(Requeued::As(id)), Ok(Requeued::Gone)) = twice else { panic!("{twice:?}") };
    assert!(id > left[1].id, "it is the newest");
    let reading = begin(broker).await;
    assert_eq!(take(broker, &reading, 10).await, [IntakeEntry { id, fields: left[0].fields.clone() }]);
    assert_eq!(all(broker).await, letters[1..]);

    assert!(broker.drop_dead(second.id).await.unwrap());
    assert!(!broker.drop_dead(second.id).await.unwrap());
    assert_eq!(broker.requeue_dead(second.id).await, Ok(Requeued::Gone));
    assert!(all(broker).await.is_empty() && fixture.dead().await.is_empty());
}

pub(crate) async fn an_entry_that_is_requeued_is_published_after_newer_ones<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    dead(&fixture, &[&[("channel", "a"), ("data", "old")]]).await;
    let reading = begin(broker).await;
    let newer = fixture.ingest(&[("channel", "a"), ("data", "new")]).await;
    let entry = |id, data| chain([(id, publication("a", data))]);
    assert_eq!(put(broker, &reading, entry(newer, "new")).await, [IntakeOutcome::Published]);
    broker.settle_intake(&reading, vec![newer]).await.unwrap();

    let letter = all(broker).await.remove(0);
    let Ok(Requeued::As(id)) = broker.requeue_dead(letter.id).await else { panic!("{letter:?}") };
    for outcome in [IntakeOutcome::Published, IntakeOutcome::Repeat] {
        assert_eq!(put(broker, &reading, entry(id, "old")).await, [outcome]);
    }
    assert_eq!(read(broker, "a", Position::ZERO).await, ["new", "old"]);
}

pub(crate) async fn a_truncated_entry_is_shown_and_dropped_and_not_requeued<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let large = "x".repeat(BrokerSettings::default().max_data + 5000);
    dead(&fixture, &[&[("channel", "a"), ("data", &large)]]).await;
    let letter = all(broker).await.remove(0);
    assert!(!letter.is_complete && letter.bytes() < large.len(), "{}", letter.reason);
    for _ in 0..2 {
        assert_eq!(broker.requeue_dead(letter.id).await, Ok(Requeued::Incomplete));
    }
    let reading = begin(broker).await;
    assert!(take(broker, &reading, 10).await.is_empty());
    assert!(broker.drop_dead(letter.id).await.unwrap());
}

pub(crate) async fn pages_of_dead_letters_are_bounded_in_number_and_bytes<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let large = "x".repeat(10_000);
    let entry = |data| [("channel", "a"), ("data", data)];
    let (small, large) = (entry("1"), entry(&large));
    let entries: Vec<&[(&str, &str)]> = (0..7).map(|n| if n == 3 { &large[..] } else { &small }).collect();
    dead(&fixture, &entries).await;
    let whole = all(broker).await;
    assert_eq!(whole.len(), 7);
    for (limit, bytes, sizes) in [
        (1, LARGE, &[1, 1, 1, 1, 1, 1, 1][..]),
        (5, LARGE, &[5, 2]),
        (7, LARGE, &[7]),
        (MANY, 5000, &[3, 1, 3]),
        (MANY, 0, &[1, 1, 1, 1, 1, 1, 1]),
    ] {
        let (mut from, mut read, mut pages) = (Position::ZERO, Vec::new(), Vec::new());
        loop {
            let page = broker.dead_letters(from, limit, bytes).await.unwrap();
            pages.push(page.letters.len());
            read.extend(page.letters);
            if !page.more {
                break;
            }
            from = read.last().unwrap().id.next().unwrap();
        }
        assert_eq!((&pages[..], &read), (sizes, &whole), "{limit} entries, {bytes} bytes");
    }
    let last = whole[6].id;
    assert_eq!(broker.dead_letters(last, 1, LARGE).await.unwrap().letters, whole[6..]);
    assert!(broker.dead_letters(last.next().unwrap(), 1, LARGE).await.unwrap().letters.is_empty());
}

// ---- what only Redis can do wrong

#[tokio::test]
async fn a_requeue_that_fails_loses_nothing() {
    let redis = new::<Redis>().await;
    dead(&redis, &[&[("channel", "a"), ("data", "1")]]).await;
    let letters = all(&redis.broker).await;
    let is_refused = async |id| {
        let refused = redis.broker.requeue_dead(id).await;
        assert!(matches!(refused, Err(BrokerError::Refused(_))), "{refused:?}");
        assert_eq!(all(&redis.broker).await, letters);
    };
    // The intake takes no entry: another type, and the greatest id.
    redis.server.get::<()>(&["SET", "fanfare:ingest", "x"]).await;
    is_refused(letters[0].id).await;
    redis.server.get::<()>(&["DEL", "fanfare:ingest"]).await;
    redis.ingest_as(Position::new(u64::MAX, u64::MAX), &[("x", "y")]).await;
    is_refused(letters[0].id).await;
    redis.server.get::<()>(&["DEL", "fanfare:ingest"]).await;
    // Out of memory, an operator can still move entries and remove them.
    redis.server.get::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    redis.server.get::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(matches!(redis.broker.requeue_dead(letters[0].id).await, Ok(Requeued::As(_))));
    assert!(!redis.broker.drop_dead(letters[0].id).await.unwrap());
    redis.server.get::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;

    redis.server.get::<()>(&["SET", "fanfare:ingest:dead", "x"]).await;
    assert!(matches!(redis.broker.dead_letters(Position::ZERO, 1, 1).await, Err(BrokerError::Refused(_))));
    assert!(matches!(redis.broker.requeue_dead(letters[0].id).await, Err(BrokerError::Refused(_))));
    assert!(matches!(redis.broker.drop_dead(letters[0].id).await, Err(BrokerError::Refused(_))));
}

#[tokio::test]
async fn an_entry_that_no_node_has_written_is_shown_and_not_requeued() {
    let redis = new::<Redis>().await;
    let wide: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let wide: Vec<&str> = wide.iter().map(String::as_str).collect();
    let written = ["reason", "r", "entry", "1-0"];
    for fields in [&["a", "b"], &written[..], &["reason", "r"], &[&written[..], &wide].concat()] {
        let add = [&["XADD", "fanfare:ingest:dead", "*"], fields].concat();
        let id: String = redis.server.get(&add).await;
        let letter = all(&redis.broker).await.pop().unwrap();
        assert!(letter.id.to_string() == id && !letter.is_complete, "{letter:?}");
        assert_eq!(redis.broker.requeue_dead(letter.id).await, Ok(Requeued::Incomplete));
    }
    let strange: [&[u8]; 9] =
        [b"XADD", b"fanfare:ingest:dead", b"*", b"reason", b"\xff", b"entry", b"", b"data", b"\xfe"];
    redis.server.ask::<String>(&strange).await.unwrap();
    let letter = all(&redis.broker).await.pop().unwrap();
    assert_eq!((&*letter.reason, &letter.fields[0].1), ("\u{fffd}", &Bytes::from_static(b"\xfe")));
    assert!(matches!(redis.broker.requeue_dead(letter.id).await, Ok(Requeued::As(_))));
    let reading = begin(&redis.broker).await;
    assert_eq!(take(&redis.broker, &reading, 1).await[0].fields, letter.fields, "byte by byte");
}
