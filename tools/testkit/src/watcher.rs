//! A client that a task of its own reads all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Step};
use crate::ledger::{Account, Ledger};

/// Reads a client until it is stopped, and keeps its account.
#[derive(Debug)]
pub struct Watcher {
    /// How many events the account has.
    count: Arc<AtomicUsize>,
    /// How many heartbeats came.
    comments: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<(Client, Account)>,
}

impl Watcher {
    /// Starts reading. The stream must not end while it does.
    pub fn start(mut client: Client, mut account: Account) -> Self {
        let (count, comments) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, commented) = (Arc::clone(&count), Arc::clone(&comments));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            while !stopped.is_cancelled() {
                match client.step(Duration::from_millis(100)).await {
                    Step::Event(event) => account.note(&event),
                    Step::Nothing => {}
                    Step::Ended(end) => panic!("the stream ended: {end:?}\n{}", client.story()),
                }
                counted.store(account.count(), Ordering::Relaxed);
                commented.store(usize::try_from(client.comments()).unwrap_or(usize::MAX), Ordering::Relaxed);
            }
            (client, account)
        });
        Self { count, comments, stop, task }
    }

    /// How many events came so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many heartbeats came so far.
    pub fn comments(&self) -> usize {
        self.comments.load(Ordering::Relaxed)
    }

    /// Reads on until all has come that was accepted, and gives client and account back.
    ///
    /// # Panics
    ///
    /// When that is not so within `limit`, or the stream ended.
    pub async fn finish(self, ledger: &Ledger, limit: Duration) -> (Client, Account) {
        let (mut client, mut account) = self.stop().await;
        account.follow(&mut client, ledger, limit).await;
        (client, account)
    }

    /// Stops reading, and gives client and account back.
    ///
    /// # Panics
    ///
    /// When the stream ended.
    pub async fn stop(self) -> (Client, Account) {
        self.stop.cancel();
        self.task.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
    }
}
