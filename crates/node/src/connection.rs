//! One stream of one client: a small state machine for each channel, a queue, and the socket.
//!
//! A connection is owned by one shard, but does not depend on it: it receives events and pages, and returns what it
//! needs next. Replay, catch-up of slow clients and recovery from a lost subscriber connection work in the same way:
//! a channel that is not live is read from its log.
//!
//! # Layout
//!
//! - `following`: the state of one channel
//! - `id`: the cursor in the `id:` lines
//! - `queue`: data to be written
//! - `outlet`: writes to the socket
//! - `places`: the sockets of each user's streams, until they are closed
//! - `surroundings`: context shared by all connections of a shard, and last events
//! - `clock`: timeouts and heartbeats

mod clock;
mod following;
mod id;
mod outlet;
pub(crate) mod places;
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
use self::places::Place;
use self::queue::{Item, Queue};
pub(crate) use self::surroundings::Surroundings;
use crate::config::stream::StreamConfig;
use crate::delivery::{Delivery, Frame, Kept, View};
use crate::ending::Ending;
use crate::gzip::{Batch, Member};
use crate::session::Held;
use crate::stream::{Coding, Framing, Identity, Socket};
use crate::throttle::Throttle;

/// Maximum batch size after which a shard keeps its buffer, in bytes.
const KEPT_SCRATCH: usize = 2 * 1024 * 1024;

/// Approximate size of one write, in bytes. A single event may be larger.
const BATCH_BYTES: usize = 16 * 1024;

/// Result of a live event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The event is the next one of the client: it must be queued or sent.
    Next,
    /// The connection has the event already, or will read it from the log.
    Passed,
    /// The channel must be read from its log.
    Behind,
}

/// Result of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turned {
    /// Whether the connection is at the end of the log.
    pub(crate) at_end: bool,
    /// Whether the log was rolled back, and the connection with it.
    pub(crate) back: bool,
}

/// State of a connection after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All queued data was passed to the kernel.
    Done,
    /// The socket is full.
    Full,
    /// The connection broke, or it ended and the client has received the end.
    Over(Ending),
}

/// One open stream. Lives in its shard from `Message::Open` until it ends.
pub(crate) struct Connection {
    /// Distinguishes the connection from earlier ones with the same key in the shard's slab.
    pub(crate) serial: u64,
    pub(crate) identity: Identity,
    /// The epoch of the claim; 0 without one.
    pub(crate) epoch: u64,
    held: Option<Held>,
    view: View,
    /// The gzip member of the body; `None` for a plain body.
    member: Option<Member>,
    /// Value of `id:`.
    id: Id,
    /// Channels, in ascending order of tags.
    pub(crate) follows: Box<[Following]>,
    /// Number of channels that are [`State::Behind`].
    pub(crate) behind: u32,
    /// Number of channels that are [`State::Reading`].
    pub(crate) reading: u32,
    /// Index at which the next search for a [`State::Behind`] channel starts, so that channels take turns.
    pub(crate) next_behind: usize,
    /// Number of channels that are [`State::Locating`].
    pub(crate) locating: u32,
    queue: Queue,
    outlet: Outlet,
    /// Queued bytes at the last count.
    counted: usize,
    pub(crate) clock: Clock,
    place: Place,
    /// Set when the end has started: nothing more is queued.
    pub(crate) ending: Option<Ending>,
    /// Whether the node's side of the socket is closed.
    shut: bool,
    /// Whether the connection is in its shard's list of connections to write to.
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

    /// Returns whether the queue accepts an event. An event larger than the bound is accepted if the queue is not
    /// full: it cannot wait for an empty queue, which other busy channels may prevent forever.
    fn has_room(&self, delivery: &Delivery, bound: usize) -> bool {
        let bytes = delivery.frame(self.view).len();
        let waiting = self.waiting();
        if bytes > bound { waiting < bound } else { waiting + bytes <= bound }
    }

    /// Returns the bytes queued for the client.
    fn waiting(&self) -> usize {
        self.queue.bytes() + self.outlet.waiting()
    }

    /// Updates the count of queued bytes.
    pub(crate) fn count_waiting(&mut self, around: &Surroundings) {
        let waiting = self.waiting();
        if waiting != self.counted {
            around.count_waiting(waiting.wrapping_sub(self.counted).cast_signed());
            self.counted = waiting;
        }
    }

    /// Removes the connection's bytes from the count.
    pub(crate) fn count_gone(&mut self, around: &Surroundings) {
        around.count_waiting(0_usize.wrapping_sub(std::mem::take(&mut self.counted)).cast_signed());
    }

    /// Returns whether to continue reading a log: only when the kernel has accepted all data, so that a log is read
    /// as fast as the client receives it, and the queue is empty when a page arrives.
    pub(crate) fn wants_more(&self) -> bool {
        self.ending.is_none() && self.is_drained()
    }

    /// Returns whether nothing is queued, here or in the outlet.
    pub(crate) fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.outlet.waiting() == 0
    }

    /// Returns whether the limit of queued bytes for one client is reached.
    pub(crate) fn is_full(&self, around: &Surroundings) -> bool {
        self.waiting() >= around.queue_bound()
    }

    /// Prefetches the memory that a delivery needs. The result has no meaning.
    pub(crate) fn fetch(&self) -> usize {
        let follows = self.follows.first().map_or(0, |following| following.place);
        follows
            .wrapping_add(self.outlet.waiting())
            .wrapping_add(self.queue.bytes())
            .wrapping_add(usize::from(self.dirty))
            .wrapping_add(usize::from(self.clock.is_blocked()))
    }

    /// Returns whether a log read of the channel at `index` is in progress.
    pub(crate) fn is_reading(&self, index: usize) -> bool {
        self.ending.is_none()
            && self.follows.get(index).is_some_and(|following| following.state == State::Reading)
    }

    /// Changes a channel's state and updates the counts.
    pub(crate) fn set_state(&mut self, index: usize, state: State) {
        let old = std::mem::replace(&mut self.follows[index].state, state);
        self.behind += u32::from(state == State::Behind);
        self.behind -= u32::from(old == State::Behind);
        self.reading += u32::from(state == State::Reading);
        self.reading -= u32::from(old == State::Reading);
        self.locating += u32::from(state == State::Locating);
        self.locating -= u32::from(old == State::Locating);
    }

    /// Handles a live event of the channel at `index`. The caller queues or sends it according to the result.
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
            // The hub compares the event with the log, unless it was received before.
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
        // Nothing may be sent before the first block, since the client has no cursor yet.
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

    /// Queues the next entries of the channel at `index`, from its log or its window. Skips entries that the client
    /// has, and reports a gap. All entries are queued, so that they are not read again.
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

    /// Handles a page of the log of the channel at `index`. `fork` is the position after which the log has different
    /// entries than before, if it is known.
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

    /// Sets the start position of a channel.
    pub(crate) fn located(&mut self, index: usize, position: Position) {
        self.follows[index].begin(position);
        self.set_state(index, State::Behind);
    }

    /// Queues the first block, once the start of every channel is known: from here on the client has a cursor.
    pub(crate) fn greet(&mut self, around: &Surroundings) {
        self.id = Id::Cursor;
        let mut cursor = Vec::new();
        write_cursor(&self.follows, &mut cursor);
        let cursor = String::from_utf8_lossy(&cursor);
        let data =
            serde_json::json!({"session": self.identity.session(), "node": around.node, "cursor": cursor});
        self.push_control(Block::new().retry(around.retry_ms()).event("connected").data(&data.to_string()));
    }

    /// Queues a heartbeat if nothing else is queued.
    pub(crate) fn beat(&mut self) {
        if self.ending.is_none() && self.is_drained() {
            self.queue.push(Item::Heartbeat, self.view);
        }
    }

    /// Starts the end: releases the claim at once; queued data and a last event are still written. `waker` is woken
    /// when the socket must be closed before the client closes it.
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

    /// Returns whether another claim has taken the session.
    pub(crate) fn is_lost(&self) -> bool {
        self.held.as_ref().is_some_and(Held::is_lost)
    }

    /// Releases the claim.
    pub(crate) fn release(&mut self, ending: Ending) {
        if let Some(held) = self.held.take() {
            held.end(ending);
        }
    }

    /// Writes queued data until the socket is full. `scratch` is the shard's buffer; its content has no meaning.
    pub(crate) fn flush(
        &mut self,
        around: &Surroundings,
        scratch: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Flushed {
        if self.outlet.waiting() > 0 && !self.clock.is_blocked() {
            // The head of the response waits for the first block, so that both leave in one write.
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

    /// Writes an event without queueing it. The queue must be empty.
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

    /// Handles the result of a write, and continues the end if it has started.
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

    /// Finishes the connection after the last event: the end of the body, the node's side of the socket, the client's
    /// side.
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

    /// Waits until the client closes, after the end was written. Ends at once if the socket may not linger.
    fn wait_for_client(&self) -> Flushed {
        if self.place.lingers() { Flushed::Full } else { self.over() }
    }

    fn over(&self) -> Flushed {
        Flushed::Over(self.ending.unwrap_or(Ending::Closed))
    }

    /// Handles a socket that became full, or is no longer full. While the socket is full, and for some time after,
    /// the client is slow, and the write timeout applies in place of the kernel's timeout, which starts when the
    /// client's window first closed.
    pub(crate) fn socket_changed(&mut self) {
        if self.clock.is_blocked() && self.clock.begin_to_tolerate() {
            self.outlet.set_peer_timeout(None);
        }
    }

    /// Handles a due heartbeat: nothing was written for its interval, so a slow client has received all earlier data.
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

    /// Encodes the next batch, with room for a chunk's head before it.
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

/// Converts the index of a channel; the limits allow at most 256 channels.
fn narrow(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// Appends an event of the channel at `index`, with the client's cursor after it. An ephemeral event does not change
/// the cursor.
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

/// Prepares a buffer with room for a chunk's head. Frees the memory of a large earlier batch.
fn begin_batch(scratch: &mut Vec<u8>) {
    if scratch.capacity() > KEPT_SCRATCH {
        *scratch = Vec::new();
    }
    scratch.clear();
    scratch.resize(CHUNK_HEAD, 0);
}
