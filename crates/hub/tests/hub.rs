//! The hub on the memory broker: what streams share, what bounds them, and how they end. On virtual time.

#![allow(missing_docs, reason = "a test program has no users")]

use std::io::{self, Write};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use bytesize::ByteSize;
use fanfare_broker::session::CloseReason;
use fanfare_broker::{BrokerSettings, EventLog, MemoryBroker};
use fanfare_config::stream::StreamConfig;
use fanfare_hub::stream::{Coding, Framing, NewStream, Socket, Transport};
use fanfare_hub::testing::{self, TestHub};
use fanfare_protocol::publish::Publication;
use fanfare_protocol::sse::HEARTBEAT;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Event, Except, Position, SessionId, SessionKey, User};
use flate2::write::GzDecoder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufWriter, DuplexStream, ReadBuf};
use tokio::time::{sleep, timeout};

/// A hub, and the broker that it is on.
struct Node {
    broker: MemoryBroker,
    test: TestHub,
}

impl Deref for Node {
    type Target = TestHub;

    fn deref(&self) -> &TestHub {
        &self.test
    }
}

fn start(settings: &StreamConfig) -> Node {
    let broker = MemoryBroker::starting_at(BrokerSettings::default(), 1_700_000_000_000);
    let test = TestHub::start(&broker, "a", settings.clone());
    Node { broker, test }
}

fn one_shard() -> StreamConfig {
    StreamConfig { shards: 1, ..StreamConfig::default() }
}

impl Node {
    async fn publish(&self, data: &str) -> Position {
        self.publish_except(data, None).await
    }

    /// Publishes an event for all but the session of a client without a user.
    async fn publish_except(&self, data: &str, session: Option<SessionId>) -> Position {
        let except = session.map(|session| Except { user: None, session });
        let event = Event::new(None, data.to_owned(), 1 << 20).unwrap().except(except);
        let publication = Publication { channel: Channel::broadcast(), event, key: None, ephemeral: false };
        self.broker.publish(vec![publication]).await.remove(0).unwrap().position.unwrap()
    }

    fn connect(&self, session: SessionId, from: StartAt, pipe: usize) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(pipe);
        self.hub.open(stream(session, from), Transport::plain(theirs));
        ours
    }

    fn connect_gzip(&self, session: SessionId, from: StartAt, pipe: usize) -> Zipped {
        let (ours, theirs) = tokio::io::duplex(pipe);
        let stream = NewStream { coding: Coding::Gzip, ..stream(session, from) };
        self.hub.open(stream, Transport::plain(theirs));
        Zipped { socket: ours, decoder: GzDecoder::new(Vec::new()), taken: 0 }
    }

    async fn gone(&self) {
        let gone = async {
            while self.metrics.active.get() > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_hours(1), gone).await.expect("every stream ends");
    }
}

fn stream(session: SessionId, from: StartAt) -> NewStream {
    testing::stream(session, vec![(Channel::broadcast(), from)])
}

/// A client that has a lot to say. Panics if it is listened to for long without a turn for others.
struct Flood {
    left: usize,
    turns: Arc<AtomicUsize>,
    read_in_turn: (usize, usize),
}

impl Socket for Flood {}

impl AsyncRead for Flood {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        self.left -= 1;
        let turn = self.turns.load(Ordering::Relaxed);
        let (last, reads) = self.read_in_turn;
        self.read_in_turn = (turn, if turn == last { reads + 1 } else { 0 });
        assert!(reads < 5_000, "one client's bytes hold up all other clients");
        buf.put_slice(&vec![b'x'; buf.remaining()]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A client that accepts gzip, and shows what it has as soon as it has it.
struct Zipped {
    socket: DuplexStream,
    decoder: GzDecoder<Vec<u8>>,
    /// How many bytes came.
    taken: usize,
}

impl Zipped {
    /// One read. Answers false at the end.
    async fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = timeout(Duration::from_mins(1), self.socket.read(&mut buffer));
        let n = read.await.unwrap_or_else(|_| panic!("nothing after {:?}", self.text())).expect("a pipe");
        self.taken += n;
        self.decoder.write_all(&buffer[..n]).and_then(|()| self.decoder.flush()).expect("gzip");
        n > 0
    }

    /// Returns all that came so far.
    fn text(&self) -> &str {
        std::str::from_utf8(self.decoder.get_ref()).expect("UTF-8")
    }

    async fn until(&mut self, text: &str) {
        while !self.text().contains(text) {
            assert!(self.read().await, "it ended before {text:?}: {}", self.text());
        }
    }

    /// Reads to the end; the trailer must be there and right.
    async fn end(mut self) -> String {
        while self.read().await {}
        String::from_utf8(self.decoder.finish().expect("a right trailer")).expect("UTF-8")
    }
}

/// Reads until the text has come.
async fn read_until(socket: &mut DuplexStream, text: &str) -> String {
    let mut got = String::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while !got.contains(text) {
            let n = socket.read(&mut buffer).await.expect("a pipe");
            assert!(n > 0, "it ended before {text:?}: {got}");
            got.push_str(std::str::from_utf8(&buffer[..n]).expect("UTF-8"));
        }
    };
    timeout(Duration::from_mins(1), reading).await.unwrap_or_else(|_| panic!("{text:?} never came"));
    got
}

#[tokio::test(start_paused = true)]
async fn connections_resuming_at_the_same_place_cause_one_log_read() {
    let node = start(&StreamConfig { recent_events: 2, ..one_shard() });
    let first = node.publish("0").await;
    for number in 1..50 {
        node.publish(&number.to_string()).await;
    }
    let mut sockets: Vec<_> =
        (0..1000).map(|_| node.connect(SessionId::random(), StartAt::Position(first), 1 << 16)).collect();
    for socket in &mut sockets {
        let got = read_until(socket, "data: 49\n").await;
        assert_eq!(got.matches("\ndata: ").count(), 50, "49 events and the greeting: {got}");
    }
    // One page has them all; one more read, once the channel is subscribed, shows that this was the end.
    let reads = node.metrics.reads.get();
    assert!(reads <= 2, "{reads} reads for 1000 connections");
}

#[tokio::test(start_paused = true)]
async fn connections_near_the_end_are_served_from_the_window_alone() {
    let node = start(&one_shard());
    let mut streams = Vec::new();
    // Two, since of a channel with a single live stream nothing is kept at hand.
    for _ in 0..2 {
        let mut stream = node.connect(SessionId::random(), StartAt::Latest, 1 << 16);
        read_until(&mut stream, "connected").await;
        streams.push(stream);
    }
    let position = node.publish("0").await;
    node.publish("1").await;
    for stream in &mut streams {
        read_until(stream, "data: 1\n").await;
    }
    let reads = node.metrics.reads.get();
    for _ in 0..100 {
        let mut socket = node.connect(SessionId::random(), StartAt::Position(position), 1 << 16);
        read_until(&mut socket, "data: 1\n").await;
    }
    assert_eq!(node.metrics.reads.get(), reads);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_from_the_future_does_not_affect_other_connections() {
    let node = start(&one_shard());
    let future = Position::new(u64::MAX / 2, 0);
    let mut liar = node.connect(SessionId::random(), StartAt::Position(future), 1 << 16);
    read_until(&mut liar, "connected").await;
    sleep(Duration::from_secs(1)).await;
    let mut honest = node.connect(SessionId::random(), StartAt::Latest, 1 << 16);
    read_until(&mut honest, "connected").await;
    node.publish("hello").await;
    read_until(&mut honest, "data: hello").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_delays_no_other_and_later_gets_every_event() {
    let node = start(&StreamConfig {
        queue: ByteSize::kib(4),
        write_timeout: Duration::from_hours(1),
        ..one_shard()
    });
    let mut slow = node.connect(SessionId::random(), StartAt::Latest, 512);
    let mut quick = node.connect(SessionId::random(), StartAt::Latest, 1 << 16);
    read_until(&mut slow, "connected").await;
    read_until(&mut quick, "connected").await;
    for number in 0..900 {
        node.publish(&format!("event {number}.")).await;
        read_until(&mut quick, &format!("event {number}.")).await;
    }
    assert!(node.metrics.catch_ups.get() > 0, "the slow client fell behind");
    let got = read_until(&mut slow, "event 899.").await;
    for number in 0..900 {
        assert_eq!(got.matches(&format!("event {number}.")).count(), 1, "event {number}");
    }
    assert!(!got.contains("gap"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_disconnected_in_time() {
    let node = start(&StreamConfig { write_timeout: Duration::from_secs(5), ..one_shard() });
    let mut stuck = node.connect(SessionId::random(), StartAt::Latest, 16);
    stuck.read_u8().await.expect("the first byte comes");
    let before = tokio::time::Instant::now();
    node.gone().await;
    assert!(before.elapsed() <= Duration::from_secs(6), "{:?}", before.elapsed());
    assert_eq!(node.metrics.ended.get_or_create(&CloseReason::WriteTimeout.into()).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_newer_stream_of_a_session_supersedes_the_older() {
    let node = start(&one_shard());
    let session = SessionId::random();
    let mut older = node.connect(session, StartAt::Latest, 1 << 16);
    read_until(&mut older, "connected").await;
    let mut newer = node.connect(session, StartAt::Latest, 1 << 16);
    read_until(&mut older, "event: superseded").await;
    drop(older);
    node.publish("hello").await;
    read_until(&mut newer, "data: hello").await;
    assert_eq!(node.metrics.active.get(), 1);
    drop(newer);
    node.gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_superseded_and_ended_only_by_its_own_users_session() {
    let node = start(&one_shard());
    let id = SessionId::random();
    let open = async |user: Option<&str>| {
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        let user = user.map(|user| User::new(user).unwrap());
        node.hub.open(NewStream { user, ..stream(id, StartAt::Latest) }, Transport::plain(theirs));
        read_until(&mut ours, "connected").await;
        ours
    };
    let (mut alice, mut bob, mut nameless) =
        (open(Some("alice")).await, open(Some("bob")).await, open(None).await);
    node.publish("to three").await;
    for stream in [&mut alice, &mut bob, &mut nameless] {
        read_until(stream, "data: to three").await;
    }
    node.hub.end(SessionKey::new(User::new("bob").unwrap(), id), u64::MAX, CloseReason::Disconnected);
    read_until(&mut bob, "event: disconnected").await;
    let again = open(None).await;
    read_until(&mut nameless, "event: superseded").await;
    drop((bob, nameless));
    node.publish("to alice").await;
    read_until(&mut alice, "data: to alice").await;
    drop((alice, again));
    node.gone().await;
}

/// About as long as it says, and as repetitive as JSON is.
fn orders(bytes: usize) -> String {
    let items = (0..)
        .map(|n| format!("{{\"sku\":\"{:06}\",\"name\":\"flange\",\"quantity\":{n}}}", n * 7919 % 1_000_000));
    items
        .scan(0, |length, item| {
            (*length < bytes).then(|| {
                *length += item.len() + 1;
                item
            })
        })
        .collect::<Vec<_>>()
        .join(",")
}

/// Returns a stream's text without what is its own: the first block.
fn events(text: &str) -> &str {
    let (first, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    assert!(first.contains("retry: ") && first.contains("\nevent: connected\ndata: "), "{text}");
    rest
}

#[tokio::test(start_paused = true)]
async fn gzip_clients_get_the_same_text_and_each_event_at_once() {
    let node = start(&StreamConfig { queue: ByteSize::mib(4), ..StreamConfig::default() });
    let mut plain = node.connect(SessionId::random(), StartAt::Latest, 1 << 22);
    let mut first = node.connect_gzip(SessionId::random(), StartAt::Latest, 1 << 16);
    let mut second = node.connect_gzip(SessionId::random(), StartAt::Latest, 100);
    read_until(&mut plain, "connected").await;
    let mut text = String::new();
    for (number, bytes) in [0, 10, 250, 299, 300, 1000, 20_000, 200_000, 1_000_000, 5].into_iter().enumerate()
    {
        node.publish(&format!("{} {number}.", orders(bytes))).await;
        let last = format!(" {number}.\n\n");
        text += &read_until(&mut plain, &last).await;
        for zipped in [&mut first, &mut second] {
            zipped.until(&last).await;
        }
    }
    assert!(node.metrics.gzip_saved.get() > 1_000_000, "{}", node.metrics.gzip_saved.get());
    assert_eq!(node.metrics.gzip.get(), 2);
    assert!(first.taken < text.len() / 2, "{} of {}", first.taken, text.len());
    for zipped in [&first, &second] {
        assert!(text.ends_with(events(zipped.text())) && events(zipped.text()).len() > 1_200_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_gzip_stream_ends_cleanly_with_any_content() {
    let node = start(&one_shard());
    let idle = node.connect_gzip(SessionId::random(), StartAt::Latest, 1 << 16);
    let mut busy = node.connect_gzip(SessionId::random(), StartAt::Latest, 1 << 16);
    busy.until("connected").await;
    for number in 0..100 {
        node.publish(&format!("{} {number}.", orders(number * 50))).await;
        busy.until(&format!(" {number}.\n\n")).await;
    }
    let slow = node.connect_gzip(SessionId::random(), StartAt::Earliest, 64);
    let closing = tokio::spawn({
        let hub = node.hub.clone();
        async move { hub.shutdown(CloseReason::Shutdown).await }
    });
    // Those who do not read would not see the end in time.
    let (idle, busy, slow) = tokio::join!(idle.end(), busy.end(), slow.end());
    for text in [&idle, &busy, &slow] {
        assert!(text.contains("event: shutdown"), "{text}");
    }
    assert_eq!(events(&busy).matches("\nid: ").count() + 1, 101, "the events, and the last word");
    closing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_empty_gzip_stream_ends_cleanly() {
    let node = start(&one_shard());
    let session = SessionId::random();
    let mut newer = stream(session, StartAt::Latest);
    newer.coding = Coding::Gzip;
    let older = node.connect_gzip(session, StartAt::Latest, 1 << 16);
    let (_ours, theirs) = tokio::io::duplex(1 << 16);
    node.hub.open(newer, Transport::plain(theirs));
    assert!(older.end().await.contains("event: superseded"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_before_its_first_block_returns_the_clients_cursor() {
    for (cursor, wanted) in [(Some("5-1".into()), "id: 5-1\nretry: "), (None, "retry: ")] {
        let (node, session) = (start(&one_shard()), SessionId::random());
        let (mut older, theirs) = tokio::io::duplex(1 << 16);
        // The first stream is replaced before its start is located: the node has no positions of its own.
        let stream_of = |cursor| NewStream { cursor, ..stream(session, StartAt::Latest) };
        node.hub.open(stream_of(cursor), Transport::plain(theirs));
        let _newer = node.connect(session, StartAt::Latest, 1 << 16);
        let text = read_until(&mut older, "\n\n").await;
        assert!(text.starts_with(wanted) && text.contains("event: superseded"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_a_gzip_client_counts_compressed_bytes() {
    let node = start(&StreamConfig { queue: ByteSize::kib(8), ..one_shard() });
    let mut plain = node.connect(SessionId::random(), StartAt::Latest, 1 << 10);
    let mut zipped = node.connect_gzip(SessionId::random(), StartAt::Latest, 1 << 10);
    read_until(&mut plain, "connected").await;
    zipped.until("connected").await;
    for number in 0..4 {
        node.publish(&format!("{} {number}.", "abcdefgh".repeat(400))).await;
    }
    // Neither reads meanwhile: 12 KB are more than one may wait for, and a few hundred bytes are not.
    read_until(&mut plain, " 3.\n\n").await;
    zipped.until(" 3.\n\n").await;
    assert_eq!(node.metrics.catch_ups.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_gzip_stream_gets_heartbeats() {
    let node = start(&StreamConfig { heartbeat: Duration::from_secs(7), ..one_shard() });
    let mut socket = node.connect_gzip(SessionId::random(), StartAt::Latest, 1 << 16);
    socket.until("connected").await;
    for count in 1..4 {
        while events(socket.text()).len() < HEARTBEAT.len() * count {
            assert!(socket.read().await);
        }
        assert_eq!(events(socket.text()).as_bytes(), HEARTBEAT.repeat(count));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_gets_heartbeats() {
    let node = start(&StreamConfig { heartbeat: Duration::from_secs(7), ..one_shard() });
    let mut socket = node.connect(SessionId::random(), StartAt::Latest, 1 << 16);
    read_until(&mut socket, "connected").await;
    let before = tokio::time::Instant::now();
    assert_eq!(read_until(&mut socket, ":\n").await.as_bytes(), HEARTBEAT);
    assert!(before.elapsed() <= Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn an_event_passes_by_the_session_that_it_excepts_whose_cursor_takes_the_place_of_a_heartbeat() {
    let node = start(&StreamConfig { heartbeat: Duration::from_secs(7), ..one_shard() });
    let (session, other) = (SessionId::random(), SessionId::random());
    let mut excepted = node.connect(session, StartAt::Latest, 1 << 16);
    let mut others = node.connect(other, StartAt::Latest, 1 << 16);
    for socket in [&mut excepted, &mut others] {
        read_until(socket, "connected").await;
    }
    let first = node.publish("for all").await;
    read_until(&mut excepted, "data: for all\n\n").await;
    node.publish_except("1", Some(session)).await;
    let last = node.publish_except("2", Some(session)).await;
    let got = read_until(&mut others, "data: 2\n\n").await;
    assert!(got.contains("data: 1\n"), "{got}");
    let got = read_until(&mut excepted, "\n\n").await;
    assert_eq!(got, format!("id: {last}\nevent: excepted\ndata: {{}}\n\n"));
    assert_eq!(read_until(&mut excepted, "\n").await.as_bytes(), HEARTBEAT, "once");
    // From the log, and from the window.
    for from in [Position::ZERO, first] {
        let mut again = node.connect(session, StartAt::Position(from), 1 << 16);
        let next = node.publish("next").await;
        let got = read_until(&mut again, &format!("id: {next}\ndata: next")).await;
        assert!(!got.contains("data: 1") && !got.contains("data: 2") && !got.contains("gap"), "{got}");
        node.publish_except("3", Some(session)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_ends_before_an_excepted_event_does_not_end_the_body() {
    let node = start(&one_shard());
    let session = SessionId::random();
    node.publish(&"x".repeat(16 * 1024)).await;
    node.publish_except("1", Some(session)).await;
    let (mut ours, theirs) = tokio::io::duplex(1 << 16);
    let transport = Transport { framing: Framing::Chunked, ..Transport::plain(theirs) };
    node.hub.open(stream(session, StartAt::Earliest), transport);
    let mut got = read_until(&mut ours, "xxx\n\n").await;
    let last = node.publish("2").await;
    got += &read_until(&mut ours, &format!("id: {last}\ndata: 2\n\n")).await;
    assert!(!got.contains("\r\n0\r\n"), "the last chunk");
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_the_heartbeats_that_it_asks_for() {
    let node = start(&StreamConfig { heartbeat: Duration::from_secs(20), ..one_shard() });
    let (mut socket, theirs) = tokio::io::duplex(1 << 16);
    let wanted = Some(Duration::from_secs(6));
    let stream = NewStream { heartbeat: wanted, ..stream(SessionId::random(), StartAt::Latest) };
    node.hub.open(stream, Transport::plain(theirs));
    read_until(&mut socket, "connected").await;
    for _ in 0..3 {
        let before = tokio::time::Instant::now();
        read_until(&mut socket, ":\n").await;
        assert!(before.elapsed() <= Duration::from_secs(7), "{:?}", before.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_its_maximum_age_with_a_retry_and_a_last_event() {
    let node = start(&StreamConfig { max_age: Duration::from_mins(1), ..one_shard() });
    let mut socket = node.connect(SessionId::random(), StartAt::Latest, 1 << 16);
    sleep(Duration::from_mins(2)).await;
    let got = read_until(&mut socket, r#"data: {"reason":"age"}"#).await;
    let last = got.trim_end().rsplit_once("\n\n").map_or(got.as_str(), |(_, last)| last);
    assert!(last.contains("retry: ") && last.contains("event: expired"), "{got}");
    drop(socket);
    node.gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_streams_in_even_waves_each_with_its_own_retry() {
    const STREAMS: usize = 400;
    let node = start(&StreamConfig::default());
    let mut sockets: Vec<_> =
        (0..STREAMS).map(|_| node.connect(SessionId::random(), StartAt::Latest, 1 << 16)).collect();
    for socket in &mut sockets {
        read_until(socket, "connected").await;
    }
    node.publish("last").await;
    let begun = tokio::time::Instant::now();
    let ends = sockets.into_iter().map(|mut socket| {
        tokio::spawn(async move {
            let got = read_until(&mut socket, "event: shutdown").await;
            assert!(got.contains("data: last"), "flushed to its last event: {got}");
            let retry = got.rsplit_once("retry: ").and_then(|(_, rest)| rest.lines().next());
            (begun.elapsed(), retry.unwrap().parse::<u64>().unwrap())
        })
    });
    let ends: Vec<_> = ends.collect();
    node.hub.drain(Duration::from_secs(10)).await;
    let mut seconds = [0; 10];
    let mut retries = std::collections::BTreeSet::new();
    for end in ends {
        let (at, retry) = end.await.unwrap();
        seconds[usize::try_from(at.as_secs()).unwrap().min(9)] += 1;
        assert!((100..=700).contains(&retry), "{retry}");
        retries.insert(retry);
    }
    assert!(seconds.iter().all(|&n| (35..=45).contains(&n)), "{seconds:?}");
    assert!(retries.len() > STREAMS / 4, "jittered: {} values", retries.len());
    node.hub.shutdown(CloseReason::Shutdown).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_flushes_and_ends_every_stream_and_joins_all_tasks() {
    let node = start(&StreamConfig::default());
    let mut sockets: Vec<_> =
        (0..50).map(|_| node.connect(SessionId::random(), StartAt::Latest, 1 << 16)).collect();
    for socket in &mut sockets {
        read_until(socket, "connected").await;
    }
    node.publish("last").await;
    let closing = tokio::spawn({
        let hub = node.hub.clone();
        async move { hub.shutdown(CloseReason::Shutdown).await }
    });
    for socket in &mut sockets {
        let got = read_until(socket, "event: shutdown").await;
        assert!(got.contains("retry: "), "{got}");
    }
    drop(sockets);
    closing.await.unwrap();
    assert_eq!(node.metrics.active.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_continuously_delays_no_other() {
    let node = start(&one_shard());
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&turns);
    let others = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let flood = Flood { left: 20_000, turns, read_in_turn: (0, 0) };
    node.hub.open(stream(SessionId::random(), StartAt::Latest), Transport::plain(flood));
    let mut other = node.connect(SessionId::random(), StartAt::Latest, 1 << 16);
    read_until(&mut other, "connected").await;
    node.publish("hello").await;
    read_until(&mut other, "data: hello").await;
    others.abort();
}

/// A socket that counts what is written to it.
struct Counting(DuplexStream, Arc<AtomicUsize>);

impl Socket for Counting {}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_and_the_first_block_leave_in_one_write() {
    let node = start(&one_shard());
    let (mut ours, theirs) = tokio::io::duplex(1 << 16);
    let writes = Arc::new(AtomicUsize::new(0));
    let head = Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n");
    let transport = Transport {
        head: head.clone(),
        framing: Framing::Chunked,
        ..Transport::plain(Counting(theirs, Arc::clone(&writes)))
    };
    node.hub.open(stream(SessionId::random(), StartAt::Latest), transport);
    let text = read_until(&mut ours, "event: connected").await;
    assert!(text.as_bytes().starts_with(&head), "{text}");
    assert_eq!(writes.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_buffering_socket_is_flushed_when_there_is_room_again() {
    let node = start(&one_shard());
    let (mut ours, theirs) = tokio::io::duplex(16);
    let buffered = BufWriter::with_capacity(1 << 16, theirs);
    node.hub.open(stream(SessionId::random(), StartAt::Latest), Transport::plain(buffered));
    read_until(&mut ours, "event: connected").await;
    node.publish("hello").await;
    read_until(&mut ours, "data: hello\n\n").await;
    drop(ours);
    node.gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_valid_for_days_does_not_expire_early() {
    let node = start(&StreamConfig { heartbeat: Duration::from_hours(1), ..one_shard() });
    let (mut ours, theirs) = tokio::io::duplex(1 << 16);
    let day = Duration::from_hours(24);
    let expires = Some(SystemTime::now() + 3 * day);
    node.hub.open(
        NewStream { expires, ..stream(SessionId::random(), StartAt::Latest) },
        Transport::plain(theirs),
    );
    sleep(day * 2 + Duration::from_hours(23)).await;
    assert_eq!(node.metrics.active.get(), 1);
    sleep(Duration::from_hours(2)).await;
    read_until(&mut ours, r#"data: {"reason":"token"}"#).await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_continue_when_a_stuck_client_reads_again() {
    let node = start(&StreamConfig {
        heartbeat: Duration::from_secs(7),
        write_timeout: Duration::from_hours(1),
        ..one_shard()
    });
    let mut socket = node.connect(SessionId::random(), StartAt::Latest, 16);
    sleep(Duration::from_mins(1)).await;
    read_until(&mut socket, "connected").await;
    let before = tokio::time::Instant::now();
    assert!(read_until(&mut socket, "\n:\n").await.ends_with("\n\n:\n"));
    assert!(before.elapsed() <= Duration::from_secs(8), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_counts_from_the_moment_it_is_passed_to_the_hub() {
    let node = start(&one_shard());
    let sockets: Vec<_> =
        (0..10).map(|_| node.connect(SessionId::random(), StartAt::Latest, 1 << 16)).collect();
    assert_eq!(node.hub.connections(), 10);
    drop(sockets);
    node.gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_after_the_shutdown_is_dropped_at_once() {
    let node = start(&one_shard());
    node.hub.shutdown(CloseReason::Shutdown).await;
    let mut late = node.connect(SessionId::random(), StartAt::Latest, 1 << 16);
    let read = timeout(Duration::from_secs(1), late.read(&mut [0; 16])).await;
    assert_eq!(read.expect("the socket is closed").unwrap(), 0);
    assert_eq!(node.hub.connections(), 0);
}

/// A socket that panics at every use.
struct Faulty;

impl Socket for Faulty {}

impl tokio::io::AsyncRead for Faulty {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        panic!("intended panic in a shard task")
    }
}

impl tokio::io::AsyncWrite for Faulty {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        panic!("intended panic in a shard task")
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_panics_is_reported_and_its_streams_are_closed() {
    let node = start(&one_shard());
    let mut healthy = node.connect(SessionId::random(), StartAt::Latest, 1 << 16);
    read_until(&mut healthy, "connected").await;
    node.hub.open(stream(SessionId::random(), StartAt::Latest), Transport::plain(Faulty));
    timeout(Duration::from_mins(1), node.hub.broken()).await.expect("the panic is reported");
    node.gone().await;
    let mut rest = Vec::new();
    healthy.read_to_end(&mut rest).await.expect("the stream ends");
}
