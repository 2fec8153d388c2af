//! Session ids, and control messages between nodes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::json::ByName;
use crate::revocation::TokenStamp;
use crate::{Grants, User};

/// Id of one client's logical stream, which survives reconnects and moves between nodes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Uuid);

/// A text that is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a session id must be a UUID, like 0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11")]
pub struct SessionIdError;

impl SessionId {
    /// Creates a random id.
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
        // Only the form with hyphens, so that each session has one text.
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

/// The key of a session: user and id. An id without its user identifies nothing: two users may have the same id, by
/// accident or on purpose, and neither can affect the other's session.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// The user.
    pub user: User,
    /// The id, unique only among the user's sessions.
    pub session: SessionId,
}

impl SessionKey {
    /// Creates the key of a user's session.
    pub fn new(user: User, session: SessionId) -> Self {
        Self { user, session }
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.session, self.user)
    }
}

/// The most bytes a command has. The longest contains the grants of a token ([`Control::ReplaceToken`]); of the others, the
/// longest names a user of [`MAX_USER_BYTES`](crate::channel::MAX_USER_BYTES) and the largest epoch.
pub const MAX_CONTROL_BYTES: usize = 4096;

/// A message on a control topic that is not a command.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// More than [`MAX_CONTROL_BYTES`].
    #[error("the message has {0} bytes; a command has at most {MAX_CONTROL_BYTES}")]
    TooLong(usize),
    /// Not the JSON text of a command.
    #[error("not the JSON of a command: {0}")]
    Json(#[from] serde_json::Error),
}

impl ControlError {
    /// Returns what is wrong in a fixed word, without a piece of the message.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "too-long",
            Self::Json(error) if error.is_data() => "not-a-command",
            Self::Json(_) => "not-json",
        }
    }
}

/// A command to one node, sent as JSON over its control topic. Includes the user, since a session id alone identifies
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Control {
    /// Another node claimed the session with this epoch: close the connection if its own claim is older.
    Supersede {
        /// The session's user.
        user: User,
        /// The session's id.
        session: SessionId,
        /// The epoch of the new claim.
        epoch: u64,
    },
    /// Disconnects a session permanently.
    Disconnect {
        /// The session's user.
        user: User,
        /// The session's id.
        session: SessionId,
    },
    /// Replaces the token of a session's stream.
    ReplaceToken {
        /// The session's user, who is also the new token's user.
        user: User,
        /// The session's id.
        session: SessionId,
        /// What the new token says.
        token: ReplacementToken,
    },
    /// The log of revocations has new entries: read it.
    ReadRevocations {},
}

/// What a new token says, for a stream that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplacementToken {
    /// Expiry of the token, including the leeway, in Unix milliseconds; `None` if it does not expire.
    pub expires: Option<u64>,
    /// The part by which it can be revoked; `None` if it cannot.
    pub stamp: Option<TokenStamp>,
    /// Permissions, of which a stream needs those to subscribe.
    pub grants: Grants,
}

impl Control {
    /// Parses a command.
    ///
    /// # Errors
    ///
    /// When it is longer than [`MAX_CONTROL_BYTES`], or not one of the commands exactly.
    pub fn parse(message: &[u8]) -> Result<Self, ControlError> {
        if message.len() > MAX_CONTROL_BYTES {
            return Err(ControlError::TooLong(message.len()));
        }
        let ByName(command) = serde_json::from_slice(message)?;
        Ok(command)
    }

    /// Returns the JSON text.
    pub fn encode(&self) -> String {
        // Serializing a tagged enum of plain fields cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::MAX_USER_BYTES;

    #[test]
    fn a_command_reads_back() {
        let (user, session) = (User::new("a:42").unwrap(), SessionId::random());
        let supersede = Control::Supersede { user: user.clone(), session, epoch: 7 };
        let stamp = TokenStamp { id: "0123456789abcdef0123456789abcdef".parse().ok(), issued: 5 };
        let token = ReplacementToken { expires: Some(7), stamp: Some(stamp), grants: Grants::all() };
        let replace = Control::ReplaceToken { user: user.clone(), session, token };
        for command in
            [supersede, Control::Disconnect { user, session }, replace, Control::ReadRevocations {}]
        {
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
    fn the_longest_command_fits_and_a_longer_message_is_refused_unread() {
        let user = User::new(&"u".repeat(MAX_USER_BYTES)).unwrap();
        let longest = Control::Supersede { user, session: SessionId::random(), epoch: u64::MAX }.encode();
        assert!(longest.len() <= MAX_CONTROL_BYTES, "{}", longest.len());
        let pad = |length: usize| format!("{longest}{}", " ".repeat(length - longest.len()));
        assert!(Control::parse(pad(MAX_CONTROL_BYTES).as_bytes()).is_ok());
        let error = Control::parse(pad(MAX_CONTROL_BYTES + 1).as_bytes()).unwrap_err();
        assert_eq!(error.reason(), "too-long");
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
