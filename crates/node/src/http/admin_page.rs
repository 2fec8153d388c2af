//! The page of operators, on the admin listener: static, embedded, and without external resources.
//!
//! It holds no data: its script asks for the token, and calls the API of the same listener.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderName;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

/// The files: path, media type, text. Their links to each other and to the API are relative, so that a proxy may add a path.
const FILES: [(&str, &str, &str); 5] = [
    ("/", "text/html; charset=utf-8", include_str!("../../assets/admin/index.html")),
    ("/admin/page.css", "text/css; charset=utf-8", include_str!("../../assets/admin/page.css")),
    ("/admin/page.js", "text/javascript; charset=utf-8", include_str!("../../assets/admin/page.js")),
    ("/admin/nodes.js", "text/javascript; charset=utf-8", include_str!("../../assets/admin/nodes.js")),
    ("/admin/server.js", "text/javascript; charset=utf-8", include_str!("../../assets/admin/server.js")),
];

/// Content Security Policy: only these files, and no text becomes markup or script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// Returns the routes of the page.
pub(super) fn routes() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(async move || file(kind, text)))
    })
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 7] = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// Maximum size of all files, compressed, in bytes.
    const BUDGET: usize = 25 * 1024;

    #[test]
    fn the_page_is_small() {
        let compressed = |(_, _, text): &(&str, &str, &str)| {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(text.as_bytes()).unwrap();
            gzip.finish().unwrap().len()
        };
        let total: usize = FILES.iter().map(compressed).sum();
        assert!(total <= BUDGET, "{total} bytes");
    }

    #[test]
    fn no_text_becomes_markup() {
        for (path, _, text) in FILES {
            for way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "style=",
                "onclick=",
            ] {
                assert!(!text.contains(way), "{path}: {way}");
            }
        }
    }
}
