//! Reads the log of revocations.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfare_broker::BrokerError;
use fanfare_broker::credential_store::{Append, Appended, RevocationEntry};
use fanfare_protocol::Position;
use fanfare_protocol::revocation::{RevocationSet, Revoked};
use fanfare_telemetry::Throttle;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Revocations, Shared};

/// Number of entries that are read or written at once.
const PAGE: usize = 1000;
/// Minimum time between two rounds, so that a flood of revocations does not cause a flood of reads and checks.
const PAUSE: Duration = Duration::from_millis(20);
/// Interval at which old revocations are forgotten.
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// Ends the streams of this node whose tokens are revoked. The hub does, which knows the streams.
pub type CheckTokens = Arc<dyn Fn() + Send + Sync>;

/// The task that reads the log. Ends when it is shut down or dropped.
#[derive(Debug)]
pub struct RevocationReader {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl RevocationReader {
    /// Starts the task, which fills `revocations`.
    pub fn start(revocations: &Revocations, check_tokens: CheckTokens) -> Self {
        let stop = CancellationToken::new();
        let reader = Reader {
            shared: Arc::clone(&revocations.shared),
            check_tokens,
            cursor: Position::ZERO,
            forgotten: Instant::now(),
            log: Throttle::of_a_condition(),
        };
        let token = stop.clone();
        let task = tokio::spawn(async move {
            // A cancelled round changes nothing that the next process needs.
            token.run_until_cancelled(reader.run()).await;
        });
        Self { stop: stop.drop_guard(), task }
    }

    /// Ends the task.
    pub async fn shutdown(self) {
        let Self { stop, task } = self;
        drop(stop);
        let _ = task.await;
    }
}

struct Reader {
    shared: Arc<Shared>,
    check_tokens: CheckTokens,
    /// The last entry that was read; zero if none was.
    cursor: Position,
    /// When old revocations were last forgotten.
    forgotten: Instant,
    log: Throttle,
}

impl Reader {
    async fn run(mut self) {
        loop {
            match self.read().await {
                Ok(()) => self.shared.loaded.store(true, Ordering::Release),
                Err(error) => self.failed(&error),
            }
            if self.shared.added.swap(false, Ordering::AcqRel) {
                (self.check_tokens)();
            }
            self.forget();
            tokio::time::sleep(PAUSE).await;
            // A wake-up of the pause is kept.
            let _ = tokio::time::timeout(self.shared.settings.interval, self.shared.wake.notified()).await;
        }
    }

    /// Reads the entries after the cursor. The entry at the cursor is read again: if it is gone, the log lost entries.
    async fn read(&mut self) -> Result<(), BrokerError> {
        loop {
            let page = self.shared.broker.revocations(self.cursor, PAGE).await?;
            let first = page.first().map(|(position, _)| *position);
            if self.cursor != Position::ZERO && first != Some(self.cursor) {
                return self.restore().await;
            }
            let is_full = page.len() == PAGE;
            self.cursor = page.last().map_or(self.cursor, |(position, _)| *position);
            self.add(page).for_each(drop);
            if !is_full {
                return Ok(());
            }
        }
    }

    /// Reads the whole log, and appends what this node knows and the log lacks. Of several nodes, one appends at a time:
    /// the others read its entries first.
    async fn restore(&mut self) -> Result<(), BrokerError> {
        let (mut logged, mut last) = (RevocationSet::default(), Position::ZERO);
        loop {
            while let Some(from) = last.next() {
                let page = self.shared.broker.revocations(from, PAGE).await?;
                let Some((position, _)) = page.last() else { break };
                last = *position;
                self.add(page).for_each(|revoked| {
                    logged.add(&revoked);
                });
            }
            let lost = self.lost(&logged);
            if lost.is_empty() {
                break;
            }
            let limit = self.shared.settings.limit;
            let append = Append { limit, keep: self.shared.settings.keep, after: Some(last) };
            match self.shared.broker.revoke(&lost, append).await? {
                Appended::Done(position) => {
                    last = position;
                    self.shared.metrics.restored.inc_by(lost.len() as u64);
                    tracing::warn!(revocations = lost.len(), "restored revocations that Redis had lost");
                    for revoked in &lost {
                        logged.add(revoked);
                    }
                }
                Appended::Moved => {}
                Appended::Full => {
                    if let Some(held_back) = self.log.admit() {
                        tracing::error!(
                            limit,
                            held_back,
                            "cannot restore revocations: too many (auth.revocations)"
                        );
                    }
                    break;
                }
            }
        }
        self.cursor = last;
        Ok(())
    }

    /// Returns revocations that are in force and not logged, at most a page.
    fn lost(&self, logged: &RevocationSet) -> Vec<Revoked> {
        let oldest = self.shared.oldest();
        self.shared.read(|set| {
            let lost =
                set.iter().filter(|revoked| revoked.at >= oldest && !logged.contains(&revoked.revocation));
            lost.take(PAGE).collect()
        })
    }

    /// Adds the entries of a page, and returns their revocations.
    fn add(&self, page: Vec<RevocationEntry>) -> impl Iterator<Item = Revoked> {
        page.into_iter().filter_map(|(_, revoked)| {
            match &revoked {
                Some(revoked) => self.shared.add(revoked),
                None => {
                    self.shared.metrics.malformed.inc();
                }
            }
            revoked
        })
    }

    fn forget(&mut self) {
        if self.forgotten.elapsed() >= FORGET_EVERY {
            self.forgotten = Instant::now();
            let oldest = self.shared.oldest();
            self.shared.change(|set| set.forget_before(oldest));
        }
    }

    fn failed(&self, error: &BrokerError) {
        self.shared.metrics.read_failures.inc();
        if let Some(held_back) = self.log.admit() {
            let known = self.shared.read(RevocationSet::len);
            tracing::warn!(%error, known, held_back, "failed to read revocations; keeping the known ones");
        }
    }
}
