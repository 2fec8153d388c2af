//! Contracts of sessions and their owners.

use fanfare_broker::Broker;
use fanfare_broker::session::{Claim, Claimed, CloseReason, Holding, Renewed};
use fanfare_protocol::session::Control;
use fanfare_protocol::{Position, SessionId, User};
use fanfare_testkit::deadline::eventually;

use crate::fixture::{Fields, Fixture, LONG, Subscriber, channel, info, new, node, publish};

pub(crate) fn user(id: &str) -> User {
    User::new(id).unwrap()
}

pub(crate) fn claim(of: &str, session: SessionId, by: &str) -> Claim {
    let client = format!("client \"of\" {by}").as_str().into();
    Claim { user: user(of), session, node: node(by), client, limit: 3 }
}

/// Claims and answers the epoch.
pub(crate) async fn hold(broker: &dyn Broker, of: &str, session: SessionId, by: &str) -> u64 {
    match broker.claim(&claim(of, session, by)).await.unwrap() {
        Claimed::Held { epoch, .. } => epoch,
        Claimed::Full => panic!("full"),
    }
}

/// Returns the lifecycle as short lines: the event and the values of its fields, sessions by the names given.
pub(crate) async fn life<F: Fixture>(fixture: &F, names: &[(SessionId, &str)]) -> Vec<String> {
    let line = |fields: Fields| {
        let mut words: Vec<String> = fields.into_iter().map(|(_, value)| value).collect();
        for (session, name) in names {
            for word in &mut words {
                if *word == session.to_string() {
                    (*name).clone_into(word);
                }
            }
        }
        words.join(" ")
    };
    fixture.lifecycle().await.into_iter().map(line).collect()
}

pub(crate) async fn the_first_claim_brings_a_user_online<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let (s1, s2) = (SessionId::random(), SessionId::random());
    let claimed = broker.claim(&claim("u", s1, "n1")).await.unwrap();
    assert!(matches!(claimed, Claimed::Held { epoch: 1.., from: None, silence: None, .. }));
    hold(broker, "u", s2, "n2").await;
    let fields = fixture.lifecycle().await;
    let names = |entry: &Fields| entry.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&fields[0]), ["event", "user", "session", "node"]);
    let lines = life(&fixture, &[(s1, "s1"), (s2, "s2")]).await;
    assert_eq!(lines, ["session.connected u s1 n1", "user.online u", "session.connected u s2 n2"]);
}

pub(crate) async fn a_claim_finds_the_tip_of_the_users_channel<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let tip = async || match broker.claim(&claim("u", SessionId::random(), "n1")).await.unwrap() {
        Claimed::Held { tip, .. } => tip,
        Claimed::Full => panic!("full"),
    };
    assert_eq!(tip().await, Some(Position::ZERO));
    let position = publish(broker, "user:u", "1").await;
    assert_eq!(tip().await, Some(position));
    fixture.expire(&channel("user:u")).await;
    assert_eq!(tip().await, Some(position), "positions go on after the last event has expired");
}

pub(crate) async fn a_claim_moves_a_session_and_tells_its_old_owner<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let old = Subscriber::open(broker, "n1").await;
    let session = SessionId::random();
    let first = hold(broker, "u", session, "n1").await;
    let since = broker.sessions(&user("u")).await.unwrap()[0].since;
    let Claimed::Held { epoch, from, .. } = broker.claim(&claim("u", session, "n2")).await.unwrap() else {
        panic!("full")
    };
    assert!(epoch > first);
    assert_eq!(from, Some(node("n1")));
    eventually("the old owner has its command", || async { !old.controls().is_empty() }).await;
    assert_eq!(
        Control::parse(&old.controls()[0]).unwrap(),
        Control::Supersede { user: user("u"), session, epoch }
    );
    let sessions = broker.sessions(&user("u")).await.unwrap();
    assert_eq!(sessions.len(), 1);
    assert_eq!((&sessions[0].node, sessions[0].epoch, sessions[0].since), (&node("n2"), epoch, since));
    assert_eq!(&*sessions[0].client, "client \"of\" n2");
    let lines = life(&fixture, &[(session, "s")]).await;
    assert_eq!(lines, ["session.connected u s n1", "user.online u", "session.moved u s n1 n2"]);
}

pub(crate) async fn a_node_that_claims_its_own_session_again_is_not_notified<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let subscriber = Subscriber::open(broker, "n1").await;
    subscriber.subscribe(&["a"], 1).await;
    let session = SessionId::random();
    let first = hold(broker, "u", session, "n1").await;
    let claimed = broker.claim(&claim("u", session, "n1")).await.unwrap();
    let Claimed::Held { epoch, from: Some(from), .. } = claimed else { panic!("{claimed:?}") };
    assert!(epoch > first && from == node("n1"));
    publish(broker, "a", "after").await;
    subscriber.wait_messages("a", 1).await;
    assert!(subscriber.controls().is_empty());
}

pub(crate) async fn the_limit_holds_over_all_nodes_and_counts_no_session_twice<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let sessions: Vec<_> = (0..4).map(|_| SessionId::random()).collect();
    for (n, session) in sessions[..3].iter().enumerate() {
        hold(broker, "u", *session, &format!("n{n}")).await;
    }
    let before = fixture.lifecycle().await.len();
    assert_eq!(broker.claim(&claim("u", sessions[3], "n1")).await.unwrap(), Claimed::Full);
    assert_eq!(fixture.lifecycle().await.len(), before, "nothing was changed");
    hold(broker, "u", sessions[0], "n2").await;
    hold(broker, "other", sessions[3], "n2").await;
    let none = Claim { limit: 0, ..claim("unknown", sessions[3], "n2") };
    assert_eq!(broker.claim(&none).await.unwrap(), Claimed::Full);
    assert!(broker.sessions(&user("unknown")).await.unwrap().is_empty());
    let endless = Claim { limit: usize::MAX, ..claim("u", sessions[3], "n2") };
    assert!(matches!(broker.claim(&endless).await.unwrap(), Claimed::Held { .. }));
}

pub(crate) async fn only_the_owner_with_its_epoch_gives_a_session_up<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let (session, of) = (SessionId::random(), user("u"));
    let stale = hold(broker, "u", session, "n1").await;
    let epoch = hold(broker, "u", session, "n2").await;
    let release = async |by: &str, epoch, reason: CloseReason| {
        broker.release(&node(by), &of, session, epoch, reason.into()).await.unwrap()
    };
    assert!(!release("n1", stale, CloseReason::Closed).await);
    assert!(!release("n1", epoch, CloseReason::Closed).await);
    assert!(!release("n2", stale, CloseReason::Closed).await);
    assert_eq!(broker.sessions(&of).await.unwrap().len(), 1);
    assert!(release("n2", epoch, CloseReason::WriteTimeout).await);
    assert!(!release("n2", epoch, CloseReason::WriteTimeout).await);
    assert!(broker.sessions(&of).await.unwrap().is_empty());
    let lines = life(&fixture, &[(session, "s")]).await;
    assert_eq!(lines[3..], ["session.disconnected u s n2 write-timeout", "user.offline u"]);
}

pub(crate) async fn a_claim_that_was_forgotten_is_given_up_with_the_older_one<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let session = SessionId::random();
    // A fail-over has lost the second claim.
    let newer = hold(broker, "u", session, "n1").await + 1_000_000;
    assert!(
        !broker.release(&node("n2"), &user("u"), session, newer, CloseReason::Closed.into()).await.unwrap()
    );
    assert!(
        broker.release(&node("n1"), &user("u"), session, newer, CloseReason::Closed.into()).await.unwrap()
    );
    assert!(broker.sessions(&user("u")).await.unwrap().is_empty());
    let lines = life(&fixture, &[]).await;
    assert_eq!(lines.last().unwrap(), "user.offline u");
}

pub(crate) async fn an_epoch_grows_also_over_a_release<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let session = SessionId::random();
    let first = hold(broker, "u", session, "n1").await;
    assert!(
        broker.release(&node("n1"), &user("u"), session, first, CloseReason::Closed.into()).await.unwrap()
    );
    assert!(hold(broker, "u", session, "n1").await > first);
}

pub(crate) async fn sessions_are_listed_oldest_first<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    assert!(broker.sessions(&user("u")).await.unwrap().is_empty());
    let mut wanted = Vec::new();
    for n in 0..3 {
        let session = SessionId::random();
        let epoch = hold(broker, "u", session, &format!("n{n}")).await;
        wanted.push(session);
        // An epoch is not below the clock in microseconds.
        eventually("a millisecond goes by", || async {
            publish(broker, "clock", "").await.ms > epoch / 1000
        })
        .await;
    }
    let listed: Vec<_> = broker.sessions(&user("u")).await.unwrap().iter().map(|info| info.session).collect();
    assert_eq!(listed, wanted);
}

pub(crate) fn holding(of: &str, session: SessionId, epoch: u64) -> Holding {
    Holding { user: user(of), session, epoch, since: 1_700_000_000_000, client: "c".into() }
}

pub(crate) async fn renewing_changes_nothing_for_a_session_that_is_held<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let session = SessionId::random();
    let epoch = hold(broker, "u", session, "n1").await;
    let (before, lines) = (broker.sessions(&user("u")).await.unwrap(), fixture.lifecycle().await);
    let renewed = broker.renew(&node("n1"), &[holding("u", session, epoch)]).await.unwrap();
    assert_eq!(renewed, [Renewed::Held(epoch)]);
    assert_eq!(broker.sessions(&user("u")).await.unwrap(), before);
    assert_eq!(fixture.lifecycle().await, lines);
    assert!(broker.renew(&node("n1"), &[]).await.unwrap().is_empty());
}

pub(crate) async fn renewing_tells_what_is_lost<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let sessions: Vec<_> = (0..3).map(|_| SessionId::random()).collect();
    let mut held = Vec::new();
    for session in &sessions {
        held.push(holding("u", *session, hold(broker, "u", *session, "n1").await));
    }
    hold(broker, "u", sessions[0], "n2").await;
    // Ours with an epoch that we do not know.
    let unanswered = hold(broker, "u", sessions[1], "n1").await;
    let before = broker.sessions(&user("u")).await.unwrap();
    let renewed = broker.renew(&node("n1"), &held).await.unwrap();
    assert_eq!(renewed, [Renewed::Lost, Renewed::Held(unanswered), Renewed::Held(held[2].epoch)]);
    assert_eq!(broker.sessions(&user("u")).await.unwrap(), before);
}

pub(crate) async fn renewing_restores_what_is_gone<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let (s1, s2) = (SessionId::random(), SessionId::random());
    let held = [
        holding("u", s1, hold(broker, "u", s1, "n1").await),
        // A clock that has gone back: the epoch still grows.
        holding("u", s2, hold(broker, "u", s2, "n1").await + 1_000_000),
    ];
    fixture.wipe().await;
    let renewed = broker.renew(&node("n1"), &held).await.unwrap();
    for (one, held) in renewed.iter().zip(&held) {
        assert!(matches!(one, Renewed::Held(epoch) if *epoch > held.epoch), "{one:?}");
    }
    let sessions = broker.sessions(&user("u")).await.unwrap();
    assert_eq!(sessions.len(), 2);
    for info in &sessions {
        assert_eq!((info.since, &info.node, &*info.client), (1_700_000_000_000, &node("n1"), "c"));
    }
    let lines = life(&fixture, &[(s1, "s1"), (s2, "s2")]).await;
    assert_eq!(lines, ["session.connected u s1 n1", "user.online u", "session.connected u s2 n1"]);
    let Renewed::Held(epoch) = renewed[0] else { panic!("lost") };
    assert!(broker.release(&node("n1"), &user("u"), s1, epoch, CloseReason::Closed.into()).await.unwrap());
}

pub(crate) async fn renewing_restores_a_claim_that_was_forgotten<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    for id in ["n1", "n2"] {
        broker.lease(&info(id, "i"), LONG).await.unwrap();
    }
    // A fail-over has lost the newest claim of each: what is recorded is an older one.
    let (moved, stayed) = (SessionId::random(), SessionId::random());
    let older = hold(broker, "u", moved, "n1").await;
    let newer = holding("u", moved, older + 1_000_000);
    let again = holding("u", stayed, hold(broker, "u", stayed, "n1").await + 1_000_000);
    let renew = async |by: &str, held: &Holding| {
        broker.renew(&node(by), std::slice::from_ref(held)).await.unwrap()[0]
    };
    for (by, held) in [("n2", &newer), ("n1", &again)] {
        let renewed = renew(by, held).await;
        assert!(matches!(renewed, Renewed::Held(epoch) if epoch > held.epoch), "{renewed:?}");
    }
    assert_eq!(renew("n1", &holding("u", moved, older)).await, Renewed::Lost);
    let owner = async |session| {
        let all = broker.sessions(&user("u")).await.unwrap();
        all.into_iter().find(|info| info.session == session).unwrap().node
    };
    assert_eq!((owner(moved).await, owner(stayed).await), (node("n2"), node("n1")));
    let lines = life(&fixture, &[(moved, "moved"), (stayed, "stayed")]).await;
    assert_eq!(lines[3..], ["session.moved u moved n1 n2"]);
    fixture.lapse(&node("n1")).await;
    assert_eq!(broker.sweep(&node("n2"), LONG).await.unwrap().sessions, 1, "n1 owns only what stayed");
}

pub(crate) async fn a_claim_keeps_the_beginning_and_grows_beyond_a_clock_that_went_back<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let session = SessionId::random();
    let epoch = hold(broker, "u", session, "n1").await + 3_600_000_000;
    fixture.wipe().await;
    let held = holding("u", session, epoch);
    assert!(
        matches!(broker.renew(&node("n1"), &[held]).await.unwrap()[0], Renewed::Held(next) if next > epoch)
    );
    assert!(hold(broker, "u", session, "n2").await > epoch + 1);
    assert_eq!(broker.sessions(&user("u")).await.unwrap()[0].since, 1_700_000_000_000);
}

pub(crate) async fn a_session_id_belongs_to_each_of_two_users_by_itself<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let id = SessionId::random();
    let (n1, n2) = (Subscriber::open(broker, "n1").await, Subscriber::open(broker, "n2").await);
    let first = hold(broker, "alice", id, "n1").await;
    let second = hold(broker, "bob", id, "n1").await;
    // Moves bob's, and tells so whose it is.
    let moved = hold(broker, "bob", id, "n2").await;
    let command = Control::Supersede { user: user("bob"), session: id, epoch: moved };
    eventually("the old owner has its command", || async { !n1.controls().is_empty() }).await;
    assert_eq!(n1.controls().iter().map(|text| Control::parse(text).unwrap()).collect::<Vec<_>>(), [command]);
    assert!(n2.controls().is_empty());
    let owner = async |of: &str| {
        let all = broker.sessions(&user(of)).await.unwrap();
        all.into_iter().map(|info| (info.node, info.epoch)).collect::<Vec<_>>()
    };
    assert_eq!(owner("alice").await, [(node("n1"), first)]);
    assert_eq!(owner("bob").await, [(node("n2"), moved)]);
    // Neither the epoch nor the owner of one says anything of the other.
    assert!(
        !broker.release(&node("n1"), &user("bob"), id, second, CloseReason::Closed.into()).await.unwrap()
    );
    assert!(
        !broker.release(&node("n2"), &user("alice"), id, moved, CloseReason::Closed.into()).await.unwrap()
    );
    assert!(broker.release(&node("n2"), &user("bob"), id, moved, CloseReason::Closed.into()).await.unwrap());
    assert_eq!(owner("alice").await, [(node("n1"), first)]);
    assert!(owner("bob").await.is_empty());
    fixture.lapse(&node("n1")).await;
    assert_eq!(broker.sweep(&node("n9"), LONG).await.unwrap().sessions, 1);
    assert!(owner("alice").await.is_empty());
}
