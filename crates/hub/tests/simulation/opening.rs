//! How clients open streams, and read them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_broker::EventLog;
use fanfare_broker::session::CloseReason;
use fanfare_hub::dialect::Dialect;
use fanfare_hub::stream::{Coding, NewStream, Transport};
use fanfare_hub::testing;
use fanfare_protocol::sse::Format;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, SessionKey, Start, User};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::client::Client;
use crate::world::World;

impl World {
    /// Clients whose streams have ended open others, as an `EventSource` does.
    pub(crate) fn come_back(&mut self) {
        for number in 0..self.clients.len() {
            if self.readers[number].as_ref().is_some_and(JoinHandle::is_finished) {
                self.connect(number);
            }
        }
    }

    /// A client leaves its connection, if it has one, and opens another on any node, often with other channels.
    pub(crate) fn connect(&mut self, number: usize) {
        if let Some(reader) = self.readers[number].take() {
            if self.rng.u8(0..4) == 0 {
                self.zombies.push(reader);
            } else {
                reader.abort();
            }
        }
        // Every stream subscribes to `broadcast`, so a stream of one channel is always a stream of `broadcast`.
        let broadcast = Channel::broadcast();
        let mut follows: Vec<_> = self.channels.iter().filter(|c| **c != broadcast).cloned().collect();
        self.rng.shuffle(&mut follows);
        if self.rng.bool() {
            follows.truncate(self.rng.usize(0..=follows.len()));
        }
        follows.push(broadcast);
        let first = match self.rng.u8(0..4) {
            0 => Start::Earliest,
            1 => Start::Time(self.broker.now() - self.rng.u64(0..500)),
            _ => Start::Latest,
        };
        let newest = (self.rng.u8(0..4) == 0).then(|| self.rng.usize(0..4));
        self.open(number, &follows, first, newest);
    }

    /// Looks where a log ends, as a node does before it opens a stream.
    pub(crate) async fn look(&mut self) {
        let channel = self.channels[self.rng.usize(0..self.channels.len())].clone();
        let tip = self.broker.locate(&channel, StartAt::Latest).await.unwrap();
        self.tips.insert(channel, tip);
    }

    /// Returns where a channel begins in a stream without a position in it: often where its log ended a moment ago.
    fn begin(&mut self, channel: &Channel, at: StartAt) -> StartAt {
        match self.tips.get(channel) {
            Some(tip) if at == StartAt::Latest && self.rng.bool() => StartAt::Tip(*tip),
            _ => at,
        }
    }

    /// Opens a client's stream on any node, in any coding.
    pub(crate) fn open(&mut self, number: usize, follows: &[Channel], first: Start, newest: Option<usize>) {
        let client = Arc::clone(&self.clients[number]);
        let coding = if self.rng.bool() { Coding::Gzip } else { Coding::Identity };
        let start = client.lock().unwrap().reconnect(follows.to_vec(), first, coding);
        let cursor = client.lock().unwrap().cursor.clone().map(String::into_boxed_str);
        let mut begins = Vec::new();
        for channel in follows {
            let at = self.begin(channel, start.in_channel(channel, follows.len(), newest));
            if let StartAt::Tip(tip) = at {
                client.lock().unwrap().expect_tip(channel.clone(), tip);
            }
            begins.push((channel.clone(), at));
        }
        let (ours, theirs) = tokio::io::duplex(self.rng.usize(16..700));
        let node = self.rng.usize(0..self.nodes.len());
        self.log.push(format!("{:?} client {number} connects to node {node}: {begins:?}", self.broker.now()));
        // The claim takes the session from its owner; on the same node the hub itself does that.
        for (_, other) in self.nodes.iter().enumerate().filter(|(other, _)| *other != node) {
            other.hub.end(session(number), u64::MAX, CloseReason::Superseded);
        }
        let SessionKey { user, session } = session(number);
        let dialect = Dialect::Fanfare(Format::Json);
        let stream =
            NewStream { user: Some(user), dialect, coding, cursor, ..testing::stream(session, begins) };
        self.nodes[node].hub.open(stream, Transport::plain(theirs));
        let rng = self.rng.fork();
        let connection = client.lock().unwrap().connection;
        self.readers[number] = Some(tokio::spawn(read(client, connection, ours, rng)));
    }
}

/// Returns a client's session. All clients have the same id: without the user it identifies nothing.
pub(crate) fn session(client: usize) -> SessionKey {
    SessionKey::new(User::new(&format!("client{client}")).unwrap(), uuid::Uuid::from_u128(1).into())
}

/// Reads at a random pace, a few bytes at a time, until it is aborted.
async fn read(client: Arc<Mutex<Client>>, connection: u64, mut socket: DuplexStream, mut rng: fastrand::Rng) {
    let slow = rng.u8(0..3) == 0;
    let mut buffer = [0; 256];
    loop {
        let pause = if slow { rng.u64(0..60) } else { rng.u64(0..3) };
        sleep(Duration::from_millis(pause)).await;
        let want = rng.usize(1..buffer.len());
        let read = socket.read(&mut buffer[..want]).await;
        let bytes = &buffer[..read.unwrap_or(0)];
        if !client.lock().unwrap().take(connection, bytes) {
            // A zombie: it neither reads nor closes.
            return std::future::pending().await;
        }
        if bytes.is_empty() {
            return;
        }
    }
}
