//! Tests of the document.

use std::collections::HashSet;

use super::*;

/// The file in the repository.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
/// Environment variable that makes the test write the file.
const WRITE: &str = "WRITE_OPENAPI";

#[test]
fn the_file_in_the_repository_is_what_a_node_serves() {
    let text = text();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    let file = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        file == text,
        "docs/openapi.json is old; write it: {WRITE}=1 cargo test -p fanfare-node --lib openapi"
    );
}

#[test]
fn every_operation_has_its_own_id_and_every_schema_that_is_named_is_used() {
    let document = document(&super::super::described());
    let mut ids = HashSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            for name in path.split(['{', '}']).skip(1).step_by(2) {
                let is_of = |parameter: &Value| parameter["in"] == "path" && parameter["name"] == name;
                assert!(
                    operation["parameters"].as_array().unwrap().iter().any(is_of),
                    "{name} of {method} {path}"
                );
            }
        }
    }
    let text = document.to_string();
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(text.contains(&format!("\"#/components/schemas/{name}\"")), "{name} is not used");
    }
    assert!(!text.contains("[`"), "a description has a link of rustdoc");
}

#[test]
fn the_protocol_names_every_path() {
    let protocol = include_str!("../../../../../docs/protocol.md");
    for route in super::super::described() {
        let path = route.path.replace("{*", "{");
        assert!(protocol.contains(&path), "{path}");
    }
}
