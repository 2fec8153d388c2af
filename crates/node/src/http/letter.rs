//! Checks of a request that RFC 9110 and RFC 9112 require independently of the endpoint.
//!
//! hyper and h2 check the framing of messages. The rest is checked here, in a layer below CORS, so that a page can
//! read why its request was refused.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{
    ALLOW, CONTENT_ENCODING, EXPECT, HOST, HeaderName, IF_MATCH, IF_NONE_MATCH, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::problem::{Code, Problem};

/// Methods that at least one endpoint supports.
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";

/// Checks a request. Afterwards, `Host` is the host of the request target.
///
/// # Errors
///
/// Fails with the response to a request that is not served.
pub(super) fn check(request: &mut Request) -> Result<(), Box<Response>> {
    let refusal = refusal(request);
    name_host(request);
    match refusal {
        Some(problem) => Err(Box::new(problem.into_response())),
        // `OPTIONS *` applies to the server as a whole (RFC 9110, section 9.3.7).
        None if request.uri().path() == "*" => {
            Err(Box::new((StatusCode::NO_CONTENT, [(ALLOW, METHODS)]).into_response()))
        }
        None => Ok(()),
    }
}

fn refusal(request: &Request) -> Option<Problem> {
    let problem = host(request).or_else(|| transfer_coding(request.headers()));
    problem.or_else(|| expectation(request)).or_else(|| {
        let asterisk = request.uri().path() == "*" && request.method() != Method::OPTIONS;
        asterisk.then(|| Problem::bad_request("the target * is allowed with OPTIONS only"))
    })
}

/// Checks the host. RFC 9112, section 3.2: exactly one valid `Host` with HTTP/1.1. RFC 9113, section 8.3.1:
/// `:authority` or `Host`, which must not differ.
fn host(request: &Request) -> Option<Problem> {
    let refuse = |detail: &str| Some(Problem::bad_request(detail));
    let authority = request.uri().authority();
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return refuse("the request target contains user information, which an HTTP URI must not have");
    }
    let mut hosts = request.headers().get_all(HOST).into_iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => refuse("the request has more than one Host header"),
        (Some(host), None) if !is_host(host.as_bytes()) => {
            refuse("the Host header is not a host with an optional port, like example.org:8080")
        }
        (Some(host), None) => {
            let differs =
                authority.is_some_and(|a| !host.as_bytes().eq_ignore_ascii_case(a.as_str().as_bytes()));
            // With HTTP/1.1 a target in absolute form wins (section 3.2.2).
            if differs && request.version() == Version::HTTP_2 {
                return refuse("the Host header and :authority name different hosts");
            }
            None
        }
        (None, None) if request.version() == Version::HTTP_11 => refuse("the request has no Host header"),
        (None, None) if request.version() == Version::HTTP_2 && authority.is_none() => {
            refuse("the request has neither :authority nor a Host header")
        }
        (None, None) => None,
    }
}

/// Sets `Host` from a target in absolute form (RFC 9112, section 3.2.2) or from `:authority` (RFC 9113, section
/// 8.3.1), which take precedence.
fn name_host(request: &mut Request) {
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(Ok(authority)) = authority {
        request.headers_mut().insert(HOST, authority);
    }
}

/// Returns whether a text is `uri-host [ ":" port ]` (RFC 9110, section 7.2; RFC 3986, section 3.2.2). The host may
/// be empty.
fn is_host(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            // Future forms of an address in brackets (IPvFuture) do not exist.
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("", port.strip_prefix(':').or(port.is_empty().then_some("")))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("")),
        },
    };
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok())
    };
    is_reg_name(host.as_bytes()) && port.is_some_and(is_port)
}

fn is_reg_name(host: &[u8]) -> bool {
    let mut at = 0;
    while let Some(&byte) = host.get(at) {
        let plain = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
        let escape = || host.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        match byte {
            _ if plain => at += 1,
            b'%' if escape() => at += 3,
            _ => return false,
        }
    }
    true
}

/// Refuses unknown transfer codings with 501 (RFC 9112, section 6.1). hyper has decoded `chunked`, and refused
/// codings that do not end with it.
fn transfer_coding(headers: &HeaderMap) -> Option<Problem> {
    let codings: Vec<_> = members(headers, TRANSFER_ENCODING).collect();
    match codings.iter().position(|coding| coding.eq_ignore_ascii_case("chunked")) {
        _ if codings.is_empty() => None,
        Some(0) if codings.len() == 1 => None,
        Some(_) if codings.iter().all(|coding| coding.eq_ignore_ascii_case("chunked")) => {
            Some(Problem::bad_request("Transfer-Encoding has chunked twice"))
        }
        _ => Some(Problem::new(Code::NotImplemented, "the only supported transfer coding is chunked")),
    }
}

/// Refuses unknown expectations with 417 (RFC 9110, section 10.1.1). HTTP/1.0 has no expectations.
fn expectation(request: &Request) -> Option<Problem> {
    if request.version() < Version::HTTP_11 {
        return None;
    }
    let mut members = members(request.headers(), EXPECT);
    let met = members.all(|member| member.eq_ignore_ascii_case("100-continue"));
    (!met).then(|| Problem::new(Code::Expectation, "the only supported expectation is 100-continue"))
}

/// Checks that a request body has no content coding (RFC 9110, section 15.5.16).
///
/// # Errors
///
/// Fails if it has one.
pub(super) fn content_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let coded = members(headers, CONTENT_ENCODING).any(|coding| !coding.eq_ignore_ascii_case("identity"));
    if coded {
        return Err(Problem::new(
            Code::ContentCoding,
            "send the body uncompressed, without Content-Encoding",
        ));
    }
    Ok(())
}

/// Checks the preconditions of a request (RFC 9110, sections 13.1.1 and 13.1.2). Resources exist and have no entity tags,
/// so `If-Match` with a tag is never true, and neither is `If-None-Match: *`. `If-None-Match` does not apply to `GET` and
/// `HEAD` here: it saves the transfer of a stored response, and no response may be stored.
///
/// # Errors
///
/// Fails if there is such a precondition.
pub(super) fn precondition(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if members(headers, IF_MATCH).any(|tag| tag != "*") {
        return Err(Problem::new(Code::Precondition, "If-Match cannot match: resources have no entity tags"));
    }
    if !method.is_safe() && members(headers, IF_NONE_MATCH).any(|tag| tag == "*") {
        return Err(Problem::new(Code::Precondition, "If-None-Match: * cannot match: the resource exists"));
    }
    Ok(())
}

/// Returns the members of a list header, which may have several lines (RFC 9110, section 5.6.1). A line that is not
/// text is one member.
pub(super) fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().map(|line| line.to_str().unwrap_or("?"));
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_maybe_a_port() {
        for good in
            ["", "a", "example.org:8080", "127.0.0.1", "[::1]:80", "[::1]", "a_b", "x%20y", "a:", "a,b"]
        {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b", "a/b", "http://a", "u@a", "[::1", "::1", "[x]", "a:b", "a:80:80", "a:99999", "a?", "%zz",
            "\u{fc}",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_precondition_that_is_never_true_fails() {
        let fails = |method: &Method, name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            precondition(method, &headers).is_err()
        };
        for method in [Method::GET, Method::POST, Method::DELETE] {
            assert!(fails(&method, "if-match", "\"x\""), "{method}");
            assert!(fails(&method, "if-match", "W/\"x\", \"y\""), "{method}");
            assert!(!fails(&method, "if-match", "*"), "{method}");
            assert!(!fails(&method, "if-none-match", "\"x\""), "{method}");
            assert_eq!(fails(&method, "if-none-match", "*"), method != Method::GET, "{method}");
        }
    }

    #[test]
    fn chunked_alone_is_a_known_transfer_coding() {
        let status = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(TRANSFER_ENCODING, line.parse().unwrap());
            }
            transfer_coding(&headers).map(|problem| problem.code.status().as_u16())
        };
        assert_eq!((status(&[]), status(&["Chunked"])), (None, None));
        assert_eq!(status(&["gzip, chunked"]), Some(501));
        assert_eq!(status(&["gzip", "chunked"]), Some(501));
        assert_eq!(status(&["chunked, chunked"]), Some(400));
    }
}
