//! Namespaces of channels, as a label of metrics: the patterns of `retention.rules`, if `metrics.namespaces` is on.
//!
//! Labels never grow with channels: a channel that matches no pattern is in the namespace `other`.

use std::fmt;
use std::ops::Index;

use fanfare_protocol::{Channel, Pattern};
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

/// Name of the label. In Kubernetes, `namespace` is that of the pod.
const LABEL: &str = "channel_namespace";
/// The namespace of channels that match no pattern.
const OTHER: &str = "other";

/// The namespaces of a node. The default has one namespace, which has no label.
#[derive(Clone, Debug, Default)]
pub struct Namespaces(Vec<Pattern>);

/// Label: the namespace of a channel, if there are namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NamespaceLabel(Option<String>);

/// One metric for each namespace.
#[derive(Clone, Debug)]
pub struct ByNamespace<M>(Box<[M]>);

impl Namespaces {
    /// Creates namespaces of patterns, of the first 255: the first that matches a channel is its namespace.
    pub fn new(patterns: impl IntoIterator<Item = Pattern>) -> Self {
        Self(patterns.into_iter().take(u8::MAX.into()).collect())
    }

    /// Returns the index of a channel's namespace.
    pub(crate) fn of(&self, channel: &Channel) -> u8 {
        let found = self.0.iter().position(|pattern| pattern.matches(channel));
        // There are at most 255 patterns.
        u8::try_from(found.unwrap_or(self.0.len())).unwrap_or(u8::MAX)
    }

    /// Creates a metric for each namespace.
    pub(crate) fn each<M>(&self, mut create: impl FnMut(NamespaceLabel) -> M) -> ByNamespace<M> {
        let other = if self.0.is_empty() { None } else { Some(OTHER.to_owned()) };
        let names = self.0.iter().map(|pattern| Some(pattern.as_str().to_owned())).chain([other]);
        ByNamespace(names.map(|name| create(NamespaceLabel(name))).collect())
    }
}

impl EncodeLabelSet for NamespaceLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        match &self.0 {
            None => Ok(()),
            Some(name) => [(LABEL, name.as_str())].encode(encoder),
        }
    }
}

impl<M> ByNamespace<M> {
    /// Returns the metrics, by the index of their namespaces.
    pub fn iter(&self) -> impl Iterator<Item = &M> {
        self.0.iter()
    }
}

impl<M> Index<u8> for ByNamespace<M> {
    type Output = M;

    fn index(&self, namespace: u8) -> &M {
        &self.0[usize::from(namespace)]
    }
}
