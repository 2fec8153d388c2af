//! Publishing interfaces, used without a client library.

use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::plan::Way;
use fanfare_testkit::body::Body;
use fanfare_testkit::head::Head;
use fanfare_testkit::numbered::KIND;
use fanfare_testkit::target::Target;

/// Timeout of an attempt, after which its outcome is unknown and it is repeated.
const PATIENCE: Duration = Duration::from_secs(5);

/// A publication.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// Where it goes.
    pub channel: &'a str,
    /// What goes.
    pub data: &'a str,
    /// The idempotency key: the same for every attempt.
    pub key: &'a str,
}

/// One publisher's connections. Each is made when it is needed, and again after an error.
#[derive(Debug)]
pub struct PublishClient {
    /// Whose it is: chooses the address to come from.
    number: usize,
    target: Target,
    redis: Option<redis::Client>,
    prefix: String,
    to_redis: Option<MultiplexedConnection>,
    to_node: Option<TcpStream>,
}

impl PublishClient {
    /// Returns the client of publisher `number`. Keys begin with `prefix`.
    pub fn new(number: usize, target: Target, redis: Option<redis::Client>, prefix: &str) -> Self {
        Self { number, target, redis, prefix: prefix.to_owned(), to_redis: None, to_node: None }
    }

    /// One attempt. After `Err` the event may have been accepted all the same.
    ///
    /// # Errors
    ///
    /// What went wrong, for people.
    pub async fn publish(&mut self, way: Way, publication: Publication<'_>) -> Result<(), String> {
        let attempt = async {
            match way {
                Way::Http => self.post(publication).await,
                Way::Call | Way::Add => self.command(way, publication).await,
            }
        };
        let result = timeout(PATIENCE, attempt).await.unwrap_or_else(|_| Err("no answer".to_owned()));
        if result.is_err() {
            // What may still come on them is of no use any more.
            (self.to_redis, self.to_node) = (None, None);
        }
        result
    }

    async fn command(&mut self, way: Way, publication: Publication<'_>) -> Result<(), String> {
        let text = |error: redis::RedisError| error.to_string();
        let client = self.redis.as_ref().ok_or("there is no --redis")?;
        let connection = match &mut self.to_redis {
            Some(connection) => connection,
            none => none.insert(connect(client).await.map_err(text)?),
        };
        let Publication { channel, data, key } = publication;
        let prefix = &self.prefix;
        let mut command = redis::Cmd::new();
        if way == Way::Call {
            let name: String =
                prefix.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            command.arg("FCALL").arg(format!("{name}_publish")).arg(1);
            command.arg(format!("{prefix}:{{{channel}}}:log")).arg(KIND).arg(data).arg(key);
        } else {
            command.arg("XADD").arg(format!("{prefix}:ingest")).arg("*").arg("channel").arg(channel);
            command.arg("type").arg(KIND).arg("data").arg(data).arg("key").arg(key);
        }
        command.query_async::<redis::Value>(connection).await.map(drop).map_err(text)
    }

    async fn post(&mut self, publication: Publication<'_>) -> Result<(), String> {
        let Publication { channel, data, key } = publication;
        let body =
            serde_json::json!({"channel": channel, "type": KIND, "data": data, "key": key}).to_string();
        let request = format!(
            "POST /v1/publish HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.target.authority(),
            body.len()
        );
        let text = |error: std::io::Error| error.to_string();
        let socket = match &mut self.to_node {
            Some(socket) => socket,
            none => none.insert(self.target.connect(self.number).await.map_err(text)?),
        };
        socket.write_all(request.as_bytes()).await.map_err(text)?;
        let (head, answer) = read(socket).await?;
        if !head.keep_alive() {
            self.to_node = None;
        }
        if head.status == 200 { Ok(()) } else { Err(format!("status {}: {answer}", head.status)) }
    }
}

/// Returns a connection that waits as long as the publisher does.
pub(crate) async fn connect(client: &redis::Client) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// One whole answer. What is behind it would be the answer to nothing.
async fn read(socket: &mut TcpStream) -> Result<(Head, String), String> {
    let mut bytes = Vec::with_capacity(1024);
    let (head, length) = loop {
        if socket.read_buf(&mut bytes).await.map_err(|error| error.to_string())? == 0 {
            return Err("the connection closed before the answer".to_owned());
        }
        if let Some(found) = Head::parse(&bytes).map_err(|error| error.to_string())? {
            break found;
        }
    };
    let mut body = Body::of(&head).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    body.feed(&bytes[length..], |bytes| text.extend_from_slice(bytes)).map_err(|error| error.to_string())?;
    while !body.is_finished() {
        bytes.clear();
        if socket.read_buf(&mut bytes).await.map_err(|error| error.to_string())? == 0 {
            return if body.may_end() { Ok(()) } else { Err("the answer was cut short".to_owned()) }
                .map(|()| (head, String::from_utf8_lossy(&text).into_owned()));
        }
        body.feed(&bytes, |bytes| text.extend_from_slice(bytes)).map_err(|error| error.to_string())?;
    }
    Ok((head, String::from_utf8_lossy(&text).into_owned()))
}
