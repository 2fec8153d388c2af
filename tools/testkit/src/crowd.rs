//! Crowds of hostile clients: thousands that are slow, silent or never done.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::api::Api;
use crate::deadline::SOON;
use crate::frames::{Frames, HEADERS, INITIAL_WINDOW, RST_STREAM, WINDOW_UPDATE, frame};
use crate::tcp;

/// The channel that [`Crowd::NeverReading`] follows.
pub const BUSY: &str = "busy";
/// Requests that one client of [`Crowd::Publishes`] sends before it reads the answers.
const PIPELINED: usize = 20;
/// Clients of [`Crowd::ZeroWindows`] that come at the same time.
const ARRIVING: usize = 50;

/// What the members of a crowd do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// Send half a head, or the begin of a body, and a byte more now and then.
    Dribbling,
    /// Open streams of a busy channel and read nothing.
    NeverReading,
    /// Ask for much over HTTP/2 with windows of zero, and give a byte of window now and then.
    ZeroWindows,
    /// Connect and close, again and again, from one address.
    Connects,
    /// Publish as fast as they can, from one address.
    Publishes,
}

/// A crowd that goes on until it is dropped.
#[derive(Debug)]
pub struct Raised {
    /// How many there are.
    pub members: usize,
    pub(crate) keeper: JoinHandle<()>,
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// One of the four addresses that a crowd comes from on the loopback interface: each has its share of the sockets. Elsewhere, it
/// comes from this machine's own.
fn source(to: SocketAddr, n: usize) -> Option<Ipv4Addr> {
    let last = u8::try_from(1 + n % 4).expect("one of four");
    to.ip().is_loopback().then_some(Ipv4Addr::new(127, 0, 66, last))
}

pub(crate) async fn connect(to: SocketAddr, n: usize) -> Option<TcpStream> {
    tcp::connect(to, source(to, n), Some(4096)).await.ok()
}

/// All that came of so many attempts, made side by side.
pub async fn gather<T: Send + 'static, F>(count: usize, one: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = Option<T>> + Send + 'static,
{
    let mut attempts = JoinSet::new();
    for n in 0..count {
        attempts.spawn(one(n));
    }
    attempts.join_all().await.into_iter().flatten().collect()
}

impl Crowd {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Dribbling, Self::NeverReading, Self::ZeroWindows, Self::Connects, Self::Publishes];

    /// Has so many clients come to a node, and go on.
    pub async fn raise(self, to: SocketAddr, count: usize) -> Raised {
        match self {
            Self::Dribbling => dribble(to, count).await,
            Self::NeverReading => never_read(to, count).await,
            Self::ZeroWindows => zero_windows(to, count, "/metrics").await,
            Self::Connects => Raised { members: count, keeper: tokio::spawn(connects(to, count)) },
            Self::Publishes => publish(to, count).await,
        }
    }
}

async fn dribble(to: SocketAddr, count: usize) -> Raised {
    let mut sockets = gather(count, |n| async move {
        let mut socket = connect(to, n).await?;
        let text = if n % 2 == 0 {
            format!("GET /v1/events HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(30_000))
        } else {
            let (length, begin) = (8 << 20, " ".repeat(100_000));
            format!(
                "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n[{begin}"
            )
        };
        let _ = timeout(SOON, socket.write_all(text.as_bytes())).await;
        Some(socket)
    })
    .await;
    let members = sockets.len();
    let keeper = tokio::spawn(async move {
        loop {
            for socket in &mut sockets {
                let _ = socket.try_write(b" ");
            }
            sleep(Duration::from_millis(100)).await;
        }
    });
    Raised { members, keeper }
}

async fn never_read(to: SocketAddr, count: usize) -> Raised {
    let sockets = gather(count, |n| async move {
        let mut socket = connect(to, n).await?;
        let request = format!("GET /v1/events?channel={BUSY} HTTP/1.1\r\nHost: a\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        Some(socket)
    })
    .await;
    let members = sockets.len();
    let keeper = tokio::spawn(async move {
        let _sockets = sockets;
        std::future::pending::<()>().await;
    });
    Raised { members, keeper }
}

/// Clients of HTTP/2 that ask for a path eight times each, and do not take the answers.
pub(crate) async fn zero_windows(to: SocketAddr, count: usize, path: &'static str) -> Raised {
    // The next ones come when the node has begun to answer these: the attack is what they hold, not how fast they come.
    let turns = Arc::new(Semaphore::new(ARRIVING));
    let mut clients = gather(count, |n| {
        let turns = Arc::clone(&turns);
        async move {
            let _turn = turns.acquire_owned().await.ok()?;
            let mut client = Frames::connect_from(to, source(to, n), &[(INITIAL_WINDOW, 0)]).await.ok()?;
            let mut streams = Vec::new();
            for _ in 0..8 {
                streams.push(client.request("GET", path, &[], false).await.ok()?);
            }
            let mut begun = 0;
            while begun < streams.len() {
                // One that is refused and not closed is none of them.
                let frame = timeout(SOON / 2, client.next()).await.ok()??;
                begun += usize::from(matches!(frame.kind, HEADERS | RST_STREAM));
            }
            Some((client, streams))
        }
    })
    .await;
    let members = clients.len();
    let keeper = tokio::spawn(async move {
        // One stream of each client a second: a byte for all of them would occupy the machine, and not the node's memory.
        for turn in 0.. {
            for (client, streams) in &mut clients {
                let byte = frame(WINDOW_UPDATE, 0, streams[turn % streams.len()], &1_u32.to_be_bytes());
                // One that was cut off is gone.
                let _ = client.send(&byte).await;
            }
            sleep(Duration::from_secs(1)).await;
        }
    });
    Raised { members, keeper }
}

async fn connects(to: SocketAddr, count: usize) {
    loop {
        let kept = gather(count, |_| connect(to, 0)).await;
        // The node gets some of the machine's time as well.
        sleep(Duration::from_millis(500)).await;
        drop(kept);
    }
}

/// A few clients are enough: what they send is limited by the node.
async fn publish(to: SocketAddr, count: usize) -> Raised {
    let clients = gather((count / 250).max(1), |_| connect(to, 0)).await;
    let members = clients.len();
    let mut all = JoinSet::new();
    for mut socket in clients {
        all.spawn(async move {
            let body = r#"{"channel":"flood","type":"note","data":"x"}"#;
            let request = format!(
                "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut answers = vec![0; 64 * 1024];
            while socket.write_all(request.repeat(PIPELINED).as_bytes()).await.is_ok() {
                let mut left = PIPELINED;
                while left > 0 {
                    let Ok(read @ 1..) = socket.read(&mut answers).await else { return };
                    let text = String::from_utf8_lossy(&answers[..read]);
                    left = left.saturating_sub(text.matches("HTTP/1.1 ").count());
                }
            }
        });
    }
    let keeper = tokio::spawn(async move { while all.join_next().await.is_some() {} });
    Raised { members, keeper }
}

/// Publishes events that fill the queues of [`Crowd::NeverReading`].
pub async fn fill_queues(api: &Api, events: usize) {
    for n in 0..events {
        api.publish(BUSY, "note", &n.to_string().repeat(15_000)).await;
    }
}
