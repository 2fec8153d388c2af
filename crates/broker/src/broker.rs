//! The seam between a node and what outlives it.

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
use crate::session::{Claim, Claimed, Holding, Reason, Renewed, SessionInfo};
use crate::wire::{Wire, WireSink};

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where the event stands; none for an ephemeral one.
    pub position: Option<Position>,
    /// Whether the idempotency key was seen before: then nothing was stored now, and `position` is the first one's.
    pub repeat: bool,
    /// Whether the channel is new: it had neither events nor a last position.
    pub created: bool,
}

/// Everything that must outlive a node.
///
/// An `Err` of any call means that it was not carried out, or that this is not known: each call may be made again.
#[async_trait]
pub trait Broker: std::fmt::Debug + Send + Sync + 'static {
    // ---- events

    /// Stores each event in its channel's log and sends it over the live wire, in one step each; an ephemeral
    /// event is only sent. Events of one batch for one channel keep their order. Answers in the batch's order.
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<Published, BrokerError>>;

    /// The same as [`Broker::publish`], but makes no channel: answers none for an event to be stored in one that has neither
    /// events nor a last position. For a publisher that has made as many as it may for now.
    async fn publish_known(&self, batch: Vec<Publication>) -> Vec<Result<Option<Published>, BrokerError>>;

    /// Returns the first entries after a position, as many as are there and the limit allows, and the channel's last
    /// position in the same step. An entry that is larger than the limit by itself is left out, and [`Page::needs`]
    /// says how large it is.
    async fn page(&self, channel: &Channel, after: Position, limit: PageLimit) -> Result<Page, BrokerError>;

    /// Returns the position to read on from. For a time: that of the last entry at or before it; if only younger ones
    /// are known and nothing is missing before the oldest of them, the position before that one; else the time
    /// itself, so that reading on tells the gap. For `Newest(n)` and `Earliest`: the position before the oldest entry
    /// meant; of the newest, as many as [`NEWEST_EVENTS`](crate::log::NEWEST_EVENTS) and
    /// [`NEWEST_BYTES`](crate::log::NEWEST_BYTES) allow. In a channel that has nothing: its last position, or zero.
    async fn locate(&self, channel: &Channel, from: From) -> Result<Position, BrokerError>;

    /// Opens a live wire that also hears the node's control topic. Never fails: it tries until it is closed.
    fn wire(&self, node: &NodeId, sink: WireSink) -> Wire;

    // ---- sessions

    /// Makes the claim's node the session's owner, with a greater epoch, and reports `session.connected` or
    /// `session.moved`, and `user.online` for the user's first. The old owner, if it is another node, is told to
    /// drop its connection.
    async fn claim(&self, claim: &Claim) -> Result<Claimed, BrokerError>;

    /// Gives a session up, and reports `session.disconnected` and for the user's last `user.offline`. Changes
    /// nothing and answers false if `node` is not the owner, or is with a greater epoch. (A smaller one is what a
    /// fail-over left that lost the newest claim.)
    async fn release(
        &self,
        node: &NodeId,
        user: &User,
        session: SessionId,
        epoch: u64,
        reason: Reason,
    ) -> Result<bool, BrokerError>;

    /// Claims once more what a node believes to hold, in the order given: nothing changes for a session that is
    /// still ours, with this epoch or a greater one of which the node never heard; one that somebody else holds is
    /// lost, unless its epoch is below ours: then a fail-over has lost our claim, which is made anew as
    /// `session.moved`; and one that nobody holds becomes ours again: it keeps its beginning, gets a greater epoch,
    /// and is reported as `session.connected` (and `user.online` for the user's first), since the sweep has reported
    /// its end or the lifecycle stream is as new as everything else.
    async fn renew(&self, node: &NodeId, held: &[Holding]) -> Result<Vec<Renewed>, BrokerError>;

    /// Returns a user's sessions, oldest first.
    async fn sessions(&self, user: &User) -> Result<Vec<SessionInfo>, BrokerError>;

    /// Sends a command to a node. It is lost if the node is not listening.
    async fn send(&self, node: &NodeId, command: &Control) -> Result<(), BrokerError>;

    // ---- nodes

    /// Renews a node's lease for `ttl`. When a process takes the name of another whose lease has lapsed, the other's
    /// sessions are left to the sweep, except those that are claimed again before it.
    async fn lease(&self, info: &NodeInfo, ttl: Duration) -> Result<Lease, BrokerError>;

    /// Gives a node's lease up, if it is this incarnation's.
    async fn leave(&self, info: &NodeInfo) -> Result<(), BrokerError>;

    /// Returns the nodes with a lease, by id.
    async fn nodes(&self) -> Result<Vec<NodeInfo>, BrokerError>;

    /// Makes one step of a sweep: removes sessions of nodes whose lease has lapsed and reports them with the reason
    /// `node-lost`; ends the sessions that waited for another node until the grace was over, and reports users offline who
    /// have none left. A step looks at [`SWEEP_STEP`](crate::lease::SWEEP_STEP) sessions and as many users at most. One
    /// that was full says so: the caller makes the next one at once, until all is done.
    ///
    /// One node at a time does this: a lock held for `ttl` elects it, and the others do nothing.
    async fn sweep(&self, node: &NodeId, ttl: Duration) -> Result<Swept, BrokerError>;

    // ---- intake

    /// Asks to be the one node that takes entries, for `ttl`. Only one at a time may, so that the entries of a
    /// channel keep their order.
    async fn lead_intake(&self, node: &NodeId, ttl: Duration) -> Result<bool, BrokerError>;

    /// Lets another node lead at once.
    async fn resign_intake(&self, node: &NodeId) -> Result<(), BrokerError>;

    /// Begins to read the ingest stream from its oldest entry, whoever has taken it before; every other reading is
    /// over. None if `node` does not lead.
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

    /// Publishes entries of a reading, as [`Broker::publish`] does. An entry that was published before, by anybody who
    /// had it of the same generation, is a repeat, and so is an older one of its channel; one that is not `after` what
    /// its channel has is held up. So entries land once and in order, however often and by however many they are
    /// published; that is forgotten with a channel's last position.
    async fn publish_intake(
        &self,
        reading: &Reading,
        entries: Vec<Placed>,
    ) -> Vec<Result<Intaken, BrokerError>>;

    /// Moves entries that can never be published to the dead ones, each once. Of one that is too large a part is kept.
    async fn reject_intake(&self, reading: &Reading, rejected: Vec<Rejected>) -> Result<(), BrokerError>;

    /// Removes entries that were published.
    async fn settle_intake(&self, reading: &Reading, published: Vec<Position>) -> Result<(), BrokerError>;

    // ---- health

    /// Makes sure that what publishers rely on is there (the function library), and that the broker answers.
    async fn prepare(&self) -> Result<(), BrokerError>;
}
