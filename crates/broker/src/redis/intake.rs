//! The ingest stream: what publishers left for whichever node takes it.
//!
//! The stream has one consumer group. Only the leader takes entries, so those of a channel keep their order; what a
//! node has taken and not settled stays pending, and the next leader takes it again first.

use std::time::Duration;

use ::redis::{Cmd, Pipeline, Value};

use super::RedisBroker;
use super::error::unexpected;
use super::link::{Link, about};
use super::pool::RedisOr;
use super::reply::{StreamEntry, array, entries, millis, text};
use crate::BrokerError;
use crate::intake::{IntakeEntry, Settlement};
use crate::settings::INTAKE_SETTLED_ONCE;

/// The one consumer in the group, since one node at a time takes entries: a name for each node would stay for ever.
const CONSUMER: &str = "leader";
/// The consumer group of the ingest stream.
pub(super) const GROUP: &str = "fanfare";

pub(super) async fn take(
    broker: &RedisBroker,
    again: bool,
    limit: usize,
    wait: Duration,
) -> Result<Vec<IntakeEntry>, BrokerError> {
    let limit = limit.max(1);
    let taken = if again { take_again(broker, limit).await } else { take_new(broker, limit, wait).await };
    match taken {
        // The stream was deleted, with its group: nothing is pending, and new entries are for the next call.
        Err(error) if error.has_code("NOGROUP") || error.has_code("UNBLOCKED") => {
            create_group(broker).await?;
            Ok(Vec::new())
        }
        other => Ok(other?),
    }
}

async fn take_new(broker: &RedisBroker, limit: usize, wait: Duration) -> Result<Vec<IntakeEntry>, RedisOr> {
    let mut read = ::redis::cmd("XREADGROUP");
    read.arg("GROUP").arg(GROUP).arg(CONSUMER).arg("COUNT").arg(limit);
    // For Redis, to block for 0 ms is to block for ever.
    if !wait.is_zero() {
        read.arg("BLOCK").arg(millis(wait));
    }
    read.arg("STREAMS").arg(broker.keys.ingest()).arg(">");
    let streams = broker.pool.command(&read, wait).await?;
    let stream = array(streams).and_then(|streams| streams.into_iter().next());
    let Some(stream) = stream else { return Ok(Vec::new()) };
    let read = array(stream).and_then(|parts| parts.into_iter().nth(1)).and_then(entries);
    Ok(taken(read.unwrap_or_default()))
}

/// Entries that are pending, whoever took them.
async fn take_again(broker: &RedisBroker, limit: usize) -> Result<Vec<IntakeEntry>, RedisOr> {
    let mut cursor = "0-0".to_owned();
    loop {
        let mut claim = ::redis::cmd("XAUTOCLAIM");
        claim.arg(broker.keys.ingest()).arg(GROUP).arg(CONSUMER);
        claim.arg(0).arg(&cursor).arg("COUNT").arg(limit);
        let mut parts =
            array(broker.pool.command(&claim, Duration::ZERO).await?).unwrap_or_default().into_iter();
        cursor = parts.next().and_then(text).unwrap_or_else(|| "0-0".to_owned());
        let claimed = taken(parts.next().and_then(entries).unwrap_or_default());
        // Pending entries that were deleted from the stream are forgotten by Redis as it passes them, and may fill a
        // whole answer.
        if !claimed.is_empty() || cursor == "0-0" {
            return Ok(claimed);
        }
    }
}

fn taken(entries: Vec<Option<StreamEntry>>) -> Vec<IntakeEntry> {
    entries.into_iter().flatten().map(|(id, fields)| IntakeEntry { id, fields }).collect()
}

pub(super) async fn settle(broker: &RedisBroker, settled: Vec<Settlement>) -> Result<(), BrokerError> {
    if settled.is_empty() {
        return Ok(());
    }
    let ingest = broker.keys.ingest();
    let mut all = Pipeline::new();
    all.atomic();
    let buries = settled.iter().any(|settlement| matches!(settlement, Settlement::Dead(..)));
    let mut ids = Vec::with_capacity(settled.len());
    for settlement in settled {
        ids.push(match settlement {
            Settlement::Done { id, channel } => {
                // Not removed at once: a node that was paused with the entry in hand may yet publish it.
                let key = broker.keys.once(&channel, &crate::intake::once_key(id));
                all.cmd("PEXPIRE").arg(key).arg(millis(INTAKE_SETTLED_ONCE)).arg("LT");
                id.to_string()
            }
            Settlement::Dead(entry, reason) => {
                let id = entry.id.to_string();
                all.add_command(bury(broker, &entry, &reason, &id));
                id
            }
        });
    }
    if buries {
        // A transaction is not rolled back: a wrong type must be found before entries are removed.
        broker.link.command(about("XLEN", &broker.keys.ingest_dead())).await?;
    }
    all.cmd("XACK").arg(&ingest).arg(GROUP).arg(&ids);
    all.cmd("XDEL").arg(&ingest).arg(&ids);
    for reply in broker.link.transaction(&all).await? {
        Link::reply(reply)?;
    }
    Ok(())
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

/// Creates the stream and its consumer group, unless they are there. The group begins at the oldest entry: what was
/// left before there was a group is taken too.
pub(super) async fn create_group(broker: &RedisBroker) -> Result<(), BrokerError> {
    let mut create = ::redis::cmd("XGROUP");
    create.arg("CREATE").arg(broker.keys.ingest()).arg(GROUP).arg("0").arg("MKSTREAM");
    match broker.pool.command(&create, Duration::ZERO).await {
        Ok(Value::Okay) => Ok(()),
        Ok(_) => Err(unexpected("OK")),
        Err(error) if error.has_code("BUSYGROUP") => Ok(()),
        Err(error) => Err(error.into()),
    }
}
