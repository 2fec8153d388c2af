//! One stream of one client: a small state machine for each channel, a queue, and the socket.
//!
//! A connection is owned by one shard, but does not depend on it: it receives events and pages, and returns what it
//! needs next. Replay, catch-up of slow clients and recovery from a lost subscriber connection work in the same way:
//! a channel that is not live is read from its log.
//!
//! # Layout
//!
//! - `subscription`: the state of one channel
//! - `id`: the cursor in the `id:` lines
//! - `queue`: data to be written
//! - `socket_writer`: writes to the socket
//! - `open_streams`: the number of open streams
//! - `user_sockets`: the sockets of each user's streams, until they are closed
//! - `context`: context shared by all connections of a shard
//! - `deadlines`: timeouts and heartbeats
//! - `status`: what a shard reads and sets

mod context;
mod deadlines;
mod id;
pub(crate) mod open_streams;
mod queue;
mod socket_writer;
mod status;
mod subscription;
pub(crate) mod user_sockets;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use fanfare_broker::log::Page;
use fanfare_broker::session::CloseReason;
use fanfare_config::stream::StreamConfig;
use fanfare_coordination::session::SessionGuard;
use fanfare_protocol::{Channel, Position};
use fanfare_telemetry::Throttle;

pub(crate) use self::context::ShardContext;
pub(crate) use self::deadlines::{Deadlines, Due};
use self::id::{Id, write_cursor};
use self::queue::{Item, Queue};
pub(crate) use self::socket_writer::PeerClose;
use self::socket_writer::{CHUNK_HEAD, SocketWriter, WriteResult};
use self::subscription::PageFit;
pub(crate) use self::subscription::{ChannelState, Subscription};
use self::user_sockets::UserSocket;
use crate::dialect::Greeting;
use crate::encoded_event::{ChainLink, Encoded, EncodedEvent, Encoding};
use crate::gzip::{BodyBatch, GzipMember};
use crate::stream::{Coding, Identity, Transport};

/// Maximum batch size after which a shard keeps its buffer, in bytes.
const KEPT_SCRATCH: usize = 2 * 1024 * 1024;

/// Approximate size of one write, in bytes. A single event may be larger.
const BATCH_BYTES: usize = 16 * 1024;

/// Result of a live event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiveOutcome {
    /// The event is the next one of the client: it must be queued or sent.
    Next,
    /// The connection has the event already, or will read it from the log.
    Skipped,
    /// The channel must be read from its log.
    Behind,
}

/// Result of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageOutcome {
    /// Whether the connection is at the end of the log.
    pub(crate) at_end: bool,
    /// Whether the log was rolled back, and the connection with it.
    pub(crate) back: bool,
    /// The position after which the log must be read to find out where it was rolled back.
    pub(crate) check: Option<Position>,
}

/// State of a connection after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlushResult {
    /// All queued data was passed to the kernel.
    Done,
    /// The socket is full.
    Full,
    /// The connection broke, or it ended and the client has received the end.
    Over(CloseReason),
}

/// One open stream. Lives in its shard from `Message::Open` until it ends.
pub(crate) struct Connection {
    /// Distinguishes the connection from earlier ones with the same key in the shard's slab.
    serial: u64,
    identity: Identity,
    /// The epoch of the claim; 0 without one.
    epoch: u64,
    guard: Option<SessionGuard>,
    encoding: Encoding,
    /// The gzip member of the body; `None` for a plain body.
    member: Option<GzipMember>,
    /// Value of `id:`.
    id: Id,
    /// Channels, in ascending order of tags.
    subscriptions: Box<[Subscription]>,
    /// Number of channels that are [`ChannelState::Behind`].
    behind: u32,
    /// Number of channels that are [`ChannelState::Reading`].
    reading: u32,
    /// Index at which the next search for a [`ChannelState::Behind`] channel starts, so that channels take turns.
    next_behind: usize,
    /// Number of channels that are [`ChannelState::Locating`].
    locating: u32,
    queue: Queue,
    writer: SocketWriter,
    /// Queued bytes at the last count.
    counted: usize,
    deadlines: Deadlines,
    user_socket: UserSocket,
    /// Set when the end has started: nothing more is queued.
    closing: Option<CloseReason>,
    /// Whether the node's side of the socket is closed.
    shut: bool,
    /// Whether the connection is in its shard's list of connections to write to.
    dirty: bool,
}

impl Connection {
    pub(crate) fn new(
        serial: u64,
        (identity, guard, encoding): (Identity, Option<SessionGuard>, Encoding),
        client_cursor: Option<Box<str>>,
        Transport { socket, framing, head }: Transport,
        (deadlines, user_socket): (Deadlines, UserSocket),
    ) -> Self {
        Self {
            serial,
            identity,
            epoch: guard.as_ref().map_or(0, SessionGuard::epoch),
            guard,
            encoding,
            member: (encoding.coding == Coding::Gzip).then(GzipMember::default),
            id: Id::FromClient(client_cursor),
            subscriptions: Box::default(),
            behind: 0,
            reading: 0,
            next_behind: 0,
            locating: 0,
            queue: Queue::default(),
            writer: SocketWriter::new(socket, framing, &head),
            counted: 0,
            deadlines,
            user_socket,
            closing: None,
            shut: false,
            dirty: false,
        }
    }

    /// Returns whether the queue accepts an event. An event larger than the bound is accepted if the queue is not
    /// full: it cannot wait for an empty queue, which other busy channels may prevent forever.
    fn has_room(&self, event: &EncodedEvent, bound: usize) -> bool {
        let bytes = event.encode(self.encoding).len();
        let waiting = self.waiting();
        if bytes > bound { waiting < bound } else { waiting + bytes <= bound }
    }

    /// Returns the bytes queued for the client.
    fn waiting(&self) -> usize {
        self.queue.bytes() + self.writer.waiting()
    }

    /// Updates the count of queued bytes.
    pub(crate) fn count_waiting(&mut self, context: &ShardContext) {
        let waiting = self.waiting();
        if waiting != self.counted {
            context.count_waiting(waiting.wrapping_sub(self.counted).cast_signed());
            self.counted = waiting;
        }
    }

    /// Removes the connection's bytes from the count.
    pub(crate) fn count_gone(&mut self, context: &ShardContext) {
        context.count_waiting(0_usize.wrapping_sub(std::mem::take(&mut self.counted)).cast_signed());
    }

    /// Returns whether to continue reading a log: only when the kernel has accepted all data, so that a log is read
    /// as fast as the client receives it, and the queue is empty when a page arrives.
    pub(crate) fn wants_more(&self) -> bool {
        self.closing.is_none() && self.is_drained()
    }

    /// Returns whether nothing is queued, here or in the socket writer.
    pub(crate) fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.writer.waiting() == 0
    }

    /// Returns whether the limit of queued bytes for one client is reached.
    pub(crate) fn is_full(&self, context: &ShardContext) -> bool {
        self.waiting() >= context.queue_bound()
    }

    /// Prefetches the memory that a delivery needs. The result has no meaning.
    pub(crate) fn prefetch(&self) -> usize {
        let subscriptions = self.subscriptions.first().map_or(0, |subscription| subscription.index_in_topic);
        subscriptions
            .wrapping_add(self.writer.waiting())
            .wrapping_add(self.queue.bytes())
            .wrapping_add(usize::from(self.dirty))
            .wrapping_add(usize::from(self.deadlines.is_blocked()))
    }

    /// Returns whether a log read of the channel at `index` is in progress.
    pub(crate) fn is_reading(&self, index: usize) -> bool {
        self.closing.is_none()
            && self
                .subscriptions
                .get(index)
                .is_some_and(|subscription| subscription.state == ChannelState::Reading)
    }

    /// Changes a channel's state and updates the counts.
    pub(crate) fn set_state(&mut self, index: usize, state: ChannelState) {
        let old = std::mem::replace(&mut self.subscriptions[index].state, state);
        self.behind += u32::from(state == ChannelState::Behind);
        self.behind -= u32::from(old == ChannelState::Behind);
        self.reading += u32::from(state == ChannelState::Reading);
        self.reading -= u32::from(old == ChannelState::Reading);
        self.locating += u32::from(state == ChannelState::Locating);
        self.locating -= u32::from(old == ChannelState::Locating);
    }

    /// Handles a live event of the channel at `index`. The caller queues or sends it according to the result.
    pub(crate) fn receive_live(
        &mut self,
        index: usize,
        event: &Arc<EncodedEvent>,
        context: &ShardContext,
    ) -> LiveOutcome {
        if self.closing.is_some() {
            return LiveOutcome::Skipped;
        }
        let bound = context.queue_bound();
        let Some(link) = event.link else {
            return self.receive_ephemeral(event, bound, context);
        };
        let subscription = &self.subscriptions[index];
        match subscription.state {
            // The hub compares the event with the log, unless it was received before.
            ChannelState::Live if link.position <= subscription.position => LiveOutcome::Skipped,
            ChannelState::Live if subscription.continues(link) && self.has_room(event, bound) => {
                self.subscriptions[index].advance(link);
                LiveOutcome::Next
            }
            ChannelState::Live => {
                context.metrics.catch_ups.inc();
                self.set_state(index, ChannelState::Behind);
                LiveOutcome::Behind
            }
            ChannelState::Behind => LiveOutcome::Behind,
            ChannelState::Locating | ChannelState::Reading | ChannelState::Stalled => LiveOutcome::Skipped,
        }
    }

    fn receive_ephemeral(&self, event: &EncodedEvent, bound: usize, context: &ShardContext) -> LiveOutcome {
        // Nothing may be sent before the first block, since the client has no cursor yet.
        if self.locating > 0 {
            return LiveOutcome::Skipped;
        }
        if !self.has_room(event, bound) {
            static LOG: Throttle = Throttle::of_a_condition();
            context.metrics.ephemeral_dropped.inc();
            if let Some(held_back) = LOG.admit() {
                let channel = &event.channel;
                tracing::info!(%channel, held_back, "dropped ephemeral events: client is slow (stream.queue)");
            }
            return LiveOutcome::Skipped;
        }
        LiveOutcome::Next
    }

    /// Queues the next entries of the channel at `index`, from its log or its window. Skips entries that the client
    /// has, and reports a gap. All entries are queued, so that they are not read again.
    pub(crate) fn queue_entries<'a>(
        &mut self,
        index: usize,
        entries: impl Iterator<Item = (ChainLink, &'a Arc<EncodedEvent>)>,
        context: &ShardContext,
    ) {
        for (link, event) in entries {
            if link.position <= self.subscriptions[index].position {
                continue;
            }
            let position = self.subscriptions[index].client_position();
            if self.subscriptions[index].advance(link) {
                self.report_gap(&event.channel, position, context);
            }
            self.queue_event(index, event, context);
        }
    }

    /// Handles a page of the log of the channel at `index`. `fork` is the position after which the log may have
    /// different entries than before, if one is known.
    pub(crate) fn queue_page(
        &mut self,
        index: usize,
        (channel, page, entries): (&Channel, &Page, &[(ChainLink, Arc<EncodedEvent>)]),
        fork: Option<Position>,
        context: &ShardContext,
    ) -> PageOutcome {
        let position = self.subscriptions[index].client_position();
        match self.subscriptions[index].compare(page, fork) {
            PageFit::On => {
                self.queue_entries(index, entries.iter().map(|(link, event)| (*link, event)), context);
                self.subscriptions[index].skip_to(page.next);
                return PageOutcome { at_end: page.end, ..PageOutcome::default() };
            }
            PageFit::Check(fork) => return PageOutcome { check: Some(fork), ..PageOutcome::default() },
            PageFit::Expired => {
                // No event moves the cursor beyond the gap, and each reconnect would report it again.
                self.queue.push(Item::Moved(narrow(index), page.last), self.encoding);
                self.report_gap(channel, position, context);
                return PageOutcome { at_end: true, ..PageOutcome::default() };
            }
            PageFit::Back => {}
            PageFit::Lost => self.report_gap(channel, position, context),
        }
        PageOutcome { at_end: self.subscriptions[index].position == page.last, back: true, check: None }
    }

    /// Moves the channel at `index` back to a fork, and handles the page after it, which confirms the fork.
    pub(crate) fn rewind(
        &mut self,
        index: usize,
        fork: Position,
        page: (&Channel, &Page, &[(ChainLink, Arc<EncodedEvent>)]),
        context: &ShardContext,
    ) -> PageOutcome {
        let position = self.subscriptions[index].position;
        self.subscriptions[index].move_to(fork);
        self.report_gap(page.0, position, context);
        self.queue_page(index, page, None, context)
    }

    fn report_gap(&mut self, channel: &Channel, after: Position, context: &ShardContext) {
        context.metrics.gaps.inc();
        self.push_control(self.encoding.dialect.gap(channel, after));
    }

    fn count_event(&mut self, event: &EncodedEvent, context: &ShardContext) {
        context.count_sent(if self.member.is_some() { event.encode(self.encoding).saved() } else { 0 });
        self.deadlines.event(context.now);
    }

    /// Queues an event.
    pub(crate) fn queue_event(&mut self, index: usize, event: &Arc<EncodedEvent>, context: &ShardContext) {
        self.count_event(event, context);
        self.queue.push(Item::Event(Arc::clone(event), narrow(index)), self.encoding);
    }

    fn push_control(&mut self, block: Bytes) {
        self.queue.push(Item::Control(block), self.encoding);
    }

    /// Sets the start position of a channel.
    pub(crate) fn located(&mut self, index: usize, position: Position) {
        self.subscriptions[index].begin(position);
        self.set_state(index, ChannelState::Behind);
    }

    /// Queues the first block, once the start of every channel is known: from here on the client has a cursor.
    pub(crate) fn greet(&mut self, context: &ShardContext) {
        self.id = Id::Cursor;
        let mut cursor = Vec::new();
        write_cursor(&self.subscriptions, &mut cursor);
        let cursor = &String::from_utf8_lossy(&cursor);
        let (session, node, retry) = (self.identity.session(), &context.node, context.retry.ms());
        self.push_control(self.encoding.dialect.greeting(Greeting { session, node, cursor, retry }));
    }

    /// Queues a heartbeat if nothing else is queued.
    pub(crate) fn queue_heartbeat(&mut self) {
        if self.closing.is_none() && self.is_drained() {
            self.queue.push(Item::Heartbeat, self.encoding);
        }
    }

    /// Starts the end: releases the claim at once; queued data and a last event are still written. `waker` is woken
    /// when the socket must be closed before the client closes it.
    pub(crate) fn begin_end(&mut self, reason: CloseReason, context: &ShardContext, waker: &Waker) {
        if self.closing.is_some() {
            return;
        }
        let of = (self.identity.session(), &context.node);
        if let Some(block) = self.encoding.dialect.last_block(reason, of, &context.retry) {
            self.push_control(block);
        }
        self.closing = Some(reason);
        self.release(reason);
        context.metrics.count_end(reason);
        self.user_socket.linger(waker);
        self.deadlines.linger(context.settings.linger);
    }

    /// Returns whether another claim has taken the session.
    pub(crate) fn is_lost(&self) -> bool {
        self.guard.as_ref().is_some_and(SessionGuard::is_lost)
    }

    /// Releases the claim.
    pub(crate) fn release(&mut self, reason: CloseReason) {
        if let Some(guard) = self.guard.take() {
            guard.end(reason);
        }
    }

    /// Writes queued data until the socket is full. `scratch` is the shard's buffer; its content has no meaning.
    pub(crate) fn flush(
        &mut self,
        context: &ShardContext,
        scratch: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> FlushResult {
        if self.writer.waiting() > 0 && !self.deadlines.is_blocked() {
            // The head of the response waits for the first block, so that both leave in one write.
            self.encode_batch(scratch);
            self.writer.append(scratch);
            self.deadlines.progress(context.now);
        }
        let mut written = self.writer.write_rest(cx);
        while written == WriteResult::All && !self.queue.is_empty() {
            self.encode_batch(scratch);
            written = self.writer.write_batch(scratch, cx);
            self.deadlines.progress(context.now);
        }
        self.finish_write(written, scratch, cx)
    }

    /// Writes an event without queueing it. The queue must be empty.
    pub(crate) fn send(
        &mut self,
        (index, event): (usize, &EncodedEvent),
        context: &ShardContext,
        scratch: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> FlushResult {
        self.count_event(event, context);
        begin_batch(scratch);
        let mut batch = BodyBatch::new(self.member.as_mut(), scratch);
        encode_event(&mut batch, &mut self.subscriptions, index, event, self.encoding);
        batch.finish();
        let written = self.writer.write_batch(scratch, cx);
        self.deadlines.progress(context.now);
        self.finish_write(written, scratch, cx)
    }

    /// Handles the result of a write, and continues the end if it has started.
    fn finish_write(
        &mut self,
        written: WriteResult,
        scratch: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> FlushResult {
        match written {
            WriteResult::Broken(reason) => FlushResult::Over(self.closing.unwrap_or(reason)),
            WriteResult::Full { some } => {
                self.deadlines.blocked(some);
                if self.closing.is_some() { self.wait_for_client() } else { FlushResult::Full }
            }
            WriteResult::All => {
                self.deadlines.unblocked();
                if self.closing.is_some() { self.flush_end(scratch, cx) } else { FlushResult::Done }
            }
        }
    }

    /// Finishes the connection after the last event: the end of the body, the node's side of the socket, the client's
    /// side.
    fn flush_end(&mut self, scratch: &mut Vec<u8>, cx: &mut Context<'_>) -> FlushResult {
        if !self.shut {
            self.shut = true;
            begin_batch(scratch);
            if let Some(member) = &mut self.member {
                member.end(scratch);
            }
            self.writer.finish(scratch);
            match self.writer.write_rest(cx) {
                WriteResult::All => {}
                WriteResult::Full { .. } => return self.wait_for_client(),
                WriteResult::Broken(_) => return self.over(),
            }
        }
        if self.writer.poll_shutdown(cx).is_pending() {
            return self.wait_for_client();
        }
        if self.writer.is_half_closed() || self.writer.poll_peer_close(cx).is_ready() {
            return self.over();
        }
        self.wait_for_client()
    }

    /// Waits until the client closes, after the end was written. Ends at once if the socket may not linger.
    fn wait_for_client(&self) -> FlushResult {
        if self.user_socket.lingers() { FlushResult::Full } else { self.over() }
    }

    fn over(&self) -> FlushResult {
        FlushResult::Over(self.closing.unwrap_or(CloseReason::Closed))
    }

    /// Handles a socket that became full, or is no longer full. While the socket is full, and for some time after,
    /// the client is slow, and the write timeout applies in place of the kernel's timeout, which starts when the
    /// client's window first closed.
    pub(crate) fn socket_changed(&mut self) {
        if self.deadlines.is_blocked() && self.deadlines.mark_slow() {
            self.writer.set_peer_timeout(None);
        }
    }

    /// Handles a due heartbeat: nothing was written for its interval, so a slow client has received all earlier data.
    pub(crate) fn heartbeat_is_due(&mut self, settings: &StreamConfig) {
        self.deadlines.heartbeat_sent();
        if self.deadlines.clear_slow(settings.peer_timeout) {
            self.writer.set_peer_timeout(Some(settings.peer_timeout));
        }
        self.queue_heartbeat();
    }

    /// Returns whether the client has closed its side, or the connection is broken.
    pub(crate) fn poll_peer_close(&mut self, cx: &mut Context<'_>) -> Poll<PeerClose> {
        self.writer.poll_peer_close(cx)
    }

    /// Encodes the next batch, with room for a chunk's head before it.
    fn encode_batch(&mut self, out: &mut Vec<u8>) {
        begin_batch(out);
        let mut batch = BodyBatch::new(self.member.as_mut(), out);
        while batch.len() < BATCH_BYTES
            && let Some(item) = self.queue.pop(self.encoding)
        {
            match item {
                Item::Heartbeat => batch.text().extend_from_slice(self.encoding.dialect.heartbeat()),
                Item::Moved(index, position) => {
                    let subscription = &mut self.subscriptions[usize::from(index)];
                    // Never back: another node may still deliver the lost events after the smaller position.
                    subscription.sent = subscription.sent.max(position);
                }
                Item::Control(block) => {
                    let text = batch.text();
                    self.id.write(self.encoding.dialect, &self.subscriptions, text);
                    text.extend_from_slice(&block);
                }
                Item::Event(event, index) => {
                    encode_event(
                        &mut batch,
                        &mut self.subscriptions,
                        usize::from(index),
                        &event,
                        self.encoding,
                    );
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
    batch: &mut BodyBatch<'_>,
    subscriptions: &mut [Subscription],
    index: usize,
    event: &EncodedEvent,
    encoding: Encoding,
) {
    if let Some(link) = event.link {
        subscriptions[index].sent = link.position;
    }
    Id::Cursor.write(encoding.dialect, subscriptions, batch.text());
    match event.encode(encoding) {
        Encoded::Text(text) => batch.text().extend_from_slice(text),
        Encoded::Compressed(compressed, _) => batch.compressed(compressed),
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
