//! Streams that are compressed.

use std::process::Stdio;

use fanfare_testkit::balancer::{Balancer, Kind};
use fanfare_testkit::client::{Client, End};
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::SOON;
use fanfare_testkit::loopback;
use fanfare_testkit::node::Node;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Data like a publisher's: about as many bytes as it says, with a number of its own.
fn order(number: usize, bytes: usize) -> String {
    let item = |n: usize| {
        format!(r#"{{"sku":"{:06}","name":"flange","quantity":{}}}"#, n * 7919 % 1_000_000, n % 20)
    };
    let items: Vec<String> = (0..bytes / 50).map(|n| item(number * 31 + n)).collect();
    format!(r#"{{"id":{number},"items":[{}]}}"#, items.join(","))
}

fn is_gzip(client: &Client) -> bool {
    assert_eq!(client.head().field("vary"), "accept-encoding", "{:?}", client.head());
    client.head().field("content-encoding") == "gzip"
}

#[tokio::test]
async fn a_stream_is_compressed_for_who_accepts_it_and_the_node_allows_it() {
    let cluster = Cluster::pair().await;
    let ask = |accepted| cluster.a().stream().user("42").header("Accept-Encoding", accepted);
    for (accepted, gzip) in
        [("gzip, deflate, br", true), ("br;q=1, *;q=0.5", true), ("gzip;q=0", false), ("br", false)]
    {
        assert_eq!(is_gzip(&ask(accepted).open().await), gzip, "{accepted}");
    }
    assert!(!is_gzip(&cluster.a().stream().user("42").open().await));
    let metrics = cluster.a().metrics().await;
    assert!((metrics.sum("sse_gzip_connections_total", &[]) - 2.0).abs() < f64::EPSILON);

    let off = Cluster::on(Redis::start().await, 1, |node| node.set("STREAM__GZIP", "false")).await;
    assert!(!is_gzip(&off.a().stream().user("42").gzip().open().await));
}

#[tokio::test]
async fn a_stream_that_cannot_be_served_is_refused_plainly() {
    let full = Cluster::on(Redis::start().await, 1, |node| node.set("LIMITS__CONNECTIONS", "1")).await;
    let _first = full.a().stream().user("1").open().await;
    let mut second = full.a().stream().user("2").gzip().send().await;
    assert!(!is_gzip(&second));
    second.expect("overloaded").await;
    assert_eq!(second.end().await, End::Clean);
    let answer = full.a().stream().user("3").gzip().after("nonsense").send().await.answer().await;
    answer.is_problem(400, "bad-cursor", &[]).unwrap();
}

#[tokio::test]
async fn every_event_arrives_by_itself_whatever_its_size_and_form() {
    let cluster = Cluster::on(Redis::start().await, 2, |node| node.set("LIMITS__EVENT_DATA", "1MiB")).await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    let request = cluster.a().stream().user("42").channel("room:7");
    let mut raw = request.clone().gzip().open().await;
    let mut json = request.clone().gzip().parameter("format", "json").open().await;
    let mut plain = request.open().await;
    let sizes = [0, 100, 250, 300, 350, 1000, 70_000, 500_000, 200];
    for (number, bytes) in sizes.into_iter().cycle().take(30).enumerate() {
        let data = order(number, bytes);
        let channel = ["user:42", "room:7", "broadcast"][number % 3];
        publisher.publish(channel, "order", &data).await;
        for client in [&mut raw, &mut plain] {
            assert_eq!(*client.expect("order").await.data, *data);
        }
        assert_eq!(json.expect("message").await.json()["data"], data);
        assert_eq!(raw.last_id(), plain.last_id());
    }
    publisher.ephemeral("room:7", r#"{"type":"typing","data":"…"}"#).await.unwrap();
    assert_eq!(&*raw.expect("typing").await.data, "…");
    assert!(cluster.a().metrics().await.sum("sse_gzip_saved_bytes_total", &[]) > 1_000_000.0);
}

#[tokio::test]
async fn a_gzip_client_that_is_moved_around_gets_every_event_once() {
    let mut cluster = Cluster::on(Redis::start().await, 2, |node| {
        node.set("DRAIN__NOTICE", "0s").set("DRAIN__WINDOW", "1s").keep(10_000)
    })
    .await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    let mut client = cluster.a().stream().user("42").gzip().open().await;
    let mut expected = 0;
    let mut published = 0;
    for round in 0..7 {
        let data: Vec<String> = (published..published + 40).map(|n| order(n, n * 37 % 900)).collect();
        publisher.publish_all("user:42", "order", &data).await;
        published += data.len();
        // Leaves in the middle, in one way or another, and comes back elsewhere, now and then without compression.
        for _ in 0..25 {
            let got = client.expect("order").await;
            assert_eq!(got.json()["id"], expected);
            expected += 1;
        }
        if round % 2 == 0 {
            client.close();
        } else {
            client.reset();
        }
        let gzip = round % 3 != 2;
        let accepted = if gzip { "gzip" } else { "identity" };
        client.change(|_| cluster.a().stream().user("42").header("Accept-Encoding", accepted));
        client.resume(&cluster.nodes[(round + 1) % 2]).await;
        assert_eq!(is_gzip(&client), gzip);
    }
    while expected < published {
        assert_eq!(client.expect("order").await.json()["id"], expected);
        expected += 1;
    }
    // Drained, it ends with a last word and its trailer, and the other node has the rest.
    assert!(is_gzip(&client));
    cluster.b().terminate();
    client.expect("shutdown").await;
    assert_eq!(client.end().await, End::Clean);
    publisher.publish("user:42", "order", &order(expected, 1000)).await;
    client.resume(cluster.a()).await;
    assert_eq!(client.expect("order").await.json()["id"], expected);
    assert!(cluster.nodes[1].ended(SOON).await.success());
}

/// curl, as a user would run it.
struct Curl {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Curl {
    fn start(node: &Node, options: &[&str]) -> Self {
        let mut child = Command::new("curl")
            .args(["--silent", "--show-error", "--no-buffer"])
            .args(options)
            .arg(format!("http://{}/v1/events?user=42", node.address()))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("curl is installed");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, lines }
    }

    async fn until(&mut self, wanted: &str) {
        loop {
            let line = timeout(SOON, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no {wanted:?}")).expect("UTF-8");
            if line.unwrap_or_else(|| panic!("it ended before {wanted:?}")) == wanted {
                return;
            }
        }
    }
}

#[tokio::test]
async fn curl_shows_each_event_at_once_and_finds_no_fault_with_the_end() {
    let cluster = Cluster::pair().await;
    for options in [&["--compressed"][..], &["--compressed", "--http1.0"]] {
        let mut curl = Curl::start(cluster.a(), options);
        curl.until("event: connected").await;
        for bytes in [0, 1000, 20_000, 100] {
            let data = order(7, bytes);
            cluster.b().api().publish("user:42", "order", &data).await;
            curl.until(&format!("data: {data}")).await;
        }
        cluster.a().api().delete("/v1/users/42/sessions").await;
        curl.until("event: disconnected").await;
        let status = timeout(SOON, curl.child.wait()).await.expect("it ends").unwrap();
        assert!(status.success(), "{options:?}: {status}");
    }
    let metrics = cluster.a().metrics().await;
    assert!((metrics.sum("sse_gzip_connections_total", &[]) - 2.0).abs() < f64::EPSILON);
}

async fn passes_through(kind: Kind) {
    let redis = Redis::start().await;
    let addresses = [(); 3].map(|()| (loopback::address(), 8080).into());
    let mut nodes = Vec::new();
    for (address, name) in addresses.into_iter().zip(["a", "b", "c"]) {
        nodes.push(Node::of(&redis).id(name).at(address).start().await);
    }
    let balancer = Balancer::before(kind, addresses).await;
    let mut client = StreamRequest::to(balancer.address()).user("42").gzip().open().await;
    assert!(is_gzip(&client));
    // One at a time: what is kept back on the way would never come.
    for number in 0..20 {
        let data = order(number, number * 100);
        nodes[0].api().publish("user:42", "order", &data).await;
        client.expect_data(&data).await;
    }
    nodes[0].api().delete("/v1/users/42/sessions").await;
    client.expect("disconnected").await;
    assert_eq!(client.end().await, End::Clean);
}

#[tokio::test]
async fn nginx_passes_a_compressed_stream_on_as_it_comes() {
    passes_through(Kind::Nginx).await;
}

#[tokio::test]
async fn haproxy_passes_a_compressed_stream_on_as_it_comes() {
    passes_through(Kind::Haproxy).await;
}
