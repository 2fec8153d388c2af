//! Reading a channel's log.
//!
//! What is older than the channel's age is left out here, by the clock of Redis: publishing trims it only now and
//! then, and in a quiet channel nobody publishes.

use std::sync::Arc;

use ::redis::{Cmd, Value};
use bytes::Bytes;
use fanfare_protocol::event::MAX_DATA_BYTES;
use fanfare_protocol::start::From;
use fanfare_protocol::{Channel, Entry, Event, Position};

use super::error::unexpected;
use super::link::{Link, about};
use super::reply::{StreamEntry, bytes, entries, millis, position};
use super::{RedisBroker, script};
use crate::BrokerError;
use crate::log::Page;

pub(super) async fn page(
    broker: &RedisBroker,
    channel: &Channel,
    after: Position,
    limit: usize,
) -> Result<Page, BrokerError> {
    let limit = limit.max(1);
    let log = broker.keys.log(channel);
    // One more than asked for tells whether this is the end.
    let range_after = range(&log, &format!("({after}"), limit + 1);
    let (now, reply) = match broker.clock.now() {
        Some(now) => (now, broker.reads.command(range_after).await?),
        None => with_time(broker, range_after).await?,
    };
    let mut found = Found::read(reply)?;

    let oldest = now.saturating_sub(millis(broker.settings.retention.of(channel).age));
    if found.first().is_some_and(|first| first.ms < oldest) {
        let start = Position::new(oldest, 0);
        let reply = broker.reads.command(range(&log, &start.to_string(), limit + 1)).await?;
        found = Found::read(reply)?;
    }
    Ok(found.page(after, limit))
}

pub(super) async fn locate(
    broker: &RedisBroker,
    channel: &Channel,
    from: From,
) -> Result<Position, BrokerError> {
    let (mode, wanted) = match from {
        From::Position(position) => return Ok(position),
        From::Latest => {
            if let Some(last) = latest(broker, channel).await? {
                return Ok(last);
            }
            ("latest", String::new())
        }
        From::Earliest => ("earliest", String::new()),
        // More than a log can hold asks for all of it.
        From::Newest(n) => ("newest", n.min(1 << 30).to_string()),
        From::Time(time) => ("time", time.to_string()),
    };
    let age = millis(broker.settings.retention.of(channel).age);
    let mut call = script::LOCATE.call(&[&broker.keys.log(channel), &broker.keys.last(channel)]);
    call.arg(mode).arg(wanted).arg(age);
    let reply = script::LOCATE.run(&broker.reads, call).await?;
    position(reply).ok_or_else(|| unexpected("a position"))
}

/// The channel's last position, in the usual cases, which need no script: it is kept, or nothing was ever published.
async fn latest(broker: &RedisBroker, channel: &Channel) -> Result<Option<Position>, BrokerError> {
    let commands = vec![about("GET", &broker.keys.last(channel)), about("EXISTS", &broker.keys.log(channel))];
    let mut replies = broker.reads.commands(commands).await?.into_iter();
    let mut reply = || Link::reply(replies.next().ok_or_else(|| unexpected("two replies"))?);
    let last = reply()?;
    Ok(match (last_position(last), reply()?) {
        (None, Value::Int(0)) => Some(Position::ZERO),
        (last, _) => last,
    })
}

/// The position at the beginning of what is kept as a channel's last one; the mark of the intake may stand behind it.
fn last_position(last: Value) -> Option<Position> {
    let last = bytes(last)?;
    Position::parse(last.split(|&byte| byte == b' ').next()?).ok()
}

fn range(log: &str, start: &str, count: usize) -> Cmd {
    let mut command = ::redis::cmd("XRANGE");
    command.arg(log).arg(start).arg("+").arg("COUNT").arg(count);
    command
}

/// Asks for the time too.
async fn with_time(broker: &RedisBroker, command: Cmd) -> Result<(u64, Value), BrokerError> {
    let mut replies = broker.reads.commands(vec![::redis::cmd("TIME"), command]).await?.into_iter();
    let mut reply = || replies.next().ok_or_else(|| unexpected("two replies"));
    let now = broker.clock.tell(Link::reply(reply()?)?)?;
    Ok((now, Link::reply(reply()?)?))
}

/// What a range of the log brought.
struct Found(Vec<StreamEntry>);

impl Found {
    fn read(reply: Value) -> Result<Self, BrokerError> {
        let found = entries(reply).and_then(|all| all.into_iter().collect::<Option<Vec<_>>>());
        found.map(Self).ok_or_else(|| unexpected("entries of a stream"))
    }

    fn first(&self) -> Option<Position> {
        self.0.first().map(|(id, _)| *id)
    }

    fn page(mut self, after: Position, limit: usize) -> Page {
        let end = self.0.len() <= limit;
        self.0.truncate(limit);
        let next = self.0.last().map_or(after, |(id, _)| *id);
        let found = self.0.len();
        let entries: Vec<_> =
            self.0.into_iter().filter_map(|(id, fields)| entry(id, fields)).map(Arc::new).collect();
        let malformed = found - entries.len();
        Page { entries, next, end, malformed }
    }
}

/// An event of the log; none for what the publish script did not write.
fn entry(position: Position, fields: Vec<(Bytes, Bytes)>) -> Option<Entry> {
    let (mut kind, mut data, mut previous) = (None, None, None);
    for (name, value) in fields {
        let field = match &name[..] {
            b"t" => &mut kind,
            b"d" => &mut data,
            b"p" => &mut previous,
            _ => continue,
        };
        *field = Some(value);
    }
    let previous = Position::parse(&previous?).ok().filter(|previous| *previous < position)?;
    // The limit in force may have been greater when it was written.
    let event = Event::from_bytes(&kind?, data?, MAX_DATA_BYTES).ok()?;
    Some(Entry { position, previous, event })
}
