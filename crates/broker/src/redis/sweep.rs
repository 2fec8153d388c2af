//! The sweep: removes sessions of dead nodes, and ends those whose grace period is over.

use std::time::Duration;

use ::redis::{Cmd, Value};
use fanfare_protocol::{Channel, SessionId, User};

use super::error::{result, unexpected};
use super::key::{Key, about};
use super::lock::lock;
use super::nodes::{forget_nodes, node_ids};
use super::pipelines::{MAX_CHANNELS, pipelines};
use super::reply::{array, bytes, is_one, number};
use super::script::Script;
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
    let (mut users, mut channels) = (Vec::with_capacity(due.len()), Vec::new());
    for member in due.into_iter().filter_map(bytes) {
        match channel_check(broker, &member) {
            Some(check) => channels.push(check),
            None => users.push(user_check(broker, &member)),
        }
    }
    let (mut outcome, mut done) = check_channels(broker, channels).await?;
    let replies = perform(broker, &keys.leaving(), &script::EXPIRE_GRACE, &users).await?;
    for ((reply, channels), check) in replies.into_iter().zip(users) {
        match result(reply).map(|reply| broker.refusals.strip(reply)) {
            Ok(Value::Int(ended)) => {
                done += 1;
                // The script leaves sessions beyond that to the next step.
                swept.more |= channels > MAX_CHANNELS;
                let ended = usize::try_from(ended).unwrap_or_default();
                if check.count.is_some() {
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
fn user_check(broker: &RedisBroker, member: &[u8]) -> Check {
    let keys = &broker.keys;
    let Some(user) = std::str::from_utf8(member).ok().and_then(|id| User::new(id).ok()) else {
        // Not a user id, so not written by a node.
        let mut remove = about("ZREM", &keys.leaving());
        remove.arg(member);
        return Check { call: remove, count: None };
    };
    let sessions = keys.sessions(&user);
    let mut call = script::EXPIRE_GRACE.call(&[&sessions, &keys.leaving(), &keys.lifecycle()]);
    call.arg(user.id()).arg(broker.settings.lifecycle_events).arg(broker.grace_ms());
    let mut count = script::CHANNELS.call(&[&sessions]);
    count.arg("");
    Check { call, count: Some(count) }
}

/// Returns the check of a channel, if the member names one: `occupied <channel>` or `vacated <channel>`.
fn channel_check(broker: &RedisBroker, member: &[u8]) -> Option<Cmd> {
    let text = std::str::from_utf8(member).ok()?;
    let (last, name) = text.split_once(' ').filter(|(last, _)| ["occupied", "vacated"].contains(last))?;
    let (keys, channel) = (&broker.keys, Channel::new(name).ok()?);
    let presence = keys.presence(channel.as_str());
    let mut call = script::CHECK_CHANNEL.call(&[&presence, &keys.leaving(), &keys.lifecycle()]);
    call.arg(text).arg(last).arg(name).arg(broker.settings.lifecycle_events);
    Some(call)
}

/// A call about a user or a session.
struct Check {
    call: Cmd,
    /// Returns how many channels the call changes. `None` if it only removes a member that no node wrote.
    count: Option<Cmd>,
}

/// Makes the calls in pipelines of a bounded number of channels. Returns the replies in the order of the calls, each with the
/// number of its channels.
async fn perform(
    broker: &RedisBroker,
    key: &Key,
    script: &Script,
    checks: &[Check],
) -> Result<Vec<(Value, usize)>, BrokerError> {
    let counts = checks.iter().filter_map(|check| check.count.clone()).collect();
    let mut counts = broker.commands(key).call_scripts(&script::CHANNELS, counts).await?.into_iter();
    let calls: Vec<_> = checks
        .iter()
        .map(|check| {
            // A key of a wrong type has no channels.
            let count = check.count.as_ref().and_then(|_| number(&counts.next()?));
            (&check.call, count.unwrap_or_default())
        })
        .collect();
    let mut replies = Vec::with_capacity(calls.len());
    for pipeline in pipelines(&calls, SWEEP_STEP, |(_, channels)| *channels) {
        let calls = pipeline.iter().map(|(call, _)| (*call).clone()).collect();
        let answers = broker.commands(key).call_scripts(script, calls).await?;
        replies.extend(answers.into_iter().zip(pipeline.iter().map(|(_, channels)| *channels)));
    }
    Ok(replies)
}

/// Checks channels. Returns the first error, and how many channels were checked.
async fn check_channels(
    broker: &RedisBroker,
    calls: Vec<Cmd>,
) -> Result<(Result<(), BrokerError>, usize), BrokerError> {
    if calls.is_empty() {
        return Ok((Ok(()), 0));
    }
    let commands = broker.commands(&broker.keys.leaving());
    let replies = commands.call_scripts(&script::CHECK_CHANNEL, calls).await?;
    let (mut outcome, mut done) = (Ok(()), 0);
    for reply in replies {
        match result(reply).map(|reply| broker.refusals.strip(reply)) {
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
    let checks = members.into_iter().filter_map(bytes).map(|member| removal(broker, node, set, &member));
    let checks: Vec<_> = checks.collect();
    let replies = perform(broker, set, &script::SWEEP, &checks).await?;
    let mut outcome = Ok(());
    for ((reply, _), check) in replies.into_iter().zip(checks) {
        match result(reply).and_then(|reply| is_one(&broker.refusals.strip(reply))) {
            Ok(done) if check.count.is_some() => swept.sessions += usize::from(done),
            Ok(done) => swept.malformed += usize::from(done),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome
}

/// Returns the removal of the session that a member of a set names.
fn removal(broker: &RedisBroker, node: &NodeId, set: &Key, member: &[u8]) -> Check {
    let Some((session, user)) = session_of(member) else {
        // Not written by a node.
        let mut remove = about("SREM", set);
        remove.arg(member);
        return Check { call: remove, count: None };
    };
    let keys = &broker.keys;
    let sessions = keys.sessions(&user);
    let others = [set, &keys.index(node), &keys.lease(node), &keys.lifecycle(), &keys.leaving()];
    let mut call = script::SWEEP.call(&[&[&sessions], &others[..]].concat());
    call.arg(node.as_str()).arg(session.to_string()).arg(user.id());
    call.arg(broker.settings.lifecycle_events).arg(broker.grace_ms());
    call.arg(broker.settings.lifecycle_per_minute);
    let mut count = script::CHANNELS.call(&[&sessions]);
    count.arg(session.to_string());
    Check { call, count: Some(count) }
}

/// Parses `<session> <user>`.
fn session_of(member: &[u8]) -> Option<(SessionId, User)> {
    let (session, user) = std::str::from_utf8(member).ok()?.split_once(' ')?;
    Some((session.parse().ok()?, User::new(user).ok()?))
}
