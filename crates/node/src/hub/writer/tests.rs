//! One loop by itself, turn by turn.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::log::{Page, PageLimit};
use fanfare_broker::{BrokerSettings, EventLog, MemoryBroker, NodeId};
use fanfare_protocol::sse::Format;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Entry, Event, Position, SessionId};
use futures_util::FutureExt;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::task::coop::unconstrained;

use super::*;
use crate::config::stream::StreamConfig;
use crate::connection::Taken;
use crate::connection::places::Places;
use crate::control;
use crate::delivery::Delivery;
use crate::hub::reads::Answer;
use crate::metrics::Metrics;
use crate::metrics::cluster::ClusterMetrics;
use crate::read_budget::ReadBudget;
use crate::stream::{Coding, Framing, Stream};
use fanfare_broker::testing::{Call, Fault, FaultyBroker};

fn writer() -> Writer {
    writer_on(Arc::new(MemoryBroker::new(BrokerSettings::default())))
}

fn writer_on(log: Arc<dyn EventLog>) -> Writer {
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let (control, _) = control::queue(&Arc::new(ClusterMetrics::register(&mut Registry::default())));
    let follows =
        Arc::new(Follows::new(vec![Arc::default()], 1 << 30, 1 << 20, control, Arc::clone(&metrics)));
    let settings = StreamConfig::default();
    let budget = Arc::new(ReadBudget::new(settings.max_log_read_bytes));
    let places = Places::new(16, 100, Arc::clone(&metrics));
    let (node, memory) = (NodeId::new("a").unwrap(), crate::memory::Memory::new(usize::MAX));
    let around = Surroundings::new(settings, Duration::ZERO, metrics, node, places, memory);
    Writer::new(0, around, follows, Reads::new(log, budget, 4, PageLimit::entries(100)))
}

fn open(writer: &Writer, channel: &Channel, from: StartAt) -> DuplexStream {
    open_coded(writer, channel, from, Coding::Identity)
}

fn open_coded(writer: &Writer, channel: &Channel, from: StartAt, coding: Coding) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let stream = Stream {
        user: None,
        session: SessionId::random(),
        held: None,
        channels: vec![(channel.clone(), from)],
        format: Format::Raw,
        coding,
        expires: None,
        cursor: None,
        head: Bytes::new(),
        framing: Framing::Plain,
    };
    writer.around.metrics.active.inc();
    assert!(writer.inbox.push(Message::Open(Box::new(stream), Box::new(theirs))));
    ours
}

fn event(channel: &Channel, number: u64, data: String) -> Arc<Delivery> {
    let event = Event::new(None, data, 1 << 20).unwrap();
    let (position, previous) = (Position::new(number, 0), Position::new(number - 1, 0));
    Delivery::kept(channel, &Entry { position, previous, event })
}

fn publish(writer: &Writer, channel: &Channel, number: u64) {
    assert!(writer.inbox.push_event(event(channel, number, format!("event {number}.")), 1 << 30));
}

/// Turns until nothing is left to do.
async fn settle(writer: &mut Writer) -> usize {
    let mut turns = 0;
    loop {
        turns += 1;
        assert!(turns < 10_000, "it never comes to rest");
        let (waker, woken) = flag();
        let _ = writer.poll_turn(&mut Context::from_waker(&waker));
        tokio::task::yield_now().await;
        if !woken.load(std::sync::atomic::Ordering::Acquire) {
            return turns;
        }
    }
}

struct Flag(Arc<std::sync::atomic::AtomicBool>);

impl std::task::Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
}

fn flag() -> (Waker, Arc<std::sync::atomic::AtomicBool>) {
    let woken = Arc::default();
    (Arc::new(Flag(Arc::clone(&woken))).into(), woken)
}

#[tokio::test(start_paused = true)]
async fn a_burst_on_one_channel_does_not_keep_another_waiting() {
    let mut writer = writer();
    let (busy, quiet) = (Channel::new("busy").unwrap(), Channel::new("quiet").unwrap());
    let crowd: Vec<_> = (0..1000).map(|_| open(&writer, &busy, StartAt::Position(Position::ZERO))).collect();
    let alone = open(&writer, &quiet, StartAt::Position(Position::ZERO));
    settle(&mut writer).await;
    let sent = writer.around.metrics.sent.get();
    assert_eq!(sent, 0);

    for number in 1..=500 {
        publish(&writer, &busy, number);
    }
    let _ = writer.poll_turn(&mut Context::from_waker(Waker::noop()));
    let sent = writer.around.metrics.sent.get();
    assert!((1_000..100_000).contains(&sent), "{sent} of 500,000 in one turn");
    // What comes meanwhile waits for the burst and not for its writing; all of it arrives.
    publish(&writer, &quiet, 1);
    settle(&mut writer).await;
    assert_eq!(writer.around.metrics.sent.get(), 500_001);
    assert!(writer.fresh.is_empty() && writer.messages.is_empty());
    drop((crowd, alone));
    settle(&mut writer).await;
    assert_eq!(writer.around.metrics.active.get(), 0);
}

/// One turn, with all the budget that the loop has when it runs by itself.
async fn one_turn(writer: &mut Writer) {
    let turn = poll_fn(|_| {
        let _ = writer.poll_turn(&mut Context::from_waker(Waker::noop()));
        Poll::Ready(())
    });
    unconstrained(turn).await;
}

/// Returns what a client has got so far.
fn received(socket: &mut DuplexStream) -> String {
    let mut text = Vec::new();
    while let Some(read) = unconstrained(socket.read_buf(&mut text)).now_or_never() {
        assert!(read.unwrap() > 0, "the stream is open");
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_event_that_goes_round_for_many_turns_does_not_keep_other_streams_waiting() {
    let mut writer = writer();
    let (busy, quiet) = (Channel::new("busy").unwrap(), Channel::new("quiet").unwrap());
    let mut alone = open(&writer, &quiet, StartAt::Position(Position::ZERO));
    let _crowd: Vec<_> = (0..1000).map(|_| open(&writer, &busy, StartAt::Position(Position::ZERO))).collect();
    settle(&mut writer).await;
    received(&mut alone);
    publish(&writer, &busy, 1);
    one_turn(&mut writer).await;
    assert!(writer.offering.is_some());
    // The first that was opened.
    writer.seats[0].connection.beat();
    writer.mark(0);
    one_turn(&mut writer).await;
    assert!(writer.offering.is_some());
    assert_eq!(received(&mut alone), ":\n");
}

/// Completes a pending log read of the broker with the events after `after`, each one following the one before.
async fn answer(writer: &mut Writer, after: u64, events: &[u64]) {
    let at = |number| Position::new(number, 0);
    let entries: Vec<_> = events
        .iter()
        .map(|&number| {
            let event = Event::new(None, format!("event {number}."), 1 << 20).unwrap();
            Arc::new(Entry { position: at(number), previous: at(number - 1), event })
        })
        .collect();
    let last = at(*events.last().unwrap_or(&after.min(6)));
    let page = Page { entries, next: last.max(at(after)), end: true, last, ..Page::default() };
    let ask = Ask::Page(at(after));
    let topic = &writer.topics[0];
    let sent = topic.reads.iter().any(|(asked, read)| *asked == ask && read.sent);
    assert!(sent, "what comes after {after} is not asked: {:?}", topic.reads);
    writer.answered((0, topic.serial), ask, Ok(Answer::Page(page)));
    settle(writer).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_failover_is_not_for_who_has_seen_what_came_of_it() {
    let broker = FaultyBroker::new();
    broker.always(Call::Page, Fault::Hung);
    let mut writer = writer_on(broker.shared());
    let channel = Channel::new("room").unwrap();
    let mut first = open(&writer, &channel, StartAt::Position(Position::new(6, 0)));
    settle(&mut writer).await;
    answer(&mut writer, 6, &[]).await;
    publish(&writer, &channel, 7);
    settle(&mut writer).await;
    // Another client asks for what comes after 6. Before that is answered, a failover loses 7, and the first client's
    // connection finds that out; the wire is lost twice meanwhile.
    let mut second = open(&writer, &channel, StartAt::Position(Position::new(6, 0)));
    settle(&mut writer).await;
    writer.followed(&channel);
    settle(&mut writer).await;
    writer.followed(&channel);
    answer(&mut writer, 7, &[]).await;
    answer(&mut writer, 6, &[7]).await;
    assert_eq!(received(&mut first).matches("event 7.").count(), 1);
    assert_eq!(received(&mut second).matches("event 7.").count(), 1);
    // It asks by itself.
    answer(&mut writer, 6, &[]).await;
    assert!(received(&mut first).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_at_the_tip_reads_the_log_once_when_it_is_subscribed() {
    let broker = FaultyBroker::new();
    broker.always(Call::Page, Fault::Hung);
    let mut writer = writer_on(broker.shared());
    let channel = Channel::new("room").unwrap();
    let mut client = open(&writer, &channel, StartAt::Tip(Position::new(6, 0)));
    settle(&mut writer).await;
    assert!(received(&mut client).contains("event: connected"));
    assert_eq!(writer.topics[0].reads.iter().count(), 0, "nothing is expected before the subscription");
    writer.followed(&channel);
    settle(&mut writer).await;
    // Published between the look at the tip and the subscription.
    answer(&mut writer, 6, &[7]).await;
    assert_eq!(received(&mut client).matches("event 7.").count(), 1);
    publish(&writer, &channel, 8);
    settle(&mut writer).await;
    assert_eq!(received(&mut client).matches("event 8.").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_an_event_goes_round_keeps_nobody_else_from_it() {
    let mut writer = writer();
    let channel = Channel::new("busy").unwrap();
    let mut crowd: Vec<_> =
        (0..1000).map(|_| Some(open(&writer, &channel, StartAt::Position(Position::ZERO)))).collect();
    settle(&mut writer).await;
    // One that only the round itself keeps from being given twice, or not at all.
    let ephemeral = Event::new(None, "ephemeral.".into(), 1 << 20).unwrap();
    assert!(writer.inbox.push_event(Delivery::ephemeral(&channel, ephemeral, 1), 1 << 30));
    let mut sent = 0;
    for (turn, leaving) in [(0, 0..100), (1, 250..350), (2, 600..700)] {
        one_turn(&mut writer).await;
        sent = writer.around.metrics.sent.get();
        assert!(sent < 1000, "turn {turn}: {sent} are not all");
        crowd[leaving].iter_mut().for_each(|socket| *socket = None);
    }
    assert!(sent > 300, "some of those who left had it, and others had not");
    publish(&writer, &channel, 1);
    settle(&mut writer).await;
    for socket in crowd.iter_mut().flatten() {
        let text = received(socket);
        assert_eq!((text.matches("ephemeral.").count(), text.matches("event 1.").count()), (1, 1), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_must_be_compressed_does_not_keep_another_channel_waiting() {
    let mut writer = writer();
    let (busy, quiet) = (Channel::new("busy").unwrap(), Channel::new("quiet").unwrap());
    let zipped = open_coded(&writer, &busy, StartAt::Position(Position::ZERO), Coding::Gzip);
    let alone = open(&writer, &quiet, StartAt::Position(Position::ZERO));
    settle(&mut writer).await;
    let inbox = Arc::clone(&writer.inbox);
    for number in 1..=100 {
        assert!(inbox.push_event(event(&busy, number, "x".repeat(60_000)), 1 << 30));
    }
    let _ = writer.poll_turn(&mut Context::from_waker(Waker::noop()));
    assert!(!writer.messages.is_empty(), "6 MB are not compressed in one turn");
    settle(&mut writer).await;
    assert_eq!(writer.around.metrics.sent.get(), 100);
    drop((zipped, alone));
}

#[tokio::test(start_paused = true)]
async fn an_event_larger_than_the_queue_is_not_kept_out_by_a_busy_channel_beside_it() {
    let mut writer = writer();
    let channel = Channel::broadcast();
    let _socket = open(&writer, &channel, StartAt::Position(Position::ZERO));
    settle(&mut writer).await;
    let connection = &mut writer.seats[0].connection;
    let mut take = |number, bytes| {
        let event = event(&channel, number, "x".repeat(bytes));
        let taken = connection.take_live(0, &event, &writer.around);
        if taken == Taken::Next {
            connection.queue_event(0, &event, &writer.around);
        }
        taken == Taken::Next
    };
    assert!(take(1, 10), "something waits");
    assert!(take(2, 70_000), "more than `stream.queue`");
    assert!(!take(3, 10), "one such event is all there is room for");
}

#[tokio::test(start_paused = true)]
async fn an_idle_loop_sleeps() {
    let mut writer = writer();
    let channel = Channel::broadcast();
    let sockets: Vec<_> = (0..100).map(|_| open(&writer, &channel, StartAt::Latest)).collect();
    settle(&mut writer).await;
    assert_eq!(settle(&mut writer).await, 1);
    tokio::time::advance(Duration::from_secs(16)).await;
    assert!(settle(&mut writer).await <= 3, "one look for the heartbeats");
    drop(sockets);
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_breaks_leaves_no_stream_counted() {
    let mut writer = writer();
    let metrics = Arc::clone(&writer.around.metrics);
    let inbox = Arc::clone(&writer.inbox);
    let channel = Channel::broadcast();
    let _served = open(&writer, &channel, StartAt::Latest);
    settle(&mut writer).await;
    let _waiting = open(&writer, &channel, StartAt::Latest);
    assert_eq!(metrics.active.get(), 2);
    drop(writer);
    assert_eq!(metrics.active.get(), 0);
    assert!(!inbox.push(Message::Down));
}
