//! HTTP/2 connections with the h2 client, in clear text and over TLS. The test takes the part of the hub.

use std::time::Duration;

use bytes::Bytes;
use fanfare_hub::stream::{Framing, Socket, Transport};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::listener::tests::{ClientSocket, Fixture, SOON, Speech, in_both, start};

/// The client's side of a connection.
struct Client {
    requests: SendRequest<Bytes>,
    /// Ends with the connection.
    driver: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(fixture: &Fixture) -> Self {
        let socket = fixture.connect_for(&["h2", "http/1.1"]).await;
        // One that reads nothing of a stream has room for the others.
        let mut builder = h2::client::Builder::new();
        builder.initial_connection_window_size(1 << 24);
        let (requests, connection) = timeout(SOON, builder.handshake(socket)).await.unwrap().unwrap();
        Self { requests, driver: tokio::spawn(connection) }
    }

    async fn ask(&mut self, method: Method, path: &str, body: Option<Bytes>) -> ResponseFuture {
        let request =
            Request::builder().method(method).uri(format!("https://node.test{path}")).body(()).unwrap();
        let mut requests = timeout(SOON, self.requests.clone().ready()).await.unwrap().unwrap();
        let (response, mut out) = requests.send_request(request, body.is_none()).unwrap();
        if let Some(body) = body {
            out.send_data(body, true).unwrap();
        }
        response
    }

    async fn get(&mut self, path: &str) -> Response<RecvStream> {
        let response = self.ask(Method::GET, path, None).await;
        timeout(SOON, response).await.unwrap().unwrap()
    }

    /// Waits until the other side has closed the connection.
    async fn closed(self) {
        drop(self.requests);
        // The open requests show how it ended.
        let _ = timeout(SOON, self.driver).await.expect("the connection is closed").unwrap();
    }
}

/// The whole body, or why it broke off.
async fn whole(response: Response<RecvStream>) -> Result<Vec<u8>, h2::Error> {
    let mut body = response.into_body();
    let mut read = Vec::new();
    while let Some(data) = timeout(SOON, body.data()).await.unwrap() {
        let data = data?;
        body.flow_control().release_capacity(data.len()).unwrap();
        read.extend_from_slice(&data);
    }
    Ok(read)
}

impl Fixture {
    /// A stream as the hub gets it.
    async fn stream(&mut self) -> Transport {
        timeout(SOON, self.taken.recv()).await.unwrap().unwrap().1
    }

    /// A stream that is open, the client's side first.
    async fn open(&mut self, client: &mut Client) -> (Response<RecvStream>, Box<dyn Socket>) {
        let response = client.get("/stream").await;
        assert_eq!(response.status(), 200);
        (response, self.stream().await.socket)
    }
}

/// Waits until the hub would know that the client has gone.
async fn left(socket: &mut Box<dyn Socket>) {
    let mut read = [0; 10];
    let read = timeout(SOON, socket.read(&mut read)).await.expect("the client has left");
    assert!(!matches!(read, Ok(1..)), "{read:?}");
}

in_both! {
    requests_and_streams_share_a_connection,
    a_stream_is_a_socket_with_a_clean_end,
    bodies_arrive_complete_in_both_directions,
    a_client_that_resets_its_stream_ends_it,
    a_connection_that_breaks_ends_all_its_streams,
    a_slow_stream_is_bounded_and_does_not_delay_others,
    a_dropped_stream_is_reset,
    a_response_that_is_not_read_times_out,
    a_reset_request_is_cancelled,
    in_a_drain_new_requests_go_elsewhere_and_streams_continue,
    a_client_that_connects_during_a_drain_gets_one_response,
    connections_are_closed_at_the_deadline,
    an_idle_connection_is_closed_and_one_with_a_stream_is_not,
    connections_with_streams_release_their_slots,
    requests_beyond_the_limit_wait_at_the_client,
    a_head_that_is_too_large_is_refused,
}

async fn requests_and_streams_share_a_connection(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    let mut client = Client::connect(&fixture).await;
    let mut streams = Vec::new();
    // More than a browser opens connections to one host by HTTP/1.1.
    for n in 0..20 {
        let (response, mut socket) = fixture.open(&mut client).await;
        socket.write_all(format!("data: {n}\n\n").as_bytes()).await.unwrap();
        streams.push((response, socket));
    }
    for (n, (response, socket)) in streams.into_iter().enumerate() {
        let hello = client.get("/hello").await;
        assert!(httpdate::parse_http_date(hello.headers()["date"].to_str().unwrap()).is_ok());
        assert_eq!(whole(hello).await.unwrap(), b"hello");
        let mut body = response.into_body();
        let data = timeout(SOON, body.data()).await.unwrap().unwrap().unwrap();
        assert_eq!(data, format!("data: {n}\n\n"));
        drop(socket);
    }
    assert_eq!(fixture.metrics.accepted.get(), 1);
    timeout(SOON, fixture.admissions.wait()).await.unwrap();
    fixture.shutdown().await;
    client.closed().await;
}

async fn a_stream_is_a_socket_with_a_clean_end(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    let mut client = Client::connect(&fixture).await;
    let response = client.get("/stream").await;
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert!(headers.get("content-length").is_none() && headers.get("date").is_some(), "{headers:?}");
    let Transport { mut socket, framing, head, .. } = fixture.stream().await;
    assert_eq!((framing, head), (Framing::Plain, Bytes::new()));
    socket.write_all(b":\n").await.unwrap();
    socket.flush().await.unwrap();
    socket.shutdown().await.unwrap();
    // The hub waits for the client's side no longer than that.
    left(&mut socket).await;
    drop(socket);
    assert_eq!(whole(response).await.unwrap(), b":\n");
    fixture.shutdown().await;
}

async fn bodies_arrive_complete_in_both_directions(speech: Speech) {
    let fixture = start(speech, |_| ());
    let mut client = Client::connect(&fixture).await;
    let sent = Bytes::from((0..400_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    let response = client.ask(Method::POST, "/echo", Some(sent.clone())).await;
    let response = timeout(SOON, response).await.unwrap().unwrap();
    assert_eq!(response.headers()["content-length"], sent.len().to_string().as_str());
    assert!(whole(response).await.unwrap() == sent);
    let response = client.ask(Method::HEAD, "/hello", None).await;
    let response = timeout(SOON, response).await.unwrap().unwrap();
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(whole(response).await.unwrap(), b"");
    assert_eq!(client.get("/nowhere").await.status(), 404);
    fixture.shutdown().await;
}

async fn a_client_that_resets_its_stream_ends_it(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    let mut client = Client::connect(&fixture).await;
    let (response, mut socket) = fixture.open(&mut client).await;
    let (_other, mut stays) = fixture.open(&mut client).await;
    // Dropping an unfinished body sends RST_STREAM.
    drop(response);
    left(&mut socket).await;
    assert!(socket.write_all(b":\n").await.is_err());
    stays.write_all(b":\n").await.unwrap();
    drop(stays);
    fixture.shutdown().await;
}

async fn a_connection_that_breaks_ends_all_its_streams(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    let mut client = Client::connect(&fixture).await;
    let (_first, mut one) = fixture.open(&mut client).await;
    let (_second, mut two) = fixture.open(&mut client).await;
    client.driver.abort();
    left(&mut one).await;
    left(&mut two).await;
    assert!(one.write_all(b":\n").await.is_err());
    fixture.shutdown().await;
}

/// Writes until the socket is full. Returns the number of bytes.
async fn fill(socket: &mut Box<dyn Socket>) -> usize {
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_millis(100), socket.write(&[b'x'; 1000])).await {
        taken += written.unwrap();
    }
    taken
}

async fn a_slow_stream_is_bounded_and_does_not_delay_others(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    let mut client = Client::connect(&fixture).await;
    let (slow, mut stalled) = fixture.open(&mut client).await;
    let (quick, mut flowing) = fixture.open(&mut client).await;
    // The client's window of a stream is 65,535 bytes (RFC 9113, section 6.9.2).
    let taken = fill(&mut stalled).await;
    assert!((65_535..=65_535 + super::SEND_BUFFER).contains(&taken), "{taken}");
    flowing.write_all(b":\n").await.unwrap();
    let mut body = quick.into_body();
    assert_eq!(timeout(SOON, body.data()).await.unwrap().unwrap().unwrap(), ":\n");
    // It goes on when the client does.
    let reading = tokio::spawn(whole(slow));
    stalled.write_all(&vec![b'x'; 100_000]).await.unwrap();
    stalled.shutdown().await.unwrap();
    assert_eq!(timeout(SOON, reading).await.unwrap().unwrap().unwrap().len(), taken + 100_000);
    drop(flowing);
    fixture.shutdown().await;
}

async fn a_dropped_stream_is_reset(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    let mut client = Client::connect(&fixture).await;
    let (response, mut socket) = fixture.open(&mut client).await;
    fill(&mut socket).await;
    drop(socket);
    assert_eq!(whole(response).await.unwrap_err().reason(), Some(Reason::CANCEL));
    assert_eq!(whole(client.get("/hello").await).await.unwrap(), b"hello");
    fixture.shutdown().await;
}

async fn a_response_that_is_not_read_times_out(speech: Speech) {
    let fixture = start(speech, |config| config.stream.write_timeout = Duration::from_millis(100));
    let mut client = Client::connect(&fixture).await;
    let response = client.get("/large").await;
    let mut body = response.into_body();
    // Nothing is released: the window stays shut.
    let mut read = 0;
    let error = loop {
        match timeout(SOON, body.data()).await.unwrap().unwrap() {
            Ok(data) => read += data.len(),
            Err(error) => break error,
        }
    };
    assert_eq!((error.reason(), read <= 65_535), (Some(Reason::INTERNAL_ERROR), true));
    assert_eq!(whole(client.get("/hello").await).await.unwrap(), b"hello");
    fixture.shutdown().await;
}

async fn a_reset_request_is_cancelled(speech: Speech) {
    let fixture = start(speech, |_| ());
    let mut client = Client::connect(&fixture).await;
    let response = client.ask(Method::GET, "/slow", None).await;
    timeout(SOON, fixture.asked.notified()).await.unwrap();
    drop(response);
    // The handler never responds, and no task waits for it.
    fixture.shutdown().await;
    client.closed().await;
}

async fn in_a_drain_new_requests_go_elsewhere_and_streams_continue(speech: Speech) {
    let mut fixture = start(speech, |_| ());
    let mut client = Client::connect(&fixture).await;
    let (response, mut socket) = fixture.open(&mut client).await;
    let slow = client.ask(Method::GET, "/slow", None).await;
    timeout(SOON, fixture.asked.notified()).await.unwrap();
    fixture.listener.send_goaway();
    // GOAWAY is there when the client may ask nothing any more.
    let refused = async {
        while client.requests.clone().ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, refused).await.expect("GOAWAY");
    fixture.go.notify_one();
    assert_eq!(whole(timeout(SOON, slow).await.unwrap().unwrap()).await.unwrap(), b"at last");
    socket.write_all(b"event: shutdown\n\n").await.unwrap();
    socket.shutdown().await.unwrap();
    drop(socket);
    assert_eq!(whole(response).await.unwrap(), b"event: shutdown\n\n");
    // With the last stream goes the connection, though the node is still there.
    client.closed().await;
    fixture.shutdown().await;
}

async fn a_client_that_connects_during_a_drain_gets_one_response(speech: Speech) {
    let fixture = start(speech, |_| ());
    fixture.listener.send_goaway();
    let mut client = Client::connect(&fixture).await;
    assert_eq!(whole(client.get("/hello").await).await.unwrap(), b"hello");
    client.closed().await;
    fixture.shutdown().await;
}

async fn connections_are_closed_at_the_deadline(speech: Speech) {
    let fixture = start(speech, |_| ());
    let mut client = Client::connect(&fixture).await;
    let slow = client.ask(Method::GET, "/slow", None).await;
    timeout(SOON, fixture.asked.notified()).await.unwrap();
    let metrics = fixture.metrics.clone();
    let until = Instant::now() + Duration::from_millis(50);
    timeout(SOON, fixture.listener.shutdown(until)).await.unwrap();
    assert!(timeout(SOON, slow).await.unwrap().is_err());
    assert_eq!(metrics.cut.get(), 1);
    client.closed().await;
}

async fn an_idle_connection_is_closed_and_one_with_a_stream_is_not(speech: Speech) {
    let mut fixture = start(speech, |config| config.http.header_read_timeout = Duration::from_millis(200));
    let mut client = Client::connect(&fixture).await;
    let (response, mut socket) = fixture.open(&mut client).await;
    let idle = Client::connect(&fixture).await;
    idle.closed().await;
    socket.write_all(b":\n").await.unwrap();
    socket.shutdown().await.unwrap();
    drop(socket);
    assert_eq!(whole(response).await.unwrap(), b":\n");
    client.closed().await;
    fixture.shutdown().await;
}

async fn connections_with_streams_release_their_slots(speech: Speech) {
    let mut fixture = start(speech, |config| config.limits.sockets = 1);
    let mut first = Client::connect(&fixture).await;
    let (response, socket) = fixture.open(&mut first).await;
    // The only slot is free again.
    let mut second = timeout(SOON, Client::connect(&fixture)).await.unwrap();
    assert_eq!(whole(second.get("/hello").await).await.unwrap(), b"hello");
    // And not when the stream is over: one of the two has to go.
    drop((socket, response));
    first.closed().await;
    assert_eq!(whole(second.get("/hello").await).await.unwrap(), b"hello");
    fixture.shutdown().await;
}

async fn requests_beyond_the_limit_wait_at_the_client(speech: Speech) {
    let mut fixture = start(speech, |config| config.limits.requests_per_connection = 2);
    let mut client = Client::connect(&fixture).await;
    let first = fixture.open(&mut client).await;
    let second = fixture.open(&mut client).await;
    let third = client.ask(Method::GET, "/hello", None).await;
    assert_eq!(client.requests.current_max_send_streams(), 2);
    drop(first);
    assert_eq!(whole(timeout(SOON, third).await.unwrap().unwrap()).await.unwrap(), b"hello");
    drop(second);
    fixture.shutdown().await;
}

async fn a_head_that_is_too_large_is_refused(speech: Speech) {
    let fixture = start(speech, |_| ());
    let mut client = Client::connect(&fixture).await;
    let path = format!("/hello?{}", "x".repeat(60_000));
    let response = client.ask(Method::GET, &path, None).await;
    let refused = timeout(SOON, response).await.unwrap();
    assert!(refused.is_err() || refused.unwrap().status() == 431);
    fixture.shutdown().await;
}

/// A client that sent the preface and empty SETTINGS, and says nothing ever after.
async fn silent(fixture: &Fixture) -> Box<dyn ClientSocket> {
    let mut client = fixture.connect_for(&[]).await;
    client.write_all(crate::listener::detect::PREFACE).await.unwrap();
    client.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    client
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_silently_is_detected() {
    let fixture = start(Speech::Clear, |config| config.http.header_read_timeout = Duration::from_hours(1));
    let mut client = silent(&fixture).await;
    let begun = Instant::now();
    let mut read = Vec::new();
    let _ = client.read_to_end(&mut read).await;
    assert!(begun.elapsed() >= Duration::from_secs(45) && begun.elapsed() < SOON * 10);
    assert_eq!(fixture.metrics.connection_errors.get(), 1);
    fixture.shutdown().await;
}

#[tokio::test]
async fn a_client_that_does_not_reply_does_not_delay_the_shutdown() {
    let fixture = start(Speech::Clear, |_| ());
    let mut client = silent(&fixture).await;
    // The node's SETTINGS: its side of the connection is up.
    client.read_exact(&mut [0; 9]).await.unwrap();
    let metrics = fixture.metrics.clone();
    let until = Instant::now() + Duration::from_hours(1);
    timeout(SOON, fixture.listener.shutdown(until)).await.expect("the node has left");
    assert_eq!(metrics.cut.get(), 0);
}
