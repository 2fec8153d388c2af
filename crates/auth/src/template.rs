//! Templates of grants: patterns with placeholders for claims, like `team:{sub}:*`.

use fanfare_protocol::channel::{ChannelError, RESERVED};
use fanfare_protocol::{Channel, Pattern};
use serde_json::value::RawValue;

use crate::claim_name::{ClaimName, ClaimNameError};
use crate::claims::{self, Claims};

/// Maximum number of patterns that a template adds to a token.
pub(crate) const MAX_PATTERNS: usize = 100;

/// A pattern of channels with placeholders.
///
/// A placeholder is the name of a claim in braces. The claim is a text, an integer, or a list of these, of which each
/// makes a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Claim(ClaimName),
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace is not closed, or not opened.
    #[error("a brace has no counterpart")]
    Brace,
    /// A placeholder does not name a claim.
    #[error("{{{0}}}: {1}")]
    Claim(String, ClaimNameError),
    /// The rest is not a pattern.
    #[error("{0}")]
    Pattern(#[from] ChannelError),
    /// Two placeholders, or a placeholder and `*`, without a text between them: a value would reach into its neighbour.
    #[error("{{{0}}} needs a separator, like ':', before and after it")]
    Adjacent(ClaimName),
    /// A value could complete the name of a reserved channel.
    #[error("a value of {{{0}}} could make it match user:*, stream:* or broadcast: begin with another text")]
    Reserved(ClaimName),
}

impl Template {
    /// Checks a template.
    ///
    /// # Errors
    ///
    /// Fails if it is not a pattern with placeholders, or if a claim could make it grant more than its text says.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        let template = Self { parts: parts(text)? };
        let sample = template.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Claim(_) => "x",
        });
        Pattern::new(&sample.collect::<String>())?;
        for (at, part) in template.parts.iter().enumerate() {
            let Part::Claim(name) = part else { continue };
            let (before, after) = template.neighbours(at);
            if before == Some('*')
                || after == Some('*')
                || matches!(template.parts.get(at + 1), Some(Part::Claim(_)))
            {
                return Err(TemplateError::Adjacent(name.clone()));
            }
        }
        let (begin, first) = match &template.parts[..] {
            [Part::Text(text), Part::Claim(name), ..] => (text.as_str(), name),
            [Part::Claim(name), ..] => ("", name),
            _ => return Ok(template),
        };
        if RESERVED.iter().any(|reserved| reserved.starts_with(begin) && begin != *reserved) {
            return Err(TemplateError::Reserved(first.clone()));
        }
        Ok(template)
    }

    /// Returns the patterns that follow from the claims. Without one of the claims there is none.
    ///
    /// # Errors
    ///
    /// Fails with the reason if a claim has a value that cannot be part of a channel name, or that contains the
    /// separator before or after its placeholder.
    pub(crate) fn expand(&self, claims: &Claims<'_>) -> Result<Vec<Pattern>, String> {
        let mut texts = vec![String::new()];
        for (at, part) in self.parts.iter().enumerate() {
            let values = match part {
                Part::Text(text) => vec![text.clone()],
                Part::Claim(name) => values(claims, name, self.neighbours(at))?,
            };
            if texts.len() * values.len() > MAX_PATTERNS {
                return Err(format!("its claims make more than {MAX_PATTERNS} grants of one template"));
            }
            texts = values
                .iter()
                .flat_map(|value| texts.iter().map(move |text| format!("{text}{value}")))
                .collect();
        }
        let invalid = |error| format!("its claims make a grant that is invalid: {error}");
        texts.iter().map(|text| Pattern::new(text).map_err(invalid)).collect()
    }

    /// Returns the characters before and after a part.
    fn neighbours(&self, at: usize) -> (Option<char>, Option<char>) {
        let text = |at: Option<usize>| match at.and_then(|at| self.parts.get(at)) {
            Some(Part::Text(text)) => text.as_str(),
            _ => "",
        };
        (text(at.checked_sub(1)).chars().next_back(), text(at.checked_add(1)).chars().next())
    }
}

/// Splits a template at its placeholders.
fn parts(text: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, placeholder) = rest.split_at(at);
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        let placeholder = placeholder.strip_prefix('{').ok_or(TemplateError::Brace)?;
        let (name, after) = placeholder.split_once('}').ok_or(TemplateError::Brace)?;
        let claim = ClaimName::new(name).map_err(|error| TemplateError::Claim(name.to_owned(), error))?;
        parts.push(Part::Claim(claim));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

/// Returns the values of a claim, none if it is absent.
fn values(
    claims: &Claims<'_>,
    name: &ClaimName,
    (before, after): (Option<char>, Option<char>),
) -> Result<Vec<String>, String> {
    let Some(value) = claims.find(name) else { return Ok(Vec::new()) };
    let values = match claims::scalar(value) {
        Some(one) => vec![one],
        None => list(value).ok_or_else(|| {
            format!("its {name}, which grants need, is neither a text, a whole number nor a list of them")
        })?,
    };
    let separates = |c: char| !c.is_ascii_alphanumeric() && (Some(c) == before || Some(c) == after);
    for value in &values {
        Channel::new(value).map_err(|error| format!("its {name} cannot be part of a grant: {error}"))?;
        if let Some(separator) = value.chars().find(|c| separates(*c)) {
            return Err(format!("its {name} cannot be part of a grant: it has the separator {separator:?}"));
        }
    }
    Ok(values)
}

fn list(value: &RawValue) -> Option<Vec<String>> {
    let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
    items.into_iter().map(claims::scalar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(template: &str, claims: &str) -> Result<Vec<String>, String> {
        let patterns = Template::new(template).unwrap().expand(&Claims::read(claims.as_bytes()).unwrap())?;
        Ok(patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect())
    }

    #[test]
    fn a_template_is_filled_with_claims() {
        for (template, claims, patterns) in [
            ("team:{sub}:*", r#"{"sub":"7"}"#, &["team:7:*"][..]),
            ("team:{sub}:*", r#"{"sub":7}"#, &["team:7:*"]),
            ("news", "{}", &["news"]),
            ("*", "{}", &["*"]),
            ("org:{https://example.com/org}", r#"{"https://example.com/org":"a|b"}"#, &["org:a|b"]),
            ("role:{/realm_access/roles}", r#"{"realm_access":{"roles":["a","b"]}}"#, &["role:a", "role:b"]),
            ("a:{x}:{y}", r#"{"x":["1","2"],"y":[3,4]}"#, &["a:1:3", "a:2:3", "a:1:4", "a:2:4"]),
            ("team:{team}", "{}", &[]),
            ("team:{team}", r#"{"team":null}"#, &[]),
            ("team:{team}", r#"{"team":[]}"#, &[]),
            ("user:{sub}", r#"{"sub":"7"}"#, &["user:7"]),
        ] {
            assert_eq!(expand(template, claims).unwrap(), patterns, "{template} {claims}");
        }
    }

    #[test]
    fn a_value_never_grants_more_than_its_place_in_the_template() {
        for (template, claims, word) in [
            ("team:{sub}:*", r#"{"sub":"*"}"#, "'*'"),
            ("team:{sub}:*", r#"{"sub":""}"#, "empty"),
            ("team:{sub}:*", r#"{"sub":"a:b"}"#, "separator ':'"),
            ("room:{sub}", r#"{"sub":"1:secret"}"#, "separator ':'"),
            ("room:{sub}-x", r#"{"sub":"1-2"}"#, "separator '-'"),
            ("team:{sub}", r#"{"sub":"a b"}"#, "' '"),
            ("team:{sub}", r#"{"sub":["a","*"]}"#, "'*'"),
            ("team:{sub}", r#"{"sub":true}"#, "its sub, which grants need"),
            ("team:{sub}", r#"{"sub":1.5}"#, "its sub, which grants need"),
            ("team:{sub}", r#"{"sub":{"a":"b"}}"#, "its sub, which grants need"),
            ("team:{sub}", r#"{"sub":[["a"]]}"#, "its sub, which grants need"),
        ] {
            let reason = expand(template, claims).unwrap_err();
            assert!(reason.contains(word), "{template} {claims}: {reason}");
        }
        let long = format!(r#"{{"sub":"{}"}}"#, "x".repeat(252));
        assert!(expand("team:{sub}", &long).unwrap_err().contains("bytes"));
        let many = |count: usize| format!(r#"{{"sub":[{}]}}"#, vec!["1"; count].join(","));
        assert_eq!(expand("team:{sub}", &many(MAX_PATTERNS)).unwrap().len(), MAX_PATTERNS);
        assert!(expand("team:{sub}", &many(MAX_PATTERNS + 1)).unwrap_err().contains("100 grants"));
        assert!(expand("team:{sub}:{sub}", &many(11)).unwrap_err().contains("100 grants"));
    }

    #[test]
    fn a_template_that_could_grant_more_than_it_says_is_refused() {
        for (text, word) in [
            ("team:{sub", "brace"),
            ("team:sub}", "brace"),
            ("team:{{sub}}", "brace"),
            ("team:{}", "empty"),
            ("", "empty"),
            ("team {sub}", "' '"),
            ("room:{sub}*", "separator"),
            ("*{sub}", "separator"),
            ("room:{a}{b}", "separator"),
            ("{team}:*", "user:*"),
            ("{team}", "user:*"),
            ("us{x}", "user:*"),
            ("user{x}", "user:*"),
            ("broad{x}", "broadcast"),
            ("str{x}", "stream:*"),
        ] {
            let error = Template::new(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        for text in ["user:{sub}", "user:{sub}:*", "broadcast{x}", "x{team}", "*:{team}", "users:{x}"] {
            assert!(Template::new(text).is_ok(), "{text}");
        }
    }
}
