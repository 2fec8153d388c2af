//! Finite streams.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::forks::{self, ForkAt, ForkRefusal};
use fanfare_broker::stream_store::{
    Append, AppendOutcome, BodyFault, Created, Found, LISTED, MAX_PUBLISHED, NewStream, PRODUCER_LOST,
    ReadRange, Removed, StreamInfo, StreamPage,
};
use fanfare_broker::{Broker, BrokerSettings, StreamSettings};
use fanfare_protocol::finite::wire::{Change, State};
use fanfare_protocol::finite::{End, EndKind, Lease, Life, MediaType, Offset, Producer, StreamName};
use fanfare_testkit::deadline::eventually;

use crate::fixture::{Fixture, Memory, Redis, Subscriber, new};

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn media_type(text: &str) -> MediaType {
    MediaType::new(text).unwrap()
}

fn text(bytes: &str) -> NewStream {
    of_type("text/plain", bytes)
}

fn of_type(kind: &str, bytes: &str) -> NewStream {
    NewStream {
        media_type: media_type(kind),
        requested: Life::Unset,
        life: Life::Unset,
        bytes: Bytes::copy_from_slice(bytes.as_bytes()),
        end: None,
        fork: None,
        lease: None,
        only_compare: false,
    }
}

fn living(life: Life) -> NewStream {
    NewStream { requested: life.clone(), life, ..text("abc") }
}

fn leased(seconds: u64) -> NewStream {
    NewStream { lease: Lease::from_millis(seconds * 1000), ..text("abc") }
}

fn bytes(bytes: &str) -> Append {
    Append {
        bytes: Bytes::copy_from_slice(bytes.as_bytes()),
        media_type: Some(media_type("text/plain")),
        ..Append::default()
    }
}

fn by(id: &str, epoch: u64, seq: u64, append: Append) -> Append {
    Append { producer: Some(Producer { id: id.into(), epoch, seq }), ..append }
}

fn ending(append: Append) -> Append {
    Append { end: Some(End::COMPLETE), ..append }
}

async fn create(broker: &dyn Broker, stream: &str, new: NewStream) -> StreamInfo {
    match broker.create_stream(&name(stream), &new).await.unwrap() {
        Created::New(info) => info,
        other => panic!("{other:?}"),
    }
}

async fn append(broker: &dyn Broker, stream: &str, append: Append) -> AppendOutcome {
    broker.append_stream(&name(stream), &append).await.unwrap().outcome
}

async fn page(broker: &dyn Broker, stream: &str, from: u64, most: usize) -> Found<StreamPage> {
    let range = ReadRange { from: Some(from), bytes: most, renews: true };
    broker.read_stream(&name(stream), range).await.unwrap()
}

async fn read(broker: &dyn Broker, stream: &str, from: u64) -> String {
    match page(broker, stream, from, usize::MAX >> 12).await {
        Found::Here(page) => String::from_utf8(page.bytes.to_vec()).unwrap(),
        other => format!("{other:?}"),
    }
}

pub(crate) async fn bytes_are_read_as_they_were_appended<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let info = create(broker, "a", text("one ")).await;
    assert_eq!((info.tail, info.end.clone(), info.life.clone()), (4, None, Life::Unset));
    let appended = broker.append_stream(&name("a"), &bytes("two")).await.unwrap();
    let at = appended.at.unwrap();
    assert_eq!((appended.outcome, at.tail), (AppendOutcome::Appended, 7));
    assert_eq!(at.generations, info.generations);
    assert_eq!(read(broker, "a", 0).await, "one two");
    assert_eq!(read(broker, "a", 2).await, "e two");
    assert_eq!((read(broker, "a", 7).await, read(broker, "a", 99).await), (String::new(), String::new()));
    let Found::Here(middle) = page(broker, "a", 2, 3).await else { panic!() };
    assert_eq!((&middle.bytes[..], middle.info.tail), (&b"e t"[..], 7));
    assert_eq!(read(broker, "b", 0).await, "Missing");
    assert_eq!(append(broker, "b", bytes("x")).await, AppendOutcome::Missing);
}

pub(crate) async fn a_stream_is_created_once<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let info = create(broker, "a", text("abc")).await;
    let again = async |new: NewStream| broker.create_stream(&name("a"), &new).await.unwrap();
    assert_eq!(again(text("other bytes")).await, Created::Same(info.clone()));
    assert_eq!(again(of_type("TEXT/plain;charset=utf-8", "")).await, Created::Same(info.clone()));
    assert_eq!(again(of_type("text/html", "")).await, Created::Other(info.clone()));
    assert_eq!(again(living(Life::Ttl(9))).await, Created::Other(info.clone()));
    assert_eq!(again(NewStream { end: Some(End::COMPLETE), ..text("") }).await, Created::Other(info.clone()));
    assert_eq!(read(broker, "a", 0).await, "abc");
    let only = NewStream { only_compare: true, ..text("") };
    assert_eq!(again(only.clone()).await, Created::Same(info));
    assert_eq!(broker.create_stream(&name("b"), &only).await.unwrap(), Created::Absent);
    assert_eq!(read(broker, "b", 0).await, "Missing");
}

pub(crate) async fn nothing_is_appended_after_the_end<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    create(broker, "a", text("")).await;
    let reason = End { kind: EndKind::Cancelled, reason: "stop".into() };
    let last = Append { end: Some(reason.clone()), ..bytes("last") };
    let appended = broker.append_stream(&name("a"), &last).await.unwrap();
    assert_eq!(appended.at.unwrap().end, Some(reason.clone()));
    let Found::Here(all) = page(broker, "a", 0, 100).await else { panic!() };
    assert_eq!((all.info.end, &all.bytes[..]), (Some(reason.clone()), &b"last"[..]));
    assert_eq!(append(broker, "a", bytes("more")).await, AppendOutcome::Closed);
    assert_eq!(append(broker, "a", ending(bytes("more"))).await, AppendOutcome::Closed);
    assert_eq!(append(broker, "a", ending(Append::default())).await, AppendOutcome::Ended);
    let closed = broker.append_stream(&name("a"), &bytes("more")).await.unwrap().at.unwrap();
    assert_eq!((closed.tail, closed.end), (4, Some(reason)));
    assert_eq!(read(broker, "a", 0).await, "last");
}

pub(crate) async fn the_checks_of_an_append_have_an_order<F: Fixture>() {
    let fixture = F::with(BrokerSettings {
        streams: StreamSettings { bytes: 5, producers: 1, ..StreamSettings::default() },
        ..BrokerSettings::default()
    })
    .await;
    let broker = fixture.broker();
    create(broker, "a", text("")).await;
    let fault = |fault| Append { fault: Some(fault), bytes: Bytes::new(), ..bytes("") };
    let other = |append| Append { media_type: Some(media_type("text/html")), ..append };
    let order = |order: &str, append| Append { order: Some(order.into()), ..append };
    for (given, wanted) in [
        (other(fault(BodyFault::Empty)), AppendOutcome::Fault(BodyFault::Empty)),
        (other(fault(BodyFault::Untyped)), AppendOutcome::Fault(BodyFault::Untyped)),
        (other(by("p", 0, 7, fault(BodyFault::Json))), AppendOutcome::Type),
        (by("p", 0, 7, fault(BodyFault::Json)), AppendOutcome::Gap(0, 7)),
        (order("b", bytes("1")), AppendOutcome::Appended),
        (order("b", fault(BodyFault::Json)), AppendOutcome::Order),
        (order("a", bytes("1")), AppendOutcome::Order),
        (order("B", bytes("1")), AppendOutcome::Order),
        (order("ba", fault(BodyFault::Json)), AppendOutcome::Fault(BodyFault::Json)),
        (by("p", 0, 0, order("c", bytes("2"))), AppendOutcome::Appended),
        // A repeated append is recognized though its Stream-Seq is no longer the next one.
        (by("p", 0, 0, order("c", bytes("2"))), AppendOutcome::Repeated(0)),
        (by("q", 0, 0, bytes("3")), AppendOutcome::Producers),
        (bytes("3456"), AppendOutcome::Large),
        (bytes("345"), AppendOutcome::Appended),
    ] {
        assert_eq!(append(broker, "a", given.clone()).await, wanted, "{given:?}");
    }
    assert_eq!(read(broker, "a", 0).await, "12345");
}

pub(crate) async fn a_producer_appends_in_order_and_once<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    create(broker, "a", text("")).await;
    let most = (1 << 53) - 1;
    for (epoch, seq, wanted) in [
        (5, 1, AppendOutcome::Gap(0, 1)),
        (5, 0, AppendOutcome::Appended),
        (5, 0, AppendOutcome::Repeated(0)),
        (5, 1, AppendOutcome::Appended),
        (5, 0, AppendOutcome::Repeated(1)),
        (5, 3, AppendOutcome::Gap(2, 3)),
        (4, 0, AppendOutcome::Stale(5)),
        (4, 2, AppendOutcome::Stale(5)),
        (6, 1, AppendOutcome::Epoch),
        (6, 0, AppendOutcome::Appended),
        (5, 2, AppendOutcome::Stale(6)),
        (most, 0, AppendOutcome::Appended),
        (most, most, AppendOutcome::Gap(1, most)),
        (most - 1, 0, AppendOutcome::Stale(most)),
    ] {
        let given = by("p", epoch, seq, bytes(&format!("{seq}")));
        assert_eq!(append(broker, "a", given).await, wanted, "{epoch} {seq}");
    }
    assert_eq!(append(broker, "a", by("other", 0, 0, bytes("x"))).await, AppendOutcome::Appended);
    assert_eq!(read(broker, "a", 0).await, "0100x");
}

pub(crate) async fn a_producer_that_ends_a_stream_may_repeat_it<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    create(broker, "a", text("")).await;
    let last = |seq| by("p", 0, seq, ending(bytes("x")));
    assert_eq!(append(broker, "a", last(0)).await, AppendOutcome::Appended);
    assert_eq!(append(broker, "a", last(0)).await, AppendOutcome::Repeated(0));
    assert_eq!(append(broker, "a", by("p", 0, 0, ending(bytes("other")))).await, AppendOutcome::Repeated(0));
    for other in [last(1), by("q", 0, 0, ending(bytes("x"))), by("p", 1, 0, ending(bytes("x")))] {
        assert_eq!(append(broker, "a", other).await, AppendOutcome::Closed);
    }
    assert_eq!(read(broker, "a", 0).await, "x");
}

pub(crate) async fn reads_and_writes_let_a_stream_live_on<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    create(broker, "read", living(Life::Ttl(2))).await;
    create(broker, "written", living(Life::Ttl(2))).await;
    create(broker, "left", living(Life::Ttl(2))).await;
    create(broker, "over", living(Life::Ttl(0))).await;
    assert_eq!(read(broker, "over", 0).await, "Missing");
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(read(broker, "read", 0).await, "abc");
        assert_eq!(append(broker, "written", bytes("")).await, AppendOutcome::Appended);
        // To look does not count.
        broker.read_stream(&name("left"), ReadRange::INFO).await.unwrap();
    }
    assert_eq!(read(broker, "left", 0).await, "Missing");
    create(broker, "left", text("again")).await;
    assert_eq!(read(broker, "left", 0).await, "again");
}

pub(crate) async fn a_stream_ends_at_its_time_and_without_one_after_it_was_left<F: Fixture>() {
    let streams = StreamSettings { keep: Duration::from_secs(1), ..StreamSettings::default() };
    let fixture = F::with(BrokerSettings { streams, ..BrokerSettings::default() }).await;
    let broker = fixture.broker();
    create(broker, "kept", text("abc")).await;
    create(broker, "past", living(Life::read(None, Some("2020-01-01T00:00:00Z")).unwrap())).await;
    create(broker, "far", living(Life::read(None, Some("2999-01-01T00:00:00Z")).unwrap())).await;
    assert_eq!(read(broker, "past", 0).await, "Missing");
    eventually("it is forgotten", async || {
        broker.read_stream(&name("kept"), ReadRange::INFO).await.unwrap() == Found::Missing
    })
    .await;
    assert_eq!(read(broker, "far", 0).await, "abc");
}

pub(crate) async fn readers_are_woken_by_every_change<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let info = create(broker, "a", text("abc")).await;
    let subscriber = Subscriber::open(broker, "node").await;
    subscriber.follow(name("a").channel(), 1).await;
    append(broker, "a", bytes("de")).await;
    append(broker, "a", bytes(&"x".repeat(MAX_PUBLISHED + 1))).await;
    append(broker, "a", ending(Append::default())).await;
    append(broker, "a", bytes("refused")).await;
    broker.remove_stream(&name("a")).await.unwrap();
    let messages = subscriber.wait_messages_of(name("a").channel(), 4).await;
    let changes: Vec<_> = messages.iter().map(|message| Change::parse(message).unwrap()).collect();
    let (generation, last) = (info.generations.newest(), 5 + MAX_PUBLISHED as u64 + 1);
    let change = |start, tail, state, bytes: &'static str| Change {
        generation,
        start,
        tail,
        state,
        bytes: Bytes::from_static(bytes.as_bytes()),
    };
    assert_eq!(
        changes,
        [
            change(3, 5, State::Open, "de"),
            change(5, last, State::Open, ""),
            change(last, last, State::Closed, ""),
            change(last, last, State::Deleted, ""),
        ]
    );
}

pub(crate) async fn a_stream_that_is_created_again_has_other_offsets<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let first = create(broker, "a", text("abc")).await;
    assert_eq!(broker.remove_stream(&name("a")).await.unwrap(), Found::Here(Removed::Gone(None)));
    assert_eq!(broker.remove_stream(&name("a")).await.unwrap(), Found::Missing);
    let second = create(broker, "a", text("other")).await;
    assert_eq!(second.generations.resolve(first.generations.mint(3), 5), None);
    assert!(second.generations.mint(0) > first.generations.mint(3));
}

/// Returns what is known of a stream, without letting it live on.
async fn info(broker: &dyn Broker, stream: &str) -> StreamInfo {
    match broker.read_stream(&name(stream), ReadRange::INFO).await.unwrap() {
        Found::Here(page) => page.info,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_stream_whose_producer_is_silent_ends_as_an_error<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let here = Subscriber::open(broker, "n").await;
    here.follow(name("a").channel(), 1).await;
    let created = create(broker, "a", leased(1)).await;
    assert_eq!((created.lease, created.lease_left), (Lease::from_millis(1000), Duration::from_secs(1)));
    let again = broker.create_stream(&name("a"), &leased(2)).await.unwrap();
    assert!(matches!(again, Created::Other(_)), "{again:?}");
    let end = End { kind: EndKind::Error, reason: PRODUCER_LOST.to_owned() };
    eventually("the stream has ended", || async { info(broker, "a").await.end.is_some() }).await;
    let ended = info(broker, "a").await;
    assert_eq!((ended.end.clone(), ended.lapsed, ended.tail), (Some(end.clone()), false, 3));
    let message = here.wait_messages_of(name("a").channel(), 1).await.remove(0);
    let change = Change::parse(&message).unwrap();
    assert_eq!((change.state, change.tail), (State::Closed, 3));
    assert_eq!(append(broker, "a", bytes("late")).await, AppendOutcome::Closed);

    // The append is the first call that finds the lease over.
    create(broker, "b", leased(1)).await;
    tokio::time::sleep(Duration::from_millis(1050)).await;
    let late = broker.append_stream(&name("b"), &bytes("late")).await.unwrap();
    assert_eq!((late.outcome, late.at.unwrap().end), (AppendOutcome::Lapsed, Some(end)));
    assert_eq!(read(broker, "b", 0).await, "abc");
}

pub(crate) async fn appends_and_creating_it_again_renew_a_lease<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let renewed = Duration::from_secs(99);
    create(broker, "a", leased(100)).await;
    let silent = async || {
        tokio::time::sleep(Duration::from_millis(1010)).await;
        // A read renews nothing.
        page(broker, "a", 0, 1).await;
        assert!(info(broker, "a").await.lease_left < renewed);
    };
    silent().await;
    assert_eq!(append(broker, "a", bytes("x")).await, AppendOutcome::Appended);
    assert!(info(broker, "a").await.lease_left > renewed);
    silent().await;
    let Created::Same(again) = broker.create_stream(&name("a"), &leased(100)).await.unwrap() else {
        panic!()
    };
    assert!(again.lease_left > renewed && info(broker, "a").await.lease_left > renewed);
    // One that has ended does not end again.
    create(broker, "b", leased(1)).await;
    assert_eq!(append(broker, "b", ending(Append::default())).await, AppendOutcome::Appended);
    silent().await;
    assert_eq!(info(broker, "b").await.end, Some(End::COMPLETE));
}

pub(crate) async fn bytes_that_a_failover_lost_are_never_mixed_up_with_those_in_their_place<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    create(broker, "a", text("kept ")).await;
    append(broker, "a", by("p", 0, 0, bytes("by p "))).await;
    let before = info(broker, "a").await;
    let replica = fixture.replicate().await;
    let lost =
        broker.append_stream(&name("a"), &by("p", 0, 1, bytes("lost bytes"))).await.unwrap().at.unwrap();
    let (kept_end, lost_end) = (before.generations.mint(before.tail), lost.generations.mint(lost.tail));
    fixture.fail_over(replica).await;

    // Behind the end of what is left.
    let left = info(broker, "a").await;
    assert_eq!((left.tail, left.generations.resolve(lost_end, left.tail)), (before.tail, None));
    // The producer finds out what was lost, and sends it again; others write more than was lost.
    assert_eq!(append(broker, "a", by("p", 0, 2, bytes("next"))).await, AppendOutcome::Gap(1, 2));
    assert_eq!(
        append(broker, "a", bytes("another text, longer than what was lost")).await,
        AppendOutcome::Appended
    );
    let now = info(broker, "a").await;
    assert!(now.tail > lost.tail);
    assert_eq!(now.generations.resolve(lost_end, now.tail), None);
    assert_eq!(now.generations.resolve(kept_end, now.tail), Some(before.tail));
    assert!(now.generations.mint(now.tail) > lost_end);
    // One failover begins one generation.
    append(broker, "a", bytes("more")).await;
    assert_eq!(info(broker, "a").await.generations, now.generations);
    assert_eq!(read(broker, "a", 0).await, "kept by p another text, longer than what was lostmore");
}

fn fork_at(source: &str, offset: Option<Offset>, sub_offset: u64) -> ForkAt {
    ForkAt { source: name(source), offset, sub_offset, media_type: None }
}

/// Forks a stream, and appends to the fork as it is created.
async fn fork(broker: &dyn Broker, stream: &str, at: ForkAt, more: &str) -> Result<Created, ForkRefusal> {
    let plan = forks::plan(broker, at).await.unwrap()?;
    let new = NewStream { media_type: plan.source.media_type.clone(), ..text(more) };
    forks::create(broker, &name(stream), (plan, None), new, 1000).await.unwrap()
}

pub(crate) async fn a_fork_begins_with_the_bytes_of_its_source<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let source = create(broker, "a", text("abcdef")).await;
    let at = |byte| Some(source.generations.mint(byte));
    for (fork_name, at, more, wanted) in [
        ("end", fork_at("a", None, 0), "", "abcdef"),
        ("start", fork_at("a", at(0), 0), "x", "x"),
        ("middle", fork_at("a", at(3), 0), "x", "abcx"),
        ("sub", fork_at("a", at(3), 2), "", "abcde"),
    ] {
        let Ok(Created::New(info)) = fork(broker, fork_name, at.clone(), more).await else {
            panic!("{at:?}")
        };
        assert_eq!(read(broker, fork_name, 0).await, wanted);
        assert_eq!(info.origin.unwrap().source, name("a"));
        // Offsets of the source up to the fork are valid on the fork, and later ones are not.
        let before = wanted.len() as u64 - more.len() as u64;
        assert_eq!(info.generations.resolve(source.generations.mint(before), info.tail), Some(before));
        assert_eq!(info.generations.resolve(source.generations.mint(before + 1), info.tail), None);
    }
    for at in [
        fork_at("a", at(7), 0),
        fork_at("a", at(3), 4),
        fork_at("a", Some(Offset { generation: 9, byte: 1 }), 0),
    ] {
        assert_eq!(fork(broker, "none", at, "").await, Err(ForkRefusal::Place));
    }
    assert_eq!(fork(broker, "none", fork_at("nothing", None, 0), "").await, Err(ForkRefusal::NoSource));
    append(broker, "a", bytes("g")).await;
    assert_eq!(read(broker, "end", 0).await, "abcdef");
    append(broker, "end", bytes("-")).await;
    assert_eq!(
        (read(broker, "end", 0).await, read(broker, "a", 0).await),
        ("abcdef-".into(), "abcdefg".into())
    );
}

pub(crate) async fn a_sub_offset_counts_messages_of_json<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let source = create(broker, "a", of_type("application/json", "1\n{\"a\":2}\n3\n")).await;
    let start = Some(source.generations.mint(2));
    fork(broker, "b", fork_at("a", start, 1), "9\n").await.unwrap();
    assert_eq!(read(broker, "b", 0).await, "1\n{\"a\":2}\n9\n");
    assert_eq!(fork(broker, "c", fork_at("a", start, 3), "").await, Err(ForkRefusal::Place));
}

pub(crate) async fn a_deleted_source_holds_its_name_until_its_last_fork_is_gone<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    create(broker, "a", text("abc")).await;
    fork(broker, "b", fork_at("a", None, 0), "").await.unwrap();
    fork(broker, "c", fork_at("b", None, 0), "").await.unwrap();
    for source in ["a", "b"] {
        assert_eq!(broker.remove_stream(&name(source)).await.unwrap(), Found::Here(Removed::Kept));
        assert_eq!(broker.remove_stream(&name(source)).await.unwrap(), Found::Deleted);
        assert!(!forks::prune(broker, &name(source)).await.unwrap());
    }
    assert_eq!(broker.create_stream(&name("a"), &text("")).await.unwrap(), Created::Deleted);
    assert_eq!(append(broker, "a", bytes("x")).await, AppendOutcome::Deleted);
    assert_eq!(fork(broker, "d", fork_at("a", None, 0), "").await, Err(ForkRefusal::SourceDeleted));
    assert_eq!(read(broker, "c", 0).await, "abc");
    let Found::Here(Removed::Gone(Some(origin))) = broker.remove_stream(&name("c")).await.unwrap() else {
        panic!()
    };
    forks::release(broker, origin, name("c")).await.unwrap();
    for source in ["a", "b"] {
        assert_eq!(read(broker, source, 0).await, "Missing", "{source}");
    }
    create(broker, "a", text("new")).await;
}

pub(crate) async fn a_fork_that_expired_does_not_hold_its_source<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    create(broker, "a", text("abc")).await;
    let plan = forks::plan(broker, fork_at("a", None, 0)).await.unwrap().unwrap();
    let short = NewStream { bytes: Bytes::new(), ..living(Life::Ttl(1)) };
    forks::create(broker, &name("b"), (plan, None), short, 1000).await.unwrap().unwrap();
    assert_eq!(broker.remove_stream(&name("a")).await.unwrap(), Found::Here(Removed::Kept));
    eventually("the fork is gone", async || forks::prune(broker, &name("a")).await.unwrap()).await;
    assert_eq!(read(broker, "a", 0).await, "Missing");
}

pub(crate) async fn forks_of_a_source_are_bounded<F: Fixture>() {
    let streams = StreamSettings { forks: 2, ..StreamSettings::default() };
    let fixture = F::with(BrokerSettings { streams, ..BrokerSettings::default() }).await;
    let broker = fixture.broker();
    create(broker, "a", text("abc")).await;
    for fork_name in ["b", "c"] {
        fork(broker, fork_name, fork_at("a", None, 0), "").await.unwrap();
    }
    assert_eq!(fork(broker, "d", fork_at("a", None, 0), "").await, Err(ForkRefusal::Many));
    let forks = broker.stream_forks(&name("a")).await.unwrap();
    broker.release_forks(&name("a"), &forks[..1]).await.unwrap();
    fork(broker, "d", fork_at("a", None, 0), "").await.unwrap();
}

/// Draws calls, makes them of both brokers, and compares what they answer.
#[tokio::test]
async fn whatever_is_called_both_brokers_answer_alike() {
    let settings = || BrokerSettings {
        streams: StreamSettings { bytes: 40, producers: 2, forks: 3, ..StreamSettings::default() },
        ..BrokerSettings::default()
    };
    let (redis, memory) = (Redis::with(settings()).await, Memory::with(settings()).await);
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        for step in 0..40 {
            let drawn = Drawn::new(&mut random, seed);
            let (one, other) = (drawn.make(redis.broker()).await, drawn.make(memory.broker()).await);
            assert_eq!(one, other, "seed {seed}, step {step}: {drawn:?}");
        }
    }
}

/// One call.
#[derive(Debug)]
enum Drawn {
    Create(StreamName, NewStream),
    Append(StreamName, Append),
    Read(StreamName, u64, usize),
    Remove(StreamName),
    Fork(StreamName, StreamName, Option<u64>, u64),
    Prune(StreamName),
}

impl Drawn {
    fn new(random: &mut fastrand::Rng, seed: u64) -> Self {
        let any = |random: &mut fastrand::Rng| name(&format!("{seed}/{}", random.u8(..3)));
        let stream = any(random);
        match random.u8(..12) {
            0 | 1 => {
                let kind = if random.bool() { "text/plain" } else { "text/html" };
                let end = (random.u8(..6) == 0).then_some(End::COMPLETE);
                let lease = (random.u8(..4) == 0).then(|| Lease::from_millis(3_600_000)).flatten();
                Self::Create(stream, NewStream { end, lease, ..of_type(kind, &"ab"[..random.usize(..3)]) })
            }
            2..=6 => {
                let kind = if random.u8(..5) > 0 { "text/plain" } else { "text/html" };
                let producer = random.bool().then(|| Producer {
                    id: format!("p{}", random.u8(..3)),
                    epoch: random.u64(..3),
                    seq: random.u64(..3),
                });
                let fault = match random.u8(..12) {
                    0 => Some(BodyFault::Empty),
                    1 => Some(BodyFault::Untyped),
                    2 => Some(BodyFault::Json),
                    _ => None,
                };
                let size = if fault.is_some() { 0 } else { random.usize(..9) };
                Self::Append(
                    stream,
                    Append {
                        bytes: Bytes::from(vec![b'x'; size]),
                        media_type: (size > 0 || fault.is_some()).then(|| media_type(kind)),
                        end: (random.u8(..8) == 0).then_some(End::COMPLETE),
                        fault,
                        producer,
                        order: (random.u8(..4) == 0)
                            .then(|| ["a", "B", "b", "ba"][random.usize(..4)].to_owned()),
                    },
                )
            }
            7 | 8 => Self::Read(stream, random.u64(..50), random.usize(1..20)),
            9 => Self::Remove(stream),
            10 => Self::Fork(any(random), stream, random.bool().then(|| random.u64(..20)), random.u64(..4)),
            _ => Self::Prune(stream),
        }
    }

    /// Makes the call. Generations and tokens differ between brokers, so they are left out.
    async fn make(&self, broker: &dyn Broker) -> String {
        let shown = |info: &StreamInfo| {
            let source = info.origin.as_ref().map(|origin| origin.source.clone());
            format!("{} {} {:?} {source:?} {:?}", info.tail, info.media_type, info.end, info.lease)
        };
        match self {
            Self::Create(stream, new) => match broker.create_stream(stream, new).await.unwrap() {
                Created::New(info) => format!("new {}", shown(&info)),
                Created::Same(info) => format!("same {}", shown(&info)),
                Created::Other(info) => format!("other {}", shown(&info)),
                other => format!("{other:?}"),
            },
            Self::Append(stream, append) => {
                let appended = broker.append_stream(stream, append).await.unwrap();
                format!("{:?} {:?}", appended.outcome, appended.at.map(|at| (at.tail, at.end)))
            }
            Self::Read(stream, from, most) => match page(broker, stream.as_str(), *from, *most).await {
                Found::Here(page) => format!("{:?} {}", page.bytes, shown(&page.info)),
                other => format!("{other:?}"),
            },
            Self::Remove(stream) => match broker.remove_stream(stream).await.unwrap() {
                Found::Here(Removed::Gone(Some(origin))) => {
                    let source = origin.source.clone();
                    forks::release(broker, origin, stream.clone()).await.unwrap();
                    format!("gone from {source}")
                }
                other => format!("{other:?}"),
            },
            Self::Fork(stream, source, byte, sub_offset) => {
                let info = match broker.read_stream(source, ReadRange::INFO).await.unwrap() {
                    Found::Here(page) => page.info,
                    other => return format!("{other:?}"),
                };
                let offset = byte.map(|byte| info.generations.mint(byte));
                let at = ForkAt { source: source.clone(), offset, sub_offset: *sub_offset, media_type: None };
                match fork(broker, stream.as_str(), at, "x").await {
                    Ok(Created::New(info)) => format!("new {}", shown(&info)),
                    Ok(Created::Same(info)) => format!("same {}", shown(&info)),
                    Ok(Created::Other(info)) => format!("other {}", shown(&info)),
                    other => format!("{other:?}"),
                }
            }
            Self::Prune(stream) => {
                let is_deleted = broker.read_stream(stream, ReadRange::INFO).await.unwrap() == Found::Deleted;
                if !is_deleted {
                    return "not deleted".to_owned();
                }
                format!("{}", forks::prune(broker, stream).await.unwrap())
            }
        }
    }
}

pub(crate) async fn all_streams_are_listed_in_pages<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    assert_eq!(broker.list_streams(0).await.unwrap().streams, []);
    for n in 0..LISTED * 2 {
        create(broker, &format!("list/{n}"), text("abc")).await;
    }
    let ended = name("list/0");
    broker.append_stream(&ended, &ending(bytes("de"))).await.unwrap();
    broker.remove_stream(&name("list/1")).await.unwrap();
    let (mut all, mut after, mut pages) = (BTreeMap::new(), 0, 0);
    loop {
        let page = broker.list_streams(after).await.unwrap();
        assert!(page.streams.len() < LISTED * 2, "{}", page.streams.len());
        all.extend(page.streams);
        pages += 1;
        let Some(next) = page.next else { break };
        after = next;
    }
    assert!(pages > 1);
    assert_eq!(all.len(), LISTED * 2 - 1);
    assert_eq!((all[&ended].tail, &all[&ended].end), (5, &Some(End::COMPLETE)));
    assert_eq!((all[&name("list/2")].tail, &all[&name("list/2")].end), (3, &None));
}
