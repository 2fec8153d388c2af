//! One stream of one client: a small state machine for each channel, a queue, and the socket.
//!
//! A connection is owned by one shard, but does not depend on it: it receives events and pages, and returns what it
//! needs next. Replay, catch-up of slow clients and recovery from a lost subscriber connection work in the same way:
//! a channel that is not live is read from its log.
//!
//! # Layout
//!
//! - `receive`: live events, and entries of logs
//! - `subscription`: the state of one channel
//! - `id`: the cursor in the `id:` lines
//! - `queue`: data to be written
//! - `flush`: batches of queued data, and the end of the stream; `socket_writer`: writes to the socket
//! - `open_streams`: the number of open streams
//! - `user_sockets`: the sockets of each user's streams, until they are closed
//! - `context`: context shared by all connections of a shard
//! - `deadlines`: timeouts and heartbeats
//! - `long_poll`: the end of a long poll
//! - `status`: what a shard reads and sets

mod context;
mod deadlines;
mod flush;
mod id;
mod long_poll;
pub(crate) mod open_streams;
mod queue;
mod receive;
mod socket_writer;
mod status;
mod subscription;
pub(crate) mod user_sockets;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use bytes::Bytes;
use fanfare_broker::session::{CloseReason, SessionEnd};
use fanfare_config::stream::StreamConfig;
use fanfare_coordination::revocations::stream_token::StreamToken;
use fanfare_coordination::session::SessionGuard;
use fanfare_protocol::Position;
use tokio::time::Instant;

pub(crate) use self::context::ShardContext;
pub(crate) use self::deadlines::{Deadlines, Due};
pub(crate) use self::flush::FlushResult;
use self::id::{Id, write_cursor};
pub(crate) use self::long_poll::LongPoll;
use self::queue::{Item, Queue};
pub(crate) use self::receive::{LiveOutcome, PageOutcome};
pub(crate) use self::socket_writer::PeerClose;
use self::socket_writer::SocketWriter;
pub(crate) use self::subscription::{ChannelState, Subscription};
use self::user_sockets::UserSocket;
use crate::connection_log::ConnectionEnd;
use crate::dialect::Greeting;
use crate::encoded_event::{EncodedEvent, Encoding};
use crate::gzip::GzipMember;
use crate::stream::{Coding, Identity, Protocol, Transport};

/// What a connection is counted as. One that is not open counts as live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Live,
    /// A channel is read from its log.
    CatchingUp,
}

/// What the line of a connection says in the end.
#[derive(Clone, Copy, Debug)]
struct Totals {
    protocol: Protocol,
    /// Whether the client had a cursor.
    resumed: bool,
    /// Events that were queued.
    events: u64,
    /// Bytes that the socket accepted.
    bytes: u64,
}

/// One open stream. Lives in its shard from `Message::Open` until it ends.
pub(crate) struct Connection {
    /// Distinguishes the connection from earlier ones with the same key in the shard's slab.
    serial: u64,
    identity: Identity,
    /// The epoch of the claim; 0 without one.
    epoch: u64,
    guard: Option<SessionGuard>,
    /// The token, if it can be revoked.
    token: Option<StreamToken>,
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
    /// Number of channels that are [`ChannelState::Stalled`].
    stalled: u32,
    /// As what the connection is counted.
    counted_as: Progress,
    /// When the request began.
    begun: Instant,
    /// The same, until the connection is live in every channel for the first time.
    connecting: Option<Instant>,
    queue: Queue,
    writer: SocketWriter,
    /// Queued bytes at the last count.
    counted: usize,
    deadlines: Deadlines,
    /// Boxed, since most connections are streams.
    long_poll: Option<Box<LongPoll>>,
    user_socket: UserSocket,
    totals: Totals,
    /// [`RetryPolicy::spread_ms`](crate::retry::RetryPolicy) of the last `retry:` that the client was sent, if it was.
    retry_spread: Option<u32>,
    /// Set when the end has started: nothing more is queued.
    closing: Option<CloseReason>,
    /// Whether the cursor has passed an excepted event since the last block, so that the client has an older one.
    passed: bool,
    /// Whether the node's side of the socket is closed.
    shut: bool,
    /// Whether the connection is in its shard's list of connections to write to.
    dirty: bool,
}

impl Connection {
    pub(crate) fn new(
        (serial, begun): (u64, Instant),
        (identity, guard, encoding): (Identity, Option<SessionGuard>, Encoding),
        client_cursor: Option<Box<str>>,
        Transport { socket, framing, head, protocol }: Transport,
        ((deadlines, long_poll, token), user_socket): (
            (Deadlines, Option<LongPoll>, Option<StreamToken>),
            UserSocket,
        ),
    ) -> Self {
        let totals = Totals { protocol, resumed: client_cursor.is_some(), events: 0, bytes: 0 };
        Self {
            serial,
            identity,
            epoch: guard.as_ref().map_or(0, SessionGuard::epoch),
            guard,
            token,
            encoding,
            member: (encoding.coding == Coding::Gzip).then(GzipMember::default),
            id: Id::FromClient(client_cursor),
            subscriptions: Box::default(),
            behind: 0,
            reading: 0,
            next_behind: 0,
            locating: 0,
            stalled: 0,
            counted_as: Progress::Live,
            begun,
            connecting: Some(begun),
            queue: Queue::default(),
            writer: SocketWriter::new(socket, framing, &head),
            counted: 0,
            deadlines,
            long_poll: long_poll.map(Box::new),
            user_socket,
            totals,
            retry_spread: None,
            closing: None,
            passed: false,
            shut: false,
            dirty: false,
        }
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
        self.count_as(Progress::Live, context);
    }

    /// Counts bytes that the socket accepted.
    fn count_bytes(&mut self, context: &ShardContext) {
        let sent = self.writer.take_sent();
        self.totals.bytes += sent as u64;
        context.count_bytes(sent);
    }

    /// Logs the end of the connection, for `reason` if the end has not started before.
    pub(crate) fn log_end(&self, reason: CloseReason, context: &ShardContext) {
        let Totals { protocol, resumed, events, bytes } = self.totals;
        context.log.ended(|| ConnectionEnd {
            identity: self.identity.clone(),
            reason: self.closing.unwrap_or(reason),
            duration: self.begun.elapsed(),
            events,
            bytes,
            channels: self.channels(),
            protocol,
            coding: self.encoding.coding,
            resumed,
        });
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
    pub(crate) fn set_state(&mut self, index: usize, state: ChannelState, context: &ShardContext) {
        let old = std::mem::replace(&mut self.subscriptions[index].state, state);
        self.behind += u32::from(state == ChannelState::Behind);
        self.behind -= u32::from(old == ChannelState::Behind);
        self.reading += u32::from(state == ChannelState::Reading);
        self.reading -= u32::from(old == ChannelState::Reading);
        self.locating += u32::from(state == ChannelState::Locating);
        self.locating -= u32::from(old == ChannelState::Locating);
        self.stalled += u32::from(state == ChannelState::Stalled);
        self.stalled -= u32::from(old == ChannelState::Stalled);
        let open = self.closing.is_none() && self.locating == 0;
        let catches_up = open && self.behind + self.reading + self.stalled > 0;
        self.count_as(if catches_up { Progress::CatchingUp } else { Progress::Live }, context);
    }

    fn count_as(&mut self, progress: Progress, context: &ShardContext) {
        if std::mem::replace(&mut self.counted_as, progress) != progress {
            context.count_catching_up(progress == Progress::CatchingUp);
        }
    }

    fn count_event(&mut self, event: &EncodedEvent, context: &ShardContext) {
        context.count_sent(if self.member.is_some() { event.encode(self.encoding).saved() } else { 0 });
        self.totals.events += 1;
        self.deadlines.event(context.now);
        if let Some(poll) = &mut self.long_poll {
            poll.event(context.now, event.encode(self.encoding).len());
        }
    }

    /// Queues an event.
    pub(crate) fn queue_event(&mut self, index: usize, event: &Arc<EncodedEvent>, context: &ShardContext) {
        self.passed = false;
        self.count_event(event, context);
        self.queue.push(Item::Event(Arc::clone(event), narrow(index)), self.encoding);
    }

    /// Moves the cursor of the channel at `index` past an event that this session does not get. The client is sent the cursor
    /// with the next block.
    fn pass(&mut self, index: usize, position: Position) {
        if self.queue.is_empty() {
            let subscription = &mut self.subscriptions[index];
            subscription.sent = subscription.sent.max(position);
        } else {
            self.queue.push_moved(narrow(index), position, self.encoding);
        }
        self.passed = true;
    }

    fn push_control(&mut self, block: Bytes) {
        self.passed = false;
        self.queue.push(Item::Control(block), self.encoding);
    }

    /// Sets the start position of a channel.
    pub(crate) fn located(&mut self, index: usize, position: Position, context: &ShardContext) {
        self.subscriptions[index].begin(position);
        self.set_state(index, ChannelState::Behind, context);
    }

    /// Queues the first block, once the start of every channel is known: from here on the client has a cursor.
    pub(crate) fn greet(&mut self, context: &ShardContext) {
        self.id = Id::Cursor;
        let mut cursor = Vec::new();
        write_cursor(&self.subscriptions, &mut cursor);
        let cursor = &String::from_utf8_lossy(&cursor);
        let (session, node, retry) = (self.identity.session(), &context.node, context.retry.ms());
        self.retry_spread = Some(context.retry.spread_ms());
        self.push_control(self.encoding.dialect.greeting(Greeting { session, node, cursor, retry }));
    }

    /// Returns the `retry:` that the client needs, if the cluster has changed since the last one. The caller sends it.
    fn new_retry(&mut self, context: &ShardContext) -> Option<u64> {
        let spread = context.retry.spread_ms();
        let is_new = self.retry_spread.is_some_and(|sent| sent != spread);
        if is_new {
            self.retry_spread = Some(spread);
        }
        is_new.then(|| context.retry.ms())
    }

    /// Queues a heartbeat if nothing else is queued. A client whose cursor is older than its position gets the cursor instead:
    /// otherwise each reconnect would read the excepted events again, and report a gap once retention has removed them.
    pub(crate) fn queue_heartbeat(&mut self) {
        if self.closing.is_some() || !self.is_drained() {
            return;
        }
        if self.passed {
            self.push_control(self.encoding.dialect.excepted());
        } else {
            self.queue.push(Item::Heartbeat, self.encoding);
        }
    }

    /// Starts the end: releases the claim at once; queued data and a last event are still written. `waker` is woken
    /// when the socket must be closed before the client closes it.
    pub(crate) fn begin_end(&mut self, reason: CloseReason, context: &ShardContext, waker: &Waker) {
        if self.closing.is_some() {
            return;
        }
        if self.passed {
            self.push_control(self.encoding.dialect.excepted());
        }
        let of = (self.identity.session(), &context.node);
        if let Some(block) = self.encoding.dialect.last_block(reason, of, &context.retry) {
            self.push_control(block);
        }
        self.closing = Some(reason);
        self.release(reason, &context.settings);
        context.metrics.count_end(reason, self.begun);
        self.count_as(Progress::Live, context);
        self.user_socket.linger(waker);
        self.deadlines.linger(context.settings.linger);
    }

    /// Returns whether the time of the next check has changed by an event. Once.
    pub(crate) fn takes_answer(&mut self) -> bool {
        self.long_poll.as_mut().is_some_and(|poll| poll.takes_change())
    }

    /// Returns whether another claim has taken the session.
    pub(crate) fn is_lost(&self) -> bool {
        self.guard.as_ref().is_some_and(SessionGuard::is_lost)
    }

    /// Returns whether the token is revoked.
    pub(crate) fn is_revoked(&self) -> bool {
        self.token.as_ref().zip(self.identity.user()).is_some_and(|(token, user)| token.is_revoked(user))
    }

    /// Replaces the token.
    pub(crate) fn replace_token(&mut self, expires: Option<SystemTime>, token: Option<StreamToken>) {
        self.token = token;
        self.deadlines.expire_at(expires);
    }

    /// Releases the claim.
    pub(crate) fn release(&mut self, reason: CloseReason, settings: &StreamConfig) {
        if let Some(guard) = self.guard.take() {
            let silence = self.deadlines.lost_in_silence(reason, settings);
            guard.end(SessionEnd::new(reason, silence));
        }
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
}

/// Converts the index of a channel; the limits allow at most 256 channels.
fn narrow(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}
