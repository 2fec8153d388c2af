//! A task that runs once a second.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Interval. The bucket of a rate is full again after a second at the latest.
const EVERY: Duration = Duration::from_secs(1);

/// The task. Ends when it is shut down or dropped.
#[derive(Debug)]
pub(crate) struct Upkeep {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Upkeep {
    /// Starts the task.
    pub(crate) fn start(work: impl Fn() + Send + 'static) -> Self {
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            // A lost tick has no effect.
            while token.run_until_cancelled(ticks.tick()).await.is_some() {
                work();
            }
        });
        Self { stop: stop.drop_guard(), task }
    }

    /// Ends the task.
    pub(crate) async fn shutdown(self) {
        let Self { stop, task } = self;
        drop(stop);
        let _ = task.await;
    }
}
