//! What is done about control messages.

use std::sync::Mutex;

use fanfare_protocol::{SessionId, User};
use prometheus_client::registry::Registry;

use super::*;
use crate::faulty::until;

type Ended = Arc<Mutex<Vec<(SessionKey, u64, Ending)>>>;

fn start(held: Option<(SessionKey, u64)>) -> (mpsc::Sender<Bytes>, ControlTask, Ended, Arc<ClusterMetrics>) {
    let (messages, receiver) = mpsc::channel(100);
    let ended = Ended::default();
    let told = Arc::clone(&ended);
    let metrics = Arc::new(ClusterMetrics::register(&mut Registry::default()));
    let task = ControlTask::start(
        receiver,
        Arc::new(move |session, epoch| held.as_ref().is_none_or(|(id, ours)| id != session || *ours < epoch)),
        Arc::new(move |session, below, why| told.lock().unwrap().push((session, below, why))),
        Arc::clone(&metrics),
    );
    (messages, task, ended, metrics)
}

fn user(id: &str) -> User {
    User::new(id).unwrap()
}

fn supersede(SessionKey { user, session }: SessionKey, epoch: u64) -> Bytes {
    Control::Supersede { user, session, epoch }.encode().into()
}

fn disconnect(SessionKey { user, session }: SessionKey) -> Bytes {
    Control::Disconnect { user, session }.encode().into()
}

#[tokio::test(start_paused = true)]
async fn a_session_that_moved_is_ended_unless_our_claim_is_newer() {
    let session = SessionKey::new(user("42"), SessionId::random());
    let (messages, task, ended, metrics) = start(Some((session.clone(), 7)));
    for epoch in [6, 7, 8] {
        messages.send(supersede(session.clone(), epoch)).await.unwrap();
    }
    // Not held by a claim: the hub may still have a stream of it. The same id is another session with another user.
    let other = SessionKey::new(user("43"), session.session);
    messages.send(supersede(other.clone(), 3)).await.unwrap();
    messages.send(disconnect(session.clone())).await.unwrap();
    until("all are heard", || metrics.controls_disconnect.get() == 1).await;
    let expected = [
        (session.clone(), 8, Ending::Superseded),
        (other, 3, Ending::Superseded),
        (session, u64::MAX, Ending::Disconnected),
    ];
    assert_eq!(*ended.lock().unwrap(), expected);
    assert_eq!((metrics.controls_stale.get(), metrics.controls_supersede.get()), (2, 2));
    task.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_command_is_counted_and_the_next_one_is_heard() {
    let session = SessionKey::new(user("42"), SessionId::random());
    let (messages, task, ended, metrics) = start(None);
    let deep = "[".repeat(100_000);
    let bad: [&[u8]; 11] = [
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
    ];
    for message in bad {
        messages.send(Bytes::copy_from_slice(message)).await.unwrap();
    }
    messages.send(disconnect(session)).await.unwrap();
    until("the good one is heard", || !ended.lock().unwrap().is_empty()).await;
    assert_eq!(metrics.controls_malformed.get(), 11);
    assert_eq!(ended.lock().unwrap().len(), 1);
    task.shutdown().await;
}
