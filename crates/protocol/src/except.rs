//! The session that does not get an event.

use std::fmt;
use std::str::FromStr;

use crate::SessionId;
use crate::User;
use crate::channel::UserError;
use crate::session::SessionIdError;

/// The session that does not get an event: of a user, or of a client without a user.
///
/// Its text is `<user>/<session>`, or `<session>` for a client without a user. A user id may contain slashes, and a session id
/// has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Except {
    /// The user, if there is one.
    pub user: Option<User>,
    /// The session's id, unique only among the user's sessions.
    pub session: SessionId,
}

/// Why a text names no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExceptError {
    /// The part before the last slash is not a user id.
    #[error("{0}; it must be <user>/<session>, or <session> for a client without a user")]
    User(#[from] UserError),
    /// The part after the last slash is not a session id.
    #[error("{0}; it must be <user>/<session>, or <session> for a client without a user")]
    Session(#[from] SessionIdError),
}

impl FromStr for Except {
    type Err = ExceptError;

    fn from_str(text: &str) -> Result<Self, ExceptError> {
        match text.rsplit_once('/') {
            Some((user, session)) => Ok(Self { user: Some(User::new(user)?), session: session.parse()? }),
            None => Ok(Self { user: None, session: text.parse()? }),
        }
    }
}

impl fmt::Display for Except {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(f, "{}/{}", user.id(), self.session),
            None => self.session.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11";

    #[test]
    fn a_session_with_and_without_a_user_reads_back() {
        for (user, text) in [(None, SESSION.to_owned()), (Some("a/b"), format!("a/b/{SESSION}"))] {
            let except: Except = text.parse().unwrap();
            assert_eq!(except.user.as_ref().map(User::id), user);
            assert_eq!(except.to_string(), text);
        }
    }

    #[test]
    fn what_names_no_session_is_refused_with_the_form() {
        for bad in [
            "",
            "alice",
            "alice/",
            "alice/x",
            &format!("/{SESSION}"),
            &format!("a b/{SESSION}"),
            &format!("{SESSION}/"),
        ] {
            let error = bad.parse::<Except>().unwrap_err().to_string();
            assert!(error.contains("it must be <user>/<session>"), "{bad:?}: {error}");
        }
        let long = format!("{}/{SESSION}", "u".repeat(crate::channel::MAX_USER_BYTES + 1));
        assert!(matches!(long.parse::<Except>(), Err(ExceptError::User(UserError::TooLong(_)))));
    }
}
