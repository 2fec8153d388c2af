//! The client's address behind balancers, and those who claim to be another.

use std::net::{Ipv4Addr, SocketAddr};

use fanfare_testkit::balancer::{Balancer, Kind};
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;
use fanfare_testkit::token::Token;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::floods::{Flood, of_many_users};

/// Where balancers connect from.
const BALANCER: &str = "127.0.0.1";
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

async fn three(trusted: bool) -> Cluster {
    Cluster::on(Redis::start().await, 3, |node| {
        let node = node.auth("jwt").set("LIMITS__ADDRESS__CONNECTS_PER_SECOND", "5");
        if trusted { node.set("HTTP__TRUSTED_PROXIES", BALANCER) } else { node }
    })
    .await
}

fn addresses(cluster: &Cluster) -> [SocketAddr; 3] {
    std::array::from_fn(|n| cluster.nodes[n].address())
}

/// The addresses that a user's sessions are shown with.
async fn shown(node: &Node, user: &str) -> Vec<Value> {
    let api = node.api().with_token(&Token::of(user).sign());
    let answer = api.get(&format!("/v1/users/{user}/sessions")).await.json();
    answer["sessions"].as_array().unwrap().iter().map(|session| session["address"].clone()).collect()
}

async fn behind(kind: Kind) {
    let cluster = three(true).await;
    let balancer = Balancer::before(kind, addresses(&cluster)).await;
    let through = |user: &str| StreamRequest::to(balancer.address()).token(&Token::of(user).sign());
    // What the client says of itself is not believed.
    let _honest = through("honest").from(CLIENT).open().await;
    let _liar = through("liar")
        .from(CLIENT)
        .header("X-Forwarded-For", "8.8.8.8")
        .header("X-Forwarded-For", "127.0.0.1")
        .header("Forwarded", "for=8.8.8.8")
        .open()
        .await;
    for user in ["honest", "liar"] {
        assert_eq!(shown(cluster.a(), user).await, [CLIENT.to_string()], "{kind:?} {user}");
    }
    // One address's flood is refused as that address's, and the other's clients come in.
    let mut flood = Flood::new();
    for k in 0..2 {
        flood.over((ATTACKER, balancer.address()), of_many_users(k));
    }
    until("the flood is limited by its address", SOON, async || {
        let mut limited = 0.0;
        for node in &cluster.nodes {
            let labels = [r#"scope="address""#, r#"kind="connects""#];
            limited += node.metrics().await.sum("fanfare_rate_limited_total", &labels);
        }
        if limited > 50.0 { Ok(()) } else { Err(limited) }
    })
    .await;
    for n in 0..20 {
        through(&format!("v{n}")).from(Ipv4Addr::new(127, 0, 0, 100 + n)).open().await;
    }
}

#[tokio::test]
async fn behind_haproxy_addresses_are_those_of_the_clients_and_a_flood_is_its_own() {
    behind(Kind::Haproxy).await;
}

#[tokio::test]
async fn behind_nginx_addresses_are_those_of_the_clients_and_a_flood_is_its_own() {
    behind(Kind::Nginx).await;
}

#[tokio::test]
async fn without_trusted_proxies_no_header_is_believed() {
    let cluster = three(false).await;
    let _claims = cluster
        .a()
        .stream()
        .token(&Token::of("7").sign())
        .header("X-Forwarded-For", "8.8.8.8")
        .header("Forwarded", "for=8.8.8.8")
        .from(CLIENT)
        .open()
        .await;
    assert_eq!(shown(cluster.b(), "7").await, [CLIENT.to_string()]);
    // Nor do many claimed addresses make many clients.
    let mut refused = 0;
    for n in 0..100 {
        let request = cluster.a().stream().token(&Token::of(&format!("u{n}")).sign()).from(CLIENT);
        let mut client = request.header("X-Forwarded-For", &format!("10.0.0.{n}")).send().await;
        refused += usize::from(client.next().await.kind == "overloaded");
    }
    assert!(refused > 0, "a hundred in a moment are more than five a second");
    // An operator who has forgotten to list a balancer learns why its clients share one limit.
    let ignored = cluster.a().metrics().await.sum("fanfare_forwarded_ignored_total", &[]);
    assert!((ignored - 101.0).abs() < f64::EPSILON, "{ignored}");
    let log = cluster.a().log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("ignored the header that names")).collect();
    let [line] = lines[..] else { panic!("{lines:?}") };
    assert!(line.contains("http.trusted_proxies") && line.contains(&CLIENT.to_string()), "{line}");
}

#[tokio::test]
async fn a_balancer_that_passes_bytes_on_names_its_client_in_a_proxy_protocol_header() {
    let redis = Redis::start().await;
    let mut nodes = Vec::new();
    for id in ["a", "b", "c"] {
        let node = Node::of(&redis).id(id).auth("jwt").set("NODE__PROXY_PROTOCOL", "true");
        nodes.push(node.set("HTTP__TRUSTED_PROXIES", BALANCER).launch().await);
    }
    let words = [
        ("default-server check inter", "default-server send-proxy-v2 check-send-proxy check inter"),
        ("default-server maxconn", "default-server send-proxy-v2 maxconn"),
        // The connection says whose it is.
        ("    option forwardfor\n", ""),
    ];
    let at = std::array::from_fn(|n| nodes[n].address());
    let balancer = Balancer::changed(Kind::Haproxy, at, &words).await;
    let token = Token::of("7").sign();
    let liar = StreamRequest::to(balancer.address()).token(&token).from(CLIENT);
    let _stream = liar.header("X-Forwarded-For", "8.8.8.8").open().await;
    let api = fanfare_testkit::api::Api::at(balancer.address()).with_token(&token);
    let answer = api.get("/v1/users/7/sessions").await.json();
    assert_eq!(answer["sessions"][0]["address"], CLIENT.to_string(), "{answer}");

    // A connection without a header, or not from the balancer, is refused.
    let http = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x08\x08\x08\x08\x7f\0\0\x01\0\x50\x1f\x90";
    let answered = async |from: Ipv4Addr, bytes: &[u8]| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut socket: TcpStream = socket.connect(nodes[0].address()).await.unwrap();
        // It may be closed before all is written.
        let _ = socket.write_all(bytes).await;
        let mut answer = vec![0; 64];
        let read = tokio::time::timeout(SOON, socket.read(&mut answer)).await.expect("an answer or the end");
        read.is_ok_and(|read| answer[..read].starts_with(b"HTTP/1.1 200"))
    };
    let trusted = BALANCER.parse().unwrap();
    assert!(answered(trusted, &[&header[..], http].concat()).await);
    assert!(!answered(trusted, http).await, "no header");
    assert!(
        !answered(trusted, &[b"PROXY TCP4 8.8.8.8 127.0.0.1 80 80\r\n", &http[..]].concat()).await,
        "version 1"
    );
    assert!(!answered(ATTACKER, &[&header[..], http].concat()).await, "not a trusted proxy");
    assert!(!answered(ATTACKER, http).await);
    until("the node says why", SOON, async || {
        let log = nodes[0].log();
        if log.contains("does not begin with a PROXY protocol v2 header") { Ok(()) } else { Err(log) }
    })
    .await;
}
