//! Leases of nodes, the locks that elect one of them, and the sweep of what dead ones left.

use std::time::Duration;

use ::redis::{Pipeline, Value};
use fanfare_protocol::json::ByName;
use fanfare_protocol::{SessionId, User};

use super::error::unexpected;
use super::link::{Link, about};
use super::reply::{array, bytes, is_one, millis, text};
use super::script::Script;
use super::{RedisBroker, script};
use crate::BrokerError;
use crate::lease::{Lease, NodeId, NodeInfo};

/// How many sessions one sweep removes at most: the rest waits for the next, so that no sweep holds Redis up.
const SWEEP_BATCH: usize = 1000;

pub(super) async fn lease(
    broker: &RedisBroker,
    info: &NodeInfo,
    ttl: Duration,
) -> Result<Lease, BrokerError> {
    let keys = &broker.keys;
    let mut call = script::LEASE.call(&[
        &keys.lease(&info.id),
        &keys.nodes(),
        &keys.index(&info.id),
        &keys.former(&info.id),
        &keys.incarnation(&info.id),
    ]);
    let value = serde_json::to_string(info).map_err(|error| BrokerError::Refused(error.to_string()))?;
    call.arg(info.id.as_str()).arg(&info.incarnation).arg(value).arg(millis(ttl));
    match text(script::LEASE.run(&broker.link, call).await?).as_deref() {
        Some("renewed") => Ok(Lease::Renewed),
        Some("taken") => Ok(Lease::Taken),
        Some("foreign") => Ok(Lease::Foreign),
        _ => Err(unexpected("a lease")),
    }
}

pub(super) async fn leave(broker: &RedisBroker, info: &NodeInfo) -> Result<(), BrokerError> {
    let mut call = script::LEAVE.call(&[&broker.keys.lease(&info.id)]);
    call.arg(&info.incarnation);
    script::LEAVE.run(&broker.link, call).await?;
    bury(broker, &info.id).await
}

pub(super) async fn nodes(broker: &RedisBroker) -> Result<Vec<NodeInfo>, BrokerError> {
    let ids = known(broker).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // One by one and not MGET: the leases need not be in one slot.
    let mut pipeline = Pipeline::with_capacity(ids.len());
    for id in &ids {
        pipeline.cmd("GET").arg(broker.keys.lease(id));
    }
    let mut nodes = Vec::with_capacity(ids.len());
    for reply in broker.pool.pipeline(&pipeline, Duration::ZERO).await? {
        let lease = bytes(Link::reply(reply)?);
        // What is not a lease was not written by a node.
        nodes.extend(
            lease
                .and_then(|lease| serde_json::from_slice::<ByName<NodeInfo>>(&lease).ok())
                .map(|ByName(node)| node),
        );
    }
    nodes.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(nodes)
}

pub(super) async fn lock(
    broker: &RedisBroker,
    script: &Script,
    lock: &str,
    node: &NodeId,
    ttl: Duration,
) -> Result<bool, BrokerError> {
    let mut call = script.call(&[lock]);
    call.arg(holder(broker, node)).arg(millis(ttl));
    is_one(&script.run(&broker.link, call).await?)
}

pub(super) async fn unlock(broker: &RedisBroker, lock: &str, node: &NodeId) -> Result<(), BrokerError> {
    let mut call = script::UNLOCK.call(&[lock]);
    call.arg(holder(broker, node));
    script::UNLOCK.run(&broker.link, call).await?;
    Ok(())
}

/// Who holds a lock: a process, and not a name. Two processes that were given one name by mistake would both lead until
/// one of them finds out.
pub(super) fn holder(broker: &RedisBroker, node: &NodeId) -> String {
    format!("{node} {}", broker.process)
}

pub(super) async fn sweep(broker: &RedisBroker, node: &NodeId, ttl: Duration) -> Result<usize, BrokerError> {
    if !lock(broker, &script::LOCK, &broker.keys.sweeper(), node, ttl).await? {
        return Ok(0);
    }
    let mut removed = 0;
    let mut budget = SWEEP_BATCH;
    for (dead, is_dead) in left_behind(broker).await? {
        removed += sweep_set(broker, &dead, &broker.keys.former(&dead), &mut budget).await?;
        if is_dead {
            removed += sweep_set(broker, &dead, &broker.keys.index(&dead), &mut budget).await?;
            bury(broker, &dead).await?;
        }
        if budget == 0 {
            break;
        }
    }
    Ok(removed + see_off(broker, budget).await?)
}

/// Looks again at users who were leaving, and answers how many sessions of theirs ended.
async fn see_off(broker: &RedisBroker, budget: usize) -> Result<usize, BrokerError> {
    if budget == 0 {
        return Ok(0);
    }
    let keys = &broker.keys;
    // Those whose time comes first. The script knows whether it has come.
    let mut first = ::redis::cmd("ZRANGE");
    first.arg(keys.leaving()).arg(0).arg(budget - 1);
    let users = array(broker.link.command(first).await?).ok_or_else(|| unexpected("a sorted set"))?;
    let mut departures = Vec::with_capacity(users.len());
    for user in users.into_iter().filter_map(text) {
        // What is no user was written by no node, and has no sessions that could be looked at.
        let Ok(user) = User::new(&user) else { continue };
        let mut call = script::DEPART.call(&[&keys.sessions(&user), &keys.leaving(), &keys.lifecycle()]);
        call.arg(user.id()).arg(broker.settings.lifecycle_events);
        departures.push(call);
    }
    if departures.is_empty() {
        return Ok(0);
    }
    let mut ended = 0;
    for reply in script::DEPART.run_all(&broker.link, departures).await? {
        let Value::Int(count) = Link::reply(reply)? else { return Err(unexpected("a number")) };
        ended += usize::try_from(count).unwrap_or_default();
    }
    Ok(ended)
}

/// The nodes that may have left something behind, and whether they are without a lease.
async fn left_behind(broker: &RedisBroker) -> Result<Vec<(NodeId, bool)>, BrokerError> {
    let ids = known(broker).await?;
    let keys = ids.iter().flat_map(|id| [broker.keys.lease(id), broker.keys.former(id)]);
    let replies = broker.link.commands(keys.map(|key| about("EXISTS", &key)).collect()).await?;
    let exist = replies.into_iter().map(|reply| is_one(&Link::reply(reply)?));
    let exist = exist.collect::<Result<Vec<_>, BrokerError>>()?;
    let nodes = ids.into_iter().zip(exist.chunks(2));
    Ok(nodes.filter(|(_, exist)| !exist[0] || exist[1]).map(|(id, exist)| (id, !exist[0])).collect())
}

/// Removes sessions that a set of a node names, and answers how many.
async fn sweep_set(
    broker: &RedisBroker,
    node: &NodeId,
    set: &str,
    budget: &mut usize,
) -> Result<usize, BrokerError> {
    if *budget == 0 {
        return Ok(0);
    }
    let mut some = ::redis::cmd("SRANDMEMBER");
    some.arg(set).arg(*budget);
    let members = array(broker.link.command(some).await?).ok_or_else(|| unexpected("a set"))?;
    *budget -= members.len().min(*budget);
    let mut calls = Vec::with_capacity(members.len());
    for member in members {
        let Some(member) = bytes(member) else { continue };
        let Some((session, user)) = session_of(&member) else {
            // No node has written this.
            let mut remove = about("SREM", set);
            remove.arg(&member[..]);
            calls.push(remove);
            continue;
        };
        let keys = &broker.keys;
        let mut call = script::SWEEP.call(&[
            &keys.sessions(&user),
            set,
            &keys.index(node),
            &keys.lease(node),
            &keys.lifecycle(),
            &keys.leaving(),
        ]);
        call.arg(node.as_str()).arg(session.to_string()).arg(user.id());
        call.arg(broker.settings.lifecycle_events).arg(broker.grace_ms());
        calls.push(call);
    }
    let is_sweep: Vec<bool> = calls.iter().map(is_script).collect();
    let replies = script::SWEEP.run_all(&broker.link, calls).await?;
    let mut removed = 0;
    for (reply, is_sweep) in replies.into_iter().zip(is_sweep) {
        removed += usize::from(is_one(&Link::reply(reply)?)? && is_sweep);
    }
    Ok(removed)
}

fn is_script(command: &::redis::Cmd) -> bool {
    let first = command.args_iter().next();
    matches!(first, Some(::redis::Arg::Simple(name)) if name == b"EVALSHA")
}

/// Takes `<session> <user>` apart.
fn session_of(member: &[u8]) -> Option<(SessionId, User)> {
    let (session, user) = std::str::from_utf8(member).ok()?.split_once(' ')?;
    Some((session.parse().ok()?, User::new(user).ok()?))
}

async fn bury(broker: &RedisBroker, node: &NodeId) -> Result<(), BrokerError> {
    let keys = &broker.keys;
    let mut call = script::BURY.call(&[
        &keys.lease(node),
        &keys.nodes(),
        &keys.index(node),
        &keys.former(node),
        &keys.incarnation(node),
    ]);
    call.arg(node.as_str());
    script::BURY.run(&broker.link, call).await?;
    Ok(())
}

async fn known(broker: &RedisBroker) -> Result<Vec<NodeId>, BrokerError> {
    let reply = broker.link.command(about("SMEMBERS", &broker.keys.nodes())).await?;
    let members = array(reply).ok_or_else(|| unexpected("a set"))?;
    Ok(members.into_iter().filter_map(|id: Value| NodeId::new(&text(id)?).ok()).collect())
}
