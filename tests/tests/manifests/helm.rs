//! `deploy/helm`: the values of the chart, its schema and its templates. `scripts/test-helm` renders them.

use std::collections::{BTreeMap, BTreeSet};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

use crate::files;
use crate::settings;

const CHART: &str = "deploy/helm/fanfare";

/// The only document of a YAML file below `deploy/helm`.
fn document(name: &str) -> Value {
    let [value] = files::documents(&files::path("deploy/helm").join(name)).try_into().expect("one document");
    value
}

fn values() -> Value {
    document("fanfare/values.yaml")
}

fn schema() -> Value {
    serde_json::from_str(&files::text(&files::path(CHART).join("values.schema.json"))).expect("JSON")
}

/// The schema, which must be one of JSON Schema itself.
fn compiled() -> (Schemas, SchemaIndex) {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("values.json", schema()).unwrap();
    let index = compiler.compile("values.json", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
    (schemas, index)
}

/// Puts values over others, as Helm does.
fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                merge(base.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// The settings of a group as variables.
fn variables(prefix: &str, group: &Value, found: &mut BTreeMap<String, String>) {
    for (name, value) in group.as_object().expect("a group") {
        let name = format!("{prefix}{}", name.to_uppercase());
        match value {
            Value::Object(_) => variables(&format!("{name}__"), value, found),
            Value::String(text) => drop(found.insert(name, text.clone())),
            other => drop(found.insert(name, other.to_string())),
        }
    }
}

#[test]
fn the_values_fit_the_schema() {
    let (schemas, index) = compiled();
    for name in [None, Some("dev.yaml"), Some("prod.yaml")] {
        let mut values = values();
        if let Some(name) = name {
            merge(&mut values, &document(name));
        }
        schemas.validate(&values, index).unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
    for wrong in [
        json!({"replica": 3}),
        json!({"replicas": "3"}),
        json!({"image": {"pullPolicy": "Sometimes"}}),
        json!({"settings": {"node": {"listen": "0.0.0.0:9999"}}}),
        json!({"settings": {"admin": {"listen": "127.0.0.1:8081"}}}),
    ] {
        let mut values = values();
        merge(&mut values, &wrong);
        assert!(schemas.validate(&values, index).is_err(), "{wrong}");
    }
}

/// The names of values, with dots; those of groups that the chart hands on as they are end there.
fn names(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value.as_object() {
        Some(group) if !group.is_empty() && !["settings", "resources"].contains(&prefix) => {
            for (name, value) in group {
                let dot = if prefix.is_empty() { "" } else { "." };
                names(&format!("{prefix}{dot}{name}"), value, found);
            }
        }
        _ => drop(found.insert(prefix.to_owned())),
    }
}

/// The names of values that the templates use.
fn used() -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let templates = files::path(CHART).join("templates");
    for ending in ["yaml", "tpl", "txt"] {
        for path in files::under(&templates, ending) {
            for rest in files::text(&path).split(".Values.").skip(1) {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
                used.insert(rest[..end].to_owned());
            }
        }
    }
    used
}

#[test]
fn every_value_is_used_and_every_used_value_is_there() {
    let (mut given, used) = (BTreeSet::new(), used());
    names("", &values(), &mut given);
    let inside = |name: &str, group: &str| name == group || name.starts_with(&format!("{group}."));
    for name in &given {
        assert!(used.iter().any(|used| inside(used, name)), "no template uses {name}");
    }
    for name in &used {
        assert!(given.iter().any(|given| inside(name, given)), "values.yaml has no {name}");
    }
}

#[test]
fn the_schema_names_the_values_that_are_there() {
    let mut given = BTreeSet::new();
    names("", &values(), &mut given);
    let mut known = BTreeSet::new();
    let schema = schema();
    for (group, value) in schema["properties"].as_object().unwrap() {
        match value["properties"].as_object().filter(|_| group != "settings") {
            Some(inside) => known.extend(inside.keys().map(|name| format!("{group}.{name}"))),
            None => drop(known.insert(group.clone())),
        }
    }
    // Helm adds it.
    known.remove("global");
    assert_eq!(given, known);
}

#[test]
fn the_settings_are_those_of_the_overlays() {
    let mut found = BTreeMap::new();
    variables("FANFARE_", &values()["settings"], &mut found);
    let text = files::text(&files::path("k8s/base/settings.env"));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let expected: BTreeMap<_, _> = lines
        .map(|line| line.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(found, expected);
    let node = [("FANFARE_REDIS__URL", "redis://fanfare-redis:6379")];
    let config = settings::read(found.iter().map(|(name, value)| (&**name, &**value)).chain(node));
    let grace = values()["terminationGracePeriodSeconds"].as_u64().unwrap();
    settings::fits(&config, std::time::Duration::from_secs(grace));
    for name in ["fanfare/values.yaml", "dev.yaml"] {
        let limit = document(name)["resources"]["limits"]["memory"].as_str().unwrap().to_owned();
        settings::fits_memory(&config, limit.parse::<bytesize::ByteSize>().unwrap().as_u64());
    }
}

#[test]
fn the_chart_has_the_version_of_the_workspace() {
    let manifest = files::text(&files::path("Cargo.toml"));
    let version =
        manifest.lines().find_map(|line| line.strip_prefix("version = ")).unwrap().trim_matches('"');
    let chart = document("fanfare/Chart.yaml");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(version), &json!(version)));
}
