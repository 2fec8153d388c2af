//! The result of authentication.

use std::time::SystemTime;

use fanfare_protocol::revocation::TokenStamp;
use fanfare_protocol::{Grants, User};

/// The bearer of a valid token.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The user.
    pub user: User,
    /// Permissions.
    pub grants: Grants,
    /// Expiry of the token, including the leeway.
    pub expires: SystemTime,
    /// The part by which the token can be revoked.
    pub stamp: TokenStamp,
}
