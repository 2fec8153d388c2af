//! Publishes numbered events at a steady pace, and enters into the ledger what was accepted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::publish_client::{Publication, PublishClient};
use fanfare_testkit::numbered::Numbered;

/// How many publish at once. Each has channels of its own, so that a channel's events go one after another.
const PUBLISHERS: usize = 32;
/// How long to wait after an attempt that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// What the publishers need.
#[derive(Debug)]
pub(crate) struct PublisherPool {
    pub(crate) plan: Arc<Plan>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) progress: Arc<Progress>,
    /// Events a second, from all together.
    pub(crate) rate: f64,
    /// Bytes of data in each event.
    pub(crate) size: usize,
    /// No event is begun any more; the one in hand is brought to its end.
    pub(crate) stop: CancellationToken,
    /// The one in hand is left with its outcome unknown.
    pub(crate) abandon: CancellationToken,
    /// The last thing that went wrong.
    pub(crate) last_error: Mutex<Option<String>>,
}

impl PublisherPool {
    /// Starts all of them. `publish_client` makes the connections of one.
    pub(crate) fn open(self: &Arc<Self>, publish_client: impl Fn(usize) -> PublishClient) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let publishers = PUBLISHERS.min(self.plan.channels.len());
        for number in 0..publishers {
            let publisher = Publisher {
                pool: Arc::clone(self),
                publish_client: publish_client(number),
                shared: (number..self.plan.shared).step_by(publishers).collect(),
                private: (self.plan.shared + number..self.plan.channels.len()).step_by(publishers).collect(),
            };
            tasks.spawn(publisher.run(number, publishers));
        }
        tasks
    }

    fn failed(&self, error: String) {
        self.progress.publish_failed();
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// One publisher.
struct Publisher {
    pool: Arc<PublisherPool>,
    publish_client: PublishClient,
    /// Its channels that are shared; may be none.
    shared: Vec<usize>,
    /// Its channels of single users; may be none.
    private: Vec<usize>,
}

impl Publisher {
    async fn run(mut self, number: usize, publishers: usize) {
        #[allow(clippy::cast_precision_loss)]
        let every = Duration::from_secs_f64(publishers as f64 / self.pool.rate);
        // The publishers take turns.
        #[allow(clippy::cast_precision_loss)]
        let first = Instant::now() + every.mul_f64(number as f64 / publishers as f64);
        let mut pace = tokio::time::interval_at(first, every);
        // After an outage it goes on at its pace. What was not published then is not made up for.
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let stop = self.pool.stop.clone();
        for turn in 0_usize.. {
            if stop.run_until_cancelled(pace.tick()).await.is_none() {
                return;
            }
            if let Some(channel) = self.channel(turn) {
                self.publish(channel).await;
            }
        }
    }

    /// Shared and private channels by turns, while there are both.
    fn channel(&self, turn: usize) -> Option<usize> {
        let (one, other) = if turn.is_multiple_of(2) {
            (&self.shared, &self.private)
        } else {
            (&self.private, &self.shared)
        };
        let from = if one.is_empty() { other } else { one };
        from.get(turn / 2 % from.len().max(1)).copied()
    }

    /// One event, until it is known to be accepted.
    async fn publish(&mut self, number: usize) {
        let Self { pool, publish_client, .. } = self;
        let PublisherPool { plan, ledger, progress, size, abandon, .. } = &**pool;
        let channel = &plan.channels[number];
        let event = ledger.draw(number);
        let key = format!("{}-{event}", plan.run);
        loop {
            // The attempt that is kept says when it was made.
            let data = Numbered { channel: number, number: event, sent: progress.elapsed() }.data(*size);
            let publication = Publication { channel: &channel.name, data: &data, key: &key };
            match abandon.run_until_cancelled(publish_client.publish(channel.way, publication)).await {
                Some(Ok(())) => return ledger.accept(number),
                Some(Err(error)) => pool.failed(error),
                None => return,
            }
            if abandon.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }
}
