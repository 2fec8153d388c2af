//! Encoded events: each event is encoded once and shared by all connections.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fanfare_protocol::sse::{self, Format};
use fanfare_protocol::{Channel, Entry, Event, Position};

use crate::gzip::{MIN_PACKED, Packed};
use crate::stream::Coding;

/// An event from a live topic or a log. Lives as long as a window or a queue holds it.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) channel: Channel,
    /// Positions; `None` for an ephemeral event.
    pub(crate) kept: Option<Kept>,
    body: Arc<Body>,
}

/// The event and its encodings.
#[derive(Debug)]
struct Body {
    event: Event,
    /// Time, in Unix milliseconds.
    time: u64,
    raw: Cells,
    json: Cells,
}

/// The encoding in one format, created at the first use.
#[derive(Debug, Default)]
struct Cells {
    text: OnceLock<Bytes>,
    packed: OnceLock<Box<Packed>>,
}

/// Format and coding of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) format: Format,
    pub(crate) coding: Coding,
}

/// An encoded event, which is the same for all clients with the same view, except the `id:` line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Frame<'a> {
    /// Plain text.
    Text(&'a Bytes),
    /// A part of a gzip member, with the uncompressed length.
    Packed(&'a Packed, usize),
}

impl Frame<'_> {
    /// Returns the size in a queue and on the socket, in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Packed(packed, _) => packed.len(),
        }
    }

    /// Returns the bytes saved by compression.
    pub(crate) fn saved(&self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Packed(packed, length) => length.saturating_sub(packed.len()),
        }
    }
}

/// Position of a stored event, and the position before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) position: Position,
    pub(crate) previous: Position,
}

impl Delivery {
    pub(crate) fn kept(channel: &Channel, entry: &Entry) -> Arc<Self> {
        let kept = Kept { position: entry.position, previous: entry.previous };
        Self::new(channel, Some(kept), entry.event.clone(), entry.position.ms)
    }

    /// Creates an ephemeral event. `now` is in Unix milliseconds.
    pub(crate) fn ephemeral(channel: &Channel, event: Event, now: u64) -> Arc<Self> {
        Self::new(channel, None, event, now)
    }

    fn new(channel: &Channel, kept: Option<Kept>, event: Event, time: u64) -> Arc<Self> {
        let body = Body { event, time, raw: Cells::default(), json: Cells::default() };
        Arc::new(Self { channel: channel.clone(), kept, body: Arc::new(body) })
    }

    /// Returns the same event for another shard. Each shard has a separate reference count; with a shared one, the
    /// cores would contend for its cache line with every delivery.
    pub(crate) fn for_another_loop(&self) -> Arc<Self> {
        let Self { channel, kept, body } = self;
        Arc::new(Self { channel: channel.clone(), kept: *kept, body: Arc::clone(body) })
    }

    /// Returns the encoded event. The first caller encodes and compresses it; concurrent callers wait.
    pub(crate) fn frame(&self, view: View) -> Frame<'_> {
        let cells = match view.format {
            Format::Raw => &self.body.raw,
            Format::Json => &self.body.json,
        };
        let text = cells.text.get_or_init(|| {
            let position = self.kept.map(|kept| kept.position);
            sse::frame(view.format, &self.channel, &self.body.event, position, self.body.time)
        });
        if view.coding == Coding::Identity || text.len() < MIN_PACKED {
            return Frame::Text(text);
        }
        Frame::Packed(cells.packed.get_or_init(|| Box::new(Packed::new(text))), text.len())
    }

    /// Returns the number of bytes that were compressed so far.
    pub(crate) fn packed_bytes(&self) -> usize {
        let of = |cells: &Cells| match (cells.packed.get(), cells.text.get()) {
            (Some(_), Some(text)) => text.len(),
            _ => 0,
        };
        of(&self.body.raw) + of(&self.body.json)
    }

    /// Returns the approximate memory use, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.body.event.data_bytes().len() + 256
    }
}
