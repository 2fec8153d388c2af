//! A recipe of `docs/providers.md`: the settings and the claims that the page shows.

use std::time::SystemTime;

use serde_json::{Map, Value};

const PAGE: &str = include_str!("../../../../docs/providers.md");
/// Claims that are times.
const TIMES: [&str; 4] = ["iat", "nbf", "exp", "auth_time"];

/// A section of the page.
pub(super) struct Recipe {
    /// The file with settings.
    pub(super) settings: String,
    claims: Map<String, Value>,
}

impl Recipe {
    /// Reads the section with this heading: its first TOML, and its last JSON.
    pub(super) fn of(heading: &str) -> Self {
        let begin = format!("\n## {heading}\n");
        let (_, section) = PAGE.split_once(&begin).unwrap_or_else(|| panic!("no section {heading}"));
        let section = section.split("\n## ").next().unwrap_or_default();
        let settings = blocks(section, "toml").next().expect("settings").to_owned();
        let claims = blocks(section, "json").last().expect("claims");
        Self { settings, claims: serde_json::from_str(claims).expect("claims are an object") }
    }

    /// Adds a line that the page names to the settings of `[auth.jwt]`.
    pub(super) fn with(&self, line: &str) -> String {
        assert!(PAGE.contains(&format!("`{line}`")), "the page has no {line}");
        self.settings.replacen("[auth.jwt]\n", &format!("[auth.jwt]\n{line}\n"), 1)
    }

    /// The URL of the keys.
    pub(super) fn path_of_keys(&self) -> String {
        let line = self.settings.lines().find_map(|line| line.strip_prefix("jwks_url = \"https://"));
        let url = line.expect("a URL").trim_end_matches('"');
        url[url.find('/').expect("a path")..].to_owned()
    }

    /// The claims of a token that is issued now.
    pub(super) fn claims(&self) -> Map<String, Value> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        let mut claims = self.claims.clone();
        let issued = claims["iat"].as_u64().expect("the time of issue");
        for name in TIMES {
            if let Some(time) = claims.get_mut(name) {
                *time = (time.as_u64().expect("a time") + now - issued).into();
            }
        }
        claims
    }
}

/// The code blocks of a language.
fn blocks<'a>(section: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!("```{language}\n");
    let mut rest = section;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&begin)?;
        let (block, after) = after.split_once("```")?;
        rest = after;
        Some(block)
    })
}
