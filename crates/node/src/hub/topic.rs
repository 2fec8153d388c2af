//! One channel in one writer loop: who follows it, and what of it is known.

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use smallvec::SmallVec;

use fanfare_broker::backoff::Backoff;
use fanfare_broker::log::Page;
use fanfare_protocol::start::From;
use fanfare_protocol::{Channel, Position};

use super::line::Asker;
use super::window::Window;
use crate::delivery::Kept;

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
    /// Whether it is sent. It may be in line several times: once for each user who waits.
    pub(crate) sent: bool,
    /// Who asked first.
    pub(crate) asker: Asker,
    /// Those who found that the log went back, and came after this was sent: its answer may be from before the log did, and
    /// they ask once more when it has come.
    pub(crate) late: Vec<(Member, u64)>,
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
    /// The newest position that the wire or the log told since the wire was last in doubt. A client's word is not enough.
    newest: Position,
    /// The last one that the wire told since then.
    wire: Option<Position>,
    /// Whether the log told the window's tip. What only the wire told is a hint: anybody may write there.
    agreed: bool,
    /// The channel's last position, as the log told it last. Outlives doubts.
    logged: Position,
    /// The first event with which the wire went back: all after the one before it is new to those who were beyond.
    fork: Option<Box<Kept>>,
    /// How many bytes a read must bring to hold an event as large as the last ones; 0 if a page holds them.
    pub(crate) large: u32,
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
            wire: None,
            agreed: false,
            logged: Position::ZERO,
            fork: None,
            large: 0,
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
        (self.newest, self.wire, self.agreed) = (Position::ZERO, None, false);
        self.fork = None;
    }

    /// A live event contradicts what is known: nothing is, but where the wire went back, if it was the wire that did.
    pub(crate) fn doubt(&mut self, kept: Kept) {
        let back = self.wire.is_some_and(|wire| kept.position <= wire);
        self.unsettle(self.heard);
        self.fork = back.then(|| Box::new(kept));
    }

    /// Returns where the log went back to, if that is known and the log still has what came then.
    ///
    /// A fork is the word of Pub/Sub. It counts only where the log has gone back behind what it told last: else what
    /// is before stands where it stood, and nobody is to get it again.
    pub(crate) fn fork(&self, page: &Page) -> Option<Position> {
        let fork = self.fork.as_ref().filter(|first| page.last >= first.position && page.last < self.logged);
        fork.map(|first| first.previous)
    }

    /// Returns whether a live event has a position that Redis cannot have given yet. `latest` is the latest that its
    /// clock can show. After that was put back, positions go on in the millisecond of the last one.
    pub(crate) fn is_ahead(&self, kept: Kept, latest: Option<u64>) -> bool {
        latest.is_some_and(|latest| kept.position.ms > latest.max(self.logged.ms))
    }

    /// Returns whether a live event does not follow the one that the wire told before it, as each does that Redis
    /// sends.
    pub(crate) fn is_stray(&self, kept: Kept) -> bool {
        self.wire.is_some_and(|wire| wire != kept.previous)
    }

    /// Returns whether a live event says that the log went back: it is not after what is known of the channel, and
    /// came neither before nor next on the wire, on which events come in their order. The log decides then.
    pub(crate) fn contradicts(&self, kept: Kept) -> bool {
        kept.position <= self.newest && self.wire != Some(kept.previous) && !self.window.has(kept)
    }

    /// The wire told an event.
    pub(crate) fn told(&mut self, position: Position) {
        self.version += 1;
        self.newest = self.newest.max(position);
        (self.wire, self.agreed) = (Some(position), false);
    }

    /// The log told the channel's last position, in answer to a question that was sent when the topic had this version.
    /// Answers whether that refutes what the wire told before.
    #[must_use]
    pub(crate) fn read(&mut self, last: Position, version: u64) -> bool {
        self.logged = last;
        self.newest = self.newest.max(last);
        if self.version != version {
            return false;
        }
        if self.window.tip().is_some_and(|tip| tip > last) {
            // What was known is not in the log, though it was asked later: it never was, or is lost.
            self.unsettle(self.heard);
            return true;
        }
        // Nothing came since: what comes next on the wire follows it.
        self.window.settle(last);
        self.agreed = self.window.tip() == Some(last);
        false
    }

    /// Returns whether a page by which a connection found that the log went back contradicts what is known here, too.
    /// A connection by itself is not enough: its position may be a client's word. Where the page has entries, it is
    /// ours.
    pub(crate) fn went_back(&self, page: &Page) -> bool {
        !page.entries.is_empty() || page.last < self.newest
    }

    /// Returns the channel's last position, if it is known here.
    pub(crate) fn tip(&self) -> Option<Position> {
        self.window.tip().filter(|_| self.heard && self.agreed)
    }
}
