//! Certificates of clients: a node's to Redis, and those of clients to a node.

use std::fs;
use std::path::Path;
use std::process::Output;

use fanfare_testkit::api::Api;
use fanfare_testkit::certificate::{Certificate, ClientPair};
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::http2::Http2;
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::transport::Transport;

/// What `/readyz` and the log say of a certificate that Redis does not accept.
const REFUSED: &str =
    "Redis requires a client certificate, and this node shows none or one that Redis rejects";

/// Returns a node that reaches Redis over TLS, with the files of a certificate and of its key.
fn node_of(redis: &Redis, id: &str, files: Option<&ClientPair>) -> NodeBuilder {
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
    let put = |pair: &ClientPair| {
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

/// Starts a node whose clients must show a certificate of an authority in this file.
async fn requiring(server: &Certificate, client_ca: &Path) -> (Redis, Node) {
    let redis = Redis::start().await;
    let node = Node::of(&redis).tls(server).admin().set("TLS__CLIENT_CA", client_ca.to_str().unwrap());
    let node = node.set("TLS__RELOAD_INTERVAL", "50ms").set("LOG__LEVEL", "trace").start().await;
    (redis, node)
}

/// Calls `/healthz` with curl, which uses OpenSSL.
async fn curl(node: &Node, server: &Certificate, pair: Option<&ClientPair>, options: &[&str]) -> Output {
    let address = node.address();
    let mut curl = tokio::process::Command::new("curl");
    curl.args(["--silent", "--show-error", "--write-out", " %{http_version}", "--cacert"]);
    curl.arg(server.authority_file()).args(options);
    curl.args(["--connect-to", &format!("localhost:443:{address}"), "https://localhost/healthz"]);
    if let Some((certificate, key)) = pair {
        curl.arg("--cert").arg(certificate).arg("--key").arg(key);
    }
    curl.output().await.expect("curl is installed")
}

/// The series of handshakes that failed because of the client's certificate.
async fn refused(node: &Node) -> f64 {
    node.metrics().await.sum("fanfare_tls_client_certificates_refused_total", &[])
}

#[tokio::test]
async fn clients_with_a_certificate_use_a_node_that_requires_one() {
    let (server, clients) = (Certificate::default(), Certificate::default());
    let (_redis, node) = requiring(&server, &clients.authority_file()).await;
    let pair = clients.for_client("web", true);
    let shown = server.shown(&pair);
    let (http2, own) = (Http2::tls(&shown), Transport::Tls(shown.clone()));
    let mut first = node.stream().over(own).user("1").channel("room:1").open().await;
    let mut second = node.stream().http2(&http2).user("2").channel("room:1").open().await;
    Api::over_tls(node.address(), &shown).publish("room:1", "t", "x").await;
    first.expect("t").await;
    second.expect("t").await;
    for (options, version) in [(&["--http1.1"][..], "1.1"), (&["--http2"], "2"), (&["--tls-max", "1.2"], "2")]
    {
        let output = curl(&node, &server, Some(&pair), options).await;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.ends_with(&format!(" {version}")), "{output:?}");
    }
    assert!(refused(&node).await.abs() < f64::EPSILON);
    let key = fs::read_to_string(&pair.1).unwrap();
    assert!(!node.log().contains(key.lines().nth(1).unwrap()), "no key is logged");
}

#[tokio::test]
async fn clients_without_a_good_certificate_are_refused_in_the_handshake() {
    let (server, clients, strangers) =
        (Certificate::default(), Certificate::default(), Certificate::default());
    let (_redis, node) = requiring(&server, &clients.authority_file()).await;
    let foreign = strangers.for_client("web", true);
    let expired = clients.for_client("old", false);
    // The server's own authority does not vouch for clients.
    let of_server = server.for_client("web", true);
    let unknown = "the client's certificate is of no authority in tls.client_ca";
    let mut attempts = 0.0;
    for (pair, why) in [
        (None, "the client shows no certificate"),
        (Some(&expired), "the client's certificate is not valid: certificate expired"),
        (Some(&foreign), unknown),
        (Some(&of_server), unknown),
    ] {
        for options in [&["--http1.1"][..], &["--http2"], &["--tls-max", "1.2"]] {
            let output = curl(&node, &server, pair, options).await;
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(!output.status.success() && text.trim() == "0", "{why}: {output:?}");
            attempts += 1.0;
        }
        let client = pair.map_or_else(|| server.clone(), |pair| server.shown(pair));
        let call = Api::over_tls(node.address(), &client).call("GET", "/healthz", &[], "").await;
        assert!(call.is_err(), "{why}: {call:?}");
        attempts += 1.0;
        until("each attempt is counted", SOON, async || {
            let now = refused(&node).await;
            if now < attempts { Err(now) } else { Ok(()) }
        })
        .await;
        logs(&node, why).await;
    }
    assert!((refused(&node).await - attempts).abs() < f64::EPSILON);
    let log = node.log();
    let line = log.lines().find(|line| line.contains("the client shows no certificate")).unwrap();
    for member in ["fanfare::audit", "action=\"connect\"", "outcome=\"refused\"", "address=\"127."] {
        assert!(line.contains(member), "{member}: {line}");
    }
    // Probes and monitoring need none.
    node.ready().await;
}

#[tokio::test]
async fn changed_authorities_hold_for_new_connections_and_open_streams_go_on() {
    let (server, old, new) = (Certificate::default(), Certificate::default(), Certificate::default());
    let file = old.authority_file();
    let (_redis, node) = requiring(&server, &file).await;
    let old_client = server.shown(&old.for_client("web", true));
    let new_client = server.shown(&new.for_client("web", true));
    let api = |client: &Certificate| Api::over_tls(node.address(), client);
    let own = Transport::Tls(old_client.clone());
    let mut stream = node.stream().over(own).user("1").channel("room:1").open().await;
    assert!(api(&new_client).call("GET", "/healthz", &[], "").await.is_err());

    fs::write(&file, "-----BEGIN CERTIFICATE-----").unwrap();
    logs(&node, "failed to load the changed authorities of clients; keeping the old ones").await;
    assert_eq!(api(&old_client).call("GET", "/healthz", &[], "").await.unwrap().status, 200);

    fs::copy(new.authority_file(), &file).unwrap();
    logs(&node, "loaded changed authorities of clients").await;
    assert!(api(&old_client).call("GET", "/healthz", &[], "").await.is_err());
    api(&new_client).publish("room:1", "t", "x").await;
    stream.expect("t").await;
}
