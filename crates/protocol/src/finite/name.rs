//! Names of finite streams.

use std::fmt;

use crate::Channel;
use crate::channel::{ChannelError, MAX_CHANNEL_BYTES, STREAM_PREFIX as PREFIX};

/// Maximum length of a name, in bytes.
pub const MAX_BYTES: usize = MAX_CHANNEL_BYTES - PREFIX.len();
/// First segment of the paths that the protocol reserves.
const RESERVED: &str = "__ds";

/// The name of a finite stream: the path below `/v1/stream/`, as it is in the request, without percent-decoding.
///
/// Its text as a channel, `stream:<name>`, is what a grant's patterns match.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(Channel);

/// Why a text is not the name of a finite stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// An empty text.
    #[error("the stream's name is empty; it must have 1 to {MAX_BYTES} bytes")]
    Empty,
    /// More than [`MAX_BYTES`].
    #[error("the stream's name has {0} bytes; at most {MAX_BYTES} are allowed")]
    TooLong(usize),
    /// A character outside the alphabet of channels.
    #[error(
        "the stream's name has {found:?} at byte {at}; allowed are ASCII letters, digits and {}; percent-encode others",
        crate::channel::CHANNEL_PUNCTUATION
    )]
    Character {
        /// The character.
        found: char,
        /// Its offset in bytes.
        at: usize,
    },
    /// A segment that clients and proxies would remove from the path.
    #[error("the stream's name has the segment {0:?}; segments must not be empty, . or ..")]
    Segment(String),
    /// The protocol reserves the name.
    #[error("names that begin with {RESERVED}/ are reserved")]
    Reserved,
}

impl StreamName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// Fails if the name is empty, too long or reserved, or has a character or a segment that is not allowed.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.len() > MAX_BYTES {
            return Err(NameError::TooLong(name.len()));
        }
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        let channel = Channel::of_stream(name).map_err(|error| match error {
            ChannelError::Empty | ChannelError::Stream => NameError::Empty,
            ChannelError::TooLong(bytes) => NameError::TooLong(bytes.saturating_sub(PREFIX.len())),
            ChannelError::Character { found, at } => {
                NameError::Character { found, at: at.saturating_sub(PREFIX.len()) }
            }
        })?;
        if let Some(segment) = name.split('/').find(|segment| matches!(*segment, "" | "." | "..")) {
            return Err(NameError::Segment(segment.to_owned()));
        }
        if name.split('/').next() == Some(RESERVED) {
            return Err(NameError::Reserved);
        }
        Ok(Self(channel))
    }

    /// Returns the name, without `stream:`.
    pub fn as_str(&self) -> &str {
        &self.0.as_str()[PREFIX.len()..]
    }

    /// Returns `stream:<name>`, which grants match and whose live topic wakes readers.
    pub fn channel(&self) -> &Channel {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path() {
        for name in ["chat-7", "a/b/c", "%C3%B6", "v1/stream/test", "__dsx", "a/__ds", &"x".repeat(MAX_BYTES)]
        {
            let stream = StreamName::new(name).unwrap();
            assert_eq!(stream.as_str(), name);
            assert_eq!(stream.channel().as_str(), format!("stream:{name}"));
        }
    }

    #[test]
    fn what_is_wrong_with_a_name_is_said() {
        assert_eq!(StreamName::new(""), Err(NameError::Empty));
        assert_eq!(StreamName::new(&"x".repeat(249)), Err(NameError::TooLong(249)));
        assert_eq!(StreamName::new("a{b"), Err(NameError::Character { found: '{', at: 1 }));
        for name in ["/a", "a/", "a//b", "a/./b", "..", "a/.."] {
            assert!(matches!(StreamName::new(name), Err(NameError::Segment(_))), "{name}");
        }
        for name in ["__ds", "__ds/subscriptions/1"] {
            assert_eq!(StreamName::new(name), Err(NameError::Reserved));
        }
    }
}
