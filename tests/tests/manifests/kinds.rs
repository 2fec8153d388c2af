//! The kinds of objects, each as the API server of the oldest Kubernetes that is supported knows it.

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::Value;

use crate::files;
use crate::monitoring::{PrometheusRule, ServiceMonitor};

macro_rules! objects {
    ($($kind:ident),*) => {
        /// An object of a kind that we use.
        #[derive(Debug)]
        pub(crate) enum Object {
            $(#[expect(clippy::allow_attributes, reason = "not every kind is looked into")] #[allow(dead_code)] $kind(Box<$kind>),)*
        }

        impl Object {
            /// Reads an object; refuses kinds that we do not use, and fields that the kind does not have.
            pub(crate) fn read(value: &Value) -> Result<Self, String> {
                match (value["apiVersion"].as_str(), value["kind"].as_str()) {
                    $((Some($kind::API_VERSION), Some($kind::KIND)) => {
                        files::strict(value).map(Box::new).map(Self::$kind)
                    })*
                    (version, kind) => Err(format!("unknown kind {version:?} {kind:?}")),
                }
            }
        }
    };
}

objects!(
    Deployment,
    HorizontalPodAutoscaler,
    Ingress,
    Namespace,
    NetworkPolicy,
    PersistentVolumeClaim,
    Pod,
    PodDisruptionBudget,
    PrometheusRule,
    Service,
    ServiceAccount,
    ServiceMonitor
);
