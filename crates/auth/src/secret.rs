//! Secrets that sign tokens: files, and whether a secret is easy to guess.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use crate::bounded_file;

/// Minimum length of a secret, in bytes: as long as the hash of HS256 (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;
/// Minimum number of different bytes in a secret. A random secret has more: of secrets of 32 decimal digits, one in
/// ten million has fewer.
const MIN_SECRET_KINDS: usize = 6;
/// Secrets that are long enough, but published as examples.
const PUBLISHED_SECRETS: [&str; 2] = [
    // jwt.io
    "a-string-secret-at-least-256-bits-long",
    "a-string-secret-at-least-512-bits-long-when-using-HS512",
];

/// Why the file of a secret cannot be used. Shows nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file cannot be read, or is not UTF-8.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file has more than 1 MiB.
    #[error("has more than 1 MiB")]
    TooLarge,
    /// As a part of the secret it would make every token's signature wrong.
    #[error("begins with a byte order mark (the bytes EF BB BF)")]
    ByteOrderMark,
}

/// Returns the secret in a file: its text without one line ending at the end.
///
/// # Errors
///
/// Fails if the file cannot be read, has more than 1 MiB, or begins with a byte order mark.
pub fn read(file: &Path) -> Result<String, SecretFileError> {
    let bytes = bounded_file::read(file)?.ok_or(SecretFileError::TooLarge)?;
    let not_utf8 = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
    let mut text = String::from_utf8(bytes).map_err(not_utf8)?;
    if text.starts_with('\u{feff}') {
        return Err(SecretFileError::ByteOrderMark);
    }
    for ending in ['\n', '\r'] {
        if text.ends_with(ending) {
            text.pop();
        } else {
            break;
        }
    }
    Ok(text)
}

/// Returns why a secret must not sign tokens, or `None` if it may. A random secret may.
pub fn weakness(secret: &str) -> Option<String> {
    let bytes = secret.as_bytes();
    if secret.trim_start().starts_with("-----BEGIN") {
        return Some("the secret is a PEM key, and public keys are not secret".to_owned());
    }
    let unit = (1..=bytes.len() / 2).find(|&unit| bytes.chunks(unit).all(|part| bytes.starts_with(part)));
    let kinds = bytes.iter().collect::<HashSet<_>>().len();
    let words = match unit {
        _ if bytes.len() < MIN_SECRET_BYTES => format!("has {} bytes", bytes.len()),
        Some(unit) if unit < MIN_SECRET_BYTES / 2 => format!("repeats the same {unit} bytes"),
        _ if kinds < MIN_SECRET_KINDS => format!("has only {kinds} different bytes"),
        _ if PUBLISHED_SECRETS.contains(&secret) => "is a published example".to_owned(),
        _ => return None,
    };
    Some(format!("the secret {words} and is easy to guess"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_ending_is_not_part_of_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        for (text, secret) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("a\r", "a\r")] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read(&file).unwrap(), secret, "{text:?}");
        }
        std::fs::write(&file, "\u{feff}a").unwrap();
        assert!(matches!(read(&file), Err(SecretFileError::ByteOrderMark)));
        assert!(matches!(read(&dir.path().join("none")), Err(SecretFileError::Unreadable(_))));
        std::fs::write(&file, b"\xff").unwrap();
        assert_eq!(read(&file).unwrap_err().to_string(), "cannot be read: it is not UTF-8");
        std::fs::write(&file, vec![b'a'; 1024 * 1024 + 1]).unwrap();
        assert!(matches!(read(&file), Err(SecretFileError::TooLarge)));
    }

    #[test]
    fn a_public_key_is_no_secret() {
        let pem = include_str!("../tests/keys/rs256.public.pem");
        assert!(weakness(pem).unwrap().contains("PEM"));
        assert_eq!(weakness("0123456789abcdef0123456789abcdeg"), None);
    }
}
