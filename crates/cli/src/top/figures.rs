//! The newest figures of each node.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use fanfare_api::stats::NodeStats;
use tokio::time::Instant;

use crate::display::ago;
use crate::table;

/// A node without figures for so long is marked.
const SILENT: Duration = Duration::from_secs(5);
/// A node without figures for so long is removed.
const GONE: Duration = Duration::from_mins(1);
/// Maximum number of nodes.
const MOST: usize = 1000;

const HEADING: [&str; 13] = [
    "NODE",
    "STATE",
    "VERSION",
    "UP FOR",
    "STREAMS",
    "OPENED/S",
    "ENDED/S",
    "EVENTS/S",
    "BYTES/S",
    "CPU",
    "MEMORY",
    "REDIS",
    "CATCHING UP",
];

/// The newest figures of each node, by its id.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<String, (NodeStats, Instant)>);

impl Figures {
    /// Takes the figures of a node.
    pub(super) fn take(&mut self, stats: NodeStats) {
        self.0.retain(|_, (_, at)| at.elapsed() < GONE);
        if self.0.len() < MOST || self.0.contains_key(&stats.node) {
            self.0.insert(stats.node.clone(), (stats, Instant::now()));
        }
    }

    /// Returns the figures of all nodes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeStats> {
        self.0.values().map(|(stats, _)| stats)
    }

    /// Returns a line for the cluster, and a table of the nodes.
    pub(super) fn table(&self) -> String {
        let live: Vec<&NodeStats> =
            self.0.values().filter(|(_, at)| at.elapsed() < SILENT).map(|(stats, _)| stats).collect();
        // The sum of nothing is -0.
        let sum = |figure: fn(&NodeStats) -> f64| live.iter().map(|stats| figure(stats)).sum::<f64>() + 0.0;
        let streams: u64 = live.iter().map(|stats| stats.streams).sum();
        let mut out = String::new();
        // Writing into memory does not fail.
        let _ = writeln!(
            out,
            "nodes: {}   streams: {streams}   opened/s: {}   events/s: {}   bytes/s: {}\n",
            live.len(),
            rate(sum(|stats| stats.opened)),
            rate(sum(|stats| stats.events)),
            bytes(sum(|stats| stats.bytes)),
        );
        let mut table = Vec::new();
        let rows = self.0.values().map(|(stats, at)| row(stats, at.elapsed()));
        let _ = table::write(&mut table, HEADING, rows);
        out.push_str(&String::from_utf8_lossy(&table));
        out
    }
}

fn row(stats: &NodeStats, age: Duration) -> [String; 13] {
    let unknown = || "-".to_owned();
    let memory = stats.memory.and_then(|memory| u32::try_from(memory / 1000).ok());
    [
        stats.node.clone(),
        state(stats, age),
        stats.version.clone(),
        ago(stats.since),
        format!("{} of {}", stats.streams, stats.max_streams),
        rate(stats.opened),
        rate(stats.ended),
        rate(stats.events),
        bytes(stats.bytes),
        stats.cpu.map_or_else(unknown, |cpu| format!("{:.1} %", cpu * 100.0)),
        memory.map_or_else(unknown, |memory| bytes(f64::from(memory) * 1000.0)),
        stats.redis_ms.map_or_else(unknown, |ms| format!("{ms:.1} ms")),
        stats.catching_up.to_string(),
    ]
}

fn state(stats: &NodeStats, age: Duration) -> String {
    if age >= SILENT {
        return format!("silent for {} s", age.as_secs());
    }
    let state = match (stats.draining, stats.ready) {
        (true, _) => "draining",
        (false, true) => "ready",
        (false, false) => "not ready",
    };
    if stats.intake_leader { format!("{state}, leader") } else { state.to_owned() }
}

fn rate(figure: f64) -> String {
    if figure < 10.0 && figure.fract() != 0.0 { format!("{figure:.1}") } else { format!("{figure:.0}") }
}

fn bytes(figure: f64) -> String {
    let (divisor, unit) = match figure {
        f if f >= 1e9 => (1e9, "GB"),
        f if f >= 1e6 => (1e6, "MB"),
        f if f >= 1e3 => (1e3, "kB"),
        _ => return format!("{figure:.0} B"),
    };
    format!("{:.1} {unit}", figure / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(node: &str) -> NodeStats {
        NodeStats {
            node: node.into(),
            version: "0.1.0".into(),
            since: 0,
            ready: true,
            streams: 1200,
            max_streams: 50_000,
            events: 2.5,
            bytes: 1_234_567.0,
            cpu: Some(0.256),
            memory: Some(45_600_000),
            redis_ms: Some(0.42),
            ..NodeStats::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_has_a_row_for_each_node_and_a_line_for_all() {
        let mut figures = Figures::default();
        assert!(
            figures.table().starts_with("nodes: 0   streams: 0   opened/s: 0   events/s: 0   bytes/s: 0 B\n")
        );
        figures.take(NodeStats { intake_leader: true, ..stats("b") });
        figures.take(NodeStats {
            draining: true,
            cpu: None,
            memory: None,
            redis_ms: None,
            ..stats("a\u{1b}[2J")
        });
        let table = figures.table();
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[0].starts_with("nodes: 2   streams: 2400 ") && lines[0].contains("bytes/s: 2.5 MB"),
            "{table}"
        );
        assert!(lines[3].starts_with("a\\u{1b}[2J ") && lines[3].contains("draining"), "{table}");
        for word in ["ready, leader", "1200 of 50000", " 2.5 ", "1.2 MB", "25.6 %", "45.6 MB", "0.4 ms"] {
            assert!(lines[4].contains(word), "{word}: {table}");
        }
        assert!(!table.contains('\u{1b}'));
        tokio::time::advance(SILENT).await;
        figures.take(stats("c"));
        let table = figures.table();
        assert!(
            table.starts_with("nodes: 1   streams: 1200 ") && table.contains("silent for 5 s"),
            "{table}"
        );
        tokio::time::advance(GONE).await;
        figures.take(stats("c"));
        assert_eq!(figures.nodes().count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_are_bounded() {
        let mut figures = Figures::default();
        for n in 0..MOST + 10 {
            figures.take(stats(&n.to_string()));
        }
        figures.take(NodeStats { streams: 7, ..stats("0") });
        assert_eq!(figures.nodes().count(), MOST);
        assert!(figures.nodes().any(|stats| stats.streams == 7));
    }
}
