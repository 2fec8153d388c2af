//! Publishing: a batch is one pipeline of script calls.

use ::redis::{Cmd, Value};
use fanfare_protocol::publish::{Publication, RESERVED_KEY_PREFIX};
use fanfare_protocol::wire::Frame;

use super::RedisBroker;
use super::error::unexpected;
use super::link::Link;
use super::reply::{array, millis, position};
use super::script;
use crate::BrokerError;
use crate::broker::Published;

pub(super) async fn publish(
    broker: &RedisBroker,
    batch: Vec<Publication>,
) -> Vec<Result<Published, BrokerError>> {
    let count = batch.len();
    let calls = batch.into_iter().map(|publication| command(broker, publication)).collect();
    match script::PUBLISH.run_all(&broker.link, calls).await {
        Ok(replies) => replies.into_iter().map(|reply| published(Link::reply(reply)?)).collect(),
        Err(error) => vec![Err(error); count],
    }
}

fn command(broker: &RedisBroker, publication: Publication) -> Cmd {
    let Publication { channel, event, key, ephemeral } = publication;
    let live = broker.keys.live(&channel);
    if ephemeral {
        let mut command = ::redis::cmd("PUBLISH");
        command.arg(live).arg(Frame::Ephemeral(event).encode());
        return command;
    }
    let retention = broker.settings.retention.of(&channel);
    let log = broker.keys.log(&channel);
    let last = broker.keys.last(&channel);
    let mut call = match &key {
        Some(key) => script::PUBLISH.call(&[&log, &last, &live, &broker.keys.once(&channel, key)]),
        None => script::PUBLISH.call(&[&log, &last, &live]),
    };
    call.arg(event.kind_str()).arg(&event.data_bytes()[..]);
    call.arg(retention.events.max(1)).arg(millis(retention.age));
    call.arg(millis(retention.positions.max(retention.age)));
    if let Some(key) = key {
        // Entries of the intake are deduplicated for longer; their keys are made by the node and not by publishers.
        let intake = key.starts_with(RESERVED_KEY_PREFIX);
        call.arg(millis(if intake { broker.settings.intake_once } else { broker.settings.once }));
    }
    call
}

fn published(reply: Value) -> Result<Published, BrokerError> {
    match reply {
        // How many heard of an ephemeral event.
        Value::Int(_) => Ok(Published { position: None, repeat: false }),
        reply => kept(reply).ok_or_else(|| unexpected("a position")),
    }
}

fn kept(reply: Value) -> Option<Published> {
    let mut parts = array(reply)?.into_iter();
    let position = position(parts.next()?)?;
    let repeat = matches!(parts.next()?, Value::Int(1));
    Some(Published { position: Some(position), repeat })
}
