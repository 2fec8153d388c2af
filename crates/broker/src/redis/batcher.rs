//! Batches calls that are made at the same moment into one write.
//!
//! Each write is a system call that costs more than the command in it. So calls go through one task, which lets all
//! other ready tasks run before it writes. Under load this makes a pipeline of many commands; a single call is not
//! delayed.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, Pipeline, RedisError, Value};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Maximum number of commands in one write, except for a single call with more commands.
const MOST: usize = 256;
/// Maximum number of writes without a reply.
const UNANSWERED: usize = 64;
/// Capacity of the queue of calls; further callers wait.
const WAITING: usize = 1024;

/// A connection whose calls are batched. Clones share it; its task ends after the last clone and the last reply.
#[derive(Clone, Debug)]
pub(super) struct Batcher {
    calls: mpsc::Sender<Call>,
}

/// The replies to a call, including errors of Redis; or why the outcome is unknown.
type Answer = Result<Vec<Value>, Arc<RedisError>>;

#[derive(Debug)]
struct Call {
    commands: Vec<Cmd>,
    answer: oneshot::Sender<Answer>,
}

impl Batcher {
    /// Creates the batching task of a connection. `latency` observes the time from each write to its replies, in seconds.
    pub(super) fn new(connection: MultiplexedConnection, latency: Histogram) -> Self {
        let (calls, queue) = mpsc::channel(WAITING);
        tokio::spawn(run(queue, connection, latency));
        Self { calls }
    }

    /// Sends commands without other commands in between, and returns their replies in order.
    pub(super) async fn call(&self, commands: Vec<Cmd>) -> Answer {
        let (answer, answered) = oneshot::channel();
        // The task outlives all handles.
        let gone = || Arc::new(RedisError::from((::redis::ErrorKind::Io, "the connection is closed")));
        self.calls.send(Call { commands, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

async fn run(mut calls: mpsc::Receiver<Call>, connection: MultiplexedConnection, latency: Histogram) {
    let mut sent = FuturesUnordered::new();
    // A call that did not fit into the previous write.
    let mut next = None;
    loop {
        let room = sent.len() < UNANSWERED;
        // Both branches are cancel-safe: pending replies are kept in a variable, and `recv` loses nothing.
        tokio::select! {
            Some(first) = waiting(&mut next, &mut calls), if room => {
                others_first().await;
                let batch = Batch::of(first, &mut calls, &mut next);
                if !batch.callers.is_empty() {
                    sent.push(batch.send(connection.clone(), latency.clone()));
                }
            }
            Some(()) = sent.next() => {}
            else => return,
        }
    }
}

async fn waiting(next: &mut Option<Call>, calls: &mut mpsc::Receiver<Call>) -> Option<Call> {
    match next.take() {
        Some(call) => Some(call),
        None => calls.recv().await,
    }
}

/// Lets every ready task run.
async fn others_first() {
    let mut yielded = false;
    // Tokio puts a task that wakes itself behind all others. Its own `yield_now` would wait for the next look at
    // sockets and timers, too.
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Calls of one write.
#[derive(Default)]
struct Batch {
    commands: Pipeline,
    /// Callers, with the number of replies for each, in order.
    callers: Vec<(usize, oneshot::Sender<Answer>)>,
}

impl Batch {
    /// Returns the first call and the queued calls that fit; `next` is the first one that does not.
    fn of(first: Call, calls: &mut mpsc::Receiver<Call>, next: &mut Option<Call>) -> Self {
        let mut batch = Self::default();
        batch.add(first);
        while let Ok(call) = calls.try_recv() {
            if batch.commands.len() + call.commands.len() > MOST {
                *next = Some(call);
                break;
            }
            batch.add(call);
        }
        batch
    }

    fn add(&mut self, call: Call) {
        // The caller has timed out, and may have acted on that.
        if call.answer.is_closed() {
            return;
        }
        self.callers.push((call.commands.len(), call.answer));
        for command in call.commands {
            self.commands.add_command(command);
        }
    }

    async fn send(self, mut connection: MultiplexedConnection, latency: Histogram) {
        let Self { commands, callers } = self;
        let begun = Instant::now();
        let replies = connection.send_packed_commands(&commands, 0, commands.len()).await;
        latency.observe(begun.elapsed().as_secs_f64());
        let mut replies = match replies {
            Ok(replies) => Ok(replies.into_iter()),
            Err(error) => Err(Arc::new(error)),
        };
        for (count, caller) in callers {
            // The caller may have timed out.
            let _ = caller.send(match &mut replies {
                Ok(replies) => Ok(replies.take(count).collect()),
                Err(error) => Err(Arc::clone(error)),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, IoSlice};
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Context;

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

    use super::*;

    const CALLS: usize = 50;

    /// A socket that counts what is written to it.
    struct Counting(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Counting {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Counting {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_write(cx, buf)
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    /// Replies to each `GET k<number>` with the number.
    async fn redis(mut socket: DuplexStream) {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = socket.read(&mut buffer).await.unwrap();
            if read == 0 {
                return;
            }
            let text = String::from_utf8_lossy(&buffer[..read]);
            let keys = text.lines().filter_map(|line| line.strip_prefix('k'));
            let answer = keys.map(|number| format!(":{number}\r\n")).collect::<Vec<_>>().concat();
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    fn get(number: usize) -> Cmd {
        let mut command = ::redis::cmd("GET");
        command.arg(format!("k{number}"));
        command
    }

    /// Hands a connection to a stand-in for Redis to the work, and answers how many writes that came to.
    async fn writes<F: Future<Output = ()>>(work: impl FnOnce(Batcher) -> F) -> usize {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let writes = Arc::new(AtomicUsize::new(0));
        let redis = tokio::spawn(redis(theirs));
        // Kept for ever, since the driver borrows it.
        let info = Box::leak(Box::new(::redis::RedisConnectionInfo::default().set_skip_set_lib_name()));
        let counting = Counting(ours, Arc::clone(&writes));
        let (connection, driver) = MultiplexedConnection::new(info, counting).await.unwrap();
        let driver = tokio::spawn(driver);
        let before = writes.load(Ordering::Relaxed);
        work(Batcher::new(connection, Histogram::new([]))).await;
        // The end of the last handle is the end of the connection.
        driver.await.unwrap();
        redis.await.unwrap();
        writes.load(Ordering::Relaxed) - before
    }

    async fn call_from_many_tasks(batcher: Batcher) {
        let calls = (0..CALLS).map(|number| {
            let batcher = batcher.clone();
            tokio::spawn(async move { (number, batcher.call(vec![get(number), get(1000)]).await) })
        });
        for call in join_all(calls.collect::<Vec<_>>()).await {
            let (number, answer) = call.unwrap();
            let number = i64::try_from(number).unwrap();
            assert_eq!(answer.unwrap(), [Value::Int(number), Value::Int(1000)]);
        }
    }

    // With a worker: there, a task that was woken by another runs before those that wait in line.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn calls_of_many_tasks_leave_in_one_write_and_each_has_its_own_answer() {
        let writes = tokio::spawn(writes(call_from_many_tasks)).await.unwrap();
        assert_eq!(writes, 1);
    }

    /// Returns how many commands of how many callers leave together, of calls of so many commands that wait.
    async fn together(waiting: &[(usize, bool)]) -> Vec<(usize, usize)> {
        let (sender, mut calls) = mpsc::channel(WAITING);
        let mut callers = Vec::new();
        for (commands, is_given_up) in waiting {
            let (answer, answered) = oneshot::channel();
            callers.extend((!is_given_up).then_some(answered));
            sender.send(Call { commands: (0..*commands).map(get).collect(), answer }).await.unwrap();
        }
        drop(sender);
        let (mut next, mut all) = (None, Vec::new());
        while let Some(first) = super::waiting(&mut next, &mut calls).await {
            let batch = Batch::of(first, &mut calls, &mut next);
            all.push((batch.commands.len(), batch.callers.len()));
        }
        all
    }

    #[tokio::test]
    async fn a_call_of_many_commands_leaves_alone() {
        let small = (MOST / 4, false);
        let large = (MOST + 1, false);
        assert_eq!(together(&[small; 5]).await, [(MOST, 4), (MOST / 4, 1)]);
        assert_eq!(together(&[small, large, small]).await, [(MOST / 4, 1), (MOST + 1, 1), (MOST / 4, 1)]);
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_before_it_left_is_not_made() {
        assert_eq!(together(&[(1, true), (2, false), (3, true)]).await, [(2, 1)]);
        assert_eq!(together(&[(1, true)]).await, [(0, 0)]);
    }

    #[tokio::test]
    async fn a_write_of_nothing_is_not_made() {
        let writes = writes(async |batcher: Batcher| {
            assert!(batcher.call(vec![get(1)]).now_or_never().is_none());
        });
        assert_eq!(writes.await, 0);
    }
}
