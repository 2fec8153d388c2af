//! What the node counts.

pub mod cluster;

/// All metrics of one node.
#[derive(Debug, Default)]
pub struct Metrics {}
