//! The ingest stream.
//!
//! The leader reads it from the oldest entry, in a new consumer group. Acknowledged entries are deleted, so entries
//! that an earlier leader read and did not acknowledge come first. The group has two purposes: a late call of an
//! earlier reading fails, since its group is gone; and a deleted stream is noticed, since the group was deleted with
//! it. Redis keeps no list of pending entries (`NOACK`): the stream itself is that list.

use std::time::Duration;

use fanfare_protocol::Position;
use uuid::Uuid;

use super::leases::holder;
use super::reply::{array, entries, millis, text};
use super::shared_connection::SharedConnection;
use super::{RedisBroker, script};
use crate::BrokerError;
use crate::intake::{IntakeEntry, Reading, Rejected};
use crate::lease::NodeId;

/// Maximum number of entries that one script removes: Redis serves no other connection meanwhile.
const SETTLED_AT_ONCE: usize = 1000;

/// The only consumer of each group, which Redis creates at its first use.
const CONSUMER: &str = "leader";

pub(super) async fn read(broker: &RedisBroker, node: &NodeId) -> Result<Option<Reading>, BrokerError> {
    let keys = &broker.keys;
    let mut call = script::READ.call(&[&keys.ingest(), &keys.ingest_leader()]);
    // Stored with each last position, so it is short.
    let (generation, name) = (Uuid::new_v4().simple().to_string(), Uuid::new_v4().simple().to_string());
    call.arg(holder(broker, node)).arg(&generation[..8]).arg(&name);
    let generation = text(script::READ.run(&broker.commands, call).await?);
    Ok(generation.map(|generation| Reading { generation: generation.into(), name: name.into() }))
}

pub(super) async fn take(
    broker: &RedisBroker,
    reading: &Reading,
    limit: usize,
    wait: Duration,
) -> Result<Vec<IntakeEntry>, BrokerError> {
    let mut read = ::redis::cmd("XREADGROUP");
    read.arg("GROUP").arg(group(reading)).arg(CONSUMER).arg("COUNT").arg(limit.max(1));
    // `BLOCK 0` blocks forever.
    if !wait.is_zero() {
        read.arg("BLOCK").arg(millis(wait));
    }
    read.arg("NOACK").arg("STREAMS").arg(broker.keys.ingest()).arg(">");
    let streams = broker.pool.command(&read, wait).await?;
    let stream = array(streams).and_then(|streams| streams.into_iter().next());
    let Some(stream) = stream else { return Ok(Vec::new()) };
    let taken = array(stream).and_then(|parts| parts.into_iter().nth(1)).and_then(entries);
    let taken = taken.unwrap_or_default().into_iter().flatten();
    Ok(taken.map(|(id, fields)| IntakeEntry { id, fields }).collect())
}

pub(super) async fn reject(
    broker: &RedisBroker,
    reading: &Reading,
    rejected: Vec<Rejected>,
) -> Result<(), BrokerError> {
    let calls = rejected.into_iter().map(|rejected| {
        let id = rejected.id.to_string();
        let (reason, fields) = rejected.kept(broker.settings.max_data);
        let mut call = script::REJECT.call(&[&broker.keys.ingest(), &broker.keys.ingest_dead()]);
        call.arg(group(reading)).arg(id).arg(reason).arg(broker.settings.dead_events);
        for (name, value) in fields {
            call.arg(&name[..]).arg(&value[..]);
        }
        call
    });
    for reply in script::REJECT.run_all(&broker.commands, calls.collect()).await? {
        SharedConnection::reply(reply)?;
    }
    Ok(())
}

pub(super) async fn settle(
    broker: &RedisBroker,
    reading: &Reading,
    published: Vec<Position>,
) -> Result<(), BrokerError> {
    let calls = published.chunks(SETTLED_AT_ONCE).map(|ids| {
        let mut call = script::SETTLE.call(&[&broker.keys.ingest()]);
        call.arg(group(reading));
        for id in ids {
            call.arg(id.to_string());
        }
        call
    });
    for reply in script::SETTLE.run_all(&broker.commands, calls.collect()).await? {
        SharedConnection::reply(reply)?;
    }
    Ok(())
}

fn group(reading: &Reading) -> String {
    format!("fanfare:{}:{}", reading.generation, reading.name)
}
