//! The targets of the figures, and whether they are met.

use super::results::{Figure, Results, Spread, ours};

/// With what a figure is compared.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// One threshold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Threshold {
    /// What it says, in words.
    pub(super) what: &'static str,
    figure: Figure<'static>,
    /// What the figure is divided by, of the same run.
    by: Option<Figure<'static>>,
    bound: Bound,
    /// What is multiplied: `× baseline`, or a unit.
    unit: &'static str,
}

/// A threshold with what was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) found: Spread,
    pub(super) met: bool,
}

impl Threshold {
    /// Returns the bound in words.
    pub(super) fn bound(&self) -> String {
        let (sign, bound) = match self.bound {
            Bound::AtMost(most) => ("≤", most),
            Bound::AtLeast(least) => ("≥", least),
        };
        format!("{sign} {} {}", super::number::number(bound), self.unit)
    }

    /// Holds the median against the bound; none while nothing was measured.
    pub(super) fn judge(&self, results: &Results) -> Option<Verdict> {
        let found = match self.by {
            None => results.figure(self.figure),
            Some(by) => results.ratio(self.figure, by),
        }?;
        let met = match self.bound {
            Bound::AtMost(most) => found.median <= most,
            Bound::AtLeast(least) => found.median >= least,
        };
        Some(Verdict { found, met })
    }

    /// The figure is divided by another.
    const fn by(self, figure: Figure<'static>) -> Self {
        Self { by: Some(figure), ..self }
    }

    /// The figure is divided by the same of another server.
    const fn against(self, server: &'static str) -> Self {
        self.by(self.figure.of(server))
    }

    const fn at_most(self, most: f64, unit: &'static str) -> Self {
        Self { bound: Bound::AtMost(most), unit, ..self }
    }

    const fn at_least(self, least: f64, unit: &'static str) -> Self {
        Self { bound: Bound::AtLeast(least), unit, ..self }
    }
}

/// Returns what is held against a bound that comes next.
const fn threshold(what: &'static str, figure: Figure<'static>) -> Threshold {
    Threshold { what, figure, by: None, bound: Bound::AtMost(f64::INFINITY), unit: "" }
}

/// All of them.
#[rustfmt::skip]
pub(super) const THRESHOLDS: [Threshold; 29] = [
    threshold("broadcast to 5,000, one in flight: CPU per delivery", ours("broadcast", "5,000", "cpu us"))
        .against("baseline").at_most(1.10, "× baseline"),
    threshold("the same: deliveries a second on one core", ours("broadcast", "5,000", "deliveries/s"))
        .against("baseline").at_least(0.9, "× baseline"),
    threshold("broadcast to 1,000, one in flight: CPU per delivery", ours("broadcast", "1,000", "cpu us"))
        .against("baseline").at_most(1.10, "× baseline"),
    threshold("broadcast to 15,000, one in flight: CPU per delivery", ours("broadcast", "15,000", "cpu us"))
        .against("baseline").at_most(1.10, "× baseline"),
    threshold("broadcast to 5,000, 8 in flight: CPU per delivery", ours("batching", "8 in flight", "cpu us"))
        .against("baseline").at_most(0.40, "× baseline"),
    threshold("the same: deliveries a second on one core", ours("batching", "8 in flight", "deliveries/s"))
        .against("baseline").at_least(2.2, "× baseline"),
    threshold("per user through Redis, one in flight: node CPU per event", ours("per-user", "1 in flight", "cpu us"))
        .against("nchan-redis").at_most(0.35, "× nchan with Redis"),
    threshold("the same, 64 in flight", ours("per-user", "64 in flight", "cpu us"))
        .by(ours("per-user", "broadcast", "cpu us").of("baseline")).at_most(2.0, "× the baseline's broadcast delivery"),
    threshold("per user over HTTP, one in flight: node CPU per event", ours("per-user-http", "1 in flight", "cpu us").of("fanfare-http"))
        .against("nchan-redis").at_most(0.75, "× nchan with Redis"),
    threshold("publish to receipt at half of full load, per user: p99", ours("latency", "half load", "p99 ms"))
        .at_most(2.0, "ms"),
    threshold("idle stream with its session: user-space memory", ours("idle", "idle", "bytes"))
        .at_most(3500.0, "bytes"),
    threshold("idle long poll: the same", ours("idle", "long polls", "bytes"))
        .by(ours("idle", "idle", "bytes")).at_most(2.0, "× an idle stream"),
    threshold("opening a stream with token and claim: node CPU", ours("open", "token and claim", "cpu us"))
        .at_most(120.0, "µs"),
    threshold("the same, compared with nchan with Redis, which checks no token", ours("open", "token and claim", "cpu us"))
        .by(ours("open", "plain", "cpu us").of("nchan-redis")).at_most(1.0, "× nchan with Redis"),
    threshold("10,000 clients resume at once: commands that the node sends to Redis per client", ours("resume", "one missed event each", "commands sent"))
        .at_most(3.0, "commands"),
    threshold("the same: time until all clients are live", ours("resume", "one missed event each", "resumed s"))
        .by(ours("resume", "one missed event each", "plain s")).at_most(2.0, "× plain connects"),
    threshold("1 KB of JSON to gzip clients: bytes on the wire", ours("gzip", "gzip", "bytes"))
        .by(ours("gzip", "plain", "bytes")).at_most(0.45, "× plain"),
    threshold("the same: CPU per delivery", ours("gzip", "gzip", "cpu us"))
        .by(ours("gzip", "plain", "cpu us")).at_most(1.0, "× plain"),
    threshold("100,000 channels: memory per channel beyond its stream", ours("channels", "100,000 channels", "bytes a channel"))
        .at_most(1000.0, "bytes"),
    threshold("the same: time to recover all after a lost subscriber connection", ours("channels", "100,000 channels", "repair s"))
        .at_most(3.0, "s"),
    threshold("one client 100,000 events behind, beside 5,000 live streams: p99 of the live streams", ours("behind", "one far behind", "p99 ms"))
        .by(ours("behind", "none behind", "p99 ms")).at_most(1.2, "× without it"),
    threshold("catch-up, events of 0.1 to 64 KB, one client and 200 clients: bytes from Redis, worst case", ours("catch-up", "the worst of them", "redis bytes a byte"))
        .at_most(1.5, "per byte delivered"),
    threshold("events through the durable intake", ours("publishing", "intake", "events/s"))
        .by(SCRIPT).at_least(0.8, "× the bare script"),
    threshold("events by FCALL", ours("publishing", "FCALL", "events/s"))
        .by(SCRIPT).at_least(0.8, "× the bare script"),
    threshold("an append on one node to a reader on another: p50", ours("finite", "append to reader", "p50 us"))
        .by(ours("finite", "event to stream", "p50 us")).at_most(1.2, "× an event over HTTP"),
    threshold("a stream that is cancelled on one node, to its producer on another: p99", ours("finite", "cancel to producer", "p99 us"))
        .at_most(20_000.0, "µs"),
    threshold("an append: CPU of Redis", ours("finite", "Redis, an append", "cpu us"))
        .by(ours("finite", "Redis, an event", "cpu us")).at_most(2.0, "× an event"),
    threshold("an append with a producer's number: the same", ours("finite", "Redis, a producer's append", "cpu us"))
        .by(ours("finite", "Redis, an event", "cpu us")).at_most(2.0, "× an event"),
    threshold("a reader that waits: user-space memory", ours("finite", "waiting reader", "bytes"))
        .by(ours("finite", "waiting stream", "bytes")).at_most(2.0, "× a stream"),
];

const SCRIPT: Figure<'_> = ours("publishing", "script alone", "events/s").of("redis");

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::table::row::Row;

    #[test]
    fn every_bar_is_measured_by_a_row() {
        for threshold in &THRESHOLDS {
            let row = threshold.figure.row;
            assert!(Row::from_str(row, false).is_ok(), "{row}");
            assert!(threshold.by.is_none_or(|by| by.row == row), "a ratio is taken within a run of {row}");
        }
    }

    #[test]
    fn a_bar_is_met_by_the_median() {
        let mut results = Results::default();
        let threshold = THRESHOLDS.iter().find(|threshold| threshold.unit == "ms").unwrap();
        assert!(threshold.judge(&results).is_none());
        for (run, p99) in [1.0, 1.9, 9.0].into_iter().enumerate() {
            results.recorder("latency", run).write("half load", "fanfare", &[("p99 ms", p99)]);
        }
        assert!(threshold.judge(&results).unwrap().met);
        results.recorder("latency", 3).write("half load", "fanfare", &[("p99 ms", 5.0)]);
        assert!(!threshold.judge(&results).unwrap().met, "the median is 3.45 now");
        assert_eq!(threshold.bound(), "≤ 2.00 ms");
    }
}
