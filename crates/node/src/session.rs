//! The node's side of sessions: claims, and what is held.
//!
//! SKELETON: the signatures that hub and HTTP build on.

use std::sync::Arc;

use fanfare_protocol::{SessionId, User};

use crate::ending::Ending;

/// A session that this node owns. Dropping it gives the session up with the reason `closed`.
#[derive(Debug)]
pub struct Held {
    session: SessionId,
    epoch: u64,
}

impl Held {
    /// Which session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The epoch of the claim.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Gives the session up, in the background.
    pub fn end(self, ending: Ending) {
        let _ = ending;
    }
}

/// Why a session could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The user has as many sessions as allowed.
    #[error("the user has {0} sessions, which is the limit")]
    Full(usize),
    /// The broker is away.
    #[error("sessions cannot be claimed now: {0}")]
    Unavailable(String),
}

/// Claims sessions for this node and gives them up.
#[derive(Clone, Debug)]
pub struct Sessions;

impl Sessions {
    /// Claims a session.
    ///
    /// # Errors
    ///
    /// When the user has too many, or the broker is away.
    pub async fn claim(&self, user: &User, session: SessionId, client: Arc<str>) -> Result<Held, ClaimError> {
        let _ = (user, session, client);
        todo!()
    }
}
