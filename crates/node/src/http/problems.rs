//! The page that the `type` of each problem refers to.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::response::{Html, IntoResponse, Response};

use super::problem::Code;

/// `GET /v1/problems`: lists the problem types, so that `type` resolves (RFC 9457, section 3.1.1).
pub async fn problems() -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(page);
    Html(PAGE.as_str()).into_response()
}

fn page() -> String {
    let mut page = String::from(concat!(
        r#"<!doctype html><html lang="en"><meta charset="utf-8"><title>Fanfare: problem types</title>"#,
        "<h1>Problem types</h1><p>The <code>type</code> of Fanfare's error responses (RFC 9457).<dl>"
    ));
    let mut listed = Vec::new();
    for code in Code::ALL {
        let (word, status, title) = (code.as_str(), code.status().as_u16(), code.title());
        if !listed.contains(&word) {
            listed.push(word);
            let _ = write!(page, r#"<dt id="{word}"><code>{word}</code> ({status})<dd>{title}."#);
        }
    }
    page + "</dl></html>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_problem_is_on_the_page_and_in_the_protocol() {
        let protocol = include_str!("../../../../docs/protocol.md");
        let (_, errors) = protocol.split_once("\n## Errors\n").expect("the section");
        for code in Code::ALL {
            let word = code.as_str();
            assert_eq!(page().matches(&format!(r#"<dt id="{word}">"#)).count(), 1, "{word}");
            assert!(errors.contains(&format!("`{word}`")), "{word} is not in docs/protocol.md");
        }
    }
}
