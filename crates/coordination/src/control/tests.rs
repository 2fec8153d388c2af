//! What is done about control messages.

use std::sync::Mutex;
use std::time::Duration;

use fanfare_broker::NodeId;
use fanfare_broker::subscriber::SubscriberState;
use fanfare_broker::testing::{FaultyBroker, until};
use fanfare_protocol::channel::MAX_USER_BYTES;
use fanfare_protocol::session::MAX_CONTROL_BYTES;
use fanfare_protocol::{SessionId, User};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::lease::LeaseState;
use crate::revocations::RevocationSettings;
use crate::revocations::metrics::RevocationMetrics;
use crate::session::SessionSettings;

type Ended = Arc<Mutex<Vec<(SessionKey, u64, CloseReason)>>>;

/// The commands of one node, and everything around them.
struct Node {
    commands: CommandSender,
    task: ControlTask,
    sessions: Sessions,
    ended: Ended,
    metrics: Arc<ClusterMetrics>,
}

fn start() -> Node {
    let ended = Ended::default();
    let recorded = Arc::clone(&ended);
    let end: EndStream =
        Arc::new(move |session, below, why| recorded.lock().unwrap().push((session, below, why)));
    let metrics = Arc::new(ClusterMetrics::register(&mut Registry::default()));
    let broker = FaultyBroker::new();
    let (_, lease) = watch::channel(LeaseState::held_until(Instant::now() + Duration::from_hours(1)));
    let (_, wire) = watch::channel(SubscriberState { up: true, connects: 1, outage: None });
    let settings = SessionSettings { node: NodeId::new("a").unwrap(), limit: 10 };
    let sessions = Sessions::start(
        broker.shared(),
        broker.shared(),
        settings,
        lease,
        wire,
        Arc::clone(&end),
        Arc::clone(&metrics),
    );
    let (commands, waiting) = queue(&metrics);
    let node = NodeId::new("a").unwrap();
    let settings =
        RevocationSettings { node: node.clone(), interval: Duration::from_secs(1), keep: None, limit: 10 };
    let revocations = Revocations::new(broker.shared(), settings, RevocationMetrics::default());
    let tokens = StreamTokens::new(broker.shared(), node, revocations.clone(), Arc::new(|_, _| ()));
    let tokens = (tokens, revocations);
    let task = ControlTask::start(waiting, sessions.clone(), end, tokens, Arc::clone(&metrics));
    Node { commands, task, sessions, ended, metrics }
}

fn user(id: &str) -> User {
    User::new(id).unwrap()
}

fn supersede(SessionKey { user, session }: SessionKey, epoch: u64) -> Vec<u8> {
    Control::Supersede { user, session, epoch }.encode().into()
}

fn disconnect(SessionKey { user, session }: SessionKey) -> Vec<u8> {
    Control::Disconnect { user, session }.encode().into()
}

#[tokio::test(start_paused = true)]
async fn a_session_that_moved_is_ended_unless_this_nodes_claim_is_newer() {
    let session = SessionKey::new(user("42"), SessionId::random());
    let Node { commands, task, sessions, ended, metrics } = start();
    let held = sessions.claim(&session.user, session.session, "10.0.0.1:5".into()).await.unwrap().0;
    let ours = held.epoch();
    for epoch in [ours - 1, ours, ours + 1] {
        commands.push(&supersede(session.clone(), epoch));
    }
    // Not held by a claim: the hub may still have a stream of it. The same id is another session with another user.
    let other = SessionKey::new(user("43"), session.session);
    commands.push(&supersede(other.clone(), 3));
    commands.push(&disconnect(session.clone()));
    until("all commands are handled", || metrics.controls_disconnect.get() == 1).await;
    let expected = [
        (session.clone(), ours + 1, CloseReason::Superseded),
        (other, 3, CloseReason::Superseded),
        (session, u64::MAX, CloseReason::Disconnected),
    ];
    assert_eq!(*ended.lock().unwrap(), expected);
    assert_eq!((metrics.controls_stale.get(), metrics.controls_supersede.get()), (2, 2));
    assert!(held.is_lost());
    task.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn malformed_messages_are_counted_and_the_next_command_is_handled() {
    let session = SessionKey::new(user("42"), SessionId::random());
    let Node { commands, task, ended, metrics, .. } = start();
    let deep = "[".repeat(100_000);
    let long = format!(
        "{}{}",
        String::from_utf8(disconnect(session.clone())).unwrap(),
        " ".repeat(MAX_CONTROL_BYTES)
    );
    let bad: [&[u8]; 12] = [
        b"",
        b"hello",
        b"{}",
        b"\xff\xfe",
        br#"{"op":"format-disk"}"#,
        br#"{"op":"disconnect","user":"42","session":"7"}"#,
        br#"{"op":"supersede","user":"42","session":"0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11","epoch":-1}"#,
        br#"{"op":"disconnect","user":"42","session":"0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11","x":1}"#,
        // An id without its user names no session.
        br#"{"op":"supersede","session":"0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11","epoch":9}"#,
        br#"{"op":"disconnect","session":"0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11"}"#,
        deep.as_bytes(),
        // A command, but for its length.
        long.as_bytes(),
    ];
    for message in bad {
        commands.push(message);
    }
    commands.push(&disconnect(session));
    until("the valid command is handled", || !ended.lock().unwrap().is_empty()).await;
    assert_eq!(metrics.controls_malformed.get(), 12);
    assert_eq!(ended.lock().unwrap().len(), 1);
    task.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_in_bytes_and_further_commands_are_dropped_and_counted() {
    let metrics = Arc::new(ClusterMetrics::register(&mut Registry::default()));
    let (commands, mut waiting) = queue(&metrics);
    let large = vec![b' '; 20 << 20];
    for _ in 0..QUEUE {
        commands.push(&large);
    }
    assert!(waiting.0.is_empty(), "a message that is too long does not wait");
    let session = SessionKey::new(user(&"u".repeat(MAX_USER_BYTES)), SessionId::random());
    for _ in 0..QUEUE + 5 {
        commands.push(&supersede(session.clone(), u64::MAX));
    }
    assert_eq!((metrics.controls_malformed.get(), metrics.controls_dropped.get()), (QUEUE as u64, 5));
    let mut bytes = 0;
    while let Ok(command) = waiting.0.try_recv() {
        bytes += command.encode().len();
    }
    assert!(bytes <= QUEUE * MAX_CONTROL_BYTES, "{bytes}");
}
