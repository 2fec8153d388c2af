//! What one measurement found.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What a process took in the measured time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// Seconds on a processor, in the kernel too.
    pub seconds: f64,
    /// The same as a part of one core.
    pub cores: f64,
    /// Microseconds for each delivery.
    pub per_delivery: f64,
}

/// From just before an event was sent, or with a rate from when it was due, to the read that brought it, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is the percentile that it is named after")]
pub struct Delays {
    /// How many were taken.
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl From<&Histogram<u64>> for Delays {
    fn from(histogram: &Histogram<u64>) -> Self {
        let at = |part| number(histogram.value_at_quantile(part));
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: number(histogram.max()),
        }
    }
}

/// Returns a count to reckon with.
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn number(count: u64) -> f64 {
    count as f64
}

/// Returns a duration in microseconds.
pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// How many streams were open.
    pub streams: usize,
    /// Bytes of data in an event.
    pub size: usize,
    /// How events were paced: `1 in flight`, `500 a second`.
    pub pace: String,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Events published in that time.
    pub published: u64,
    /// Events received in that time, by all streams.
    pub delivered: u64,
    /// The same by second.
    pub deliveries_per_second: f64,
    /// Bytes received for each delivery, framing and all.
    pub bytes_per_delivery: f64,
    /// By the watched process, and `load` for this program itself.
    pub cpu: BTreeMap<String, Cpu>,
    /// User-space memory of the watched processes at the end, in bytes (`RssAnon`).
    pub anonymous: BTreeMap<String, u64>,
    /// Publish to receipt, of the streams that read every event.
    pub delays: Delays,
    /// Events that were due and could not be sent, for the server took those before them too slowly.
    #[serde(default)]
    pub unsent: u64,
    /// Events that did not come, by counting on every stream since it was opened.
    pub lost: u64,
    /// Events that came and were not sent.
    pub surplus: u64,
    /// Events that came twice, of the streams that read every event.
    pub duplicated: u64,
    /// Events that came after a later one of their target, of the same streams. With several publishing connections this
    /// is no fault: the server may take their events in another order.
    pub out_of_order: u64,
    /// Set if the load took all of its core: then deliveries a second say nothing about the server.
    pub load_was_the_limit: bool,
}

impl Measurement {
    /// Microseconds of a watched process for each delivery; zero for one that was not watched.
    pub fn cost(&self, label: &str) -> f64 {
        self.cpu.get(label).map_or(0.0, |cpu| cpu.per_delivery)
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "streams {}, {} bytes, {}: {} events in {:.1} s",
            self.streams, self.size, self.pace, self.published, self.seconds
        )?;
        writeln!(
            f,
            "  deliveries  {:.0} a second, {:.0} bytes each",
            self.deliveries_per_second, self.bytes_per_delivery
        )?;
        for (label, cpu) in &self.cpu {
            writeln!(
                f,
                "  cpu         {label}: {:.2} us per delivery, {:.0} % of a core",
                cpu.per_delivery,
                cpu.cores * 100.0
            )?;
        }
        let Delays { count, p50, p90, p99, p999, max } = self.delays;
        writeln!(
            f,
            "  delay       p50 {p50:.0}  p90 {p90:.0}  p99 {p99:.0}  p99.9 {p999:.0}  max {max:.0} us, of {count}"
        )?;
        writeln!(
            f,
            "  faults      unsent {}  lost {}  surplus {}  duplicated {}  out of order {}",
            self.unsent, self.lost, self.surplus, self.duplicated, self.out_of_order
        )?;
        if self.load_was_the_limit {
            writeln!(f, "  warning     the load used its whole core: it limited the server")?;
        }
        Ok(())
    }
}
