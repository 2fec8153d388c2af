//! One channel in one writer loop: who follows it, and what of it is known.

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use smallvec::SmallVec;

use fanfare_broker::backoff::Backoff;
use fanfare_protocol::start::From;
use fanfare_protocol::{Channel, Position};

use super::window::Window;

/// A connection's place in a topic: its key in the loop's slab, and the channel's index among its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) connection: usize,
    pub(crate) index: usize,
}

/// What is asked of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    /// The entries after a position.
    Page(Position),
    /// Where a reading begins.
    Locate(From),
}

/// One question under way, and everybody who waits for its answer.
#[derive(Debug)]
pub(crate) struct Read {
    /// The topic's version when the question was sent: if it is still the same when the answer comes, nothing
    /// arrived since.
    pub(crate) version: u64,
    /// The connections, with their serials, since one may be gone when the answer comes.
    pub(crate) waiting: Vec<(Member, u64)>,
    /// Whether it is in line or sent; not while it waits to be asked again after a failure.
    pub(crate) asked: bool,
    pub(crate) backoff: Backoff,
}

/// The questions about one log that are not answered yet. Most of the time there are none, so an empty one is small.
#[derive(Debug, Default)]
pub(crate) struct Questions(Option<Box<IndexMap<Ask, Read, RandomState>>>);

impl Questions {
    pub(crate) fn get_mut(&mut self, ask: &Ask) -> Option<&mut Read> {
        self.0.as_mut()?.get_mut(ask)
    }

    pub(crate) fn insert(&mut self, ask: Ask, read: Read) {
        self.0.get_or_insert_default().insert(ask, read);
    }

    /// Takes one out. Those behind it may change places.
    pub(crate) fn remove(&mut self, ask: &Ask) -> Option<Read> {
        let read = self.0.as_mut()?.swap_remove(ask);
        if self.0.as_ref().is_some_and(|reads| reads.is_empty()) {
            self.0 = None;
        }
        read
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Ask, &Read)> {
        self.0.iter().flat_map(|reads| reads.iter())
    }
}

/// One channel that connections of this loop follow, or followed a moment ago.
#[derive(Debug)]
pub(crate) struct Topic {
    /// Tells it from others that had the same place in the loop's slab.
    pub(crate) serial: u64,
    pub(crate) channel: Channel,
    /// Most have one.
    pub(crate) members: SmallVec<[Member; 1]>,
    pub(crate) window: Window,
    /// The newest position that was really seen, on the wire or in the log. A client's word is not enough.
    pub(crate) newest: Position,
    /// Whether the wire hears the channel.
    pub(crate) heard: bool,
    /// Grows with everything that arrives, and with every change of the wire.
    pub(crate) version: u64,
    /// One for each question: connections at the same place share it. In order, so that a simulation repeats itself.
    pub(crate) reads: Questions,
    /// Whether a timer will look whether still nobody follows it.
    pub(crate) unfollowing: bool,
}

impl Topic {
    pub(crate) fn new(serial: u64, channel: Channel) -> Self {
        Self {
            serial,
            channel,
            members: SmallVec::new(),
            window: Window::default(),
            newest: Position::ZERO,
            heard: false,
            version: 0,
            reads: Questions::default(),
            unfollowing: false,
        }
    }

    /// The wire changed: what is known of the channel is no longer known to be whole.
    pub(crate) fn unsettle(&mut self, heard: bool) {
        self.heard = heard;
        self.version += 1;
        self.window.forget();
    }
}
