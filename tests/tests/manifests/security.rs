//! `docs/security.md` and `SECURITY.md`: what they name is there.

use std::path::Path;

use crate::{files, pages};

#[test]
fn the_threat_model_names_tests_that_there_are_and_is_found() {
    for name in ["docs/security.md", "SECURITY.md"] {
        let path = files::path(name);
        let text = files::text(&path);
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut tests = 0;
        for (link, _) in pages::links(&text).into_iter().filter(|(link, _)| !link.is_empty()) {
            assert!(folder.join(&link).is_file(), "{name} names {link}, which is not there");
            tests += usize::from(link.contains("tests"));
        }
        assert!(name != "docs/security.md" || tests > 30, "{tests} links to tests");
        assert!(!text.contains("@@"), "{name} has a gap");
    }
    let found = |page: &str, link: &str| files::text(&files::path(page)).contains(&format!("]({link})"));
    assert!(found("README.md", "SECURITY.md") && found("docs/README.md", "security.md"));
}

#[test]
fn every_attack_file_is_named_in_the_threat_model() {
    let text = files::text(&files::path("docs/security.md"));
    let folder = files::path("tests/tests/attacks");
    for file in files::under(&folder, "rs") {
        let name = file.strip_prefix(&folder).expect("it is in there").to_str().expect("a name");
        assert!(name == "main.rs" || text.contains(&format!("attacks/{name})")), "{name} is not named");
    }
}
