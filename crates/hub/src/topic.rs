//! One channel in one shard: its connections, and what is known of its log.

use std::time::Duration;

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use smallvec::SmallVec;

use fanfare_broker::backoff::Backoff;
use fanfare_broker::log::Page;
use fanfare_protocol::{Channel, Position};
use tokio::time::Instant;

use crate::encoded_event::ChainLink;
use crate::fair_queue::Requester;
use crate::fork::Fork;
use crate::log_reads::{Finds, Hints, LogQuery};
use crate::window::Window;

/// A connection that is subscribed to a topic: its key in the shard's slab, and the channel's index in the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) connection: usize,
    pub(crate) index: usize,
}

/// A log read in progress, with the connections that wait for it.
#[derive(Debug)]
pub(crate) struct PendingRead {
    /// The topic's version when the read started: if it is the same at the end, nothing arrived meanwhile.
    pub(crate) version: u64,
    /// Waiting connections, with their serials, since a connection may have ended when the read completes.
    pub(crate) waiting: Vec<(Subscriber, u64)>,
    /// Whether the read is queued or in progress; false while it waits for a retry.
    pub(crate) queued: bool,
    /// Whether the read is in progress. It may be queued several times: once for each waiting user.
    pub(crate) started: bool,
    /// The first requester.
    pub(crate) requester: Requester,
    /// Connections that found a rolled-back log and joined after the read started: its result may be from before the
    /// rollback, so they read again afterwards.
    pub(crate) late: Vec<(Subscriber, u64)>,
    pub(crate) backoff: Backoff,
}

/// Pending reads of one log. Usually there are none, so an empty value is small.
#[derive(Debug, Default)]
pub(crate) struct PendingReads(Option<Box<IndexMap<LogQuery, PendingRead, RandomState>>>);

impl PendingReads {
    pub(crate) fn get_mut(&mut self, query: &LogQuery) -> Option<&mut PendingRead> {
        self.0.as_mut()?.get_mut(query)
    }

    pub(crate) fn insert(&mut self, query: LogQuery, read: PendingRead) {
        self.0.get_or_insert_default().insert(query, read);
    }

    /// Removes a read. Others may change their order.
    pub(crate) fn remove(&mut self, query: &LogQuery) -> Option<PendingRead> {
        let read = self.0.as_mut()?.swap_remove(query);
        if self.0.as_ref().is_some_and(|reads| reads.is_empty()) {
            self.0 = None;
        }
        read
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&LogQuery, &PendingRead)> {
        self.0.iter().flat_map(|reads| reads.iter())
    }
}

/// A channel that has subscribers in this shard, or had some until recently.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, of the live topic, the log and timers")]
pub(crate) struct Topic {
    /// Distinguishes the topic from earlier ones with the same key in the shard's slab.
    pub(crate) serial: u64,
    pub(crate) channel: Channel,
    /// Connections. Most topics have one.
    pub(crate) subscribers: SmallVec<[Subscriber; 1]>,
    pub(crate) window: Window,
    /// The newest position from the live topic or the log since the live topic was last in doubt. A client's cursor
    /// does not count.
    newest: Position,
    /// The last position from the live topic since then.
    last_live: Option<Position>,
    /// Whether the log confirmed the window's tip. Messages of the live topic are only a hint, since they may be
    /// forged.
    confirmed: bool,
    /// The channel's last position from the last log read. Kept while the live topic is in doubt.
    logged: Position,
    /// Where the live topic went back last. The log confirms it before it is used. Kept for [`LIFETIME`](crate::fork::LIFETIME).
    fork: Option<Box<Fork>>,
    /// Whether a timer will forget the fork.
    forgetting: bool,
    /// Expectations of the next read.
    pub(crate) hints: Hints,
    /// Whether the channel is subscribed.
    pub(crate) subscribed: bool,
    /// Whether a connection waits for that before it reads the log.
    pub(crate) awaited: bool,
    /// Grows with every message, and with every change of the subscription.
    pub(crate) version: u64,
    /// Pending reads, shared by connections at the same position. Ordered, so that simulations are deterministic.
    pub(crate) reads: PendingReads,
    /// Whether a timer will check if the topic still has no connections.
    pub(crate) unsubscribing: bool,
    /// Index of the channel's namespace.
    pub(crate) namespace: u8,
}

impl Topic {
    pub(crate) fn new(serial: u64, channel: Channel, namespace: u8) -> Self {
        Self {
            namespace,
            serial,
            channel,
            subscribers: SmallVec::new(),
            window: Window::default(),
            newest: Position::ZERO,
            last_live: None,
            confirmed: false,
            logged: Position::ZERO,
            fork: None,
            forgetting: false,
            hints: Hints::default(),
            subscribed: false,
            awaited: false,
            version: 0,
            reads: PendingReads::default(),
            unsubscribing: false,
        }
    }

    /// Handles a change of the subscription: events may be missing from what is known of the channel.
    pub(crate) fn invalidate(&mut self, subscribed: bool) {
        self.subscribed = subscribed;
        if !subscribed {
            self.hints.finds = Finds::Unknown;
        }
        self.version += 1;
        self.window.forget();
        (self.newest, self.last_live, self.confirmed) = (Position::ZERO, None, false);
    }

    /// Handles a live event that contradicts what is known: forgets everything except where the live topic went back.
    /// Returns whether a timer must be started that calls [`Self::forget_fork`].
    #[must_use]
    pub(crate) fn contradicted_by(&mut self, link: ChainLink, now: Instant) -> bool {
        let last_live = self.last_live.filter(|last_live| link.position <= *last_live);
        if let Some(last_live) = last_live {
            self.fork = Some(Box::new(Fork::new(link, &self.window, last_live, now)));
        }
        self.invalidate(self.subscribed);
        last_live.is_some() && !std::mem::replace(&mut self.forgetting, true)
    }

    /// Forgets the fork if it is old. Returns how long a younger one is still kept: the timer must be started again.
    pub(crate) fn forget_fork(&mut self, now: Instant) -> Option<Duration> {
        let left = self.fork.as_ref().map(|fork| fork.left(now)).filter(|left| !left.is_zero());
        if left.is_none() {
            (self.fork, self.forgetting) = (None, false);
        }
        left
    }

    /// Returns the position after which the log may have other events than those of a connection at `position`.
    pub(crate) fn fork(&self, position: Position) -> Option<Position> {
        self.fork.as_ref().filter(|fork| fork.is_before(position)).map(|fork| fork.previous())
    }

    /// Returns whether a page after the fork confirms it. Forgets the fork otherwise.
    pub(crate) fn confirm_fork(&mut self, asked: Position, position: Position, page: &Page) -> bool {
        let Some(fork) = self.fork.as_ref().filter(|fork| fork.previous() == asked) else { return false };
        if !fork.is_confirmed_by(page) {
            self.fork = None;
            return false;
        }
        fork.is_before(position)
    }

    /// Returns whether a live event has a position that Redis cannot have assigned yet. `latest` is the upper bound
    /// of its clock. After the clock was set back, positions continue in the millisecond of the last one.
    pub(crate) fn is_ahead(&self, link: ChainLink, latest: Option<u64>) -> bool {
        latest.is_some_and(|latest| link.position.ms > latest.max(self.logged.ms))
    }

    /// Returns whether a live event does not follow the previous one of the live topic, as events from Redis do.
    pub(crate) fn is_stray(&self, link: ChainLink) -> bool {
        self.last_live.is_some_and(|last_live| last_live != link.previous)
    }

    /// Returns whether a live event indicates that the log was rolled back: it is not after the known position, and
    /// it is neither the last nor the next event of the live topic, which is ordered. The log decides then.
    pub(crate) fn contradicts(&self, link: ChainLink) -> bool {
        link.position <= self.newest && self.last_live != Some(link.previous) && !self.window.has(link)
    }

    /// Records an event of the live topic.
    pub(crate) fn record_live(&mut self, position: Position) {
        self.version += 1;
        self.newest = self.newest.max(position);
        (self.last_live, self.confirmed) = (Some(position), false);
    }

    /// Records the channel's last position from a log read that started at this version of the topic. Returns whether
    /// it refutes earlier events of the live topic.
    #[must_use]
    pub(crate) fn record_read(&mut self, last: Position, version: u64) -> bool {
        self.logged = last;
        self.newest = self.newest.max(last);
        if self.version != version {
            return false;
        }
        if self.window.tip().is_some_and(|tip| tip > last) {
            // The known event is not in the log, although the read was later: it was forged or is lost.
            self.invalidate(self.subscribed);
            return true;
        }
        // Nothing arrived meanwhile: the next live event follows the page.
        self.window.set_tip(last);
        self.confirmed = self.window.tip() == Some(last);
        false
    }

    /// Returns whether a page that shows a connection a rolled-back log also contradicts what is known here. The
    /// connection alone is not enough, since its position may come from the client's cursor.
    pub(crate) fn went_back(&self, page: &Page) -> bool {
        !page.entries.is_empty() || page.last < self.newest
    }

    /// Returns the channel's last position, if it is known.
    pub(crate) fn tip(&self) -> Option<Position> {
        self.window.tip().filter(|_| self.subscribed && self.confirmed)
    }
}
