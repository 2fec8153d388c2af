//! `deploy/grafana`: the dashboard is one that Grafana reads, and asks only for what there is.

use std::collections::BTreeSet;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{files, metrics};

const FILE: &str = "deploy/grafana/fanfare.json";
/// What Grafana puts in place of the variables.
const VARIABLES: [(&str, &str); 3] = [("$job", "fanfare"), ("$instance", ".+"), ("$__rate_interval", "1m")];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dashboard {
    uid: String,
    templating: Templating,
    annotations: Annotations,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
struct Templating {
    list: Vec<Variable>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Annotations {
    list: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    datasource: Source,
    expr: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Panel {
    id: u32,
    #[serde(rename = "type")]
    kind: String,
    title: String,
    grid_pos: Place,
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Place {
    x: u32,
    y: u32,
    w: u32,
    h: u32,
}

#[derive(Deserialize)]
struct Target {
    datasource: Source,
    expr: String,
}

#[derive(Deserialize)]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    uid: String,
}

fn dashboard() -> Dashboard {
    serde_json::from_str(&files::text(&files::path(FILE))).unwrap_or_else(|error| panic!("{FILE}: {error}"))
}

impl Dashboard {
    /// All expressions, with what uses them.
    fn expressions(&self) -> Vec<(&str, &str)> {
        let panels = self
            .panels
            .iter()
            .flat_map(|panel| panel.targets.iter().map(|target| (&*panel.title, &*target.expr)));
        panels.chain(self.annotations.list.iter().map(|one| ("annotation", &*one.expr))).collect()
    }
}

fn filled_in(expression: &str) -> String {
    VARIABLES.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value))
}

#[test]
fn the_dashboard_can_be_told_its_source_and_its_job_and_keeps_its_address() {
    let dashboard = dashboard();
    assert_eq!(dashboard.uid, "fanfare", "links to it stay valid");
    let variables: Vec<_> = dashboard.templating.list.iter().map(|one| (&*one.name, &*one.kind)).collect();
    assert_eq!(variables, [("datasource", "datasource"), ("job", "query"), ("instance", "query")]);
    let targets = dashboard.panels.iter().flat_map(|panel| &panel.targets);
    let sources = targets.map(|target| &target.datasource);
    for source in sources.chain(dashboard.annotations.list.iter().map(|one| &one.datasource)) {
        assert_eq!((&*source.kind, &*source.uid), ("prometheus", "${datasource}"));
    }
}

#[test]
fn there_is_a_row_for_each_question_and_no_panel_covers_another() {
    let panels = dashboard().panels;
    let rows: Vec<_> = panels.iter().filter(|panel| panel.kind == "row").map(|panel| &*panel.title).collect();
    assert_eq!(
        rows,
        [
            "Is everything all right?",
            "Can clients connect?",
            "Do events arrive in time?",
            "Is Redis well?",
            "Is a node short of CPU, memory or files?",
            "What happens in a roll?"
        ]
    );
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel.id).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in &panels {
        let Place { x, y, w, h } = panel.grid_pos;
        assert!(x + w <= 24, "{} is too wide", panel.title);
        for cell in (y..y + h).flat_map(|y| (x..x + w).map(move |x| (x, y))) {
            assert!(taken.insert(cell), "{} covers another panel", panel.title);
        }
    }
}

#[test]
fn the_dashboard_asks_for_metrics_of_the_job_and_nodes_that_are_chosen() {
    let dashboard = dashboard();
    for (title, expression) in dashboard.expressions() {
        metrics::are_listed(title, expression, 0);
        let selectors = expression.matches('{').count();
        assert!(
            selectors > 0 && expression.matches("job=\"$job\"").count() == selectors,
            "{title}: {expression}"
        );
    }
    let all: Vec<&str> = dashboard.expressions().iter().map(|(_, expression)| *expression).collect();
    metrics::are_listed("the dashboard", &all.join("\n"), 45);
}

#[test]
fn promtool_accepts_each_expression() {
    let dashboard = dashboard();
    let rules: Vec<Value> = dashboard
        .expressions()
        .iter()
        .enumerate()
        .map(|(n, (_, expression))| json!({"record": format!("n{n}"), "expr": filled_in(expression)}))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.json");
    // JSON is YAML.
    std::fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    let result = Command::new("promtool").args(["check", "rules"]).arg(&file).output();
    let output = result.expect("promtool runs: it is in the package prometheus");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}
