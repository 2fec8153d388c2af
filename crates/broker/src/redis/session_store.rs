//! Owners of sessions.

use std::time::Duration;

use ::redis::{Cmd, Value};
use async_trait::async_trait;
use fanfare_protocol::json::ByName;
use fanfare_protocol::session::Control;
use fanfare_protocol::{Channel, SessionId, User};
use serde::Deserialize;

use super::error::{result, unexpected};
use super::key::{Key, about};
use super::pipelines::pipelines;
use super::reply::{array, bytes, is_one, map, position, text};
use super::{RedisBroker, script};
use crate::session::{
    Claim, Claimed, Holding, Presence, PresentIn, Renewed, SessionEnd, SessionInfo, UserPage,
};
use crate::{BrokerError, NodeId, SessionStore};

/// Maximum number of sessions that are renewed in one pipeline.
const RENEW_BATCH: usize = 250;

#[async_trait]
impl SessionStore for RedisBroker {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, BrokerError> {
        let key = self.keys.sessions(&claim.user);
        let (log, last) = (self.keys.log(claim.user.channel()), self.keys.last(claim.user.channel()));
        let mut call = call(self, &script::CLAIM, (&claim.node, &claim.user, claim.session), &[&log, &last]);
        call.arg(json(&claim.client.address)).arg(claim.limit).arg(self.settings.lifecycle_events);
        call.arg(self.keys.prefix()).arg(self.settings.lifecycle_per_minute).arg(self.grace_ms());
        call.arg(u8::from(claim.client.polls)).arg(u8::from(claim.client.resumes));
        call.arg(millis(self.settings.heartbeat_memory)).arg(channels(&claim.client.present_in));
        let reply = self.commands(&key).call_script(&script::CLAIM, call).await?;
        claimed(self.refusals.strip(reply)).ok_or_else(|| unexpected("a claim"))
    }

    async fn release(
        &self,
        node: &NodeId,
        user: &User,
        session: SessionId,
        epoch: u64,
        end: SessionEnd,
    ) -> Result<bool, BrokerError> {
        let key = self.keys.sessions(user);
        let mut call = call(self, &script::RELEASE, (node, user, session), &[]);
        call.arg(epoch).arg(end.reason.as_str()).arg(self.settings.lifecycle_events);
        call.arg(self.grace_ms()).arg(self.settings.lifecycle_per_minute);
        call.arg(end.silence().map_or(0, millis)).arg(millis(self.settings.heartbeat_memory));
        let reply = self.commands(&key).call_script(&script::RELEASE, call).await?;
        is_one(&self.refusals.strip(reply))
    }

    async fn renew(&self, node: &NodeId, held: &[Holding]) -> Result<Vec<Renewed>, BrokerError> {
        let mut renewed = Vec::with_capacity(held.len());
        let channels_of = |holding: &Holding| holding.client.present_in.channels().len();
        for batch in pipelines(held, RENEW_BATCH, channels_of) {
            let mut calls = self.connections.batch(batch.len());
            for holding in batch {
                let mut call = call(self, &script::RENEW, (node, &holding.user, holding.session), &[]);
                call.arg(holding.epoch).arg(holding.since).arg(json(&holding.client.address));
                call.arg(self.settings.lifecycle_events).arg(self.keys.prefix());
                call.arg(self.settings.lifecycle_per_minute).arg(u8::from(holding.client.polls));
                call.arg(self.grace_ms()).arg(channels(&holding.client.present_in));
                calls.add(&self.keys.sessions(&holding.user), call);
            }
            for reply in calls.send(&script::RENEW).await? {
                renewed.push(match self.refusals.strip(result(reply)?) {
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

    async fn sessions(&self, user: &User) -> Result<Vec<SessionInfo>, BrokerError> {
        let key = self.keys.sessions(user);
        let reply = self.pool(&key).command(&about("HGETALL", &key), Duration::ZERO).await?;
        let fields = map(reply).ok_or_else(|| unexpected("a hash"))?;
        // Ignores values that were not written by a node.
        let mut list: Vec<_> = fields.into_iter().filter_map(|(id, value)| session_info(id, value)).collect();
        list.sort_by_key(|info| (info.since, info.session));
        Ok(list)
    }

    async fn presence(&self, channel: &Channel, page: &UserPage) -> Result<Presence, BrokerError> {
        let key = self.keys.presence(channel.as_str());
        let mut call = script::PRESENCE.call(&[&key]);
        call.arg(page.after.as_ref().map_or("", User::id)).arg(page.limit);
        presence(self.commands(&key).call_script(&script::PRESENCE, call).await?)
            .ok_or_else(|| unexpected("the presence of a channel"))
    }

    async fn send(&self, node: &NodeId, command: &Control) -> Result<(), BrokerError> {
        let topic = self.keys.control(node);
        let mut publish = about("PUBLISH", &topic);
        publish.arg(command.encode());
        self.commands(&topic).command(publish).await?;
        Ok(())
    }
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
    let tip = position(parts.next()?);
    let silence = Duration::from_millis(text(parts.next()?)?.parse().ok()?);
    Some(Claimed::Held { epoch, from, tip, silence: (!silence.is_zero()).then_some(silence) })
}

fn presence(reply: Value) -> Option<Presence> {
    let mut parts = array(reply)?.into_iter();
    let mut count = || match parts.next()? {
        Value::Int(count) => usize::try_from(count).ok(),
        _ => None,
    };
    let (sessions, users) = (count()?, count()?);
    // Ignores members that no node wrote.
    let user = |member| User::new(text(member)?.strip_prefix('u')?).ok();
    let list = array(parts.next()?)?.into_iter().filter_map(user).collect();
    Some(Presence { sessions, users, list })
}

/// Returns the channels as a JSON array; an empty text for none. No character of a channel's name is escaped in JSON.
fn channels(present_in: &PresentIn) -> String {
    match present_in.channels() {
        [] => String::new(),
        channels => {
            let names: Vec<&str> = channels.iter().map(Channel::as_str).collect();
            format!("[\"{}\"]", names.join("\",\""))
        }
    }
}

/// The value of a session in its user's hash.
#[derive(Deserialize)]
struct Owner {
    node: NodeId,
    epoch: u64,
    since: u64,
    #[serde(default)]
    client: String,
    /// Set if the session was released and its client is expected back: it has no owner until it is claimed again.
    leaving: Option<u64>,
}

fn session_info(id: Value, value: Value) -> Option<SessionInfo> {
    let session = text(id)?.parse().ok()?;
    let Owner { node, epoch, since, client, leaving } =
        serde_json::from_slice(&bytes(value)?).map(|ByName(owner)| owner).ok()?;
    leaving.is_none().then(|| SessionInfo { session, node, epoch, since, client: client.into() })
}

/// Starts a call of a session script, with the keys and arguments that all of them have, and further keys.
fn call(
    broker: &RedisBroker,
    script: &'static script::Script,
    (node, user, session): (&NodeId, &User, SessionId),
    more: &[&Key],
) -> Cmd {
    let keys = &broker.keys;
    let (sessions, index, nodes) = (keys.sessions(user), keys.index(node), keys.nodes());
    let (lifecycle, leaving) = (keys.lifecycle(), keys.leaving());
    let mut call = script.call(&[&[&sessions, &index, &lifecycle, &leaving, &nodes], more].concat());
    call.arg(node.as_str()).arg(session.to_string()).arg(user.id());
    call
}

/// Converts a duration to milliseconds of which 0 means none, unlike those that Redis takes.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
