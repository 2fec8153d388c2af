//! What the figures are held against.

use super::book::{Book, Figure, Spread};

/// What is compared.
#[derive(Clone, Copy, Debug)]
enum Value {
    /// A figure.
    Figure(Figure<'static>),
    /// One divided by another of the same run.
    Ratio(Figure<'static>, Figure<'static>),
}

/// With what.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// One bar.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bar {
    /// What it says, in words.
    pub(super) what: &'static str,
    /// What is multiplied: `× floor`, or a unit.
    pub(super) unit: &'static str,
    value: Value,
    bound: Bound,
}

/// A bar with what was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) found: Spread,
    pub(super) met: bool,
}

impl Bar {
    /// The bound in words.
    pub(super) fn bound(&self) -> String {
        let (sign, bound) = match self.bound {
            Bound::AtMost(most) => ("≤", most),
            Bound::AtLeast(least) => ("≥", least),
        };
        format!("{sign} {} {}", super::document::number(bound), self.unit)
    }

    /// Holds the median against the bound; none while nothing was measured.
    pub(super) fn judge(&self, book: &Book) -> Option<Verdict> {
        let found = match self.value {
            Value::Figure(figure) => book.figure(figure),
            Value::Ratio(figure, by) => book.ratio(figure, by),
        }?;
        let met = match self.bound {
            Bound::AtMost(most) => found.median <= most,
            Bound::AtLeast(least) => found.median >= least,
        };
        Some(Verdict { found, met })
    }
}

const fn figure(
    row: &'static str,
    setting: &'static str,
    server: &'static str,
    name: &'static str,
) -> Figure<'static> {
    Figure { row, setting, server, name }
}

/// A figure of ours divided by the same of another server in the same setting.
const fn against(
    row: &'static str,
    setting: &'static str,
    servers: [&'static str; 2],
    name: &'static str,
) -> Value {
    Value::Ratio(figure(row, setting, servers[0], name), figure(row, setting, servers[1], name))
}

const fn bar(what: &'static str, value: Value, bound: Bound, unit: &'static str) -> Bar {
    Bar { what, unit, value, bound }
}

const FLOOR: [&str; 2] = ["fanfare", "floor"];

/// All of them.
#[rustfmt::skip]
pub(super) const BARS: [Bar; 22] = [
    bar("broadcast to 5,000, one in flight: CPU a delivery",
        against("broadcast", "5,000", FLOOR, "cpu us"), Bound::AtMost(1.10), "× floor"),
    bar("the same: deliveries a second on one core",
        against("broadcast", "5,000", FLOOR, "deliveries/s"), Bound::AtLeast(0.9), "× floor"),
    bar("broadcast to 1,000, one in flight: CPU a delivery",
        against("broadcast", "1,000", FLOOR, "cpu us"), Bound::AtMost(1.10), "× floor"),
    bar("broadcast to 15,000, one in flight: CPU a delivery",
        against("broadcast", "15,000", FLOOR, "cpu us"), Bound::AtMost(1.10), "× floor"),
    bar("broadcast to 5,000, 8 in flight: CPU a delivery",
        against("batching", "8 in flight", FLOOR, "cpu us"), Bound::AtMost(0.40), "× floor"),
    bar("the same: deliveries a second on one core",
        against("batching", "8 in flight", FLOOR, "deliveries/s"), Bound::AtLeast(2.2), "× floor"),
    bar("per user through Redis, one in flight: node CPU an event",
        against("per-user", "1 in flight", ["fanfare", "nchan-redis"], "cpu us"), Bound::AtMost(0.35), "× nchan with Redis"),
    bar("the same, 64 in flight",
        Value::Ratio(figure("per-user", "64 in flight", "fanfare", "cpu us"), figure("per-user", "broadcast", "floor", "cpu us")),
        Bound::AtMost(2.0), "× the floor's broadcast delivery"),
    bar("per user over HTTP, one in flight: node CPU an event",
        against("per-user-http", "1 in flight", ["fanfare-http", "nchan-redis"], "cpu us"), Bound::AtMost(0.75), "× nchan with Redis"),
    bar("publish to receipt at half of full load, per user: p99",
        Value::Figure(figure("latency", "half load", "fanfare", "p99 ms")), Bound::AtMost(2.0), "ms"),
    bar("idle stream with its session: user-space memory",
        Value::Figure(figure("idle", "idle", "fanfare", "bytes")), Bound::AtMost(3500.0), "bytes"),
    bar("opening a stream with token and claim: node CPU",
        Value::Figure(figure("open", "token and claim", "fanfare", "cpu us")), Bound::AtMost(120.0), "µs"),
    bar("the same against nchan with Redis, which checks no token",
        Value::Ratio(figure("open", "token and claim", "fanfare", "cpu us"), figure("open", "plain", "nchan-redis", "cpu us")),
        Bound::AtMost(1.0), "× nchan with Redis"),
    bar("10,000 resume at once: commands that the node sends to Redis, each client",
        Value::Figure(figure("resume", "one missed event each", "fanfare", "commands sent")), Bound::AtMost(3.0), "commands"),
    bar("the same: time until all are live",
        Value::Ratio(figure("resume", "one missed event each", "fanfare", "resumed s"), figure("resume", "one missed event each", "fanfare", "plain s")),
        Bound::AtMost(2.0), "× plain connects"),
    bar("1 KB of JSON to gzip clients: bytes on the wire",
        Value::Ratio(figure("gzip", "gzip", "fanfare", "bytes"), figure("gzip", "plain", "fanfare", "bytes")), Bound::AtMost(0.45), "× plain"),
    bar("the same: CPU a delivery",
        Value::Ratio(figure("gzip", "gzip", "fanfare", "cpu us"), figure("gzip", "plain", "fanfare", "cpu us")), Bound::AtMost(1.0), "× plain"),
    bar("100,000 channels: memory of each beyond its stream",
        Value::Figure(figure("channels", "100,000 channels", "fanfare", "bytes a channel")), Bound::AtMost(1000.0), "bytes"),
    bar("the same: time to repair all after a lost wire",
        Value::Figure(figure("channels", "100,000 channels", "fanfare", "repair s")), Bound::AtMost(3.0), "s"),
    bar("one client 100,000 events behind beside 5,000 live ones: the others' p99",
        Value::Ratio(figure("behind", "one far behind", "fanfare", "p99 ms"), figure("behind", "nobody behind", "fanfare", "p99 ms")),
        Bound::AtMost(1.2), "× without it"),
    bar("events through the durable intake",
        Value::Ratio(figure("publishing", "intake", "fanfare", "events/s"), figure("publishing", "script alone", "redis", "events/s")),
        Bound::AtLeast(0.8), "× the bare script"),
    bar("events by FCALL",
        Value::Ratio(figure("publishing", "FCALL", "fanfare", "events/s"), figure("publishing", "script alone", "redis", "events/s")),
        Bound::AtLeast(0.8), "× the bare script"),
];

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::table::row::Row;

    #[test]
    fn every_bar_is_measured_by_a_row() {
        for bar in &BARS {
            let row = match bar.value {
                Value::Figure(figure) | Value::Ratio(figure, _) => figure.row,
            };
            assert!(Row::from_str(row, false).is_ok(), "{row}");
        }
    }

    #[test]
    fn a_bar_is_met_by_the_median() {
        let mut book = Book::default();
        let bar = BARS.iter().find(|bar| bar.unit == "ms").unwrap();
        assert!(bar.judge(&book).is_none());
        for (run, p99) in [1.0, 1.9, 9.0].into_iter().enumerate() {
            book.page("latency", run).write("half load", "fanfare", &[("p99 ms", p99)]);
        }
        assert!(bar.judge(&book).unwrap().met);
        book.page("latency", 3).write("half load", "fanfare", &[("p99 ms", 5.0)]);
        assert!(!bar.judge(&book).unwrap().met, "the median is 3.45 now");
        assert_eq!(bar.bound(), "≤ 2.00 ms");
    }
}
