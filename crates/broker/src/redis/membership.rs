//! Leases of nodes.

use std::time::Duration;

use ::redis::Pipeline;
use async_trait::async_trait;
use fanfare_protocol::json::ByName;

use super::error::{result, unexpected};
use super::nodes::{forget_nodes, known_nodes};
use super::reply::{bytes, millis, text};
use super::{RedisBroker, library, script, sweep};
use crate::lease::{LeaseOutcome, NodeId, NodeInfo, Swept};
use crate::{BrokerError, Membership};

#[async_trait]
impl Membership for RedisBroker {
    async fn lease(&self, info: &NodeInfo, ttl: Duration) -> Result<LeaseOutcome, BrokerError> {
        let keys = &self.keys;
        let lease = keys.lease(&info.id);
        let mut call = script::LEASE.call(&[
            &lease,
            &keys.nodes(),
            &keys.index(&info.id),
            &keys.former(&info.id),
            &keys.incarnation(&info.id),
        ]);
        let value = serde_json::to_string(info).map_err(|error| BrokerError::Refused(error.to_string()))?;
        call.arg(info.id.as_str()).arg(&info.incarnation).arg(value).arg(millis(ttl));
        loop {
            return match text(self.commands(&lease).call_script(&script::LEASE, call.clone()).await?)
                .as_deref()
            {
                Some("renewed") => Ok(LeaseOutcome::Renewed),
                Some("taken") => Ok(LeaseOutcome::Taken),
                Some("foreign") => Ok(LeaseOutcome::Foreign),
                // Terminates, since no session is added before the lease is acquired.
                Some("moving") => continue,
                _ => Err(unexpected("a lease")),
            };
        }
    }

    async fn leave(&self, info: &NodeInfo) -> Result<(), BrokerError> {
        let lease = self.keys.lease(&info.id);
        let mut call = script::LEAVE.call(&[&lease]);
        call.arg(&info.incarnation);
        self.commands(&lease).call_script(&script::LEAVE, call).await?;
        forget_nodes(self, &[&info.id]).await?;
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, BrokerError> {
        let ids = known_nodes(self).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(ids.len());
        for id in &ids {
            pipeline.cmd("GET").arg(self.keys.lease(id));
        }
        let mut nodes = Vec::with_capacity(ids.len());
        for reply in self.pool(&self.keys.nodes()).pipeline(&pipeline, Duration::ZERO).await? {
            let lease = bytes(result(reply)?);
            // Ignores values that were not written by a node.
            nodes.extend(
                lease
                    .and_then(|lease| serde_json::from_slice::<ByName<NodeInfo>>(&lease).ok())
                    .map(|ByName(node)| node),
            );
        }
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(nodes)
    }

    async fn sweep(&self, node: &NodeId, ttl: Duration) -> Result<Swept, BrokerError> {
        sweep::sweep(self, node, ttl).await
    }

    async fn prepare(&self) -> Result<(), BrokerError> {
        library::prepare(self).await
    }
}
