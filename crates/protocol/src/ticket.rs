//! Tickets: one-time credentials of streams, for clients that cannot set headers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Grants;
use crate::revocation::TokenStamp;

/// The SHA-256 of a ticket, which is all that the cluster keeps of its text. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TicketId([u8; 32]);

/// A text that is not the hash of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash of a ticket has 64 hexadecimal digits")]
pub struct TicketIdError;

impl From<[u8; 32]> for TicketId {
    fn from(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

impl FromStr for TicketId {
    type Err = TicketIdError;
    fn from_str(text: &str) -> Result<Self, TicketIdError> {
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(TicketIdError);
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| TicketIdError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| TicketIdError)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a ticket allows: that of the credential that made it, or less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketContent {
    /// Permissions of the stream.
    pub grants: Grants,
    /// End of the stream and of the ticket, in Unix milliseconds: at the latest when the credential expires.
    pub expires: u64,
    /// The part by which the token that made the ticket can be revoked; `None` if it was no token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<TokenStamp>,
    /// Hash of the API key that made the ticket, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_text() {
        let id = TicketId::from([0xab; 32]);
        assert_eq!(id.to_string(), "ab".repeat(32));
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "ab", &"AB".repeat(32), &"+1".repeat(32), &"ab".repeat(33)] {
            assert_eq!(bad.parse::<TicketId>(), Err(TicketIdError), "{bad}");
        }
    }

    #[test]
    fn content_reads_back() {
        let grants = serde_json::from_str(r#"{"subscribe":["room:*"]}"#).unwrap();
        let content = TicketContent { grants, expires: 5, stamp: None, key: None };
        let text = serde_json::to_string(&content).unwrap();
        assert_eq!(serde_json::from_str::<TicketContent>(&text).unwrap(), content, "{text}");
        let stamp = Some(TokenStamp { id: None, issued: 7 });
        let content = TicketContent { stamp, key: Some("ab".into()), ..content };
        let text = serde_json::to_string(&content).unwrap();
        assert_eq!(serde_json::from_str::<TicketContent>(&text).unwrap(), content, "{text}");
    }
}
