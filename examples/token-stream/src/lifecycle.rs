//! Reads from the lifecycle stream which users come online and go offline.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{Client, RedisResult, cmd};
use tokio::sync::mpsc::Sender;

use crate::connection;

/// How long an `XREAD` blocks. Not forever, because only an overdue reply reveals a dead connection.
const BLOCK: Duration = Duration::from_secs(5);

/// The events that a publisher acts on. Not the `session.*` events: a session that moves to another node in a rolling
/// restart causes only those, and a user who ends one of several sessions is still online.
#[derive(Debug)]
pub(crate) enum Event {
    /// A user came online. `id` is the entry's id.
    Online { user: String, id: String },
    /// A user has had no session for the nodes' grace (`session.grace`).
    Offline { user: String },
}

/// Reads `<prefix>:lifecycle`.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    client: Client,
    key: String,
    /// The id of the last entry read, or of the starting point. `None` until Redis has returned the starting point.
    last: Option<String>,
    /// Number of consecutive failures.
    failures: u32,
}

impl Lifecycle {
    pub(crate) fn of(client: Client, prefix: &str) -> Self {
        Self { client, key: format!("{prefix}:lifecycle"), last: None, failures: 0 }
    }

    /// Reads until the receiver of `events` is dropped. While Redis is down it retries, and then resumes where it was.
    pub(crate) async fn read(mut self, events: Sender<Event>) {
        while let Err(why) = self.follow(&events).await {
            self.failures += 1;
            let wait = connection::wait(self.failures);
            eprintln!("{}: {why}; retrying in {wait:?}", self.key);
            tokio::time::sleep(wait).await;
        }
    }

    /// Reads over one connection until that fails.
    async fn follow(&mut self, events: &Sender<Event>) -> RedisResult<()> {
        let mut redis = connection::open(&self.client, BLOCK).await?;
        let mut last = self.begin(&mut redis).await?;
        loop {
            let mut read = cmd("XREAD");
            read.arg("COUNT").arg(100).arg("BLOCK").arg(BLOCK.as_millis().to_string());
            read.arg("STREAMS").arg(&self.key).arg(&last);
            let found: Option<StreamReadReply> = read.query_async(&mut redis).await?;
            self.failures = 0;
            for entry in found.into_iter().flat_map(|found| found.keys).flat_map(|stream| stream.ids) {
                if let Some(event) = Event::of(&entry)
                    && events.send(event).await.is_err()
                {
                    return Ok(());
                }
                last.clone_from(&entry.id);
                self.last = Some(entry.id);
            }
        }
    }

    /// Returns the id to read from. A plain `$` would skip entries that arrive between two reads.
    async fn begin(&mut self, redis: &mut MultiplexedConnection) -> RedisResult<String> {
        let mut range = async |command: &str, from: &str, to: &str| {
            let mut command = cmd(command);
            command.arg(&self.key).arg(from).arg(to).arg("COUNT").arg(1);
            let found: StreamRangeReply = command.query_async(redis).await?;
            RedisResult::Ok(found.ids.into_iter().next().map(|entry| entry.id))
        };
        // The stream loses its oldest entries first: if the last entry read still exists, so do all later ones.
        let mut from = self.last.clone();
        if let Some(last) = from.take_if(|last| last != "0-0") {
            let next = range("XRANGE", &last, "+").await?;
            if next.as_ref() != Some(&last) {
                eprintln!("{}: entries after {last} may be lost, including users who went offline", self.key);
            }
            // A Redis that returned empty or behind may have no entry at or after it: then start as at the beginning.
            from = next.and(Some(last));
        }
        let begin = match from {
            Some(last) => last,
            None => range("XREVRANGE", "+", "-").await?.unwrap_or_else(|| "0-0".to_owned()),
        };
        println!("watching {} after {begin}", self.key);
        self.last = Some(begin.clone());
        Ok(begin)
    }
}

impl Event {
    /// Returns `None` for an entry that the publisher ignores.
    fn of(entry: &StreamId) -> Option<Self> {
        let user = entry.get("user")?;
        match entry.get::<String>("event")?.as_str() {
            "user.online" => Some(Self::Online { user, id: entry.id.clone() }),
            "user.offline" => Some(Self::Offline { user }),
            _ => None,
        }
    }
}
