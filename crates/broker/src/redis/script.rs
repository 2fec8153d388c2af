//! The Lua scripts, called by their hash.

use std::sync::LazyLock;

use ::redis::Cmd;

use super::key::Key;

/// Number of arguments of most calls besides the keys.
const FRAME_ARGUMENTS: usize = 12;
/// Bytes of most calls besides the keys and long arguments: the command, the script's hash and some numbers.
const FRAME_BYTES: usize = 128;

/// One script: its text, and the hash by which Redis knows it.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    script: LazyLock<String>,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $($part:expr),+;)+) => {
        $(
            $(#[$doc])*
            pub(super) static $name: Script = Script {
                text: concat!($($part),+),
                script: LazyLock::new(|| ::redis::Script::new(concat!($($part),+)).get_hash().to_owned()),
            };
        )+
        static ALL: &[&Script] = &[$(&$name),+];
    };
}

scripts! {
    PUBLISH = include_str!("publish.lua"), "return publish(KEYS, ARGV)\n";
    /// Publishes like `PUBLISH`, but creates no channel and returns 0 instead.
    PUBLISH_KNOWN = include_str!("publish.lua"),
        "if redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then return 0 end\nreturn publish(KEYS, ARGV)\n";
    PAGE = include_str!("page.lua");
    LOCATE = include_str!("position.lua"), include_str!("last.lua"), include_str!("locate.lua");
    CLAIM = include_str!("session.lua"), include_str!("last.lua"), include_str!("claim.lua");
    RELEASE = include_str!("session.lua"), include_str!("release.lua");
    RENEW = include_str!("session.lua"), include_str!("renew.lua");
    SWEEP = include_str!("session.lua"), include_str!("sweep.lua");
    EXPIRE_GRACE = include_str!("session.lua"), include_str!("expire_grace.lua");
    CHECK_CHANNEL = include_str!("session.lua"), include_str!("check_channel.lua");
    CHANNELS = include_str!("session.lua"), include_str!("channels.lua");
    DUE = include_str!("due.lua");
    PRESENCE = include_str!("presence.lua");
    LEASE = include_str!("lease.lua");
    LEAVE = include_str!("leave.lua");
    FORGET_NODE = include_str!("forget_node.lua");
    READ = include_str!("read.lua");
    SETTLE = include_str!("settle.lua");
    REJECT = include_str!("reject.lua");
    DEAD_LETTERS = include_str!("dead_letters.lua");
    REQUEUE = include_str!("requeue.lua");
    RESET = include_str!("reset.lua");
    /// Works also if Redis is out of memory, so that a token can be revoked then: the log is bounded.
    REVOKE = "#!lua flags=allow-oom\n", include_str!("revoke.lua");
    ACKNOWLEDGE = include_str!("position.lua"), include_str!("acknowledge.lua");
    CREATE_TICKET = include_str!("ticket.lua"), include_str!("create_ticket.lua");
    USE_TICKET = include_str!("ticket.lua"), include_str!("use_ticket.lua");
    RETURN_TICKET = include_str!("ticket.lua"), include_str!("return_ticket.lua");
    STREAM_CREATE = include_str!("stream.lua"), include_str!("stream_create.lua");
    STREAM_APPEND = include_str!("stream.lua"), include_str!("stream_append.lua");
    STREAM_READ = include_str!("stream.lua"), include_str!("stream_read.lua");
    STREAM_REMOVE = include_str!("stream.lua"), include_str!("stream_remove.lua");
    STREAM_REFER = include_str!("stream.lua"), include_str!("stream_refer.lua");
    STREAM_RELEASE = include_str!("stream.lua"), include_str!("stream_release.lua");
    LOCK = include_str!("lock.lua");
    /// The lock of the intake leader. It works also if Redis is out of memory, since the leader frees memory. The
    /// sweeper's lock does not, since live nodes cannot renew their leases then.
    LEAD = "#!lua flags=allow-oom\n", include_str!("lock.lua");
    UNLOCK = include_str!("unlock.lua");
}

impl Script {
    /// Returns the commands that load all scripts, so that calls need not send their text.
    pub(super) fn load_all() -> Vec<Cmd> {
        ALL.iter().map(|script| script.load()).collect()
    }

    /// Returns the command that loads the script.
    pub(super) fn load(&self) -> Cmd {
        let mut command = ::redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.text);
        command
    }

    /// Starts a call; add the arguments after the keys with `arg`.
    pub(super) fn call(&self, keys: &[&Key]) -> Cmd {
        self.call_with_room(keys, 0)
    }

    /// Starts a call whose arguments have about this many bytes, so that its memory does not grow piece by piece.
    pub(super) fn call_with_room(&self, keys: &[&Key], arguments: usize) -> Cmd {
        let names: usize = keys.iter().map(|key| key.as_str().len()).sum();
        let mut command = Cmd::with_capacity(FRAME_ARGUMENTS + keys.len(), FRAME_BYTES + names + arguments);
        command.arg("EVALSHA").arg(self.script.as_str()).arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        command
    }
}
