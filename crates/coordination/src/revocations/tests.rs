//! Revocations on virtual time, over a broker that fails.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use fanfare_broker::testing::{Call, Fault, FaultyBroker, settle_tasks, until};
use fanfare_broker::{CredentialStore, NodeInfo};
use fanfare_protocol::Position;
use fanfare_protocol::revocation::TokenId;

use super::*;

const INTERVAL: Duration = Duration::from_secs(1);

/// One node's revocations.
struct Node {
    revocations: Revocations,
    reader: RevocationReader,
    /// Number of times that streams were checked.
    checks: Arc<AtomicUsize>,
}

fn settings(node: &str, limit: usize) -> RevocationSettings {
    let keep = Some(Duration::from_hours(1));
    RevocationSettings { node: NodeId::new(node).unwrap(), interval: INTERVAL, keep, limit }
}

fn start_with(node: &str, broker: &FaultyBroker, limit: usize) -> Node {
    let revocations = Revocations::new(broker.shared(), settings(node, limit), RevocationMetrics::default());
    let checks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&checks);
    let count = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let reader = RevocationReader::start(&revocations, count);
    Node { revocations, reader, checks }
}

fn start(node: &str, broker: &FaultyBroker) -> Node {
    start_with(node, broker, 100)
}

fn user() -> User {
    User::new("7").unwrap()
}

fn of_token(byte: u8) -> Revocation {
    Revocation::Token(TokenId::from([byte; 16]))
}

fn stamp(byte: u8) -> TokenStamp {
    TokenStamp { id: Some(TokenId::from([byte; 16])), issued: 5 }
}

impl Node {
    fn check(&self, byte: u8) -> Result<(), TokenRefusal> {
        self.revocations.check(&user(), &stamp(byte))
    }

    async fn revoke(&self, byte: u8) {
        let revoked = self.revocations.store(of_token(byte)).await.unwrap();
        self.revocations.spread(&revoked).await;
    }

    async fn loaded(&self) {
        until("the revocations are read", || self.revocations.is_loaded()).await;
    }
}

/// Returns the number of entries of the log.
async fn logged(broker: &FaultyBroker) -> usize {
    broker.inner.revocations(Position::ZERO, usize::MAX).await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn a_revocation_holds_here_at_once_and_elsewhere_after_an_interval_without_a_message() {
    let broker = FaultyBroker::new();
    let (a, b) = (start("a", &broker), start("b", &broker));
    for node in [&a, &b] {
        node.loaded().await;
    }
    a.revoke(1).await;
    assert_eq!(a.check(1), Err(TokenRefusal::Revoked));
    assert_eq!(b.check(1), Ok(()), "not read yet");
    tokio::time::sleep(INTERVAL + Duration::from_millis(50)).await;
    assert_eq!((b.check(1), b.check(2)), (Err(TokenRefusal::Revoked), Ok(())));
    for node in [a, b] {
        assert_eq!(node.checks.load(Ordering::Relaxed), 1, "streams are checked once");
        node.reader.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_other_nodes_are_told_to_read_and_one_that_is_told_reads_at_once() {
    let broker = FaultyBroker::new();
    let (a, b) = (start("a", &broker), start("b", &broker));
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut connections = Vec::new();
    for name in ["a", "b"] {
        let info = NodeInfo {
            id: NodeId::new(name).unwrap(),
            incarnation: "1".into(),
            address: "1".into(),
            since: 1,
            connections: 0,
            draining: false,
        };
        fanfare_broker::Membership::lease(&broker.inner, &info, Duration::from_mins(1)).await.unwrap();
        let heard = Arc::clone(&told);
        let sink = Box::new(move |event| {
            if let fanfare_broker::subscriber::SubscriberEvent::Control(message) = event {
                heard.lock().unwrap().push((name, Control::parse(&message).unwrap()));
            }
        });
        connections.push(fanfare_broker::LiveTopics::open_subscriber(&broker.inner, &info.id, sink));
    }
    for node in [&a, &b] {
        node.loaded().await;
    }
    settle_tasks().await;
    a.revoke(1).await;
    until("the other node is told", || !told.lock().unwrap().is_empty()).await;
    assert_eq!(*told.lock().unwrap(), [("b", Control::ReadRevocations {})]);
    b.revocations.wake();
    tokio::time::advance(Duration::from_millis(50)).await;
    settle_tasks().await;
    assert_eq!(b.check(1), Err(TokenRefusal::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_node_accepts_no_token_before_it_has_read_and_keeps_what_it_knows_afterwards() {
    let broker = FaultyBroker::new();
    let a = start("a", &broker);
    a.loaded().await;
    a.revoke(1).await;
    broker.always(Call::Revocations, Fault::Unavailable);
    let b = start("b", &broker);
    tokio::time::advance(INTERVAL * 10).await;
    settle_tasks().await;
    assert_eq!((b.check(1), b.check(2)), (Err(TokenRefusal::NotLoaded), Err(TokenRefusal::NotLoaded)));
    assert_eq!((a.check(1), a.check(2)), (Err(TokenRefusal::Revoked), Ok(())), "the known ones hold");
    assert!(a.revocations.shared.metrics.read_failures.get() > 0);
    broker.heal();
    b.loaded().await;
    assert_eq!((b.check(1), b.check(2)), (Err(TokenRefusal::Revoked), Ok(())));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_everything_gets_it_back_once_from_several_nodes() {
    let broker = FaultyBroker::new();
    let (a, b) = (start_with("a", &broker, 5000), start_with("b", &broker, 5000));
    for node in [&a, &b] {
        node.loaded().await;
    }
    // More than fits into one call.
    let many: Vec<_> = (0..2500_u64)
        .map(|n| Revoked {
            revocation: Revocation::User { user: User::new(&n.to_string()).unwrap(), before: 9 },
            at: unix_ms(),
        })
        .collect();
    let append = Append { limit: 5000, keep: None, after: None };
    broker.inner.revoke(&many, append).await.unwrap();
    until("both know them", || a.revocations.len() == 2500 && b.revocations.len() == 2500).await;
    broker.inner.wipe();
    // A call of one node that is slow meets those of the other.
    broker.next(Call::Revoke, [Fault::Late(Duration::from_millis(500)), Fault::ReplyLost]);
    until("all are there again", || {
        futures_util::FutureExt::now_or_never(logged(&broker)).is_some_and(|logged| logged >= 2500)
    })
    .await;
    tokio::time::advance(INTERVAL * 5).await;
    settle_tasks().await;
    assert_eq!(logged(&broker).await, 2500, "each once");
    let c = start_with("c", &broker, 5000);
    c.loaded().await;
    assert_eq!(c.revocations.len(), 2500);
    // A failover that lost the newest entry only.
    a.revoke(1).await;
    until("all know it", || [&a, &b, &c].iter().all(|node| node.check(1).is_err())).await;
    let kept = broker.inner.revocations(Position::ZERO, 2500).await.unwrap();
    broker.inner.wipe();
    let kept: Vec<_> = kept.into_iter().filter_map(|(_, revoked)| revoked).collect();
    broker.inner.revoke(&kept, append).await.unwrap();
    tokio::time::advance(INTERVAL * 5).await;
    settle_tasks().await;
    assert_eq!(logged(&broker).await, 2501, "the newest is back, once");
}

#[tokio::test(start_paused = true)]
async fn further_revocations_are_refused_when_the_log_is_full() {
    let broker = FaultyBroker::new();
    let a = start_with("a", &broker, 1);
    a.loaded().await;
    a.revoke(1).await;
    let full = a.revocations.store(of_token(2)).await.unwrap_err();
    assert!(matches!(full, RevokeError::Full(1)), "{full}");
    assert_eq!(a.check(2), Ok(()));
    broker.always(Call::Revoke, Fault::Unavailable);
    assert!(matches!(a.revocations.store(of_token(2)).await, Err(RevokeError::Broker(_))));
}

#[tokio::test(start_paused = true)]
async fn a_revocation_is_forgotten_when_no_token_can_be_so_old() {
    let broker = FaultyBroker::new();
    let hour = 3_600_000;
    let append = Append { limit: 10, keep: None, after: None };
    for (byte, age) in [(1, hour + 5000), (2, hour - 60_000)] {
        let revoked = Revoked { revocation: of_token(byte), at: unix_ms() - age };
        broker.inner.revoke(&[revoked], append).await.unwrap();
    }
    let a = start("a", &broker);
    a.loaded().await;
    assert_eq!((a.check(1), a.check(2)), (Ok(()), Err(TokenRefusal::Revoked)));
    assert_eq!(a.revocations.len(), 1);
}
