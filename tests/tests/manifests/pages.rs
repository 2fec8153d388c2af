//! The pages of `docs/`: the index names each, and every link leads to a page and a heading that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::files;

/// Folders whose `README.md` lists their pages.
const LISTED: [&str; 2] = ["migration", "recipes"];

/// The lines of a page without its fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

/// What the links of a page lead to outside its fenced blocks, without those with a scheme: a path, which may be empty, and a
/// heading.
pub(crate) fn links(text: &str) -> Vec<(String, Option<String>)> {
    let text: String = prose(text).flat_map(|line| [line, "\n"]).collect();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains(':') && !target.contains(' '))
        .map(|target| match target.split_once('#') {
            Some((path, heading)) => (path.to_owned(), Some(heading.to_owned())),
            None => (target.to_owned(), None),
        })
        .collect()
}

/// The headings of a page, as links name them.
fn headings(text: &str) -> BTreeSet<String> {
    let mut times = BTreeMap::new();
    let lines = prose(text)
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    lines
        .map(|heading| {
            let kept = heading.to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let before = times.entry(name.clone()).and_modify(|n| *n += 1).or_insert(0);
            if *before == 0 { name } else { format!("{name}-{before}") }
        })
        .collect()
}

/// The pages that people read: those of `docs/`, and those beside the code.
fn pages() -> Vec<PathBuf> {
    let others =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "deploy/helm/fanfare/README.md"];
    let docs = files::under(&files::path("docs"), "md");
    others.iter().map(|name| files::path(name)).chain(docs).collect()
}

#[test]
fn the_index_has_each_page_once() {
    let docs = files::path("docs");
    let found: Vec<String> =
        links(&files::text(&docs.join("README.md"))).into_iter().map(|(path, _)| path).collect();
    for page in files::under(&docs, "md") {
        let name = page.strip_prefix(&docs).unwrap().to_str().unwrap();
        let folder = name.split_once('/').map(|(folder, _)| folder);
        let own = folder.is_none_or(|folder| LISTED.contains(&folder) && name.ends_with("/README.md"));
        if own && name != "README.md" {
            let times = found.iter().filter(|link| *link == name).count();
            assert_eq!(times, 1, "docs/README.md has {times} links to {name}");
        }
    }
}

#[test]
fn a_folder_of_pages_lists_them() {
    for folder in LISTED.map(|name| files::path("docs").join(name)) {
        let listed = links(&files::text(&folder.join("README.md")));
        for page in files::under(&folder, "md") {
            let name = page.file_name().unwrap().to_str().unwrap();
            let found = name == "README.md" || listed.iter().any(|(path, _)| path == name);
            assert!(found, "{}/README.md has no link to {name}", folder.display());
        }
    }
}

#[test]
fn every_link_leads_to_a_page_and_a_heading() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = files::text(&page);
        for (path, heading) in links(&text) {
            let target = if path.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap_or(Path::new(".")).join(&path)
            };
            let there = target.exists()
                && heading.as_ref().is_none_or(|heading| headings(&files::text(&target)).contains(heading));
            if !there {
                wrong.push(format!("{}: {path}#{}", page.display(), heading.unwrap_or_default()));
            }
        }
    }
    assert!(wrong.is_empty(), "links to nothing:\n{}", wrong.join("\n"));
}

#[test]
fn headings_are_named_as_links_name_them() {
    let text = "# A `b`, c: d_e\n```sh\n# no heading\n```\n## Two-three\n## Two-three\n#!no\n";
    let expected = ["a-b-c-d_e", "two-three", "two-three-1"];
    assert_eq!(headings(text), expected.map(str::to_owned).into());
    let text = "[a](b.md#c) [d](#e) [f](https://g) [h](i)\n```\n[j](k)\n```\n";
    let some = |path: &str, heading: Option<&str>| (path.to_owned(), heading.map(str::to_owned));
    assert_eq!(links(text), [some("b.md", Some("c")), some("", Some("e")), some("i", None)]);
}
