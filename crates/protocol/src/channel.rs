//! Channel names, users, and patterns that match names.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Maximum length of a channel name, in bytes.
pub const MAX_CHANNEL_BYTES: usize = 255;

/// Characters allowed in a channel name besides ASCII letters and digits.
///
/// Excluded on purpose: `{` and `}` (Redis Cluster hash tags), `*` (patterns), `,` (lists), quotes,
/// white space, control characters and everything outside ASCII.
pub const CHANNEL_PUNCTUATION: &str = "-_.:@|/+=~%$!#&;";

/// Prefix of the channels that are private to one user.
const USER_PREFIX: &str = "user:";
/// The channel that every stream follows.
const BROADCAST: &str = "broadcast";
/// Prefix of the channels on which nodes publish about themselves.
pub const INTERNAL_PREFIX: &str = "fanfare:";
/// Prefix of the channels of finite streams, which carry no events.
pub(crate) const STREAM_PREFIX: &str = "stream:";
/// Namespaces of reserved channels, which a grant must spell out.
pub const RESERVED: [&str; 3] = [USER_PREFIX, BROADCAST, STREAM_PREFIX];

/// A named, ordered series of events: the only routing concept.
///
/// Cheap to clone. `user:<id>` is private to that user, and the user's streams follow it automatically; all streams
/// follow `broadcast`; any other channel must be requested and needs a grant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Channel(Arc<str>);

/// Why a text is not a valid channel name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// An empty text.
    #[error("the channel name is empty; it must have 1 to {MAX_CHANNEL_BYTES} bytes")]
    Empty,
    /// More than [`MAX_CHANNEL_BYTES`].
    #[error("the channel name has {0} bytes; at most {MAX_CHANNEL_BYTES} are allowed")]
    TooLong(usize),
    /// A character outside the alphabet.
    #[error(
        "the channel name has {found:?} at byte {at}; allowed are ASCII letters, digits and {CHANNEL_PUNCTUATION}"
    )]
    Character {
        /// The character.
        found: char,
        /// Its offset in bytes.
        at: usize,
    },
    /// The channel of a finite stream.
    #[error(
        "channels that begin with {STREAM_PREFIX} are finite streams, which are read and written at /v1/stream/"
    )]
    Stream,
}

impl Channel {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// Fails if it is empty, too long, has a character outside the alphabet, or is that of a finite stream.
    pub fn new(name: &str) -> Result<Self, ChannelError> {
        check(name, false)?;
        if name.starts_with(STREAM_PREFIX) {
            return Err(ChannelError::Stream);
        }
        Ok(Self(name.into()))
    }

    /// Returns the channel of a finite stream with this name.
    pub(crate) fn of_stream(name: &str) -> Result<Self, ChannelError> {
        let channel = format!("{STREAM_PREFIX}{name}");
        check(&channel, false)?;
        Ok(Self(channel.into()))
    }

    /// Returns the channel that every stream follows.
    pub fn broadcast() -> Self {
        Self(BROADCAST.into())
    }

    /// Returns the channel on which each node publishes its figures.
    pub fn stats() -> Self {
        Self([INTERNAL_PREFIX, "stats"].concat().into())
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether only nodes publish to the channel. No pattern opens it; operators may follow it.
    pub fn is_internal(&self) -> bool {
        self.as_str().starts_with(INTERNAL_PREFIX)
    }

    /// Returns the id of `user:<id>`; `None` for any other channel.
    pub fn user(&self) -> Option<&str> {
        self.0.strip_prefix(USER_PREFIX)
    }

    /// Returns the namespace of a reserved channel, which a grant must spell out: `user:`, `stream:` or `broadcast`; `None` for
    /// any other channel.
    fn reserved(&self) -> Option<&'static str> {
        if self.as_str() == BROADCAST {
            return Some(BROADCAST);
        }
        [USER_PREFIX, STREAM_PREFIX].into_iter().find(|prefix| self.as_str().starts_with(prefix))
    }

    /// Returns the tag that represents the channel in a cursor: 48 bits of the name's FNV-1a hash.
    ///
    /// Part of the cursor's format, on which nodes of different versions must agree.
    pub fn tag(&self) -> u64 {
        use std::hash::Hasher;
        let mut hasher = fnv::FnvHasher::default();
        hasher.write(self.0.as_bytes());
        let hash = hasher.finish();
        (hash ^ (hash >> 48)) & 0xffff_ffff_ffff
    }
}

impl TryFrom<String> for Channel {
    type Error = ChannelError;
    fn try_from(name: String) -> Result<Self, ChannelError> {
        Self::new(&name)
    }
}

impl From<Channel> for String {
    fn from(channel: Channel) -> Self {
        channel.0.as_ref().to_owned()
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::borrow::Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Maximum length of a user id, in bytes: `user:<id>` is a channel name.
pub const MAX_USER_BYTES: usize = MAX_CHANNEL_BYTES - USER_PREFIX.len();

/// Why a text is not a valid user id. Offsets are within the id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// An empty text.
    #[error("the user id is empty; it must have 1 to {MAX_USER_BYTES} bytes")]
    Empty,
    /// More than [`MAX_USER_BYTES`].
    #[error("the user id has {0} bytes; at most {MAX_USER_BYTES} are allowed")]
    TooLong(usize),
    /// A character outside the alphabet of channels.
    #[error(
        "the user id has {found:?} at byte {at}; allowed are ASCII letters, digits and {CHANNEL_PUNCTUATION}"
    )]
    Character {
        /// The character.
        found: char,
        /// Its offset in bytes.
        at: usize,
    },
}

/// A user's id, as in a token's `sub`. `user:<id>` is always a valid channel.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct User(Channel);

impl User {
    /// Checks an id.
    ///
    /// # Errors
    ///
    /// Fails if it is empty or `user:<id>` is not a channel name.
    pub fn new(id: &str) -> Result<Self, UserError> {
        if id.len() > MAX_USER_BYTES {
            return Err(UserError::TooLong(id.len()));
        }
        check(id, false).map_err(|error| match error {
            // Only a channel can be that of a stream.
            ChannelError::Empty | ChannelError::Stream => UserError::Empty,
            ChannelError::TooLong(bytes) => UserError::TooLong(bytes),
            ChannelError::Character { found, at } => UserError::Character { found, at },
        })?;
        Ok(Self(Channel(format!("{USER_PREFIX}{id}").into())))
    }

    /// Returns the id, without `user:`.
    pub fn id(&self) -> &str {
        &self.0.as_str()[USER_PREFIX.len()..]
    }

    /// Returns the user's private channel.
    pub fn channel(&self) -> &Channel {
        &self.0
    }
}

impl TryFrom<String> for User {
    type Error = UserError;
    fn try_from(id: String) -> Result<Self, UserError> {
        Self::new(&id)
    }
}

impl From<User> for String {
    fn from(user: User) -> Self {
        user.id().to_owned()
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.id(), f)
    }
}

/// Bytes to which the memory of a pattern's text is rounded up: jemalloc's step between small sizes.
const ALLOCATED: usize = 16;

/// A pattern of channel names in which each `*` matches any number of characters, also none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Checks a pattern: the alphabet of channels and `*`.
    ///
    /// # Errors
    ///
    /// See [`Channel::new`].
    pub fn new(pattern: &str) -> Result<Self, ChannelError> {
        check(pattern, true)?;
        Ok(Self(pattern.to_owned()))
    }

    /// Returns the memory that the pattern takes, in bytes. Allocators round the memory of its text up.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + self.0.capacity().next_multiple_of(ALLOCATED)
    }

    /// Returns whether the channel is one of those meant. Takes time proportional to the name's length times the
    /// pattern's at worst.
    pub fn matches(&self, channel: &Channel) -> bool {
        glob(self.0.as_bytes(), channel.as_str().as_bytes())
    }

    /// Returns whether a grant of this pattern opens the channel. A reserved channel (`user:<id>`, `stream:<name>`, `broadcast`) is
    /// opened only by a pattern that begins with its namespace in plain letters: `user:*` opens `user:9`, and `*`,
    /// `u*` and `*9` do not. An internal channel is opened by no pattern.
    pub fn opens(&self, channel: &Channel) -> bool {
        self.matches(channel)
            && !channel.is_internal()
            && channel.reserved().is_none_or(|namespace| self.0.starts_with(namespace))
    }

    /// Returns whether a grant of this pattern opens every channel that a grant of the other one opens.
    pub fn covers(&self, other: &Self) -> bool {
        let spells = |prefix: &str| self.0.starts_with(prefix) || !other.0.starts_with(prefix);
        let broadcast = Channel::broadcast();
        // A `*` of the other pattern is a character that only a `*` of this one matches.
        glob(self.0.as_bytes(), other.0.as_bytes())
            && spells(USER_PREFIX)
            && spells(STREAM_PREFIX)
            && (self.opens(&broadcast) || !other.opens(&broadcast))
    }

    /// Returns the pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Pattern {
    type Error = ChannelError;
    fn try_from(pattern: String) -> Result<Self, ChannelError> {
        Self::new(&pattern)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

/// Matches a name: each `*` first matches as little as possible, and more if the rest does not match.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

fn check(name: &str, stars: bool) -> Result<(), ChannelError> {
    if name.is_empty() {
        return Err(ChannelError::Empty);
    }
    if name.len() > MAX_CHANNEL_BYTES {
        return Err(ChannelError::TooLong(name.len()));
    }
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || CHANNEL_PUNCTUATION.contains(c) || (stars && c == '*');
    match name.char_indices().find(|&(_, c)| !allowed(c)) {
        Some((at, found)) => Err(ChannelError::Character { found, at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => naive(rest, name) || (!name.is_empty() && naive(pattern, &name[1..])),
            (Some((p, ps)), Some((n, ns))) => p == n && naive(ps, ns),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_valid_name_reads_back(name in "[A-Za-z0-9:@|/+=~._-]{1,255}") {
            let channel = Channel::new(&name).unwrap();
            prop_assert_eq!(channel.as_str(), name);
        }

        #[test]
        fn no_text_breaks_the_check(name in any::<String>()) {
            if let Ok(channel) = Channel::new(&name) {
                let dangerous = channel.as_str().contains(['{', '}', '*', '\n', '\r', ' ']);
                prop_assert!(!dangerous);
            }
        }

        #[test]
        fn patterns_match_what_the_definition_says(pattern in "[ab*]{1,8}", name in "[ab]{1,10}") {
            let wanted = naive(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(Pattern::new(&pattern).unwrap().matches(&Channel::new(&name).unwrap()), wanted);
        }
    }

    #[test]
    fn a_pattern_covers_what_it_grants_and_no_more() {
        let pattern = |text: &str| Pattern::new(text).unwrap();
        for (wide, narrow, covers) in [
            ("room:*", "room:1", true),
            ("room:*", "room:1:*", true),
            ("room:*", "room:*", true),
            ("*", "**", true),
            ("*a*", "b*a", true),
            ("*", "broadcasts", true),
            ("broadcast*", "broadcast", true),
            ("user:*", "user:9", true),
            ("stream:*", "stream:chat-*", true),
            ("*", "stream:*", false),
            ("st*", "stream:chat", false),
            ("room:1", "room:*", false),
            ("*a", "*", false),
            ("*", "user:9", false),
            ("*", "user:*", false),
            ("us*", "user:9", false),
            ("*", "broadcast", false),
            ("*", "broadcast*", false),
        ] {
            assert_eq!(pattern(wide).covers(&pattern(narrow)), covers, "{wide} {narrow}");
        }
    }

    proptest! {
        #[test]
        fn what_is_covered_opens_nothing_more(
            wide in "(user:|stream:|broadcast|)[ab*]{0,4}",
            narrow in "(user:|stream:|broadcast|)[ab*]{0,4}",
            name in "(user:|broadcast|fanfare:|)[ab]{0,6}",
        ) {
            prop_assume!(!wide.is_empty() && !narrow.is_empty() && !name.is_empty());
            let (wide, narrow) = (Pattern::new(&wide).unwrap(), Pattern::new(&narrow).unwrap());
            let channel = Channel::new(&name).unwrap();
            prop_assert!(!wide.covers(&narrow) || !narrow.opens(&channel) || wide.opens(&channel));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(Channel::new(""), Err(ChannelError::Empty));
        assert_eq!(Channel::new(&"x".repeat(256)), Err(ChannelError::TooLong(256)));
        assert_eq!(Channel::new("room{7}"), Err(ChannelError::Character { found: '{', at: 4 }));
        assert!(Channel::new("römer").is_err());
        assert_eq!(Channel::new("stream:chat-7"), Err(ChannelError::Stream));
        assert!(Channel::new("streams:1").is_ok() && Channel::new("stream").is_ok());
        assert!(User::new("").is_err());
        assert!(User::new(&"u".repeat(250)).is_ok());
        assert_eq!(User::new(&"u".repeat(251)), Err(UserError::TooLong(251)));
        assert_eq!(User::new("a b"), Err(UserError::Character { found: ' ', at: 1 }));
    }

    #[test]
    fn a_user_and_its_channel_name_each_other() {
        let user = User::new("auth0|42").unwrap();
        assert_eq!(user.channel().as_str(), "user:auth0|42");
        assert_eq!(user.channel().user(), Some("auth0|42"));
        assert_eq!(Channel::broadcast().user(), None);
    }
}
