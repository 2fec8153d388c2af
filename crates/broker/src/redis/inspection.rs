//! What `fanfare doctor` asks Redis: its settings, its clock, and the rights of the user.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use ::redis::aio::MultiplexedConnection;
use ::redis::{Pipeline, Value};
use fanfare_protocol::Channel;
use fanfare_protocol::wire::Topic;
use uuid::Uuid;

use super::connector::{Connector, Purpose};
use super::keys::Keys;
use super::{RedisBroker, RedisSettings, error, reply};
use crate::{BrokerError, NodeId};

/// Time after which Redis removes the scratch key, if the inspection could not.
const SCRATCH_LIFE_MS: u64 = 60_000;

/// What Redis replied about itself. A part that the user may not read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Version, like `7.2.4`.
    pub version: Option<String>,
    /// `maxmemory-policy`.
    pub eviction: Option<String>,
    /// `maxmemory`, in bytes; 0 is no limit.
    pub max_memory: Option<u64>,
    /// Whether `appendonly` is on.
    pub append_only: Option<bool>,
    /// `client-output-buffer-limit pubsub`: hard limit, soft limit, both in bytes, and seconds. 0 is no limit.
    pub pubsub_buffer: Option<[u64; 3]>,
    /// `timeout`, in seconds; 0 is no limit.
    pub timeout: Option<u64>,
    /// How far the clock of Redis is ahead of that of this machine, in milliseconds; negative if it is behind.
    pub clock_ahead_ms: Option<i64>,
    /// Latency of the clock's reading.
    pub latency: Duration,
    /// What the user may not do, as rules for `ACL SETUSER` that would allow it.
    pub denied: Vec<String>,
}

impl RedisBroker {
    /// Inspects the Redis of these settings over a new connection. Changes nothing but one scratch key, which it removes.
    ///
    /// # Errors
    ///
    /// Fails if Redis cannot be reached, or is not one that a node can use.
    pub async fn inspect(settings: &RedisSettings) -> Result<Inspection, BrokerError> {
        let keys = Keys::new(settings.check()?);
        let ignored = |_| Ok::<(), Infallible>(());
        let mut connection =
            Connector::new(settings)?.connect_with_pushes(Purpose::Commands, &[], ignored).await?;
        let mut inspection = Inspection::default();
        inspection.read_settings(&mut connection).await?;
        inspection.read_clock(&mut connection).await?;
        inspection.read_rights(&mut connection, &keys).await?;
        Ok(inspection)
    }
}

impl Inspection {
    async fn read_settings(&mut self, connection: &mut MultiplexedConnection) -> Result<(), BrokerError> {
        let mut asked = Pipeline::new();
        asked.cmd("HELLO");
        for name in ["maxmemory-policy", "maxmemory", "appendonly", "client-output-buffer-limit", "timeout"] {
            asked.cmd("CONFIG").arg("GET").arg(name);
        }
        let mut replies = send(connection, &asked).await?.into_iter().map(values);
        let mut next = || replies.next().flatten();
        self.version = next().and_then(|hello| value_of(&hello, "version"));
        self.eviction = next().and_then(|of| value_of(&of, "maxmemory-policy"));
        self.max_memory = next().and_then(|of| value_of(&of, "maxmemory")?.parse().ok());
        self.append_only = next().and_then(|of| value_of(&of, "appendonly")).map(|text| text == "yes");
        self.pubsub_buffer =
            next().and_then(|of| pubsub_limit(&value_of(&of, "client-output-buffer-limit")?));
        self.timeout = next().and_then(|of| value_of(&of, "timeout")?.parse().ok());
        Ok(())
    }

    async fn read_clock(&mut self, connection: &mut MultiplexedConnection) -> Result<(), BrokerError> {
        let mut asked = Pipeline::new();
        asked.cmd("TIME");
        let before = SystemTime::now();
        let reply = send(connection, &asked).await?.pop();
        self.latency = before.elapsed().unwrap_or_default();
        // Redis read its clock halfway.
        let here = unix_ms(before + self.latency / 2);
        let parts = reply.and_then(reply::array).unwrap_or_default();
        let parts: Vec<i64> = parts.into_iter().filter_map(|part| reply::text(part)?.parse().ok()).collect();
        if let [seconds, micros] = parts[..] {
            self.clock_ahead_ms = Some(seconds * 1000 + micros / 1000 - here);
        }
        Ok(())
    }

    /// Runs each command that a node runs, on a scratch key or a name that does not exist, so that none changes anything. Only
    /// `NOPERM` counts.
    async fn read_rights(
        &mut self,
        connection: &mut MultiplexedConnection,
        keys: &Keys,
    ) -> Result<(), BrokerError> {
        let trials = trials(keys);
        let mut asked = Pipeline::new();
        for Trial { command, .. } in &trials {
            asked.cmd(&command[0]).arg(&command[1..]);
        }
        for (Trial { right, .. }, reply) in trials.into_iter().zip(send(connection, &asked).await?) {
            let is_denied = error::check(reply).is_err_and(|error| error.code() == Some("NOPERM"));
            if is_denied && !self.denied.contains(&right) {
                self.denied.push(right);
            }
        }
        Ok(())
    }
}

/// A command, and the rule that allows it.
struct Trial {
    right: String,
    command: Vec<String>,
}

/// Returns a trial for each right that a node needs.
fn trials(keys: &Keys) -> Vec<Trial> {
    let scratch = Uuid::new_v4();
    // A random name: no client follows it, and no node has it.
    let channel = Channel::new(&format!("doctor:{scratch}")).expect("letters, digits, ':' and '-'");
    let node = NodeId::new(&format!("doctor-{scratch}")).expect("letters, digits and '-'");
    let key = keys.log(&channel);
    let life = SCRATCH_LIFE_MS.to_string();
    let (key, other) = (key.as_str(), keys.last(&channel));
    // A string first: commands of other types then fail on it, and change nothing.
    let mut trials = vec![trial("+set", &["SET", key, "doctor", "PX", &life])];
    trials.extend(COMMANDS.iter().map(|line| {
        let words = line.split(' ').map(|word| match word {
            "KEY" => key.to_owned(),
            "OTHER" => other.as_str().to_owned(),
            word => word.to_owned(),
        });
        let command: Vec<String> = words.collect();
        Trial { right: right_of(&command), command }
    }));
    let topics = [
        ("{*", keys.topic(&channel, Topic::Live)),
        ("node:*", keys.control(&node)),
        ("probe:*", keys.probe(scratch)),
    ];
    for (pattern, topic) in &topics {
        let command = ["PUBLISH", topic.as_str(), "doctor"];
        trials.push(trial("+publish", &command));
        trials.push(trial(&format!("&{}:{pattern}", keys.prefix()), &command));
    }
    let single = [
        keys.nodes(),
        keys.leaving(),
        keys.sweeper(),
        keys.ingest(),
        keys.lifecycle(),
        keys.revocations(),
        keys.receipts(),
    ];
    for key in &single {
        trials.push(trial(&format!("~{}", key.as_str()), &["EXISTS", key.as_str()]));
    }
    for (pattern, key) in [
        ("{*", other),
        ("node:*", keys.lease(&node)),
        ("presence:*", keys.presence(channel.as_str())),
        ("ingest:*", keys.ingest_dead()),
    ] {
        trials.push(trial(&format!("~{}:{pattern}", keys.prefix()), &["EXISTS", key.as_str()]));
    }
    let topic = keys.probe(scratch);
    trials.push(trial("+subscribe", &["SUBSCRIBE", topic.as_str()]));
    trials.push(trial("+unsubscribe", &["UNSUBSCRIBE", topic.as_str()]));
    trials.push(trial("+del", &["DEL", key]));
    trials
}

/// The other commands of nodes and their scripts, with the scratch key `KEY`, which is a string, and `OTHER`, which does not
/// exist. The first word, or two of a command with subcommands, is the right.
const COMMANDS: &[&str] = &[
    "CLIENT SETNAME fanfare-doctor",
    "PING",
    "UNWATCH",
    "FUNCTION LIST LIBRARYNAME fanfare-doctor",
    "FUNCTION LOAD doctor",
    "SCRIPT LOAD return",
    "EVALSHA 0000000000000000000000000000000000000000 0",
    "TIME",
    "GET KEY",
    "EXISTS KEY",
    "PEXPIRE OTHER 1",
    "PTTL KEY",
    "COPY OTHER OTHER",
    "RENAME OTHER OTHER",
    "INFO replication",
    "APPEND KEY x",
    "GETRANGE KEY 0 1",
    "SCAN 0 COUNT 1",
    "STRLEN KEY",
    "PEXPIREAT OTHER 1",
    "HDEL KEY f",
    "HEXISTS KEY f",
    "HGET KEY f",
    "HGETALL KEY",
    "HINCRBY KEY f 1",
    "HLEN KEY",
    "HMGET KEY f",
    "HSET KEY f v",
    "HVALS KEY",
    "SADD KEY m",
    "SCARD KEY",
    "SISMEMBER KEY m",
    "SMEMBERS KEY",
    "SPOP KEY",
    "SRANDMEMBER KEY",
    "SREM KEY m",
    "ZADD KEY 1 m",
    "ZCARD KEY",
    "ZPOPMIN KEY",
    "ZLEXCOUNT KEY - +",
    "ZRANGE KEY 0 -1",
    "ZREM KEY m",
    "ZREMRANGEBYSCORE KEY 0 0",
    "ZSCORE KEY m",
    "XADD KEY * f v",
    "XDEL KEY 0-1",
    "XLEN KEY",
    "XPENDING KEY g",
    "XRANGE KEY - +",
    "XREADGROUP GROUP g c STREAMS OTHER >",
    "XREVRANGE KEY + -",
    "XTRIM KEY MAXLEN 0",
    "XGROUP CREATE OTHER g $",
    "XGROUP DESTROY OTHER g",
    "XINFO GROUPS OTHER",
    "XINFO STREAM OTHER",
];

fn trial(right: &str, command: &[&str]) -> Trial {
    Trial { right: right.to_owned(), command: command.iter().map(|word| (*word).to_owned()).collect() }
}

/// Returns the rule that allows a command.
fn right_of(command: &[String]) -> String {
    let words = match &*command[0] {
        "CLIENT" | "FUNCTION" | "SCRIPT" | "XGROUP" | "XINFO" => command[..2].join("|"),
        name => name.to_owned(),
    };
    format!("+{}", words.to_lowercase())
}

/// Sends commands, whose replies may be errors.
async fn send(connection: &mut MultiplexedConnection, asked: &Pipeline) -> Result<Vec<Value>, BrokerError> {
    let replies = connection.send_packed_commands(asked, 0, asked.len()).await;
    replies.map_err(|error| error::sort_connecting(&error))
}

/// Returns a reply's fields and values; `None` for an error.
fn values(reply: Value) -> Option<Vec<(String, String)>> {
    let pairs = reply::map(reply)?.into_iter();
    Some(pairs.filter_map(|(name, value)| Some((reply::text(name)?, reply::text(value)?))).collect())
}

fn value_of(values: &[(String, String)], name: &str) -> Option<String> {
    values.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
}

/// Parses `client-output-buffer-limit`: a class and three numbers, for each class.
fn pubsub_limit(text: &str) -> Option<[u64; 3]> {
    let words: Vec<&str> = text.split(' ').collect();
    let limit = words.chunks(4).find(|class| class[0] == "pubsub")?;
    let numbers: Vec<u64> = limit[1..].iter().filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().ok()
}

fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::Prefix;

    #[test]
    fn the_limit_of_subscribers_is_found_among_the_classes() {
        let text = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(pubsub_limit(text), Some([33_554_432, 8_388_608, 60]));
        assert_eq!(pubsub_limit("normal 0 0 0"), None);
    }

    #[test]
    fn every_right_of_the_documented_user_is_tried_and_no_other() {
        let page = include_str!("../../../../docs/operations.md");
        let of_nodes = page.lines().filter_map(|line| line.strip_prefix("    ACL SETUSER fanfare "));
        let words = of_nodes.flat_map(str::split_whitespace);
        let mut documented: Vec<_> = words.filter(|word| word.starts_with(['+', '~', '&'])).collect();
        let keys = Keys::new(Prefix::new("fanfare").unwrap());
        let tried = trials(&keys);
        let mut tried: Vec<_> = tried.iter().map(|trial| &*trial.right).collect();
        documented.sort_unstable();
        tried.sort_unstable();
        tried.dedup();
        assert_eq!(tried, documented);
    }
}
