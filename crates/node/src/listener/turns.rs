//! Turns of connections that move few bytes: thousands of them must not delay the others.
//!
//! The runtime runs tasks in the order in which they were woken. A crowd whose sockets all become readable at the same time,
//! each with one byte, would delay every event and every request behind it by the time that all of them take. So a
//! connection has to show that its turns are of use: one that has moved fewer than [`USEFUL`] bytes in each of its last
//! [`SPARE`] turns, or in its first one, waits in a queue. Of the queue only [`BATCH`] run before all other tasks have had
//! their turn. The listener waits in the same queue before it accepts the next [`BATCH`] sockets, so that sockets are not
//! accepted faster than they are read.
//!
//! Nothing is delayed while the node has nothing else to do, and every connection in the queue gets its turn.
//!
//! A connection that dribbles, in pieces of a request or in windows of a few bytes, costs a turn for each piece. Where many do
//! so, their turns are paced: more pieces then arrive between two of them, and are read at once, and events do not wait for a
//! burst of pieces. New connections and the listener come before them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

/// Bytes, read and written, with which a turn is of use. A byte of window and the byte sent for it have less.
const USEFUL: usize = 64;
/// Turns with fewer bytes that a connection has before it waits in the queue.
const SPARE: usize = 4;
/// Number of waiting connections that run before all other tasks get their turn.
pub(super) const BATCH: usize = 4;
/// Number of waiting connections that dribble from which on they are paced: a batch each [`PAUSE`].
const CROWD: usize = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// The queue of a listener's connections.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queue: Mutex<Queue>,
    /// Notified when a batch is complete.
    complete: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// Turns of the current batch.
    taken: usize,
    tickets: VecDeque<Arc<Ticket>>,
    /// Those of connections that dribble.
    dribbling: VecDeque<Arc<Ticket>>,
}

/// Who was called.
#[derive(Debug, PartialEq, Eq)]
enum Called {
    /// Nothing waits.
    None,
    Batch,
    /// Only connections that dribble, of which many wait.
    Crowd,
}

/// A place in the queue.
#[derive(Debug, Default)]
struct Ticket {
    called: AtomicBool,
    waker: AtomicWaker,
}

impl Ticket {
    fn poll_called(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.called.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What a connection's turns were used for. Written by the connection's task.
#[derive(Debug)]
pub(super) struct Use {
    /// Bytes of the current turn.
    moved: AtomicUsize,
    /// Turns with few bytes before the connection waits for the next one.
    spare: AtomicUsize,
    /// Whether a turn was of use: before that, one without any bytes is not a step of a handler.
    proven: AtomicBool,
    /// Whether the last turns had few bytes.
    few: AtomicBool,
}

impl Default for Use {
    fn default() -> Self {
        Self {
            moved: AtomicUsize::new(0),
            spare: AtomicUsize::new(1),
            proven: AtomicBool::new(false),
            few: AtomicBool::new(false),
        }
    }
}

impl Use {
    /// Counts bytes that were read or written.
    pub(super) fn moved(&self, bytes: usize) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    fn has_spare(&self) -> bool {
        self.spare.load(Ordering::Relaxed) > 0
    }

    fn dribbles(&self) -> bool {
        self.few.load(Ordering::Relaxed)
    }

    /// Judges the turn that ends.
    fn end_turn(&self) {
        let moved = self.moved.swap(0, Ordering::Relaxed);
        if moved >= USEFUL {
            self.proven.store(true, Ordering::Relaxed);
            self.spare.store(SPARE, Ordering::Relaxed);
            self.few.store(false, Ordering::Relaxed);
        } else if moved > 0 || !self.proven.load(Ordering::Relaxed) {
            self.spare.store(self.spare.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
            self.few.fetch_or(moved > 0 && !self.has_spare(), Ordering::Relaxed);
        }
    }
}

impl Turns {
    /// Calls those that wait, batch by batch. Never returns: connections need it until the last one has ended.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            self.complete.notified().await;
            // All others that are ready have their turn first.
            yield_now().await;
            loop {
                match self.call() {
                    Called::None => break,
                    Called::Batch => yield_now().await,
                    Called::Crowd => sleep(PAUSE).await,
                }
            }
        }
    }

    /// Begins the next batch.
    fn call(&self) -> Called {
        let mut queue = self.queue();
        let first = queue.tickets.len().min(BATCH);
        let last = queue.dribbling.len().min(BATCH - first);
        queue.taken = first + last;
        let mut called: Vec<_> = queue.tickets.drain(..first).collect();
        called.extend(queue.dribbling.drain(..last));
        let is_crowd = first == 0 && queue.dribbling.len() >= CROWD;
        drop(queue);
        for ticket in &called {
            ticket.called.store(true, Ordering::Release);
            ticket.waker.wake();
        }
        match called.len() {
            0 => Called::None,
            _ if is_crowd => Called::Crowd,
            _ => Called::Batch,
        }
    }

    /// Takes a turn of the current batch, or a place in the queue.
    fn enter(&self, dribbles: bool) -> Option<Arc<Ticket>> {
        let mut queue = self.queue();
        let has_room = queue.taken < BATCH;
        let ticket = if has_room {
            queue.taken += 1;
            None
        } else {
            let ticket = Arc::<Ticket>::default();
            let line = if dribbles { &mut queue.dribbling } else { &mut queue.tickets };
            line.push_back(Arc::clone(&ticket));
            Some(ticket)
        };
        let complete = queue.taken == BATCH;
        drop(queue);
        if complete {
            self.complete.notify_one();
        }
        ticket
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Each change leaves a consistent queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pin_project! {
    /// A future that runs in the turns of a connection. `moves` says whether it reads and writes itself.
    pub(super) struct InTurn<F> {
        turns: Arc<Turns>,
        used: Arc<Use>,
        moves: bool,
        ticket: Option<Arc<Ticket>>,
        #[pin]
        work: F,
    }
}

impl Turns {
    /// Waits for a turn.
    pub(super) async fn take(&self) {
        if let Some(ticket) = self.enter(false) {
            poll_fn(|cx| ticket.poll_called(cx)).await;
        }
    }

    /// Has a connection run in its turns.
    pub(super) fn connection<F: Future>(self: &Arc<Self>, used: Arc<Use>, work: F) -> InTurn<F> {
        InTurn { turns: Arc::clone(self), used, moves: true, ticket: None, work }
    }

    /// Has a request run in turns like those of its connection, which reads and writes for it.
    pub(super) fn request<F: Future>(self: &Arc<Self>, used: Arc<Use>, work: F) -> InTurn<F> {
        InTurn { turns: Arc::clone(self), used, moves: false, ticket: None, work }
    }
}

impl<F: Future> Future for InTurn<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.ticket.is_none() && !this.used.has_spare() {
            *this.ticket = this.turns.enter(this.used.dribbles());
        }
        if let Some(ticket) = this.ticket {
            ready!(ticket.poll_called(cx));
            *this.ticket = None;
        }
        let done = this.work.poll(cx);
        if *this.moves {
            this.used.end_turn();
        }
        done
    }
}

#[cfg(test)]
mod tests;
