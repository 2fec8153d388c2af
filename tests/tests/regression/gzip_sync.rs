//! Compressed streams, and decoders that hold text back until they meet the mark of a flush, as Go's compress/flate does.
//! The kit's client is such a decoder (`fanfare_testkit::coding`).

use std::time::Duration;

use fanfare_testkit::certificate::Certificate;
use fanfare_testkit::client::{Client, End};
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::until;
use fanfare_testkit::http2::Http2;
use fanfare_testkit::node::NodeBuilder;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::transport::Transport;

const SOON: Duration = Duration::from_secs(10);

async fn cluster(certificate: Option<&Certificate>) -> Cluster {
    let configure = |node: NodeBuilder| {
        let node = node.set("STREAM__HEARTBEAT", "300ms");
        certificate.map_or(node.clone(), |certificate| node.tls(certificate))
    };
    Cluster::on(Redis::start().await, 1, configure).await
}

/// Reads a stream from its first block to its end. Whatever is held back never comes: nothing follows it that would free
/// it, but for the heartbeats, which are looked at first.
async fn reads_everything_at_once(cluster: &Cluster, transport: Transport) {
    let mut publisher = Publisher::on(&cluster.redis).await;
    let mut client = cluster.a().stream().user("42").channel("room:7").gzip().over(transport).open().await;
    assert_eq!(client.head().field("content-encoding"), "gzip");
    heartbeat(&mut client).await;
    // Nothing, small, around the size from which events are packed, large, and so much that it cannot be packed.
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(50_000).collect();
    for data in ["", "small", &"x".repeat(270), &"x".repeat(300), &"order ".repeat(2000), &noise] {
        publisher.publish("user:42", "order", data).await;
        client.expect_data(data).await;
    }
    publisher.ephemeral("room:7", r#"{"type":"typing","data":"…"}"#).await.unwrap();
    assert_eq!(&*client.expect("typing").await.data, "…");
    // Several in one write, small and large ones in any order.
    for sizes in [[5, 2000, 5], [2000, 5, 5], [5, 5, 2000]] {
        let data: Vec<String> = sizes.iter().map(|size| "y".repeat(*size)).collect();
        publisher.publish_all("room:7", "order", &data).await;
        for data in &data {
            client.expect_data(data).await;
        }
    }
    heartbeat(&mut client).await;
    cluster.a().api().delete("/v1/users/42/sessions").await;
    client.expect("disconnected").await;
    assert_eq!(client.end().await, End::Clean);
}

async fn heartbeat(client: &mut Client) {
    let before = client.comments();
    until("a heartbeat", SOON, async || {
        client.step(Duration::from_millis(50)).await;
        if client.comments() > before { Ok(()) } else { Err(client.story()) }
    })
    .await;
}

#[tokio::test]
async fn a_decoder_that_waits_for_the_mark_of_a_flush_gets_every_write_at_once() {
    let clear = cluster(None).await;
    reads_everything_at_once(&clear, Transport::Clear).await;
    reads_everything_at_once(&clear, Transport::Http2(Http2::clear())).await;
}

#[tokio::test]
async fn the_same_holds_over_tls() {
    let certificate = Certificate::default();
    let tls = cluster(Some(&certificate)).await;
    reads_everything_at_once(&tls, Transport::Tls(certificate.clone())).await;
    reads_everything_at_once(&tls, Transport::Http2(Http2::tls(&certificate))).await;
}
