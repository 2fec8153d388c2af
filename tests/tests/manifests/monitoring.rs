//! The objects of the Prometheus operator, as far as we use them, and what brings up Prometheus and Grafana.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Deserialize;
use serde_json::Value;

use crate::files;
use crate::kinds::Object;
use crate::kustomization::Kustomization;

/// What Prometheus scrapes: ports of the endpoints of services.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceMonitor {
    #[serde(rename = "apiVersion")]
    _version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata")]
    _metadata: ObjectMeta,
    spec: MonitorSpec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MonitorSpec {
    job_label: String,
    selector: LabelSelector,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    port: String,
    path: String,
    #[serde(with = "humantime_serde", rename = "interval")]
    _interval: std::time::Duration,
}

/// Alert rules.
#[derive(Debug, Deserialize)]
pub(crate) struct PrometheusRule {
    #[serde(rename = "apiVersion")]
    _version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata")]
    _metadata: ObjectMeta,
    spec: RuleSpec,
}

#[derive(Debug, Deserialize)]
struct RuleSpec {
    groups: Value,
}

impl ServiceMonitor {
    pub(crate) const API_VERSION: &str = "monitoring.coreos.com/v1";
    pub(crate) const KIND: &str = "ServiceMonitor";
}

impl PrometheusRule {
    pub(crate) const API_VERSION: &str = "monitoring.coreos.com/v1";
    pub(crate) const KIND: &str = "PrometheusRule";
}

fn only(file: &str) -> Value {
    let [value] = files::documents(&files::path(file)).try_into().expect("one document");
    value
}

/// The objects of the component, and those of the base, which it is added to.
fn objects() -> (Vec<Object>, Vec<Object>) {
    let read = |folder| Kustomization::read(&files::path(folder)).objects();
    (read("k8s/components/monitoring"), read("k8s/base"))
}

#[test]
fn the_component_has_the_rules_of_the_rule_file() {
    let rules = objects().0.into_iter().find_map(|object| match object {
        Object::PrometheusRule(rules) => Some(rules.spec.groups),
        _ => None,
    });
    assert_eq!(rules.as_ref(), Some(&only("deploy/prometheus/fanfare.rules.yml")["groups"]));
}

#[test]
fn the_component_scrapes_the_admin_port_of_every_pod_as_the_job_of_the_rules() {
    let (component, base) = objects();
    let monitor = component.iter().find_map(|object| match object {
        Object::ServiceMonitor(monitor) => Some(&monitor.spec),
        _ => None,
    });
    let MonitorSpec { job_label, selector, endpoints } = monitor.expect("a ServiceMonitor");
    let wanted = selector.match_labels.as_ref().expect("labels");
    let is_wanted = |service: &Service| {
        let labels = service.metadata.labels.clone().unwrap_or_default();
        wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
    };
    let services = |objects: Vec<Object>| -> Vec<Service> {
        let services = objects.into_iter().filter_map(|object| match object {
            Object::Service(service) => Some(*service),
            _ => None,
        });
        services.filter(is_wanted).collect()
    };
    assert_eq!(services(base), [], "each pod is scraped once");
    let [endpoint] = &endpoints[..] else { panic!("one endpoint") };
    assert_eq!(endpoint.path, "/metrics");
    let (component, _) = objects();
    let [service] = &services(component)[..] else { panic!("one service") };
    assert_eq!(service.metadata.labels.as_ref().unwrap()[job_label], "fanfare");
    let spec = service.spec.as_ref().unwrap();
    assert_eq!(spec.publish_not_ready_addresses, Some(true));
    let [port] = &spec.ports.as_ref().unwrap()[..] else { panic!("one port") };
    assert_eq!(port.name.as_ref(), Some(&endpoint.port));
    let pods: BTreeMap<_, _> = [("app.kubernetes.io/name".to_owned(), "fanfare".to_owned())].into();
    assert_eq!(spec.selector.as_ref(), Some(&pods));
}

#[test]
fn compose_brings_up_prometheus_for_its_nodes_and_grafana_for_prometheus() {
    let compose = only("docker-compose.yml");
    let services = compose["services"].as_object().unwrap();
    let nodes = services.iter().filter(|(_, service)| service["hostname"].is_string());
    let nodes: Vec<_> = nodes.map(|(name, _)| format!("{name}:8081")).collect();
    let scrape = &only("deploy/prometheus/compose.yml")["scrape_configs"][0];
    assert_eq!(scrape["job_name"], "fanfare");
    assert_eq!(scrape["static_configs"][0]["targets"], Value::from(nodes));
    for name in ["prometheus", "grafana"] {
        assert_eq!(services[name]["profiles"], Value::from(vec!["monitoring"]));
    }
    let mounts = |name: &str| {
        let volumes = services[name]["volumes"].as_array().unwrap().iter();
        volumes.filter_map(|volume| volume.as_str()?.split_once(':')).collect::<BTreeMap<_, _>>()
    };
    let prometheus = mounts("prometheus");
    assert_eq!(prometheus["./deploy/prometheus/compose.yml"], "/etc/prometheus/prometheus.yml:ro");
    // Beside the configuration, which names it without a folder.
    assert_eq!(prometheus["./deploy/prometheus/fanfare.rules.yml"], "/etc/prometheus/fanfare.rules.yml:ro");
    let grafana = mounts("grafana");
    assert_eq!(grafana["./deploy/grafana/provisioning"], "/etc/grafana/provisioning:ro");
    let provider = &only("deploy/grafana/provisioning/dashboards/fanfare.yml")["providers"][0];
    let folder = provider["options"]["path"].as_str().unwrap();
    assert_eq!(grafana["./deploy/grafana/fanfare.json"], format!("{folder}/fanfare.json:ro"));
    let source = &only("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"][0];
    assert_eq!((&source["type"], &source["url"]), (&"prometheus".into(), &"http://prometheus:9090".into()));
}
