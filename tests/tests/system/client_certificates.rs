//! Certificates of clients: a node's to Redis.

use std::fs;
use std::path::PathBuf;

use fanfare_testkit::certificate::Certificate;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;

/// What `/readyz` and the log say of a certificate that Redis does not accept.
const REFUSED: &str =
    "Redis requires a client certificate, and this node shows none or one that Redis rejects";

/// Returns a node that reaches Redis over TLS, with the files of a certificate and of its key.
fn node_of(redis: &Redis, id: &str, files: Option<&(PathBuf, PathBuf)>) -> NodeBuilder {
    let (url, authority) = redis.tls_url();
    let node = Node::of(redis).id(id).through(&url).set("REDIS__CA", authority.to_str().unwrap());
    files.into_iter().fold(node, |node, (certificate, key)| {
        let node = node.set("REDIS__CERTIFICATE", certificate.to_str().unwrap());
        node.set("REDIS__KEY", key.to_str().unwrap())
    })
}

/// Waits until the node has logged these words.
async fn logs(node: &Node, words: &str) {
    let logged = async || if node.log().contains(words) { Ok(()) } else { Err(node.log()) };
    until(&format!("the log says {words:?}"), SOON, logged).await;
}

/// Waits until the node is not ready because Redis does not accept its certificate.
async fn is_refused(node: &Node) {
    until("/readyz says why", SOON, async || {
        let answer = node.api().call("GET", "/readyz", &[], "").await.map_err(|e| format!("{e:?}"))?;
        if answer.status == 503 && answer.text.contains(REFUSED) { Ok(()) } else { Err(answer.text) }
    })
    .await;
    logs(node, REFUSED).await;
}

/// Ends all connections of the node. Returns their number.
async fn cut(redis: &Redis) -> usize {
    redis.kill_clients("normal").await + redis.kill_clients("pubsub").await
}

#[tokio::test]
async fn a_node_that_shows_its_certificate_to_redis_works_over_its_whole_life() {
    let mut redis = Redis::with_client_certificates().await;
    let files = redis.certificate().for_client("fanfare", true);
    let mut node = node_of(&redis, "a", Some(&files)).start().await;
    let mut client = node.stream().user("42").channel("room:1").open().await;
    // Each of them goes by other connections: publishing, the subscriber connection, the log, the intake.
    node.api().publish("room:1", "t", "one").await;
    assert_eq!(&*client.expect("t").await.data, "one");
    redis.cli(&["XADD", "fanfare:ingest", "*", "channel", "room:1", "type", "t", "data", "two"]).await;
    assert_eq!(&*client.expect("t").await.data, "two");
    assert!(cut(&redis).await > 1);
    Publisher::on(&redis).await.publish_all("room:1", "t", &["three".to_owned()]).await;
    assert_eq!(&*client.expect("t").await.data, "three");
    redis.stop().await;
    node.readyz(503).await;
    redis.start_again().await;
    node.ready().await;
    let mut later = node.stream().user("43").channel("room:2").open().await;
    node.api().publish("room:2", "t", "four").await;
    assert_eq!(&*later.expect("t").await.data, "four");
    node.terminate();
    assert_eq!(node.ended(SOON).await.code(), Some(0), "{}", node.log());
    let key = fs::read_to_string(&files.1).unwrap();
    assert!(!node.log().contains(key.lines().nth(1).unwrap()), "the key is not logged");
}

#[tokio::test]
async fn redis_refuses_a_node_without_its_certificate_and_the_node_says_so() {
    let redis = Redis::with_client_certificates().await;
    let stranger = Certificate::of(&["stranger"]);
    let foreign = stranger.for_client("stranger", true);
    let expired = redis.certificate().for_client("old", false);
    for (id, files) in [("absent", None), ("foreign", Some(&foreign)), ("expired", Some(&expired))] {
        let node = node_of(&redis, id, files).launch().await;
        is_refused(&node).await;
    }
}

#[tokio::test]
async fn new_connections_to_redis_use_the_renewed_files() {
    let redis = Redis::with_client_certificates().await;
    let files = redis.certificate().for_client("fanfare", true);
    let node = node_of(&redis, "a", Some(&files)).start().await;
    let put = |pair: &(PathBuf, PathBuf)| {
        fs::copy(&pair.0, &files.0).unwrap();
        fs::copy(&pair.1, &files.1).unwrap();
    };
    let renewed = redis.certificate().for_client("renewed", true);

    // Half a renewal: the certificate is another one, and the key does not match it.
    fs::copy(&renewed.0, &files.0).unwrap();
    assert!(cut(&redis).await > 1);
    logs(&node, "keeping the old ones").await;
    assert!(node.log().contains("redis.key does not match redis.certificate"), "{}", node.log());
    node.api().publish("room:1", "t", "with the old ones").await;
    node.ready().await;
    let all = node.log().matches("failed to load the certificates").count();
    assert_eq!(all, 1, "several connections read the same: {}", node.log());

    // Redis does not accept it, which shows that the files are read.
    let stranger = Certificate::of(&["stranger"]);
    put(&stranger.for_client("stranger", true));
    assert!(cut(&redis).await > 1);
    is_refused(&node).await;

    put(&renewed);
    node.ready().await;
    node.api().publish("room:1", "t", "with the new ones").await;
}
