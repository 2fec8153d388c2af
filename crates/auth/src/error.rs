//! Why a token is not accepted.

use fanfare_protocol::User;
use fanfare_protocol::revocation::TokenId;

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token is invalid. The reason is about the token and does not help to forge one.
    #[error("invalid token: {0}")]
    Invalid(String),
    /// The token has expired.
    #[error("the token has expired; get a new one")]
    Expired {
        /// Its user.
        user: User,
        /// Hash of its `jti`, if it has one.
        id: Option<TokenId>,
    },
    /// The token's key is unknown, and the keys of its issuer cannot be fetched.
    #[error("the keys of the token's issuer cannot be fetched now; retry")]
    NoKeys,
}
