//! One stream of one client: a small state machine for each channel, a queue, and the socket.
//!
//! A connection is owned by one writer loop and knows nothing of it: it is told of events and pages, and says what it
//! needs next. Replay, recovery of slow clients and repair after a lost wire are all the same: a channel that is not
//! live is read from its log.
//!
//! # Layout
//!
//! - `following`: where it stands in one channel
//! - `id`: the cursor in its `id:` lines
//! - `queue`: what waits to be written
//! - `outlet`: the way to the socket
//! - `surroundings`: what all connections of a loop share, and the last word to each
//! - `clock`: when it must be looked at though nothing happens

mod clock;
mod following;
mod id;
mod outlet;
mod queue;
mod surroundings;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use fanfare_broker::log::Page;
use fanfare_protocol::sse::{Block, HEARTBEAT};
use fanfare_protocol::{Channel, Position};

pub(crate) use self::clock::{Clock, Due};
use self::following::Turn;
pub(crate) use self::following::{Following, State};
use self::id::{Id, write_cursor};
pub(crate) use self::outlet::Left;
use self::outlet::{CHUNK_HEAD, Outlet, Written};
use self::queue::{Item, Queue};
pub(crate) use self::surroundings::Surroundings;
use crate::config::stream::StreamConfig;
use crate::delivery::{Delivery, Frame, Kept, View};
use crate::ending::Ending;
use crate::gzip::{Batch, Member};
use crate::hub::places::Place;
use crate::session::Held;
use crate::stream::{Coding, Framing, Identity, Socket};
use crate::throttle::Throttle;

/// The largest batch after which a loop keeps its buffer, in bytes.
const KEPT_SCRATCH: usize = 2 * 1024 * 1024;

/// About how many bytes leave in one write. A single event may be larger.
const BATCH_BYTES: usize = 16 * 1024;

/// What became of a live event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It comes next for this client: it must be queued, or sent.
    Next,
    /// The connection has it already, or will find it in the log.
    Passed,
    /// The channel must be read from its log.
    Behind,
}

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turned {
    /// Whether the connection is at the end of the log.
    pub(crate) at_end: bool,
    /// Whether the log went back, and the connection with it.
    pub(crate) back: bool,
}

/// What a connection needs after it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Everything that was queued is with the kernel.
    Done,
    /// The client takes no more for now.
    Full,
    /// It is over: the connection broke, or it ended and the client has heard.
    Over(Ending),
}

/// One open stream. Lives in its writer loop from `Message::Open` until it is over.
pub(crate) struct Connection {
    /// Tells it from others that had the same place in the loop's slab.
    pub(crate) serial: u64,
    pub(crate) identity: Identity,
    /// The epoch of the claim; 0 without one.
    pub(crate) epoch: u64,
    held: Option<Held>,
    view: View,
    /// The gzip member that the body is; none for a plain one.
    member: Option<Member>,
    /// What `id:` says.
    id: Id,
    /// In ascending order of tags.
    pub(crate) follows: Box<[Following]>,
    /// How many of them are [`State::Behind`].
    pub(crate) behind: u32,
    /// How many of them are [`State::Reading`].
    pub(crate) reading: u32,
    /// Where the next look for one that is [`State::Behind`] begins, so that each has its turn.
    pub(crate) next_behind: usize,
    /// How many of them are [`State::Locating`].
    pub(crate) locating: u32,
    queue: Queue,
    outlet: Outlet,
    /// How many bytes waited when they were last counted.
    counted: usize,
    pub(crate) clock: Clock,
    place: Place,
    /// Set when the end has begun: nothing is queued any more.
    pub(crate) ending: Option<Ending>,
    /// Whether our side of the socket is closed.
    shut: bool,
    /// Whether it is in its loop's list of connections to write to.
    pub(crate) dirty: bool,
}

impl Connection {
    pub(crate) fn new(
        serial: u64,
        (identity, held, view): (Identity, Option<Held>, View),
        came_with: Option<Box<str>>,
        (socket, framing, head): (Box<dyn Socket>, Framing, &[u8]),
        (clock, place): (Clock, Place),
    ) -> Self {
        Self {
            serial,
            identity,
            epoch: held.as_ref().map_or(0, Held::epoch),
            held,
            view,
            member: (view.coding == Coding::Gzip).then(Member::default),
            id: Id::CameWith(came_with),
            follows: Box::default(),
            behind: 0,
            reading: 0,
            next_behind: 0,
            locating: 0,
            queue: Queue::default(),
            outlet: Outlet::new(socket, framing, head),
            counted: 0,
            clock,
            place,
            ending: None,
            shut: false,
            dirty: false,
        }
    }

    /// Returns whether the queue takes an event. One whose frame is larger than the bound is taken by a queue that is
    /// not full: it cannot wait for an empty one, which a busy channel beside it may never leave.
    fn has_room(&self, delivery: &Delivery, bound: usize) -> bool {
        let bytes = delivery.frame(self.view).len();
        let waiting = self.waiting();
        if bytes > bound { waiting < bound } else { waiting + bytes <= bound }
    }

    /// Returns how many bytes wait for the client.
    fn waiting(&self) -> usize {
        self.queue.bytes() + self.outlet.waiting()
    }

    /// Counts what waits now instead of what was counted last.
    pub(crate) fn count_waiting(&mut self, around: &Surroundings) {
        let waiting = self.waiting();
        if waiting != self.counted {
            around.count_waiting(waiting.wrapping_sub(self.counted).cast_signed());
            self.counted = waiting;
        }
    }

    /// Counts nothing of it any more.
    pub(crate) fn count_gone(&mut self, around: &Surroundings) {
        around.count_waiting(0_usize.wrapping_sub(std::mem::take(&mut self.counted)).cast_signed());
    }

    /// Returns whether to read on from a log: only when the kernel has taken all there was, so that a log is read as
    /// fast as the client takes it, and nothing waits when a page comes.
    pub(crate) fn wants_more(&self) -> bool {
        self.ending.is_none() && self.is_drained()
    }

    /// Returns whether nothing waits, here or in the outlet.
    pub(crate) fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.outlet.waiting() == 0
    }

    /// Returns whether as much waits as may wait for one client.
    pub(crate) fn is_full(&self, around: &Surroundings) -> bool {
        self.waiting() >= around.queue_bound()
    }

    /// Reads from each of the places in memory that an event needs. What comes of it means nothing.
    pub(crate) fn fetch(&self) -> usize {
        let follows = self.follows.first().map_or(0, |following| following.place);
        follows
            .wrapping_add(self.outlet.waiting())
            .wrapping_add(self.queue.bytes())
            .wrapping_add(usize::from(self.dirty))
            .wrapping_add(usize::from(self.clock.is_blocked()))
    }

    /// Returns whether a read of the log of the channel at `index` is under way for it.
    pub(crate) fn is_reading(&self, index: usize) -> bool {
        self.ending.is_none()
            && self.follows.get(index).is_some_and(|following| following.state == State::Reading)
    }

    /// Changes a channel's state and keeps the counts.
    pub(crate) fn set_state(&mut self, index: usize, state: State) {
        let old = std::mem::replace(&mut self.follows[index].state, state);
        self.behind += u32::from(state == State::Behind);
        self.behind -= u32::from(old == State::Behind);
        self.reading += u32::from(state == State::Reading);
        self.reading -= u32::from(old == State::Reading);
        self.locating += u32::from(state == State::Locating);
        self.locating -= u32::from(old == State::Locating);
    }

    /// A live event of the channel at `index`. The caller passes it on, as the answer says.
    pub(crate) fn take_live(
        &mut self,
        index: usize,
        delivery: &Arc<Delivery>,
        around: &Surroundings,
    ) -> Taken {
        if self.ending.is_some() {
            return Taken::Passed;
        }
        let bound = around.queue_bound();
        let Some(kept) = delivery.kept else {
            return self.take_ephemeral(delivery, bound, around);
        };
        let following = &self.follows[index];
        match following.state {
            // The hub compares it with the log if it is not one that came before.
            State::Live if kept.position <= following.position => Taken::Passed,
            State::Live if following.continues(kept) && self.has_room(delivery, bound) => {
                self.follows[index].take(kept);
                Taken::Next
            }
            State::Live => {
                around.metrics.catch_ups.inc();
                self.set_state(index, State::Behind);
                Taken::Behind
            }
            State::Behind => Taken::Behind,
            State::Locating | State::Reading | State::Stalled => Taken::Passed,
        }
    }

    fn take_ephemeral(&self, delivery: &Delivery, bound: usize, around: &Surroundings) -> Taken {
        // Before the first block nothing may be sent: the client would have no cursor yet.
        if self.locating > 0 {
            return Taken::Passed;
        }
        if !self.has_room(delivery, bound) {
            static LOG: Throttle = Throttle::of_a_condition();
            around.metrics.ephemeral_dropped.inc();
            if let Some(held_back) = LOG.admit() {
                let channel = &delivery.channel;
                tracing::info!(%channel, held_back, "dropped ephemeral events: client is slow (stream.queue)");
            }
            return Taken::Passed;
        }
        Taken::Next
    }

    /// Entries that come next in the channel at `index`, from its log or its window. Those that the client has are
    /// passed over; a gap is told. All are queued: what was read for a client is not read again.
    pub(crate) fn take_entries<'a>(
        &mut self,
        index: usize,
        entries: impl Iterator<Item = (Kept, &'a Arc<Delivery>)>,
        around: &Surroundings,
    ) {
        for (kept, delivery) in entries {
            if kept.position <= self.follows[index].position {
                continue;
            }
            let position = self.follows[index].held();
            if self.follows[index].take(kept) {
                self.tell_gap(&delivery.channel, position, around);
            }
            self.queue_event(index, delivery, around);
        }
    }

    /// A page of the log of the channel at `index`, and its entries. `fork` is the position after which the log has
    /// other entries than before, if that is known.
    pub(crate) fn take_page(
        &mut self,
        index: usize,
        (channel, page, entries): (&Channel, &Page, &[(Kept, Arc<Delivery>)]),
        fork: Option<Position>,
        around: &Surroundings,
    ) -> Turned {
        let position = self.follows[index].position;
        match self.follows[index].compare(page, fork) {
            Turn::On => {
                self.take_entries(index, entries.iter().map(|(kept, delivery)| (*kept, delivery)), around);
                self.follows[index].pass(page.next);
                return Turned { at_end: page.end, back: false };
            }
            Turn::Back => {}
            Turn::Lost => self.tell_gap(channel, position, around),
        }
        Turned { at_end: self.follows[index].position == page.last, back: true }
    }

    fn tell_gap(&mut self, channel: &Channel, after: Position, around: &Surroundings) {
        around.metrics.gaps.inc();
        let data = serde_json::json!({"channel": channel, "after": after.to_string()});
        self.push_control(Block::new().event("gap").data(&data.to_string()));
    }

    fn count_event(&mut self, delivery: &Delivery, around: &Surroundings) {
        around.count_sent(if self.member.is_some() { delivery.frame(self.view).saved() } else { 0 });
        self.clock.event(around.now);
    }

    /// Queues an event.
    pub(crate) fn queue_event(&mut self, index: usize, delivery: &Arc<Delivery>, around: &Surroundings) {
        self.count_event(delivery, around);
        self.queue.push(Item::Event(Arc::clone(delivery), narrow(index)), self.view);
    }

    fn push_control(&mut self, block: Bytes) {
        self.queue.push(Item::Control(block), self.view);
    }

    /// A channel's beginning was found.
    pub(crate) fn located(&mut self, index: usize, position: Position) {
        self.follows[index].begin(position);
        self.set_state(index, State::Behind);
    }

    /// The first block, once every channel's beginning is known: from here on the client has a cursor.
    pub(crate) fn greet(&mut self, around: &Surroundings) {
        self.id = Id::Cursor;
        let mut cursor = Vec::new();
        write_cursor(&self.follows, &mut cursor);
        let cursor = String::from_utf8_lossy(&cursor);
        let data =
            serde_json::json!({"session": self.identity.session(), "node": around.node, "cursor": cursor});
        self.push_control(Block::new().retry(around.retry_ms()).event("connected").data(&data.to_string()));
    }

    /// Adds a heartbeat if nothing else waits.
    pub(crate) fn beat(&mut self) {
        if self.ending.is_none() && self.is_drained() {
            self.queue.push(Item::Heartbeat, self.view);
        }
    }

    /// Begins the end: the claim is given up at once, what is queued and a last event are still written.
    /// `waker` is woken when the socket must be closed before the client does.
    pub(crate) fn begin_end(&mut self, ending: Ending, around: &Surroundings, waker: &Waker) {
        if self.ending.is_some() {
            return;
        }
        if let Some(block) = around.last_block(ending, self.identity.session()) {
            self.push_control(block);
        }
        self.ending = Some(ending);
        self.release(ending);
        around.metrics.count_end(ending);
        self.place.linger(waker);
        self.clock.linger(around.settings.linger);
    }

    /// Returns whether the claim is somebody else's by now.
    pub(crate) fn is_lost(&self) -> bool {
        self.held.as_ref().is_some_and(Held::is_lost)
    }

    /// Gives the claim up.
    pub(crate) fn release(&mut self, ending: Ending) {
        if let Some(held) = self.held.take() {
            held.end(ending);
        }
    }

    /// Writes what is queued, as far as the client takes it. `scratch` is the loop's; its content means nothing.
    pub(crate) fn flush(
        &mut self,
        around: &Surroundings,
        scratch: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Flushed {
        if self.outlet.waiting() > 0 && !self.clock.is_blocked() {
            // The head of the response waits for the first block: both leave in one write.
            self.encode_batch(scratch);
            self.outlet.append(scratch);
            self.clock.progress(around.now);
        }
        let mut written = self.outlet.write_rest(cx);
        while written == Written::All && !self.queue.is_empty() {
            self.encode_batch(scratch);
            written = self.outlet.write_batch(scratch, cx);
            self.clock.progress(around.now);
        }
        self.settle(written, scratch, cx)
    }

    /// Writes an event past the queue, in which nothing may wait.
    pub(crate) fn send(
        &mut self,
        (index, delivery): (usize, &Delivery),
        around: &Surroundings,
        scratch: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Flushed {
        self.count_event(delivery, around);
        begin_batch(scratch);
        let mut batch = Batch::new(self.member.as_mut(), scratch);
        encode_event(&mut batch, &mut self.follows, index, delivery, self.view);
        batch.finish();
        let written = self.outlet.write_batch(scratch, cx);
        self.clock.progress(around.now);
        self.settle(written, scratch, cx)
    }

    /// Notes how a write ended, and goes on with the end if one has begun.
    fn settle(&mut self, written: Written, scratch: &mut Vec<u8>, cx: &mut Context<'_>) -> Flushed {
        match written {
            Written::Broken(ending) => Flushed::Over(self.ending.unwrap_or(ending)),
            Written::Full { some } => {
                self.clock.blocked(some);
                if self.ending.is_some() { self.wait_for_client() } else { Flushed::Full }
            }
            Written::All => {
                self.clock.unblocked();
                if self.ending.is_some() { self.flush_end(scratch, cx) } else { Flushed::Done }
            }
        }
    }

    /// After the last event: the clean end of the body, then our side of the socket, then the client's.
    fn flush_end(&mut self, scratch: &mut Vec<u8>, cx: &mut Context<'_>) -> Flushed {
        if !self.shut {
            self.shut = true;
            begin_batch(scratch);
            if let Some(member) = &mut self.member {
                member.end(scratch);
            }
            self.outlet.finish(scratch);
            match self.outlet.write_rest(cx) {
                Written::All => {}
                Written::Full { .. } => return self.wait_for_client(),
                Written::Broken(_) => return self.over(),
            }
        }
        if self.outlet.poll_shutdown(cx).is_pending() {
            return self.wait_for_client();
        }
        if self.outlet.is_half_closed() || self.outlet.poll_left(cx).is_ready() {
            return self.over();
        }
        self.wait_for_client()
    }

    /// The end is written as far as the client takes it now. One that may not linger is over with that.
    fn wait_for_client(&self) -> Flushed {
        if self.place.lingers() { Flushed::Full } else { self.over() }
    }

    fn over(&self) -> Flushed {
        Flushed::Over(self.ending.unwrap_or(Ending::Closed))
    }

    /// The socket became full, or is not any more. While it is, and for some time after, the client is slow, and the
    /// write time-out counts instead of the kernel's: that counts from when the client's window closed first.
    pub(crate) fn socket_changed(&mut self) {
        if self.clock.is_blocked() && self.clock.begin_to_tolerate() {
            self.outlet.set_peer_timeout(None);
        }
    }

    /// A heartbeat is due: nothing was written for its time. What a slow client had behind it is with it by then.
    pub(crate) fn heartbeat_is_due(&mut self, settings: &StreamConfig) {
        self.clock.beaten();
        if self.clock.end_to_tolerate(settings.peer_timeout) {
            self.outlet.set_peer_timeout(Some(settings.peer_timeout));
        }
        self.beat();
    }

    /// Returns whether the client has closed its side, or the connection is broken.
    pub(crate) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<Left> {
        self.outlet.poll_left(cx)
    }

    /// Encodes what leaves next, behind room for a chunk's head.
    fn encode_batch(&mut self, out: &mut Vec<u8>) {
        begin_batch(out);
        let mut batch = Batch::new(self.member.as_mut(), out);
        while batch.len() < BATCH_BYTES
            && let Some(item) = self.queue.pop(self.view)
        {
            match item {
                Item::Heartbeat => batch.text().extend_from_slice(HEARTBEAT),
                Item::Control(block) => {
                    let text = batch.text();
                    self.id.write(&self.follows, text);
                    text.extend_from_slice(&block);
                }
                Item::Event(delivery, index) => {
                    encode_event(&mut batch, &mut self.follows, usize::from(index), &delivery, self.view);
                }
            }
        }
        batch.finish();
    }
}

/// Returns the index of a channel, of which the limits allow at most 256.
fn narrow(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// Appends an event of the channel at `index`, with the cursor that the client has from there on. An ephemeral one
/// moves nothing, and says where the client is.
fn encode_event(
    batch: &mut Batch<'_>,
    follows: &mut [Following],
    index: usize,
    delivery: &Delivery,
    view: View,
) {
    if let Some(kept) = delivery.kept {
        follows[index].sent = kept.position;
    }
    Id::Cursor.write(follows, batch.text());
    match delivery.frame(view) {
        Frame::Text(text) => batch.text().extend_from_slice(text),
        Frame::Packed(packed, _) => batch.packed(packed),
    }
}

/// Room for a chunk's head, and nothing behind it. What a large batch needed is given back with the next one.
fn begin_batch(scratch: &mut Vec<u8>) {
    if scratch.capacity() > KEPT_SCRATCH {
        *scratch = Vec::new();
    }
    scratch.clear();
    scratch.resize(CHUNK_HEAD, 0);
}
