//! What clients have acknowledged.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::reader::Reader;
use fanfare_protocol::{Channel, Position, User};

use crate::BrokerError;

/// The acknowledged cursors of all users, one for each reader.
///
/// An `Err` means that the call was not carried out, or that its outcome is unknown. Every call may be retried.
#[async_trait]
pub trait AckStore: fmt::Debug + Send + Sync + 'static {
    /// Moves a reader's acknowledged positions forward, and returns how many moved. A position never moves backwards,
    /// except one that is ahead of the clock.
    ///
    /// A reader keeps its greatest [`MAX_CURSOR_CHANNELS`](fanfare_protocol::cursor::MAX_CURSOR_CHANNELS) positions. Its
    /// cursor expires when it is not acknowledged for [`AckSettings::keep`], or when [`AckSettings::readers`] others of
    /// the user acknowledged later.
    async fn acknowledge(
        &self,
        user: &User,
        reader: &Reader,
        positions: &[AckedPosition],
    ) -> Result<usize, BrokerError>;

    /// Returns a reader's acknowledged positions, in ascending order of their tags. Empty if there are none.
    async fn acknowledged(&self, user: &User, reader: &Reader) -> Result<Vec<AckedPosition>, BrokerError>;

    /// Appends receipts to the stream of receipts, which keeps about [`AckSettings::receipts`] entries.
    async fn report_receipts(&self, receipts: &[Receipt]) -> Result<(), BrokerError>;
}

/// A channel's tag ([`Channel::tag`]), and a position in it.
pub type AckedPosition = (u64, Position);

/// Tells publishers that a client acknowledged an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The user.
    pub user: User,
    /// The reader.
    pub reader: Reader,
    /// The event's channel.
    pub channel: Channel,
    /// The event's position.
    pub position: Position,
}

/// Bounds of acknowledged cursors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckSettings {
    /// How long a cursor is kept after the last acknowledgement.
    pub keep: Duration,
    /// Maximum number of readers of one user.
    pub readers: usize,
    /// Approximate number of receipts that are kept.
    pub receipts: usize,
}

impl Default for AckSettings {
    fn default() -> Self {
        Self { keep: Duration::from_hours(30 * 24), readers: 16, receipts: 100_000 }
    }
}
