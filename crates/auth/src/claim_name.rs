//! Names of claims in settings.

use std::fmt;
use std::iter;

/// The name of a claim: `sub`, `https://example.com/fanfare`, or a path in nested claims, `/realm_access/roles`.
///
/// A claim that has exactly this name counts. Otherwise a name that begins with `/` is a JSON Pointer (RFC 6901) through
/// objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName(String);

/// Why a text does not name a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimNameError {
    /// The name is empty.
    #[error("the name of the claim is empty")]
    Empty,
    /// A pointer has a `~` without `0` or `1`.
    #[error("the name of the claim is not a JSON pointer: a ~ is written ~0, and a / within a name ~1")]
    Pointer,
}

impl ClaimName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// Fails if it is empty, or begins with `/` and is not a JSON Pointer.
    pub fn new(name: &str) -> Result<Self, ClaimNameError> {
        if name.is_empty() || name == "/" {
            return Err(ClaimNameError::Empty);
        }
        let escapes = name.split('~').skip(1);
        if name.starts_with('/')
            && !escapes.map(|rest| rest.chars().next()).all(|c| matches!(c, Some('0' | '1')))
        {
            return Err(ClaimNameError::Pointer);
        }
        Ok(Self(name.to_owned()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the names on the path, if the name is a pointer; otherwise only the name.
    pub(crate) fn steps(&self) -> impl Iterator<Item = String> + '_ {
        let pointer = self.0.strip_prefix('/');
        let whole = iter::once(self.0.clone()).filter(move |_| pointer.is_none());
        let steps = pointer.into_iter().flat_map(|path| path.split('/'));
        whole.chain(steps.map(|step| step.replace("~1", "/").replace("~0", "~")))
    }
}

impl fmt::Display for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_begins_with_a_slash_is_a_path() {
        let steps = |name: &str| ClaimName::new(name).unwrap().steps().collect::<Vec<_>>();
        assert_eq!(steps("sub"), ["sub"]);
        assert_eq!(steps("https://example.com/fanfare"), ["https://example.com/fanfare"]);
        assert_eq!(steps("/realm_access/roles"), ["realm_access", "roles"]);
        assert_eq!(steps("/a~1b/~01"), ["a/b", "~1"]);
        assert_eq!(ClaimName::new(""), Err(ClaimNameError::Empty));
        assert_eq!(ClaimName::new("/"), Err(ClaimNameError::Empty));
        for bad in ["/a~", "/a~2", "/~/b"] {
            assert_eq!(ClaimName::new(bad), Err(ClaimNameError::Pointer), "{bad}");
        }
        assert!(ClaimName::new("a~b").is_ok());
    }
}
