//! Revocation of tokens by their ids.

use fanfare_protocol::revocation::TokenId;
use ring::digest::{SHA256, digest};

/// Returns the hash of a `jti`: the first half of its SHA-256. An issuer chooses the ids of its tokens, so nothing is gained
/// by two of the same hash.
pub fn token_id(jti: &str) -> TokenId {
    let hash = digest(&SHA256, jti.as_bytes());
    let (mut id, half) = ([0; 16], &hash.as_ref()[..16]);
    id.copy_from_slice(half);
    TokenId::from(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_half_of_the_hash() {
        // printf %s 7 | sha256sum
        assert_eq!(token_id("7").to_string(), "7902699be42c8a8e46fbbb4501726517");
        assert_ne!(token_id("7"), token_id("07"));
    }
}
