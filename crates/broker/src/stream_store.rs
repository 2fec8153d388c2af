//! Finite streams: bytes with an end.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fanfare_protocol::finite::{End, Generations, Lease, Life, MediaType, Producer, StreamName};

use crate::BrokerError;

/// Maximum number of bytes of an append that are sent to readers with the message that wakes them; of a larger one they read the
/// bytes.
pub const MAX_PUBLISHED: usize = 16 * 1024;
/// Number of streams of a page of all streams, about.
pub const LISTED: usize = 500;
/// How long the mark of a deleted stream that has forks is kept at least.
pub const MIN_MARK: Duration = Duration::from_hours(24);

/// The reason of the end that a stream has whose lease is over.
pub const PRODUCER_LOST: &str = "producer-lost";

/// Finite streams. Each call touches one stream, and first ends it if its lease is over.
#[async_trait]
pub trait StreamStore: fmt::Debug + Send + Sync + 'static {
    /// Creates a stream, unless it exists.
    async fn create_stream(&self, name: &StreamName, new: &NewStream) -> Result<Created, BrokerError>;

    /// Appends to a stream, ends it, or both.
    async fn append_stream(&self, name: &StreamName, append: &Append) -> Result<Appended, BrokerError>;

    /// Reads bytes of a stream, and what is known of it.
    async fn read_stream(
        &self,
        name: &StreamName,
        range: ReadRange,
    ) -> Result<Found<StreamPage>, BrokerError>;

    /// Deletes a stream. Waiting readers learn it.
    async fn remove_stream(&self, name: &StreamName) -> Result<Found<Removed>, BrokerError>;

    /// Adds a fork to its source, and reads the bytes that the fork begins with.
    async fn refer_stream(
        &self,
        source: &StreamName,
        reference: &Reference,
    ) -> Result<Found<Referred>, BrokerError>;

    /// Returns the forks of a stream: names and tokens.
    async fn stream_forks(&self, source: &StreamName) -> Result<Vec<ForkId>, BrokerError>;

    /// Removes forks from their source. Returns the source's own source, if the source was deleted before and these were its last
    /// forks.
    async fn release_forks(
        &self,
        source: &StreamName,
        forks: &[ForkId],
    ) -> Result<Option<Origin>, BrokerError>;

    /// Lists streams, in pages of about [`LISTED`] in no order: those behind a place, 0 at first. A page may be empty although
    /// another one comes. A stream that is created or deleted meanwhile may be missing, and another one may be listed twice.
    async fn list_streams(&self, after: u64) -> Result<StreamList, BrokerError>;
}

/// A page of streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamList {
    /// The streams.
    pub streams: Vec<(StreamName, StreamInfo)>,
    /// The place behind them; `None` at the end.
    pub next: Option<u64>,
}

/// Bounds of finite streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// How long a stream without a life is kept after its last use. Zero keeps it for ever.
    pub keep: Duration,
    /// Maximum number of a stream's bytes.
    pub bytes: usize,
    /// Maximum number of a stream's producers.
    pub producers: usize,
    /// Maximum number of a stream's forks.
    pub forks: usize,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self { keep: Duration::from_hours(24), bytes: 16 * 1024 * 1024, producers: 256, forks: 1000 }
    }
}

/// The result of a call about a stream that may not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// There is no such stream.
    Missing,
    /// It was deleted, and has forks.
    Deleted,
    /// It exists.
    Here(T),
}

/// What is known of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Which offsets are valid.
    pub generations: Generations,
    /// Number of bytes.
    pub tail: u64,
    /// What the bytes are.
    pub media_type: MediaType,
    /// How long it is kept.
    pub life: Life,
    /// How it ended, if it has.
    pub end: Option<End>,
    /// Where it comes from, if it is a fork.
    pub origin: Option<Origin>,
    /// How long its producer may be silent, if that is limited.
    pub lease: Option<Lease>,
    /// What was left of the lease: zero if there is none, or if the stream has ended.
    pub lease_left: Duration,
    /// Whether this call has ended the stream, since its lease was over.
    pub lapsed: bool,
}

impl StreamInfo {
    /// Returns where the stream ends.
    pub fn tail(&self) -> StreamTail {
        StreamTail { generations: self.generations.clone(), tail: self.tail, end: self.end.clone() }
    }
}

/// Where a fork comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The source.
    pub source: StreamName,
    /// Random text that tells the fork apart from others of the same name.
    pub token: String,
}

/// A fork, as its source knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkId {
    /// Its name.
    pub name: StreamName,
    /// Its token.
    pub token: String,
}

/// A stream that is created.
#[derive(Clone, Debug)]
pub struct NewStream {
    /// What the bytes are.
    pub media_type: MediaType,
    /// How long the creator asked to keep it.
    pub requested: Life,
    /// How long it is kept: a fork without a life has that of its source.
    pub life: Life,
    /// The first bytes.
    pub bytes: Bytes,
    /// How it has ended, if it is created closed.
    pub end: Option<End>,
    /// Of a fork.
    pub fork: Option<NewFork>,
    /// How long its producer may be silent, if that is limited. Creating the stream again with the same lease says that the
    /// producer is there.
    pub lease: Option<Lease>,
    /// Whether it is only compared with a stream that exists.
    pub only_compare: bool,
}

/// A stream that begins with the bytes of another one.
#[derive(Clone, Debug)]
pub struct NewFork {
    /// Where it comes from.
    pub origin: Origin,
    /// The offset that was asked for, if one was.
    pub offset: Option<String>,
    /// The number of bytes or messages behind that offset.
    pub sub_offset: u64,
    /// The source's generations up to the fork, with their ends.
    pub ended: Vec<(u64, u64)>,
}

/// The result of creating a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was created.
    New(StreamInfo),
    /// It existed, with the same settings.
    Same(StreamInfo),
    /// It existed, with other settings.
    Other(StreamInfo),
    /// It was deleted, and has forks.
    Deleted,
    /// It does not exist, and was not to be created.
    Absent,
}

/// An append, an end, or both.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// The bytes.
    pub bytes: Bytes,
    /// What they are; `None` if there are none.
    pub media_type: Option<MediaType>,
    /// The end.
    pub end: Option<End>,
    /// What is wrong with the body: it is reported unless something comes before it.
    pub fault: Option<BodyFault>,
    /// The producer's numbers.
    pub producer: Option<Producer>,
    /// `Stream-Seq`, greater than the last one of the stream.
    pub order: Option<String>,
}

/// What is wrong with the body of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// No bytes.
    Empty,
    /// No media type.
    Untyped,
    /// Not JSON.
    Json,
}

/// The result of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// What happened.
    pub outcome: AppendOutcome,
    /// Where the stream ends now; `None` if there is no such stream.
    pub at: Option<StreamTail>,
}

/// Where a stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamTail {
    /// Which offsets are valid.
    pub generations: Generations,
    /// Number of bytes.
    pub tail: u64,
    /// How it ended, if it has.
    pub end: Option<End>,
}

/// What happened to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It was appended.
    Appended,
    /// The producer's append was accepted before. With the last number that was.
    Repeated(u64),
    /// The stream was to be ended, and had ended before.
    Ended,
    /// There is no such stream.
    Missing,
    /// It was deleted, and has forks.
    Deleted,
    /// It has ended.
    Closed,
    /// It has ended with this call, since its lease was over.
    Lapsed,
    /// The body has a fault.
    Fault(BodyFault),
    /// The stream has another media type.
    Type,
    /// The producer has started again: with the known epoch.
    Stale(u64),
    /// The first number of a new epoch is not 0.
    Epoch,
    /// Numbers are missing: which was expected, which was received.
    Gap(u64, u64),
    /// There are too many producers.
    Producers,
    /// `Stream-Seq` is not greater than the last one.
    Order,
    /// There would be too many bytes.
    Large,
}

/// Which bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRange {
    /// The first byte; `None` reads none.
    pub from: Option<u64>,
    /// The maximum number of bytes.
    pub bytes: usize,
    /// Whether the stream lives on, as it does after a read.
    pub renews: bool,
}

impl ReadRange {
    /// Reads what is known of a stream only, which does not let it live on.
    pub const INFO: Self = Self { from: None, bytes: 0, renews: false };
}

/// Bytes of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPage {
    /// What is known of it.
    pub info: StreamInfo,
    /// The bytes.
    pub bytes: Bytes,
}

/// The result of deleting a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A mark remains, since it has forks.
    Kept,
    /// Nothing remains. With the source of a fork.
    Gone(Option<Origin>),
}

/// A fork that is added to its source.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The fork.
    pub fork: ForkId,
    /// The source's generations, as the caller knows them.
    pub generations: Generations,
    /// The number of bytes with which the fork begins.
    pub bytes: u64,
}

/// The result of adding a fork.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Referred {
    /// It was added; with the bytes it begins with.
    Added(Bytes),
    /// The source is another stream by now.
    Changed,
    /// The source has too many forks.
    Many,
}

impl AppendOutcome {
    /// Returns the label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Appended => "appended",
            Self::Repeated(_) => "repeated",
            Self::Ended => "ended",
            Self::Missing => "missing",
            Self::Deleted => "deleted",
            Self::Closed => "closed",
            Self::Lapsed => "lapsed",
            Self::Fault(_) => "bad_body",
            Self::Type => "other_type",
            Self::Stale(_) | Self::Epoch => "stale_epoch",
            Self::Gap(..) => "gap",
            Self::Producers => "too_many_producers",
            Self::Order => "out_of_order",
            Self::Large => "too_large",
        }
    }
}
