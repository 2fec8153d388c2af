//! The results of all rows, and figures from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::provenance::Provenance;
use crate::measurement::{Measurement, number};

/// Above this part of a core it counts as full.
const FULL: f64 = 0.9;

/// One server once in one setting.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) row: String,
    /// Which run: samples of one run were taken right after each other.
    pub(super) run: usize,
    /// What was set differently within the row: `5000 streams`.
    pub(super) setting: String,
    pub(super) server: String,
    /// Unix time in seconds.
    pub(super) at: u64,
    pub(super) figures: BTreeMap<String, f64>,
    /// All that the measurement found, where there was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) measurement: Option<Measurement>,
}

/// Several values of one thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// Returns the spread of some values; `None` of no values.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, least, most })
    }
}

/// Where a figure stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure<'a> {
    pub(super) row: &'a str,
    pub(super) setting: &'a str,
    pub(super) server: &'a str,
    pub(super) name: &'a str,
}

impl<'a> Figure<'a> {
    /// The same of another server.
    pub(super) const fn of(self, server: &'a str) -> Self {
        Self { server, ..self }
    }
}

/// Returns a figure of Fanfare.
pub(super) const fn ours<'a>(row: &'a str, setting: &'a str, name: &'a str) -> Figure<'a> {
    Figure { row, setting, server: "fanfare", name }
}

/// All that was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) machine: Option<Machine>,
    /// Whether it is worth anything.
    pub(super) quick: bool,
    /// By row.
    pub(super) provenances: BTreeMap<String, Provenance>,
    pub(super) samples: Vec<Sample>,
}

/// What one run of one row writes on.
pub(super) struct Recorder<'a> {
    results: &'a mut Results,
    row: &'static str,
    run: usize,
}

impl Results {
    /// Clears the results of a row, which is measured again.
    pub(super) fn begin(&mut self, row: &str, provenance: Provenance) {
        self.samples.retain(|sample| sample.row != row);
        self.provenances.insert(row.to_owned(), provenance);
    }

    /// A run of the row is complete.
    pub(super) fn end_run(&mut self, row: &str) {
        if let Some(provenance) = self.provenances.get_mut(row) {
            provenance.runs += 1;
        }
    }

    /// Returns a recorder for one run of one row.
    pub(super) fn recorder(&mut self, row: &'static str, run: usize) -> Recorder<'_> {
        Recorder { results: self, row, run }
    }

    /// Returns how many measurements there are in which load and Redis together took (nearly) all of their core: then
    /// deliveries a second are a limit of that core and not of the server.
    pub(super) fn limited_by_the_load(&self) -> usize {
        let full = |found: &&Measurement| {
            let cores = |label| found.cpu.get(label).map_or(0.0, |cpu| cpu.cores);
            cores("load") + cores("redis") > FULL && cores("server") < FULL
        };
        self.samples.iter().filter_map(|sample| sample.measurement.as_ref()).filter(full).count()
    }

    /// Returns how many hours lie between the first sample and the last.
    pub(super) fn hours(&self) -> u64 {
        let times = || self.samples.iter().map(|sample| sample.at);
        times().max().unwrap_or(0).saturating_sub(times().min().unwrap_or(0)) / 3600
    }

    /// Returns a figure over all runs.
    pub(super) fn figure(&self, figure: Figure<'_>) -> Option<Spread> {
        Spread::of(self.by_run(figure).into_values().collect())
    }

    /// One figure divided by another of the same run, over all runs.
    pub(super) fn ratio(&self, figure: Figure<'_>, by: Figure<'_>) -> Option<Spread> {
        let divisors = self.by_run(by);
        let ratio = |(run, value): (usize, f64)| Some(value / divisors.get(&run).filter(|by| **by > 0.0)?);
        Spread::of(self.by_run(figure).into_iter().filter_map(ratio).collect())
    }

    fn by_run(&self, figure: Figure<'_>) -> BTreeMap<usize, f64> {
        let samples = self.samples.iter().filter(|sample| {
            sample.row == figure.row && sample.setting == figure.setting && sample.server == figure.server
        });
        samples.filter_map(|sample| Some((sample.run, *sample.figures.get(figure.name)?))).collect()
    }
}

impl Recorder<'_> {
    /// Writes figures down.
    pub(super) fn write(&mut self, setting: &str, server: &str, figures: &[(&str, f64)]) {
        self.add(setting, server, figures, None);
    }

    /// Writes a measurement down, with the figures that every measurement has.
    pub(super) fn measured(&mut self, setting: &str, server: &str, found: Measurement) {
        let faults = number(found.unsent + found.lost + found.surplus + found.duplicated);
        let cores = |label: &str| found.cpu.get(label).map_or(0.0, |cpu| cpu.cores);
        let figures = [
            ("cpu us", found.cost("server")),
            ("deliveries/s", found.deliveries_per_second),
            ("redis us", found.cost("redis")),
            ("server cores", cores("server")),
            ("load cores", cores("load")),
            ("redis cores", cores("redis")),
            ("bytes", found.bytes_per_delivery),
            ("p50 ms", found.delays.p50 / 1000.0),
            ("p99 ms", found.delays.p99 / 1000.0),
            ("p99.9 ms", found.delays.p999 / 1000.0),
            ("faults", faults),
        ];
        self.add(setting, server, &figures, Some(found));
    }

    fn add(
        &mut self,
        setting: &str,
        server: &str,
        figures: &[(&str, f64)],
        measurement: Option<Measurement>,
    ) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let shown: Vec<String> =
            figures.iter().map(|(name, value)| format!("{name} {}", super::number::number(*value))).collect();
        eprintln!("   {server:14} {setting:24} {}", shown.join("  "));
        self.results.samples.push(Sample {
            row: self.row.to_owned(),
            run: self.run,
            setting: setting.to_owned(),
            server: server.to_owned(),
            at: now.as_secs(),
            figures: figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            measurement,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Figure<'_> = ours("r", "s", "x");
    const BASELINE: Figure<'_> = OURS.of("baseline");

    #[test]
    fn a_ratio_is_taken_within_a_run() {
        let mut results = Results::default();
        for (run, ours, baseline) in [(0, 10.0, 10.0), (1, 30.0, 20.0), (2, 20.0, 10.0)] {
            let mut recorder = results.recorder("r", run);
            recorder.write("s", "fanfare", &[("x", ours)]);
            recorder.write("s", "baseline", &[("x", baseline)]);
        }
        assert_eq!(results.figure(OURS), Some(Spread { median: 20.0, least: 10.0, most: 30.0 }));
        assert_eq!(results.ratio(OURS, BASELINE), Some(Spread { median: 1.5, least: 1.0, most: 2.0 }));
        results.begin("r", Provenance::new().unwrap());
        assert_eq!((results.figure(OURS), results.ratio(OURS, BASELINE)), (None, None));
    }

    #[test]
    fn each_row_knows_how_often_it_was_measured() {
        let mut results = Results::default();
        for (row, runs) in [("broadcast", 3), ("idle", 1)] {
            results.begin(row, Provenance::new().unwrap());
            (0..runs).for_each(|_| results.end_run(row));
        }
        results.begin("idle", Provenance::new().unwrap());
        results.end_run("idle");
        assert_eq!((results.provenances["broadcast"].runs, results.provenances["idle"].runs), (3, 1));
    }

    #[test]
    fn the_median_of_two_lies_between_them() {
        assert_eq!(Spread::of(vec![3.0, 1.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn a_book_reads_back() {
        let mut results = Results::default();
        results.recorder("r", 0).write("s", "baseline", &[("x", 1.5)]);
        let text = serde_json::to_string(&results).unwrap();
        let back: Results = serde_json::from_str(&text).unwrap();
        assert_eq!(back.figure(BASELINE), results.figure(BASELINE));
    }
}
