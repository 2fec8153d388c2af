//! Finite streams.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::finite::wire::{Change, State as ChangeState};
use fanfare_protocol::finite::{End, EndKind, Generations, Lease, Life, Producer, StreamName};
use fanfare_protocol::wire::Topic;
use indexmap::{IndexMap, IndexSet};

use super::channel::millis;
use super::live_topics::Subscribers;
use crate::stream_store::{
    Append, AppendOutcome, BodyFault, Created, Found, LISTED, MAX_PUBLISHED, MIN_MARK, NewStream, Origin,
    PRODUCER_LOST, ReadRange, Reference, Referred, Removed, StreamInfo, StreamList, StreamPage,
    StreamSettings, StreamTail,
};

/// Number of streams below which expired ones are not looked for.
const FEW: usize = 64;

/// All streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    all: IndexMap<StreamName, Stream>,
    /// The last generation.
    generation: u64,
    /// Which history of the data this is: a failover that may have lost some begins another one.
    history: u64,
    /// Number of streams at which expired ones are removed again.
    full: usize,
}

/// One stream, or the mark of a deleted one.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    info: StreamInfo,
    data: Vec<u8>,
    requested: Life,
    /// The offset and sub-offset that were asked for.
    fork_at: (Option<String>, u64),
    /// Unix milliseconds.
    expires: Option<u64>,
    /// Epoch and number by the producer's id.
    producers: HashMap<String, (u64, u64)>,
    /// The append that ended it.
    ended_by: Option<Producer>,
    /// The last `Stream-Seq`.
    order: Option<String>,
    /// The history at the last change.
    history: u64,
    /// When its lease is over, in Unix milliseconds.
    lease_until: Option<u64>,
    /// Names and tokens.
    pub(super) forks: IndexSet<(StreamName, String)>,
    deleted: bool,
}

impl Streams {
    /// Returns a stream that has not expired.
    pub(super) fn get(&mut self, name: &StreamName, now: u64) -> Option<&mut Stream> {
        if self.all.get(name)?.is_over(now) {
            self.all.swap_remove(name);
            return None;
        }
        self.all.get_mut(name)
    }

    /// Returns a stream, which ends if its lease is over.
    fn here(&mut self, subscribers: &Subscribers, now: u64, name: &StreamName) -> Found<&mut Stream> {
        match self.get(name, now) {
            None => Found::Missing,
            Some(stream) if stream.deleted => Found::Deleted,
            Some(stream) => {
                stream.check_lease(now);
                if stream.info.lapsed {
                    let change = stream.change(stream.info.tail, &Bytes::new());
                    subscribers.send(name.channel(), Topic::Live, &change.encode().into());
                }
                Found::Here(stream)
            }
        }
    }

    /// Sets the streams back to what they were, as a failover to a replica does that was behind.
    #[cfg(feature = "testing")]
    pub(super) fn fail_over(&mut self, to: Self) {
        let (generation, history) = (self.generation, self.history + 1);
        *self = Self { generation, history, ..to };
    }

    pub(super) fn create(
        &mut self,
        (settings, subscribers): (&StreamSettings, &Subscribers),
        now: u64,
        name: &StreamName,
        new: &NewStream,
    ) -> Created {
        match self.here(subscribers, now, name) {
            Found::Deleted => return Created::Deleted,
            Found::Here(stream) if stream.is_as(new) => {
                stream.renew_lease(now);
                return Created::Same(stream.info.clone());
            }
            Found::Here(stream) => return Created::Other(stream.info.clone()),
            Found::Missing if new.only_compare => return Created::Absent,
            Found::Missing => {}
        }
        self.forget_expired(now);
        self.generation = (now * 1000).max(self.generation + 1);
        let ended = new.fork.as_ref().map(|fork| fork.ended.clone()).unwrap_or_default();
        let info = StreamInfo {
            generations: Generations::after(ended, self.generation),
            tail: new.bytes.len() as u64,
            media_type: new.media_type.clone(),
            life: new.life.clone(),
            end: new.end.clone(),
            origin: new.fork.as_ref().map(|fork| fork.origin.clone()),
            lease: new.lease,
            lease_left: Duration::ZERO,
            lapsed: false,
        };
        let mut stream = Stream {
            info,
            data: new.bytes.to_vec(),
            requested: new.requested.clone(),
            fork_at: new.fork.as_ref().map(|fork| (fork.offset.clone(), fork.sub_offset)).unwrap_or_default(),
            expires: None,
            producers: HashMap::new(),
            ended_by: None,
            order: None,
            history: self.history,
            lease_until: None,
            forks: IndexSet::new(),
            deleted: false,
        };
        stream.renew(settings, now);
        stream.renew_lease(now);
        let info = stream.info.clone();
        self.all.insert(name.clone(), stream);
        Created::New(info)
    }

    /// Lists streams by their newest generations, which grow with each stream that is created.
    pub(super) fn list(&mut self, subscribers: &Subscribers, now: u64, after: u64) -> StreamList {
        let newest = |stream: &Stream| stream.info.generations.newest();
        let here = self.all.iter().filter(|(_, stream)| !stream.is_over(now) && !stream.deleted);
        let mut rest: Vec<_> = here.filter(|(_, stream)| newest(stream) > after).collect();
        rest.sort_by_key(|(_, stream)| newest(stream));
        let has_more = rest.len() > LISTED;
        rest.truncate(LISTED);
        let next = rest.last().filter(|_| has_more).map(|(_, stream)| newest(stream));
        let names: Vec<StreamName> = rest.into_iter().map(|(name, _)| name.clone()).collect();
        let info = |name| match self.here(subscribers, now, &name) {
            Found::Here(stream) => Some((name, stream.info.clone())),
            Found::Missing | Found::Deleted => None,
        };
        let streams = names.into_iter().filter_map(info).collect();
        StreamList { streams, next }
    }

    fn forget_expired(&mut self, now: u64) {
        if self.all.len() > self.full.max(FEW) {
            self.all.retain(|_, stream| !stream.is_over(now));
            self.full = self.all.len() * 2;
        }
    }

    pub(super) fn append(
        &mut self,
        (settings, subscribers): (&StreamSettings, &Subscribers),
        now: u64,
        name: &StreamName,
        append: &Append,
    ) -> (AppendOutcome, Option<StreamTail>) {
        let (generation, history) = ((now * 1000).max(self.generation + 1), self.history);
        let stream = match self.here(subscribers, now, name) {
            Found::Missing => return (AppendOutcome::Missing, None),
            Found::Deleted => return (AppendOutcome::Deleted, None),
            Found::Here(stream) => stream,
        };
        if stream.info.lapsed {
            return (AppendOutcome::Lapsed, Some(stream.info.tail()));
        }
        let start = stream.info.tail;
        if let Some(refusal) = stream.refuse(settings, append) {
            return (refusal, Some(stream.info.tail()));
        }
        if stream.history != history {
            stream.info.generations.begin(generation, start);
            stream.history = history;
        }
        stream.accept(append);
        stream.renew(settings, now);
        stream.renew_lease(now);
        let change = stream.change(start, &append.bytes);
        subscribers.send(name.channel(), Topic::Live, &change.encode().into());
        let at = stream.info.tail();
        self.generation = self.generation.max(at.generations.newest());
        (AppendOutcome::Appended, Some(at))
    }

    pub(super) fn read(
        &mut self,
        (settings, subscribers): (&StreamSettings, &Subscribers),
        now: u64,
        name: &StreamName,
        range: ReadRange,
    ) -> Found<StreamPage> {
        match self.here(subscribers, now, name) {
            Found::Missing => Found::Missing,
            Found::Deleted => Found::Deleted,
            Found::Here(stream) => {
                if range.renews {
                    stream.renew(settings, now);
                }
                let from = range.from.and_then(|from| usize::try_from(from).ok()).unwrap_or(usize::MAX);
                let bytes = stream.data.get(from..).unwrap_or_default();
                let bytes = Bytes::copy_from_slice(&bytes[..bytes.len().min(range.bytes)]);
                Found::Here(StreamPage { info: stream.info.clone(), bytes })
            }
        }
    }

    pub(super) fn remove(
        &mut self,
        (settings, subscribers): (&StreamSettings, &Subscribers),
        now: u64,
        name: &StreamName,
    ) -> Found<Removed> {
        let stream = match self.here(subscribers, now, name) {
            Found::Missing => return Found::Missing,
            Found::Deleted => return Found::Deleted,
            Found::Here(stream) => stream,
        };
        stream.deleted = true;
        let change = stream.change(stream.info.tail, &Bytes::new());
        subscribers.send(name.channel(), Topic::Live, &change.encode().into());
        if stream.forks.is_empty() {
            let origin = stream.info.origin.clone();
            self.all.swap_remove(name);
            return Found::Here(Removed::Gone(origin));
        }
        stream.data = Vec::new();
        stream.expires = Some(now + millis(settings.keep.max(MIN_MARK)));
        Found::Here(Removed::Kept)
    }

    pub(super) fn refer(
        &mut self,
        (settings, subscribers): (&StreamSettings, &Subscribers),
        now: u64,
        source: &StreamName,
        Reference { fork, generations, bytes }: &Reference,
    ) -> Found<Referred> {
        match self.here(subscribers, now, source) {
            Found::Missing => Found::Missing,
            Found::Deleted => Found::Deleted,
            Found::Here(stream) if stream.info.generations != *generations => Found::Here(Referred::Changed),
            Found::Here(stream) if stream.forks.len() >= settings.forks => Found::Here(Referred::Many),
            Found::Here(stream) => {
                stream.forks.insert((fork.name.clone(), fork.token.clone()));
                let count = usize::try_from(*bytes).unwrap_or(usize::MAX).min(stream.data.len());
                Found::Here(Referred::Added(Bytes::copy_from_slice(&stream.data[..count])))
            }
        }
    }

    /// Removes a mark that has no forks. Returns its source.
    pub(super) fn drop_mark(&mut self, name: &StreamName, now: u64) -> Option<Origin> {
        let stream = self.get(name, now).filter(|stream| stream.deleted && stream.forks.is_empty())?;
        let origin = stream.info.origin.clone();
        self.all.swap_remove(name);
        origin
    }
}

impl Stream {
    fn is_over(&self, now: u64) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// Lets the stream live on after a read or a write.
    fn renew(&mut self, settings: &StreamSettings, now: u64) {
        self.expires = match &self.info.life {
            Life::Until(expiry) => Some(expiry.ms),
            life => {
                let keep = (!settings.keep.is_zero()).then_some(settings.keep);
                life.ttl().or(keep).map(|keep| now + millis(keep))
            }
        };
    }

    /// Begins the lease again.
    fn renew_lease(&mut self, now: u64) {
        let lease = self.info.lease.filter(|_| self.info.end.is_none()).map(Lease::duration);
        self.lease_until = lease.map(|lease| now + millis(lease));
        self.info.lease_left = lease.unwrap_or_default();
    }

    /// Ends the stream if its lease is over.
    fn check_lease(&mut self, now: u64) {
        let left = self.lease_until.map(|until| until.saturating_sub(now));
        self.info.lapsed = left == Some(0);
        self.info.lease_left = Duration::from_millis(left.unwrap_or_default());
        if self.info.lapsed {
            self.info.end = Some(End { kind: EndKind::Error, reason: PRODUCER_LOST.to_owned() });
            self.lease_until = None;
        }
    }

    /// Returns whether creating the stream again would make the same.
    fn is_as(&self, new: &NewStream) -> bool {
        let source = |origin: Option<&Origin>| origin.map(|origin| origin.source.clone());
        let (offset, sub_offset) =
            new.fork.as_ref().map(|fork| (fork.offset.as_ref(), fork.sub_offset)).unwrap_or_default();
        self.info.media_type == new.media_type
            && self.requested == new.requested
            && self.info.end.is_some() == new.end.is_some()
            && source(self.info.origin.as_ref()) == source(new.fork.as_ref().map(|fork| &fork.origin))
            && offset.is_none_or(|offset| self.fork_at.0.as_ref() == Some(offset))
            && self.fork_at.1 == sub_offset
            && self.info.lease == new.lease
    }

    /// Returns why an append is not accepted. The order of the checks is that of the protocol.
    fn refuse(&self, settings: &StreamSettings, append: &Append) -> Option<AppendOutcome> {
        let Append { bytes, media_type, end, fault, producer, order } = append;
        if self.info.end.is_some() {
            let by = producer.as_ref().filter(|producer| self.ended_by.as_ref() == Some(producer));
            let only_ends = end.is_some() && bytes.is_empty() && fault.is_none() && producer.is_none();
            return Some(match by {
                Some(by) => AppendOutcome::Repeated(by.seq),
                None if only_ends => AppendOutcome::Ended,
                None => AppendOutcome::Closed,
            });
        }
        let early = fault.filter(|fault| *fault != BodyFault::Json);
        if let Some(fault) = early {
            return Some(AppendOutcome::Fault(fault));
        }
        if media_type.as_ref().is_some_and(|media_type| *media_type != self.info.media_type) {
            return Some(AppendOutcome::Type);
        }
        if let Some(refusal) = producer.as_ref().and_then(|producer| self.refuse_producer(settings, producer))
        {
            return Some(refusal);
        }
        let is_behind =
            |order: &String| self.order.as_ref().is_some_and(|last| order.as_bytes() <= last.as_bytes());
        if order.as_ref().is_some_and(is_behind) {
            return Some(AppendOutcome::Order);
        }
        if let Some(fault) = *fault {
            return Some(AppendOutcome::Fault(fault));
        }
        (self.data.len() + bytes.len() > settings.bytes).then_some(AppendOutcome::Large)
    }

    fn refuse_producer(&self, settings: &StreamSettings, producer: &Producer) -> Option<AppendOutcome> {
        let Producer { id, epoch, seq } = producer;
        let Some(&(known_epoch, known)) = self.producers.get(id) else {
            if *seq != 0 {
                return Some(AppendOutcome::Gap(0, *seq));
            }
            return (self.producers.len() >= settings.producers).then_some(AppendOutcome::Producers);
        };
        if *epoch < known_epoch {
            return Some(AppendOutcome::Stale(known_epoch));
        }
        if *epoch > known_epoch {
            return (*seq != 0).then_some(AppendOutcome::Epoch);
        }
        if *seq <= known {
            return Some(AppendOutcome::Repeated(known));
        }
        (*seq > known + 1).then_some(AppendOutcome::Gap(known + 1, *seq))
    }

    fn accept(&mut self, append: &Append) {
        self.data.extend_from_slice(&append.bytes);
        self.info.tail = self.data.len() as u64;
        if let Some(Producer { id, epoch, seq }) = &append.producer {
            self.producers.insert(id.clone(), (*epoch, *seq));
        }
        if append.order.is_some() {
            self.order.clone_from(&append.order);
        }
        if let Some(end) = &append.end {
            self.info.end = Some(End::clone(end));
            self.ended_by.clone_from(&append.producer);
        }
    }

    fn change(&self, start: u64, bytes: &Bytes) -> Change {
        let state = match (self.deleted, &self.info.end) {
            (true, _) => ChangeState::Deleted,
            (false, Some(_)) => ChangeState::Closed,
            (false, None) => ChangeState::Open,
        };
        let bytes = if bytes.len() <= MAX_PUBLISHED { bytes.clone() } else { Bytes::new() };
        Change { generation: self.info.generations.newest(), start, tail: self.info.tail, state, bytes }
    }
}
