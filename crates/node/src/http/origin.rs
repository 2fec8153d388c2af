//! Protection from cross-site request forgery.
//!
//! A token in a header or in the query was set by a program that has the token. A cookie, other headers by which an
//! application knows its clients, and network access without tokens are available to every page in the browser. So such a request must come from a page of the node's own
//! origin, or of an origin in `http.allowed_origins`. Browsers send the page's origin in `Sec-Fetch-Site` (Fetch
//! Metadata) and in `Origin` (RFC 6454), which a page cannot change. A client without both headers is not a browser.

use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, HeaderValue};

use super::problem::{Code, Problem};
use crate::auth::Carrier;

/// `Sec-Fetch-Site`, which the crate `http` does not define.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Checks the origin of a request whose credentials the browser added.
///
/// # Errors
///
/// Fails if the request comes from a page of an origin that is neither the node's nor in `allowed`.
pub(super) fn check(carrier: Carrier, headers: &HeaderMap, allowed: &[String]) -> Result<(), Problem> {
    // `*` does not allow cookies.
    let every =
        carrier == Carrier::Reach && headers.contains_key(ORIGIN) && allowed.iter().any(|one| one == "*");
    if matches!(carrier, Carrier::Sent | Carrier::Ticket) || every || is_from_here(headers, allowed) {
        return Ok(());
    }
    let (by, instead) = match carrier {
        Carrier::Cookie => ("with the token in a cookie", ", or send the token in Authorization or token="),
        Carrier::Callback => ("with credentials that browsers add by themselves", ""),
        _ => ("without a token", ", or send the token in Authorization or token="),
    };
    let detail = format!(
        "the request comes from a page of another origin, {by}: add the origin to http.allowed_origins{instead}"
    );
    Err(Problem::new(Code::ForeignOrigin, detail))
}

/// Checks the origin of a request that changes something on the admin listener, whatever its credentials: a page of another
/// origin has no business there.
///
/// # Errors
///
/// Fails if the request comes from a page of an origin that is neither the node's nor in `allowed`.
pub(super) fn check_page(headers: &HeaderMap, allowed: &[String]) -> Result<(), Problem> {
    if is_from_here(headers, allowed) {
        return Ok(());
    }
    let detail = "the request comes from a page of another origin, and changes something on the admin listener: add the \
                  origin to http.allowed_origins";
    Err(Problem::new(Code::ForeignOrigin, detail))
}

/// Returns whether a request comes from no page, or from one of the own origin or of an origin in `allowed`.
fn is_from_here(headers: &HeaderMap, allowed: &[String]) -> bool {
    let origin = headers.get(ORIGIN);
    if origin.is_some_and(|origin| allowed.iter().any(|one| one.as_bytes() == origin.as_bytes())) {
        return true;
    }
    match headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
        // A page of this origin, or a URL that the user entered.
        Some(b"same-origin" | b"none") => true,
        Some(_) => false,
        // Older browsers, and other programs.
        None => origin.is_none_or(|origin| is_own(origin, headers.get(HOST))),
    }
}

/// Returns whether an origin is that of the requested host. The scheme is unknown behind a load balancer that
/// terminates TLS.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let (Ok(origin), Some(Ok(host))) = (origin.to_str(), host.map(HeaderValue::to_str)) else { return false };
    let port = |scheme: &str| match scheme {
        "http" => Some(":80"),
        "https" => Some(":443"),
        _ => None,
    };
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let Some(port) = port(scheme) else { return false };
    let bare = |authority: &str| authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
    !authority.is_empty() && bare(authority) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "https://app.example";

    /// Returns whether a request with these headers passes.
    fn passes(carrier: Carrier, allowed: &[&str], fields: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        let allowed: Vec<_> = allowed.iter().map(|&one| one.to_owned()).collect();
        match check(carrier, &headers, &allowed) {
            Ok(()) => true,
            Err(problem) => {
                assert_eq!(problem.code, Code::ForeignOrigin);
                false
            }
        }
    }

    #[test]
    fn a_cookie_is_used_by_pages_of_the_own_origin_and_of_those_that_are_named() {
        let host = ("host", "sse.example");
        for (fields, allowed, pass) in [
            (&[host][..], &[][..], true),
            (&[host, ("origin", "https://sse.example")], &[], true),
            (&[host, ("origin", "https://SSE.example:443")], &[], true),
            (&[("host", "sse.example:443"), ("origin", "https://sse.example")], &[], true),
            (&[("host", "[::1]:8080"), ("origin", "http://[::1]:8080")], &[], true),
            (&[host, ("origin", "https://sse.example:8443")], &[], false),
            (&[host, ("origin", "https://sse.example.evil.example")], &[], false),
            (&[host, ("origin", "https://evil.example")], &[], false),
            (&[host, ("origin", "null")], &[], false),
            (&[host, ("origin", "")], &[], false),
            (&[("origin", "https://sse.example")], &[], false),
            (&[host, ("origin", "file://sse.example")], &[], false),
            (&[host, ("origin", APP)], &[APP], true),
            (&[host, ("origin", "https://app.example.evil.example")], &[APP], false),
            (&[host, ("origin", APP)], &["*"], false),
            // Of an image or a frame, no origin is sent.
            (&[host, ("sec-fetch-site", "cross-site")], &[APP], false),
            (&[host, ("sec-fetch-site", "same-site")], &[], false),
            (&[host, ("sec-fetch-site", "none")], &[], true),
            // A balancer in between has changed the host.
            (
                &[("host", "10.0.0.7"), ("origin", "https://sse.example"), ("sec-fetch-site", "same-origin")],
                &[],
                true,
            ),
            (&[host, ("origin", APP), ("sec-fetch-site", "cross-site")], &[APP], true),
            (&[host, ("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")], &[APP], false),
        ] {
            for carrier in [Carrier::Cookie, Carrier::Callback] {
                assert_eq!(passes(carrier, allowed, fields), pass, "{carrier:?} {fields:?} {allowed:?}");
            }
        }
    }

    #[test]
    fn where_no_token_is_asked_for_the_same_holds_and_a_star_lets_every_page_in() {
        let foreign = [("host", "127.0.0.1:8080"), ("origin", "https://evil.example")];
        assert!(!passes(Carrier::Reach, &[], &foreign));
        assert!(passes(Carrier::Reach, &["*"], &foreign));
        assert!(passes(Carrier::Reach, &[], &[("host", "127.0.0.1:8080")]));
    }

    #[test]
    fn what_changes_something_for_operators_is_not_asked_for_by_other_pages() {
        for (fields, allowed, pass) in [
            (&[("host", "10.0.0.7:8081")][..], &[][..], true),
            (&[("host", "10.0.0.7:8081"), ("sec-fetch-site", "same-origin")], &[], true),
            (&[("host", "10.0.0.7:8081"), ("origin", "http://10.0.0.7:8081")], &[], true),
            (&[("host", "10.0.0.7:8081"), ("origin", "http://10.0.0.7:8080")], &[], false),
            (&[("sec-fetch-site", "same-site")], &[], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", APP)], &["*"], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", APP)], &[APP], true),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(*name, value.parse().unwrap());
            }
            let allowed: Vec<_> = allowed.iter().map(|&one| one.to_owned()).collect();
            let checked = check_page(&headers, &allowed).map_err(|problem| problem.code);
            assert_eq!(
                checked,
                if pass { Ok(()) } else { Err(Code::ForeignOrigin) },
                "{fields:?} {allowed:?}"
            );
        }
    }

    #[test]
    fn who_sends_a_token_may_be_any_page() {
        assert!(passes(Carrier::Sent, &[], &[("host", "a"), ("origin", "https://evil.example")]));
    }
}
