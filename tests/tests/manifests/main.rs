//! What the cluster is run from, held against the code: the image, the compose file, the Kubernetes manifests.
//!
//! Everything is read strictly: an unknown field is an error. No engine and no cluster is
//! needed; `scripts/test-compose` and `scripts/test-k8s` try the real thing.
//!
//! # Layout
//!
//! - [`files`]: finding and reading files of the repository
//! - [`settings`]: what a node makes of the environment that it is given
//! - [`kinds`]: the kinds of objects, each as the API server knows it
//! - [`kustomization`]: which files belong together
//! - [`kubernetes`], [`compose`], [`image`], [`head`], [`helm`], [`security`], [`dependencies`], [`alerts`], [`dashboard`],
//!   [`monitoring`], [`packages`], [`pages`]: the tests
//! - [`metrics`]: the list of metrics, and the metrics that files name

mod alerts;
mod compose;
mod dashboard;
mod dependencies;
mod files;
mod head;
mod helm;
mod image;
mod kinds;
mod kubernetes;
mod kustomization;
mod metrics;
mod monitoring;
mod packages;
mod pages;
mod security;
mod settings;
