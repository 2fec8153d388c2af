//! Heartbeats that a client asks for, where something on the way ends silent connections.

use std::net::SocketAddr;
use std::time::Duration;

use fanfare_testkit::client::{End, Step};
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::redis::Redis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Silence after which the proxy ends a connection.
const SILENCE: Duration = Duration::from_millis(2500);

/// Passes on what a client and a node send, and ends the connection when the node is silent.
async fn carry(mut client: TcpStream, node: SocketAddr) -> std::io::Result<()> {
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
    Ok(())
}

async fn proxy(node: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(carry(client, node));
        }
    });
    address
}

#[tokio::test]
async fn a_client_behind_a_proxy_that_ends_silent_connections_asks_for_heartbeats() {
    let settings = |node: fanfare_testkit::node::NodeBuilder| node.set("STREAM__MIN_HEARTBEAT", "500ms");
    let cluster = Cluster::on(Redis::start().await, 1, settings).await;
    let address = proxy(cluster.a().address()).await;
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
