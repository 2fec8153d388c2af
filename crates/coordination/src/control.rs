//! Handles commands of other nodes on this node's control topic.

use std::sync::Arc;

use fanfare_broker::session::CloseReason;
use fanfare_protocol::SessionKey;
use fanfare_protocol::session::Control;
use fanfare_telemetry::Throttle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::metrics::ClusterMetrics;
use crate::revocations::Revocations;
use crate::revocations::stream_token::StreamTokens;
use crate::session::{EndStream, Sessions};

/// Maximum number of queued commands.
const QUEUE: usize = 1024;

/// The sending half of the queue of commands. The queue is also bounded in bytes, since the length of a command is
/// bounded.
#[derive(Debug)]
pub struct CommandSender {
    queue: mpsc::Sender<Control>,
    metrics: Arc<ClusterMetrics>,
    malformed: Throttle,
    dropped: Throttle,
}

/// The receiving half of the queue of commands, for the [`ControlTask`].
#[derive(Debug)]
pub struct CommandReceiver(mpsc::Receiver<Control>);

/// Returns both ends of a queue of commands.
pub fn queue(metrics: &Arc<ClusterMetrics>) -> (CommandSender, CommandReceiver) {
    let (queue, waiting) = mpsc::channel(QUEUE);
    let (malformed, dropped) = (Throttle::of_a_condition(), Throttle::of_a_condition());
    (CommandSender { queue, metrics: Arc::clone(metrics), malformed, dropped }, CommandReceiver(waiting))
}

impl CommandSender {
    /// Queues a message of the control topic. A malformed message, or a command for which the queue has no room, is dropped
    /// and counted.
    pub fn push(&self, message: &[u8]) {
        let command = match Control::parse(message) {
            Ok(command) => command,
            Err(error) => {
                self.metrics.controls_malformed.inc();
                if let Some(held_back) = self.malformed.admit() {
                    let (reason, bytes) = (error.reason(), message.len());
                    tracing::warn!(reason, bytes, held_back, "dropped malformed control message");
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

/// The task that handles commands. Ends when it is shut down or dropped, or its queue is closed.
#[derive(Debug)]
pub struct ControlTask {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl ControlTask {
    /// Starts the task. Claims of other nodes are recorded in `sessions`; `end` ends streams; `tokens` replaces the tokens of
    /// streams, and `revocations` are read when another node has added some.
    pub fn start(
        waiting: CommandReceiver,
        sessions: Sessions,
        end: EndStream,
        (tokens, revocations): (StreamTokens, Revocations),
        metrics: Arc<ClusterMetrics>,
    ) -> Self {
        let stop = CancellationToken::new();
        let actor = Actor { sessions, end, tokens, revocations, metrics };
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
    sessions: Sessions,
    end: EndStream,
    tokens: StreamTokens,
    revocations: Revocations,
    metrics: Arc<ClusterMetrics>,
}

impl Actor {
    async fn run(self, mut waiting: CommandReceiver) {
        while let Some(command) = waiting.0.recv().await {
            self.act(command);
        }
    }

    fn act(&self, command: Control) {
        match command {
            Control::Supersede { user, session, epoch } => {
                let session = SessionKey::new(user, session);
                // A late message is about an earlier claim.
                if self.sessions.supersede(&session, epoch) {
                    self.metrics.controls_supersede.inc();
                    (self.end)(session, epoch, CloseReason::Superseded);
                } else {
                    self.metrics.controls_stale.inc();
                }
            }
            Control::Disconnect { user, session } => {
                self.metrics.controls_disconnect.inc();
                (self.end)(SessionKey::new(user, session), u64::MAX, CloseReason::Disconnected);
            }
            Control::ReplaceToken { user, session, token } => {
                self.metrics.controls_replace_token.inc();
                self.tokens.replace_here(SessionKey::new(user, session), token);
            }
            Control::ReadRevocations {} => {
                self.metrics.controls_read_revocations.inc();
                self.revocations.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests;
