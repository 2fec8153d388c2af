//! Streams that begin with the bytes of others.
//!
//! A fork is a copy: it lives by itself, and its source only knows that it exists. A source that is deleted while it has forks
//! leaves a mark, under which no stream can be created, until its last fork is gone. Forks and sources may be on different
//! primaries, so each step touches one stream, and a step that is missing does no harm: a call that finds a mark checks whether its
//! forks still live.

use bytes::{Bytes, BytesMut};
use fanfare_protocol::finite::{Form, MediaType, Offset, StreamName};
use uuid::Uuid;

use crate::BrokerError;
use crate::stream_store::{
    Created, ForkId, Found, NewFork, NewStream, Origin, ReadRange, Reference, Referred, StreamInfo,
    StreamStore,
};

/// Bytes that are read at once to count messages.
const STEP: usize = 64 * 1024;
/// Maximum depth of forks of deleted forks that is looked through at once.
const DEPTH: usize = 16;
/// Maximum number of attempts to fork a source that is replaced meanwhile.
const ATTEMPTS: usize = 3;

/// Where a fork is to begin.
#[derive(Clone, Debug)]
pub struct ForkAt {
    /// The source.
    pub source: StreamName,
    /// The offset; `None` is the end of the source.
    pub offset: Option<Offset>,
    /// Bytes behind the offset, or messages of JSON.
    pub sub_offset: u64,
    /// The media type, if one is asked for.
    pub media_type: Option<MediaType>,
}

/// A fork that can be made.
#[derive(Clone, Debug)]
pub struct Plan {
    at: ForkAt,
    /// The source.
    pub source: StreamInfo,
    /// Number of bytes with which the fork begins.
    pub bytes: u64,
}

/// Why a fork cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForkRefusal {
    /// There is no source.
    NoSource,
    /// The source was deleted.
    SourceDeleted,
    /// The source has another media type.
    Type,
    /// The source has no such place.
    Place,
    /// The source has too many forks.
    Many,
    /// There would be too many bytes.
    Large,
    /// The source was replaced again and again.
    Changed,
}

/// Looks where a fork begins.
///
/// # Errors
///
/// Fails if a call does. The inner result says why there can be no such fork.
pub async fn plan(broker: &dyn StreamStore, at: ForkAt) -> Result<Result<Plan, ForkRefusal>, BrokerError> {
    let source = match broker.read_stream(&at.source, ReadRange::INFO).await? {
        Found::Missing => return Ok(Err(ForkRefusal::NoSource)),
        Found::Deleted => return Ok(Err(ForkRefusal::SourceDeleted)),
        Found::Here(page) => page.info,
    };
    if at.media_type.as_ref().is_some_and(|wanted| *wanted != source.media_type) {
        return Ok(Err(ForkRefusal::Type));
    }
    let base = match at.offset {
        None => Some(source.tail),
        Some(offset) => source.generations.resolve(offset, source.tail),
    };
    let Some(base) = base else { return Ok(Err(ForkRefusal::Place)) };
    let bytes = match (at.sub_offset, source.media_type.form()) {
        (0, _) => Some(base),
        (messages, Form::Json) => skip_messages(broker, &at.source, base, messages).await?,
        (bytes, _) => base.checked_add(bytes).filter(|bytes| *bytes <= source.tail),
    };
    Ok(bytes.map(|bytes| Plan { at, source, bytes }).ok_or(ForkRefusal::Place))
}

/// Returns the place behind so many messages; `None` if there are fewer.
async fn skip_messages(
    broker: &dyn StreamStore,
    source: &StreamName,
    mut from: u64,
    mut messages: u64,
) -> Result<Option<u64>, BrokerError> {
    loop {
        let range = ReadRange { from: Some(from), bytes: STEP, renews: false };
        let Found::Here(page) = broker.read_stream(source, range).await? else { return Ok(None) };
        if page.bytes.is_empty() {
            return Ok(None);
        }
        for (at, _) in page.bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            messages -= 1;
            if messages == 0 {
                return Ok(Some(from + at as u64 + 1));
            }
        }
        from += page.bytes.len() as u64;
    }
}

/// Creates a fork. `new` has the bytes that come after those of the source; `offset` is the text that was asked for.
///
/// # Errors
///
/// Fails if a call does. The inner result says why there can be no such fork.
pub async fn create(
    broker: &dyn StreamStore,
    name: &StreamName,
    (mut planned, offset): (Plan, Option<String>),
    new: NewStream,
    most_bytes: usize,
) -> Result<Result<Created, ForkRefusal>, BrokerError> {
    for _ in 0..ATTEMPTS {
        if planned.bytes + new.bytes.len() as u64 > most_bytes as u64 {
            return Ok(Err(ForkRefusal::Large));
        }
        let origin = Origin { source: planned.at.source.clone(), token: Uuid::new_v4().to_string() };
        let fork = ForkId { name: name.clone(), token: origin.token.clone() };
        let generations = planned.source.generations.clone();
        let reference = Reference { fork, generations, bytes: planned.bytes };
        let first = match broker.refer_stream(&origin.source, &reference).await? {
            Found::Missing => return Ok(Err(ForkRefusal::NoSource)),
            Found::Deleted => return Ok(Err(ForkRefusal::SourceDeleted)),
            Found::Here(Referred::Many) => return Ok(Err(ForkRefusal::Many)),
            Found::Here(Referred::Added(first)) => first,
            Found::Here(Referred::Changed) => {
                planned = match plan(broker, planned.at).await? {
                    Ok(planned) => planned,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                continue;
            }
        };
        let ended = planned.source.generations.up_to(planned.bytes);
        let fork = NewFork { origin: origin.clone(), offset, sub_offset: planned.at.sub_offset, ended };
        let new = NewStream { bytes: joined(first, &new.bytes), fork: Some(fork), ..new };
        let created = broker.create_stream(name, &new).await?;
        if !matches!(created, Created::New(_)) {
            release(broker, origin, name.clone()).await?;
        }
        return Ok(Ok(created));
    }
    Ok(Err(ForkRefusal::Changed))
}

fn joined(first: Bytes, more: &Bytes) -> Bytes {
    if more.is_empty() {
        return first;
    }
    let mut all = BytesMut::with_capacity(first.len() + more.len());
    all.extend_from_slice(&first);
    all.extend_from_slice(more);
    all.freeze()
}

/// Removes a fork from its source, and so on up to the first source that remains.
///
/// # Errors
///
/// Fails if a call does; the next call that finds a mark continues.
pub async fn release(broker: &dyn StreamStore, origin: Origin, fork: StreamName) -> Result<(), BrokerError> {
    let mut next = Some((origin, fork));
    while let Some((Origin { source, token }, name)) = next {
        let above = broker.release_forks(&source, &[ForkId { name, token }]).await?;
        next = above.map(|above| (above, source));
    }
    Ok(())
}

/// Looks whether the forks of a deleted stream still live, up to the first that does. Returns whether the mark is gone.
///
/// # Errors
///
/// Fails if a call does.
pub async fn prune(broker: &dyn StreamStore, deleted: &StreamName) -> Result<bool, BrokerError> {
    prune_within(broker, deleted, DEPTH).await
}

async fn prune_within(
    broker: &dyn StreamStore,
    deleted: &StreamName,
    depth: usize,
) -> Result<bool, BrokerError> {
    let mut gone = Vec::new();
    let mut is_held = false;
    for fork in broker.stream_forks(deleted).await? {
        let lives = match broker.read_stream(&fork.name, ReadRange::INFO).await? {
            Found::Missing => false,
            Found::Here(page) => page.info.origin.is_some_and(|origin| origin.token == fork.token),
            Found::Deleted => depth == 0 || !Box::pin(prune_within(broker, &fork.name, depth - 1)).await?,
        };
        if lives {
            is_held = true;
            break;
        }
        gone.push(fork);
    }
    if gone.is_empty() && is_held {
        return Ok(false);
    }
    if let Some(above) = broker.release_forks(deleted, &gone).await? {
        release(broker, above, deleted.clone()).await?;
    }
    Ok(!is_held)
}
