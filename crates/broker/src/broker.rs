//! The interface between a node and the shared state of the cluster.

use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::session::Control;
use fanfare_protocol::start::From;
use fanfare_protocol::{Channel, Position, SessionId, User};

use crate::BrokerError;
use crate::intake::{IntakeEntry, Intaken, Placed, Reading, Rejected};
use crate::lease::{Lease, NodeId, NodeInfo, Swept};
use crate::log::{Page, PageLimit};
use crate::session::{Claim, Claimed, CloseReason, Holding, Renewed, SessionInfo};
use crate::wire::{Wire, WireSink};

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

/// Shared state of the cluster.
///
/// An `Err` means that the call was not carried out, or that its outcome is unknown. Every call may be retried.
#[async_trait]
pub trait Broker: std::fmt::Debug + Send + Sync + 'static {
    // ---- events

    /// Appends each event to its channel's log and publishes it on the live topic, atomically for each event; an
    /// ephemeral event is only published. Events of a batch for the same channel keep their order. Returns the
    /// results in the batch's order.
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<Published, BrokerError>>;

    /// Publishes like [`Broker::publish`], but creates no channel: the result is `None` for an event to be stored in
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
    async fn locate(&self, channel: &Channel, from: From) -> Result<Position, BrokerError>;

    /// Opens a subscriber connection, which is also subscribed to the node's control topic. Never fails: it
    /// reconnects until it is closed.
    fn wire(&self, node: &NodeId, sink: WireSink) -> Wire;

    // ---- sessions

    /// Makes the claim's node the session's owner, with a greater epoch, and reports `session.connected` or
    /// `session.moved`, and `user.online` for the user's first session. Sends the old owner, if it is another node, a
    /// command to close its connection.
    async fn claim(&self, claim: &Claim) -> Result<Claimed, BrokerError>;

    /// Releases a session, and reports `session.disconnected` and, for the user's last session, `user.offline`.
    /// Changes nothing and returns false if `node` is not the owner, or owns the session with a greater epoch. (A
    /// smaller epoch remains after a failover that lost the newest claim.)
    async fn release(
        &self,
        node: &NodeId,
        user: &User,
        session: SessionId,
        epoch: u64,
        reason: CloseReason,
    ) -> Result<bool, BrokerError>;

    /// Renews the claims of sessions that a node holds, in the given order:
    ///
    /// - A session that the node still owns does not change, whether with this epoch or with a greater one that the node
    ///   never received.
    /// - A session that another node owns is lost, unless its epoch is smaller: then a failover has lost the node's claim,
    ///   which is repeated as `session.moved`.
    /// - A session without an owner is claimed again: it keeps its start time, gets a greater epoch, and is reported as
    ///   `session.connected` (and `user.online` for the user's first session), since the sweep has reported its end, or the
    ///   lifecycle stream was lost too.
    async fn renew(&self, node: &NodeId, held: &[Holding]) -> Result<Vec<Renewed>, BrokerError>;

    /// Returns a user's sessions, oldest first.
    async fn sessions(&self, user: &User) -> Result<Vec<SessionInfo>, BrokerError>;

    /// Sends a command to a node. The command is lost if the node is not subscribed.
    async fn send(&self, node: &NodeId, command: &Control) -> Result<(), BrokerError>;

    // ---- nodes

    /// Renews a node's lease for `ttl`. If a process takes over the node id of another process whose lease has
    /// expired, the sweep removes the other's sessions, except those that are claimed again before.
    async fn lease(&self, info: &NodeInfo, ttl: Duration) -> Result<Lease, BrokerError>;

    /// Releases a node's lease, if this incarnation holds it.
    async fn leave(&self, info: &NodeInfo) -> Result<(), BrokerError>;

    /// Returns the nodes with a lease, by id.
    async fn nodes(&self) -> Result<Vec<NodeInfo>, BrokerError>;

    /// Performs one step of a sweep: removes sessions of nodes whose lease has expired and reports them with the
    /// reason `node-lost`; ends sessions that waited for another node until their grace period was over, and reports
    /// users without a session as offline. A step checks at most [`SWEEP_STEP`](crate::lease::SWEEP_STEP) sessions
    /// and as many users. If [`Swept::more`] is set, the caller performs the next step at once.
    ///
    /// Only one node sweeps at a time: a lock held for `ttl` elects it. The other nodes do nothing.
    async fn sweep(&self, node: &NodeId, ttl: Duration) -> Result<Swept, BrokerError>;

    // ---- intake

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

    /// Publishes entries of a reading, like [`Broker::publish`]. An entry of the same generation that was published
    /// before, by any node, is a repeat, and so is an older entry of its channel. An entry whose predecessor
    /// (`after`) is not published yet is held up. So entries are stored once and in order, however often and by
    /// however many nodes they are published, until the channel's last position expires.
    async fn publish_intake(
        &self,
        reading: &Reading,
        entries: Vec<Placed>,
    ) -> Vec<Result<Intaken, BrokerError>>;

    /// Moves entries that can never be published to the dead-letter stream, each once. An entry that is too large is
    /// truncated.
    async fn reject_intake(&self, reading: &Reading, rejected: Vec<Rejected>) -> Result<(), BrokerError>;

    /// Removes entries that were published.
    async fn settle_intake(&self, reading: &Reading, published: Vec<Position>) -> Result<(), BrokerError>;

    // ---- health

    /// Loads the function library for publishers if it is missing, and checks that the broker answers.
    async fn prepare(&self) -> Result<(), BrokerError>;
}
