//! What the node counts.

/// All metrics of one node.
#[derive(Debug, Default)]
pub struct Metrics {}
