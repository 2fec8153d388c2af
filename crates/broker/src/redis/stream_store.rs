//! Finite streams: a hash, a string with the bytes, and a set of forks.

use std::collections::BTreeSet;
use std::time::Duration;

use ::redis::{Cmd, Value};
use async_trait::async_trait;
use bytes::Bytes;
use fanfare_protocol::finite::{End, EndKind, Generations, Lease, Life, MediaType, StreamName};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::error::unexpected;
use super::key::{Key, about};
use super::reply::{array, bytes, millis, text};
use super::script::Script;
use super::{RedisBroker, script};
use crate::stream_store::{
    Append, AppendOutcome, Appended, BodyFault, Created, ForkId, Found, LISTED, MAX_PUBLISHED, MIN_MARK,
    NewStream, Origin, ReadRange, Reference, Referred, Removed, StreamInfo, StreamList, StreamPage,
    StreamTail,
};
use crate::{BrokerError, StreamStore};

#[async_trait]
impl StreamStore for RedisBroker {
    async fn create_stream(&self, name: &StreamName, new: &NewStream) -> Result<Created, BrokerError> {
        let (mut call, key) = self.stream_call(&script::STREAM_CREATE, name, new.bytes.len());
        let NewStream { media_type, requested, life, bytes, end, fork, lease, only_compare } = new;
        call.arg(&bytes[..]).arg(media_type.as_str()).arg(media_type.essence());
        call.arg(requested.to_string()).arg(life.to_string());
        match life {
            Life::Unset => call.arg("").arg(""),
            Life::Ttl(_) => call.arg(life.ttl().map_or(0, exact_millis)).arg(""),
            Life::Until(expiry) => call.arg("-").arg(expiry.ms),
        };
        add_end(&mut call, end.as_ref());
        call.arg(self.keep_ms());
        match fork {
            None => call.arg("").arg("").arg("").arg("").arg(""),
            Some(fork) => {
                call.arg(fork.origin.source.as_str()).arg(fork.offset.as_deref().unwrap_or_default());
                call.arg(fork.sub_offset).arg(&fork.origin.token).arg(Generations::ended_text(&fork.ended))
            }
        };
        call.arg(u8::from(*only_compare));
        call.arg(lease.map(|lease| millis(lease.duration()).to_string()).unwrap_or_default());
        let reply = self.commands(&key).call_script(&script::STREAM_CREATE, call).await?;
        created(reply).ok_or_else(|| unexpected("the creation of a stream"))
    }

    async fn append_stream(&self, name: &StreamName, append: &Append) -> Result<Appended, BrokerError> {
        let Append { bytes, media_type, end, fault, producer, order } = append;
        let (mut call, key) = self.stream_call(&script::STREAM_APPEND, name, bytes.len());
        call.arg(&bytes[..]);
        call.arg(media_type.as_ref().map(MediaType::essence).unwrap_or_default());
        add_end(&mut call, end.as_ref());
        call.arg(fault.map(fault_word).unwrap_or_default());
        match producer {
            Some(producer) => call.arg(&producer.id).arg(producer.epoch).arg(producer.seq),
            None => call.arg("").arg("").arg(""),
        };
        let bounds = &self.settings.streams;
        call.arg(order.as_deref().unwrap_or_default()).arg(bounds.bytes).arg(bounds.producers);
        call.arg(self.keep_ms()).arg(MAX_PUBLISHED);
        let reply = self.commands(&key).call_script(&script::STREAM_APPEND, call).await?;
        appended(reply).ok_or_else(|| unexpected("the outcome of an append"))
    }

    async fn read_stream(
        &self,
        name: &StreamName,
        range: ReadRange,
    ) -> Result<Found<StreamPage>, BrokerError> {
        let ReadRange { from, bytes, renews } = range;
        let (mut call, key) = self.stream_call(&script::STREAM_READ, name, 0);
        call.arg(from.map(|from| from.to_string()).unwrap_or_default()).arg(bytes);
        call.arg(u8::from(renews)).arg(self.keep_ms());
        let reply = self.reads(&key).call_script(&script::STREAM_READ, call).await?;
        found(reply, page).ok_or_else(|| unexpected("a page of a stream"))
    }

    async fn remove_stream(&self, name: &StreamName) -> Result<Found<Removed>, BrokerError> {
        let (mut call, key) = self.stream_call(&script::STREAM_REMOVE, name, 0);
        let keep = self.settings.streams.keep.max(MIN_MARK);
        call.arg(millis(keep));
        let reply = self.commands(&key).call_script(&script::STREAM_REMOVE, call).await?;
        let removed = |word: &str, parts: &mut Parts| match word {
            "kept" => Some(Removed::Kept),
            "removed" => Some(Removed::Gone(origin(parts))),
            _ => None,
        };
        found(reply, removed).ok_or_else(|| unexpected("the deletion of a stream"))
    }

    async fn refer_stream(
        &self,
        source: &StreamName,
        reference: &Reference,
    ) -> Result<Found<Referred>, BrokerError> {
        let (mut call, key) = self.stream_call(&script::STREAM_REFER, source, 0);
        let Reference { fork, generations, bytes } = reference;
        call.arg(reference_text(fork))
            .arg(generations.to_string())
            .arg(bytes)
            .arg(self.settings.streams.forks);
        let reply = self.commands(&key).call_script(&script::STREAM_REFER, call).await?;
        let referred = |word: &str, parts: &mut Parts| match word {
            "here" => Some(Referred::Added(parts.bytes()?)),
            "changed" => Some(Referred::Changed),
            "many" => Some(Referred::Many),
            _ => None,
        };
        found(reply, referred).ok_or_else(|| unexpected("the source of a fork"))
    }

    async fn stream_forks(&self, source: &StreamName) -> Result<Vec<ForkId>, BrokerError> {
        let refs = self.keys.stream(source, "refs");
        let reply = self.reads(&refs).command(about("SMEMBERS", &refs)).await?;
        let members = array(reply).ok_or_else(|| unexpected("a set"))?;
        Ok(members.into_iter().filter_map(|member| fork_id(&text(member)?)).collect())
    }

    async fn release_forks(
        &self,
        source: &StreamName,
        forks: &[ForkId],
    ) -> Result<Option<Origin>, BrokerError> {
        let (mut call, key) = self.stream_call(&script::STREAM_RELEASE, source, 0);
        for fork in forks {
            call.arg(reference_text(fork));
        }
        let reply = self.commands(&key).call_script(&script::STREAM_RELEASE, call).await?;
        let mut parts = Parts::of(reply).ok_or_else(|| unexpected("the release of a fork"))?;
        Ok(if parts.text().as_deref() == Some("removed") { origin(&mut parts) } else { None })
    }

    async fn list_streams(&self, after: u64) -> Result<StreamList, BrokerError> {
        let (names, next) = self.scan_streams(after).await?;
        let info = async |name: StreamName| {
            let found = self.read_stream(&name, ReadRange::INFO).await?;
            Ok::<_, BrokerError>(if let Found::Here(page) = found { Some((name, page.info)) } else { None })
        };
        // They leave together, since each begins before the first has its reply.
        let found = stream::iter(names).map(info).buffered(AT_ONCE).try_filter_map(async |found| Ok(found));
        Ok(StreamList { streams: found.try_collect().await?, next: (next > 0).then_some(next) })
    }
}

/// Number of streams that are read at once for a list.
const AT_ONCE: usize = 100;
/// Number of keys that Redis looks at in one step of a list: about a tenth of a millisecond.
const SCANNED: usize = 500;
/// Maximum number of steps of one page.
const STEPS: usize = 20;

impl RedisBroker {
    /// Starts a call about a stream, with room for this number of bytes. Returns the key that decides about the connection, too.
    fn stream_call(&self, script: &Script, name: &StreamName, room: usize) -> (Cmd, Key) {
        let [meta, data, refs] = ["meta", "data", "refs"].map(|what| self.keys.stream(name, what));
        (script.call_with_room(&[&meta, &data, &refs], room), meta)
    }

    /// Returns names of streams behind a place of all keys, and the next place, 0 at the end.
    async fn scan_streams(&self, mut at: u64) -> Result<(BTreeSet<StreamName>, u64), BrokerError> {
        let (before, behind) = self.keys.around_stream("meta");
        let pattern = format!("{}*{}", escaped(&before), escaped(&behind));
        let mut names = BTreeSet::new();
        for _ in 0..STEPS {
            let mut call = ::redis::cmd("SCAN");
            call.arg(at).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCANNED);
            // Of the only primary.
            let reply = self.reads(&self.keys.nodes()).command(call).await?;
            let mut parts = Parts::of(reply).ok_or_else(|| unexpected("a page of keys"))?;
            at = parts.number().ok_or_else(|| unexpected("the place of a page of keys"))?;
            let keys = parts.0.next().and_then(array).ok_or_else(|| unexpected("keys"))?;
            let name = |key| StreamName::new(text(key)?.strip_prefix(&before)?.strip_suffix(&behind)?).ok();
            names.extend(keys.into_iter().filter_map(name));
            if at == 0 || names.len() >= LISTED {
                break;
            }
        }
        Ok((names, at))
    }

    /// Returns how long a stream without a life is kept, in milliseconds; 0 for ever.
    fn keep_ms(&self) -> u64 {
        exact_millis(self.settings.streams.keep)
    }
}

/// Converts a duration to milliseconds; zero stays zero.
fn exact_millis(duration: Duration) -> u64 {
    if duration.is_zero() { 0 } else { millis(duration) }
}

/// Returns the pattern of Redis that matches a text only.
fn escaped(text: &str) -> String {
    let special = |c| matches!(c, '*' | '?' | '[' | ']' | '\\' | '^');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

fn add_end(call: &mut Cmd, end: Option<&End>) {
    call.arg(end.map(|end| end.kind.as_str()).unwrap_or_default());
    call.arg(end.map(|end| end.reason.as_str()).unwrap_or_default());
}

fn fault_word(fault: BodyFault) -> &'static str {
    match fault {
        BodyFault::Empty => "empty",
        BodyFault::Untyped => "untyped",
        BodyFault::Json => "json",
    }
}

fn reference_text(fork: &ForkId) -> String {
    format!("{} {}", fork.name, fork.token)
}

fn fork_id(text: &str) -> Option<ForkId> {
    let (name, token) = text.split_once(' ')?;
    Some(ForkId { name: StreamName::new(name).ok()?, token: token.to_owned() })
}

/// The parts of a reply, in order.
struct Parts(std::vec::IntoIter<Value>);

impl Parts {
    fn of(reply: Value) -> Option<Self> {
        Some(Self(array(reply)?.into_iter()))
    }

    fn bytes(&mut self) -> Option<Bytes> {
        bytes(self.0.next()?)
    }

    fn text(&mut self) -> Option<String> {
        text(self.0.next()?)
    }

    /// Returns a whole number, as Redis or a script writes it.
    fn number(&mut self) -> Option<u64> {
        match self.0.next()? {
            Value::Int(number) => u64::try_from(number).ok(),
            value => text(value)?.parse().ok(),
        }
    }
}

/// Reads a reply that begins with `missing`, `deleted` or another word.
fn found<T>(reply: Value, read: impl FnOnce(&str, &mut Parts) -> Option<T>) -> Option<Found<T>> {
    let mut parts = Parts::of(reply)?;
    Some(match parts.text()?.as_str() {
        "missing" => Found::Missing,
        "deleted" => Found::Deleted,
        word => Found::Here(read(word, &mut parts)?),
    })
}

fn created(reply: Value) -> Option<Created> {
    let read = |word: &str, parts: &mut Parts| {
        let info = info(parts)?;
        match word {
            "created" => Some(Created::New(info)),
            "same" => Some(Created::Same(info)),
            "other" => Some(Created::Other(info)),
            _ => None,
        }
    };
    match found(reply, read)? {
        Found::Here(created) => Some(created),
        Found::Deleted => Some(Created::Deleted),
        Found::Missing => Some(Created::Absent),
    }
}

fn page(word: &str, parts: &mut Parts) -> Option<StreamPage> {
    let info = (word == "here").then(|| info(parts))??;
    Some(StreamPage { info, bytes: parts.bytes()? })
}

fn info(parts: &mut Parts) -> Option<StreamInfo> {
    let (tail, generations) = (parts.number()?, parts.text()?.parse().ok()?);
    let media_type = MediaType::new(&parts.text()?).ok()?;
    let life = Life::stored(&parts.text()?);
    let (end, origin) = (end(parts)?, origin(parts));
    let lease = parts.text()?.parse().ok().and_then(Lease::from_millis);
    let left = parts.text()?;
    let lease_left = Duration::from_millis(left.parse().unwrap_or_default());
    let lapsed = left == "lapsed";
    Some(StreamInfo { generations, tail, media_type, life, end, origin, lease, lease_left, lapsed })
}

/// Reads an end and its reason, which are empty while the stream is open.
#[expect(clippy::option_option, reason = "a reply that is malformed, and a stream that is open")]
fn end(parts: &mut Parts) -> Option<Option<End>> {
    let (kind, reason) = (parts.text()?, parts.text()?);
    if kind.is_empty() {
        return Some(None);
    }
    Some(Some(End { kind: EndKind::named(&kind)?, reason }))
}

/// Reads the source of a fork, and its token, which are empty for other streams.
fn origin(parts: &mut Parts) -> Option<Origin> {
    let (source, token) = (parts.text()?, parts.text()?);
    Some(Origin { source: StreamName::new(&source).ok()?, token })
}

fn appended(reply: Value) -> Option<Appended> {
    let mut parts = Parts::of(reply)?;
    let word = parts.text()?;
    let outcome = match word.as_str() {
        "missing" => return Some(Appended { outcome: AppendOutcome::Missing, at: None }),
        "deleted" => return Some(Appended { outcome: AppendOutcome::Deleted, at: None }),
        word => word,
    };
    let (tail, generations) = (parts.number()?, parts.text()?.parse().ok()?);
    let at = Some(StreamTail { generations, tail, end: end(&mut parts)? });
    let outcome = match outcome {
        "appended" => AppendOutcome::Appended,
        "repeated" => AppendOutcome::Repeated(parts.number()?),
        "ended" => AppendOutcome::Ended,
        "closed" => AppendOutcome::Closed,
        "lapsed" => AppendOutcome::Lapsed,
        "empty" => AppendOutcome::Fault(BodyFault::Empty),
        "untyped" => AppendOutcome::Fault(BodyFault::Untyped),
        "json" => AppendOutcome::Fault(BodyFault::Json),
        "type" => AppendOutcome::Type,
        "stale" => AppendOutcome::Stale(parts.number()?),
        "epoch" => AppendOutcome::Epoch,
        "gap" => AppendOutcome::Gap(parts.number()?, parts.number()?),
        "producers" => AppendOutcome::Producers,
        "order" => AppendOutcome::Order,
        "large" => AppendOutcome::Large,
        _ => return None,
    };
    Some(Appended { outcome, at })
}
