//! An event on its way to connections: encoded once, shared by all.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fanfare_protocol::sse::{self, Format};
use fanfare_protocol::{Channel, Entry, Event, Position};

use crate::gzip::{MIN_PACKED, Packed};
use crate::stream::Coding;

/// An event that came off a wire or out of a log. Lives as long as a window or a queue holds it.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) channel: Channel,
    /// None for an ephemeral event.
    pub(crate) kept: Option<Kept>,
    body: Arc<Body>,
}

/// What is encoded, and what became of it.
#[derive(Debug)]
struct Body {
    event: Event,
    /// Unix milliseconds.
    time: u64,
    raw: Cells,
    json: Cells,
}

/// A frame in one format, made when it is asked for first.
#[derive(Debug, Default)]
struct Cells {
    text: OnceLock<Bytes>,
    packed: OnceLock<Box<Packed>>,
}

/// How a client is shown events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) format: Format,
    pub(crate) coding: Coding,
}

/// An event as all clients with the same view get it, but for the `id:` line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Frame<'a> {
    /// To be sent as it is, or stored.
    Text(&'a Bytes),
    /// To be sent as a part of a gzip member, and how long it was.
    Packed(&'a Packed, usize),
}

impl Frame<'_> {
    /// Returns how many bytes it takes in a queue and on the socket.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Packed(packed, _) => packed.len(),
        }
    }

    /// Returns how many bytes compression saved.
    pub(crate) fn saved(&self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Packed(packed, length) => length.saturating_sub(packed.len()),
        }
    }
}

/// Where a kept event stands, and what stood before it.
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

    /// `now` is Unix milliseconds.
    pub(crate) fn ephemeral(channel: &Channel, event: Event, now: u64) -> Arc<Self> {
        Self::new(channel, None, event, now)
    }

    fn new(channel: &Channel, kept: Option<Kept>, event: Event, time: u64) -> Arc<Self> {
        let body = Body { event, time, raw: Cells::default(), json: Cells::default() };
        Arc::new(Self { channel: channel.clone(), kept, body: Arc::new(body) })
    }

    /// The same event for another writer loop. Each loop counts its connections' references by itself; with one count
    /// for all, cores would take its memory from each other with every delivery.
    pub(crate) fn for_another_loop(&self) -> Arc<Self> {
        let Self { channel, kept, body } = self;
        Arc::new(Self { channel: channel.clone(), kept: *kept, body: Arc::clone(body) })
    }

    /// Returns its frame. Encoded and compressed when it is asked for first, whoever asks; others who ask meanwhile
    /// wait.
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

    /// Returns how many bytes of it were compressed so far.
    pub(crate) fn packed_bytes(&self) -> usize {
        let of = |cells: &Cells| match (cells.packed.get(), cells.text.get()) {
            (Some(_), Some(text)) => text.len(),
            _ => 0,
        };
        of(&self.body.raw) + of(&self.body.json)
    }

    /// About how many bytes it keeps in memory.
    pub(crate) fn weight(&self) -> usize {
        self.body.event.data_bytes().len() + 256
    }
}
