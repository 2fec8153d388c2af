//! Log reads.
//!
//! Reads skip events that are older than the channel's retention, by the clock of Redis: publishing trims the log
//! only from time to time, and a quiet channel has no publishing.

use std::sync::Arc;

use ::redis::Value;
use bytes::Bytes;
use fanfare_protocol::event::MAX_DATA_BYTES;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Entry, Event, Except, Position};

use super::error::{result, unexpected};
use super::key::about;
use super::reply::{array, bytes, millis, number, position, text};
use super::{RedisBroker, script};
use crate::BrokerError;
use crate::log::{
    ENTRY_BYTES, Likely, Malformed, NEWEST_BYTES, NEWEST_EVENTS, Page, PageLimit, SHORT, event_bytes,
};

/// Approximate bytes that a script may copy beyond those requested: less than a millisecond of Redis.
const COPIED_BYTES: usize = 1024 * 1024;
/// Maximum number of entries that a script reads at a time.
const AT_A_TIME: usize = 32;

/// Returns the number of entries that a script reads at a time, so that entries of the maximum size fit the bytes it
/// may copy.
pub(super) fn at_a_time(broker: &RedisBroker) -> usize {
    (COPIED_BYTES / broker.settings.max_data.max(1)).clamp(1, AT_A_TIME)
}

pub(super) async fn page(
    broker: &RedisBroker,
    channel: &Channel,
    after: Position,
    limit: PageLimit,
) -> Result<Page, BrokerError> {
    let plain = match limit.likely {
        Likely::Empty { timed } => empty_page(broker, channel, after, timed).await?,
        Likely::Short { latest } => short_page(broker, channel, after, limit, latest).await?,
        Likely::Long => None,
    };
    if let Some(page) = plain {
        return Ok(page);
    }
    let start = after.next().map(|first| first.to_string()).unwrap_or_default();
    let age = millis(broker.settings.retention.of(channel).age);
    let log = broker.keys.log(channel);
    let mut call = script::PAGE.call(&[&log, &broker.keys.last(channel)]);
    call.arg(start).arg(limit.entries.max(1)).arg(limit.bytes).arg(ENTRY_BYTES);
    call.arg(at_a_time(broker)).arg(age);
    let reply = broker.reads(&log).call_script(&script::PAGE, call).await?;
    read_page(reply, after).ok_or_else(|| unexpected("a page of a log"))
}

/// Returns the page after a position if it is empty, which one plain command can tell; with the time if it is wanted.
async fn empty_page(
    broker: &RedisBroker,
    channel: &Channel,
    after: Position,
    timed: bool,
) -> Result<Option<Page>, BrokerError> {
    let (log, last) = (broker.keys.log(channel), broker.keys.last(channel));
    let is_new = after == Position::ZERO;
    let mut first = about(if is_new { "EXISTS" } else { "GET" }, &last);
    if is_new {
        first.arg(&log);
    }
    let mut commands = vec![first];
    commands.extend(timed.then(|| ::redis::cmd("TIME")));
    let mut replies = broker.reads(&log).commands(commands).await?.into_iter().map(result);
    let found = replies.next().ok_or_else(|| unexpected("a reply"))??;
    let now = match replies.next() {
        Some(reply) => Some(time(reply?).ok_or_else(|| unexpected("the time"))?),
        None => None,
    };
    // Otherwise the log has entries, or may have gone back, and have others after the position: only the script can tell.
    let is_empty = if is_new { found == Value::Int(0) } else { last_position(found) == Some(after) };
    Ok(is_empty.then(|| Page { next: after, end: true, last: after, now, ..Page::default() }))
}

/// Returns the page after a position if plain commands can read it: it has at most two entries, and nothing about them is
/// unusual.
async fn short_page(
    broker: &RedisBroker,
    channel: &Channel,
    after: Position,
    limit: PageLimit,
    latest: u64,
) -> Result<Option<Page>, BrokerError> {
    let Some(start) = after.next().filter(|_| limit.entries >= SHORT) else { return Ok(None) };
    let log = broker.keys.log(channel);
    let mut range = about("XRANGE", &log);
    range.arg(start.to_string()).arg("+").arg("COUNT").arg(SHORT);
    let reply = broker.reads(&log).command(range).await?;
    let found = array(reply).ok_or_else(|| unexpected("entries of a log"))?;
    if found.is_empty() {
        return empty_page(broker, channel, after, true).await;
    }
    let is_single = found.len() < SHORT;
    let Some(entries) = found.into_iter().map(short_entry).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let age = millis(broker.settings.retention.of(channel).age);
    let bytes: usize = entries.iter().map(|entry| event_bytes(&entry.event)).sum();
    let (Some(first), Some(next)) = (entries.first(), entries.last().map(|entry| entry.position)) else {
        return Ok(None);
    };
    if first.position.ms < latest.saturating_sub(age) || bytes > limit.bytes {
        return Ok(None);
    }
    let last = if is_single { Some(next) } else { self::latest(broker, channel).await? };
    // A last position before the entry belongs to a log that has gone back meanwhile.
    Ok(last.filter(|last| *last >= next).map(|last| Page {
        entries,
        next,
        end: last == next,
        last,
        ..Page::default()
    }))
}

/// Parses an entry as the publish script writes it.
fn short_entry(value: Value) -> Option<Arc<Entry>> {
    let [id, fields] = <[Value; 2]>::try_from(array(value)?).ok()?;
    let mut fields = array(fields)?;
    let mut except = None;
    if let Some((rest, _)) = fields.get(6..).map(|extras| extras.as_chunks::<2>()) {
        for [name, value] in rest {
            match &bytes(name.clone())?[..] {
                b"x" => except = Some(bytes(value.clone())?),
                // The trace, which nothing needs of stored events.
                b"c" => {}
                _ => return None,
            }
        }
        if fields.len() % 2 == 0 {
            fields.truncate(6);
        }
    }
    let [t, kind, d, data, p, previous] = <[Value; 6]>::try_from(fields).ok()?;
    if [t, d, p].map(bytes) != [b"t", b"d", b"p"].map(|name| Some(Bytes::from_static(name))) {
        return None;
    }
    let previous = Position::parse(&bytes(previous)?).ok();
    entry(position(id)?, previous, (&bytes(kind)?, bytes(data)?), except.as_deref()).ok().map(Arc::new)
}

fn read_page(reply: Value, after: Position) -> Option<Page> {
    let mut values = array(reply)?.into_iter();
    let last = position(values.next()?)?;
    let next = bytes(values.next()?)?;
    let next = if next.is_empty() { after } else { Position::parse(&next).ok()? };
    let end = number(&values.next()?)? == 1;
    let mut malformed = number(&values.next()?)?;
    let needs = number(&values.next()?).filter(|&needs| needs > 0);
    let now = Some(u64::try_from(number(&values.next()?)?).ok()?);
    let mut first_malformed = Position::parse(&bytes(values.next()?)?).ok().map(|position| {
        let reason = "it does not have the fields t, d and p".to_owned();
        Malformed { position, reason }
    });
    let (mut entries, mut before) = (Vec::with_capacity(values.len() / 4), None);
    while let Some(id) = values.next() {
        let id = position(id)?;
        let (kind, data, previous) = (bytes(values.next()?)?, bytes(values.next()?)?, bytes(values.next()?)?);
        let mut words = previous.splitn(2, |&byte| byte == b' ');
        let (previous, except) = (words.next().unwrap_or_default(), words.next());
        let previous = if previous.is_empty() { before } else { Position::parse(previous).ok() };
        before = Some(id);
        match entry(id, previous, (&kind, data), except) {
            Ok(entry) => entries.push(Arc::new(entry)),
            Err(reason) => {
                malformed += 1;
                if first_malformed.as_ref().is_none_or(|first| id < first.position) {
                    first_malformed = Some(Malformed { position: id, reason });
                }
            }
        }
    }
    Some(Page { entries, next, end, malformed, first_malformed, last, needs, now })
}

/// Parses an entry of the log. Fails with the reason if the publish script did not write it.
fn entry(
    position: Position,
    previous: Option<Position>,
    (kind, data): (&Bytes, Bytes),
    except: Option<&[u8]>,
) -> Result<Entry, String> {
    let previous = previous.filter(|previous| *previous < position);
    let previous = previous.ok_or_else(|| "its field p is not an earlier position".to_owned())?;
    // The limit may have been larger when the entry was written.
    let event = Event::from_bytes(kind, data, MAX_DATA_BYTES).map_err(|error| error.to_string())?;
    let except = except.map(|except| std::str::from_utf8(except).unwrap_or_default().parse::<Except>());
    let except = except.transpose().map_err(|_| "its field x names no session".to_owned())?;
    Ok(Entry { position, previous, event: event.except(except) })
}

pub(super) async fn locate(
    broker: &RedisBroker,
    channel: &Channel,
    from: StartAt,
) -> Result<Position, BrokerError> {
    let (mode, wanted) = match from {
        StartAt::Position(position) | StartAt::Tip(position) => return Ok(position),
        StartAt::Newest(n) => ("newest", n.min(NEWEST_EVENTS).to_string()),
        StartAt::Latest => {
            if let Some(last) = latest(broker, channel).await? {
                return Ok(last);
            }
            ("latest", String::new())
        }
        StartAt::Earliest => ("earliest", String::new()),
        StartAt::Time(time) => ("time", time.to_string()),
    };
    let age = millis(broker.settings.retention.of(channel).age);
    let log = broker.keys.log(channel);
    let mut call = script::LOCATE.call(&[&log, &broker.keys.last(channel)]);
    call.arg(mode).arg(wanted).arg(age).arg(NEWEST_BYTES).arg(ENTRY_BYTES).arg(at_a_time(broker));
    let reply = broker.reads(&log).call_script(&script::LOCATE, call).await?;
    position(reply).ok_or_else(|| unexpected("a position"))
}

/// Returns the channel's last position in the common cases, which need no script: it is stored, or the channel has no
/// events.
async fn latest(broker: &RedisBroker, channel: &Channel) -> Result<Option<Position>, BrokerError> {
    let log = broker.keys.log(channel);
    let commands = vec![about("GET", &broker.keys.last(channel)), about("EXISTS", &log)];
    let mut replies = broker.reads(&log).commands(commands).await?.into_iter().map(result);
    let mut reply = || replies.next().ok_or_else(|| unexpected("two replies"))?;
    let (last, exists) = (last_position(reply()?), reply()?);
    Ok(last.or_else(|| (exists == Value::Int(0)).then_some(Position::ZERO)))
}

/// Parses the reply of `TIME`, in Unix milliseconds.
fn time(reply: Value) -> Option<u64> {
    let mut parts = array(reply)?.into_iter();
    let mut part = || text(parts.next()?)?.parse::<u64>().ok();
    Some(part()? * 1000 + part()? / 1000)
}

/// Parses the value of a channel's last position, which may have the intake's mark after it.
fn last_position(last: Value) -> Option<Position> {
    let last = bytes(last)?;
    Position::parse(last.split(|&byte| byte == b' ').next()?).ok()
}
