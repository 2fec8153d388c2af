//! What a node says of itself in Prometheus' text.

use std::collections::BTreeMap;

/// One reading of `/metrics`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// By the name with its labels, as printed.
    values: BTreeMap<String, f64>,
    /// By the name alone: `counter`, `gauge`, `histogram`.
    kinds: BTreeMap<String, String>,
}

impl Metrics {
    /// Reads the text.
    ///
    /// # Panics
    ///
    /// When a line is not of the format.
    pub fn parse(text: &str) -> Self {
        let mut metrics = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
                metrics.kinds.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                // A label may hold a space, the value does not.
                let (series, value) = split_sample(line).unwrap_or_else(|| panic!("not a sample: {line}"));
                metrics.values.insert(series.to_owned(), value);
            }
        }
        metrics
    }

    /// The sum of all series of a name whose labels have each of these texts, like `reason="idle"`. Zero when there
    /// is none: a counter that never counted need not be printed.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of_name = |series: &str| {
            series.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        let matching = self
            .values
            .iter()
            .filter(|(series, _)| of_name(series) && labels.iter().all(|label| series.contains(label)));
        matching.map(|(_, value)| value).sum()
    }

    /// Whether there is a metric of this name.
    pub fn has(&self, name: &str) -> bool {
        self.kinds.contains_key(name) || self.kinds.contains_key(name.trim_end_matches("_total"))
    }

    /// All gauges, by name and labels.
    pub fn gauges(&self) -> BTreeMap<String, f64> {
        let is_gauge = |series: &str| {
            let name = series.split('{').next().unwrap_or(series);
            self.kinds.get(name).is_some_and(|kind| kind == "gauge")
        };
        self.values.iter().filter(|(series, _)| is_gauge(series)).map(|(s, v)| (s.clone(), *v)).collect()
    }
}

fn split_sample(line: &str) -> Option<(&str, f64)> {
    let labels_end = line.rfind('}').map_or(0, |at| at + 1);
    let space = labels_end + line[labels_end..].find(' ')?;
    // A time stamp may follow the value.
    let value = line[space..].split_whitespace().next()?;
    Some((&line[..space], value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_label() {
        let metrics = Metrics::parse(
            "# HELP ended how\n# TYPE ended counter\nended_total{reason=\"idle\"} 2\n\
             ended_total{reason=\"a b\"} 3 1718\n# TYPE open gauge\nopen 7\nopened 9\n# EOF\n",
        );
        assert!((metrics.sum("ended_total", &[]) - 5.0).abs() < f64::EPSILON);
        assert!((metrics.sum("ended_total", &["reason=\"idle\""]) - 2.0).abs() < f64::EPSILON);
        assert!((metrics.sum("open", &[]) - 7.0).abs() < f64::EPSILON);
        assert!(metrics.has("ended_total") && metrics.has("open") && !metrics.has("opened"));
        assert_eq!(metrics.gauges().into_keys().collect::<Vec<_>>(), ["open"]);
    }
}
