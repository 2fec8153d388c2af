//! Drain: all streams of a shard are closed in even waves.

use std::time::Duration;

use fanfare_broker::session::CloseReason;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Shard, Timer};

/// Time between two waves.
const WAVE: Duration = Duration::from_millis(20);

/// A drain in progress.
pub(super) struct Drain {
    begun: Instant,
    until: Instant,
    /// Number of streams at the start, and number of those closed since.
    streams: usize,
    sent: usize,
    /// Dropped with the drain, which notifies the waiting caller.
    _done: mpsc::Sender<()>,
}

impl Drain {
    /// Returns the number of streams that must be closed by now.
    fn due(&self) -> usize {
        let window = self.until.duration_since(self.begun).as_secs_f64();
        let elapsed = self.begun.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "far fewer streams than a double counts exactly")]
        let due = self.streams as f64 * (elapsed / window);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and `streams`"
        )]
        let due = due.ceil() as usize;
        due.saturating_sub(self.sent)
    }
}

impl Shard {
    /// Starts to close all streams, evenly until a moment.
    pub(super) fn begin_drain(&mut self, until: Instant, done: mpsc::Sender<()>) {
        let streams = self.slots.iter().filter(|(_, slot)| slot.connection.is_open()).count();
        self.draining = Some(Drain { begun: Instant::now(), until, streams, sent: 0, _done: done });
        self.wave();
    }

    /// Closes the streams that are due.
    pub(super) fn wave(&mut self) {
        let Some(drain) = &mut self.draining else { return };
        let over = Instant::now() >= drain.until;
        let due = if over { usize::MAX } else { drain.due() };
        let open = self.slots.iter().filter(|(_, slot)| slot.connection.is_open());
        let keys: Vec<usize> = open.take(due).map(|(key, _)| key).collect();
        drain.sent += keys.len();
        for key in keys {
            self.begin_end(key, CloseReason::Shutdown);
        }
        let left = self.slots.iter().any(|(_, slot)| slot.connection.is_open());
        if over || !left {
            self.draining = None;
        } else {
            self.timers.insert(Timer::Wave, WAVE);
        }
    }
}
