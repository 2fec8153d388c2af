//! The logs of channels: publishing and reading.

use std::fmt;

use async_trait::async_trait;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Position};

use crate::BrokerError;
use crate::log::{Page, PageLimit};

/// Result of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Position of the event; `None` for an ephemeral event.
    pub position: Option<Position>,
    /// Whether the idempotency key was used before: nothing was stored, and `position` is that of the first event.
    pub repeat: bool,
    /// Whether the channel was created: it had neither events nor a last position.
    pub created: bool,
}

/// The logs of all channels.
///
/// An `Err` means that the call was not carried out, or that its outcome is unknown. Every call may be retried.
#[async_trait]
pub trait EventLog: fmt::Debug + Send + Sync + 'static {
    /// Appends each event to its channel's log and publishes it on the live topic, atomically for each event; an
    /// ephemeral event is only published. Events of a batch for the same channel keep their order. Returns the
    /// results in the batch's order.
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<Published, BrokerError>>;

    /// Publishes like [`EventLog::publish`], but creates no channel: the result is `None` for an event to be stored in
    /// a channel that has neither events nor a last position. For publishers that have reached their limit of new
    /// channels.
    async fn publish_known(&self, batch: Vec<Publication>) -> Vec<Result<Option<Published>, BrokerError>>;

    /// Returns the first entries after a position, as far as the limit allows, with the channel's last position at
    /// the same moment. If the first entry exceeds the limit, the page is empty, and [`Page::needs`] has the entry's
    /// size.
    async fn page(&self, channel: &Channel, after: Position, limit: PageLimit) -> Result<Page, BrokerError>;

    /// Returns the position after which to read:
    ///
    /// - for a time, the position of the last entry at or before it; if all entries are younger and none before the oldest
    ///   is missing, the position before the oldest; otherwise the time itself, so that the next read finds the gap;
    /// - for `Newest(n)` and `Earliest`, the position before the first of these entries; the newest are limited by
    ///   [`NEWEST_EVENTS`](crate::log::NEWEST_EVENTS) and [`NEWEST_BYTES`](crate::log::NEWEST_BYTES);
    /// - in a channel without entries, its last position, or zero.
    async fn locate(&self, channel: &Channel, from: StartAt) -> Result<Position, BrokerError>;
}
