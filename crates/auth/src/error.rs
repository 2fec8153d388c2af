//! Why a token is not accepted.

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token is invalid. The reason is about the token and does not help to forge one.
    #[error("invalid token: {0}")]
    Invalid(String),
    /// The token has expired.
    #[error("the token has expired; get a new one")]
    Expired,
    /// The token's key is unknown, and the keys of its issuer cannot be fetched.
    #[error("the keys of the token's issuer cannot be fetched now; retry")]
    NoKeys,
}
