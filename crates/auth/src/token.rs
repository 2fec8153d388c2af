//! A token in the compact serialization (RFC 7515, section 7.1), before anything of it is verified.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::header::Header;

/// Maximum length of a token, in bytes. Heads of requests are usually shorter; a token with hundreds of groups is not.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The reason for a text of another form.
pub(crate) const NOT_A_JWT: &str = "it is not a JWT";

/// A token whose form and header are checked.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) header: Header,
    /// The text that is signed: header and claims as they are encoded.
    pub(crate) signed: &'a [u8],
    /// The claims: any bytes.
    pub(crate) claims: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Reads a token.
    ///
    /// # Errors
    ///
    /// Fails with the reason, which is about the token and does not help to forge one.
    pub(crate) fn read(text: &'a str) -> Result<Self, String> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(format!("it has {} bytes; at most {MAX_TOKEN_BYTES} are accepted", text.len()));
        }
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NOT_A_JWT.to_owned());
        };
        let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| NOT_A_JWT);
        let signed = &text.as_bytes()[..=header.len() + claims.len()];
        Ok(Self {
            header: Header::read(&decode(header)?)?,
            signed,
            claims: decode(claims)?,
            signature: decode(signature)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_parts_of_base64url() {
        // {"alg":"HS256"} and {}
        let token = Token::read("eyJhbGciOiJIUzI1NiJ9.e30.AAAA").unwrap();
        assert_eq!(token.signed, b"eyJhbGciOiJIUzI1NiJ9.e30");
        assert_eq!((&token.claims[..], &token.signature[..]), (&b"{}"[..], &[0, 0, 0][..]));
        for text in ["", "x", "e30.e30", "e30.e30.x.y", "?.e30.x", "e30=.e30.AAAA", "a.b.c.d.e"] {
            assert_eq!(Token::read(text).unwrap_err(), NOT_A_JWT, "{text}");
        }
        // Bits that are not part of a byte.
        assert_eq!(Token::read("eyJhbGciOiJIUzI1NiJ9.e31.AAAA").unwrap_err(), NOT_A_JWT);
        assert!(Token::read(&"a".repeat(MAX_TOKEN_BYTES + 1)).unwrap_err().contains("at most"));
    }
}
