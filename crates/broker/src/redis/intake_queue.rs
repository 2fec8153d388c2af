//! The ingest stream.
//!
//! The leader reads it from the oldest entry, in a new consumer group. Acknowledged entries are deleted, so entries
//! that an earlier leader read and did not acknowledge come first. The group has two purposes: a late call of an
//! earlier reading fails, since its group is gone; and a deleted stream is noticed, since the group was deleted with
//! it. Redis keeps no list of pending entries (`NOACK`): the stream itself is that list.

use std::time::Duration;

use ::redis::Value;
use async_trait::async_trait;
use fanfare_protocol::Position;
use uuid::Uuid;

use super::error::{result, unexpected};
use super::key::about;
use super::lock::{holder, lock, unlock};
use super::log::at_a_time;
use super::reply::{array, entries, is_one, map, millis, position, text};
use super::{RedisBroker, publish, script};
use crate::dead_letter::{DEAD_CUT, DEAD_FIELDS, DeadLetter, DeadLetters, Rejected, Requeued};
use crate::intake::{ChainedEntry, IntakeEntry, IntakeOutcome, MAX_AHEAD, Reading};
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

    async fn dead_letters(
        &self,
        from: Position,
        limit: usize,
        bytes: usize,
    ) -> Result<DeadLetters, BrokerError> {
        let dead = self.keys.ingest_dead();
        let mut call = script::DEAD_LETTERS.call(&[&dead]);
        call.arg(from.to_string()).arg(limit.max(1)).arg(bytes).arg(at_a_time(self));
        let reply = self.reads(&dead).call_script(&script::DEAD_LETTERS, call).await?;
        read_dead_letters(reply).ok_or_else(|| unexpected("entries of the dead-letter stream"))
    }

    async fn requeue_dead(&self, id: Position) -> Result<Requeued, BrokerError> {
        let dead = self.keys.ingest_dead();
        let mut call = script::REQUEUE.call(&[&dead, &self.keys.ingest()]);
        call.arg(id.to_string()).arg(DEAD_CUT).arg(DEAD_FIELDS);
        match self.commands(&dead).call_script(&script::REQUEUE, call).await? {
            Value::Nil => Ok(Requeued::Gone),
            Value::Int(0) => Ok(Requeued::Incomplete),
            reply => position(reply).map(Requeued::As).ok_or_else(|| unexpected("an id")),
        }
    }

    async fn drop_dead(&self, id: Position) -> Result<bool, BrokerError> {
        let dead = self.keys.ingest_dead();
        let mut drop = about("XDEL", &dead);
        drop.arg(id.to_string());
        is_one(&self.commands(&dead).command(drop).await?)
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

fn read_dead_letters(reply: Value) -> Option<DeadLetters> {
    let [found, more] = <[Value; 2]>::try_from(array(reply)?).ok()?;
    let entries = entries(found)?.into_iter().collect::<Option<Vec<_>>>()?;
    let letters = entries.into_iter().map(|(id, fields)| DeadLetter::read(id, fields)).collect();
    Some(DeadLetters { letters, more: is_one(&more).ok()? })
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
