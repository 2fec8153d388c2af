//! `k8s/`: what the API server would refuse, and what it would take although it is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use fanfare_config::Config;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use crate::files;
use crate::kinds::Object;
use crate::kustomization::{Kustomization, read_all};
use crate::settings;

/// Everything there is.
const FOLDERS: [&str; 5] =
    ["k8s/base", "k8s/components/monitoring", "k8s/overlays/dev", "k8s/overlays/prod", "k8s/overlays/soak"];
/// What is applied, with all that it builds on.
const CLUSTERS: [&str; 2] = ["k8s/overlays/soak", "k8s/overlays/prod"];

fn kustomization(folder: &str) -> Kustomization {
    Kustomization::read(&files::path(folder))
}

/// A pod: its name, labels and content.
type Known<'a> = (&'a str, &'a BTreeMap<String, String>, &'a PodSpec);

/// All pods, of all controllers.
fn pods(objects: &[Object]) -> Vec<Known<'_>> {
    objects.iter().filter_map(known).collect()
}

fn known(object: &Object) -> Option<Known<'_>> {
    match object {
        Object::Deployment(deployment) => Some((name(deployment), labels(deployment), pod(deployment))),
        Object::Pod(pod) => {
            let meta = &pod.metadata;
            Some((meta.name.as_deref()?, meta.labels.as_ref()?, pod.spec.as_ref()?))
        }
        _ => None,
    }
}

fn deployments(objects: &[Object]) -> Vec<&Deployment> {
    objects
        .iter()
        .filter_map(|object| if let Object::Deployment(d) = object { Some(&**d) } else { None })
        .collect()
}

fn pod(deployment: &Deployment) -> &PodSpec {
    deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).expect("a deployment has pods")
}

fn labels(deployment: &Deployment) -> &BTreeMap<String, String> {
    let template = &deployment.spec.as_ref().unwrap().template;
    template.metadata.as_ref().and_then(|meta| meta.labels.as_ref()).expect("its pods have labels")
}

fn name(deployment: &Deployment) -> &str {
    deployment.metadata.name.as_deref().expect("a deployment has a name")
}

/// The deployment of the nodes and its container.
fn nodes() -> (Deployment, Container) {
    let objects = kustomization("k8s/base").objects();
    let [deployment] = deployments(&objects)[..] else { panic!("the base has one deployment") };
    let [container] = &pod(deployment).containers[..] else { panic!("a node's pod has one container") };
    (deployment.clone(), container.clone())
}

/// The settings as a node in its pod would read them.
fn node_settings() -> Config {
    let base = kustomization("k8s/base");
    let [settings] = &base.config_map_generator[..] else { panic!("the base has one config map") };
    assert_eq!(settings.envs, ["settings.env"]);
    let text = files::text(&files::path("k8s/base/settings.env"));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let file = lines.map(|line| line.split_once('=').unwrap_or_else(|| panic!("settings.env: {line}")));
    let (_, container) = nodes();
    // What the cluster puts in, as it may look.
    let given = |name: &str| match name {
        "FANFARE_NODE__ID" => "fanfare-7d4b9c-x2x7p",
        "FANFARE_NODE__ADDRESS" => "10.0.0.7:8080",
        "FANFARE_REDIS__URL" => "redis://fanfare-redis:6379",
        other => panic!("the test does not know what {other} would be"),
    };
    let own = container
        .env
        .iter()
        .flatten()
        .map(|variable| &*variable.name)
        .filter(|name| name.starts_with("FANFARE_"));
    let variables: Vec<_> = file.chain(own.map(|name| (name, given(name)))).collect();
    settings::read(variables)
}

#[test]
fn every_file_is_read_strictly_and_belongs_somewhere() {
    let named: BTreeSet<PathBuf> = FOLDERS
        .iter()
        .flat_map(|folder| kustomization(folder).files())
        .map(|path| path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .collect();
    let mut there = BTreeSet::new();
    for path in files::under(&files::path("k8s").canonicalize().unwrap(), "yaml") {
        if path.file_name().is_some_and(|name| name == "kustomization.yaml") {
            continue;
        }
        assert!(!read_all(&path).is_empty(), "{} is empty", path.display());
        there.insert(path);
    }
    assert_eq!(named, there, "files that kustomize names against files that are there");
}

#[test]
fn an_unknown_field_is_refused() {
    let with = |spec| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "spec": spec});
    Object::read(&with(json!({"replicas": 3}))).unwrap();
    for wrong in [
        json!({"replica": 3}),
        json!({"replicas": "3"}),
        json!({"template": {"spec": {"containers": [{"name": "a", "readinesProbe": {}}]}}}),
        json!({"template": {"spec": {"containers": [{"name": "a", "env": [{"name": "A", "value": 1}]}]}}}),
    ] {
        assert!(Object::read(&with(wrong.clone())).is_err(), "{wrong}");
    }
    assert!(Object::read(&json!({"apiVersion": "apps/v2", "kind": "Deployment"})).is_err());
}

#[test]
fn the_drain_fits_the_grace_period() {
    let (deployment, _) = nodes();
    let grace = pod(&deployment).termination_grace_period_seconds.expect("the default of 30 s is too short");
    settings::fits(&node_settings(), Duration::from_secs(grace.try_into().unwrap()));
}

#[test]
fn a_roll_starts_the_new_pods_before_the_old_ones_leave() {
    let (deployment, _) = nodes();
    let spec = deployment.spec.unwrap();
    let rolling =
        spec.strategy.and_then(|strategy| strategy.rolling_update).expect("it has a strategy for rolls");
    assert_eq!(rolling.max_unavailable, Some(IntOrString::Int(0)));
    assert_eq!(rolling.max_surge, Some(IntOrString::String("100%".into())));
    assert!(spec.min_ready_seconds > Some(0), "the others of a roll get time to become ready");
    assert_eq!(spec.replicas, None, "a number here would undo what the autoscaler did at each apply");
}

#[test]
fn probes_ask_for_what_they_are_for() {
    let (_, container) = nodes();
    assert_eq!(port(&container, "http"), node_settings().node.listen.port());
    let asked = |probe: Option<&Probe>| {
        let get = probe.and_then(|probe| probe.http_get.clone()).expect("a probe by HTTP");
        assert_eq!(get.port, IntOrString::String("admin".into()), "clients may fill the other listener");
        get.path.unwrap()
    };
    assert_eq!(asked(container.startup_probe.as_ref()), "/healthz");
    assert_eq!(
        asked(container.liveness_probe.as_ref()),
        "/healthz",
        "without Redis a node must not be restarted"
    );
    assert_eq!(asked(container.readiness_probe.as_ref()), "/readyz");
    let readiness = container.readiness_probe.unwrap();
    let noticed = Duration::from_secs(
        u64::try_from(readiness.period_seconds.unwrap() * readiness.failure_threshold.unwrap()).unwrap(),
    );
    assert!(noticed < node_settings().drain.notice, "a node that leaves is noticed only after {noticed:?}");
}

/// The port of a container that has this name.
fn port(container: &Container, name: &str) -> u16 {
    let mut ports = container.ports.iter().flatten();
    let port = ports.find(|port| port.name.as_deref() == Some(name)).unwrap_or_else(|| panic!("no {name}"));
    u16::try_from(port.container_port).unwrap()
}

#[test]
fn probes_metrics_and_admin_calls_are_on_a_listener_that_clients_do_not_reach() {
    let (deployment, container) = nodes();
    let listen = node_settings().admin.listen.expect("the nodes have an admin listener");
    assert_eq!(port(&container, "admin"), listen.port());
    assert!(listen.ip().is_unspecified(), "the kubelet comes by the pod's address");
    let template = &deployment.spec.as_ref().unwrap().template;
    let annotations = template.metadata.as_ref().and_then(|meta| meta.annotations.as_ref()).unwrap();
    assert_eq!(annotations["prometheus.io/port"], listen.port().to_string());
    for object in kustomization("k8s/overlays/prod").objects() {
        match object {
            Object::Service(service) => {
                let ports = service.spec.unwrap().ports.unwrap();
                let to = ports.iter().map(|port| port.target_port.clone()).collect::<Vec<_>>();
                assert_eq!(to, [Some(IntOrString::String("http".into()))], "a service leads clients there");
            }
            Object::NetworkPolicy(policy) => {
                for rule in policy.spec.unwrap().ingress.unwrap_or_default() {
                    let ports = rule.ports.expect("a rule names its ports");
                    let admin = Some(IntOrString::String("admin".into()));
                    let monitoring = |label: &BTreeMap<String, String>| {
                        label.get("fanfare.dev/monitoring").is_some_and(|value| value == "true")
                    };
                    let by_label = rule.from.unwrap_or_default().iter().all(|from| {
                        let namespace = from.namespace_selector.as_ref();
                        namespace.and_then(|one| one.match_labels.as_ref()).is_some_and(monitoring)
                    });
                    let opens = ports.iter().any(|port| port.port == admin);
                    assert_eq!(opens, by_label, "who reaches metrics and admin calls: {ports:?}");
                }
            }
            _ => {}
        }
    }
}

#[test]
fn every_pod_keeps_to_the_restricted_standard() {
    for (name, _, pod) in pods(&kustomization("k8s/overlays/soak").objects()) {
        let context = pod.security_context.as_ref().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(context.run_as_non_root, Some(true), "{name}");
        assert!(
            context.run_as_user > Some(0),
            "{name}: the image's user may be a name, which the kubelet cannot judge"
        );
        assert_eq!(
            context.seccomp_profile.as_ref().map(|profile| &*profile.type_),
            Some("RuntimeDefault"),
            "{name}"
        );
        assert_eq!(pod.automount_service_account_token, Some(false), "{name}");
        for hole in [pod.host_network, pod.host_pid, pod.host_ipc] {
            assert_ne!(hole, Some(true), "{name}");
        }
        let held = pod.volumes.iter().flatten().any(|volume| volume.host_path.is_some());
        assert!(!held, "{name}: files of the machine");
        for container in &pod.containers {
            let context = container.security_context.as_ref().unwrap_or_else(|| panic!("{name}"));
            assert_eq!(context.allow_privilege_escalation, Some(false), "{name}");
            assert_eq!(context.read_only_root_filesystem, Some(true), "{name}");
            let dropped = context.capabilities.as_ref().and_then(|capabilities| capabilities.drop.clone());
            assert_eq!(dropped.as_deref(), Some(&["ALL".to_owned()][..]), "{name}");
            let resources = container.resources.as_ref().unwrap_or_else(|| panic!("{name}"));
            let limited = resources.limits.as_ref().is_some_and(|limits| limits.contains_key("memory"));
            assert!(limited, "{name}: the memory has no limit");
        }
    }
}

#[test]
fn the_nodes_memory_fits_the_limits_of_their_containers() {
    let small = read_all(&files::path("k8s/overlays/dev/small.yaml"));
    let base = kustomization("k8s/base").objects();
    let nodes = [deployments(&base), deployments(&small)].concat();
    assert_eq!(nodes.len(), 2);
    for deployment in nodes {
        let resources = pod(deployment).containers[0].resources.as_ref();
        let limits = resources.and_then(|resources| resources.limits.as_ref()).expect("it has limits");
        let limit: bytesize::ByteSize = limits["memory"].0.parse().unwrap();
        settings::fits_memory(&node_settings(), limit.as_u64());
    }
}

#[test]
fn every_selector_finds_pods() {
    for folder in CLUSTERS {
        let objects = kustomization(folder).objects();
        let pods = pods(&objects);
        let found = |selector: &BTreeMap<String, String>| {
            pods.iter()
                .any(|(_, labels, _)| selector.iter().all(|(name, value)| labels.get(name) == Some(value)))
        };
        let check = |what: &str, selector: Option<&LabelSelector>| {
            let wanted = selector.and_then(|selector| selector.match_labels.as_ref());
            assert!(wanted.is_some_and(found), "{folder}: {what} finds no pod");
        };
        for object in &objects {
            match object {
                Object::Deployment(deployment) => {
                    let spec = deployment.spec.as_ref().unwrap();
                    let own = spec.selector.match_labels.as_ref().expect("it selects by labels");
                    assert!(own.iter().all(|(name, value)| labels(deployment).get(name) == Some(value)));
                    for spread in pod(deployment).topology_spread_constraints.iter().flatten() {
                        check("a spread", spread.label_selector.as_ref());
                    }
                }
                Object::Service(service) => {
                    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
                    assert!(selector.is_some_and(found), "{folder}: a service finds no pod");
                }
                Object::PodDisruptionBudget(budget) => {
                    check(
                        "a disruption budget",
                        budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()),
                    );
                }
                Object::NetworkPolicy(policy) => {
                    check(
                        "a network policy",
                        policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref()),
                    );
                }
                _ => {}
            }
        }
    }
}

#[test]
fn what_a_pod_is_given_is_there() {
    let dev = kustomization("k8s/overlays/dev");
    let generated = dev.generated();
    let there = |name: &str| assert!(generated.iter().any(|one| one == name), "{name} is not generated");
    for deployment in deployments(&dev.objects()) {
        let pod = pod(deployment);
        for secret in pod.volumes.iter().flatten().filter_map(|volume| volume.secret.as_ref()) {
            there(secret.secret_name.as_deref().unwrap());
        }
        for container in &pod.containers {
            for source in container.env_from.iter().flatten() {
                there(&source.config_map_ref.as_ref().expect("variables come from config maps").name);
            }
            let sources = container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
            for key in sources.filter_map(|source| source.secret_key_ref.as_ref()) {
                there(&key.name);
            }
        }
    }
    let auth = dev.secret_generator.iter().find(|one| one.name == "fanfare-auth").unwrap();
    assert!(auth.literals.is_empty(), "a secret in the repository is public");
    let file = &auth.files[0];
    let ignored = files::text(&files::path("k8s/overlays/dev/.gitignore"));
    assert!(ignored.lines().any(|line| line == file), "{file} would be committed");
}

#[test]
fn the_secret_is_where_the_settings_say() {
    let text = files::text(&files::path("k8s/base/settings.env"));
    let path = text.lines().find_map(|line| line.strip_prefix("FANFARE_AUTH__JWT__SECRET_FILE=")).unwrap();
    let (deployment, container) = nodes();
    let mount =
        container.volume_mounts.iter().flatten().find(|mount| path.starts_with(&mount.mount_path)).unwrap();
    let volume = pod(&deployment).volumes.iter().flatten().find(|volume| volume.name == mount.name).unwrap();
    let items = volume.secret.as_ref().and_then(|secret| secret.items.as_ref()).unwrap();
    assert!(items.iter().any(|item| format!("{}/{}", mount.mount_path, item.path) == path));
}

#[test]
fn the_autoscaler_leaves_room_and_takes_its_time() {
    let objects = kustomization("k8s/overlays/prod").objects();
    let scaler = objects
        .iter()
        .find_map(|o| if let Object::HorizontalPodAutoscaler(h) = o { h.spec.clone() } else { None });
    let scaler = scaler.expect("prod scales");
    assert_eq!(
        (&*scaler.scale_target_ref.kind, &*scaler.scale_target_ref.name),
        ("Deployment", name(&nodes().0))
    );
    let metrics = scaler.metrics.unwrap();
    let streams = metrics.iter().find_map(|metric| metric.pods.as_ref()).expect("it looks at the streams");
    let counted = files::text(&files::path("docs/operations.md"));
    assert!(counted.contains(&format!("`{}`", streams.metric.name)), "{} is no metric", streams.metric.name);
    let most: usize = streams.target.average_value.as_ref().unwrap().0.parse().unwrap();
    assert!(
        most * 5 <= node_settings().limits.connections * 4,
        "less than a fifth is left for a pod that dies"
    );
    assert!(
        metrics.iter().any(|metric| metric.resource.as_ref().is_some_and(|resource| resource.name == "cpu"))
    );
    let down =
        scaler.behavior.and_then(|behavior| behavior.scale_down).expect("it has a policy for scaling down");
    let [policy] = &down.policies.as_deref().unwrap_or_default() else { panic!("one policy") };
    let deadline = i32::try_from(node_settings().drain.deadline.as_secs()).unwrap();
    assert_eq!((&*policy.type_, policy.value), ("Pods", 1));
    assert!(
        policy.period_seconds > deadline && down.stabilization_window_seconds > Some(policy.period_seconds)
    );
}

#[test]
fn the_ingress_lets_streams_through() {
    let objects = kustomization("k8s/overlays/prod").objects();
    let ingress =
        objects.iter().find_map(|o| if let Object::Ingress(i) = o { Some(i) } else { None }).unwrap();
    let annotations = ingress.metadata.annotations.as_ref().unwrap();
    let said = |name: &str| &*annotations[&format!("nginx.ingress.kubernetes.io/{name}")];
    assert_eq!(said("proxy-buffering"), "off");
    let services: Vec<_> = objects
        .iter()
        .filter_map(|o| if let Object::Service(s) = o { s.metadata.name.as_deref() } else { None })
        .collect();
    assert!(services.contains(&said("default-backend")));
    let silence: u64 = said("proxy-read-timeout").parse().unwrap();
    assert!(Duration::from_secs(silence) > node_settings().stream.heartbeat * 4);
    let paths = ingress
        .spec
        .iter()
        .flat_map(|spec| spec.rules.iter().flatten())
        .flat_map(|rule| &rule.http)
        .flat_map(|http| &http.paths);
    for path in paths {
        assert_eq!(path.path.as_deref(), Some("/v1"), "metrics and health stay inside");
        assert!(services.contains(&&*path.backend.service.as_ref().unwrap().name));
    }
}
