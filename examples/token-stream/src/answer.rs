//! One user's answer.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, RedisResult, Value, cmd};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::connection;

/// What a language model would make.
const WORDS: [&str; 8] = ["the ", "tide ", "comes ", "in, ", "the ", "tide ", "goes ", "out; "];

/// How all answers are written.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    prefix: String,
    /// The function that the nodes bring to Redis.
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

/// An answer to be written.
pub(crate) struct Answer {
    client: Client,
    /// Its own. None before the first event and after a failure, whichever it was: a primary that has become a replica
    /// is left behind, too.
    redis: Option<MultiplexedConnection>,
    manner: Manner,
    user: String,
    /// The lifecycle entry that it answers to. Its keys are made of it, so that two of these publishers side by side, or
    /// one that sends again what may have arrived, store each token once.
    id: String,
}

impl Answer {
    pub(crate) fn new(client: Client, manner: Manner, user: String, id: String) -> Self {
        Self { client, redis: None, manner, user, id }
    }

    /// Writes it to its end, or until it is cancelled: the other end is dropped.
    pub(crate) async fn write(mut self, cancelled: oneshot::Receiver<()>) {
        let (user, mut written) = (self.user.clone(), 0);
        tokio::select! {
            // What was being sent may still arrive: one token more than it says.
            _ = cancelled => println!("cancelled {user} after {written} tokens"),
            ended = self.write_all(&mut written) => match ended {
                Ok(()) => println!("done {user} after {written} tokens"),
                Err(why) => println!("failed {user} after {written} tokens: {why}"),
            },
        }
    }

    async fn write_all(&mut self, written: &mut u64) -> RedisResult<()> {
        let mut pace = interval(self.manner.every);
        // After an outage at the usual pace again, not all at once.
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

    /// Publishes one event, and tries again until Redis has told that it has it: with the same key, so that it is stored
    /// once. Fails when Fanfare says that the event is wrong, as it would say again.
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
                    eprintln!("{} {part}: {why}; again in {wait:?}", self.user);
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
