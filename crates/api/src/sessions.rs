//! The responses of `/v1/users/{user}/sessions`.

use serde::{Deserialize, Serialize};

/// The response of `GET`: a user's sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionList {
    /// User id.
    pub user: String,
    /// The sessions.
    pub sessions: Vec<Session>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Session {
    /// Session id.
    #[serde(rename = "session")]
    pub id: String,
    /// Id of the node that owns the session.
    pub node: String,
    /// Start time, in Unix milliseconds; survives moves.
    pub since: u64,
    /// The client's address.
    pub address: String,
}

/// The response of `DELETE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Disconnected {
    /// Number of disconnected sessions.
    pub disconnected: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_the_user_and_the_sessions() {
        let session = Session { id: "s".into(), node: "a".into(), since: 5, address: "127.0.0.1".into() };
        let list = SessionList { user: "7".into(), sessions: vec![session] };
        let text = serde_json::to_string(&list).unwrap();
        let wanted =
            r#"{"user":"7","sessions":[{"session":"s","node":"a","since":5,"address":"127.0.0.1"}]}"#;
        assert_eq!(text, wanted);
        assert_eq!(serde_json::from_str::<SessionList>(&text).unwrap(), list);
        assert_eq!(
            serde_json::to_string(&Disconnected { disconnected: 2 }).unwrap(),
            r#"{"disconnected":2}"#
        );
    }
}
