//! Some nodes on one Redis.

use crate::node::{Node, NodeBuilder};
use crate::redis::Redis;

/// What the nodes are called, in order.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Nodes `a`, `b` and so on, with one Redis. The nodes end first.
#[derive(Debug)]
pub struct Cluster {
    /// In the order of their names.
    pub nodes: Vec<Node>,
    /// What they share.
    pub redis: Redis,
}

impl Cluster {
    /// Two nodes as they are without settings.
    pub async fn pair() -> Self {
        Self::on(Redis::start().await, 2, |node| node).await
    }

    /// So many nodes, each with the settings that `configure` makes.
    ///
    /// # Panics
    ///
    /// When one does not get ready.
    pub async fn on(redis: Redis, size: usize, configure: impl Fn(NodeBuilder) -> NodeBuilder) -> Self {
        let mut nodes = Vec::new();
        for name in &NAMES[..size] {
            nodes.push(configure(Node::of(&redis).id(name)).launch().await);
        }
        for node in &nodes {
            node.ready().await;
        }
        Self { nodes, redis }
    }

    /// The first node.
    pub fn a(&self) -> &Node {
        &self.nodes[0]
    }

    /// The second node.
    pub fn b(&self) -> &Node {
        &self.nodes[1]
    }
}
