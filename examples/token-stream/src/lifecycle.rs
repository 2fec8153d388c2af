//! Who comes and who leaves.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{Client, RedisResult, cmd};
use tokio::sync::mpsc::Sender;

use crate::connection;

/// How long Redis waits for an entry before it answers that there is none: not for ever, as an overdue answer is all
/// that tells of a dead connection.
const BLOCK: Duration = Duration::from_secs(5);

/// What a publisher acts on. The `session.*` events are left out: a session that moves to another node in a rolling
/// restart is one of those and nothing else, and a user who ends one of several sessions has not left.
#[derive(Debug)]
pub(crate) enum Event {
    /// A user is there. The entry's id names this coming.
    Online { user: String, id: String },
    /// A user has had no session for the grace of the nodes.
    Offline { user: String },
}

/// A reader of `<prefix>:lifecycle`.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    client: Client,
    key: String,
    /// The id of the last entry read, or where reading began. None until Redis has told where that is.
    last: Option<String>,
    /// Failures in a row.
    failures: u32,
}

impl Lifecycle {
    pub(crate) fn of(client: Client, prefix: &str) -> Self {
        Self { client, key: format!("{prefix}:lifecycle"), last: None, failures: 0 }
    }

    /// Reads until nobody takes the events any more. While Redis is away it tries again, and goes on where it was.
    pub(crate) async fn read(mut self, events: Sender<Event>) {
        while let Err(why) = self.follow(&events).await {
            self.failures += 1;
            let wait = connection::wait(self.failures);
            eprintln!("{}: {why}; again in {wait:?}", self.key);
            tokio::time::sleep(wait).await;
        }
    }

    /// Reads over one connection until it fails.
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

    /// The id to read on from. A plain `$` would pass over what comes between two reads.
    async fn begin(&mut self, redis: &mut MultiplexedConnection) -> RedisResult<String> {
        let mut range = async |command: &str, from: &str, to: &str| {
            let mut command = cmd(command);
            command.arg(&self.key).arg(from).arg(to).arg("COUNT").arg(1);
            let found: StreamRangeReply = command.query_async(redis).await?;
            RedisResult::Ok(found.ids.into_iter().next().map(|entry| entry.id))
        };
        // The stream loses its oldest entries first: while the last one read is there, so are all after it.
        let mut from = self.last.clone();
        if let Some(last) = from.take_if(|last| last != "0-0") {
            let next = range("XRANGE", &last, "+").await?;
            if next.as_ref() != Some(&last) {
                eprintln!("{}: entries after {last} may be gone, and with them who left", self.key);
            }
            // A Redis that came back empty, or behind, may have nothing at or after it: then as in the beginning.
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
    /// None for an entry of which nothing follows here.
    fn of(entry: &StreamId) -> Option<Self> {
        let user = entry.get("user")?;
        match entry.get::<String>("event")?.as_str() {
            "user.online" => Some(Self::Online { user, id: entry.id.clone() }),
            "user.offline" => Some(Self::Offline { user }),
            _ => None,
        }
    }
}
