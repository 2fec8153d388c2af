//! A response as it is read: head, body without framing and coding, and the events of a stream.

use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::event::{End, Received};
use crate::body::Body;
use crate::coding::Coding;
use crate::deadline::SOON;
use crate::head::Head;
use crate::request::StreamRequest;
use crate::sse::Reader;
use crate::transport::Socket;

/// How much is read at once, in bytes.
const READ: usize = 64 * 1024;

/// The response on one connection.
#[derive(Debug)]
pub(super) struct Response {
    /// None after it was closed.
    socket: Option<Socket>,
    pub(super) head: Head,
    body: Body,
    coding: Coding,
    pub(super) reader: Reader,
    /// What came of a body that is no event stream.
    plain: Vec<u8>,
    pub(super) end: Option<End>,
}

impl Response {
    /// Sends a request with this `Last-Event-ID`, and reads the head. Returns the events that came with it, too.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the response.
    pub(super) async fn to(request: &StreamRequest, last_id: &str) -> Result<(Self, Vec<Received>), String> {
        let mut socket = request.write(last_id).await.map_err(|e| format!("connect: {e}"))?;
        let mut bytes = Vec::new();
        let (head, length) = loop {
            if let Some(found) = Head::parse(&bytes).map_err(|e| e.to_string())? {
                break found;
            }
            match timeout(SOON, socket.read_buf(&mut bytes)).await {
                Ok(Ok(1..)) => {}
                other => {
                    return Err(format!(
                        "no head, but {other:?} after {:?}",
                        String::from_utf8_lossy(&bytes)
                    ));
                }
            }
        };
        assert_eq!(head.minor_version, 1, "{head:?}");
        let mut response = Self {
            socket: Some(socket),
            body: Body::of(&head).map_err(|e| format!("{e}: {head:?}"))?,
            coding: Coding::of(&head).map_err(|e| format!("{e}: {head:?}"))?,
            head,
            reader: Reader::resuming(last_id),
            plain: Vec::new(),
            end: None,
        };
        let events = response.take(&bytes[length..])?;
        Ok((response, events))
    }

    /// Closes the connection.
    pub(super) fn close(&mut self) -> Option<Socket> {
        self.socket.take()
    }

    /// Reads once from the socket. Returns the events that are complete then.
    ///
    /// # Errors
    ///
    /// Says what is wrong with what was read.
    pub(super) async fn read(&mut self) -> Result<Vec<Received>, String> {
        let Some(socket) = &mut self.socket else {
            self.end = Some(End::Broken("closed by the test".into()));
            return Ok(Vec::new());
        };
        let mut bytes = Vec::with_capacity(READ);
        match socket.read_buf(&mut bytes).await {
            Ok(0) if self.body.is_finished() => self.finish()?,
            Ok(0) => self.end = Some(End::Cut),
            Ok(_) => return self.take(&bytes),
            Err(e) => self.end = Some(End::Broken(e.to_string())),
        }
        Ok(Vec::new())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<Vec<Received>, String> {
        let mut text = Vec::with_capacity(bytes.len());
        self.body.feed(bytes, |part| text.extend_from_slice(part)).map_err(|e| e.to_string())?;
        let mut text = self.coding.feed(text)?;
        if self.head.field("content-type") != "text/event-stream" {
            self.plain.append(&mut text);
        }
        let at = Instant::now();
        let mut before = self.reader.last_id().to_owned();
        let mut events = Vec::new();
        self.reader.feed(&text, |block, last_id| {
            let Some(data) = block.data.as_deref() else { return };
            let kind = if block.kind.is_empty() { "message" } else { &block.kind }.to_owned();
            let (last_id, has_id) = (last_id.to_owned(), block.has_id);
            events.push(Received { kind, data: data.into(), last_id, has_id, at });
        });
        for event in &events {
            event.check(&before).map_err(|why| format!("{why}: {event:?}"))?;
            before.clone_from(&event.last_id);
        }
        if self.reader.bare() > 0 {
            return Err("a block without data".into());
        }
        if self.body.is_finished() {
            self.finish()?;
        }
        Ok(events)
    }

    fn finish(&mut self) -> Result<(), String> {
        self.end = Some(End::Clean);
        self.coding.end()
    }

    /// Reads a body that is no event stream to its end.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the body, or that it does not end soon.
    pub(super) async fn text(mut self) -> Result<String, String> {
        let mut socket = self.socket.take().ok_or("the connection is closed")?;
        let mut raw = vec![0; READ];
        while !self.body.is_finished() {
            let read =
                timeout(SOON, socket.read(&mut raw)).await.map_err(|_| "the body does not end soon")?;
            match read.map_err(|e| e.to_string())? {
                0 => break,
                read => self
                    .body
                    .feed(&raw[..read], |part| self.plain.extend_from_slice(part))
                    .map_err(|e| e.to_string())?,
            }
        }
        String::from_utf8(self.plain).map_err(|e| e.to_string())
    }
}
