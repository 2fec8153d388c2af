//! Leases of nodes.

use std::time::Duration;

use ::redis::Pipeline;
use async_trait::async_trait;
use fanfare_protocol::json::ByName;

use super::error::unexpected;
use super::nodes::{forget_nodes, known_nodes};
use super::reply::{bytes, millis, text};
use super::shared_connection::SharedConnection;
use super::{RedisBroker, library, script, sweep};
use crate::lease::{LeaseOutcome, NodeId, NodeInfo, Swept};
use crate::{BrokerError, Membership};

#[async_trait]
impl Membership for RedisBroker {
    async fn lease(&self, info: &NodeInfo, ttl: Duration) -> Result<LeaseOutcome, BrokerError> {
        let keys = &self.keys;
        let mut call = script::LEASE.call(&[
            &keys.lease(&info.id),
            &keys.nodes(),
            &keys.index(&info.id),
            &keys.former(&info.id),
            &keys.incarnation(&info.id),
        ]);
        let value = serde_json::to_string(info).map_err(|error| BrokerError::Refused(error.to_string()))?;
        call.arg(info.id.as_str()).arg(&info.incarnation).arg(value).arg(millis(ttl));
        loop {
            return match text(script::LEASE.run(&self.commands, call.clone()).await?).as_deref() {
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
        let mut call = script::LEAVE.call(&[&self.keys.lease(&info.id)]);
        call.arg(&info.incarnation);
        script::LEAVE.run(&self.commands, call).await?;
        forget_nodes(self, &[&info.id]).await?;
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, BrokerError> {
        let ids = known_nodes(self).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // Separate GETs in place of MGET, since the leases may be in different slots.
        let mut pipeline = Pipeline::with_capacity(ids.len());
        for id in &ids {
            pipeline.cmd("GET").arg(self.keys.lease(id));
        }
        let mut nodes = Vec::with_capacity(ids.len());
        for reply in self.pool.pipeline(&pipeline, Duration::ZERO).await? {
            let lease = bytes(SharedConnection::reply(reply)?);
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
