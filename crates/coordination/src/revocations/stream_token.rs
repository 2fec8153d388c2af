//! The tokens of open streams: how one is replaced.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_broker::{Broker, BrokerError, NodeId};
use fanfare_protocol::revocation::TokenStamp;
use fanfare_protocol::session::{Control, MAX_CONTROL_BYTES, ReplacementToken};
use fanfare_protocol::{Grants, SessionId, SessionKey, User};

use super::Revocations;

/// The token of a stream, of which the stream keeps what can end it.
#[derive(Clone)]
pub struct StreamToken {
    stamp: TokenStamp,
    revocations: Revocations,
}

impl StreamToken {
    /// Creates the token of a stream.
    pub fn new(revocations: Revocations, stamp: TokenStamp) -> Self {
        Self { stamp, revocations }
    }

    /// Returns whether the token of this user is known to be revoked.
    pub fn is_revoked(&self, user: &User) -> bool {
        self.revocations.revokes(user, &self.stamp)
    }
}

impl fmt::Debug for StreamToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamToken").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

/// A token that replaces that of an open stream.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// Expiry of the token, including the leeway; `None` if it does not expire.
    pub expires: Option<SystemTime>,
    /// The token; `None` if it cannot be revoked.
    pub token: Option<StreamToken>,
    /// Permissions. A stream with a channel that they do not grant ends.
    pub grants: Grants,
}

/// Replaces the token of a session's stream on this node, if there is one. The hub does, which knows the streams.
pub type ReplaceToken = Arc<dyn Fn(SessionKey, Replacement) + Send + Sync>;

/// Why a token could not replace that of a session.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// The user has no such session.
    #[error("the user has no session {0}")]
    NoSession(SessionId),
    /// The grants are too long for a command to another node.
    #[error("the grants of the token are too long to be sent to the session's node")]
    TooLong,
    /// The broker is unavailable.
    #[error("cannot replace the token: {0}")]
    Broker(BrokerError),
}

/// Replaces tokens of streams, on whichever node they are.
#[derive(Clone)]
pub struct StreamTokens {
    broker: Arc<dyn Broker>,
    node: NodeId,
    revocations: Revocations,
    replace: ReplaceToken,
}

impl fmt::Debug for StreamTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamTokens").field("node", &self.node).finish_non_exhaustive()
    }
}

impl StreamTokens {
    /// Creates it for a node.
    pub fn new(
        broker: Arc<dyn Broker>,
        node: NodeId,
        revocations: Revocations,
        replace: ReplaceToken,
    ) -> Self {
        Self { broker, node, revocations, replace }
    }

    /// Replaces the token of a session, which another node does if it owns the session. A command to a node that is
    /// not reached is lost: the stream ends when its old token expires.
    ///
    /// # Errors
    ///
    /// Fails if there is no such session, the grants are too long, or the broker is unavailable.
    pub async fn replace(
        &self,
        session: &SessionKey,
        token: ReplacementToken,
    ) -> Result<NodeId, ReplaceError> {
        let sessions = self.broker.sessions(&session.user).await.map_err(ReplaceError::Broker)?;
        let held = sessions.into_iter().find(|info| info.session == session.session);
        let owner = held.ok_or(ReplaceError::NoSession(session.session))?.node;
        if owner == self.node {
            self.replace_here(session.clone(), token);
            return Ok(owner);
        }
        let SessionKey { user, session } = session.clone();
        let command = Control::ReplaceToken { user, session, token };
        if command.encode().len() > MAX_CONTROL_BYTES {
            return Err(ReplaceError::TooLong);
        }
        self.broker.send(&owner, &command).await.map_err(ReplaceError::Broker)?;
        Ok(owner)
    }

    /// Replaces the token of a session's stream on this node.
    pub(crate) fn replace_here(&self, session: SessionKey, token: ReplacementToken) {
        let ReplacementToken { expires, stamp, grants } = token;
        let expires = expires.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
        let token = stamp.map(|stamp| StreamToken::new(self.revocations.clone(), stamp));
        (self.replace)(session, Replacement { expires, token, grants });
    }
}
