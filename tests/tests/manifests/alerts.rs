//! `deploy/prometheus`: the rules are right, each is tested and explained, and names only metrics that there are.

use std::collections::BTreeSet;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::{files, metrics};

const FOLDER: &str = "deploy/prometheus";

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
    labels: Value,
    annotations: Value,
}

#[derive(Deserialize)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    alert_rule_test: Vec<AlertTest>,
}

#[derive(Deserialize)]
struct AlertTest {
    alertname: String,
    exp_alerts: Vec<Value>,
}

fn document<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let mut documents = files::documents(&files::path(&format!("{FOLDER}/{name}")));
    assert_eq!(documents.len(), 1, "{name}");
    serde_json::from_value(documents.remove(0)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn alerts() -> Vec<Rule> {
    let rules: Rules = document("fanfare.rules.yml");
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

fn promtool(arguments: &[&str]) {
    let result = Command::new("promtool").args(arguments).current_dir(files::path(FOLDER)).output();
    let output = result.expect("promtool runs: it is in the package prometheus");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&text));
}

#[test]
fn promtool_accepts_the_rules_and_the_example() {
    promtool(&["check", "rules", "fanfare.rules.yml"]);
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "config", "compose.yml"]);
}

#[test]
fn each_alert_fires_in_one_case_and_is_quiet_in_another() {
    promtool(&["test", "rules", "fanfare.rules.test.yml"]);
    let cases: Tests = document("fanfare.rules.test.yml");
    let cases: Vec<_> = cases.tests.iter().flat_map(|test| &test.alert_rule_test).collect();
    for Rule { alert, .. } in alerts() {
        let of = |fires: bool| {
            cases.iter().any(|case| case.alertname == alert && case.exp_alerts.is_empty() != fires)
        };
        assert!(
            of(true) && of(false),
            "{alert} needs a case in which it fires, and one in which it does not"
        );
    }
}

#[test]
fn each_alert_has_a_runbook_and_each_runbook_an_alert() {
    let page = files::text(&files::path("docs/runbooks.md"));
    let headings: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts();
    let names: BTreeSet<&str> = alerts.iter().map(|rule| &*rule.alert).collect();
    assert_eq!(headings, names);
    for Rule { alert, labels, annotations, .. } in &alerts {
        let link = format!("docs/runbooks.md#{}", alert.to_lowercase());
        assert_eq!(annotations["runbook_url"], *link, "{alert}");
        let text = |key: &str| annotations[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(text("summary") && text("description"), "{alert} needs a summary and a description");
        assert!(labels["severity"] == "critical" || labels["severity"] == "warning", "{alert}: {labels}");
    }
    for (heading, parts) in page.split("\n## ").skip(1).map(|part| part.split_once('\n').unwrap()) {
        for part in ["**What it means.**", "**What to look at.**", "**What to do.**"] {
            assert!(parts.contains(part), "{heading} needs {part}");
        }
    }
}

#[test]
fn rules_and_runbooks_name_metrics_that_a_node_exports() {
    let expressions: String = alerts().into_iter().map(|rule| rule.expr + "\n").collect();
    metrics::are_listed("the rules", &expressions, 18);
    metrics::are_listed("the runbooks", &files::text(&files::path("docs/runbooks.md")), 12);
}
