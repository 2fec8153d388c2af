//! A client that behaves exactly like a browser's `EventSource`.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>, 9.2.2 and 9.2.3: any status but 200 or another
//! media type ends it permanently; a connection that fails or ends is made again after the reconnection time, with
//! `Last-Event-ID`; there is no timeout, no backoff, and events are not interpreted.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::body::Body;
use crate::head::Head;
use crate::sse::{Block, Reader};
use crate::target::Target;

/// Reconnection time until a server sends `retry:`, as in Chromium.
const RECONNECTION_TIME: Duration = Duration::from_secs(3);
/// Size of one read, in bytes.
const READ: usize = 16 * 1024;

/// An event of a client's run.
#[derive(Debug)]
pub enum SourceEvent<'a> {
    /// It connects; not for the first time if it comes back.
    Connects {
        /// Whether it had tried before.
        again: bool,
    },
    /// A block came.
    Block(&'a Block),
    /// What it had, or tried to get, has ended. It will come back.
    Ended {
        /// Whether the stream was complete, and so no error.
        clean: bool,
    },
}

/// Why a client ended permanently.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GaveUp {
    /// The answer's status.
    Status(u16),
    /// The answer's media type.
    MediaType(String),
}

impl std::fmt::Display for GaveUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::MediaType(kind) => write!(f, "media type {kind:?}"),
        }
    }
}

/// How one connection ended.
enum End {
    Clean,
    Broken,
    GaveUp(GaveUp),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

/// One client and what survives its connections.
#[derive(Debug)]
pub struct EventSource {
    target: Target,
    /// Whose it is: chooses the address to come from.
    number: usize,
    path: String,
    reader: Reader,
}

impl EventSource {
    /// Creates a client of `path`, which begins with a slash.
    pub fn new(target: Target, number: usize, path: String) -> Self {
        Self { target, number, path, reader: Reader::default() }
    }

    /// Lives until it gives up. Dropped, it closes its connection like a page that is left.
    pub async fn run(&mut self, mut on: impl FnMut(SourceEvent<'_>)) -> GaveUp {
        let mut again = false;
        loop {
            on(SourceEvent::Connects { again });
            again = true;
            self.reader.restart();
            let clean = match self.connection(&mut on).await {
                End::Clean => true,
                End::Broken => false,
                End::GaveUp(why) => return why,
            };
            on(SourceEvent::Ended { clean });
            tokio::time::sleep(self.reader.retry().map_or(RECONNECTION_TIME, Duration::from_millis)).await;
        }
    }

    async fn connection(&mut self, on: &mut impl FnMut(SourceEvent<'_>)) -> End {
        self.stream(on).await.unwrap_or_else(|end| end)
    }

    async fn stream(&mut self, on: &mut impl FnMut(SourceEvent<'_>)) -> Result<End, End> {
        let mut socket = self.target.connect(self.number).await?;
        socket.write_all(self.request().as_bytes()).await?;
        let (head, rest) = read_head(&mut socket).await?;
        if head.status != 200 {
            return Err(End::GaveUp(GaveUp::Status(head.status)));
        }
        let media_type = head.media_type();
        if media_type != "text/event-stream" {
            return Err(End::GaveUp(GaveUp::MediaType(media_type)));
        }
        let mut body = Body::of(&head).map_err(|_| End::Broken)?;
        let mut take = |bytes: &[u8]| {
            let blocks = |text: &[u8]| self.reader.feed(text, |block, _| on(SourceEvent::Block(block)));
            body.feed(bytes, blocks).map_err(|_| End::Broken)?;
            Ok::<_, End>(body)
        };
        let mut body = take(&rest)?;
        drop(rest);
        while !body.is_finished() {
            socket.readable().await?;
            match read_now(&socket, &mut take)? {
                Some(after) => body = after,
                None => return Ok(if body.may_end() { End::Clean } else { End::Broken }),
            }
        }
        Ok(End::Clean)
    }

    fn request(&self) -> String {
        let id = match self.reader.last_id() {
            "" => String::new(),
            id => format!("Last-Event-ID: {id}\r\n"),
        };
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\nCache-Control: no-store\r\n{id}\r\n",
            self.path,
            self.target.authority()
        )
    }
}

/// Takes what is there. None at the end of the connection. The buffer is on the stack, so that a client that waits
/// holds none.
fn read_now(
    socket: &TcpStream,
    take: &mut impl FnMut(&[u8]) -> Result<Body, End>,
) -> Result<Option<Body>, End> {
    let mut buffer = [0; READ];
    match socket.try_read(&mut buffer) {
        Ok(0) => Ok(None),
        Ok(read) => take(&buffer[..read]).map(Some),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => take(&[]).map(Some),
        Err(error) => Err(error.into()),
    }
}

async fn read_head(socket: &mut TcpStream) -> Result<(Head, Vec<u8>), End> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(End::Broken);
        }
        if let Some((head, length)) = Head::parse(&bytes).map_err(|_| End::Broken)? {
            return Ok((head, bytes.split_off(length)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

    /// Runs a client against a server that gives these answers and then closes; what happened, the requests, and why
    /// the client gave up.
    async fn run(answers: &[&str]) -> (Vec<String>, Vec<String>, GaveUp) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::resolve(&format!("http://{}", listener.local_addr().unwrap())).await.unwrap();
        let mut client = EventSource::new(target, 7, "/v1/events?user=1".into());
        let (mut story, mut requests) = (Vec::new(), Vec::new());
        let server = async {
            for answer in answers {
                let (mut socket, from) = listener.accept().await.unwrap();
                assert_eq!(from.ip().to_string(), "127.0.1.8");
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    socket.read_buf(&mut request).await.unwrap();
                }
                requests.push(String::from_utf8(request).unwrap());
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let run = client.run(|event| story.push(format!("{event:?}")));
        let (why, ()) = tokio::join!(run, server);
        (story, requests, why)
    }

    #[tokio::test]
    async fn it_comes_back_where_it_was_and_gives_up_on_any_other_status() {
        let stream = format!("{HEAD}id: 5-1\nretry: 1\nevent: a\ndata: x\n\ndata: y\n\nid: 9-9\ndata: cut");
        let broken =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nda";
        let refused = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
        let (story, requests, why) = run(&[&stream, broken, refused]).await;
        assert_eq!(why, GaveUp::Status(502));
        assert_eq!(
            story,
            [
                "Connects { again: false }",
                "Block(Block { kind: \"a\", data: Some(\"x\"), has_id: true })",
                "Block(Block { kind: \"\", data: Some(\"y\"), has_id: false })",
                "Ended { clean: true }",
                "Connects { again: true }",
                "Ended { clean: false }",
                "Connects { again: true }",
            ]
        );
        assert!(!requests[0].contains("Last-Event-ID"), "{requests:?}");
        assert!(requests[1..].iter().all(|text| text.contains("\r\nLast-Event-ID: 5-1\r\n")), "{requests:?}");
    }

    #[tokio::test]
    async fn another_media_type_and_no_content_end_it() {
        let (_, _, why) = run(&["HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"]).await;
        assert_eq!(why, GaveUp::MediaType("text/html".into()));
        let (_, _, why) = run(&["HTTP/1.1 204 No Content\r\n\r\n"]).await;
        assert_eq!(why, GaveUp::Status(204));
    }
}
