//! Encoded events: each event is encoded once and shared by all connections.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fanfare_protocol::{Channel, Entry, Event, Position, TraceParent};
use fanfare_telemetry::traces::TracedEvent;

use crate::dialect::Dialect;
use crate::gzip::{CompressedText, MIN_COMPRESSED};
use crate::stream::{Coding, Identity};

/// An event from a live topic or a log. Lives as long as a window or a queue holds it.
#[derive(Debug)]
pub(crate) struct EncodedEvent {
    pub(crate) channel: Channel,
    /// Positions; `None` for an ephemeral event.
    pub(crate) link: Option<ChainLink>,
    body: Arc<SharedEvent>,
}

/// The event and its encodings.
#[derive(Debug)]
struct SharedEvent {
    event: Event,
    /// Time, in Unix milliseconds.
    time: u64,
    /// By [`Dialect::event_text`].
    cached: [CachedEncoding; Dialect::EVENT_TEXTS],
}

/// One text, and its compressed form, each created at the first use.
#[derive(Debug, Default)]
struct CachedEncoding {
    text: OnceLock<Bytes>,
    compressed: OnceLock<Box<CompressedText>>,
}

/// Dialect and coding of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding {
    pub(crate) dialect: Dialect,
    pub(crate) coding: Coding,
}

/// An encoded event, which is the same for all clients with the same encoding, except the `id:` line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Encoded<'a> {
    /// Plain text.
    Text(&'a Bytes),
    /// A part of a gzip member, with the uncompressed length.
    Compressed(&'a CompressedText, usize),
}

impl Encoded<'_> {
    /// Returns the size in a queue and on the socket, in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Compressed(compressed, _) => compressed.len(),
        }
    }

    /// Returns the bytes saved by compression.
    pub(crate) fn saved(&self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Compressed(compressed, length) => length.saturating_sub(compressed.len()),
        }
    }
}

/// Position of a stored event, and the position before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainLink {
    pub(crate) position: Position,
    pub(crate) previous: Position,
}

impl EncodedEvent {
    pub(crate) fn stored(channel: &Channel, entry: &Entry) -> Arc<Self> {
        let link = ChainLink { position: entry.position, previous: entry.previous };
        Self::new(channel, Some(link), entry.event.clone(), entry.position.ms)
    }

    /// Creates an ephemeral event. `now` is in Unix milliseconds.
    pub(crate) fn ephemeral(channel: &Channel, event: Event, now: u64) -> Arc<Self> {
        Self::new(channel, None, event, now)
    }

    fn new(channel: &Channel, link: Option<ChainLink>, event: Event, time: u64) -> Arc<Self> {
        let cached = std::array::from_fn(|_| CachedEncoding::default());
        let body = SharedEvent { event, time, cached };
        Arc::new(Self { channel: channel.clone(), link, body: Arc::new(body) })
    }

    /// Returns the same event for one shard. Each shard has a separate reference count; with a shared one, the
    /// cores would contend for its cache line with every delivery.
    pub(crate) fn for_shard(&self) -> Arc<Self> {
        let Self { channel, link, body } = self;
        Arc::new(Self { channel: channel.clone(), link: *link, body: Arc::clone(body) })
    }

    /// Returns whether the publisher excepted this stream's session: it does not get the event.
    pub(crate) fn excepts(&self, identity: &Identity) -> bool {
        self.body.event.excepted().is_some_and(|except| identity.is(except))
    }

    /// Returns the trace of the event, if it is sampled.
    pub(crate) fn sampled(&self) -> Option<&TraceParent> {
        self.body.event.trace().filter(|trace| trace.is_sampled())
    }

    /// Returns what the span of its fan-out says.
    pub(crate) fn traced(&self) -> TracedEvent<'_> {
        let position = self.link.map(|link| link.position);
        TracedEvent { channel: &self.channel, event: &self.body.event, position }
    }

    /// Returns the encoded event. The first caller encodes and compresses it; concurrent callers wait.
    pub(crate) fn encode(&self, encoding: Encoding) -> Encoded<'_> {
        let cached = &self.body.cached[encoding.dialect.event_text()];
        let text = cached.text.get_or_init(|| {
            let position = self.link.map(|link| link.position);
            encoding.dialect.event(&self.channel, &self.body.event, position, self.body.time)
        });
        if encoding.coding == Coding::Identity || text.len() < MIN_COMPRESSED {
            return Encoded::Text(text);
        }
        Encoded::Compressed(cached.compressed.get_or_init(|| Box::new(CompressedText::new(text))), text.len())
    }

    /// Returns the number of bytes that were compressed so far.
    pub(crate) fn compressed_bytes(&self) -> usize {
        let of = |cached: &CachedEncoding| match (cached.compressed.get(), cached.text.get()) {
            (Some(_), Some(text)) => text.len(),
            _ => 0,
        };
        self.body.cached.iter().map(of).sum()
    }

    /// Returns the approximate memory use, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.body.event.data_bytes().len() + 256
    }
}
