//! An event on its way to connections: encoded once, shared by all.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fanfare_protocol::sse::{self, Format};
use fanfare_protocol::{Channel, Entry, Event, Position};

/// An event that came off a wire or out of a log. Lives as long as a window or a queue holds it.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) channel: Channel,
    /// None for an ephemeral event.
    pub(crate) kept: Option<Kept>,
    event: Event,
    /// Unix milliseconds.
    time: u64,
    raw: OnceLock<Bytes>,
    json: OnceLock<Bytes>,
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
        let channel = channel.clone();
        Arc::new(Self { channel, kept, event, time, raw: OnceLock::new(), json: OnceLock::new() })
    }

    /// The frame in a format; encoded when it is asked for first.
    pub(crate) fn frame(&self, format: Format) -> &Bytes {
        let cell = match format {
            Format::Raw => &self.raw,
            Format::Json => &self.json,
        };
        cell.get_or_init(|| {
            let position = self.kept.map(|kept| kept.position);
            sse::frame(format, &self.channel, &self.event, position, self.time)
        })
    }

    /// About how many bytes it keeps in memory.
    pub(crate) fn weight(&self) -> usize {
        self.event.data_bytes().len() + 256
    }
}
