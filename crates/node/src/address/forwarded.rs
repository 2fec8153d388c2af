//! The client in `Forwarded` (RFC 7239) and `X-Forwarded-For`, parsed from the right.
//!
//! Each proxy appends its peer's address on the right, and a client can write anything on the left. So elements are
//! parsed from the right, and parsing stops at the first element that no trusted proxy has added: everything to the
//! left of it, including unclosed quotes, is ignored.

use std::net::{IpAddr, Ipv6Addr};

use fanfare_config::http::ForwardedHeader;
use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns the name of the header.
pub(super) fn name(header: ForwardedHeader) -> HeaderName {
    match header {
        ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
        ForwardedHeader::Forwarded => FORWARDED,
    }
}

/// Returns the peers in the header, the nearest first: the address, or `None` if a proxy does not report it
/// (`unknown`, an obfuscated identifier) or if it is invalid.
pub(super) fn peers(header: ForwardedHeader, headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    // Several lines are one list, in their order (RFC 9110, section 5.3).
    let lines: Vec<&[u8]> = headers.get_all(name(header)).iter().map(HeaderValue::as_bytes).collect();
    lines.into_iter().rev().flat_map(FromRight::new).filter(|element| !element.is_empty()).map(
        move |element| {
            let element = std::str::from_utf8(element).ok()?;
            match header {
                ForwardedHeader::XForwardedFor => address(element),
                ForwardedHeader::Forwarded => address(&for_parameter(element)?),
            }
        },
    )
}

/// The elements of a line, from the right. A comma within a quoted string is not a separator.
struct FromRight<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> FromRight<'a> {
    fn new(line: &'a [u8]) -> Self {
        Self { rest: Some(line) }
    }
}

impl<'a> Iterator for FromRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let (left, element) = match last_unquoted(rest, b',') {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        self.rest = left;
        Some(element.trim_ascii())
    }
}

/// Finds the last `wanted` byte outside of quotes, scanning from the right: only bytes to the right of it matter, so
/// a quote that a client opened on the left has no effect.
fn last_unquoted(text: &[u8], wanted: u8) -> Option<usize> {
    let mut quoted = false;
    for at in (0..text.len()).rev() {
        match text[at] {
            b'"' if !(quoted && is_escaped(text, at)) => quoted = !quoted,
            byte if byte == wanted && !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Returns whether an odd number of backslashes precedes a byte.
fn is_escaped(text: &[u8], at: usize) -> bool {
    text[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Returns the value of the element's one `for=`, without quotes (RFC 7239, section 4).
fn for_parameter(element: &str) -> Option<String> {
    let mut found = None;
    let mut rest = Some(element);
    while let Some(text) = rest {
        let (left, pair) = match last_unquoted(text.as_bytes(), b';') {
            Some(at) => (Some(&text[..at]), &text[at + 1..]),
            None => (None, text),
        };
        rest = left;
        let Some((name, value)) = pair.split_once('=') else { continue };
        if name.trim().eq_ignore_ascii_case("for") && found.replace(unquoted(value.trim())?).is_some() {
            return None;
        }
    }
    found
}

fn unquoted(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else { return Some(value.to_owned()) };
    let inner = inner.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next()? } else { c });
    }
    Some(out)
}

/// Parses an address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`, and `2001:db8::1`,
/// which `X-Forwarded-For` has without brackets.
fn address(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, port) = rest.split_once(']')?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return ip.parse::<Ipv6Addr>().ok().filter(|_| is_port).map(|ip| IpAddr::V6(ip).to_canonical());
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let (ip, port) = text.split_once(':')?;
    is_port(port).then(|| ip.parse().ok().map(IpAddr::V4)).flatten()
}

/// Returns whether a text is a port: a number, or an obfuscated port (RFC 7239, section 6).
fn is_port(text: &str) -> bool {
    let is_hidden = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
    match text.strip_prefix('_') {
        Some(hidden) => !hidden.is_empty() && hidden.chars().all(is_hidden),
        None => text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    }
}
