//! The name of a key or a topic.

use std::fmt;

use ::redis::{Cmd, RedisWrite, ToRedisArgs, ToSingleRedisArg};

/// The name of a key or a topic. It decides which primary serves a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(String);

impl Key {
    pub(super) fn new(name: String) -> Self {
        Self(name)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ToRedisArgs for Key {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg(self.0.as_bytes());
    }
}

impl ToSingleRedisArg for Key {}

/// Returns a command about one key.
pub(super) fn about(name: &str, key: &Key) -> Cmd {
    let mut command = ::redis::cmd(name);
    command.arg(key);
    command
}
