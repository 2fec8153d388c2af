//! Handles commands of other nodes on this node's control topic.

use std::sync::Arc;

use fanfare_protocol::SessionKey;
use fanfare_protocol::session::Control;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::ending::Ending;
use crate::metrics::cluster::ClusterMetrics;
use crate::session::End;
use crate::throttle::Throttle;

/// Records that another node claimed a session with an epoch. Returns whether a stream of this node must end.
pub type Supersede = Arc<dyn Fn(&SessionKey, u64) -> bool + Send + Sync>;

/// How many commands may wait.
const QUEUE: usize = 1024;

/// The way from the control topic to the [`ControlTask`]. Bounded in bytes as well as in number: only commands wait, whose
/// length is bounded.
#[derive(Debug)]
pub struct Commands {
    queue: mpsc::Sender<Control>,
    metrics: Arc<ClusterMetrics>,
    malformed: Throttle,
    dropped: Throttle,
}

/// The commands that wait for the [`ControlTask`].
#[derive(Debug)]
pub struct Waiting(mpsc::Receiver<Control>);

/// Returns both ends of a queue of commands.
pub fn queue(metrics: &Arc<ClusterMetrics>) -> (Commands, Waiting) {
    let (queue, waiting) = mpsc::channel(QUEUE);
    let (malformed, dropped) = (Throttle::of_a_condition(), Throttle::of_a_condition());
    (Commands { queue, metrics: Arc::clone(metrics), malformed, dropped }, Waiting(waiting))
}

impl Commands {
    /// Takes a message of the control topic. One that is not a command, or finds the queue full, is dropped and counted.
    pub fn offer(&self, message: &[u8]) {
        let command = match Control::parse(message) {
            Ok(command) => command,
            Err(error) => {
                self.metrics.controls_malformed.inc();
                if let Some(held_back) = self.malformed.admit() {
                    let (reason, bytes) = (error.reason(), message.len());
                    tracing::warn!(
                        reason,
                        bytes,
                        held_back,
                        "dropped a malformed message on the control topic"
                    );
                }
                return;
            }
        };
        if self.queue.try_send(command).is_err() {
            self.metrics.controls_dropped.inc();
            if let Some(held_back) = self.dropped.admit() {
                tracing::warn!(held_back, "dropped control commands: queue full");
            }
        }
    }
}

/// The task that acts on commands. Ends when it is shut down or dropped, or the commands end.
#[derive(Debug)]
pub struct ControlTask {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl ControlTask {
    /// Starts acting on commands. `supersede` is [`crate::session::Sessions::supersede`]; `end` ends streams.
    pub fn start(waiting: Waiting, supersede: Supersede, end: End, metrics: Arc<ClusterMetrics>) -> Self {
        let stop = CancellationToken::new();
        let actor = Actor { supersede, end, metrics };
        let token = stop.clone();
        let task = tokio::spawn(async move {
            token.run_until_cancelled(actor.run(waiting)).await;
        });
        Self { stop: stop.drop_guard(), task }
    }

    /// Ends the task. Queued messages are dropped.
    pub async fn shutdown(self) {
        let Self { stop, task } = self;
        drop(stop);
        let _ = task.await;
    }
}

struct Actor {
    supersede: Supersede,
    end: End,
    metrics: Arc<ClusterMetrics>,
}

impl Actor {
    async fn run(self, mut waiting: Waiting) {
        while let Some(command) = waiting.0.recv().await {
            self.act(command);
        }
    }

    fn act(&self, command: Control) {
        match command {
            Control::Supersede { user, session, epoch } => {
                let session = SessionKey::new(user, session);
                // A late message is about an earlier claim.
                if (self.supersede)(&session, epoch) {
                    self.metrics.controls_supersede.inc();
                    (self.end)(session, epoch, Ending::Superseded);
                } else {
                    self.metrics.controls_stale.inc();
                }
            }
            Control::Disconnect { user, session } => {
                self.metrics.controls_disconnect.inc();
                (self.end)(SessionKey::new(user, session), u64::MAX, Ending::Disconnected);
            }
        }
    }
}

#[cfg(test)]
mod tests;
