//! Tests of one shard without its task, turn by turn.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fanfare_broker::log::{Page, PageLimit};
use fanfare_broker::testing::{Call, Fault, FaultyBroker};
use fanfare_broker::{BrokerSettings, EventLog, MemoryBroker, NodeId};
use fanfare_config::stream::StreamConfig;
use fanfare_coordination::control;
use fanfare_coordination::metrics::ClusterMetrics;
use fanfare_protocol::event::DEFAULT_MAX_DATA_BYTES;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Entry, Event, Position, SessionId};
use fanfare_telemetry::traces::Tracer;
use futures_util::FutureExt;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::task::coop::unconstrained;

use super::*;
use crate::PREFETCH;
use crate::connection::LiveOutcome;
use crate::connection::open_streams::OpenStreams;
use crate::connection::user_sockets::UserSockets;
use crate::connection_log::ConnectionLog;
use crate::encoded_event::EncodedEvent;
use crate::fork;
use crate::log_reads::LogResult;
use crate::metrics::HubMetrics;
use crate::queue_budget::QueueBudget;
use crate::read_budget::ReadBudget;
use crate::retry::{Failover, RetryPolicy, RetrySettings};
use crate::stream::{Coding, NewStream, Transport};
use crate::testing;

fn shard() -> Shard {
    shard_on(Arc::new(MemoryBroker::new(BrokerSettings::default())))
}

fn shard_on(log: Arc<dyn EventLog>) -> Shard {
    let metrics = Arc::new(HubMetrics::register(&mut Registry::default()));
    let (control, _) = control::queue(&Arc::new(ClusterMetrics::register(&mut Registry::default())));
    let table = Arc::new(SubscriptionTable::new(
        vec![Arc::default()],
        (1 << 30, 1 << 20),
        control,
        Arc::clone(&metrics),
        Tracer::default(),
    ));
    let settings = StreamConfig::default();
    let budget =
        Arc::new(ReadBudget::new(settings.max_log_read_bytes, DEFAULT_MAX_DATA_BYTES, Arc::clone(&metrics)));
    let sockets = (OpenStreams::new(Arc::clone(&metrics)), UserSockets::new(16, 100, Arc::clone(&metrics)));
    let retry = RetryPolicy::new(RetrySettings::new(&settings, Duration::ZERO));
    let (node, queues) = (NodeId::new("a").unwrap(), QueueBudget::new(usize::MAX, Gauge::default()));
    let context =
        ShardContext::new(settings, retry, (metrics, ConnectionLog::default()), node, sockets, queues);
    Shard::new(0, context, table, LogReads::new(log, budget, 4, PageLimit::entries(100)), PREFETCH)
}

fn open(shard: &Shard, channel: &Channel, from: StartAt) -> DuplexStream {
    open_coded(shard, channel, from, Coding::Identity)
}

fn open_coded(shard: &Shard, channel: &Channel, from: StartAt, coding: Coding) -> DuplexStream {
    open_as(
        shard,
        NewStream { coding, ..testing::stream(SessionId::random(), vec![(channel.clone(), from)]) },
    )
}

fn open_as(shard: &Shard, stream: NewStream) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    shard.context.open_streams.add();
    assert!(shard.inbox.push(Message::Open(Box::new((stream, Transport::plain(theirs))))));
    ours
}

fn event(channel: &Channel, number: u64, data: String) -> Arc<EncodedEvent> {
    let event = Event::new(None, data, 1 << 20).unwrap();
    let (position, previous) = (Position::new(number, 0), Position::new(number - 1, 0));
    EncodedEvent::stored(channel, &Entry { position, previous, event })
}

fn publish(shard: &Shard, channel: &Channel, number: u64) {
    assert!(shard.inbox.push_event(event(channel, number, format!("event {number}.")), None, 1 << 30));
}

/// Runs turns until the shard is idle. Returns their number.
async fn settle(shard: &mut Shard) -> usize {
    let mut turns = 0;
    loop {
        turns += 1;
        assert!(turns < 10_000, "the shard never becomes idle");
        let (waker, woken) = flag();
        let _ = shard.poll_turn(&mut Context::from_waker(&waker));
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
async fn a_burst_on_one_channel_does_not_delay_another() {
    let mut shard = shard();
    let (busy, quiet) = (Channel::new("busy").unwrap(), Channel::new("quiet").unwrap());
    let crowd: Vec<_> = (0..1000).map(|_| open(&shard, &busy, StartAt::Position(Position::ZERO))).collect();
    let alone = open(&shard, &quiet, StartAt::Position(Position::ZERO));
    settle(&mut shard).await;
    let sent = shard.context.metrics.events_sent();
    assert_eq!(sent, 0);

    for number in 1..=500 {
        publish(&shard, &busy, number);
    }
    let _ = shard.poll_turn(&mut Context::from_waker(Waker::noop()));
    let sent = shard.context.metrics.events_sent();
    assert!((1_000..100_000).contains(&sent), "{sent} of 500,000 in one turn");
    // A later event waits for the fan-out of the burst, but not for its writes; all events arrive.
    publish(&shard, &quiet, 1);
    settle(&mut shard).await;
    assert_eq!(shard.context.metrics.events_sent(), 500_001);
    assert!(shard.fresh.is_empty() && shard.messages.is_empty());
    drop((crowd, alone));
    settle(&mut shard).await;
    assert_eq!(shard.context.metrics.active.get(), 0);
}

/// Runs one turn, with the whole budget of a shard that runs as a task.
async fn one_turn(shard: &mut Shard) {
    let turn = poll_fn(|_| {
        let _ = shard.poll_turn(&mut Context::from_waker(Waker::noop()));
        Poll::Ready(())
    });
    unconstrained(turn).await;
}

/// Returns the text that a client has received so far.
fn received(socket: &mut DuplexStream) -> String {
    let mut text = Vec::new();
    while let Some(read) = unconstrained(socket.read_buf(&mut text)).now_or_never() {
        assert!(read.unwrap() > 0, "the stream is open");
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_over_many_turns_does_not_delay_other_streams() {
    let mut shard = shard();
    let (busy, quiet) = (Channel::new("busy").unwrap(), Channel::new("quiet").unwrap());
    let mut alone = open(&shard, &quiet, StartAt::Position(Position::ZERO));
    let _crowd: Vec<_> = (0..1000).map(|_| open(&shard, &busy, StartAt::Position(Position::ZERO))).collect();
    settle(&mut shard).await;
    received(&mut alone);
    publish(&shard, &busy, 1);
    one_turn(&mut shard).await;
    assert!(shard.fan_out.is_some());
    // The first that was opened.
    shard.slots[0].connection.queue_heartbeat();
    shard.mark(0);
    one_turn(&mut shard).await;
    assert!(shard.fan_out.is_some());
    assert_eq!(received(&mut alone), ":\n");
}

/// Completes a pending log read of the broker with the events after `after`, each one following the one before.
async fn answer(shard: &mut Shard, after: u64, events: &[u64]) {
    let entries: Vec<_> = events.iter().map(|&number| (at(number), at(number - 1))).collect();
    let last = at(*events.last().unwrap_or(&after.min(6)));
    answer_page(shard, at(after), &entries, last).await;
}

fn at(number: u64) -> Position {
    Position::new(number, 0)
}

/// Completes a pending log read of the broker with entries, each a position and the one before it, to the log's end.
async fn answer_page(shard: &mut Shard, after: Position, entries: &[(Position, Position)], last: Position) {
    let entries: Vec<_> = entries
        .iter()
        .map(|&(position, previous)| Arc::new(Entry { position, previous, event: named(position) }))
        .collect();
    let next = entries.last().map_or(after, |entry| entry.position);
    let page = Page { entries, next, end: true, last, ..Page::default() };
    let query = LogQuery::Page(after);
    let topic = &shard.topics[0];
    let sent = topic.reads.iter().any(|(asked, read)| *asked == query && read.started);
    assert!(sent, "no read after {after} is in progress: {:?}", topic.reads);
    shard.read_finished((0, topic.serial), query, Ok(LogResult::Page(page)));
    settle(shard).await;
}

#[tokio::test(start_paused = true)]
async fn a_page_from_before_a_failover_is_not_for_a_connection_that_saw_the_failover() {
    let broker = FaultyBroker::new();
    broker.always(Call::Page, Fault::Hung);
    let mut shard = shard_on(broker.shared());
    let channel = Channel::new("room").unwrap();
    let mut first = open(&shard, &channel, StartAt::Position(Position::new(6, 0)));
    settle(&mut shard).await;
    answer(&mut shard, 6, &[]).await;
    publish(&shard, &channel, 7);
    settle(&mut shard).await;
    // The second client reads after 6. Before the reply, a failover loses 7, which the first client's connection
    // detects; the subscriber connection is lost twice meanwhile.
    let mut second = open(&shard, &channel, StartAt::Position(Position::new(6, 0)));
    settle(&mut shard).await;
    shard.subscribed(&channel);
    settle(&mut shard).await;
    shard.subscribed(&channel);
    answer(&mut shard, 7, &[]).await;
    answer(&mut shard, 6, &[7]).await;
    assert_eq!(received(&mut first).matches("event 7.").count(), 1);
    assert_eq!(received(&mut second).matches("event 7.").count(), 1);
    // The connection reads the log again.
    answer(&mut shard, 6, &[]).await;
    assert!(received(&mut first).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_at_the_tip_reads_the_log_once_when_it_is_subscribed() {
    let broker = FaultyBroker::new();
    broker.always(Call::Page, Fault::Hung);
    let mut shard = shard_on(broker.shared());
    let channel = Channel::new("room").unwrap();
    let mut client = open(&shard, &channel, StartAt::Tip(Position::new(6, 0)));
    settle(&mut shard).await;
    assert!(received(&mut client).contains("event: connected"));
    assert_eq!(shard.topics[0].reads.iter().count(), 0, "nothing is expected before the subscription");
    shard.subscribed(&channel);
    settle(&mut shard).await;
    // Published between the look at the tip and the subscription.
    answer(&mut shard, 6, &[7]).await;
    assert_eq!(received(&mut client).matches("event 7.").count(), 1);
    publish(&shard, &channel, 8);
    settle(&mut shard).await;
    assert_eq!(received(&mut client).matches("event 8.").count(), 1);
}

/// Returns a shard whose log answers no read, and a client with a cursor on a channel that is not subscribed yet.
async fn shard_of_a_client_that_came_back(is_connected: bool) -> (Shard, Channel, DuplexStream) {
    let broker = FaultyBroker::new();
    broker.always(Call::Page, Fault::Hung);
    let mut shard = shard_on(broker.shared());
    if is_connected {
        assert!(shard.inbox.push(Message::Up));
    }
    let channel = Channel::new("room").unwrap();
    let client = open(&shard, &channel, StartAt::Position(Position::new(6, 0)));
    settle(&mut shard).await;
    (shard, channel, client)
}

#[tokio::test]
async fn a_client_that_comes_back_reads_the_log_once_when_its_channel_is_subscribed() {
    let (mut shard, channel, mut client) = shard_of_a_client_that_came_back(true).await;
    assert_eq!(shard.topics[0].reads.iter().count(), 0, "a read before the subscription would be repeated");
    shard.subscribed(&channel);
    settle(&mut shard).await;
    answer(&mut shard, 6, &[7]).await;
    assert_eq!(received(&mut client).matches("event 7.").count(), 1);
    assert_eq!(shard.topics[0].reads.iter().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_when_the_log_was_read_and_not_before() {
    let broker = FaultyBroker::new();
    broker.always(Call::Page, Fault::Hung);
    let mut shard = shard_on(broker.shared());
    assert!(shard.inbox.push(Message::Up));
    let channel = Channel::new("room").unwrap();
    let channels = vec![(channel.clone(), StartAt::Position(Position::new(6, 0)))];
    let wait = Some(Duration::ZERO);
    let mut client = open_as(&shard, NewStream { wait, ..testing::stream(SessionId::random(), channels) });
    let pass = async |shard: &mut Shard| {
        tokio::time::advance(Duration::from_secs(1)).await;
        settle(shard).await;
    };
    settle(&mut shard).await;
    pass(&mut shard).await;
    assert!(shard.slots[0].connection.is_open(), "the subscription is awaited, and then the log is read");
    shard.subscribed(&channel);
    settle(&mut shard).await;
    pass(&mut shard).await;
    assert!(shard.slots[0].connection.is_open(), "the log is being read");
    answer(&mut shard, 6, &[7]).await;
    pass(&mut shard).await;
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text.matches("event 7.").count(), 1, "{text}");
}

#[tokio::test]
async fn without_a_subscriber_connection_the_log_is_read_at_once() {
    let (mut shard, _, mut client) = shard_of_a_client_that_came_back(false).await;
    answer(&mut shard, 6, &[7]).await;
    assert_eq!(received(&mut client).matches("event 7.").count(), 1);
}

#[tokio::test]
async fn a_client_whose_channel_cannot_be_subscribed_reads_the_log_when_the_connection_is_lost() {
    let (mut shard, _, mut client) = shard_of_a_client_that_came_back(true).await;
    assert!(shard.inbox.push(Message::Down));
    settle(&mut shard).await;
    answer(&mut shard, 6, &[7]).await;
    assert_eq!(received(&mut client).matches("event 7.").count(), 1);
    // Others that were live wait until the channel is subscribed.
    assert!(shard.inbox.push(Message::Up));
    assert!(shard.inbox.push(Message::Down));
    settle(&mut shard).await;
    assert_eq!(shard.topics[0].reads.iter().count(), 0);
}

#[tokio::test]
async fn a_changed_reconnection_time_comes_once_with_the_next_event() {
    let (mut shard, _, mut client) = shard_of_a_client_that_came_back(false).await;
    let channel = Channel::new("room").unwrap();
    answer(&mut shard, 6, &[7]).await;
    assert_eq!(received(&mut client).matches("retry: ").count(), 1);
    shard.context.retry.adapt(Failover { streams: 50_000, others: 1, connects_per_second: 1000 });
    shard.slots[0].connection.queue_heartbeat();
    shard.mark(0);
    settle(&mut shard).await;
    assert!(!received(&mut client).contains("retry"), "a heartbeat is a comment alone");
    publish(&shard, &channel, 8);
    settle(&mut shard).await;
    let block = received(&mut client);
    assert_eq!(block.matches("retry: ").count(), 1, "{block}");
    assert_eq!(block.matches("\n\n").count(), 1, "it belongs to the event's block: {block}");
    publish(&shard, &channel, 9);
    settle(&mut shard).await;
    let block = received(&mut client);
    assert!(block.contains("event 9.") && !block.contains("retry"), "{block}");
}

/// Returns an event whose data names its position.
fn named(position: Position) -> Event {
    let name = if position.seq == 0 { position.ms.to_string() } else { position.to_string() };
    Event::new(None, format!("event {name}."), 1 << 20).unwrap()
}

/// Publishes an event on the live topic.
async fn publish_live(shard: &mut Shard, channel: &Channel, position: Position, previous: Position) {
    let entry = Entry { position, previous, event: named(position) };
    assert!(shard.inbox.push_event(EncodedEvent::stored(channel, &entry), None, 1 << 30));
    settle(shard).await;
}

/// Returns the events and gaps that a client received since the last call, in order.
fn events(socket: &mut DuplexStream) -> Vec<String> {
    let text = received(socket);
    let blocks = text.split("\n\n").filter_map(|block| {
        let event = block.split_once("data: event ").and_then(|(_, event)| event.split_once('.'));
        event.map(|(name, _)| name).or_else(|| block.contains("event: gap").then_some("gap"))
    });
    blocks.map(str::to_owned).collect()
}

/// Returns a shard whose log reads the test answers.
fn shard_with_pending_reads() -> Shard {
    let broker = FaultyBroker::new();
    broker.always(Call::Page, Fault::Hung);
    shard_on(broker.shared())
}

/// Seed 178 of the simulation `everything`.
#[tokio::test(start_paused = true)]
async fn a_forged_event_beside_a_failover_repeats_nothing() {
    let mut shard = shard_with_pending_reads();
    let channel = Channel::new("room").unwrap();
    let mut first = open(&shard, &channel, StartAt::Position(at(6)));
    settle(&mut shard).await;
    answer_page(&mut shard, at(6), &[], at(6)).await;
    // Two forged events: one that fits, and one that claims that the log went back to 2.
    publish_live(&mut shard, &channel, at(7), at(6)).await;
    publish_live(&mut shard, &channel, Position::new(3, 1), at(2)).await;
    let log = [(at(8), at(6)), (at(9), at(8)), (at(10), at(9))];
    answer_page(&mut shard, at(7), &log, at(10)).await;
    assert_eq!(events(&mut first), ["7", "8", "9", "10"]);
    // A failover loses 10. A client that has the first forged event comes back.
    let mut second = open(&shard, &channel, StartAt::Position(at(7)));
    settle(&mut shard).await;
    answer_page(&mut shard, at(7), &log[..2], at(9)).await;
    assert_eq!(events(&mut second), ["gap", "8", "9"]);
    assert_eq!(shard.topics[0].reads.iter().count(), 0, "nothing is read again");
}

/// Two clients have received all from 8 to 10 when a live event claims that the log went back to `fork`.
async fn forked_at(fork: u64) -> (Shard, [DuplexStream; 2]) {
    let mut shard = shard_with_pending_reads();
    let channel = Channel::new("room").unwrap();
    let mut sockets = [(); 2].map(|()| open(&shard, &channel, StartAt::Position(at(7))));
    settle(&mut shard).await;
    answer_page(&mut shard, at(7), &[], at(7)).await;
    for number in 8..=10 {
        publish_live(&mut shard, &channel, at(number), at(number - 1)).await;
    }
    for socket in &mut sockets {
        assert_eq!(events(socket), ["8", "9", "10"]);
    }
    publish_live(&mut shard, &channel, Position::new(9, 5), at(fork)).await;
    (shard, sockets)
}

#[tokio::test(start_paused = true)]
async fn a_fork_that_the_log_refutes_repeats_nothing() {
    let (mut shard, sockets) = forked_at(7).await;
    // A failover lost 9 and 10; 8 is still there.
    let new = Position::new(8, 5);
    answer_page(&mut shard, at(10), &[], new).await;
    answer_page(&mut shard, at(7), &[(at(8), at(7)), (new, at(8))], new).await;
    answer_page(&mut shard, at(10), &[], new).await;
    for mut socket in sockets {
        assert_eq!(events(&mut socket), ["gap"]);
    }
    assert_eq!(shard.topics[0].reads.iter().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn all_events_after_a_fork_that_the_log_confirms_are_new() {
    let (mut shard, sockets) = forked_at(8).await;
    let new = Position::new(8, 5);
    answer_page(&mut shard, at(10), &[], new).await;
    answer_page(&mut shard, at(8), &[(new, at(8))], new).await;
    for mut socket in sockets {
        assert_eq!(events(&mut socket), ["gap", "8-5"]);
    }
    assert_eq!(shard.topics[0].reads.iter().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fork_is_forgotten_when_it_is_old() {
    let (mut shard, _sockets) = forked_at(8).await;
    let channel = shard.topics[0].channel.clone();
    assert_eq!(shard.topics[0].fork(at(10)), Some(at(8)));
    // Another one, which has as much time.
    tokio::time::advance(fork::LIFETIME * 9 / 10).await;
    settle(&mut shard).await;
    publish_live(&mut shard, &channel, Position::new(9, 3), at(8)).await;
    tokio::time::advance(fork::LIFETIME / 5).await;
    settle(&mut shard).await;
    assert_eq!(shard.topics[0].fork(Position::new(9, 5)), Some(at(8)));
    tokio::time::advance(fork::LIFETIME).await;
    settle(&mut shard).await;
    assert_eq!(shard.topics[0].fork(Position::new(9, 5)), None);
}

#[tokio::test(start_paused = true)]
async fn an_expired_log_moves_the_cursor_with_its_gap() {
    let mut shard = shard_with_pending_reads();
    let channel = Channel::new("room").unwrap();
    let mut socket = open(&shard, &channel, StartAt::Position(at(6)));
    settle(&mut shard).await;
    answer_page(&mut shard, at(6), &[], at(9)).await;
    let text = received(&mut socket);
    assert!(
        text.contains("id: 9-0\nevent: gap\ndata: {\"channel\":\"room\",\"after\":\"6-0\"}\n\n"),
        "{text}"
    );
    publish_live(&mut shard, &channel, at(10), at(9)).await;
    assert_eq!(events(&mut socket), ["10"]);
}

#[tokio::test(start_paused = true)]
async fn connections_that_close_during_a_fan_out_do_not_affect_others() {
    let mut shard = shard();
    let channel = Channel::new("busy").unwrap();
    let mut crowd: Vec<_> =
        (0..1000).map(|_| Some(open(&shard, &channel, StartAt::Position(Position::ZERO)))).collect();
    settle(&mut shard).await;
    // An event without a position: only the fan-out prevents a second delivery, or none.
    let ephemeral = Event::new(None, "ephemeral.".into(), 1 << 20).unwrap();
    assert!(shard.inbox.push_event(EncodedEvent::ephemeral(&channel, ephemeral, 1), None, 1 << 30));
    let mut sent = 0;
    for (turn, leaving) in [(0, 0..100), (1, 250..350), (2, 600..700)] {
        one_turn(&mut shard).await;
        sent = shard.context.metrics.events_sent();
        assert!(sent < 1000, "turn {turn}: {sent} are not all");
        crowd[leaving].iter_mut().for_each(|socket| *socket = None);
    }
    assert!(sent > 300, "only some of the closed connections had received it");
    publish(&shard, &channel, 1);
    settle(&mut shard).await;
    for socket in crowd.iter_mut().flatten() {
        let text = received(socket);
        assert_eq!((text.matches("ephemeral.").count(), text.matches("event 1.").count()), (1, 1), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_must_be_compressed_does_not_delay_another_channel() {
    let mut shard = shard();
    let (busy, quiet) = (Channel::new("busy").unwrap(), Channel::new("quiet").unwrap());
    let zipped = open_coded(&shard, &busy, StartAt::Position(Position::ZERO), Coding::Gzip);
    let alone = open(&shard, &quiet, StartAt::Position(Position::ZERO));
    settle(&mut shard).await;
    let inbox = Arc::clone(&shard.inbox);
    for number in 1..=100 {
        assert!(inbox.push_event(event(&busy, number, "x".repeat(60_000)), None, 1 << 30));
    }
    let _ = shard.poll_turn(&mut Context::from_waker(Waker::noop()));
    assert!(!shard.messages.is_empty(), "6 MB are not compressed in one turn");
    settle(&mut shard).await;
    assert_eq!(shard.context.metrics.events_sent(), 100);
    drop((zipped, alone));
}

#[tokio::test(start_paused = true)]
async fn an_event_larger_than_the_queue_is_accepted_beside_a_busy_channel() {
    let mut shard = shard();
    let channel = Channel::broadcast();
    let _socket = open(&shard, &channel, StartAt::Position(Position::ZERO));
    settle(&mut shard).await;
    let connection = &mut shard.slots[0].connection;
    let mut take = |number, bytes| {
        let event = event(&channel, number, "x".repeat(bytes));
        let taken = connection.receive_live(0, &event, &shard.context);
        if taken == LiveOutcome::Next {
            connection.queue_event(0, &event, &shard.context);
        }
        taken == LiveOutcome::Next
    };
    assert!(take(1, 10), "the queue is not empty");
    assert!(take(2, 70_000), "more than `stream.queue`");
    assert!(!take(3, 10), "one such event is all there is room for");
}

#[tokio::test(start_paused = true)]
async fn an_idle_shard_sleeps() {
    let mut shard = shard();
    let channel = Channel::broadcast();
    let sockets: Vec<_> = (0..100).map(|_| open(&shard, &channel, StartAt::Latest)).collect();
    settle(&mut shard).await;
    assert_eq!(settle(&mut shard).await, 1);
    tokio::time::advance(Duration::from_secs(16)).await;
    assert!(settle(&mut shard).await <= 3, "one check for the heartbeats");
    drop(sockets);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_ends_early_leaves_no_stream_counted() {
    let mut shard = shard();
    let metrics = Arc::clone(&shard.context.metrics);
    let inbox = Arc::clone(&shard.inbox);
    let channel = Channel::broadcast();
    let _served = open(&shard, &channel, StartAt::Latest);
    settle(&mut shard).await;
    let _waiting = open(&shard, &channel, StartAt::Latest);
    assert_eq!(metrics.active.get(), 2);
    drop(shard);
    assert_eq!(metrics.active.get(), 0);
    assert!(!inbox.push(Message::Down));
}
