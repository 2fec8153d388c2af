//! When a call that failed is repeated.

use std::time::Duration;

use fanfare_client::Error;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::display::visible;

/// Pause after the first failure; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// Maximum pause.
const LONGEST: Duration = Duration::from_secs(5);
/// How long a server may be away.
const AWAY: Duration = Duration::from_mins(5);
/// How long it may be away once the command was interrupted.
const INTERRUPTED: Duration = Duration::from_secs(5);

/// Patience with a server that is away. Ends with the first success.
pub(super) struct Patience {
    until: Instant,
    pause: Duration,
    interrupt: CancellationToken,
}

impl Patience {
    /// Begins one call.
    pub(super) fn new(interrupt: &CancellationToken) -> Self {
        let most = if interrupt.is_cancelled() { INTERRUPTED } else { AWAY };
        Self { until: Instant::now() + most, pause: FIRST, interrupt: interrupt.clone() }
    }

    /// Waits after a failure, until the call is repeated.
    ///
    /// # Errors
    ///
    /// Fails with the failure if repeating the call does not help, or if the server was away for too long.
    pub(super) async fn after(&mut self, error: Error) -> Result<(), Error> {
        if !error.is_temporary() || Instant::now() >= self.until {
            return Err(error);
        }
        if self.pause == FIRST {
            eprintln!("fanfare: {}; trying again", visible(&error.to_string()));
        }
        // A part of the pause is random, so that many clients do not come back at once.
        let pause = self.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.pause = (self.pause * 2).min(LONGEST);
        let was_interrupted = self.interrupt.is_cancelled();
        tokio::select! {
            () = sleep(pause) => {}
            () = self.interrupt.cancelled(), if !was_interrupted => self.until = Instant::now() + INTERRUPTED,
        }
        Ok(())
    }
}
