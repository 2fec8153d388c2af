//! Stalls of this machine itself, without a server: other processes may use the processor.

use std::thread;
use std::time::{Duration, Instant};

use crate::table::core::Core;

/// A loop that only reads the clock takes far less for a turn. What takes longer stood still.
const STILL: Duration = Duration::from_micros(20);

/// The stalls of both cores while both are at work.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    looked: Duration,
    stalls: Vec<Duration>,
}

impl Stalls {
    /// Reads the clock on both cores at once, and nothing else.
    pub(super) fn look(window: Duration) -> anyhow::Result<Self> {
        let cores = [Core::Server, Core::Load].map(|core| {
            thread::spawn(move || {
                core.pin()?;
                Ok::<_, anyhow::Error>(Self::look_here(window))
            })
        });
        let mut all = Self::default();
        for core in cores {
            let Self { looked, stalls } =
                core.join().map_err(|_| anyhow::anyhow!("a thread that read the clock failed"))??;
            all.looked += looked;
            all.stalls.extend(stalls);
        }
        Ok(all)
    }

    fn look_here(window: Duration) -> Self {
        let begun = Instant::now();
        let (mut last, mut stalls) = (begun, Vec::new());
        while last - begun < window {
            let now = Instant::now();
            if now - last > STILL {
                stalls.push(now - last);
            }
            last = now;
        }
        Self { looked: last - begun, stalls }
    }

    /// By how much something that is due at any moment is late, but for the part `rest` of all moments: within a
    /// stall, it waits for the end of it.
    pub(super) fn late(&self, rest: f64) -> Duration {
        let later_than = |wait: Duration| -> f64 {
            let late: Duration = self.stalls.iter().map(|stall| stall.saturating_sub(wait)).sum();
            late.as_secs_f64() / self.looked.as_secs_f64()
        };
        let longest = self.stalls.iter().max().copied().unwrap_or_default();
        let (mut low, mut high) = (Duration::ZERO, longest);
        // Each turn halves what is between them: to less than a microsecond.
        for _ in 0..32 {
            let middle = (low + high) / 2;
            if later_than(middle) > rest { low = middle } else { high = middle }
        }
        high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn about(found: Duration, wanted: Duration) {
        assert!(found.abs_diff(wanted) <= Duration::from_micros(2), "{found:?}, not {wanted:?}");
    }

    #[test]
    fn of_a_stall_the_moments_at_its_beginning_are_the_latest() {
        // 4 % of the time; 1 % of all moments are in the first quarter of it.
        let one = Stalls { looked: 100 * MS, stalls: vec![4 * MS] };
        about(one.late(0.01), 3 * MS);
        about(one.late(0.04), Duration::ZERO);
        about(one.late(0.5), Duration::ZERO);
        let two = Stalls { looked: 200 * MS, stalls: vec![4 * MS, 4 * MS] };
        about(two.late(0.01), 3 * MS);
        assert_eq!(Stalls { looked: MS, stalls: Vec::new() }.late(0.01), Duration::ZERO);
    }
}
