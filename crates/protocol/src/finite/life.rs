//! How long a stream is kept.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The longest time to live, in seconds: what Redis takes, and a hundred years.
const MAX_TTL: u64 = 100 * 365 * 24 * 3600;
/// Maximum length of the text of a time, in bytes.
const MAX_TIME_BYTES: usize = 64;

/// How long a stream is kept, as its creator asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// As long as the node's settings say.
    #[default]
    Unset,
    /// So many seconds after the last read or write: `Stream-TTL`.
    Ttl(u64),
    /// Until a time: `Stream-Expires-At`.
    Until(Expiry),
}

/// A time at which a stream expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The time in Unix milliseconds; 0 for every time before 1970.
    pub ms: u64,
    /// The text that was given.
    pub text: String,
}

/// Why a life is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LifeError {
    /// A time to live that is not a number.
    #[error("Stream-TTL must be a whole number of seconds without sign and leading zeros")]
    Ttl,
    /// A time that cannot be read.
    #[error("Stream-Expires-At must be a time of RFC 3339, like 2030-01-31T12:00:00Z")]
    Time,
    /// Both headers.
    #[error("send Stream-TTL or Stream-Expires-At, not both")]
    Both,
}

impl Life {
    /// Creates a life from the headers' texts.
    ///
    /// # Errors
    ///
    /// Fails if both are present, or one is invalid.
    pub fn read(ttl: Option<&str>, expires_at: Option<&str>) -> Result<Self, LifeError> {
        match (ttl, expires_at) {
            (None, None) => Ok(Self::Unset),
            (Some(_), Some(_)) => Err(LifeError::Both),
            (Some(ttl), None) => read_ttl(ttl).map(Self::Ttl),
            (None, Some(text)) => Expiry::read(text).map(Self::Until),
        }
    }

    /// Returns the time to live.
    pub fn ttl(&self) -> Option<Duration> {
        match self {
            Self::Ttl(seconds) => Some(Duration::from_secs((*seconds).min(MAX_TTL))),
            _ => None,
        }
    }

    /// Reads the text that `Display` writes; any other text is [`Life::Unset`].
    pub fn stored(text: &str) -> Self {
        let life = match text.split_once(' ') {
            Some(("ttl", seconds)) => read_ttl(seconds).map(Self::Ttl),
            Some(("at", time)) => Expiry::read(time).map(Self::Until),
            _ => Ok(Self::Unset),
        };
        life.unwrap_or_default()
    }
}

/// Reads a number of seconds. A number beyond all bounds is the longest time.
fn read_ttl(text: &str) -> Result<u64, LifeError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || (text.len() > 1 && text.starts_with('0')) {
        return Err(LifeError::Ttl);
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

impl Expiry {
    fn read(text: &str) -> Result<Self, LifeError> {
        if text.len() > MAX_TIME_BYTES {
            return Err(LifeError::Time);
        }
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| LifeError::Time)?;
        let ms = u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        Ok(Self { ms, text: text.to_owned() })
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => Ok(()),
            Self::Ttl(seconds) => write!(f, "ttl {seconds}"),
            Self::Until(expiry) => write!(f, "at {}", expiry.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_a_number_of_seconds_or_a_time() {
        assert_eq!(Life::read(None, None), Ok(Life::Unset));
        assert_eq!(Life::read(Some("0"), None), Ok(Life::Ttl(0)));
        assert_eq!(Life::read(Some("3600"), None).unwrap().ttl(), Some(Duration::from_hours(1)));
        assert_eq!(Life::read(Some("1"), Some("2030-01-31T12:00:00Z")), Err(LifeError::Both));
        for bad in ["", "-1", "+1", "01", "00", "1.5", "1e3", " 1", "abc"] {
            assert_eq!(Life::read(Some(bad), None), Err(LifeError::Ttl), "{bad}");
        }
        for (text, ms) in [
            ("1970-01-01T00:00:01Z", 1000),
            ("1970-01-01T00:00:01.5+00:00", 1500),
            ("1970-01-01T02:00:01+02:00", 1000),
            ("1960-01-01T00:00:00Z", 0),
        ] {
            let life = Life::read(None, Some(text)).unwrap();
            assert_eq!(life, Life::Until(Expiry { ms, text: text.into() }));
            assert_eq!(Life::stored(&life.to_string()), life);
        }
        for bad in ["", "tomorrow", "2030-01-31", "2030-01-31T12:00:00", "2030-13-31T12:00:00Z", "1735689600"]
        {
            assert_eq!(Life::read(None, Some(bad)), Err(LifeError::Time), "{bad}");
        }
    }

    #[test]
    fn a_number_beyond_all_bounds_is_the_longest_time() {
        let life = Life::read(Some(&"9".repeat(40)), None).unwrap();
        assert_eq!(life.ttl(), Some(Duration::from_secs(MAX_TTL)));
        assert_eq!(Life::stored(&life.to_string()), life);
        assert_eq!(Life::stored("x"), Life::Unset);
    }
}
