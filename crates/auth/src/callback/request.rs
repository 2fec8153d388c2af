//! What the application is told of a client.

use std::fmt;

use reqwest::header::{ACCEPT, COOKIE, HeaderMap, HeaderName, HeaderValue};
use ring::hmac;

/// Header with the client's address.
const ADDRESS: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The key by which answers are kept: a keyed hash, so that no credential is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestKey([u8; 32]);

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestKey")
    }
}

/// A request to the application. Not `Debug`, since it has credentials.
#[derive(Clone)]
pub struct CallbackRequest {
    /// The headers of the client that are forwarded, and its address.
    fields: Vec<(HeaderName, HeaderValue)>,
    /// The client's network, which takes turns with others.
    network: Box<str>,
}

impl CallbackRequest {
    /// Creates the request for a client, by the headers of `names` that it sent. `None` if it sent none of them. `network` is
    /// whom limits by address take it for.
    pub fn new(headers: &HeaderMap, names: &[HeaderName], address: &str, network: &str) -> Option<Self> {
        let mut fields = Vec::new();
        for name in names {
            let values = headers.get_all(name).iter().cloned();
            if *name == COOKIE {
                fields.extend(one_line(values).map(|value| (COOKIE, value)));
            } else {
                fields.extend(values.map(|value| (name.clone(), value)));
            }
        }
        if fields.is_empty() {
            return None;
        }
        for (_, value) in &mut fields {
            value.set_sensitive(true);
        }
        fields.extend(HeaderValue::from_str(address).ok().map(|address| (ADDRESS, address)));
        Some(Self { fields, network: network.into() })
    }

    /// Returns the client's network.
    pub(super) fn network(&self) -> &str {
        &self.network
    }

    /// Returns the key: equal for equal requests only.
    pub(super) fn key(&self, hash: &hmac::Key) -> RequestKey {
        let mut hash = hmac::Context::with_key(hash);
        for (name, value) in &self.fields {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                hash.update(&part.len().to_le_bytes());
                hash.update(part);
            }
        }
        let mut key = [0; 32];
        key.copy_from_slice(hash.sign().as_ref());
        RequestKey(key)
    }

    /// Returns the headers of the request to the application.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        for (name, value) in &self.fields {
            headers.append(name, value.clone());
        }
        headers
    }
}

/// Joins the lines of `Cookie`, which HTTP/2 may split (RFC 9113, section 8.2.3).
fn one_line(values: impl Iterator<Item = HeaderValue>) -> Option<HeaderValue> {
    let lines: Vec<HeaderValue> = values.collect();
    let parts: Vec<&[u8]> = lines.iter().map(HeaderValue::as_bytes).filter(|line| !line.is_empty()).collect();
    if parts.is_empty() { None } else { HeaderValue::from_bytes(&parts.join(&b"; "[..])).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &str)], address: &str) -> Option<CallbackRequest> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        CallbackRequest::new(&headers, &[COOKIE, HeaderName::from_static("x-session")], address, address)
    }

    #[test]
    fn only_named_headers_and_the_address_are_told() {
        let all = [("cookie", "a=1"), ("x-session", "7"), ("authorization", "Bearer x"), ("cookie", "b=2")];
        let told = request(&all, "192.0.2.1").unwrap().headers();
        assert_eq!(
            (&told["cookie"], &told["x-session"]),
            (&"a=1; b=2".parse().unwrap(), &"7".parse().unwrap())
        );
        assert_eq!(told["x-forwarded-for"], "192.0.2.1");
        assert!(told["cookie"].is_sensitive() && !told.contains_key("authorization"));
        assert!(request(&all[2..3], "192.0.2.1").is_none(), "nothing to send");
        assert!(request(&[("cookie", "")], "192.0.2.1").is_none());
    }

    #[test]
    fn equal_requests_have_equal_keys_and_others_do_not() {
        let hash = hmac::Key::new(hmac::HMAC_SHA256, b"one node");
        let key = |fields: &[(&'static str, &str)], address| request(fields, address).unwrap().key(&hash);
        let one = key(&[("cookie", "a=1"), ("x-session", "7")], "192.0.2.1");
        assert!(one == key(&[("x-session", "7"), ("cookie", "a=1"), ("x-other", "8")], "192.0.2.1"));
        for other in [
            key(&[("cookie", "a=1")], "192.0.2.1"),
            key(&[("cookie", "a=1"), ("x-session", "7")], "192.0.2.2"),
            key(&[("cookie", "a=17"), ("x-session", "")], "192.0.2.1"),
            key(&[("cookie", "a=1"), ("x-session", "7"), ("x-session", "7")], "192.0.2.1"),
        ] {
            assert!(one != other);
        }
        let of_another_node = hmac::Key::new(hmac::HMAC_SHA256, b"another node");
        let same = request(&[("cookie", "a=1"), ("x-session", "7")], "192.0.2.1").unwrap();
        assert!(one != same.key(&of_another_node), "a hash of the credentials alone can be guessed");
    }
}
