//! The ingest stream, which publishers append to and one node reads.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::Position;

use crate::dead_letter::{DeadLetters, Rejected, Requeued};
use crate::intake::{ChainedEntry, IntakeEntry, IntakeOutcome, Reading};
use crate::{BrokerError, NodeId};

/// The ingest stream, its leader and its dead-letter stream.
///
/// An `Err` means that the call was not carried out, or that its outcome is unknown. Every call may be retried.
#[async_trait]
pub trait IntakeQueue: fmt::Debug + Send + Sync + 'static {
    /// Acquires or renews the leadership of the intake for `ttl`. Only one node leads at a time, so that the entries
    /// of a channel keep their order.
    async fn lead_intake(&self, node: &NodeId, ttl: Duration) -> Result<bool, BrokerError>;

    /// Releases the leadership of the intake, so that another node can acquire it at once.
    async fn resign_intake(&self, node: &NodeId) -> Result<(), BrokerError>;

    /// Starts to read the ingest stream from its oldest entry, also entries that an earlier reader has taken. Every
    /// other reading ends. Returns `None` if `node` does not lead.
    async fn read_intake(&self, node: &NodeId) -> Result<Option<Reading>, BrokerError>;

    /// Returns the next `limit` entries of a reading in order, waiting up to `wait` for the first. Entries of an
    /// answer that was lost are taken by the next reading only.
    ///
    /// # Errors
    ///
    /// This and the other calls about a reading's entries, but for publishing, fail when the reading is over and then
    /// do nothing: the next one has the entries, or other entries of their ids. It is an error that passes.
    async fn take_intake(
        &self,
        reading: &Reading,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<IntakeEntry>, BrokerError>;

    /// Publishes entries of a reading, like [`EventLog::publish`](crate::EventLog::publish). An entry of the same
    /// generation that was published before, by any node, is a repeat, and so is an older entry of its channel. An
    /// entry whose predecessor (`after`) is not published yet is blocked. So entries are stored once and in order,
    /// however often and by however many nodes they are published, until the channel's last position expires.
    async fn publish_intake(
        &self,
        reading: &Reading,
        entries: Vec<ChainedEntry>,
    ) -> Vec<Result<IntakeOutcome, BrokerError>>;

    /// Moves entries that can never be published to the dead-letter stream, each once. An entry that is too large is
    /// truncated.
    async fn reject_intake(&self, reading: &Reading, rejected: Vec<Rejected>) -> Result<(), BrokerError>;

    /// Returns entries of the dead-letter stream from an id on, in order: up to `limit` of them, and about `bytes` bytes, or
    /// one larger entry.
    async fn dead_letters(
        &self,
        from: Position,
        limit: usize,
        bytes: usize,
    ) -> Result<DeadLetters, BrokerError>;

    /// Moves an entry of the dead-letter stream back to the end of the ingest stream, with all its fields, unless it is
    /// not complete. Of several calls for one entry, one moves it.
    async fn requeue_dead(&self, id: Position) -> Result<Requeued, BrokerError>;

    /// Removes an entry from the dead-letter stream. Returns whether the stream had it.
    async fn drop_dead(&self, id: Position) -> Result<bool, BrokerError>;

    /// Removes entries that were published.
    async fn settle_intake(&self, reading: &Reading, published: Vec<Position>) -> Result<(), BrokerError>;

    /// Replaces the ingest stream with an empty one, in which ids begin at the broker's clock again, if the last id
    /// [is ahead](crate::intake::is_ahead) of that clock and every entry was acknowledged. Returns the last id if the stream was
    /// replaced: the reading is over then.
    async fn reset_intake(&self, reading: &Reading) -> Result<Option<Position>, BrokerError>;
}
