//! The set of nodes that have, or may have left, something in Redis.

use ::redis::Value;

use super::error::{result, unexpected};
use super::key::about;
use super::reply::{array, is_one, text};
use super::{RedisBroker, script};
use crate::{BrokerError, NodeId};

/// Removes nodes that have neither a lease nor sessions. Returns which ones were removed.
pub(super) async fn forget_nodes(broker: &RedisBroker, nodes: &[&NodeId]) -> Result<Vec<bool>, BrokerError> {
    let keys = &broker.keys;
    let calls = nodes.iter().map(|node| {
        let mut call = script::FORGET_NODE.call(&[
            &keys.lease(node),
            &keys.nodes(),
            &keys.index(node),
            &keys.former(node),
            &keys.incarnation(node),
        ]);
        call.arg(node.as_str());
        call
    });
    let replies = broker.commands(&keys.nodes()).call_scripts(&script::FORGET_NODE, calls.collect()).await?;
    replies.into_iter().map(|reply| is_one(&result(reply)?)).collect()
}

/// Returns all of them.
pub(super) async fn known_nodes(broker: &RedisBroker) -> Result<Vec<NodeId>, BrokerError> {
    let nodes = broker.keys.nodes();
    node_ids(broker.commands(&nodes).command(about("SMEMBERS", &nodes)).await?)
}

/// Parses a set of node ids; ignores members that no node wrote.
pub(super) fn node_ids(reply: Value) -> Result<Vec<NodeId>, BrokerError> {
    let members = array(reply).ok_or_else(|| unexpected("a set"))?;
    Ok(members.into_iter().filter_map(|id: Value| NodeId::new(&text(id)?).ok()).collect())
}
