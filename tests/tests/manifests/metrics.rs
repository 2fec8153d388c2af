//! The list of metrics, which a test of the node holds to the code, and the metrics that other files name.

use std::collections::BTreeSet;

use crate::files;

/// The names in `docs/operations.md`.
pub(crate) fn listed() -> BTreeSet<String> {
    let page = files::text(&files::path("docs/operations.md"));
    let (_, section) = page.split_once("\n## Metrics\n").expect("the section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

/// The metrics that a text names, without the endings of histograms.
pub(crate) fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let metrics =
        words.filter(|word| ["sse_", "fanfare_", "process_"].iter().any(|prefix| word.starts_with(prefix)));
    let family = |word: &str| {
        let endings = ["_bucket", "_count", "_sum"];
        endings.iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word).to_owned()
    };
    metrics.map(family).collect()
}

/// Checks that a text names at least so many metrics, and none that is not listed.
pub(crate) fn are_listed(what: &str, text: &str, least: usize) {
    let (named, listed) = (named(text), listed());
    let unknown: Vec<_> = named.difference(&listed).collect();
    assert!(unknown.is_empty(), "{what} names metrics that are not listed: {unknown:?}");
    assert!(named.len() >= least, "{what} names {} metrics", named.len());
}

#[test]
fn the_table_of_questions_names_metrics_that_there_are() {
    let page = files::text(&files::path("docs/operations.md"));
    let (_, table) = page.split_once("\nWhich metric answers which question:\n").expect("the table");
    let (table, _) = table.split_once("\nNo label has").expect("its end");
    are_listed("the table of questions", table, 30);
}

#[test]
fn what_is_counted_by_namespace_is_summed_in_every_expression() {
    let page = files::text(&files::path("docs/operations.md"));
    let (_, section) = page.split_once("\n### Namespaces\n").expect("the section");
    let (section, _) = section.split_once("\n### ").expect("its end");
    let by_namespace = named(section);
    assert_eq!(by_namespace.len(), 3, "{by_namespace:?}");
    let mut found = 0;
    for file in ["deploy/prometheus/fanfare.rules.yml", "deploy/grafana/fanfare.json"] {
        let text = files::text(&files::path(file));
        for line in text.lines().filter(|line| by_namespace.iter().any(|name| line.contains(&**name))) {
            if line.contains("rate(") || line.contains("increase(") {
                assert!(line.contains("sum"), "{file}: {line}");
                found += 1;
            }
        }
    }
    assert!(found >= 10, "{found}");
}
