//! Who is connected, and the words nodes send each other about it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::User;
use crate::json::ByName;

/// One client's logical stream: survives reconnects and moves between nodes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Uuid);

/// A text that is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a session id must be a UUID, like 0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11")]
pub struct SessionIdError;

impl SessionId {
    /// Creates a new one that nobody else has.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl From<Uuid> for SessionId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl FromStr for SessionId {
    type Err = SessionIdError;
    fn from_str(text: &str) -> Result<Self, SessionIdError> {
        // Only the usual form with hyphens: one text for each session.
        match Uuid::try_parse(text) {
            Ok(uuid) if text.len() == 36 => Ok(Self(uuid)),
            _ => Err(SessionIdError),
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The identity of a user's session. A session id without its user identifies nothing: two users may have the same
/// one, by accident or on purpose, and neither has any power over the other's session.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// The user.
    pub user: User,
    /// The id, unique among the user's sessions only.
    pub session: SessionId,
}

impl SessionKey {
    /// Returns the session of this id that belongs to this user.
    pub fn new(user: User, session: SessionId) -> Self {
        Self { user, session }
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.session, self.user)
    }
}

/// A command to one node, sent as JSON over its control topic. It names the user: a command without one does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Control {
    /// Another node claimed the session with this epoch: drop the connection if ours is older.
    Supersede {
        /// The session's user.
        user: User,
        /// The session's id.
        session: SessionId,
        /// The epoch of the new claim.
        epoch: u64,
    },
    /// End a session's connection for good.
    Disconnect {
        /// The session's user.
        user: User,
        /// The session's id.
        session: SessionId,
    },
}

impl Control {
    /// Reads a command.
    ///
    /// # Errors
    ///
    /// Fails if it is not one of the commands exactly.
    pub fn parse(message: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(message).map(|ByName(command)| command)
    }

    /// Returns the JSON text.
    pub fn encode(&self) -> String {
        // A tagged enum of plain fields always has a JSON text.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_back() {
        let (user, session) = (User::new("a:42").unwrap(), SessionId::random());
        let supersede = Control::Supersede { user: user.clone(), session, epoch: 7 };
        for command in [supersede, Control::Disconnect { user, session }] {
            assert_eq!(Control::parse(command.encode().as_bytes()).unwrap(), command);
        }
        for bad in [
            "",
            "{}",
            "7",
            r#"{"op":"format-disk"}"#,
            r#"{"op":"disconnect","session":"x"}"#,
            r#"{"op":"disconnect","user":"42","session":"x"}"#,
            r#"["disconnect","0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11"]"#,
        ] {
            assert!(Control::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_command_without_a_user_names_no_session() {
        let session = SessionId::random();
        for fields in ["", r#""user":null,"#, r#""user":"","#, r#""user":7,"#, r#""user":"a b","#] {
            let bad = format!(r#"{{"op":"disconnect",{fields}"session":"{session}"}}"#);
            assert!(Control::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_session_id_has_one_text() {
        let id = SessionId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().replace('-', "").parse::<SessionId>().is_err());
        assert!(format!("{{{id}}}").parse::<SessionId>().is_err());
    }
}
