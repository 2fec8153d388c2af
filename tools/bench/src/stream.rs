//! One stream: its request, and what comes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use flate2::write::GzDecoder;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Socket, Type};

use super::sample::{self, MARK};
use super::tally::Tally;
use fanfare_testkit::body::Body;
use fanfare_testkit::head::Head;
use fanfare_testkit::received::ReceivedEvents;
use fanfare_testkit::sse::Reader;

/// How many loopback addresses streams come from. Each has tens of thousands of ports of its own.
const SOURCES: usize = 200;

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No socket.
    Closed,
    /// The request is not written yet.
    Sending,
    /// Its answer has not said yet that the stream is open.
    Opening,
    /// Events come.
    Open,
}

/// Reads every event: number, order, time.
#[derive(Debug)]
struct Full {
    body: Option<Body>,
    /// None if the answer is not compressed.
    inflate: Option<GzDecoder<Vec<u8>>>,
    reader: Reader,
    received: ReceivedEvents,
}

/// One stream. What it has got stays when it is opened again.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Option<TcpStream>,
    state: State,
    /// The request while it is sent, then the answer until the stream is open.
    text: Vec<u8>,
    /// None: events are counted and not looked at.
    full: Option<Box<Full>>,
    /// Events received.
    events: u64,
}

impl Stream {
    /// Creates a stream that is closed and counts. With an received it reads every event.
    pub(super) fn new(received: Option<ReceivedEvents>) -> Self {
        let full = received.map(|received| {
            Box::new(Full { body: None, inflate: None, reader: Reader::default(), received })
        });
        Self { socket: None, state: State::Closed, text: Vec::new(), full, events: 0 }
    }

    /// Returns whether it has no socket.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Events received, in all its connections.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Returns the received, if every event is read.
    pub(super) fn received(&self) -> Option<&ReceivedEvents> {
        self.full.as_ref().map(|full| &full.received)
    }

    /// Begins to connect. `request` lacks its last line; a `Last-Event-ID` is added if there is one.
    ///
    /// # Errors
    ///
    /// Fails if there is no socket to be had.
    pub(super) fn start(
        &mut self,
        number: usize,
        address: SocketAddr,
        request: &str,
        registry: &Registry,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let mut socket = connect(number, address)?;
        registry.register(&mut socket, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        self.socket = Some(socket);
        self.state = State::Sending;
        self.text = request.as_bytes().to_vec();
        if let Some(full) = &mut self.full {
            full.reader.restart();
            (full.body, full.inflate) = (None, None);
            if !full.reader.last_id().is_empty() {
                self.text
                    .extend_from_slice(format!("Last-Event-ID: {}\r\n", full.reader.last_id()).as_bytes());
            }
        }
        self.text.extend_from_slice(b"\r\n");
        tally.opening += 1;
        Ok(())
    }

    /// Closes it from our side.
    pub(super) fn close(&mut self, tally: &mut Tally) {
        match self.state {
            State::Closed => return,
            State::Open => tally.open -= 1,
            State::Sending | State::Opening => tally.opening -= 1,
        }
        self.socket = None;
        self.state = State::Closed;
        self.text = Vec::new();
    }

    /// Something can be done. `ready` is what the answer has to have in it.
    pub(super) fn on(&mut self, event: &Event, ready: &[u8], buffer: &mut [u8], tally: &mut Tally) {
        if let Err(error) = self.progress(event, ready, buffer, tally) {
            tally.dropped += 1;
            tally.why = Some(error.to_string());
            self.close(tally);
        }
    }

    fn progress(
        &mut self,
        event: &Event,
        ready: &[u8],
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> io::Result<()> {
        if self.state == State::Sending && event.is_writable() {
            self.send()?;
        }
        if !event.is_readable() {
            return Ok(());
        }
        loop {
            let Some(socket) = &mut self.socket else { return Ok(()) };
            match socket.read(buffer) {
                Ok(0) => return Err(io::Error::other("the server ended a stream")),
                Ok(length) => {
                    tally.bytes += length as u64;
                    self.take(&buffer[..length], ready, tally)?;
                    // All there was. If there is more now, there is another event.
                    if length < buffer.len() && !event.is_read_closed() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.write(&self.text) {
            Ok(length) => {
                self.text.drain(..length);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
            }
            Err(error) => return Err(error),
        }
        if self.text.is_empty() {
            self.state = State::Opening;
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], ready: &[u8], tally: &mut Tally) -> io::Result<()> {
        if self.state == State::Open {
            return self.count(bytes, tally);
        }
        self.text.extend_from_slice(bytes);
        let Some((head, length)) = Head::parse(&self.text).map_err(io::Error::other)? else { return Ok(()) };
        if head.status != 200 || head.media_type() != "text/event-stream" {
            let text = String::from_utf8_lossy(&self.text);
            return Err(io::Error::other(format!("a stream was refused: {text}")));
        }
        if memchr::memmem::find(&self.text[length..], ready).is_none() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.text);
        if let Some(full) = &mut self.full {
            full.body = Some(Body::of(&head).map_err(io::Error::other)?);
            let compressed = head.field("content-encoding") == "gzip";
            full.inflate = compressed.then(|| GzDecoder::new(Vec::new()));
        }
        self.state = State::Open;
        tally.opening -= 1;
        tally.open += 1;
        self.count(&text[length..], tally)
    }

    fn count(&mut self, bytes: &[u8], tally: &mut Tally) -> io::Result<()> {
        let count = match &mut self.full {
            None => memchr::memchr_iter(MARK, bytes).count() as u64,
            Some(full) => full.take(bytes, tally)?,
        };
        tally.got(self.events, count);
        self.events += count;
        Ok(())
    }
}

impl Full {
    /// Returns how many events these bytes complete.
    fn take(&mut self, bytes: &[u8], tally: &mut Tally) -> io::Result<u64> {
        let now = tally.now();
        let mut count = 0;
        let Self { body: Some(body), inflate, reader, received } = self else { return Ok(0) };
        let mut read = |bytes: &[u8]| {
            reader.feed(bytes, |block, _| {
                if let Some(event) = block.data.as_deref().and_then(sample::parse) {
                    count += 1;
                    received.take(event.channel, event.number);
                    tally.took(event.sent, now);
                }
            });
        };
        let Some(inflate) = inflate else {
            body.feed(bytes, read).map_err(io::Error::other)?;
            return Ok(count);
        };
        let mut outcome = Ok(());
        body.feed(bytes, |bytes| {
            // An event ends with a flush, so all of it comes out.
            if let Err(error) = inflate.write_all(bytes).and_then(|()| inflate.flush()) {
                outcome = Err(error);
            }
            read(inflate.get_ref());
            inflate.get_mut().clear();
        })
        .map_err(io::Error::other)?;
        outcome.map(|()| count)
    }
}

/// Begins to connect, from one of many addresses if this is the loopback interface.
fn connect(number: usize, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let SocketAddr::V4(to) = address
        && to.ip().is_loopback()
    {
        // Always below 200.
        let last = u8::try_from(number % SOURCES).unwrap_or_default();
        socket.bind(&SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, last + 1), 0).into())?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
            return Err(error);
        }
        _ => {}
    }
    Ok(TcpStream::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::sample::Content;
    use fanfare_testkit::numbered::Numbered;
    use fanfare_testkit::received::Faults;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";

    fn waiting(received: Option<ReceivedEvents>) -> (Stream, Tally) {
        let (mut stream, mut tally) = (Stream::new(received), Tally::new(None));
        stream.state = State::Opening;
        tally.opening = 1;
        (stream, tally)
    }

    fn events(numbers: &[u64]) -> String {
        let event = |number: &u64| {
            let event = Numbered { channel: 0, number: *number, sent: Duration::ZERO };
            format!("id: 1-{number}\ndata: {}\n\n", sample::data(&event, 100, Content::Filler))
        };
        numbers.iter().map(event).collect::<Vec<_>>().concat()
    }

    fn chunk(bytes: &[u8]) -> Vec<u8> {
        [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
    }

    #[test]
    fn a_stream_is_open_when_it_says_so_and_events_are_counted_wherever_they_are_cut() {
        let text = format!("{HEAD}\r\nevent: connected\ndata: {{}}\n\n{}", events(&[1, 2, 3]));
        for cut in 1..text.len() {
            let (mut stream, mut tally) = waiting(None);
            for piece in [&text[..cut], &text[cut..]] {
                stream.take(piece.as_bytes(), b"event: connected", &mut tally).unwrap();
            }
            assert_eq!(
                (stream.events(), tally.received, tally.open, tally.opening),
                (3, 3, 1, 0),
                "cut {cut}"
            );
        }
    }

    #[test]
    fn an_answer_that_is_no_stream_is_refused() {
        for text in [
            "HTTP/1.1 503 No\r\nContent-Type: text/event-stream\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n",
        ] {
            let (mut stream, mut tally) = waiting(None);
            assert!(stream.take(text.as_bytes(), b"", &mut tally).is_err(), "{text}");
        }
    }

    #[test]
    fn a_compressed_stream_is_read_event_by_event() {
        let (mut stream, mut tally) = waiting(Some(ReceivedEvents::new([0])));
        let head = format!("{HEAD}Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.take(head.as_bytes(), b"", &mut tally).unwrap();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        for number in 1..=3 {
            gzip.write_all(events(&[number]).as_bytes()).unwrap();
            gzip.flush().unwrap();
            let bytes = chunk(gzip.get_ref());
            gzip.get_mut().clear();
            let (first, second) = bytes.split_at(bytes.len() / 2);
            stream.take(first, b"", &mut tally).unwrap();
            stream.take(second, b"", &mut tally).unwrap();
            assert_eq!(stream.events(), number, "each comes out when it has come in");
        }
        assert_eq!(stream.received().unwrap().judge(|_| 3), Faults::default());
    }

    #[test]
    fn a_stream_that_reads_sees_what_counting_does_not() {
        let (mut stream, mut tally) = waiting(Some(ReceivedEvents::new([0])));
        let text = format!("{HEAD}\r\n{}", events(&[1, 3, 3]));
        stream.take(text.as_bytes(), b"", &mut tally).unwrap();
        assert_eq!(stream.events(), 3);
        let faults = stream.received().unwrap().judge(|_| 3);
        assert_eq!(faults, Faults { lost: 1, duplicated: 1, out_of_order: 0 });
    }
}
