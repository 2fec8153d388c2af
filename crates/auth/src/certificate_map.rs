//! Certificates by `kid`: `{"<kid>": "-----BEGIN CERTIFICATE…"}`, the form in which Google publishes the keys of Firebase.

use std::collections::BTreeMap;

use crate::key::Key;
use crate::pem;

/// Begin of a certificate in PEM.
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// Returns the certificates of a text with their `kid`s; `None` if it is not an object whose members all are certificates.
pub(crate) fn certificates(text: &str) -> Option<BTreeMap<String, String>> {
    let members: BTreeMap<String, String> = serde_json::from_str(text).ok()?;
    let is_certificate = |text: &String| text.trim_start().starts_with(BEGIN);
    (!members.is_empty() && members.values().all(is_certificate)).then_some(members)
}

/// Returns the key of a certificate. As in a PEM file, only its key counts: not its dates, names and issuer.
///
/// # Errors
///
/// Returns why it cannot be used.
pub(crate) fn key(id: &str, certificate: &str) -> Result<Key, String> {
    let keys = pem::public_keys(certificate.as_bytes()).map_err(|error| error.to_string())?;
    // The first certificate of a chain is that of the key.
    let key = keys.into_iter().next().ok_or("it has no certificate")?;
    Ok(key.with_id(Some(id)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CERTIFICATE: &str = include_str!("../tests/keys/es256.certificate.pem");

    #[test]
    fn all_members_are_certificates() {
        let two = json!({"a": CERTIFICATE, "b": CERTIFICATE}).to_string();
        assert_eq!(certificates(&two).unwrap().len(), 2);
        for other in [
            "{}".to_owned(),
            "[]".to_owned(),
            json!({"a": CERTIFICATE, "error": "down"}).to_string(),
            json!({"a": [CERTIFICATE]}).to_string(),
            json!({"a": include_str!("../tests/keys/es256.public.pem")}).to_string(),
        ] {
            assert_eq!(certificates(&other), None, "{other}");
        }
    }

    #[test]
    fn a_key_has_the_name_of_its_member() {
        let key = key("a", CERTIFICATE).unwrap();
        assert!(key.is_named("a") && key.algorithms().to_string() == "ES256");
        let cut = super::key("a", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(cut.unwrap_err().contains("cannot be parsed"));
    }
}
