//! Publishing: each batch is one pipeline of script calls.

use std::time::Duration;

use ::redis::{Cmd, Value};
use fanfare_protocol::publish::Publication;
use fanfare_protocol::wire::{Frame, Topic};
use fanfare_protocol::{Channel, Event};

use super::RedisBroker;
use super::connections::Batch;
use super::error::{check, result, sort_for_key, unexpected};
use super::key::{Key, about};
use super::reply::{array, millis, position};
use super::script::{self, Script};
use crate::intake::{ChainedEntry, IntakeOutcome, Reading};
use crate::{BrokerError, Published};

pub(super) async fn publish(
    broker: &RedisBroker,
    batch: Vec<Publication>,
) -> Vec<Result<Published, BrokerError>> {
    let mut calls = broker.connections.batch(batch.len());
    for publication in batch {
        add(&mut calls, broker, &script::PUBLISH, publication);
    }
    send(calls, &script::PUBLISH, published).await
}

pub(super) async fn publish_known(
    broker: &RedisBroker,
    batch: Vec<Publication>,
) -> Vec<Result<Option<Published>, BrokerError>> {
    let mut calls = broker.connections.batch(batch.len());
    let mut ephemeral = Vec::with_capacity(batch.len());
    for publication in batch {
        ephemeral.push(publication.ephemeral);
        add(&mut calls, broker, &script::PUBLISH_KNOWN, publication);
    }
    let replies = send(calls, &script::PUBLISH_KNOWN, Ok).await;
    let known = |(reply, is_ephemeral): (Result<Value, BrokerError>, bool)| match result(reply?)? {
        // The reply to an ephemeral event is the number of its receivers.
        Value::Int(0) if !is_ephemeral => Ok(None),
        reply => published(reply).map(Some),
    };
    replies.into_iter().zip(ephemeral).map(known).collect()
}

pub(super) async fn publish_intake(
    broker: &RedisBroker,
    reading: &Reading,
    entries: Vec<ChainedEntry>,
) -> Vec<Result<IntakeOutcome, BrokerError>> {
    let mut calls = broker.connections.batch(entries.len());
    for entry in entries {
        add_entry(&mut calls, broker, reading, entry);
    }
    send(calls, &script::PUBLISH, intake_outcome).await
}

async fn send<T>(
    calls: Batch<'_>,
    script: &'static Script,
    parse: impl Fn(Value) -> Result<T, BrokerError>,
) -> Vec<Result<T, BrokerError>> {
    let count = calls.len();
    match calls.send(script).await {
        Ok(replies) => replies.into_iter().map(parse).collect(),
        Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
    }
}

fn add(calls: &mut Batch<'_>, broker: &RedisBroker, script: &'static Script, publication: Publication) {
    let Publication { channel, event, key, ephemeral } = publication;
    if ephemeral {
        let topic = broker.keys.topic(&channel, Topic::Ephemeral);
        let mut command = about("PUBLISH", &topic);
        command.arg(Frame::Ephemeral(event).encode());
        calls.add(&topic, command);
        return;
    }
    let (log, mut call) = append(broker, script, (&channel, &event), key.as_deref(), Duration::ZERO);
    if key.is_some() {
        call.arg(millis(broker.settings.idempotency_window));
    }
    if has_extras(&event) {
        // After the arguments of a key and of an entry.
        let missing = 4 + usize::from(key.is_none());
        call.arg(vec![""; missing]);
        add_extras(&mut call, &event);
    }
    calls.add(&log, call);
}

fn add_entry(calls: &mut Batch<'_>, broker: &RedisBroker, reading: &Reading, entry: ChainedEntry) {
    let ChainedEntry { id, after, publication, until } = entry;
    let Publication { channel, event, key, .. } = publication;
    let window = broker.settings.idempotency_window;
    // The mark is kept with the last position, and an entry may be repeated after a leader died.
    let (log, mut call) = append(broker, &script::PUBLISH, (&channel, &event), key.as_deref(), window);
    call.arg(millis(window)).arg(&reading.generation[..]).arg(id.to_string());
    let has_extras = has_extras(&event);
    if after.is_some() || until.is_some() || has_extras {
        call.arg(after.map(|after| after.to_string()).unwrap_or_default());
    }
    if until.is_some() || has_extras {
        call.arg(until.map(|until| until.to_string()).unwrap_or_default());
    }
    if has_extras {
        add_extras(&mut call, &event);
    }
    calls.add(&log, call);
}

/// Returns whether an event has arguments that few events have.
fn has_extras(event: &Event) -> bool {
    event.excepted().is_some() || event.trace().is_some()
}

/// Adds these arguments: the session that does not get the event, and its trace.
fn add_extras(call: &mut Cmd, event: &Event) {
    call.arg(event.excepted().map(ToString::to_string).unwrap_or_default());
    if let Some(trace) = event.trace() {
        call.arg(trace.to_string());
    }
}

/// Returns a call of the script with its common arguments, and the key of its log. The last position is kept for at
/// least `at_least`.
fn append(
    broker: &RedisBroker,
    script: &'static Script,
    (channel, event): (&Channel, &Event),
    key: Option<&str>,
    at_least: Duration,
) -> (Key, Cmd) {
    let retention = broker.settings.retention.of(channel);
    let keys = &broker.keys;
    let (log, last, live) = (keys.log(channel), keys.last(channel), keys.topic(channel, Topic::Live));
    let (kind, data) = (event.kind_str(), event.data_bytes());
    let room = kind.len() + data.len();
    let mut call = match key {
        Some(key) => script.call_with_room(&[&log, &last, &live, &keys.once(channel, key)], room),
        None => script.call_with_room(&[&log, &last, &live], room),
    };
    call.arg(kind).arg(&data[..]);
    call.arg(retention.events.max(1)).arg(millis(retention.age));
    call.arg(millis(retention.positions.max(retention.age).max(at_least)));
    (log, call)
}

fn published(reply: Value) -> Result<Published, BrokerError> {
    let parsed = |reply| {
        let mut parts = array(reply)?.into_iter();
        let position = position(parts.next()?)?;
        let repeat = matches!(parts.next()?, Value::Int(1));
        let created = parts.next().is_some();
        Some(Published { position: Some(position), repeat, created })
    };
    match result(reply)? {
        // The number of receivers of an ephemeral event.
        Value::Int(_) => Ok(Published { position: None, repeat: false, created: false }),
        reply => parsed(reply).ok_or_else(|| unexpected("the result of a publication")),
    }
}

fn intake_outcome(reply: Value) -> Result<IntakeOutcome, BrokerError> {
    match check(reply).map_err(|error| sort_for_key(&error))? {
        Value::Int(0) => Ok(IntakeOutcome::Published),
        Value::Int(1) => Ok(IntakeOutcome::Repeat),
        Value::Int(2) => Ok(IntakeOutcome::Blocked),
        Value::Int(3) => Ok(IntakeOutcome::Late),
        // The entry may be in the log.
        _ => Err(BrokerError::Unavailable("Redis did not return the result of an entry".into())),
    }
}
