//! How long a producer may be silent.

use std::fmt;
use std::time::Duration;

/// The longest lease, in seconds.
const MAX_SECONDS: u64 = 3600;

/// How long a producer may be silent before its stream ends as an error: `Stream-Lease`, in seconds.
///
/// A producer that died cannot end its stream. Without a lease, readers of an open stream wait until it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    seconds: u64,
}

/// A text that is not a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Stream-Lease must be a whole number of seconds from 1 to {MAX_SECONDS}, without leading zeros")]
pub struct LeaseError;

impl Lease {
    /// Reads the text of the header.
    ///
    /// # Errors
    ///
    /// Fails if it is not a whole number from 1 to 3600.
    pub fn read(text: &str) -> Result<Self, LeaseError> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let seconds = is_plain.then(|| text.parse().ok()).flatten();
        let seconds = seconds.filter(|seconds| (1..=MAX_SECONDS).contains(seconds)).ok_or(LeaseError)?;
        Ok(Self { seconds })
    }

    /// Creates a lease from milliseconds, as a broker stores them.
    pub fn from_millis(ms: u64) -> Option<Self> {
        let seconds = ms / 1000;
        (ms.is_multiple_of(1000) && (1..=MAX_SECONDS).contains(&seconds)).then_some(Self { seconds })
    }

    /// Returns the time.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

impl fmt::Display for Lease {
    /// Writes the text of the header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_a_number_of_seconds() {
        for (text, seconds) in [("1", 1), ("15", 15), ("3600", 3600)] {
            let lease = Lease::read(text).unwrap();
            assert_eq!(
                (lease.duration(), lease.to_string()),
                (Duration::from_secs(seconds), text.to_owned())
            );
            assert_eq!(Lease::from_millis(seconds * 1000), Some(lease));
        }
        for text in ["", "0", "01", "-1", "+1", "1.5", "1e1", " 1", "3601", "99999999999999999999", "a"] {
            assert_eq!(Lease::read(text), Err(LeaseError), "{text}");
        }
        assert_eq!(
            (Lease::from_millis(0), Lease::from_millis(1500), Lease::from_millis(3_601_000)),
            (None, None, None)
        );
    }
}
