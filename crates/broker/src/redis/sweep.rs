//! The sweep: removes sessions of dead nodes, and ends those whose grace period is over.

use std::time::Duration;

use ::redis::Value;
use fanfare_protocol::{Channel, SessionId, User};

use super::error::{result, unexpected};
use super::key::{Key, about};
use super::lock::lock;
use super::nodes::{forget_nodes, node_ids};
use super::reply::{array, bytes, is_one};
use super::{RedisBroker, script};
use crate::BrokerError;
use crate::lease::{NodeId, SWEEP_STEP, Swept};

/// Maximum number of nodes that one step of a sweep checks.
const NODES_STEP: usize = 500;

/// Performs one step.
pub(super) async fn sweep(broker: &RedisBroker, node: &NodeId, ttl: Duration) -> Result<Swept, BrokerError> {
    let mut swept = Swept::default();
    if !lock(broker, &script::LOCK, &broker.keys.sweeper(), node, ttl).await? {
        return Ok(swept);
    }
    let nodes = sweep_nodes(broker, &mut swept).await;
    let users = expire_grace(broker, &mut swept).await;
    // A key that cannot be read must not block the others.
    match nodes.and(users) {
        Err(error) if error.is_passing() => return Err(error),
        outcome => swept.fault = outcome.err(),
    }
    Ok(swept)
}

/// Removes sessions of dead nodes, and of earlier processes with a live node's id.
async fn sweep_nodes(broker: &RedisBroker, swept: &mut Swept) -> Result<(), BrokerError> {
    // A random part, if there are very many nodes.
    let nodes = broker.keys.nodes();
    let mut some = about("SRANDMEMBER", &nodes);
    some.arg(NODES_STEP);
    let ids = node_ids(broker.commands(&nodes).command(some).await?)?;
    let all = ids.len() < NODES_STEP;
    let orphaned = orphaned(broker, ids).await?;
    let dead: Vec<_> = orphaned.iter().filter(|(_, is_dead)| *is_dead).map(|(id, _)| id).collect();
    let mut forgotten = forget_nodes(broker, &dead).await?.into_iter();
    let mut budget = SWEEP_STEP;
    let (mut outcome, mut is_empty) = (Ok(()), true);
    for (id, is_dead) in &orphaned {
        // Most nodes that shut down have no sessions left.
        if *is_dead && forgotten.next().unwrap_or(false) {
            is_empty = false;
            continue;
        }
        let one = async {
            sweep_set(broker, id, &broker.keys.former(id), &mut budget, swept).await?;
            if *is_dead {
                sweep_set(broker, id, &broker.keys.index(id), &mut budget, swept).await?;
                forget_nodes(broker, &[id]).await?;
            }
            Ok(())
        };
        outcome = outcome.and(one.await);
        if budget == 0 {
            swept.more = true;
            break;
        }
    }
    swept.more |= !all && !is_empty;
    outcome
}

/// Checks users and channels whose time has come: ends sessions that waited for another node, and reports users offline and
/// channels vacated.
async fn expire_grace(broker: &RedisBroker, swept: &mut Swept) -> Result<(), BrokerError> {
    let keys = &broker.keys;
    let mut due = script::DUE.call(&[&keys.leaving()]);
    due.arg(SWEEP_STEP);
    let due = array(broker.commands(&keys.leaving()).call_script(&script::DUE, due).await?)
        .ok_or_else(|| unexpected("a sorted set"))?;
    let is_full = due.len() >= SWEEP_STEP;
    let (mut calls, mut channels) = (Vec::with_capacity(due.len()), Vec::new());
    for member in due.into_iter().filter_map(bytes) {
        match channel_check(broker, &member) {
            Some(check) => channels.push(check),
            None => calls.push(user_check(broker, &member)),
        }
    }
    let is_expiry: Vec<bool> = calls.iter().map(is_script).collect();
    let (mut outcome, mut done) = check_channels(broker, channels).await?;
    for (reply, is_expiry) in broker
        .commands(&keys.leaving())
        .call_scripts(&script::EXPIRE_GRACE, calls)
        .await?
        .into_iter()
        .zip(is_expiry)
    {
        match result(reply) {
            Ok(Value::Int(ended)) => {
                done += 1;
                let ended = usize::try_from(ended).unwrap_or_default();
                if is_expiry {
                    swept.users += 1;
                    swept.sessions += ended;
                } else {
                    swept.malformed += ended;
                }
            }
            Ok(_) => outcome = outcome.and(Err(unexpected("a number"))),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    swept.more |= is_full && done > 0;
    outcome
}

/// Returns the check of the user that a member names.
fn user_check(broker: &RedisBroker, member: &[u8]) -> ::redis::Cmd {
    let keys = &broker.keys;
    let Some(user) = std::str::from_utf8(member).ok().and_then(|id| User::new(id).ok()) else {
        // Not a user id, so not written by a node.
        let mut remove = about("ZREM", &keys.leaving());
        remove.arg(member);
        return remove;
    };
    let mut call = script::EXPIRE_GRACE.call(&[&keys.sessions(&user), &keys.leaving(), &keys.lifecycle()]);
    call.arg(user.id()).arg(broker.settings.lifecycle_events).arg(broker.grace_ms());
    call
}

/// Returns the check of a channel, if the member names one: `occupied <channel>` or `vacated <channel>`.
fn channel_check(broker: &RedisBroker, member: &[u8]) -> Option<::redis::Cmd> {
    let text = std::str::from_utf8(member).ok()?;
    let (last, name) = text.split_once(' ').filter(|(last, _)| ["occupied", "vacated"].contains(last))?;
    let (keys, channel) = (&broker.keys, Channel::new(name).ok()?);
    let presence = keys.presence(channel.as_str());
    let mut call = script::CHECK_CHANNEL.call(&[&presence, &keys.leaving(), &keys.lifecycle()]);
    call.arg(text).arg(last).arg(name).arg(broker.settings.lifecycle_events);
    Some(call)
}

/// Checks channels. Returns the first error, and how many channels were checked.
async fn check_channels(
    broker: &RedisBroker,
    calls: Vec<::redis::Cmd>,
) -> Result<(Result<(), BrokerError>, usize), BrokerError> {
    if calls.is_empty() {
        return Ok((Ok(()), 0));
    }
    let commands = broker.commands(&broker.keys.leaving());
    let replies = commands.call_scripts(&script::CHECK_CHANNEL, calls).await?;
    let (mut outcome, mut done) = (Ok(()), 0);
    for reply in replies {
        match result(reply) {
            Ok(_) => done += 1,
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    Ok((outcome, done))
}

/// Returns the nodes that may have sessions to remove, and whether they have no lease.
async fn orphaned(broker: &RedisBroker, ids: Vec<NodeId>) -> Result<Vec<(NodeId, bool)>, BrokerError> {
    let keys = ids.iter().flat_map(|id| [broker.keys.lease(id), broker.keys.former(id)]);
    let replies = broker
        .commands(&broker.keys.nodes())
        .commands(keys.map(|key| about("EXISTS", &key)).collect())
        .await?;
    let exist = replies.into_iter().map(|reply| is_one(&result(reply)?));
    let exist = exist.collect::<Result<Vec<_>, BrokerError>>()?;
    let nodes = ids.into_iter().zip(exist.chunks(2));
    Ok(nodes.filter(|(_, exist)| !exist[0] || exist[1]).map(|(id, exist)| (id, !exist[0])).collect())
}

/// Removes the sessions in a set of a node.
async fn sweep_set(
    broker: &RedisBroker,
    node: &NodeId,
    set: &Key,
    budget: &mut usize,
    swept: &mut Swept,
) -> Result<(), BrokerError> {
    if *budget == 0 {
        return Ok(());
    }
    let mut some = ::redis::cmd("SRANDMEMBER");
    some.arg(set).arg(*budget);
    let members = array(broker.commands(set).command(some).await?).ok_or_else(|| unexpected("a set"))?;
    let members = members.into_iter().take(*budget).collect::<Vec<_>>();
    *budget -= members.len();
    let mut calls = Vec::with_capacity(members.len());
    for member in members {
        let Some(member) = bytes(member) else { continue };
        let Some((session, user)) = session_of(&member) else {
            // Not written by a node.
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
        call.arg(broker.settings.lifecycle_per_minute);
        calls.push(call);
    }
    let is_sweep: Vec<bool> = calls.iter().map(is_script).collect();
    let replies = broker.commands(set).call_scripts(&script::SWEEP, calls).await?;
    let mut outcome = Ok(());
    for (reply, is_sweep) in replies.into_iter().zip(is_sweep) {
        match result(reply).and_then(|reply| is_one(&reply)) {
            Ok(done) if is_sweep => swept.sessions += usize::from(done),
            Ok(done) => swept.malformed += usize::from(done),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome
}

fn is_script(command: &::redis::Cmd) -> bool {
    let first = command.args_iter().next();
    matches!(first, Some(::redis::Arg::Simple(name)) if name == b"EVALSHA")
}

/// Parses `<session> <user>`.
fn session_of(member: &[u8]) -> Option<(SessionId, User)> {
    let (session, user) = std::str::from_utf8(member).ok()?.split_once(' ')?;
    Some((session.parse().ok()?, User::new(user).ok()?))
}
