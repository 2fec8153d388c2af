//! Handles commands of other nodes on this node's control topic.

use std::sync::Arc;

use bytes::Bytes;
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

/// The task that handles control messages. Ends when it is shut down or dropped, or when the messages end.
#[derive(Debug)]
pub struct ControlTask {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl ControlTask {
    /// Starts to handle `messages`. `supersede` is [`crate::session::Sessions::supersede`]; `end` ends streams.
    pub fn start(
        messages: mpsc::Receiver<Bytes>,
        supersede: Supersede,
        end: End,
        metrics: Arc<ClusterMetrics>,
    ) -> Self {
        let stop = CancellationToken::new();
        let actor = Actor { supersede, end, metrics, malformed: Throttle::default() };
        let token = stop.clone();
        let task = tokio::spawn(async move {
            token.run_until_cancelled(actor.run(messages)).await;
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
    malformed: Throttle,
}

impl Actor {
    async fn run(mut self, mut messages: mpsc::Receiver<Bytes>) {
        while let Some(message) = messages.recv().await {
            self.act(&message);
        }
    }

    fn act(&mut self, message: &[u8]) {
        match Control::parse(message) {
            Ok(Control::Supersede { user, session, epoch }) => {
                let session = SessionKey::new(user, session);
                // A late message is about an earlier claim.
                if (self.supersede)(&session, epoch) {
                    self.metrics.controls_supersede.inc();
                    (self.end)(session, epoch, Ending::Superseded);
                } else {
                    self.metrics.controls_stale.inc();
                }
            }
            Ok(Control::Disconnect { user, session }) => {
                self.metrics.controls_disconnect.inc();
                (self.end)(SessionKey::new(user, session), u64::MAX, Ending::Disconnected);
            }
            Err(error) => {
                self.metrics.controls_malformed.inc();
                if let Some(held_back) = self.malformed.admit() {
                    // The error's text may contain a part of the message, so only its kind is logged.
                    let kind = error.classify();
                    tracing::warn!(
                        ?kind,
                        bytes = message.len(),
                        held_back,
                        "ignored a malformed message on the control topic"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
