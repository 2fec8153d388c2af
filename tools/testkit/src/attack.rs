//! Attacks on a node by their names: the crowds, and clients whose requests are large.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::api::Api;
use crate::crowd::{self, Crowd, Raised, fill_queues};
use crate::deadline::SOON;

/// As large as the body of a publish request may be by default.
const BODY: usize = 8 << 20;
/// As large as an event may be by default.
const EVENT: usize = 60 * 1024;
/// Events of a log of large events, a quarter of what a channel keeps: an attack comes from several addresses.
const EVENTS: usize = 250;
/// A page of the log of large events.
const HISTORY: &str = "/v1/channels/attacked/events?limit=1000";
/// A stream that begins with as much of it as there is.
const NEWEST: &str = "/v1/events?channel=attacked&last=1000";
/// Bodies that one connection of [`Attack::UnfinishedBodies`] begins.
const UNFINISHED: usize = 128;
/// Clients of a crowd for each client whose requests are large.
const FOR_EACH_LARGE: usize = 50;

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// One of the crowds.
    Crowd(Crowd),
    /// Open sockets, ask nothing, and open each one again that is closed.
    IdleSockets,
    /// Publish nested JSON that is as long as a body may be.
    JsonBombs,
    /// Ask for pages of large events over HTTP/2, and do not take them.
    UntakenHistory,
    /// Ask for pages of large events, and for streams that begin with many, as fast as they can.
    HistoryReads,
    /// Begin many bodies on one HTTP/2 connection, and send all but the last byte of each.
    UnfinishedBodies,
}

/// A name that no attack has.
#[derive(Debug, thiserror::Error)]
#[error("there is no attack {0:?}; there are: {names}", names = Attack::ALL.map(Attack::name).join(", "))]
pub struct AttackError(String);

impl Attack {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Crowd(Crowd::Dribbling),
        Self::Crowd(Crowd::NeverReading),
        Self::Crowd(Crowd::ZeroWindows),
        Self::Crowd(Crowd::Connects),
        Self::Crowd(Crowd::Publishes),
        Self::IdleSockets,
        Self::JsonBombs,
        Self::UntakenHistory,
        Self::HistoryReads,
        Self::UnfinishedBodies,
    ];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crowd(Crowd::Dribbling) => "dribbling",
            Self::Crowd(Crowd::NeverReading) => "never-reading",
            Self::Crowd(Crowd::ZeroWindows) => "zero-windows",
            Self::Crowd(Crowd::Connects) => "connects",
            Self::Crowd(Crowd::Publishes) => "publishes",
            Self::IdleSockets => "idle-sockets",
            Self::JsonBombs => "json-bombs",
            Self::UntakenHistory => "untaken-history",
            Self::HistoryReads => "history-reads",
            Self::UnfinishedBodies => "unfinished-bodies",
        }
    }

    /// Has so many clients come to a node, and go on. Of those whose requests are large, there is one for each fifty.
    pub async fn raise(self, to: SocketAddr, count: usize) -> Raised {
        let few = count.div_ceil(FOR_EACH_LARGE);
        match self {
            Self::Crowd(Crowd::NeverReading) => {
                let streams = Crowd::NeverReading.raise(to, count).await;
                let members = streams.members;
                let keeper = tokio::spawn(async move {
                    let _streams = streams;
                    fill_queues(&Api::at(to), 50).await;
                    std::future::pending::<()>().await;
                });
                Raised { members, keeper }
            }
            Self::Crowd(crowd) => crowd.raise(to, count).await,
            Self::IdleSockets => each(count, move |n| async move {
                if let Some(mut socket) = crowd::connect(to, n).await {
                    let _ = socket.read(&mut [0]).await;
                }
                sleep(Duration::from_millis(100)).await;
            }),
            Self::JsonBombs => {
                let request = Bytes::from(json_bomb());
                each(few, move |n| send(to, n, request.clone()))
            }
            Self::UntakenHistory => {
                fill_log(to).await;
                crowd::zero_windows(to, count, HISTORY).await
            }
            Self::HistoryReads => {
                fill_log(to).await;
                each(few, move |n| async move {
                    let path = if n % 2 == 0 { HISTORY } else { NEWEST };
                    send(to, n, Bytes::from(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))).await;
                })
            }
            Self::UnfinishedBodies => each(few.div_ceil(10), move |n| unfinished_bodies(to, n)),
        }
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Attack {
    type Err = AttackError;

    fn from_str(name: &str) -> Result<Self, AttackError> {
        let found = Self::ALL.into_iter().find(|attack| attack.name() == name);
        found.ok_or_else(|| AttackError(name.to_owned()))
    }
}

/// So many members, each of which does the same again and again.
fn each<F>(count: usize, once: impl Fn(usize) -> F + Clone + Send + 'static) -> Raised
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut all = JoinSet::new();
    for n in 0..count {
        let once = once.clone();
        all.spawn(async move {
            loop {
                once(n).await;
                // One that cannot connect does not take the machine's time.
                tokio::task::yield_now().await;
            }
        });
    }
    let keeper: JoinHandle<()> = tokio::spawn(async move { while all.join_next().await.is_some() {} });
    Raised { members: count, keeper }
}

/// A request for publishing that is small as text and large as a tree.
fn json_bomb() -> Vec<u8> {
    let nested = "[".repeat(100) + &"]".repeat(100);
    let (begin, end) = (r#"{"channel":"attacked","data":["#, "]}");
    let count = (BODY - begin.len() - end.len()) / (nested.len() + 1);
    let body = format!("{begin}{}{end}", vec![nested; count].join(","));
    let length = body.len();
    format!(
        "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Sends a request on a connection of its own, and reads what comes for a while.
async fn send(to: SocketAddr, n: usize, request: Bytes) {
    let attempt = async {
        let mut socket = crowd::connect(to, n).await?;
        socket.write_all(&request).await.ok()?;
        let mut answer = vec![0; 64 * 1024];
        while timeout(Duration::from_millis(500), socket.read(&mut answer)).await.ok()?.ok()? > 0 {}
        Some(())
    };
    if timeout(SOON, attempt).await.ok().flatten().is_none() {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Publishes large events to the channel of [`HISTORY`].
async fn fill_log(to: SocketAddr) {
    let api = Api::at(to);
    let body = serde_json::json!({"channel": "attacked", "type": "note", "data": "x".repeat(EVENT)});
    for _ in 0..EVENTS {
        // One that is refused leaves the log shorter: several addresses fill it.
        let _ = api.post(&body).await;
    }
}

/// One connection with as many bodies as a client may have; until all are answered, or it is closed.
async fn unfinished_bodies(to: SocketAddr, n: usize) {
    let attempt = async {
        let socket = crowd::connect(to, n).await?;
        let (requests, connection) = h2::client::handshake(socket).await.ok()?;
        let mut all = JoinSet::new();
        all.spawn(async move {
            let _ = connection.await;
        });
        for _ in 0..UNFINISHED {
            all.spawn(unfinished_body(requests.clone()));
        }
        drop(requests);
        all.join_all().await;
        Some(())
    };
    attempt.await;
    sleep(Duration::from_millis(100)).await;
}

/// One body: all but its last byte.
async fn unfinished_body(requests: SendRequest<Bytes>) {
    let attempt = async {
        let mut requests = requests.ready().await.ok()?;
        let request = Request::post("http://a/v1/publish").header("content-type", "application/json");
        let request = request.header("content-length", BODY).body(()).ok()?;
        let (response, mut body) = requests.send_request(request, false).ok()?;
        let send = async {
            let mut left = BODY - 1;
            while left > 0 {
                body.reserve_capacity(left.min(64 << 10));
                let Some(Ok(room)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else { return };
                let piece = room.min(left);
                if body.send_data(Bytes::from(vec![b' '; piece]), false).is_err() {
                    return;
                }
                left -= piece;
            }
        };
        let (answer, ()) = tokio::join!(response, send);
        answer.ok()
    };
    attempt.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_has_a_name_and_is_found_by_it() {
        for attack in Attack::ALL {
            assert_eq!(attack.name().parse::<Attack>().unwrap(), attack);
        }
        for crowd in Crowd::ALL {
            assert!(Attack::ALL.contains(&Attack::Crowd(crowd)), "{crowd:?}");
        }
        assert!("nothing".parse::<Attack>().unwrap_err().to_string().contains("json-bombs"));
    }

    #[test]
    fn a_bomb_is_as_long_as_a_body_may_be() {
        let request = json_bomb();
        let head = request.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        let body = &request[head..];
        assert!(body.len() <= BODY && body.len() > BODY - 300, "{}", body.len());
        assert!(serde_json::from_slice::<serde_json::Value>(body).is_ok());
    }
}
