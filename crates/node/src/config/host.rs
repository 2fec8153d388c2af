//! What a name in `http.allowed_hosts` must be like to match a request's `Host`.

/// Says why a name never matches; none if it may. `*` must be the only one of `count`.
pub(super) fn wrong(name: &str, count: usize) -> Option<&'static str> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    Some(match name {
        "*" if count == 1 => return None,
        "*" => "is every host, and stands alone",
        _ if name.contains("://") || name.contains('/') => "has a scheme or a path, which no Host has",
        _ if name.contains(':') => {
            "has a port, which is not looked at, or is an address, which is always answered"
        }
        _ if name.contains('*') => "has a *, which stands for nothing within a name",
        _ if name.is_empty() || !name.bytes().all(letter) => "is not a host name (outside of ASCII: xn--)",
        _ if name.ends_with('.') => "ends with a dot, which is not looked at",
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
