//! How a stream ended.

use std::fmt;

/// Maximum length of a reason, in bytes.
pub const MAX_REASON_BYTES: usize = 256;

/// The end of a stream, which is stored with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The kind.
    pub kind: EndKind,
    /// Why, for readers; may be empty.
    pub reason: String,
}

/// The kind of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndKind {
    /// All bytes were appended.
    Complete,
    /// The producer failed.
    Error,
    /// The stream was cancelled.
    Cancelled,
}

/// Why a text is not an end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndError {
    /// An unknown kind.
    #[error("Stream-End must be complete, error or cancelled")]
    Kind,
    /// A reason that is too long.
    #[error("Stream-End-Reason has {0} bytes; at most {MAX_REASON_BYTES} are allowed")]
    Reason(usize),
    /// A reason that a header cannot carry back.
    #[error("Stream-End-Reason must have visible ASCII characters and spaces only")]
    Characters,
}

impl EndKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Complete, Self::Error, Self::Cancelled];

    /// Returns the text in headers and in Redis.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the kind with this text.
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl End {
    /// The end of the base protocol, which knows no other.
    pub const COMPLETE: Self = Self { kind: EndKind::Complete, reason: String::new() };

    /// Creates an end from the texts of headers; without them the stream is complete.
    ///
    /// # Errors
    ///
    /// Fails if the kind is unknown, or the reason is too long or has other characters than a header may have.
    pub fn new(kind: Option<&str>, reason: Option<&str>) -> Result<Self, EndError> {
        let kind = kind.map_or(Some(EndKind::Complete), EndKind::named).ok_or(EndError::Kind)?;
        let reason = reason.unwrap_or_default();
        if reason.len() > MAX_REASON_BYTES {
            return Err(EndError::Reason(reason.len()));
        }
        if !reason.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(EndError::Characters);
        }
        Ok(Self { kind, reason: reason.to_owned() })
    }
}

impl fmt::Display for EndKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_has_a_kind_and_a_reason() {
        assert_eq!(End::new(None, None), Ok(End::COMPLETE));
        let cancelled = End::new(Some("cancelled"), Some("the user pressed Stop")).unwrap();
        assert_eq!((cancelled.kind, &*cancelled.reason), (EndKind::Cancelled, "the user pressed Stop"));
        assert_eq!(End::new(Some("Complete"), None), Err(EndError::Kind));
        assert_eq!(End::new(None, Some(&"x".repeat(257))), Err(EndError::Reason(257)));
        assert_eq!(End::new(None, Some("a\nb")), Err(EndError::Characters));
        assert!(EndKind::ALL.into_iter().all(|kind| EndKind::named(kind.as_str()) == Some(kind)));
    }
}
