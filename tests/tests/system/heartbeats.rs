//! Heartbeats where something on the way ends silent connections: those that a client asks for, and those that adapt.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanfare_testkit::client::{Client, End, Step};
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::SOON;
use fanfare_testkit::ledger::{Account, Ledger};
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Silence after which the proxy ends a connection.
const SILENCE: Duration = Duration::from_millis(2500);
const CHANNEL: &str = "room:1";
const SESSION: &str = "0b6c1d5e-7a3f-4c21-9a55-3f0f5a6c7d14";

/// How the proxy ends a connection.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// On both sides.
    Both,
    /// On the client's side: the node does not notice.
    Client,
}

/// Passes on what a client and a node send, and ends the connection when the node is silent.
async fn carry(mut client: TcpStream, node: SocketAddr, ends: Ends) -> std::io::Result<()> {
    let mut node = TcpStream::connect(node).await?;
    let (mut request, mut answer) = ([0; 4096], [0; 4096]);
    let read = client.read(&mut request).await?;
    node.write_all(&request[..read]).await?;
    while let Ok(read) = timeout(SILENCE, node.read(&mut answer)).await {
        match read? {
            0 => break,
            read => client.write_all(&answer[..read]).await?,
        }
    }
    drop(client);
    if let Ends::Client = ends {
        while node.read(&mut answer).await? > 0 {}
    }
    Ok(())
}

/// Starts a proxy before nodes, which take turns.
async fn proxy(nodes: Vec<SocketAddr>, ends: Ends) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        for node in nodes.iter().cycle() {
            let Ok((client, _)) = listener.accept().await else { break };
            tokio::spawn(carry(client, *node, ends));
        }
    });
    address
}

#[tokio::test]
async fn a_client_behind_a_proxy_that_ends_silent_connections_asks_for_heartbeats() {
    let settings = |node: NodeBuilder| node.set("STREAM__MIN_HEARTBEAT", "500ms");
    let cluster = Cluster::on(Redis::start().await, 1, settings).await;
    let address = proxy(vec![cluster.a().address()], Ends::Both).await;
    let through = || {
        let mut request = cluster.a().stream().user("42");
        request.move_to(address);
        request
    };
    let mut default = through().open().await;
    let mut asks = through().parameter("heartbeat", "1").open().await;
    // The one is cut off in the silence. By then the other has lived as long, and goes on.
    assert_eq!(default.end().await, End::Cut);
    while asks.comments() < 4 {
        if let Step::Ended(end) = asks.step(SILENCE).await {
            panic!("{end:?} after {} heartbeats", asks.comments());
        }
    }
    cluster.a().api().publish("user:42", "x", "1").await;
    asks.expect_data("1").await;
}

/// Two nodes behind a proxy, and a publisher that publishes while a client is away.
struct Path {
    cluster: Cluster,
    proxy: SocketAddr,
    publisher: Publisher,
    ledger: Ledger,
}

impl Path {
    async fn new(ends: Ends) -> Self {
        // Clients come back at once, so that a node still knows of the last write when it learns of a loss.
        let settings = |node: NodeBuilder| {
            let node = node.set("STREAM__MIN_HEARTBEAT", "500ms").set("STREAM__HEARTBEAT", "10s");
            node.set("STREAM__RETRY_SPREAD", "0s")
        };
        let cluster = Cluster::on(Redis::start().await, 2, settings).await;
        let proxy = proxy(cluster.nodes.iter().map(Node::address).collect(), ends).await;
        let publisher = Publisher::on(&cluster.redis).await;
        Self { cluster, proxy, publisher, ledger: Ledger::default() }
    }

    /// Opens a stream that keeps its session.
    async fn open(&self) -> (Client, Account) {
        let mut request = self.cluster.a().stream().user("42").session(SESSION).channel(CHANNEL);
        request.move_to(self.proxy);
        (request.open().await, self.ledger.account(&[CHANNEL]))
    }

    /// Waits until the connection is lost in silence, and comes back. Events are published before and meanwhile.
    async fn lose(&mut self, client: &mut Client, account: &mut Account) {
        self.publisher.issue(&self.ledger, CHANNEL).await;
        account.follow(client, &self.ledger, SOON).await;
        assert_eq!(client.end().await, End::Cut);
        self.publisher.issue(&self.ledger, CHANNEL).await;
        // As long as the node has said.
        tokio::time::sleep(client.retry().expect("a reconnection time")).await;
        client.resume_at(self.proxy).await;
        account.follow(client, &self.ledger, SOON).await;
    }

    /// Checks that the connection is silent for longer than the proxy allows, with heartbeats that keep it.
    async fn live(&mut self, client: &mut Client, account: &mut Account) {
        let (begun, before) = (Instant::now(), client.comments());
        while begun.elapsed() < 3 * SILENCE {
            match client.step(SILENCE).await {
                Step::Nothing => {}
                other => panic!("{other:?} after {:?}", begun.elapsed()),
            }
        }
        // One after each half of the silence.
        assert!((4..=8).contains(&(client.comments() - before)), "{}", client.comments());
        self.publisher.issue(&self.ledger, CHANNEL).await;
        account.follow(client, &self.ledger, SOON).await;
        self.ledger.judge(account).assert_clean();
    }
}

#[tokio::test]
async fn after_two_losses_in_silence_a_session_has_heartbeats_that_keep_its_connection() {
    let mut path = Path::new(Ends::Both).await;
    let mut direct = path.cluster.a().stream().user("42").open().await;
    let (mut client, mut account) = path.open().await;
    for _ in 0..2 {
        path.lose(&mut client, &mut account).await;
    }
    path.live(&mut client, &mut account).await;
    // The session keeps it also when the client moves on, on whichever node.
    client.resume_at(path.proxy).await;
    path.live(&mut client, &mut account).await;
    // The user's other session has the default.
    while let Step::Event(_) = direct.step(Duration::from_secs(1)).await {}
    assert!((1..=3).contains(&direct.comments()), "{} heartbeats", direct.comments());
}

#[tokio::test]
async fn a_session_whose_connection_is_lost_unnoticed_adapts_when_its_node_learns_of_the_next_one() {
    let mut path = Path::new(Ends::Client).await;
    let (mut client, mut account) = path.open().await;
    // The node of the second one notices its end by the claim of the third.
    for _ in 0..3 {
        path.lose(&mut client, &mut account).await;
    }
    path.live(&mut client, &mut account).await;
}
