//! The response of `GET /v1/nodes`.

use serde::{Deserialize, Serialize};

/// The cluster's nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NodeList {
    /// The nodes that hold a lease.
    pub nodes: Vec<Node>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Node {
    /// Node id.
    pub id: String,
    /// Address, as `host:port`.
    pub address: String,
    /// Start time, in Unix milliseconds.
    pub since: u64,
    /// Number of streams.
    pub connections: u64,
    /// Whether the node is draining.
    pub draining: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_the_nodes() {
        let node = Node { id: "a".into(), address: "h:1".into(), since: 5, connections: 3, draining: false };
        let list = NodeList { nodes: vec![node] };
        let text = serde_json::to_string(&list).unwrap();
        let wanted = r#"{"nodes":[{"id":"a","address":"h:1","since":5,"connections":3,"draining":false}]}"#;
        assert_eq!(text, wanted);
        assert_eq!(serde_json::from_str::<NodeList>(&text).unwrap(), list);
    }
}
