//! Checks whether an entry of `http.allowed_origins` can match what browsers send.

use url::Url;

/// Schemes whose origins have one serialization, which the crate `url` implements.
const WEB: [&str; 2] = ["http", "https"];
/// Schemes whose pages have an opaque origin: browsers send `null` for them.
const WITHOUT_ORIGIN: [&str; 4] = ["file", "data", "blob", "about"];

/// Returns why an entry never matches, or `None` if it may. `*` must be the only one of `count` entries.
pub(crate) fn wrong(origin: &str, count: usize) -> Option<String> {
    let because = |why: &str| Some(why.to_owned());
    if origin == "*" {
        return if count == 1 { None } else { because("matches every origin and must stand alone") };
    }
    if origin.contains('*') {
        return because("has a * within an origin, which is not a wildcard: list each origin");
    }
    if origin.eq_ignore_ascii_case("null") {
        return because("is sent by every sandboxed page and every file: it would allow any page");
    }
    let Some((scheme, rest)) = origin.split_once("://") else {
        return because("has no scheme, like https://");
    };
    if WITHOUT_ORIGIN.contains(&scheme) {
        return because("has a scheme for whose pages browsers send the origin null");
    }
    if WEB.contains(&scheme.to_ascii_lowercase().as_str()) {
        return wrong_web(origin, rest);
    }
    // Of extensions and of apps, like chrome-extension://… and capacitor://localhost.
    let of_scheme = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    let of_host = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:".contains(&b);
    let is_one = scheme.starts_with(|c: char| c.is_ascii_lowercase()) && scheme.bytes().all(of_scheme);
    if is_one && !rest.is_empty() && rest.bytes().all(of_host) {
        return None;
    }
    because("is not a scheme and a host in lower case")
}

/// Compares an origin with its serialization by a browser.
fn wrong_web(origin: &str, rest: &str) -> Option<String> {
    let url = match Url::parse(origin) {
        Ok(url) => url,
        Err(error) => return Some(format!("is not an origin: {error}")),
    };
    let sent = url.origin().ascii_serialization();
    if sent == origin {
        return None;
    }
    let why = if !url.username().is_empty() || url.password().is_some() {
        "has a user name"
    } else if url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
        "has a path"
    } else if rest.ends_with('/') {
        "ends with a slash"
    } else if rest.ends_with(":80") || rest.ends_with(":443") {
        "has the default port of its scheme"
    } else if origin.bytes().any(|byte| byte.is_ascii_uppercase()) {
        "has upper-case letters"
    } else {
        "is not in the form that browsers send"
    };
    Some(format!("{why} and never matches: browsers send {sent}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_sends_is_taken() {
        for good in [
            "https://app.example",
            "https://app.example:8443",
            "http://localhost:3000",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
            "https://xn--bcher-kva.example",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11",
            "capacitor://localhost",
        ] {
            assert_eq!(wrong(good, 2), None, "{good}");
        }
        assert_eq!(wrong("*", 1), None);
    }

    #[test]
    fn an_origin_that_never_matches_is_refused_with_the_reason() {
        for (bad, word) in [
            ("https://app.example/", "slash"),
            ("https://app.example/path", "path"),
            ("https://app.example?x", "path"),
            ("https://app.example#x", "path"),
            ("app.example", "no scheme"),
            ("", "no scheme"),
            ("//app.example", "no scheme"),
            ("https://App.example", "upper-case"),
            ("HTTPS://app.example", "upper-case"),
            ("https://app.example:443", "browsers send https://app.example"),
            ("http://app.example:80", "browsers send http://app.example"),
            ("http://app.example:08080", "browsers send http://app.example:8080"),
            ("https://app.example:", "browsers send https://app.example"),
            ("http://app.example:99999", "not an origin"),
            ("https://", "not an origin"),
            ("https://a b", "not an origin"),
            ("https://ann@app.example", "user"),
            ("http://127.1", "browsers send http://127.0.0.1"),
            ("http://[0:0:0:0:0:0:0:1]", "browsers send http://[::1]"),
            ("https://b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("https://*.example", "*"),
            ("*", "alone"),
            ("null", "sandboxed"),
            ("file://", "null"),
            ("chrome-extension://ABC", "lower case"),
            ("capacitor://", "lower case"),
            ("https://a.example, https://b.example", "not an origin"),
        ] {
            let error = wrong(bad, 2).unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(error.contains(word), "{bad}: {error}");
        }
    }
}
