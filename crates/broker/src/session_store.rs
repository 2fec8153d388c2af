//! Owners of sessions, and commands to the nodes that own them.

use std::fmt;

use async_trait::async_trait;
use fanfare_protocol::session::Control;
use fanfare_protocol::{Channel, SessionId, User};

use crate::session::{Claim, Claimed, Holding, Presence, Renewed, SessionEnd, SessionInfo, UserPage};
use crate::{BrokerError, NodeId};

/// The sessions of all users, each with the node that owns it.
///
/// An `Err` means that the call was not carried out, or that its outcome is unknown. Every call may be retried.
#[async_trait]
pub trait SessionStore: fmt::Debug + Send + Sync + 'static {
    /// Makes the claim's node the session's owner, with a greater epoch, and reports `session.connected` or
    /// `session.moved`, and `user.online` for the user's first session. Sends the old owner, if it is another node, a
    /// command to close its connection. Returns the silence in which the session's connections are lost, if two were lost in
    /// silences of about the same length, and the last one no longer than [`BrokerSettings::heartbeat_memory`] ago.
    ///
    /// The session is recorded in the presence of its channels, and no longer in that of channels of an earlier claim. The
    /// first session of a channel is reported as `channel.occupied`. When the last one has ended, the channel is reported as
    /// `channel.vacated` after the grace period, unless another session comes before.
    ///
    /// [`BrokerSettings::heartbeat_memory`]: crate::BrokerSettings::heartbeat_memory
    async fn claim(&self, claim: &Claim) -> Result<Claimed, BrokerError>;

    /// Releases a session, and reports `session.disconnected` and, for the user's last session, `user.offline`.
    /// Changes nothing and returns false if `node` is not the owner, or owns the session with a greater epoch. (A
    /// smaller epoch remains after a failover that lost the newest claim.) Records the silence in which the connection was
    /// lost, if there is one, in any case.
    async fn release(
        &self,
        node: &NodeId,
        user: &User,
        session: SessionId,
        epoch: u64,
        end: SessionEnd,
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

    /// Returns how many sessions and users follow a channel whose presence is recorded, and some of the users. A session that
    /// waits for its client counts.
    async fn presence(&self, channel: &Channel, page: &UserPage) -> Result<Presence, BrokerError>;

    /// Sends a command to a node. The command is lost if the node is not subscribed.
    async fn send(&self, node: &NodeId, command: &Control) -> Result<(), BrokerError>;
}
