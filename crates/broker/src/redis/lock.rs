//! Locks that elect a node: the sweeper, and the leader of the intake.

use std::time::Duration;

use super::key::Key;
use super::reply::{is_one, millis};
use super::script::Script;
use super::{RedisBroker, script};
use crate::{BrokerError, NodeId};

/// Acquires or renews a lock for `ttl`. Returns false if another process holds it.
pub(super) async fn lock(
    broker: &RedisBroker,
    script: &Script,
    lock: &Key,
    node: &NodeId,
    ttl: Duration,
) -> Result<bool, BrokerError> {
    let mut call = script.call(&[lock]);
    call.arg(holder(broker, node)).arg(millis(ttl));
    is_one(&broker.commands(lock).call_script(script, call).await?)
}

/// Releases a lock, if this process holds it.
pub(super) async fn unlock(broker: &RedisBroker, lock: &Key, node: &NodeId) -> Result<(), BrokerError> {
    let mut call = script::UNLOCK.call(&[lock]);
    call.arg(holder(broker, node));
    broker.commands(lock).call_script(&script::UNLOCK, call).await?;
    Ok(())
}

/// Returns the holder of a lock: a process, not a node id. Otherwise two processes with the same node id would both
/// lead until one of them notices.
pub(super) fn holder(broker: &RedisBroker, node: &NodeId) -> String {
    format!("{node} {}", broker.process)
}
