//! The streams that are followed, and the subscriber connection that wakes their readers.
//!
//! Redis has the bytes; a message only wakes. So a reader that is not woken loses nothing: each subscription that is confirmed, also
//! after the connection was lost, wakes the stream's readers once, and each of them reads what is stored.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::subscriber::{SubscriberConnection, SubscriberEvent, Ticket};
use fanfare_broker::{LiveTopics, NodeId};
use fanfare_protocol::Channel;
use fanfare_protocol::finite::StreamName;
use fanfare_protocol::finite::wire::Change;
use fanfare_protocol::wire::Topic;
use fanfare_telemetry::Throttle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::window::Window;

/// How often streams whose lease may be over are looked for, and streams without readers.
const TICK: Duration = Duration::from_millis(250);
/// Time between two looks at a stream whose lease seems to be over.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a stream without readers stays subscribed: the next long poll comes at once.
const LINGER: Duration = Duration::from_secs(5);
/// Maximum number of bytes of all windows together.
const WINDOWS: usize = 8 * 1024 * 1024;

/// The followed streams of a node. Clones share them.
#[derive(Clone)]
pub struct LiveReaders(Arc<Inner>);

struct Inner {
    topics: Arc<dyn LiveTopics>,
    node: NodeId,
    /// Maximum number of live readers.
    most: usize,
    table: Arc<Mutex<Table>>,
    /// Cancelled when live readers are to end.
    ending: CancellationToken,
}

/// Never locked across an await.
#[derive(Default)]
struct Table {
    streams: HashMap<Channel, Followed>,
    readers: usize,
    ticket: Ticket,
    /// Bytes of all windows.
    bytes: usize,
    /// Opened with the first reader.
    subscriber: Option<Subscriber>,
    is_closed: bool,
}

struct Subscriber {
    connection: SubscriberConnection,
    upkeep: JoinHandle<()>,
}

/// A stream with readers, or that had some a moment ago.
struct Followed {
    /// Counts what happened, so that a reader that was not waiting notices it.
    happened: watch::Sender<u64>,
    window: Window,
    readers: usize,
    /// When the last reader left.
    left: Option<Instant>,
    /// How long the producer may be silent, and when that is over.
    lease: Option<(Duration, Instant)>,
}

/// There are too many live readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A reader's place at a followed stream. The reader leaves when it is dropped.
pub struct Following {
    inner: Arc<Inner>,
    channel: Channel,
    happened: watch::Receiver<u64>,
}

impl LiveReaders {
    /// Creates an empty table for at most this number of live readers.
    pub fn new(topics: Arc<dyn LiveTopics>, node: NodeId, most: usize) -> Self {
        let (table, ending) = (Arc::default(), CancellationToken::new());
        Self(Arc::new(Inner { topics, node, most, table, ending }))
    }

    /// Adds a live reader of a stream. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// Fails if there are too many readers.
    pub fn follow(&self, name: &StreamName) -> Result<Following, Full> {
        let inner = Arc::clone(&self.0);
        let channel = name.channel().clone();
        let mut table = lock(&inner.table);
        if table.readers >= inner.most || table.is_closed {
            return Err(Full);
        }
        table.readers += 1;
        let happened = table.join(&channel).unwrap_or_else(|| table.begin(&inner, &channel));
        drop(table);
        Ok(Following { inner, channel, happened })
    }

    /// Returns the number of live readers.
    pub fn readers(&self) -> usize {
        lock(&self.0.table).readers
    }

    /// Ends the live readers: each after a random part of this time.
    pub fn end_readers(&self) {
        self.0.ending.cancel();
    }

    /// Returns what is cancelled when live readers are to end.
    pub(crate) fn ending(&self) -> CancellationToken {
        self.0.ending.clone()
    }

    /// Closes the subscriber connection.
    pub async fn shutdown(&self) {
        self.0.ending.cancel();
        let subscriber = {
            let mut table = lock(&self.0.table);
            table.is_closed = true;
            table.subscriber.take()
        };
        if let Some(Subscriber { connection, upkeep }) = subscriber {
            upkeep.abort();
            // Either it was aborted, or it has ended.
            let _ = upkeep.await;
            connection.close().await;
        }
    }
}

impl fmt::Debug for LiveReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveReaders").field("readers", &self.readers()).finish_non_exhaustive()
    }
}

impl Following {
    /// Notes what has happened until now: [`Self::happened`] waits for what happens after this.
    pub fn note(&mut self) {
        self.happened.borrow_and_update();
    }

    /// Waits until something happened after the last [`Self::note`]. Cancel-safe.
    pub async fn happened(&mut self) {
        // The sender is in the table as long as this is.
        let _ = self.happened.changed().await;
    }

    /// Notes how long the producer may be silent, and what is left of it.
    pub(super) fn set_lease(&self, lease: Option<Duration>, left: Duration) {
        if let Some(followed) = lock(&self.inner.table).streams.get_mut(&self.channel) {
            followed.lease = lease.filter(|_| !left.is_zero()).map(|lease| (lease, Instant::now() + left));
        }
    }

    /// Returns newly appended bytes from a place on, and the end of the stream; `None` if Redis must be asked.
    pub(super) fn window(&self, generation: u64, from: u64, most: usize) -> Option<(Bytes, u64)> {
        lock(&self.inner.table).streams.get(&self.channel)?.window.read(generation, from, most)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut table = lock(&self.inner.table);
        table.readers -= 1;
        if let Some(followed) = table.streams.get_mut(&self.channel) {
            followed.readers -= 1;
            followed.left = (followed.readers == 0).then(Instant::now);
        }
    }
}

/// Opens the subscriber connection, and starts the task that unsubscribes from streams without readers and wakes those of streams whose
/// lease may be over.
fn open(inner: &Inner) -> Subscriber {
    let table = Arc::downgrade(&inner.table);
    let receive = move |event| {
        if let Some(table) = table.upgrade() {
            lock(&table).receive(event);
        }
    };
    let connection = inner.topics.open_subscriber(&inner.node, Box::new(receive));
    Subscriber { connection, upkeep: tokio::spawn(unfollow(Arc::downgrade(&inner.table))) }
}

async fn unfollow(table: Weak<Mutex<Table>>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        let Some(table) = table.upgrade() else { return };
        let mut table = lock(&table);
        table.forget_left();
        table.wake_lapsed();
    }
}

impl Table {
    /// Adds a reader of a stream that has some, or had some a moment ago.
    fn join(&mut self, channel: &Channel) -> Option<watch::Receiver<u64>> {
        let followed = self.streams.get_mut(channel)?;
        followed.readers += 1;
        followed.left = None;
        Some(followed.happened.subscribe())
    }

    /// Adds the first reader of a stream, and subscribes to its changes.
    fn begin(&mut self, inner: &Inner, channel: &Channel) -> watch::Receiver<u64> {
        let (sender, happened) = watch::channel(0);
        let followed =
            Followed { happened: sender, window: Window::default(), readers: 1, left: None, lease: None };
        self.streams.insert(channel.clone(), followed);
        self.ticket += 1;
        let ticket = self.ticket;
        let subscriber = self.subscriber.get_or_insert_with(|| open(inner));
        subscriber.connection.subscribe(vec![(channel.clone(), ticket)]);
        happened
    }

    fn receive(&mut self, event: SubscriberEvent) {
        match event {
            SubscriberEvent::Message(channel, Topic::Live, message) => self.message(&channel, &message),
            SubscriberEvent::Subscribed(channels) => {
                for (channel, _) in channels {
                    self.wake(&channel);
                }
            }
            SubscriberEvent::Down => {
                for followed in self.streams.values_mut() {
                    self.bytes -= followed.window.clear();
                }
            }
            // Another connection of the node has the commands; ephemeral events do not concern streams.
            SubscriberEvent::Up
            | SubscriberEvent::Unavailable(_)
            | SubscriberEvent::Control(_)
            | SubscriberEvent::Message(_, Topic::Ephemeral, _) => {}
        }
    }

    fn message(&mut self, channel: &Channel, message: &Bytes) {
        static LOG: Throttle = Throttle::of_events();
        let Ok(change) = Change::parse(message) else {
            if let Some(held_back) = LOG.admit() {
                tracing::warn!(%channel, held_back, "ignored a malformed message about a finite stream");
            }
            return self.wake(channel);
        };
        if let Some(followed) = self.streams.get_mut(channel) {
            if let Some((length, until)) = &mut followed.lease {
                *until = Instant::now() + *length;
            }
            let grown = followed.window.add(change);
            self.bytes = self.bytes.saturating_add_signed(grown);
            if self.bytes > WINDOWS {
                self.bytes -= followed.window.clear();
            }
        }
        self.wake(channel);
    }

    fn wake(&mut self, channel: &Channel) {
        if let Some(followed) = self.streams.get(channel) {
            followed.happened.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Wakes the readers of streams whose lease may be over: they read, which ends the stream or shows what is left.
    fn wake_lapsed(&mut self) {
        let now = Instant::now();
        for followed in self.streams.values_mut() {
            if let Some((_, until)) = &mut followed.lease
                && *until <= now
            {
                // The next look, if no reader's read shows what is left.
                *until = now + AGAIN;
                followed.happened.send_modify(|count| *count = count.wrapping_add(1));
            }
        }
    }

    fn forget_left(&mut self) {
        let mut left = Vec::new();
        self.streams.retain(|channel, followed| {
            let is_over = followed.left.is_some_and(|at| at.elapsed() >= LINGER);
            if is_over {
                self.bytes -= followed.window.clear();
                left.push(channel.clone());
            }
            !is_over
        });
        if let Some(subscriber) = self.subscriber.as_ref().filter(|_| !left.is_empty()) {
            subscriber.connection.unsubscribe(left);
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // Each change leaves a consistent table.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
