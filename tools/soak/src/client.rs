//! One client of a run: an `EventSource`, and the received of its events.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::counts::Counts;
use crate::progress::Progress;
use fanfare_testkit::event_source::{EventSource, GaveUp, SourceEvent};
use fanfare_testkit::numbered::{KIND, Numbered};
use fanfare_testkit::received::ReceivedEvents;
use fanfare_testkit::sse::Block;

/// Result of a client.
#[derive(Debug)]
pub struct ClientRecord {
    /// Record of its events.
    pub received: ReceivedEvents,
    /// Control events and ends of streams.
    pub counts: Counts,
    /// Why it gave up, if it did.
    pub gave_up: Option<GaveUp>,
}

/// Records of a running client.
struct Recorder {
    progress: Arc<Progress>,
    received: ReceivedEvents,
    counts: Counts,
    open: bool,
    has_cursor: bool,
    /// When the last open stream ended.
    ended: Option<Instant>,
}

/// Runs until the client gives up or is stopped.
pub(crate) async fn run(
    mut source: EventSource,
    received: ReceivedEvents,
    progress: Arc<Progress>,
    after: Duration,
    close_clients: CancellationToken,
) -> ClientRecord {
    let mut recorder = Recorder {
        progress,
        received,
        counts: Counts::default(),
        open: false,
        has_cursor: false,
        ended: None,
    };
    let record = async {
        tokio::time::sleep(after).await;
        source.run(|event| recorder.note(&event)).await
    };
    let gave_up = close_clients.run_until_cancelled(record).await;
    if gave_up.is_some() {
        recorder.progress.gave_up();
    }
    if recorder.open {
        recorder.progress.closed();
    }
    ClientRecord { received: recorder.received, counts: recorder.counts, gave_up }
}

impl Recorder {
    fn note(&mut self, event: &SourceEvent<'_>) {
        match event {
            SourceEvent::Connects { again: false } => {}
            SourceEvent::Connects { again: true } => self.progress.reconnects(),
            SourceEvent::Block(block) => self.take(block),
            SourceEvent::Ended { clean } => self.end(*clean),
        }
    }

    fn end(&mut self, clean: bool) {
        let was_open = std::mem::take(&mut self.open);
        if was_open {
            self.progress.closed();
            self.progress.ended(clean);
            self.ended = Some(Instant::now());
        }
        match (was_open, clean) {
            (true, true) => self.counts.ended += 1,
            (true, false) => self.counts.broken += 1,
            (false, false) => self.counts.failed += 1,
            // An `overloaded` event.
            (false, true) => {}
        }
    }

    fn take(&mut self, block: &Block) {
        // Only a client that is turned away before its first stream has no cursor.
        self.has_cursor |= block.has_id || block.kind == "connected";
        if block.data.is_none() || (self.has_cursor && !block.has_id) {
            self.counts.misread += 1;
        }
        let counts = match block.kind.as_str() {
            // Not a stream yet: the answer of a node that does not want one.
            "overloaded" => {
                self.counts.overloaded += 1;
                return;
            }
            "gap" => Some(&mut self.counts.gaps),
            "shutdown" => {
                self.progress.count_shutdown();
                Some(&mut self.counts.shutdowns)
            }
            "superseded" => Some(&mut self.counts.superseded),
            _ => None,
        };
        if let Some(counts) = counts {
            *counts += 1;
        }
        if !self.open && block.kind == "connected" {
            self.open = true;
            self.progress.opened(self.ended.take().map(|ended| ended.elapsed()));
        }
        if block.kind == KIND
            && let Some(event) = block.data.as_deref().and_then(Numbered::parse)
        {
            let first_time = self.received.take(event.channel, event.number);
            self.progress.took(event.sent, first_time);
        }
    }
}
