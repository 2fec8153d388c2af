//! The ways to a node: HTTP/1.1 and HTTP/2, in clear text and over TLS.

use std::time::Duration;

use fanfare_testkit::certificate::Certificate;
use fanfare_testkit::client::{Client, End};
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, becomes, until};
use fanfare_testkit::http2::Http2;
use fanfare_testkit::ledger::Ledger;
use fanfare_testkit::lifecycle;
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::tcp;
use fanfare_testkit::transport::Transport;

async fn pair(certificate: Option<&Certificate>, settings: &[(&str, &str)]) -> Cluster {
    let configure = |node| {
        let node = settings.iter().fold(node, |node: NodeBuilder, (name, value)| node.set(name, value));
        certificate.map_or(node.clone(), |certificate| node.tls(certificate))
    };
    Cluster::on(Redis::start().await, 2, configure).await
}

#[tokio::test]
async fn a_client_may_come_back_another_way_and_gets_exactly_the_rest() {
    let certificate = Certificate::default();
    let cluster = pair(Some(&certificate), &[]).await;
    let (ledger, followed) = (Ledger::default(), ["user:42", "broadcast", "room:1"]);
    let mut publisher = Publisher::on(&cluster.redis).await;
    let mut account = ledger.account(&followed);
    let mut client = cluster.a().stream().user("42").channel("room:1").open().await;
    let http2 = Http2::tls(&certificate);
    for turn in 0..6 {
        for channel in followed {
            publisher.issue(&ledger, channel).await;
        }
        account.follow(&mut client, &ledger, SOON).await;
        client.close();
        for channel in followed {
            publisher.issue(&ledger, channel).await;
        }
        let transport =
            if turn % 2 == 0 { Transport::Http2(http2.clone()) } else { Transport::Tls(certificate.clone()) };
        client.change(|request| request.over(transport));
        client.resume(&cluster.nodes[turn / 2 % 2]).await;
    }
    account.follow(&mut client, &ledger, SOON).await;
    ledger.judge(&account).assert_clean();
}

/// Streams on one connection to the first node; it leaves under traffic, and they go to the second.
async fn roll(certificate: Option<Certificate>) {
    // The lap between notice and the last wave is long enough to see that streams go on.
    // A client that got no time at its planned end has one of at least `stream.retry`.
    let settings = [("DRAIN__NOTICE", "300ms"), ("DRAIN__WINDOW", "1s"), ("STREAM__RETRY", "1s")];
    let mut cluster = pair(certificate.as_ref(), &settings).await;
    let http2 = certificate.as_ref().map_or_else(Http2::clear, Http2::tls);
    let ledger = Ledger::default();
    let mut clients = Vec::new();
    for user in 0..20 {
        let own = format!("user:{user}");
        let client =
            cluster.a().stream().http2(&http2).user(&user.to_string()).channel("room:1").open().await;
        clients.push((client, ledger.account(&["room:1", &own]), own));
    }
    assert_eq!(http2.made(), 1);
    let mut publisher = Publisher::on(&cluster.redis).await;
    publisher.issue(&ledger, "room:1").await;
    cluster.a().terminate();
    let (mut ended, mut published) = (0, 0);
    for (client, account, own) in &mut clients {
        // Traffic between the waves.
        publisher.issue(&ledger, "room:1").await;
        publisher.issue(&ledger, own).await;
        published += 2;
        let event = loop {
            let event = client.next().await;
            if event.kind == "shutdown" {
                break event;
            }
            account.note(&event);
        };
        assert!(event.has_id, "{event:?}");
        let retry = client.retry();
        assert!(retry.is_some_and(|retry| retry < Duration::from_secs(1)), "{event:?} {retry:?}");
        assert_eq!(client.end().await, End::Clean);
        ended += 1;
    }
    assert_eq!((ended, published), (20, 40));
    // GOAWAY came, the last stream closed the connection, and the node is done.
    becomes("closed connections", 1, async || http2.gone()).await;
    assert_eq!(cluster.nodes[0].ended(SOON).await.code(), Some(0), "{}", cluster.nodes[0].log());
    for (client, account, own) in &mut clients {
        publisher.issue(&ledger, own).await;
        client.resume(&cluster.nodes[1]).await;
        account.follow(client, &ledger, SOON).await;
        ledger.judge(account).assert_clean();
    }
    assert_eq!(http2.made(), 2);
}

#[tokio::test]
async fn a_roll_costs_streams_on_one_connection_nothing() {
    roll(None).await;
}

#[tokio::test]
async fn a_roll_costs_streams_on_one_connection_nothing_over_tls() {
    roll(Some(Certificate::default())).await;
}

#[tokio::test]
async fn from_goaway_on_new_streams_take_another_connection_and_old_ones_go_on() {
    let certificate = Certificate::default();
    let settings = [
        ("DRAIN__NOTICE", "100ms"),
        ("DRAIN__WINDOW", "1h"),
        ("DRAIN__DEADLINE", "2h"),
        // Each has waves of its own.
        ("STREAM__SHARDS", "1"),
    ];
    let cluster = pair(Some(&certificate), &settings).await;
    let http2 = Http2::tls(&certificate);
    // The first of them goes with the first wave.
    let _first = cluster.a().stream().http2(&http2).user("1").open().await;
    let mut stays = cluster.a().stream().http2(&http2).user("2").channel("room:1").open().await;
    cluster.a().terminate();
    cluster.a().readyz(503).await;
    let turned_away = async || {
        let mut client = cluster.a().stream().http2(&http2).user("3").send().await;
        let event = client.next().await;
        assert_eq!(event.kind, "overloaded", "{event:?}");
        if http2.made() > 1 { Ok(()) } else { Err("it still takes requests") }
    };
    until("GOAWAY", SOON, turned_away).await;
    cluster.b().api().publish("room:1", "t", "still here").await;
    assert_eq!(&*stays.expect("t").await.data, "still here");
}

#[tokio::test]
async fn a_stream_that_is_closed_is_over_and_its_connection_goes_on() {
    let certificate = Certificate::default();
    let cluster = pair(Some(&certificate), &[]).await;
    let http2 = Http2::tls(&certificate);
    let mut goes = cluster.a().stream().http2(&http2).user("42").open().await;
    let mut stays = cluster.a().stream().http2(&http2).user("43").channel("room:1").open().await;
    goes.close();
    let events = ["session.connected a", "user.online", "session.disconnected closed", "user.offline"];
    lifecycle::tells(&cluster.redis, "42", &events).await;
    cluster.b().api().publish("room:1", "t", "x").await;
    stays.expect("t").await;
    assert_eq!((http2.made(), http2.gone()), (1, 0));
}

/// One client takes nothing and is cut off; another on the same node, and by HTTP/2 the same connection, gets all.
async fn stall(certificate: &Certificate, slow: Transport, quick: Transport) {
    let cluster = pair(Some(certificate), &[("STREAM__WRITE_TIMEOUT", "5s")]).await;
    let node = cluster.a();
    let slow = node.stream().over(slow).receive_buffer(4096).user("42").channel("room:1").open().await;
    let mut quick = node.stream().over(quick).user("43").channel("room:1").open().await;
    // More than all buffers on the way can hold.
    let data = vec!["x".repeat(60_000); 50];
    let mut publisher = Publisher::on(&cluster.redis).await;
    for _ in 0..5 {
        publisher.publish_all("room:1", "big", &data).await;
        for _ in &data {
            assert_eq!(quick.expect("big").await.data.len(), 60_000);
        }
    }
    let events = ["session.connected a", "user.online", "session.disconnected write-timeout", "user.offline"];
    lifecycle::tells(&cluster.redis, "42", &events).await;
    drop::<Client>(slow);
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_cut_off_alone() {
    let certificate = Certificate::default();
    let http2 = Http2::tls(&certificate);
    stall(&certificate, Transport::Http2(http2.clone()), Transport::Http2(http2.clone())).await;
    assert_eq!((http2.made(), http2.gone()), (1, 0));
}

#[tokio::test]
async fn a_client_that_takes_nothing_over_tls_is_cut_off() {
    let certificate = Certificate::default();
    stall(&certificate, Transport::Tls(certificate.clone()), Transport::Tls(certificate.clone())).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_streams_go_on() {
    let certificate = Certificate::default();
    let cluster = pair(Some(&certificate), &[("TLS__RELOAD_INTERVAL", "50ms")]).await;
    let node = cluster.a();
    let mut client = node.stream().channel("room:1").open().await;
    let first = tcp::certificate_of(&certificate, node.address()).await.unwrap();
    // What is half written changes nothing, and is said once.
    std::fs::write(certificate.key_file(), "-----BEGIN PRIVATE KEY-----").unwrap();
    let refused = "fanfare_tls_certificate_failures_total";
    becomes("refusals", 1.0, async || node.metrics().await.sum(refused, &[])).await;
    assert_eq!(tcp::certificate_of(&certificate, node.address()).await.unwrap(), first);
    certificate.renew();
    until("the new certificate", SOON, async || {
        match tcp::certificate_of(&certificate, node.address()).await {
            Ok(now) if now != first => Ok(()),
            other => Err(format!("{:?}", other.err())),
        }
    })
    .await;
    // Taken once; between the writes of its two files a look may have refused it once more.
    let metrics = node.metrics().await;
    assert!((metrics.sum("fanfare_tls_certificates_loaded_total", &[]) - 1.0).abs() < f64::EPSILON);
    assert!(metrics.sum(refused, &[]) <= 2.0);
    // The message that a file has no key names the line that it looks for.
    assert!(!node.log().contains("-----BEGIN"), "{}", node.log());
    node.api().publish("room:1", "t", "x").await;
    client.expect("t").await;
}

#[tokio::test]
async fn redis_may_be_reached_over_tls_only() {
    let redis = Redis::with_tls().await;
    let (url, authority) = redis.tls_url();
    let node = Node::of(&redis).through(&url).set("REDIS__CA", authority.to_str().unwrap()).start().await;
    let mut client = node.stream().user("42").channel("room:1").open().await;
    // Each of them goes by connections of its own: publishing, the subscriber connection, the log, the intake.
    node.api().publish("room:1", "t", "one").await;
    assert_eq!(&*client.expect("t").await.data, "one");
    Publisher::on(&redis).await.publish_all("room:1", "t", &["two".to_owned()]).await;
    assert_eq!(&*client.expect("t").await.data, "two");
    redis.cli(&["XADD", "fanfare:ingest", "*", "channel", "room:1", "type", "t", "data", "three"]).await;
    assert_eq!(&*client.expect("t").await.data, "three");
    // All of the node's connections come back.
    assert!(redis.kill_clients("normal").await + redis.kill_clients("pubsub").await > 1);
    Publisher::on(&redis).await.publish_all("room:1", "t", &["four".to_owned()]).await;
    assert_eq!(&*client.expect("t").await.data, "four");

    // A Redis with an untrusted certificate is refused.
    let stranger = Certificate::default();
    let other = Node::of(&redis).id("b").through(&url);
    let other = other.set("REDIS__CA", stranger.authority_file().to_str().unwrap()).launch().await;
    let why = other.readyz(503).await;
    assert_eq!(why["parts"]["redis"]["ok"], false, "{why}");
}
