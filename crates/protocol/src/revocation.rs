//! Revocation of tokens: which tokens are revoked, and the part of a token by which it can be.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::User;

/// Hash of a token's `jti`, so that every id has the same size.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId([u8; 16]);

/// A text that is not the hash of a token id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash of a token id has 32 hexadecimal digits")]
pub struct TokenIdError;

impl From<[u8; 16]> for TokenId {
    fn from(hash: [u8; 16]) -> Self {
        Self(hash)
    }
}

impl FromStr for TokenId {
    type Err = TokenIdError;
    fn from_str(text: &str) -> Result<Self, TokenIdError> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or(TokenIdError)
    }
}

impl TryFrom<String> for TokenId {
    type Error = TokenIdError;
    fn try_from(text: String) -> Result<Self, TokenIdError> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The part of a token by which it can be revoked, besides its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenStamp {
    /// Hash of `jti`, if the token has one.
    pub id: Option<TokenId>,
    /// `iat` in Unix milliseconds; 0 if the token does not say when it was issued.
    pub issued: u64,
}

/// A revocation of tokens. Cannot be undone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Revocation {
    /// Revokes the tokens with this id.
    Token(TokenId),
    /// Revokes the tokens of a user that were issued before a time, and those that do not say when they were issued.
    User {
        /// The user.
        user: User,
        /// Unix milliseconds.
        before: u64,
    },
}

/// A revocation with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// What is revoked.
    pub revocation: Revocation,
    /// When it was revoked, in Unix milliseconds.
    pub at: u64,
}

/// The revocations that are in force. Of a user's revocations, only the one with the latest `before` counts.
#[derive(Clone, Debug, Default)]
pub struct RevocationSet {
    /// When each was revoked.
    tokens: HashMap<TokenId, u64>,
    /// `before`, and when it was revoked.
    users: HashMap<User, (u64, u64)>,
}

impl RevocationSet {
    /// Adds a revocation. Returns whether it revokes more than before.
    pub fn add(&mut self, Revoked { revocation, at }: &Revoked) -> bool {
        match revocation {
            Revocation::Token(id) => {
                let last = self.tokens.insert(*id, *at);
                if let Some(last) = last {
                    self.tokens.insert(*id, last.max(*at));
                }
                last.is_none()
            }
            Revocation::User { user, before } => {
                let (last, time) = self.users.entry(user.clone()).or_default();
                let revokes_more = *before > *last;
                (*last, *time) = ((*last).max(*before), (*time).max(*at));
                revokes_more
            }
        }
    }

    /// Returns whether a token of a user is revoked.
    pub fn revokes(&self, user: &User, stamp: &TokenStamp) -> bool {
        stamp.id.is_some_and(|id| self.tokens.contains_key(&id))
            || self.users.get(user).is_some_and(|(before, _)| stamp.issued < *before)
    }

    /// Returns whether a revocation would add nothing.
    pub fn contains(&self, revocation: &Revocation) -> bool {
        match revocation {
            Revocation::Token(id) => self.tokens.contains_key(id),
            Revocation::User { user, before } => self.users.get(user).is_some_and(|(last, _)| last >= before),
        }
    }

    /// Forgets what was revoked before a time, in Unix milliseconds.
    pub fn forget_before(&mut self, time: u64) {
        self.tokens.retain(|_, at| *at >= time);
        self.users.retain(|_, (_, at)| *at >= time);
    }

    /// Returns the revocations.
    pub fn iter(&self) -> impl Iterator<Item = Revoked> {
        let tokens =
            self.tokens.iter().map(|(id, at)| Revoked { revocation: Revocation::Token(*id), at: *at });
        let users = self.users.iter().map(|(user, (before, at))| {
            let revocation = Revocation::User { user: user.clone(), before: *before };
            Revoked { revocation, at: *at }
        });
        tokens.chain(users)
    }

    /// Returns the number of revocations.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.users.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> User {
        User::new(id).unwrap()
    }

    fn of_user(id: &str, before: u64, at: u64) -> Revoked {
        Revoked { revocation: Revocation::User { user: user(id), before }, at }
    }

    fn of_token(byte: u8, at: u64) -> Revoked {
        Revoked { revocation: Revocation::Token(TokenId([byte; 16])), at }
    }

    fn stamp(id: Option<u8>, issued: u64) -> TokenStamp {
        TokenStamp { id: id.map(|byte| TokenId([byte; 16])), issued }
    }

    #[test]
    fn a_revocation_reads_back_and_nothing_else_is_read() {
        for revoked in [of_token(0, 5), of_token(0xab, 5), of_user("a:7", 3, 5)] {
            let text = serde_json::to_string(&revoked).unwrap();
            assert_eq!(serde_json::from_str::<Revoked>(&text).unwrap(), revoked, "{text}");
        }
        for bad in [
            r#"{"revocation":{"token":"0"},"at":5}"#,
            r#"{"revocation":{"token":"+0000000000000000000000000000000"},"at":5}"#,
            r#"{"revocation":{"user":{"user":"7"}},"at":5}"#,
            r#"{"revocation":{"user":{"user":"a b","before":1}},"at":5}"#,
            r#"{"revocation":{"all":1},"at":5}"#,
        ] {
            assert!(serde_json::from_str::<Revoked>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_revoked_by_its_id_or_by_its_users_time() {
        let mut set = RevocationSet::default();
        assert!(set.add(&of_token(1, 10)) && !set.add(&of_token(1, 20)));
        assert!(set.add(&of_user("7", 100, 10)));
        assert!(!set.add(&of_user("7", 50, 20)), "an earlier time revokes no more");
        let table = [
            ("8", Some(1), 500, true),
            ("8", Some(2), 500, false),
            ("8", None, 0, false),
            ("7", Some(2), 99, true),
            ("7", Some(2), 100, false),
            ("7", None, 0, true),
            ("7", Some(1), 500, true),
        ];
        for (id, token, issued, revoked) in table {
            assert_eq!(set.revokes(&user(id), &stamp(token, issued)), revoked, "{id} {token:?} {issued}");
        }
        assert!(
            set.contains(&of_user("7", 100, 0).revocation) && !set.contains(&of_user("7", 101, 0).revocation)
        );
    }

    #[test]
    fn old_revocations_are_forgotten_by_their_latest_time() {
        let mut set = RevocationSet::default();
        for revoked in
            [of_token(1, 10), of_token(1, 30), of_token(2, 10), of_user("7", 5, 10), of_user("8", 5, 30)]
        {
            set.add(&revoked);
        }
        set.forget_before(30);
        assert_eq!(set.len(), 2);
        let mut left: Vec<_> = set.iter().map(|revoked| revoked.at).collect();
        left.sort_unstable();
        assert_eq!(left, [30, 30]);
    }
}
