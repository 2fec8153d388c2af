//! A client independent of the product's code: its own socket, its own parser, and a record of everything that it received.

mod event;
mod response;

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout_at;

pub use self::event::{End, Received, Step};
use self::response::Response;
use crate::api::Answer;
use crate::deadline::SOON;
use crate::head::Head;
use crate::node::Node;
use crate::request::StreamRequest;

/// One client. It reads only while a test waits for something, so it can be as slow as a test likes.
#[derive(Debug)]
pub struct Client {
    request: StreamRequest,
    response: Response,
    /// Everything so far, also from earlier connections, in order.
    received: Vec<Received>,
    /// How many of those a test has looked at.
    seen: usize,
    /// From `connected`.
    session: String,
    node: String,
}

impl StreamRequest {
    /// Sends it and reads the answer's head.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn send(self) -> Client {
        let (response, received) = Response::to(&self, "").await.unwrap_or_else(|e| panic!("{e}"));
        let (session, node) = (String::new(), String::new());
        Client { request: self, response, received, seen: 0, session, node }
    }

    /// Sends it, and reads the stream's beginning up to `connected`.
    ///
    /// # Panics
    ///
    /// When the answer is something else.
    pub async fn open(self) -> Client {
        let mut client = self.send().await;
        client.connected().await;
        client
    }
}

impl Client {
    async fn connect(&mut self) {
        // What a test has not looked at has not happened: the client left before.
        self.received.truncate(self.seen);
        let last_id = self.received.last().map_or(String::new(), |event| event.last_id.clone());
        let (response, events) =
            Response::to(&self.request, &last_id).await.unwrap_or_else(|e| panic!("{e}\n{}", self.story()));
        self.response = response;
        self.received.extend(events);
    }

    /// Closes, and comes back with the `Last-Event-ID` of the last event that the test has looked at, as if none had
    /// come after it. Reads the head.
    pub async fn reconnect(&mut self, node: &Node) {
        self.close();
        self.request.move_to(node.address());
        self.connect().await;
    }

    /// [`Self::reconnect`], and reads up to `connected`.
    pub async fn resume(&mut self, node: &Node) {
        self.resume_at(node.address()).await;
    }

    /// [`Self::resume`] by an address, as that of a proxy.
    pub async fn resume_at(&mut self, address: SocketAddr) {
        self.close();
        self.request.move_to(address);
        self.connect().await;
        self.connected().await;
    }

    /// Changes what it asks for from the next connection on.
    pub fn change(&mut self, change: impl FnOnce(StreamRequest) -> StreamRequest) {
        self.request = change(self.request.clone());
    }

    /// Closes the connection, as a client that leaves.
    pub fn close(&mut self) {
        self.response.close();
    }

    /// Resets the connection, as a network that breaks.
    pub fn reset(&mut self) {
        if let Some(socket) = self.response.close() {
            socket.reset_on_close().expect("an open socket can be set up");
        }
    }

    /// The answer's status.
    pub fn status(&self) -> u16 {
        self.response.head.status
    }

    /// The answer's head.
    pub fn head(&self) -> &Head {
        &self.response.head
    }

    /// What it would send as `Last-Event-ID`: where it is with all that it has read, looked at or not.
    pub fn last_id(&self) -> &str {
        self.response.reader.last_id()
    }

    /// The last `retry:`.
    pub fn retry(&self) -> Option<Duration> {
        self.response.reader.retry().map(Duration::from_millis)
    }

    /// How many comments came on this connection.
    pub fn comments(&self) -> u64 {
        self.response.reader.comments()
    }

    /// The session in `connected`.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The node in `connected`.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Everything so far, also from earlier connections.
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// Reads the stream's beginning: one block with `id:`, `retry:` and the event `connected`.
    ///
    /// # Panics
    ///
    /// When it is anything else.
    pub async fn connected(&mut self) {
        assert_eq!(self.status(), 200, "{:?}", self.head());
        assert_eq!(self.head().field("content-type"), "text/event-stream");
        let first = self.next().await;
        assert_eq!(first.kind, "connected", "{first:?}");
        assert!(first.has_id && !first.last_id.is_empty(), "the first block sets the id: {first:?}");
        assert!(self.retry().is_some(), "the first block sets retry");
        let connected = first.json();
        assert_eq!(connected["cursor"], first.last_id.as_str(), "{first:?}");
        let text =
            |name: &str| connected[name].as_str().unwrap_or_else(|| panic!("{name}: {first:?}")).to_owned();
        (self.session, self.node) = (text("session"), text("node"));
    }

    /// The next event, or the end, or nothing within `limit`.
    pub async fn step(&mut self, limit: Duration) -> Step {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            if let Some(event) = self.received.get(self.seen) {
                self.seen += 1;
                return Step::Event(event.clone());
            }
            if let Some(end) = &self.response.end {
                return Step::Ended(end.clone());
            }
            match timeout_at(deadline, self.response.read()).await {
                Ok(Ok(events)) => self.received.extend(events),
                Ok(Err(e)) => panic!("{e}\n{}", self.story()),
                Err(_) => return Step::Nothing,
            }
        }
    }

    /// The next event.
    ///
    /// # Panics
    ///
    /// When the stream ends, or nothing comes soon.
    pub async fn next(&mut self) -> Received {
        match self.step(SOON).await {
            Step::Event(event) => event,
            other => panic!("no event, but {other:?}\n{}", self.story()),
        }
    }

    /// The next event, which must be of this type.
    ///
    /// # Panics
    ///
    /// When it is of another, or there is none.
    pub async fn expect(&mut self, kind: &str) -> Received {
        let event = self.next().await;
        assert_eq!(event.kind, kind, "{}", self.story());
        event
    }

    /// The next event, which must have this data.
    ///
    /// # Panics
    ///
    /// When it has other data, or there is none.
    pub async fn expect_data(&mut self, data: &str) -> Received {
        let event = self.next().await;
        assert_eq!(&*event.data, data, "{}", self.story());
        event
    }

    /// Goes on to the first event that is meant, passing over the others.
    ///
    /// # Panics
    ///
    /// When the stream ends before, or nothing comes soon.
    pub async fn find(&mut self, meant: impl Fn(&Received) -> bool) -> Received {
        loop {
            let event = self.next().await;
            if meant(&event) {
                return event;
            }
        }
    }

    /// Reads to the end, passing over events.
    ///
    /// # Panics
    ///
    /// When it does not come soon.
    pub async fn end(&mut self) -> End {
        loop {
            match self.step(SOON).await {
                Step::Event(_) => {}
                Step::Ended(end) => return end,
                Step::Nothing => panic!("no end\n{}", self.story()),
            }
        }
    }

    /// Reads an answer that is no stream.
    ///
    /// # Panics
    ///
    /// When its body does not end soon.
    pub async fn answer(self) -> Answer {
        let Head { status, fields, .. } = self.response.head.clone();
        let headers = fields.iter().filter_map(|(name, value)| {
            Some((name.parse::<reqwest::header::HeaderName>().ok()?, value.parse().ok()?))
        });
        let text = self.response.text().await.unwrap_or_else(|e| panic!("{e}"));
        Answer { status, headers: headers.collect(), text }
    }

    /// The last of what it got, for people.
    pub fn story(&self) -> String {
        let from = self.received.len().saturating_sub(12);
        let mut story = format!(
            "on {} session {} ({} events, {:?})",
            self.node,
            self.session,
            self.received.len(),
            self.response.end
        );
        for event in &self.received[from..] {
            let data: String = event.data.chars().take(60).collect();
            // Writing into memory does not fail.
            let _ = write!(story, "\n  {} {data:?} id {} {}", event.kind, event.has_id, event.last_id);
        }
        story
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const HEAD: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    const FIRST: &str = "id: 5-1\nretry: 30\nevent: connected\ndata: {\"session\":\"s\",\"node\":\"a\",\"cursor\":\"5-1\"}\n\n";

    /// Answers one request with these texts as chunks, and gives back the request. The connection closes then.
    async fn serve(listener: &TcpListener, head: &str, chunks: &[&str], last: &str) -> String {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            socket.read_buf(&mut request).await.unwrap();
        }
        socket.write_all(head.as_bytes()).await.unwrap();
        for chunk in chunks {
            socket.write_all(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes()).await.unwrap();
        }
        socket.write_all(last.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    #[tokio::test]
    async fn it_reads_a_stream_and_comes_back_with_its_cursor() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let request = StreamRequest::to(listener.local_addr().unwrap()).user("42");
        let chunks = [FIRST, "id: 5-2\nevent: t\nda", "ta: x\n\n:\ndata: half"];
        let (request, mut client) =
            tokio::join!(serve(&listener, HEAD, &chunks, "0\r\n\r\n"), request.open());
        assert!(
            request.starts_with("GET /v1/events?user=42 HTTP/1.1\r\n") && !request.contains("Last-Event-ID")
        );
        assert_eq!((client.session(), client.node(), &*client.received()[0].last_id), ("s", "a", "5-1"));
        let event = client.expect("t").await;
        assert_eq!((&*event.data, event.has_id, client.last_id()), ("x", true, "5-2"));
        // What the end cut short is not an event.
        assert_eq!(client.end().await, End::Clean);
        assert_eq!((client.comments(), client.retry()), (1, Some(Duration::from_millis(30))));

        let (request, ()) = tokio::join!(serve(&listener, HEAD, &[FIRST], ""), client.connect());
        assert!(request.contains("\r\nLast-Event-ID: 5-2\r\n"), "{request}");
        client.connected().await;
        assert_eq!(client.end().await, End::Cut);
        assert_eq!(client.received().len(), 3, "the record goes on");
    }

    #[tokio::test]
    async fn an_answer_that_is_no_stream_is_read_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let head = "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\nContent-Length: 12\r\n\r\n{\"a\"";
        let request = StreamRequest::to(listener.local_addr().unwrap());
        let (_, client) = tokio::join!(serve(&listener, head, &[], ":\n\"tex\"}"), request.send());
        assert_eq!(client.status(), 401);
        assert_eq!(client.answer().await.text.len(), 12);
    }
}
