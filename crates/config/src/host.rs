//! Checks whether an entry of `http.allowed_hosts` can match a request's `Host`.

/// Returns why a name never matches, or `None` if it may. `*` must be the only one of `count` entries.
pub(crate) fn wrong(name: &str, count: usize) -> Option<&'static str> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    Some(match name {
        "*" if count == 1 => return None,
        "*" => "matches every host and must stand alone",
        _ if name.contains("://") || name.contains('/') => {
            "has a scheme or a path, which a Host header never has"
        }
        _ if name.contains(':') => "has a port, which is ignored, or is an address, which is always allowed",
        _ if name.contains('*') => "has a * within a name, which is not a wildcard",
        _ if name.is_empty() || !name.bytes().all(letter) => {
            "is not a host name (for letters outside ASCII use xn--)"
        }
        _ if name.ends_with('.') => "ends with a dot, which is ignored",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_can_never_match_is_refused_with_the_reason() {
        for good in ["sse.example", "SSE.example", "node-a", "a_b"] {
            assert_eq!(wrong(good, 2), None, "{good}");
        }
        assert_eq!(wrong("*", 1), None);
        for (bad, word) in [
            ("*", "alone"),
            ("*.example", "*"),
            ("https://sse.example", "scheme"),
            ("sse.example/", "path"),
            ("sse.example:8080", "port"),
            ("[::1]", "address"),
            ("b\u{fc}cher.example", "xn--"),
            ("", "not a host"),
            ("sse.example.", "dot"),
        ] {
            assert!(wrong(bad, 2).is_some_and(|why| why.contains(word)), "{bad}: {:?}", wrong(bad, 2));
        }
    }
}
