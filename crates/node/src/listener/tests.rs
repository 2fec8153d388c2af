//! Real sockets, in clear text and over TLS. The test takes the part of the hub.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use fanfare_broker::NodeId;
use fanfare_hub::dialect::Dialect;
use fanfare_hub::stream::{Coding, Framing, Socket};
use fanfare_protocol::SessionId;
use fanfare_testkit::certificate::Certificate;
use fanfare_testkit::tcp;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use super::*;
use crate::http::takeover::{Admissions, Takeover};
use crate::tls::metrics::TlsMetrics;
use crate::tls::tests::config as tls_config;

/// Nothing here takes that long unless it is stuck.
pub(super) const SOON: Duration = Duration::from_secs(10);

/// What is spoken on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Clear,
    Tls,
}

/// Each of these in clear text and over TLS.
macro_rules! in_both {
    ($($test:ident,)*) => {
        mod clear {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Speech::Clear).await;
            })*
        }
        mod tls {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Speech::Tls).await;
            })*
        }
    };
}
pub(super) use in_both;

/// A client's socket, in clear text or over TLS.
pub(super) trait ClientSocket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ClientSocket for T {}

pub(super) type Client = Box<dyn ClientSocket>;

pub(super) struct Fixture {
    pub(super) listener: Listener,
    /// The certificate, over TLS.
    certificate: Option<Certificate>,
    pub(super) taken: mpsc::UnboundedReceiver<(NewStream, Transport)>,
    pub(super) metrics: HttpMetrics,
    /// `/slow` is asked.
    pub(super) asked: Arc<Notify>,
    /// Lets `/slow` respond.
    pub(super) go: Arc<Notify>,
    pub(super) admissions: Admissions,
}

fn stream() -> NewStream {
    NewStream {
        begun: tokio::time::Instant::now(),
        user: None,
        session: SessionId::random(),
        held: None,
        channels: Vec::new(),
        dialect: Dialect::default(),
        coding: Coding::Identity,
        expires: None,
        token: None,
        cursor: None,
        heartbeat: None,
        wait: None,
    }
}

fn audit() -> Arc<Audit> {
    Arc::new(Audit::new(NodeId::new("a").unwrap(), &mut Registry::default()))
}

pub(super) fn start(speech: Speech, change: impl FnOnce(&mut Config)) -> Fixture {
    let mut config = Config::default();
    let certificate = (speech == Speech::Tls).then(Certificate::default);
    if let Some(certificate) = &certificate {
        config.tls = tls_config(certificate);
    }
    change(&mut config);
    let listener = bind("127.0.0.1:0".parse().unwrap(), Duration::from_secs(30)).unwrap();
    let addr = listener.local_addr().unwrap();
    let (open, taken) = mpsc::unbounded_channel();
    let metrics = HttpMetrics::register(&mut Registry::default());
    let (asked, go, admissions) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Admissions::default());
    let (bell, gate, counted) = (Arc::clone(&asked), Arc::clone(&go), admissions.clone());
    let router = Router::new()
        .route("/hello", get(async || "hello"))
        .route("/echo", post(async |body: Bytes| body))
        .route("/large", get(async || vec![b'x'; 32 << 20]))
        .route(
            "/slow",
            get(async move || {
                bell.notify_one();
                gate.notified().await;
                "at last"
            }),
        )
        .route(
            "/stream",
            get(async move || {
                let admission = counted.enter(1000).unwrap();
                let mut response = [("content-type", "text/event-stream")].into_response();
                response.extensions_mut().insert(Takeover::new(stream(), admission));
                response
            }),
        );
    // The receiver ends with the test.
    let open = Arc::new(move |stream, transport| drop(open.send((stream, transport))));
    let listener = Listener::start(
        listener,
        addr,
        router,
        open,
        (&config, Tls::load(&config.tls, TlsMetrics::default()).unwrap()),
        (metrics.clone(), Memory::new(1 << 30), audit()),
    );
    Fixture { listener, certificate, taken, metrics, asked, go, admissions }
}

impl Fixture {
    async fn connect(&self) -> Client {
        self.connect_for(&[]).await
    }

    /// Connects; over TLS it offers these protocols.
    pub(super) async fn connect_for(&self, alpn: &[&str]) -> Client {
        let addr = self.listener.addr();
        let socket = TcpStream::connect(addr).await.unwrap();
        match &self.certificate {
            None => Box::new(socket),
            Some(certificate) => Box::new(tcp::tls_handshake(certificate, alpn, socket).await.unwrap()),
        }
    }

    /// Waits for a stream as the hub gets it, and writes its head and one chunk as the hub does.
    async fn take(&mut self) -> (Framing, Box<dyn Socket>) {
        let (_, transport) = timeout(SOON, self.taken.recv()).await.unwrap().unwrap();
        let Transport { mut socket, framing, head, .. } = transport;
        socket.write_all(&head).await.unwrap();
        socket.write_all(b"2\r\n:\n\r\n").await.unwrap();
        (framing, socket)
    }

    pub(super) async fn shutdown(self) {
        timeout(SOON, self.listener.shutdown(Instant::now() + SOON)).await.unwrap();
    }
}

async fn send(socket: &mut Client, text: &str) {
    socket.write_all(text.as_bytes()).await.unwrap();
}

/// Reads until `end` has come.
async fn until(socket: &mut Client, end: &str) -> String {
    let mut read = Vec::new();
    let wait = async {
        while !String::from_utf8_lossy(&read).ends_with(end) {
            assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0, "{}", String::from_utf8_lossy(&read));
        }
    };
    assert!(timeout(SOON, wait).await.is_ok(), "{end:?} did not come");
    String::from_utf8(read).unwrap()
}

/// Reads until the other side closes.
async fn rest(socket: &mut Client) -> String {
    let mut read = Vec::new();
    // A reset is an end, too.
    let _ = timeout(SOON, socket.read_to_end(&mut read)).await.expect("the connection is closed");
    String::from_utf8_lossy(&read).into_owned()
}

const HELLO: &str = "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";
const STREAM: &str = "GET /stream HTTP/1.1\r\nhost: x\r\n\r\n";

in_both! {
    a_stream_takes_over_the_socket_after_other_requests,
    pipelined_requests_before_a_stream_are_answered_in_order_and_later_bytes_are_dropped,
    a_response_that_is_not_read_yet_survives_a_stream_behind_it,
    an_old_client_gets_a_plain_stream,
    a_request_with_a_body_or_an_upgrade_opens_a_stream,
    input_that_is_not_http_gets_400,
    a_slow_head_times_out,
    a_client_that_reads_nothing_is_disconnected,
    at_the_shutdown_idle_connections_close_and_requests_in_flight_complete,
    connections_are_closed_at_the_deadline,
    a_client_that_leaves_while_its_stream_opens_leaves_no_state,
    a_client_that_closes_its_connection_ends_its_stream,
    a_client_that_vanishes_ends_its_stream,
    a_stream_that_ends_is_closed_in_order,
}

async fn a_stream_takes_over_the_socket_after_other_requests(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    let mut client = fixture.connect().await;
    send(&mut client, HELLO).await;
    assert!(until(&mut client, "hello").await.starts_with("HTTP/1.1 200 OK\r\n"));
    send(&mut client, STREAM).await;
    let (framing, socket) = fixture.take().await;
    assert_eq!(framing, Framing::Chunked);
    let answer = until(&mut client, ":\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "2\r\n:\n\r\n");
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let whole = format!("{head}\r\n\r\n");
    assert!(response.parse(whole.as_bytes()).unwrap().is_complete());
    assert_eq!((response.version, response.code, response.reason), (Some(1), Some(200), Some("OK")));
    let value = |name: &str| {
        let found: Vec<_> = response.headers.iter().filter(|header| header.name == name).collect();
        assert!(found.len() <= 1, "{name} in {head}");
        found.first().map(|header| std::str::from_utf8(header.value).unwrap())
    };
    assert_eq!(value("content-type"), Some("text/event-stream"));
    assert_eq!((value("connection"), value("transfer-encoding")), (Some("close"), Some("chunked")));
    assert_eq!(value("content-length"), None);
    assert!(httpdate::parse_http_date(value("date").unwrap()).is_ok());
    timeout(SOON, fixture.admissions.wait()).await.unwrap();
    drop(socket);
    assert_eq!(rest(&mut client).await, "");
    fixture.shutdown().await;
}

async fn pipelined_requests_before_a_stream_are_answered_in_order_and_later_bytes_are_dropped(
    speech: Speech,
) {
    let mut fixture = start(speech, |_| ());
    let mut client = fixture.connect().await;
    send(&mut client, &format!("{HELLO}{HELLO}{STREAM}{HELLO}and more")).await;
    let (_, socket) = fixture.take().await;
    let answer = until(&mut client, ":\n\r\n").await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    let places = ["hello", "text/event-stream", ":\n"].map(|part| answer.rfind(part).unwrap());
    assert!(places.is_sorted(), "{answer}");
    drop(socket);
    fixture.shutdown().await;
}

async fn a_response_that_is_not_read_yet_survives_a_stream_behind_it(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    let mut client = fixture.connect().await;
    send(&mut client, &format!("GET /large HTTP/1.1\r\nhost: x\r\n\r\n{STREAM}")).await;
    let mut read = vec![0; 1 << 20];
    let mut large = 0;
    let reading = async {
        while large < 32 << 20 {
            let n = client.read(&mut read).await.unwrap();
            assert_ne!(n, 0);
            large += read[..n].iter().map(|&b| usize::from(b == b'x')).sum::<usize>();
        }
    };
    timeout(SOON, reading).await.unwrap();
    // The second head has two letters x at most, and the first was counted in the first read.
    let (_, socket) = fixture.take().await;
    let answer = until(&mut client, ":\n\r\n").await;
    assert!(answer.contains("text/event-stream"), "{answer}");
    drop(socket);
    fixture.shutdown().await;
}

async fn an_old_client_gets_a_plain_stream(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    let mut client = fixture.connect().await;
    send(&mut client, "GET /stream HTTP/1.0\r\n\r\n").await;
    let (framing, socket) = fixture.take().await;
    assert_eq!(framing, Framing::Plain);
    assert!(until(&mut client, ":\n\r\n").await.starts_with("HTTP/1.0 200 OK\r\n"));
    drop(socket);
    fixture.shutdown().await;
}

async fn a_request_with_a_body_or_an_upgrade_opens_a_stream(speech: Speech) {
    for request in [
        "GET /stream HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
        "GET /stream HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /stream HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    ] {
        let mut fixture = start(speech, |_| ());
        let mut client = fixture.connect().await;
        send(&mut client, request).await;
        let (_, socket) = fixture.take().await;
        let answer = until(&mut client, ":\n\r\n").await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        drop(socket);
        fixture.shutdown().await;
    }
}

async fn input_that_is_not_http_gets_400(speech: Speech) {
    let fixture = start(speech, |_| ());
    for bad in
        ["hello\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\0\0\0\0\r\n\r\n"]
    {
        let mut client = fixture.connect().await;
        send(&mut client, bad).await;
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{bad:?}: {answer}");
    }
    let mut client = fixture.connect().await;
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    // The node may close while the client still writes.
    let _ = client.write_all(long.as_bytes()).await;
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(fixture.metrics.connection_errors.get() >= 5);
    fixture.shutdown().await;
}

async fn a_slow_head_times_out(speech: Speech) {
    let fixture = start(speech, |config| config.http.header_read_timeout = Duration::from_millis(100));
    let mut client = fixture.connect().await;
    send(&mut client, "GET /hello HTTP/1.1\r\nhost").await;
    let answer = rest(&mut client).await;
    assert!(!answer.contains("hello"), "{answer}");
    let mut idle = fixture.connect().await;
    send(&mut idle, HELLO).await;
    until(&mut idle, "hello").await;
    assert_eq!(rest(&mut idle).await, "");
    fixture.shutdown().await;
}

async fn a_client_that_reads_nothing_is_disconnected(speech: Speech) {
    let fixture = start(speech, |config| config.stream.write_timeout = Duration::from_millis(100));
    let mut client = fixture.connect().await;
    send(&mut client, "GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let cut = async {
        while fixture.metrics.connection_errors.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, cut).await.unwrap();
    assert!(rest(&mut client).await.len() < 32 << 20);
    fixture.shutdown().await;
}

#[tokio::test]
async fn an_idle_socket_is_evicted_and_a_stream_releases_its_slot() {
    let mut fixture = start(Speech::Clear, |config| config.limits.sockets = 1);
    let mut first = fixture.connect().await;
    send(&mut first, HELLO).await;
    until(&mut first, "hello").await;
    let mut second = fixture.connect().await;
    send(&mut second, STREAM).await;
    assert_eq!(rest(&mut first).await, "");
    let (_, socket) = fixture.take().await;
    let mut third = fixture.connect().await;
    send(&mut third, HELLO).await;
    until(&mut third, "hello").await;
    assert_eq!(fixture.metrics.sockets_evicted.get(), 1);
    drop(socket);
    fixture.shutdown().await;
}

#[tokio::test]
async fn a_socket_with_a_request_in_flight_is_not_evicted() {
    let fixture = start(Speech::Clear, |config| config.limits.sockets = 1);
    let mut first = fixture.connect().await;
    send(&mut first, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    timeout(SOON, fixture.asked.notified()).await.unwrap();
    let mut second = fixture.connect().await;
    assert_eq!(rest(&mut second).await, "");
    assert_eq!(fixture.metrics.sockets_refused_node.get(), 1);
    fixture.go.notify_one();
    until(&mut first, "at last").await;
    fixture.shutdown().await;
}

async fn at_the_shutdown_idle_connections_close_and_requests_in_flight_complete(speech: Speech) {
    let fixture = start(speech, |_| ());
    let (mut idle, mut fresh, mut busy) =
        (fixture.connect().await, fixture.connect().await, fixture.connect().await);
    send(&mut idle, HELLO).await;
    until(&mut idle, "hello").await;
    send(&mut busy, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    timeout(SOON, fixture.asked.notified()).await.unwrap();
    let Fixture { listener, go, .. } = fixture;
    let addr = listener.addr();
    let leaving = tokio::spawn(listener.shutdown(Instant::now() + SOON));
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut fresh).await, "");
    assert!(TcpStream::connect(addr).await.is_err());
    go.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.contains("connection: close") && answer.ends_with("at last"), "{answer}");
    timeout(SOON, leaving).await.unwrap().unwrap();
}

async fn connections_are_closed_at_the_deadline(speech: Speech) {
    let fixture = start(speech, |_| ());
    let mut busy = fixture.connect().await;
    send(&mut busy, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    timeout(SOON, fixture.asked.notified()).await.unwrap();
    let metrics = fixture.metrics.clone();
    let now = Instant::now();
    timeout(SOON, fixture.listener.shutdown(now + Duration::from_millis(50))).await.unwrap();
    assert_eq!(rest(&mut busy).await, "");
    assert_eq!(metrics.cut.get(), 1);
}

async fn a_client_that_leaves_while_its_stream_opens_leaves_no_state(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    // Behind an answer that it does not take, the stream stays with hyper.
    let mut client = fixture.connect().await;
    send(&mut client, &format!("GET /large HTTP/1.1\r\nhost: x\r\n\r\n{STREAM}")).await;
    let mut some = [0; 1000];
    client.read_exact(&mut some).await.unwrap();
    drop(client);
    let mut second = fixture.connect().await;
    send(&mut second, STREAM).await;
    let (_, socket) = fixture.take().await;
    timeout(SOON, fixture.admissions.wait()).await.unwrap();
    assert!(fixture.taken.try_recv().is_err());
    drop(socket);
    fixture.shutdown().await;
}

/// Waits for the end of what the client sends, as the hub does.
async fn left(socket: &mut Box<dyn Socket>) {
    let mut read = [0; 100];
    let wait = async { while socket.read(&mut read).await.is_ok_and(|n| n > 0) {} };
    timeout(SOON, wait).await.expect("the client has left");
}

async fn a_client_that_closes_its_connection_ends_its_stream(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    let mut client = fixture.connect().await;
    send(&mut client, &format!("{STREAM}and more")).await;
    let (_, mut socket) = fixture.take().await;
    until(&mut client, ":\n\r\n").await;
    // Over TLS this is a close_notify as well.
    client.shutdown().await.unwrap();
    left(&mut socket).await;
    // It still reads.
    socket.write_all(b"0\r\n\r\n").await.unwrap();
    socket.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, "0\r\n\r\n");
    fixture.shutdown().await;
}

async fn a_client_that_vanishes_ends_its_stream(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    let mut client = fixture.connect().await;
    send(&mut client, STREAM).await;
    let (_, mut socket) = fixture.take().await;
    until(&mut client, ":\n\r\n").await;
    // Over TLS this is an end of file without a close_notify.
    drop(client);
    left(&mut socket).await;
    fixture.shutdown().await;
}

async fn a_stream_that_ends_is_closed_in_order(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    let mut client = fixture.connect().await;
    send(&mut client, STREAM).await;
    let (_, mut socket) = fixture.take().await;
    until(&mut client, ":\n\r\n").await;
    socket.write_all(b"0\r\n\r\n").await.unwrap();
    socket.shutdown().await.unwrap();
    let mut read = String::new();
    // Without a close_notify this would be an error over TLS.
    timeout(SOON, client.read_to_string(&mut read)).await.unwrap().unwrap();
    assert_eq!(read, "0\r\n\r\n");
    drop(client);
    left(&mut socket).await;
    fixture.shutdown().await;
}

#[tokio::test]
async fn input_that_is_not_tls_is_refused_and_counted() {
    let fixture = start(Speech::Tls, |_| ());
    let mut client: Client = Box::new(TcpStream::connect(fixture.listener.addr()).await.unwrap());
    send(&mut client, HELLO).await;
    assert!(!rest(&mut client).await.contains("hello"));
    assert_eq!(fixture.metrics.handshake_errors.get(), 1);
    fixture.shutdown().await;
}

#[tokio::test]
async fn a_handshake_times_out() {
    let fixture = start(Speech::Tls, |config| config.http.header_read_timeout = Duration::from_millis(100));
    let mut silent: Client = Box::new(TcpStream::connect(fixture.listener.addr()).await.unwrap());
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(fixture.metrics.handshake_errors.get(), 1);
    let mut next = timeout(SOON, fixture.connect()).await.unwrap();
    send(&mut next, HELLO).await;
    until(&mut next, "hello").await;
    fixture.shutdown().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn accepted_sockets_inherit_the_peer_timeout() {
    let listener = bind("127.0.0.1:0".parse().unwrap(), Duration::from_secs(30)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let socket = SockRef::from(&accepted);
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
    assert_eq!(socket.tcp_notsent_lowat().unwrap(), MAX_NOT_SENT);
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(15));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
    drop(client);
    // The kernel takes the shortest and the longest that the settings allow.
    for peer_timeout in [Duration::from_secs(1), Duration::from_hours(24)] {
        bind("127.0.0.1:0".parse().unwrap(), peer_timeout).unwrap();
    }
}
