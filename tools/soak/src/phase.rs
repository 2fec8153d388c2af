//! A phase of a run, with its counts and delays.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;

use crate::proof::Proof;

/// Slice of time in which reconnects are counted.
pub const SLICE: Duration = Duration::from_millis(100);

/// The longest delay that is told from longer ones: a day, in microseconds.
const LONGEST: u64 = 24 * 3600 * 1_000_000;

/// Counts of a running phase.
#[derive(Debug)]
pub struct Phase {
    label: String,
    from: Instant,
    /// Time from publish to receipt of every received event.
    delays: Histogram<u64>,
    /// Time from the end of one stream to the first block of the next, of every reconnected client.
    outages: Histogram<u64>,
    /// Times of reconnects since the start of the phase, one for each attempt.
    reconnects: Vec<Duration>,
    ended: u64,
    broken: u64,
    shutdowns: u64,
    refused: u64,
    proofs: Vec<Proof>,
}

/// Summary of a phase. Times are milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What happened in it.
    pub label: String,
    /// How long it lasted.
    pub lasted: f64,
    /// How many events clients received.
    pub received: u64,
    /// From publish to receipt.
    pub delay: Spread,
    /// How many clients came back.
    pub outages: u64,
    /// From the end of one stream to the first block of the next.
    pub outage: Spread,
    /// How often clients connected again, attempts that failed included.
    pub reconnects: usize,
    /// Those in each 100 ms, from the first to the last.
    pub reconnects_per_100_ms: Vec<usize>,
    /// The fullest 100 ms against the even share; zero without reconnects.
    pub peak: f64,
    /// Streams that ended cleanly.
    pub ended: u64,
    /// Streams that broke.
    pub broken: u64,
    /// Number of `shutdown` events.
    pub shutdowns: u64,
    /// Attempts to publish that failed.
    pub refused: u64,
    /// Required effects of its faults.
    pub proofs: Vec<Proof>,
}

/// How long some things took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Spread {
    /// Half took no longer.
    pub p50: f64,
    /// Nine of ten took no longer.
    pub p90: f64,
    /// All but one of a hundred took no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Spread {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |micros| milliseconds(Duration::from_micros(micros));
        let part = |part| at(histogram.value_at_quantile(part));
        Self { p50: part(0.5), p90: part(0.9), p99: part(0.99), max: at(histogram.max()) }
    }
}

impl Phase {
    /// One that begins now.
    pub fn begin(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            from: Instant::now(),
            delays: histogram(),
            outages: histogram(),
            reconnects: Vec::new(),
            ended: 0,
            broken: 0,
            shutdowns: 0,
            refused: 0,
            proofs: Vec::new(),
        }
    }

    /// An event came.
    pub fn received(&mut self, delay: Duration) {
        self.delays.saturating_record(microseconds(delay));
    }

    /// A client is back.
    pub fn back(&mut self, outage: Duration) {
        self.outages.saturating_record(microseconds(outage));
    }

    /// A client connects again.
    pub fn reconnects(&mut self) {
        self.reconnects.push(self.from.elapsed());
    }

    /// An open stream has ended.
    pub fn ended(&mut self, clean: bool) {
        let count = if clean { &mut self.ended } else { &mut self.broken };
        *count += 1;
    }

    /// Counts a `shutdown` event.
    pub fn count_shutdown(&mut self) {
        self.shutdowns += 1;
    }

    /// An attempt to publish has failed.
    pub fn refused(&mut self) {
        self.refused += 1;
    }

    /// Records whether a fault of the phase had its required effect.
    pub fn prove(&mut self, proof: Proof) {
        self.proofs.push(proof);
    }

    /// Returns the summary of the phase if it ends at `end`.
    pub fn summary(&self, end: Instant) -> Summary {
        let slices = slices(&self.reconnects);
        Summary {
            label: self.label.clone(),
            lasted: milliseconds(end - self.from),
            received: self.delays.len(),
            delay: Spread::of(&self.delays),
            outages: self.outages.len(),
            outage: Spread::of(&self.outages),
            reconnects: self.reconnects.len(),
            peak: peak(&slices),
            reconnects_per_100_ms: slices,
            ended: self.ended,
            broken: self.broken,
            shutdowns: self.shutdowns,
            refused: self.refused,
            proofs: self.proofs.clone(),
        }
    }

    /// When it began.
    pub fn from(&self) -> Instant {
        self.from
    }
}

/// Returns how many fall into each slice, from the first to the last.
fn slices(times: &[Duration]) -> Vec<usize> {
    let Some(first) = times.iter().min() else { return Vec::new() };
    let mut slices = Vec::new();
    for time in times {
        let at = usize::try_from(time.saturating_sub(*first).as_millis() / SLICE.as_millis())
            .unwrap_or(usize::MAX);
        if slices.len() <= at {
            slices.resize(at + 1, 0);
        }
        slices[at] += 1;
    }
    slices
}

#[allow(clippy::cast_precision_loss)]
fn peak(slices: &[usize]) -> f64 {
    let all: usize = slices.iter().sum();
    let fullest = slices.iter().max().copied().unwrap_or_default();
    if all == 0 { 0.0 } else { fullest as f64 * slices.len() as f64 / all as f64 }
}

/// Returns a histogram of microseconds, exact to a hundredth.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LONGEST, 2).expect("the bounds are valid")
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_measured_between_its_first_and_last_reconnect() {
        let times = [5050, 5000, 5149, 5150, 5399].map(Duration::from_millis);
        assert_eq!(slices(&times), [2, 2, 0, 1]);
        assert!((peak(&[2, 2, 0, 1]) - 1.6).abs() < 1e-9);
        assert!(slices(&[]).is_empty() && peak(&[]).abs() < 1e-9);
    }
}
