//! What `fanfare config` prints beside the settings in force, and its check of a file.

use std::path::Path;
use std::process::Command;

use boon::{Compiler, Schemas};
use fanfare_testkit::binary;
use serde_json::Value;

/// Runs `fanfare config` without settings in the environment. Returns the exit code, stdout and stderr.
fn config(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(binary::path()).env_clear().arg("config").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn printed(argument: &str) -> String {
    let (code, out, err) = config(&[argument]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    out
}

#[test]
fn the_schema_is_one_of_the_dialect_that_it_names_and_example_and_table_have_the_same_settings() {
    let schema: Value = serde_json::from_str(&printed("--schema")).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("mem:///settings", schema).unwrap();
    compiler.compile("mem:///settings", &mut schemas).unwrap();
    let example = printed("--example");
    for setting in fanfare_config::settings() {
        assert!(example.contains(&format!("# Environment: {}\n", setting.variable())), "{}", setting.name);
    }
}

#[test]
fn a_file_is_checked_with_all_its_errors_at_once_and_their_places() {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = place.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let check = |file: &Path, more: &[&str]| config(&[&["check", file.to_str().unwrap()], more].concat());

    let good = write("good.toml", &printed("--example").replace("#mode =", "mode = \"none\""));
    let (code, out, err) = check(&good, &[]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("good.toml: all settings are valid"), "{out}");

    let bad = write(
        "bad.toml",
        "[auth]\nmode = \"none\"\n\n[stream]\nheartbeat = \"15\"\nheartbet = \"1s\"\nretry = \"2h\"\n",
    );
    let (code, out, err) = check(&bad, &[]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    for word in [
        "3 settings are invalid",
        "stream.heartbeat = 15 (from file ",
        "bad.toml, line 5)",
        "expected: a duration with a unit",
        "bad.toml, line 6)",
        "did you mean stream.heartbeat?",
        "bad.toml, line 7)",
        "1ms to 1h",
    ] {
        assert!(err.contains(word), "{word} is not in:\n{err}");
    }

    let (code, out, _) = check(&bad, &["--json"]);
    let result: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &result["valid"], result["errors"].as_array().map(Vec::len)),
        (Some(2), &false.into(), Some(3))
    );
    assert_eq!(result["errors"][0]["setting"], "stream.heartbeat");
    assert_eq!(check(&good, &["--json"]).0, Some(0));
    assert_eq!(check(&place.path().join("none.toml"), &[]).0, Some(2));
}
