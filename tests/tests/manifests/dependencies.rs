//! `deny.toml`: what it says of sources and licences, checked without the network. `scripts/release-check` checks the rest,
//! which needs the database of vulnerabilities.

use std::process::Command;

use serde_json::Value;

use crate::files;

/// The only registry.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Returns the licences that `deny.toml` allows.
fn allowed() -> Vec<String> {
    let text = files::text(&files::path("deny.toml"));
    let list = text.split("allow = [").nth(1).and_then(|rest| rest.split(']').next()).expect("a list");
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns all packages of the workspace and their dependencies, as Cargo knows them for the platform of the image.
fn packages() -> Vec<Value> {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.args(["metadata", "--locked", "--offline", "--format-version", "1"]);
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let output = cargo.current_dir(files::path("")).output().expect("Cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    serde_json::from_value(metadata["packages"].take()).expect("packages")
}

#[test]
fn every_dependency_has_an_allowed_licence_and_a_version() {
    let allowed = allowed();
    assert!(allowed.len() > 5, "{allowed:?}");
    let packages = packages();
    assert!(packages.len() > 100, "{} packages", packages.len());
    for package in &packages {
        let (name, licence) = (&package["name"], package["license"].as_str().unwrap_or_default());
        // Some manifests have the form from before SPDX: `MIT/Apache-2.0`.
        let licence = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX)
            .unwrap_or_else(|error| panic!("{name} {licence:?}: {error}"));
        assert!(licence.evaluate(|needed| allowed.contains(&needed.to_string())), "{name}: {licence}");
        for dependency in package["dependencies"].as_array().expect("a list") {
            let own = package["source"].is_null();
            let wild = dependency["req"] == "*" && dependency["path"].is_null();
            assert!(!own || !wild, "{name} takes any version of {}", dependency["name"]);
        }
    }
}

#[test]
fn every_dependency_comes_from_crates_io_with_a_checksum() {
    for lock in ["Cargo.lock", "tests/clients/rust/Cargo.lock"] {
        let text = files::text(&files::path(lock));
        let field = |package: &str, name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        let packages: Vec<&str> = text.split("[[package]]").skip(1).collect();
        assert!(packages.len() > 10, "{lock} has {} packages", packages.len());
        for package in packages {
            let name = field(package, "name").expect("a name");
            match field(package, "source") {
                None => assert!(name.starts_with("fanfare"), "{lock}: {name} is no crate of this repository"),
                Some(source) => {
                    assert_eq!(source, REGISTRY, "{lock}: {name}");
                    assert!(field(package, "checksum").is_some(), "{lock}: {name} has no checksum");
                }
            }
        }
    }
}
