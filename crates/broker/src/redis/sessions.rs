//! Claims of sessions.

use ::redis::{Cmd, Value};
use fanfare_protocol::json::ByName;
use fanfare_protocol::session::Control;
use fanfare_protocol::{SessionId, User};
use serde::Deserialize;

use super::error::unexpected;
use super::link::Link;
use super::reply::{array, bytes, is_one, pairs, text};
use super::{RedisBroker, script};
use crate::BrokerError;
use crate::lease::NodeId;
use crate::session::{Claim, Claimed, CloseReason, Holding, Renewed, SessionInfo};

/// Number of sessions that are renewed in one pipeline.
const RENEW_BATCH: usize = 250;

pub(super) async fn claim(broker: &RedisBroker, claim: &Claim) -> Result<Claimed, BrokerError> {
    let mut call = call(broker, &script::CLAIM, &claim.node, &claim.user, claim.session);
    call.arg(json(&claim.client)).arg(claim.limit).arg(broker.settings.lifecycle_events);
    call.arg(broker.keys.prefix()).arg(broker.settings.lifecycle_per_minute).arg(broker.grace_ms());
    claimed(script::CLAIM.run(&broker.link, call).await?).ok_or_else(|| unexpected("a claim"))
}

fn claimed(reply: Value) -> Option<Claimed> {
    if reply == Value::Int(0) {
        return Some(Claimed::Full);
    }
    let mut parts = array(reply)?.into_iter();
    let epoch = text(parts.next()?)?.parse().ok()?;
    let from = text(parts.next()?)?;
    // An old owner with an invalid node id cannot be sent a command.
    let from = NodeId::new(&from).ok();
    Some(Claimed::Held { epoch, from })
}

pub(super) async fn release(
    broker: &RedisBroker,
    node: &NodeId,
    user: &User,
    session: SessionId,
    epoch: u64,
    reason: CloseReason,
) -> Result<bool, BrokerError> {
    let mut call = call(broker, &script::RELEASE, node, user, session);
    call.arg(epoch).arg(reason.as_str()).arg(broker.settings.lifecycle_events);
    call.arg(broker.grace_ms()).arg(broker.settings.lifecycle_per_minute);
    is_one(&script::RELEASE.run(&broker.link, call).await?)
}

pub(super) async fn renew(
    broker: &RedisBroker,
    node: &NodeId,
    held: &[Holding],
) -> Result<Vec<Renewed>, BrokerError> {
    let mut renewed = Vec::with_capacity(held.len());
    for batch in held.chunks(RENEW_BATCH) {
        let mut calls = Vec::with_capacity(batch.len());
        for holding in batch {
            let mut call = call(broker, &script::RENEW, node, &holding.user, holding.session);
            call.arg(holding.epoch).arg(holding.since).arg(json(&holding.client));
            call.arg(broker.settings.lifecycle_events).arg(broker.keys.prefix());
            call.arg(broker.settings.lifecycle_per_minute);
            calls.push(call);
        }
        for reply in script::RENEW.run_all(&broker.link, calls).await? {
            renewed.push(match Link::reply(reply)? {
                Value::Int(0) => Renewed::Lost,
                epoch => {
                    let epoch = text(epoch).and_then(|text| text.parse().ok());
                    Renewed::Held(epoch.ok_or_else(|| unexpected("an epoch"))?)
                }
            });
        }
    }
    Ok(renewed)
}

pub(super) async fn sessions(broker: &RedisBroker, user: &User) -> Result<Vec<SessionInfo>, BrokerError> {
    let key = broker.keys.sessions(user);
    let reply = broker.pool.command(::redis::cmd("HGETALL").arg(key), std::time::Duration::ZERO).await?;
    let fields = array(reply).ok_or_else(|| unexpected("a hash"))?;
    // Ignores values that were not written by a node.
    let mut list: Vec<_> = pairs(fields).filter_map(|(id, value)| session_info(id, value)).collect();
    list.sort_by_key(|info| (info.since, info.session));
    Ok(list)
}

/// The value of a session in its user's hash.
#[derive(Deserialize)]
struct Owner {
    node: NodeId,
    epoch: u64,
    since: u64,
    #[serde(default)]
    client: String,
    /// Set if a draining node has released the session: it has no owner until it is claimed again.
    leaving: Option<u64>,
}

fn session_info(id: Value, value: Value) -> Option<SessionInfo> {
    let session = text(id)?.parse().ok()?;
    let Owner { node, epoch, since, client, leaving } =
        serde_json::from_slice(&bytes(value)?).map(|ByName(owner)| owner).ok()?;
    leaving.is_none().then(|| SessionInfo { session, node, epoch, since, client: client.into() })
}

pub(super) async fn send(broker: &RedisBroker, node: &NodeId, command: &Control) -> Result<(), BrokerError> {
    let mut publish = ::redis::cmd("PUBLISH");
    publish.arg(broker.keys.control(node)).arg(command.encode());
    broker.link.command(publish).await?;
    Ok(())
}

/// Starts a call of a session script, with the keys and arguments that all of them have.
fn call(
    broker: &RedisBroker,
    script: &'static script::Script,
    node: &NodeId,
    user: &User,
    session: SessionId,
) -> Cmd {
    let keys = &broker.keys;
    let mut call = script.call(&[
        &keys.sessions(user),
        &keys.index(node),
        &keys.lifecycle(),
        &keys.leaving(),
        &keys.nodes(),
    ]);
    call.arg(node.as_str()).arg(session.to_string()).arg(user.id());
    call
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
