//! The document: a text with places that are filled.
//!
//! `{{machine}}`, `{{thresholds}}`, and `{{row <name>: <figure>, …}}`: how often, when and of what that row was measured, and a
//! table of those figures by setting and server. A figure with ` ÷ baseline` behind it is given as a multiple of the baseline's in the same setting and run.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::machine::Machine;
use super::number::number;
use super::provenance::Provenance;
use super::results::{Figure, Results, Spread};
use super::threshold::THRESHOLDS;

const TEXT: &str = include_str!("../../performance.md");
/// What says that a figure is meant as a multiple.
const BY_BASELINE: &str = " ÷ baseline";
/// What was not measured.
const NOTHING: &str = "–";

/// The whole document.
pub(super) fn write(machine: &Machine, results: &Results) -> String {
    let mut text = String::new();
    for line in TEXT.lines() {
        let place = line.strip_prefix("{{").and_then(|line| line.strip_suffix("}}"));
        let row = place.and_then(|place| place.strip_prefix("row ")?.split_once(": "));
        match (place, row) {
            (_, Some((row, figures))) => {
                let figures: Vec<&str> = figures.split(", ").collect();
                text.push_str(&table(results, row, &figures));
            }
            (Some("machine"), None) => text.push_str(&describe(machine, results)),
            (Some("thresholds"), None) => text.push_str(&thresholds(results)),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// Returns the median, and in brackets the least and the most if they differ.
fn spread(spread: Spread) -> String {
    let (least, most) = (number(spread.least), number(spread.most));
    let median = number(spread.median);
    if least == most { median } else { format!("{median} ({least} – {most})") }
}

/// Returns every threshold with what was found.
pub(super) fn thresholds(results: &Results) -> String {
    let mut text = "| measure | target | result | |\n|---|---|---|---|\n".to_owned();
    for threshold in &THRESHOLDS {
        let (found, met) = match threshold.judge(results) {
            None => (NOTHING.to_owned(), "not measured"),
            Some(verdict) => (spread(verdict.found), if verdict.met { "met" } else { "**not met**" }),
        };
        // Writing into memory does not fail.
        let _ = writeln!(text, "| {} | {} | {found} | {met} |", threshold.what, threshold.bound());
    }
    text
}

fn describe(machine: &Machine, results: &Results) -> String {
    let mut text = String::new();
    if results.quick {
        text.push_str("**A quick run: it shows that everything works. Its figures have no meaning.**\n\n");
    }
    let Machine { processor, cores, memory_gib, kernel, programs } = machine;
    let _ = writeln!(text, "| | |\n|---|---|");
    let _ = writeln!(text, "| measured | {} |", different(results, |provenance| &provenance.date));
    let _ = writeln!(text, "| commit | {} |", different(results, |provenance| &provenance.commit));
    let _ = writeln!(text, "| network | {} |", different(results, |provenance| provenance.network.words()));
    let _ = writeln!(text, "| processor | {processor}, {cores} cores |");
    let _ = writeln!(text, "| memory | {memory_gib} GiB |");
    let _ = writeln!(text, "| kernel | {kernel} |");
    for (name, version) in programs {
        let _ = writeln!(text, "| {name} | {version} |");
    }
    let limited = results.limited_by_the_load();
    let _ = writeln!(
        text,
        "| measurements limited by the second core (full while the first was not) | {limited} |"
    );
    if results.hours() >= 6 {
        let _ = writeln!(text, "| between the first measurement and the last | {} hours |", results.hours());
    }
    text
}

/// Returns what the rows say, each thing once.
fn different<'a>(results: &'a Results, what: impl Fn(&'a Provenance) -> &'a str) -> String {
    let all: BTreeSet<&str> = results.provenances.values().map(what).collect();
    all.into_iter().collect::<Vec<_>>().join("; ")
}

fn table(results: &Results, row: &str, figures: &[&str]) -> String {
    let mut places: Vec<(&str, &str)> = Vec::new();
    for sample in results.samples.iter().filter(|sample| sample.row == row) {
        let place = (sample.setting.as_str(), sample.server.as_str());
        if !places.contains(&place) {
            places.push(place);
        }
    }
    if places.is_empty() {
        return "Not measured yet.\n".to_owned();
    }
    let mut text =
        results.provenances.get(row).map_or(String::new(), |provenance| provenance.words() + "\n\n");
    let _ =
        writeln!(text, "| | server | {} |\n|---|---|{}", figures.join(" | "), "---|".repeat(figures.len()));
    for (setting, server) in places {
        let cells: Vec<String> =
            figures.iter().map(|name| cell(results, Figure { row, setting, server, name })).collect();
        let _ = writeln!(text, "| {setting} | {server} | {} |", cells.join(" | "));
    }
    text
}

fn cell(results: &Results, figure: Figure<'_>) -> String {
    let found = match figure.name.strip_suffix(BY_BASELINE) {
        None => results.figure(figure),
        Some(name) => {
            let figure = Figure { name, ..figure };
            results.ratio(figure, figure.of("baseline"))
        }
    };
    found.map_or_else(|| NOTHING.to_owned(), spread)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::table::network::Network;
    use crate::table::row::Row;

    #[test]
    fn numbers_have_at_most_three_significant_digits_after_the_point() {
        for (value, text) in [
            (0.345, "0.34"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1234.5, "1,234"),
            (1_234_567.0, "1,234,567"),
            (-1234.0, "-1,234"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn every_place_of_the_document_is_filled_and_every_row_is_in_it() {
        let mut results = Results::default();
        let provenance = |runs, commit: &str, network| Provenance {
            runs,
            date: "2026-01-02".into(),
            commit: commit.into(),
            network,
        };
        results.begin("broadcast", provenance(3, "abc", Network::Own));
        results.begin("idle", provenance(1, "def", Network::Machine));
        let mut recorder = results.recorder("broadcast", 0);
        recorder.write("5,000", "baseline", &[("cpu us", 4.0)]);
        recorder.write("5,000", "fanfare", &[("cpu us", 5.0)]);
        let text = write(&Machine::look().unwrap(), &results);
        assert!(!text.contains("{{") && !text.contains("}}"), "{text}");
        assert!(text.contains("| 5,000 | fanfare | 5.00 | 1.25 |"), "{text}");
        assert!(text.contains("| ≤ 1.10 × baseline | 1.25 | **not met** |"), "{text}");
        for words in [
            "| measured | 2026-01-02 |",
            "| commit | abc; def |",
            "| network | a separate namespace; the machine's, with its firewall rules |",
            "\nMeasured 3 times on 2026-01-02, commit abc; network: a separate namespace.\n\n| | server |",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
        for row in Row::value_variants() {
            assert!(TEXT.contains(&format!("{{{{row {}: ", row.name())), "{}", row.name());
        }
    }
}
