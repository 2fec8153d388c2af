//! `packaging`: the service and the settings of the .deb and the .rpm. `scripts/package` makes them.

use std::collections::BTreeSet;
use std::time::Duration;

use fanfare_config::Config;
use fanfare_config::source::Sources;

use crate::{files, settings};

/// The values of a name in the unit of the service, in their order.
fn unit(name: &str) -> Vec<String> {
    let text = files::text(&files::path("packaging/fanfare.service"));
    let values = text.lines().filter_map(|line| line.strip_prefix(&format!("{name}=")));
    values.map(str::to_owned).collect()
}

fn number(name: &str) -> u64 {
    unit(name)[0].parse().unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The settings of a new installation. Files with secrets are there.
fn installed() -> Config {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("jwt-secret"), "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::write(folder.path().join("redis-password"), "password").unwrap();
    let text = files::text(&files::path("packaging/fanfare.toml"))
        // What a comment proposes is right as well.
        .replace("# password_file", "password_file")
        .replace("/run/credentials/fanfare.service", folder.path().to_str().unwrap());
    let file = folder.path().join("fanfare.toml");
    std::fs::write(&file, text).unwrap();
    let sources = Sources { file: Some(file), ..Sources::default() };
    Config::load(&sources).unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn the_service_waits_for_the_drain_and_has_files_for_all_streams() {
    let config = installed();
    settings::fits(&config, Duration::from_secs(number("TimeoutStopSec")));
    let needed = config.limits.connections + config.limits.sockets + config.admin.sockets;
    assert!(number("LimitNOFILE") > needed as u64 + 256, "{needed} sockets and the node's own files");
    assert_eq!(unit("Type"), ["notify"]);
}

#[test]
fn each_secret_of_the_settings_is_a_credential_of_the_service() {
    let text = files::text(&files::path("packaging/fanfare.toml"));
    let named =
        text.split("/run/credentials/fanfare.service/").skip(1).map(|rest| rest.split('"').next().unwrap());
    let named: BTreeSet<_> = named.collect();
    let (loaded, missing) = (unit("LoadCredential"), unit("SetCredential"));
    let loaded: BTreeSet<_> = loaded.iter().map(|one| one.split_once(':').unwrap()).collect();
    assert_eq!(named, loaded.iter().map(|(name, _)| *name).collect());
    for (name, file) in &loaded {
        assert_eq!(*file, format!("/etc/fanfare/{name}"));
        // Without this, a missing file would keep the service from starting.
        assert!(missing.contains(&format!("{name}:missing")), "{name}");
    }
}

#[test]
fn the_packages_have_what_the_service_names() {
    let [packages] = files::documents(&files::path("packaging/nfpm.yaml")).try_into().expect("one document");
    let contents = packages["contents"].as_array().unwrap();
    let there = |path: &str| contents.iter().any(|one| one["dst"] == path);
    let start = unit("ExecStart");
    for path in start[0].split(' ').filter(|word| word.starts_with('/')) {
        assert!(there(path), "{path} is not in the packages");
    }
    let sources =
        contents.iter().map(|one| &one["src"]).chain(packages["scripts"].as_object().unwrap().values());
    for source in
        sources.map(|source| source.as_str().unwrap()).filter(|source| !source.starts_with("${STAGE}"))
    {
        assert!(files::path(source).is_file(), "there is no {source}");
    }
}
