//! The Lua scripts, called by their hash.

use std::sync::LazyLock;

use ::redis::{Cmd, Value};

use super::error;
use super::shared_connection::SharedConnection;
use crate::BrokerError;

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
    LOCATE = include_str!("position.lua"), include_str!("locate.lua");
    CLAIM = include_str!("session.lua"), include_str!("claim.lua");
    RELEASE = include_str!("session.lua"), include_str!("release.lua");
    RENEW = include_str!("session.lua"), include_str!("renew.lua");
    SWEEP = include_str!("session.lua"), include_str!("sweep.lua");
    EXPIRE_GRACE = include_str!("session.lua"), include_str!("expire_grace.lua");
    DUE = include_str!("due.lua");
    LEASE = include_str!("lease.lua");
    LEAVE = include_str!("leave.lua");
    FORGET_NODE = include_str!("forget_node.lua");
    READ = include_str!("read.lua");
    SETTLE = include_str!("settle.lua");
    REJECT = include_str!("reject.lua");
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
    pub(super) fn call(&self, keys: &[&str]) -> Cmd {
        let mut command = ::redis::cmd("EVALSHA");
        command.arg(self.script.as_str()).arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        command
    }

    /// Calls the script once.
    pub(super) async fn run(&self, connection: &SharedConnection, call: Cmd) -> Result<Value, BrokerError> {
        let reply = self.run_all(connection, vec![call]).await?.pop();
        SharedConnection::reply(reply.ok_or_else(|| error::unexpected("one reply"))?)
    }

    /// Sends many calls at once, of this script or of other commands, and returns their replies.
    ///
    /// Calls that fail because Redis does not know the script are repeated in order after it was loaded. Connections load
    /// all scripts when they connect, so this happens only after `SCRIPT FLUSH`. A flush within a pipeline makes all
    /// later calls fail, so calls keep their order, unless another client loads the script at that moment.
    pub(super) async fn run_all(
        &self,
        connection: &SharedConnection,
        calls: Vec<Cmd>,
    ) -> Result<Vec<Value>, BrokerError> {
        let mut replies = connection.commands(calls.clone()).await?;
        let missed: Vec<usize> = (0..replies.len()).filter(|&at| error::is_no_script(&replies[at])).collect();
        if missed.is_empty() {
            return Ok(replies);
        }
        let again = missed.iter().map(|&at| calls[at].clone());
        let answers = connection.commands([self.load()].into_iter().chain(again).collect()).await?;
        // The first reply is that of the load.
        for (at, answer) in missed.into_iter().zip(answers.into_iter().skip(1)) {
            replies[at] = answer;
        }
        Ok(replies)
    }
}
