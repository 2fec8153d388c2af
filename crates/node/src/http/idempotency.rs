//! The header `Idempotency-Key`: the key of a publication, for clients that set it automatically.
//!
//! <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>: the value is a string in quotes
//! (RFC 8941, section 3.3.3). Most existing clients send the key without quotes, which is accepted too.

use fanfare_protocol::publish::{Body, Item, MAX_KEY_BYTES, PublicationError};
use http::{HeaderMap, HeaderName};

use super::problem::Problem;

/// Name of the header.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Separates the key of a batch from an item's index. A publisher's own key cannot contain it, as any control character, so
/// that `k` of a batch and another event's own key never result in the same key.
const ITEM_SEPARATOR: char = '\u{1f}';

/// A key from the header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Parses the header; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// Fails if the header is present twice, or if the key is invalid.
    pub(super) fn read(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let bad = |why: &str| Problem::bad_request(format!("Idempotency-Key: {why}"));
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(bad("the header is present twice"));
        }
        let text = value.to_str().map_err(|_| bad("a key must be visible ASCII"))?.trim();
        let key = match text.strip_prefix('"') {
            Some(rest) => quoted(rest).ok_or_else(|| {
                bad("a quoted key must end with a quote and may escape only \\\" and \\\\ (RFC 8941)")
            })?,
            None if text.contains(['"', '\\', ',', ' ', '\t']) => {
                return Err(bad("an unquoted key must not contain a quote, backslash, comma or space"));
            }
            None => text.to_owned(),
        };
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(bad(&format!("a key must have 1 to {MAX_KEY_BYTES} bytes")));
        }
        Ok(Some(Self(key)))
    }

    /// Sets the key of a body's events. Each event of a batch gets the key, followed by [`ITEM_SEPARATOR`] and its index, so
    /// that a repeated batch stores nothing twice. It is longer than [`MAX_KEY_BYTES`] by these at most. An item's own key
    /// is not changed, and ephemeral events get no key. An event for several channels has the same key in each.
    ///
    /// # Errors
    ///
    /// Fails if a single event has a different key, or is ephemeral.
    pub(super) fn give(self, body: &mut Body) -> Result<(), Problem> {
        let Self(key) = self;
        match body {
            Body::One(Ok(item)) => {
                for publication in item.publications_mut() {
                    if publication.key.as_ref().is_some_and(|own| *own != key) {
                        let why = "the header Idempotency-Key and the field key differ; send one of them";
                        return Err(Problem::bad_request(why));
                    }
                    publication.key = Some(key.clone());
                    publication.check_key()?;
                }
                Ok(())
            }
            Body::One(Err(_)) => Ok(()),
            Body::Many(items) => {
                for (place, item) in items.iter_mut().enumerate() {
                    give_item(item, &key, place);
                }
                Ok(())
            }
        }
    }
}

fn give_item(item: &mut Result<Item, PublicationError>, key: &str, place: usize) {
    let Ok(item) = item else { return };
    for publication in item.publications_mut().iter_mut().filter(|publication| !publication.ephemeral) {
        publication.key.get_or_insert_with(|| format!("{key}{ITEM_SEPARATOR}{place}"));
    }
}

/// Parses a quoted string after its opening quote. Parameters after it, of which none is defined, are ignored.
fn quoted(text: &str) -> Option<String> {
    let mut key = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => key.push(chars.next().filter(|c| ['"', '\\'].contains(c))?),
            c if c.is_ascii_graphic() || c == ' ' => key.push(c),
            _ => return None,
        }
    }
    let rest = chars.as_str().trim_start();
    (rest.is_empty() || rest.starts_with(';')).then_some(key)
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::publish::BodyLimits;

    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, value.parse().unwrap());
        }
        let key = IdempotencyKey::read(&headers).map_err(|problem| problem.detail)?;
        Ok(key.map(|IdempotencyKey(key)| key))
    }

    fn body(json: &str) -> Body {
        Body::parse(json.as_bytes(), BodyLimits { data: 100, events: 10 }).unwrap()
    }

    #[test]
    fn a_key_is_a_string_in_quotes_or_a_bare_word() {
        for (value, key) in [
            (r#""8e03978e-40d5-43e8-bc93-6894a57f9324""#, "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            (r#" "a \"b\" \\ c" ; v=1"#, r#"a "b" \ c"#),
            ("a+/b==", "a+/b=="),
        ] {
            assert_eq!(read(&[value]), Ok(Some(key.to_owned())), "{value}");
        }
        assert_eq!(read(&[]), Ok(None));
        for bad in ["", "\"\"", "\"a", "\"a\" b", r#""a\n""#, "a b", "a,b", "a\"b", &"x".repeat(129)] {
            assert!(read(&[bad]).unwrap_err().starts_with("Idempotency-Key: "), "{bad}");
        }
        assert!(read(&["a", "a"]).unwrap_err().contains("twice"));
    }

    #[test]
    fn one_event_gets_the_key_and_each_of_a_batch_its_own() {
        let give = |json: &str| {
            let mut body = body(json);
            IdempotencyKey("k".into()).give(&mut body).map_err(|problem| problem.detail)?;
            let keys = |item: &Result<Item, _>| match item {
                Ok(item) => item.publications().iter().map(|one| one.key.clone()).collect(),
                Err(_) => vec![None],
            };
            Ok::<_, String>(body.items().iter().flat_map(keys).collect::<Vec<_>>())
        };
        let key = |key: &str| Some(key.to_owned());
        assert_eq!(give(r#"{"channel":"a","data":1}"#).unwrap(), [key("k")]);
        assert_eq!(give(r#"{"channel":"a","data":1,"key":"k"}"#).unwrap(), [key("k")]);
        assert!(give(r#"{"channel":"a","data":1,"key":"other"}"#).unwrap_err().contains("differ"));
        assert!(give(r#"{"channel":"a","data":1,"ephemeral":true}"#).unwrap_err().contains("ephemeral"));
        assert_eq!(give(r#"{"channels":["a","b"],"data":1}"#).unwrap(), [key("k"), key("k")]);
        let batch = r#"[{"channels":["a","b"],"data":1},{"channel":"a","data":1}]"#;
        let wanted = ["k\u{1f}0", "k\u{1f}0", "k\u{1f}1"].map(key);
        assert_eq!(give(batch).unwrap(), wanted);
        let batch = r#"[{"channel":"a","data":1},0,{"channel":"a","data":1,"key":"own"},
            {"channel":"a","data":1,"ephemeral":true},{"channel":"a","data":1}]"#;
        assert_eq!(give(batch).unwrap(), [key("k\u{1f}0"), None, key("own"), None, key("k\u{1f}4")]);
    }
}
