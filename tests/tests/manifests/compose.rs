//! `docker-compose.yml`: a cluster on one machine.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::files;
use crate::settings;

/// The file, as far as we use it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Compose {
    name: String,
    services: BTreeMap<String, Service>,
    volumes: BTreeMap<String, Option<Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    #[serde(default, rename = "profiles")]
    _profiles: Vec<String>,
    image: String,
    build: Option<String>,
    hostname: Option<String>,
    command: Option<Vec<String>>,
    user: Option<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default, with = "humantime_serde::option")]
    stop_grace_period: Option<Duration>,
    healthcheck: Option<HealthCheck>,
    #[serde(default)]
    depends_on: BTreeMap<String, Dependency>,
    restart: String,
    mem_limit: Option<bytesize::ByteSize>,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    cap_drop: Vec<String>,
    #[serde(default)]
    security_opt: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthCheck {
    test: Vec<String>,
    #[serde(with = "humantime_serde")]
    interval: Duration,
    #[serde(with = "humantime_serde")]
    timeout: Duration,
    retries: u32,
    #[serde(default, with = "humantime_serde::option")]
    start_period: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dependency {
    condition: String,
}

fn compose() -> Compose {
    let path = files::path("docker-compose.yml");
    let [mut value] = files::documents(&path).try_into().expect("one document");
    // Parts that others are made of are ours to name.
    value.as_object_mut().unwrap().retain(|name, _| !name.starts_with("x-"));
    for service in value["services"].as_object_mut().unwrap().values_mut() {
        merge(service);
    }
    files::strict(&value).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Puts what `<<` names where it belongs, if the reader of YAML has not.
fn merge(service: &mut Value) {
    let service = service.as_object_mut().unwrap();
    if let Some(Value::Object(base)) = service.remove("<<") {
        for (name, value) in base {
            service.entry(name).or_insert(value);
        }
    }
}

impl Compose {
    fn nodes(&self) -> Vec<(&String, &Service)> {
        self.services.iter().filter(|(_, service)| service.image == "fanfare:dev").collect()
    }
}

/// What a text of the file is when the environment of who starts it says nothing.
fn by_default(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (variable, after) = rest.split_once('}').expect("a variable ends");
    let (_, default) = variable.split_once(":-").expect("a variable has a default");
    format!("{before}{default}{}", by_default(after))
}

#[test]
fn there_are_three_nodes_that_wait_for_redis_and_a_balancer_that_waits_for_them() {
    let compose = compose();
    let nodes = compose.nodes();
    assert_eq!((&*compose.name, nodes.len()), ("fanfare", 3));
    assert_eq!(nodes.iter().filter(|(_, node)| node.build.is_some()).count(), 1, "one image, built once");
    let balancer = &compose.services["balancer"];
    for (name, node) in nodes {
        assert_eq!(node.hostname.as_ref(), Some(name));
        assert_eq!(node.depends_on["redis"].condition, "service_healthy");
        assert_eq!(balancer.depends_on[name].condition, "service_healthy");
        assert!(node.ports.is_empty(), "{name}: clients go through the balancer");
        assert!(
            node.read_only && node.cap_drop == ["ALL"] && node.security_opt == ["no-new-privileges:true"]
        );
    }
}

#[test]
fn it_is_open_to_this_machine_only() {
    for (name, service) in &compose().services {
        for port in &service.ports {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
        }
    }
}

#[test]
fn its_settings_are_right_and_the_drain_fits_the_grace_period() {
    for (name, node) in compose().nodes() {
        let variables: Vec<_> =
            node.environment.iter().map(|(name, value)| (&**name, by_default(value))).collect();
        let config = settings::read(variables.iter().map(|(name, value)| (*name, &**value)));
        settings::fits(
            &config,
            node.stop_grace_period.unwrap_or_else(|| panic!("{name}: 10 s is too short")),
        );
        let memory = node.mem_limit.unwrap_or_else(|| panic!("{name}: the memory has no limit"));
        settings::fits_memory(&config, memory.as_u64());
        assert!(config.redis.url.is_some());
        assert!(config.admin.listen.is_some(), "{name}: the balancer's clients reach what is on node.listen");
    }
}

#[test]
fn health_is_asked_for_by_the_binary() {
    let compose = compose();
    for (name, node) in compose.nodes() {
        let check = node.healthcheck.as_ref().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(check.test, ["CMD", "fanfare", "health", "--ready"], "{name}");
        assert!(check.retries > 1 && check.interval + check.timeout < Duration::from_secs(15), "{name}");
        assert!(check.start_period.is_some(), "{name}");
    }
    assert!(compose.services["redis"].healthcheck.is_some());
}

#[test]
fn redis_keeps_its_data_and_throws_nothing_out() {
    let compose = compose();
    let redis = &compose.services["redis"];
    let command = redis.command.as_deref().unwrap().join(" ");
    assert!(
        command.contains("--appendonly yes") && command.contains("--maxmemory-policy noeviction"),
        "{command}"
    );
    let (volume, _) = redis.volumes[0].split_once(':').unwrap();
    assert!(compose.volumes.contains_key(volume));
    assert!(redis.stop_grace_period > Some(Duration::from_secs(10)), "it may have to write");
}

#[test]
fn everything_comes_back_and_nothing_runs_as_root_that_is_ours() {
    let compose = compose();
    for (name, service) in &compose.services {
        assert_eq!(service.restart, "unless-stopped", "{name}");
    }
    assert!(compose.services["balancer"].user.as_deref().is_some_and(|user| !user.starts_with('0')));
    for mount in &compose.services["balancer"].volumes {
        let (file, rest) = mount.split_once(':').unwrap();
        assert!(files::path(file).is_file(), "{file} is not there");
        assert!(rest.ends_with(":ro"), "{mount}");
    }
}
