//! A TCP proxy between a node and Redis that breaks on demand.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// They wait, as when packets are dropped without an error.
    Pause,
    /// They arrive later.
    Delay(Duration),
    /// Connections are refused.
    Refuse,
}

/// When a proxy trips on certain bytes from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trip {
    /// They do not get through any more.
    Before,
    /// They get through, the answer does not.
    After,
}

#[derive(Debug)]
struct State {
    /// Where new connections lead.
    target: Mutex<SocketAddr>,
    mode: watch::Sender<Mode>,
    /// Cancelled to reset the connections that are open; then replaced.
    open: Mutex<CancellationToken>,
    /// What to trip on, once.
    armed: Mutex<Option<(Vec<u8>, Trip)>>,
    tripped: watch::Sender<bool>,
}

/// A TCP proxy that can pause, delay, cut and refuse. Everything ends when it is dropped.
#[derive(Debug)]
pub struct ChaosProxy {
    address: SocketAddr,
    state: Arc<State>,
    /// Accepts, and owns the tasks of the connections.
    task: JoinHandle<()>,
}

impl ChaosProxy {
    /// A proxy in front of `target`, passing everything.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    pub async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State {
            target: Mutex::new(target),
            mode: watch::Sender::new(Mode::Pass),
            open: Mutex::default(),
            armed: Mutex::default(),
            tripped: watch::Sender::new(false),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { address, state, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a node's `--redis` takes.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Leads new connections to another target, as a fail-over does. Those that are open stay.
    pub fn lead_to(&self, target: SocketAddr) {
        *lock(&self.state.target) = target;
    }

    /// Stops all traffic without an error: a partition.
    pub fn pause(&self) {
        self.state.mode.send_replace(Mode::Pause);
    }

    /// Bytes arrive so much later in each direction.
    pub fn delay(&self, by: Duration) {
        self.state.mode.send_replace(Mode::Delay(by));
    }

    /// Everything passes again; what waited comes first.
    pub fn resume(&self) {
        self.state.mode.send_replace(Mode::Pass);
    }

    /// Resets the open connections. New ones pass.
    pub fn reset(&self) {
        let old = std::mem::take(&mut *lock(&self.state.open));
        old.cancel();
    }

    /// Resets the open connections and each new one, until [`Self::resume`].
    pub fn cut(&self) {
        self.state.mode.send_replace(Mode::Refuse);
        self.reset();
    }

    /// Pauses by itself, once, when the client sends these bytes.
    pub fn trip_on(&self, bytes: &[u8], when: Trip) {
        self.state.tripped.send_replace(false);
        *lock(&self.state.armed) = Some((bytes.to_vec(), when));
    }

    /// Waits until it has tripped.
    pub async fn tripped(&self) {
        // The sender lives as long as this proxy.
        let _ = self.state.tripped.subscribe().wait_for(|&tripped| tripped).await;
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        if *state.mode.borrow() == Mode::Refuse {
            // A socket that cannot be set up is dropped all the same.
            let _ = socket.set_zero_linger();
            continue;
        }
        let target = *lock(&state.target);
        connections.spawn(carry(socket, target, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(client: TcpStream, target: SocketAddr, state: Arc<State>) {
    let open = lock(&state.open).clone();
    let Ok(server) = TcpStream::connect(target).await else { return };
    for socket in [&client, &server] {
        // Whichever way a connection ends here, both ends see a reset; small commands leave at once.
        let _ = (socket.set_zero_linger(), socket.set_nodelay(true));
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = open.cancelled() => {}
        () = pump(from_client, to_server, Arc::clone(&state), true) => {}
        () = pump(from_server, to_client, Arc::clone(&state), false) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>, upstream: bool) {
    let mut buffer = vec![0; 64 * 1024];
    // The end of what was read before, so that bytes to trip on are also found across two reads.
    let mut tail = Vec::new();
    let mut mode = state.mode.subscribe();
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        let trip = if upstream { trips(&state, &mut tail, &buffer[..read]) } else { None };
        if trip == Some(Trip::Before) {
            state.mode.send_replace(Mode::Pause);
            state.tripped.send_replace(true);
        }
        let Ok(now) = mode.wait_for(|mode| *mode != Mode::Pause).await.map(|mode| *mode) else { return };
        if let Mode::Delay(by) = now {
            tokio::time::sleep(by).await;
        }
        // Paused before the bytes leave, so that no answer slips through.
        if trip == Some(Trip::After) {
            state.mode.send_replace(Mode::Pause);
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        if trip == Some(Trip::After) {
            state.tripped.send_replace(true);
        }
    }
}

fn trips(state: &State, tail: &mut Vec<u8>, bytes: &[u8]) -> Option<Trip> {
    let mut armed = lock(&state.armed);
    let (wanted, trip) = armed.as_ref()?;
    let (trip, length) = (*trip, wanted.len());
    tail.extend_from_slice(bytes);
    let found = tail.windows(length).any(|window| window == wanted);
    let keep = tail.len().saturating_sub(length - 1);
    tail.drain(..keep);
    if found {
        *armed = None;
    }
    found.then_some(trip)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::SOON;
    use tokio::time::{Instant, timeout};

    /// Sends back what it gets, and tells the test what that was.
    async fn echo() -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (received, receiver) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let received = received.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 1024];
                    while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                        let _ = received.send(buffer[..read].to_vec());
                        if socket.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (address, receiver)
    }

    async fn round(socket: &mut TcpStream, text: &[u8]) -> std::io::Result<()> {
        socket.write_all(text).await?;
        let mut back = vec![0; text.len()];
        socket.read_exact(&mut back).await?;
        assert_eq!(back, text);
        Ok(())
    }

    #[tokio::test]
    async fn a_pause_holds_bytes_back_and_loses_none() {
        let (address, mut received) = echo().await;
        let proxy = ChaosProxy::before(address).await;
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        round(&mut socket, b"one").await.unwrap();
        assert_eq!(received.recv().await.unwrap(), b"one");
        proxy.pause();
        socket.write_all(b"two").await.unwrap();
        assert!(timeout(Duration::from_millis(50), received.recv()).await.is_err());
        proxy.resume();
        assert_eq!(received.recv().await.unwrap(), b"two");
    }

    #[tokio::test]
    async fn a_delay_makes_answers_late() {
        let (address, _received) = echo().await;
        let proxy = ChaosProxy::before(address).await;
        proxy.delay(Duration::from_millis(40));
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        let before = Instant::now();
        round(&mut socket, b"x").await.unwrap();
        assert!(before.elapsed() >= Duration::from_millis(80));
    }

    #[tokio::test]
    async fn a_reset_ends_what_is_open_and_a_cut_also_what_comes() {
        let (address, _received) = echo().await;
        let proxy = ChaosProxy::before(address).await;
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        round(&mut socket, b"x").await.unwrap();
        proxy.reset();
        assert!(timeout(SOON, socket.read_u8()).await.unwrap().is_err());
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        round(&mut next, b"y").await.unwrap();
        proxy.cut();
        assert!(timeout(SOON, next.read_u8()).await.unwrap().is_err());
        // The connect itself may still succeed: the kernel answers it.
        if let Ok(mut refused) = TcpStream::connect(proxy.address()).await {
            assert!(timeout(SOON, refused.read_u8()).await.unwrap().is_err());
        }
        proxy.resume();
        let mut last = TcpStream::connect(proxy.address()).await.unwrap();
        round(&mut last, b"z").await.unwrap();
    }

    #[tokio::test]
    async fn it_trips_before_or_after_certain_bytes_also_across_two_writes() {
        for (trip, wanted) in [(Trip::Before, &b""[..]), (Trip::After, b"LISH")] {
            let (address, mut received) = echo().await;
            let proxy = ChaosProxy::before(address).await;
            let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
            proxy.trip_on(b"PUBLISH", trip);
            round(&mut socket, b"PUB").await.unwrap();
            assert_eq!(received.recv().await.unwrap(), b"PUB");
            socket.write_all(b"LISH").await.unwrap();
            timeout(SOON, proxy.tripped()).await.unwrap();
            let got = timeout(Duration::from_millis(100), received.recv()).await.ok().flatten();
            assert_eq!(got.unwrap_or_default(), wanted);
            // The answer does not come through in either case.
            assert!(timeout(Duration::from_millis(50), socket.read_u8()).await.is_err());
        }
    }
}
