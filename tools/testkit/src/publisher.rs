//! The ways in through Redis, as a publisher in any language has them.

use fanfare_protocol::Position;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value, cmd, pipe};

use crate::ledger::Ledger;
use crate::redis::Redis;

/// A publisher with a connection of its own.
#[derive(Clone, Debug)]
pub struct Publisher {
    connection: MultiplexedConnection,
}

/// The key that names a channel to `FCALL fanfare_publish`.
pub fn log_key(channel: &str) -> String {
    format!("fanfare:{{{channel}}}:log")
}

/// The topic of a channel's ephemeral events.
pub fn ephemeral_topic(channel: &str) -> String {
    format!("fanfare:{{{channel}}}:ephemeral")
}

/// The topic on which a channel's stored events are sent: by the publish script only, as it should be.
pub fn live_topic(channel: &str) -> String {
    format!("fanfare:{{{channel}}}:live")
}

impl Publisher {
    /// Connects.
    ///
    /// # Panics
    ///
    /// When Redis is away.
    pub async fn on(redis: &Redis) -> Self {
        Self { connection: redis.connection().await.expect("Redis is there") }
    }

    /// `FCALL fanfare_publish`. Answers with the position and whether the key was seen before.
    ///
    /// # Errors
    ///
    /// When Redis says no, or is away.
    pub async fn call(
        &mut self,
        channel: &str,
        kind: &str,
        data: &str,
        key: Option<&str>,
    ) -> RedisResult<(Position, bool)> {
        let mut command = cmd("FCALL");
        command.arg("fanfare_publish").arg(1).arg(log_key(channel)).arg(kind).arg(data);
        let (position, repeat): (String, u8) = command.arg(key).query_async(&mut self.connection).await?;
        Ok((position.parse().expect("FCALL answers with a position"), repeat == 1))
    }

    /// [`Self::call`] without a key, which must succeed.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub async fn publish(&mut self, channel: &str, kind: &str, data: &str) -> Position {
        self.call(channel, kind, data, None).await.unwrap_or_else(|e| panic!("FCALL: {e}")).0
    }

    /// Publishes a channel's next event and enters it into the ledger.
    ///
    /// # Panics
    ///
    /// When Redis does not take it.
    pub async fn issue(&mut self, ledger: &Ledger, channel: &str) -> Position {
        let text = ledger.draw(channel);
        let position = self.publish(channel, "numbered", &text).await;
        ledger.accept(&text);
        position
    }

    /// Many `FCALL`s in one go, which must all succeed.
    ///
    /// # Panics
    ///
    /// When one does not.
    pub async fn publish_all<D: AsRef<str>>(&mut self, channel: &str, kind: &str, data: &[D]) {
        let mut pipe = pipe();
        for data in data {
            pipe.cmd("FCALL").arg("fanfare_publish").arg(1).arg(log_key(channel)).arg(kind);
            pipe.arg(data.as_ref());
        }
        let answers: Vec<Value> = pipe.query_async(&mut self.connection).await.expect("every FCALL succeeds");
        assert_eq!(answers.len(), data.len());
    }

    /// `XADD fanfare:ingest` with any fields.
    ///
    /// # Errors
    ///
    /// When Redis says no, or is away.
    pub async fn ingest(&mut self, fields: &[(&str, &[u8])]) -> RedisResult<String> {
        let mut command = cmd("XADD");
        command.arg("fanfare:ingest").arg("*");
        for (name, value) in fields {
            command.arg(name).arg(value);
        }
        command.query_async(&mut self.connection).await
    }

    /// An ephemeral event: `PUBLISH` of any text. Returns the number of nodes that received it.
    ///
    /// # Errors
    ///
    /// When Redis is away.
    pub async fn ephemeral(&mut self, channel: &str, message: impl AsRef<[u8]>) -> RedisResult<u64> {
        self.send(&ephemeral_topic(channel), message).await
    }

    /// A message on a channel's live topic that the publish script did not send. Returns the number of nodes that received it.
    ///
    /// # Errors
    ///
    /// When Redis is away.
    pub async fn forge(&mut self, channel: &str, message: impl AsRef<[u8]>) -> RedisResult<u64> {
        self.send(&live_topic(channel), message).await
    }

    async fn send(&mut self, topic: &str, message: impl AsRef<[u8]>) -> RedisResult<u64> {
        let mut command = cmd("PUBLISH");
        command.arg(topic).arg(message.as_ref());
        command.query_async(&mut self.connection).await
    }
}
