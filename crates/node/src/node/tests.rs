//! A whole node on the memory broker, by real sockets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::redis::RedisSettings;
use fanfare_broker::{BrokerSettings, Membership, MemoryBroker, SessionStore};
use fanfare_config::auth::AuthMode;
use fanfare_config::source::Sources;
use fanfare_protocol::User;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::memory::{CONNECTION, HTTP2, Kind};

/// Nothing here takes that long unless it is stuck.
const SOON: Duration = Duration::from_secs(10);

fn start(change: impl FnOnce(&mut Config)) -> (Node, Arc<MemoryBroker>) {
    start_on(change, Additions::default())
}

fn start_on(change: impl FnOnce(&mut Config), additions: Additions) -> (Node, Arc<MemoryBroker>) {
    let mut config = Config::default();
    config.node.listen = "127.0.0.1:0".parse().unwrap();
    config.auth.mode = Some(AuthMode::None);
    config.stream.linger = Duration::from_millis(100);
    config.drain.notice = Duration::from_millis(100);
    change(&mut config);
    let broker = Arc::new(MemoryBroker::new(BrokerSettings::default()));
    (Node::start_with(&config, Arc::clone(&broker) as Arc<dyn Broker>, additions).unwrap(), broker)
}

/// Sends a request and reads until `end` has come.
async fn ask(node: &Node, request: &str, end: &str) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(node.addr()).await.unwrap();
    socket.write_all(format!("{request}\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut read = Vec::new();
    let wait = async {
        while !String::from_utf8_lossy(&read).contains(end) {
            assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0, "{}", String::from_utf8_lossy(&read));
        }
    };
    assert!(timeout(SOON, wait).await.is_ok(), "{end:?} did not come");
    (socket, String::from_utf8(read).unwrap())
}

/// Asks again until a request is answered by this.
async fn until(node: &Node, request: &str, end: &str) {
    let again = async {
        loop {
            let (_, answer) = ask(node, &format!("{request}\r\nconnection: close"), "\r\n\r\n").await;
            if answer.contains(end) {
                return;
            }
        }
    };
    assert!(timeout(SOON, again).await.is_ok(), "{request} was not answered by {end:?}");
}

async fn rest(mut socket: TcpStream) -> String {
    let mut read = String::new();
    timeout(SOON, socket.read_to_string(&mut read)).await.expect("the connection is closed").unwrap();
    read
}

const STREAM: &str = "GET /v1/events?user=7 HTTP/1.1";

#[tokio::test]
async fn a_shutdown_notifies_streams_and_leaves_no_state() {
    let (node, broker) = start(|_| ());
    until(&node, "GET /readyz HTTP/1.1", "200 OK").await;
    let (stream, _) = ask(&node, STREAM, "event: connected").await;
    let user = User::new("7").unwrap();
    assert_eq!(broker.sessions(&user).await.unwrap().len(), 1);
    assert_eq!(broker.nodes().await.unwrap()[0].address, node.addr().to_string());
    let addr = node.addr();
    timeout(SOON, node.shutdown()).await.unwrap().unwrap();
    let end = rest(stream).await;
    assert!(end.contains("event: shutdown") && end.ends_with("0\r\n\r\n"), "{end}");
    assert_eq!(broker.sessions(&user).await.unwrap(), []);
    assert_eq!(broker.nodes().await.unwrap(), []);
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_node_limits_streams_and_accepts_another_when_one_ends() {
    let (node, _) = start(|config| config.limits.connections = 1);
    until(&node, "GET /readyz HTTP/1.1", "200 OK").await;
    let (stream, _) = ask(&node, STREAM, "event: connected").await;
    let (_, turned) = ask(&node, STREAM, "event: overloaded").await;
    assert!(turned.contains(r#"{"reason":"connections"}"#) && turned.contains("retry: "), "{turned}");
    let (_, status) = ask(&node, &format!("{STREAM}\r\nprefer: status"), "}").await;
    assert!(status.starts_with("HTTP/1.1 503 ") && status.contains("retry-after: "), "{status}");
    drop(stream);
    let freed = async {
        loop {
            let (_, answer) = ask(&node, STREAM, "\r\n\r\n").await;
            if answer.contains("transfer-encoding: chunked") {
                return;
            }
        }
    };
    timeout(SOON, freed).await.unwrap();
    timeout(SOON, node.shutdown()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_beyond_the_users_limit_is_refused() {
    let (node, _) = start(|config| config.limits.sessions_per_user = 1);
    until(&node, "GET /readyz HTTP/1.1", "200 OK").await;
    let (_stream, _) = ask(&node, STREAM, "event: connected").await;
    let (_, turned) = ask(&node, STREAM, "event: overloaded").await;
    assert!(turned.contains(r#"{"reason":"user-sessions"}"#), "{turned}");
    let (_, status) = ask(&node, &format!("{STREAM}\r\nprefer: status"), "}").await;
    assert!(status.starts_with("HTTP/1.1 429 "), "{status}");
    timeout(SOON, node.shutdown()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_head_request_opens_no_stream() {
    let (node, broker) = start(|_| ());
    until(&node, "GET /readyz HTTP/1.1", "200 OK").await;
    let head = "HEAD /v1/events?user=7 HTTP/1.1";
    let (_, answer) = ask(&node, head, "\r\n\r\n").await;
    assert!(answer.contains("content-type: text/event-stream"), "{answer}");
    assert_eq!(broker.sessions(&User::new("7").unwrap()).await.unwrap(), []);
    timeout(SOON, node.shutdown()).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = Config::default();
    config.node.listen = taken.local_addr().unwrap();
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(BrokerSettings::default()));
    let error = Node::start(&config, broker).unwrap_err().to_string();
    assert!(error.contains(&config.node.listen.to_string()), "{error}");
}

#[tokio::test]
async fn the_list_for_operators_names_exactly_the_metrics_that_a_node_exports() {
    let redis = RedisSettings { url: "redis://127.0.0.1:1".into(), ..RedisSettings::default() };
    let redis = RedisBroker::connect(redis, BrokerSettings::default()).unwrap();
    let node = start_on(|_| (), Additions { redis: Some(redis), ..Additions::default() }).0;
    let (socket, head) = ask(&node, "GET /metrics HTTP/1.1\r\nconnection: close", "\r\n\r\n").await;
    let text = head + &rest(socket).await;
    let exported: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').expect("a name and a type").0.to_owned())
        // Families that are empty at first are not exported at first.
        .chain(["fanfare_http_requests_total".into(), "fanfare_http_problems_total".into()])
        .chain(
            ["fetches_total", "keys", "fetched_timestamp_seconds"]
                .map(|name| format!("fanfare_auth_jwks_{name}")),
        )
        .collect();
    let page = include_str!("../../../../docs/operations.md");
    let (_, section) = page.split_once("\n## Metrics\n").expect("the section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let listed: BTreeSet<String> = rows.map(|(name, _)| name.to_owned()).collect();
    assert_eq!(exported, listed);
    timeout(SOON, node.shutdown()).await.unwrap().unwrap();
}

#[test]
fn every_socket_that_admin_sockets_allows_has_memory() {
    let is_allowed = |sockets: usize| {
        let variables = vec![("FANFARE_ADMIN__SOCKETS".into(), sockets.to_string().into())];
        let reading = Config::read(&Sources { variables, ..Sources::default() });
        reading.faults.iter().all(|fault| fault.setting != "admin.sockets")
    };
    let most = (1..20_000).take_while(|sockets| is_allowed(*sockets)).last().unwrap();
    let memory = Memory::new(admin::MEMORY);
    let socket = |_| memory.account(None).take(Kind::Sockets, CONNECTION + HTTP2).ok();
    let sockets: Vec<_> = (0..most).map_while(socket).collect();
    assert_eq!(sockets.len(), most);
}
