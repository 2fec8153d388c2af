//! Key files in PEM, and the DER within: no bytes fail the readers, a key that is cut or has more behind it is refused, and what
//! stands around a section does not matter.

#![no_main]

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fanfare_auth::key_file;
use fanfare_auth::signing_key::SigningKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let keys = key_file::keys(bytes);
    let _ = SigningKey::pem(bytes, None);
    if !bytes.trim_ascii_start().starts_with(b"{")
        && let Ok(keys) = keys
    {
        assert!(!keys.is_empty() && keys.iter().all(|key| !key.algorithms().is_empty()));
    }
    for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
        let private = pem(label, bytes);
        assert!(key_file::keys(private.as_bytes()).is_err(), "a private key is taken");
        let _ = SigningKey::pem(private.as_bytes(), None);
    }
    for label in ["PUBLIC KEY", "CERTIFICATE"] {
        let Ok(key) = one(label, bytes) else { continue };
        let longer = [bytes, b"\0"].concat();
        assert!(one(label, &longer).is_err(), "a {label} with a byte behind it is taken");
        for end in 0..bytes.len() {
            assert!(one(label, &bytes[..end]).is_err(), "a {label} that is cut after {end} bytes is taken");
        }
        let among = format!("a comment\n{0}\n{0}", pem(label, bytes));
        let two = key_file::keys(among.as_bytes()).expect("the section is good");
        assert!(two.len() == 2 && two.iter().all(|other| other.algorithms() == key), "{two:?}");
    }
});

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

/// Returns the algorithms of the key in a section.
fn one(label: &str, der: &[u8]) -> Result<fanfare_auth::Algorithms, String> {
    match key_file::keys(pem(label, der).as_bytes()) {
        Ok(keys) => Ok(keys[0].algorithms()),
        Err(error) => Err(error.to_string()),
    }
}
