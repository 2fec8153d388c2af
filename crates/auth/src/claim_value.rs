//! Claims with a value in settings: `token_use=access`.

use std::fmt;

use serde_json::value::RawValue;

use crate::claim_name::{ClaimName, ClaimNameError};
use crate::claims::{self, Claims};

/// Claims whose text is a list of words (RFC 8693, section 4.2).
const WORDS: [&str; 2] = ["scope", "scp"];

/// A claim with a value: `token_use=access`, `/realm_access/roles=editor`.
///
/// A token has it if the claim is this text, integer or boolean, or a list with it. The text of `scope` and `scp` is a list
/// of words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimValue {
    name: ClaimName,
    value: String,
}

/// Why a text is not a claim with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimValueError {
    /// There is no `=`.
    #[error("it has no '=' between the name of the claim and its value")]
    NoValue,
    /// The name is not one of a claim.
    #[error("{0}")]
    Name(#[from] ClaimNameError),
}

impl ClaimValue {
    /// Reads a name and a value with `=` between them. The value may have further ones.
    ///
    /// # Errors
    ///
    /// Fails if there is no `=`, or if the name is not one of a claim.
    pub fn new(text: &str) -> Result<Self, ClaimValueError> {
        let (name, value) = text.split_once('=').ok_or(ClaimValueError::NoValue)?;
        Ok(Self { name: ClaimName::new(name)?, value: value.to_owned() })
    }

    /// Returns the name of the claim.
    pub(crate) fn name(&self) -> &ClaimName {
        &self.name
    }

    /// Returns the value.
    pub(crate) fn value(&self) -> &str {
        &self.value
    }

    /// Returns whether a token with these claims has the value.
    fn is_in(&self, claims: &Claims<'_>) -> bool {
        let Some(value) = claims.find(&self.name) else { return false };
        if let Some(scalar) = scalar(value) {
            let is_list = self.name.steps().last().is_some_and(|name| WORDS.contains(&name.as_str()));
            return scalar == self.value || is_list && scalar.split(' ').any(|word| word == self.value);
        }
        serde_json::from_str::<Vec<&RawValue>>(value.get())
            .is_ok_and(|items| items.into_iter().filter_map(scalar).any(|item| item == self.value))
    }
}

/// Returns the text of a text, an integer or a boolean.
fn scalar(value: &RawValue) -> Option<String> {
    match value.get() {
        word @ ("true" | "false") => Some(word.to_owned()),
        _ => claims::scalar(value),
    }
}

/// Returns the name of the first claim that has none of the values listed for it; `None` if each has one.
pub(crate) fn first_missing<'v>(values: &'v [ClaimValue], claims: &Claims<'_>) -> Option<&'v ClaimName> {
    let has_one = |name: &ClaimName| values.iter().any(|one| one.name == *name && one.is_in(claims));
    values.iter().map(|one| &one.name).find(|name| !has_one(name))
}

impl fmt::Display for ClaimValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(values: &[&str], claims: &str) -> Option<String> {
        let values: Vec<_> = values.iter().map(|text| ClaimValue::new(text).unwrap()).collect();
        let claims = Claims::read(claims.as_bytes()).unwrap();
        first_missing(&values, &claims).map(ToString::to_string)
    }

    #[test]
    fn a_claim_has_a_value_as_a_text_a_number_a_boolean_or_in_a_list() {
        for (value, claims, has) in [
            ("use=access", r#"{"use":"access"}"#, true),
            ("use=access", r#"{"use":"id"}"#, false),
            ("use=access", r#"{"use":"Access"}"#, false),
            ("use=access", r#"{"use":"access id"}"#, false),
            ("use=access", r#"{"use":["id","access"]}"#, true),
            ("use=access", r#"{"use":[["access"]]}"#, false),
            ("use=access", r#"{"use":[]}"#, false),
            ("use=access", r#"{"use":{"access":true}}"#, false),
            ("use=null", r#"{"use":null}"#, false),
            ("use=access", "{}", false),
            ("use=", r#"{"use":""}"#, true),
            ("a=b=c", r#"{"a":"b=c"}"#, true),
            ("version=2", r#"{"version":2}"#, true),
            ("version=2", r#"{"version":"2"}"#, true),
            ("version=2", r#"{"version":20}"#, false),
            ("verified=true", r#"{"verified":true}"#, true),
            ("verified=true", r#"{"verified":false}"#, false),
            ("/realm_access/roles=editor", r#"{"realm_access":{"roles":["viewer","editor"]}}"#, true),
            ("/realm_access/roles=edit", r#"{"realm_access":{"roles":["viewer","editor"]}}"#, false),
            ("scope=a:b", r#"{"scope":"openid a:b"}"#, true),
            ("scope=a", r#"{"scope":"openid a:b"}"#, false),
            ("scp=a:b", r#"{"scp":["openid","a:b"]}"#, true),
            ("/x/scp=a", r#"{"x":{"scp":"a b"}}"#, true),
        ] {
            assert_eq!(missing(&[value], claims).is_none(), has, "{value} in {claims}");
        }
    }

    #[test]
    fn each_claim_needs_one_of_its_values() {
        let values = ["use=access", "client=a", "client=b"];
        assert_eq!(missing(&values, r#"{"use":"access","client":"b"}"#), None);
        assert_eq!(missing(&values, r#"{"use":"access","client":"c"}"#).as_deref(), Some("client"));
        assert_eq!(missing(&values, r#"{"client":"a"}"#).as_deref(), Some("use"));
        assert_eq!(missing(&[], "{}"), None);
    }

    #[test]
    fn a_value_has_a_name() {
        assert_eq!(ClaimValue::new("access"), Err(ClaimValueError::NoValue));
        assert_eq!(ClaimValue::new("=access"), Err(ClaimValueError::Name(ClaimNameError::Empty)));
        assert_eq!(ClaimValue::new("/~=x"), Err(ClaimValueError::Name(ClaimNameError::Pointer)));
        assert_eq!(ClaimValue::new("a=b=c").unwrap().to_string(), "a=b=c");
    }
}
