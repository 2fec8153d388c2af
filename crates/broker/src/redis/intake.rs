//! The ingest stream: what publishers left for whichever node takes it.
//!
//! Whoever leads reads it from the oldest entry, in a consumer group of its own. Entries that are settled are deleted, so
//! what an earlier leader took and did not settle comes first, in its place. The group is there for two things: a call of
//! an earlier reading that reaches Redis late takes nothing away from this one, since its group is gone; and a stream that
//! was deleted is noticed, since the group went with it. Redis keeps no list of what was taken (`NOACK`): it is the stream
//! itself.

use std::time::Duration;

use ::redis::Cmd;
use uuid::Uuid;

use super::error::{check, sort};
use super::leases::holder;
use super::link::Link;
use super::pool::RedisOr;
use super::reply::{array, entries, millis, text};
use super::{RedisBroker, script};
use crate::BrokerError;
use crate::intake::{IntakeEntry, Reading, Settlement};
use crate::lease::NodeId;

/// The one consumer in each group.
const CONSUMER: &str = "leader";

pub(super) async fn read(broker: &RedisBroker, node: &NodeId) -> Result<Option<Reading>, BrokerError> {
    let keys = &broker.keys;
    let mut call = script::READ.call(&[&keys.ingest(), &keys.ingest_leader()]);
    // Part of each last position: short.
    let (generation, name) = (Uuid::new_v4().simple().to_string(), Uuid::new_v4().simple().to_string());
    call.arg(holder(broker, node)).arg(&generation[..8]).arg(&name);
    let generation = text(script::READ.run(&broker.link, call).await?);
    Ok(generation.map(|generation| Reading { generation: generation.into(), name: name.into() }))
}

pub(super) async fn take(
    broker: &RedisBroker,
    reading: &Reading,
    limit: usize,
    wait: Duration,
) -> Result<Option<Vec<IntakeEntry>>, BrokerError> {
    match take_next(broker, reading, limit.max(1), wait).await {
        // Another leader has its own group, or the stream was deleted with all of them.
        Err(error) if error.has_code("NOGROUP") || error.has_code("UNBLOCKED") => Ok(None),
        taken => Ok(Some(taken?)),
    }
}

async fn take_next(
    broker: &RedisBroker,
    reading: &Reading,
    limit: usize,
    wait: Duration,
) -> Result<Vec<IntakeEntry>, RedisOr> {
    let mut read = ::redis::cmd("XREADGROUP");
    read.arg("GROUP").arg(group(reading)).arg(CONSUMER).arg("COUNT").arg(limit);
    // For Redis, to block for 0 ms is to block for ever.
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

pub(super) async fn settle(
    broker: &RedisBroker,
    reading: &Reading,
    settled: Vec<Settlement>,
) -> Result<(), BrokerError> {
    if settled.is_empty() {
        return Ok(());
    }
    let mut dead = Vec::new();
    let mut remove = script::SETTLE.call(&[&broker.keys.ingest()]);
    remove.arg(group(reading)).arg(CONSUMER);
    for settlement in settled {
        match settlement {
            Settlement::Done(id) => remove.arg(id.to_string()),
            Settlement::Dead(entry, reason) => {
                let id = entry.id.to_string();
                dead.push(bury(broker, &entry, &reason, &id));
                remove.arg(id)
            }
        };
    }
    // Before anything is removed: whatever comes between the two, an entry is among the dead twice and not lost.
    for reply in broker.link.commands(dead).await? {
        Link::reply(reply)?;
    }
    match script::SETTLE.run_all(&broker.link, vec![remove]).await?.pop().map(check) {
        Some(Err(error)) if error.code() == Some("NOGROUP") => Ok(()),
        Some(Err(error)) => Err(sort(&error)),
        _ => Ok(()),
    }
}

fn group(reading: &Reading) -> String {
    format!("fanfare:{}:{}", reading.generation, reading.name)
}

fn bury(broker: &RedisBroker, entry: &IntakeEntry, reason: &str, id: &str) -> Cmd {
    let mut add = ::redis::cmd("XADD");
    add.arg(broker.keys.ingest_dead()).arg("MAXLEN").arg("~").arg(broker.settings.dead_events).arg("*");
    add.arg("reason").arg(reason).arg("entry").arg(id);
    for (name, value) in &entry.fields {
        add.arg(&name[..]).arg(&value[..]);
    }
    add
}
