//! Required effects of faults: a run in which a fault had no effect proves nothing, and fails.

use std::fmt;
use std::time::Duration;

use crate::phase::Summary;
use crate::proof::Proof;

/// A required effect of a fault by the end of its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Streams received `shutdown` and ended cleanly.
    Drained,
    /// Streams broke.
    Broken,
    /// Attempts to publish failed.
    Refused,
    /// An event was late by at least this.
    Late(Duration),
    /// Attempts to publish failed, or an event was late by at least this.
    RefusedOrLate(Duration),
    /// One event in ten was late by at least this.
    Slow(Duration),
    /// This number of connections have an unread response.
    Unread(usize),
}

impl Effect {
    /// Looks for the effect in what a phase has counted so far. `unread` is how many connections have an answer that
    /// is not read.
    pub fn proof(self, phase: &Summary, unread: usize) -> Proof {
        let Summary { broken, ended, shutdowns, refused, .. } = *phase;
        let milliseconds = |length: Duration| length.as_secs_f64() * 1000.0;
        let (late, slow) = (phase.delay.max, phase.delay.p90);
        let (holds, found) = match self {
            Self::Drained => {
                (shutdowns > 0 && ended > 0, format!("{shutdowns} received shutdown, {ended} ended cleanly"))
            }
            Self::Broken => (broken > 0, format!("{broken} broke")),
            Self::Refused => (refused > 0, format!("{refused} failed")),
            Self::Late(least) => (late >= milliseconds(least), format!("the latest event by {late:.0} ms")),
            Self::RefusedOrLate(least) => (
                refused > 0 || late >= milliseconds(least),
                format!("{refused} failed, the latest event by {late:.0} ms"),
            ),
            Self::Slow(least) => (slow >= milliseconds(least), format!("p90 {slow:.0} ms")),
            Self::Unread(least) => (unread >= least, format!("{unread} connections")),
        };
        Proof { wanted: self.to_string(), found, holds }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drained => f.write_str("streams that received shutdown and ended"),
            Self::Broken => f.write_str("streams broken"),
            Self::Refused => f.write_str("attempts to publish failed"),
            Self::Late(least) => write!(f, "an event late by {} ms", least.as_millis()),
            Self::RefusedOrLate(least) => {
                write!(f, "attempts to publish failed, or an event late by {} ms", least.as_millis())
            }
            Self::Slow(least) => write!(f, "one event in ten late by {} ms", least.as_millis()),
            Self::Unread(least) => write!(f, "{least} connections with an unread response"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::phase::Phase;

    #[test]
    fn a_phase_in_which_nothing_happened_proves_no_fault_and_one_in_which_it_did_proves_it() {
        let second = Duration::from_secs(1);
        let quiet = Phase::begin("nothing").summary(Instant::now());
        let mut phase = Phase::begin("everything");
        phase.received(2 * second);
        phase.ended(true);
        phase.ended(false);
        phase.count_shutdown();
        phase.refused();
        let all = phase.summary(Instant::now());
        for effect in [
            Effect::Drained,
            Effect::Broken,
            Effect::Refused,
            Effect::Late(second),
            Effect::RefusedOrLate(second),
            Effect::Slow(second),
            Effect::Unread(9),
        ] {
            assert!(!effect.proof(&quiet, 8).holds, "{effect}");
            assert!(effect.proof(&all, 9).holds, "{effect}");
        }
        assert!(!Effect::Late(3 * second).proof(&all, 9).holds);
    }
}
