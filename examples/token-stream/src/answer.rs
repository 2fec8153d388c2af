//! One user's answer.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, RedisResult, Value, cmd};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::connection;

/// The tokens, in place of a language model's output.
const WORDS: [&str; 8] = ["the ", "tide ", "comes ", "in, ", "the ", "tide ", "goes ", "out; "];

/// Settings that all answers share.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    prefix: String,
    /// The Redis function that the nodes load.
    function: String,
    every: Duration,
    tokens: u64,
}

impl Manner {
    pub(crate) fn new(prefix: &str, every: Duration, tokens: u64) -> Self {
        let library = prefix.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        Self { prefix: prefix.to_owned(), function: format!("{library}_publish"), every, tokens }
    }
}

/// An answer to write.
pub(crate) struct Answer {
    client: Client,
    /// The answer's own connection. `None` before the first event and after any failure, so that the answer also leaves
    /// a primary that has become a replica.
    redis: Option<MultiplexedConnection>,
    manner: Manner,
    user: String,
    /// The id of the lifecycle entry that started the answer. It is part of the idempotency keys, so that two of these
    /// publishers side by side, or one that retries, store each token once.
    id: String,
}

impl Answer {
    pub(crate) fn new(client: Client, manner: Manner, user: String, id: String) -> Self {
        Self { client, redis: None, manner, user, id }
    }

    /// Writes the answer to its end, or until the sender of `cancelled` is dropped.
    pub(crate) async fn write(mut self, cancelled: oneshot::Receiver<()>) {
        let (user, mut written) = (self.user.clone(), 0);
        tokio::select! {
            // A token in flight may still arrive: one more than the line says.
            _ = cancelled => println!("cancelled {user} after {written} tokens"),
            ended = self.write_all(&mut written) => match ended {
                Ok(()) => println!("done {user} after {written} tokens"),
                Err(why) => println!("failed {user} after {written} tokens: {why}"),
            },
        }
    }

    async fn write_all(&mut self, written: &mut u64) -> RedisResult<()> {
        let mut pace = interval(self.manner.every);
        // After an outage, continues at the usual pace instead of catching up at once.
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for (n, word) in (0..self.manner.tokens).zip(WORDS.iter().cycle()) {
            pace.tick().await;
            let token = json!({"answer": self.id, "n": n, "text": word}).to_string();
            self.publish("token", &token, &n.to_string()).await?;
            *written += 1;
        }
        let end = json!({"answer": self.id, "tokens": self.manner.tokens}).to_string();
        self.publish("done", &end, "done").await
    }

    /// Publishes one event and retries until Redis confirms it, with the same idempotency key, so that it is stored once.
    /// Fails if Fanfare refuses the event, because a retry would fail too.
    async fn publish(&mut self, kind: &str, data: &str, part: &str) -> RedisResult<()> {
        let mut call = cmd("FCALL");
        call.arg(&self.manner.function)
            .arg(1)
            .arg(format!("{}:{{user:{}}}:log", self.manner.prefix, self.user));
        call.arg(kind).arg(data).arg(format!("{}:{part}", self.id));
        let mut failures = 0;
        loop {
            match self.try_once(&call).await {
                Ok(_) => return Ok(()),
                Err(why) if why.code() == Some("FANFARE") => return Err(why),
                Err(why) => {
                    self.redis = None;
                    failures += 1;
                    let wait = connection::wait(failures);
                    eprintln!("{} {part}: {why}; retrying in {wait:?}", self.user);
                    sleep(wait).await;
                }
            }
        }
    }

    async fn try_once(&mut self, call: &Cmd) -> RedisResult<Value> {
        let redis = match &mut self.redis {
            Some(redis) => redis,
            none => none.insert(connection::open(&self.client, Duration::ZERO).await?),
        };
        call.query_async(redis).await
    }
}
