//! The ingest stream.
//!
//! The leader reads it from the oldest entry, in a new consumer group. Acknowledged entries are deleted, so entries
//! that an earlier leader read and did not acknowledge come first. The group has two purposes: a late call of an
//! earlier reading fails, since its group is gone; and a deleted stream is noticed, since the group was deleted with
//! it. Redis keeps no list of pending entries (`NOACK`): the stream itself is that list.

use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::Position;
use uuid::Uuid;

use super::error::result;
use super::lock::{holder, lock, unlock};
use super::reply::{entries, map, millis, position, text};
use super::{RedisBroker, publish, script};
use crate::intake::{ChainedEntry, IntakeEntry, IntakeOutcome, MAX_AHEAD, Reading, Rejected};
use crate::{BrokerError, IntakeQueue, NodeId};

/// Maximum number of entries that one script removes: Redis serves no other connection meanwhile.
const SETTLED_AT_ONCE: usize = 1000;

/// The only consumer of each group, which Redis creates at its first use.
const CONSUMER: &str = "leader";

#[async_trait]
impl IntakeQueue for RedisBroker {
    async fn lead_intake(&self, node: &NodeId, ttl: Duration) -> Result<bool, BrokerError> {
        lock(self, &script::LEAD, &self.keys.ingest_leader(), node, ttl).await
    }

    async fn resign_intake(&self, node: &NodeId) -> Result<(), BrokerError> {
        unlock(self, &self.keys.ingest_leader(), node).await
    }

    async fn read_intake(&self, node: &NodeId) -> Result<Option<Reading>, BrokerError> {
        let ingest = self.keys.ingest();
        let mut call = script::READ.call(&[&ingest, &self.keys.ingest_leader()]);
        let name = Uuid::new_v4().simple().to_string();
        call.arg(holder(self, node)).arg(new_generation()).arg(&name);
        let generation = text(self.commands(&ingest).call_script(&script::READ, call).await?);
        Ok(generation.map(|generation| Reading { generation: generation.into(), name: name.into() }))
    }

    async fn take_intake(
        &self,
        reading: &Reading,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<IntakeEntry>, BrokerError> {
        let ingest = self.keys.ingest();
        let mut read = ::redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(group(reading)).arg(CONSUMER).arg("COUNT").arg(limit.max(1));
        // `BLOCK 0` blocks forever.
        if !wait.is_zero() {
            read.arg("BLOCK").arg(millis(wait));
        }
        read.arg("NOACK").arg("STREAMS").arg(&ingest).arg(">");
        let streams = self.pool(&ingest).command(&read, wait).await?;
        // One stream, if it has entries.
        let stream = map(streams).and_then(|streams| streams.into_iter().next());
        let taken = stream.and_then(|(_, taken)| entries(taken));
        let taken = taken.unwrap_or_default().into_iter().flatten();
        Ok(taken.map(|(id, fields)| IntakeEntry { id, fields }).collect())
    }

    async fn publish_intake(
        &self,
        reading: &Reading,
        entries: Vec<ChainedEntry>,
    ) -> Vec<Result<IntakeOutcome, BrokerError>> {
        publish::publish_intake(self, reading, entries).await
    }

    async fn reject_intake(&self, reading: &Reading, rejected: Vec<Rejected>) -> Result<(), BrokerError> {
        let ingest = self.keys.ingest();
        let calls = rejected.into_iter().map(|rejected| {
            let id = rejected.id.to_string();
            let (reason, fields) = rejected.kept(self.settings.max_data);
            let mut call = script::REJECT.call(&[&ingest, &self.keys.ingest_dead()]);
            call.arg(group(reading)).arg(id).arg(reason).arg(self.settings.dead_events);
            for (name, value) in fields {
                call.arg(&name[..]).arg(&value[..]);
            }
            call
        });
        for reply in self.commands(&ingest).call_scripts(&script::REJECT, calls.collect()).await? {
            result(reply)?;
        }
        Ok(())
    }

    async fn settle_intake(&self, reading: &Reading, published: Vec<Position>) -> Result<(), BrokerError> {
        let ingest = self.keys.ingest();
        let calls = published.chunks(SETTLED_AT_ONCE).map(|ids| {
            let mut call = script::SETTLE.call(&[&ingest]);
            call.arg(group(reading));
            for id in ids {
                call.arg(id.to_string());
            }
            call
        });
        for reply in self.commands(&ingest).call_scripts(&script::SETTLE, calls.collect()).await? {
            result(reply)?;
        }
        Ok(())
    }

    async fn reset_intake(&self, reading: &Reading) -> Result<Option<Position>, BrokerError> {
        let ingest = self.keys.ingest();
        let next = Reading { generation: new_generation().into(), name: reading.name.clone() };
        let mut call = script::RESET.call(&[&ingest]);
        call.arg(group(reading)).arg(group(&next)).arg(millis(MAX_AHEAD));
        let last = self.commands(&ingest).call_script(&script::RESET, call).await?;
        Ok(position(last))
    }
}

/// Returns a name for a generation. Short, since each last position is stored with one.
fn new_generation() -> String {
    let mut name = Uuid::new_v4().simple().to_string();
    name.truncate(8);
    name
}

fn group(reading: &Reading) -> String {
    format!("fanfare:{}:{}", reading.generation, reading.name)
}
