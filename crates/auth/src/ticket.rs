//! The text of tickets: one-time credentials of streams.
//!
//! A ticket names its user, so that everything about a user's tickets is in one place. It has 256 random bits, so that it
//! cannot be guessed; the cluster keeps only its hash.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use fanfare_protocol::User;
use fanfare_protocol::channel::MAX_USER_BYTES;
use fanfare_protocol::ticket::TicketId;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// Beginning of every ticket, by which programs that look for leaked secrets recognize one.
pub const PREFIX: &str = "fft_";
/// Number of characters of the random part.
const RANDOM_CHARS: usize = 43;
/// Maximum length of a ticket, in bytes.
const MAX_BYTES: usize = PREFIX.len() + RANDOM_CHARS + 1 + (MAX_USER_BYTES * 4).div_ceil(3);

/// Returns a new ticket of a user: its text and its id.
///
/// # Errors
///
/// Fails if the system has no random numbers.
pub fn generate(user: &User) -> Result<(String, TicketId), ring::error::Unspecified> {
    let mut bits = [0; 32];
    SystemRandom::new().fill(&mut bits)?;
    let mut text = PREFIX.to_owned();
    BASE64_URL_SAFE_NO_PAD.encode_string(bits, &mut text);
    // Writing into memory does not fail.
    let _ = write!(text, ".{}", BASE64_URL_SAFE_NO_PAD.encode(user.id()));
    let id = id(&text);
    Ok((text, id))
}

/// Returns the user and the id of a ticket, or `None` for a text of another form.
pub fn read(text: &str) -> Option<(User, TicketId)> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let (random, user) = text.strip_prefix(PREFIX)?.split_once('.')?;
    if random.len() != RANDOM_CHARS || BASE64_URL_SAFE_NO_PAD.decode(random).is_err() {
        return None;
    }
    let user = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(user).ok()?).ok()?;
    Some((User::new(&user).ok()?, id(text)))
}

fn id(text: &str) -> TicketId {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_names_its_user_and_reads_back() {
        for name in ["7", "auth0|42", "a=~%$!#&;b", &"u".repeat(MAX_USER_BYTES)] {
            let user = User::new(name).unwrap();
            let (text, id) = generate(&user).unwrap();
            assert_eq!(read(&text), Some((user.clone(), id)));
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            assert!(text.chars().all(plain), "it needs no escapes in a URL: {text}");
            assert_ne!(generate(&user).unwrap().1, id);
        }
    }

    #[test]
    fn another_form_is_no_ticket() {
        let random = "A".repeat(43);
        assert!(read(&format!("fft_{random}.Nw")).is_some());
        for bad in [
            String::new(),
            "fft_".to_owned(),
            "fft_.Nw".to_owned(),
            format!("fft_{random}"),
            format!("fft_{random}."),
            format!("fft_{random}.Nw="),
            // "a b"
            format!("fft_{random}.YSBi"),
            format!("ffk_{random}.Nw"),
            format!("fft_{}?.Nw", &random[1..]),
            format!("fft_{}.Nw", &random[1..]),
            format!("fft_{random}.{}", "N".repeat(400)),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }
}
