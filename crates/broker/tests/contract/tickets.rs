//! Contracts of tickets.

use std::time::Duration;

use fanfare_broker::Broker;
use fanfare_broker::credential_store::{NewTicket, TicketRefusal, TicketUse, TicketUsed};
use fanfare_protocol::ticket::{TicketContent, TicketId};
use fanfare_protocol::{Grants, SessionId};
use fanfare_testkit::deadline::eventually;
use futures_util::future::join_all;

use crate::fixture::{Fixture, LONG, Redis, new};
use crate::sessions::user;

fn id(byte: u8) -> TicketId {
    [byte; 32].into()
}

fn content() -> TicketContent {
    let grants: Grants = serde_json::from_str(r#"{"subscribe":["room:*"],"publish":[]}"#).unwrap();
    TicketContent { grants, expires: 5, stamp: None, key: Some("ab".into()) }
}

fn ticket(byte: u8) -> NewTicket {
    NewTicket { id: id(byte), content: content(), life: LONG, keep: 2 * LONG, limit: 3 }
}

fn usage(byte: u8, resumes: bool, binds: Option<SessionId>) -> TicketUse {
    TicketUse { id: id(byte), resumes, named: None, binds }
}

async fn create(broker: &dyn Broker, ticket: &NewTicket) -> bool {
    broker.create_ticket(&user("7"), ticket).await.unwrap()
}

async fn used(broker: &dyn Broker, usage: TicketUse) -> TicketUsed {
    broker.use_ticket(&user("7"), &usage).await.unwrap()
}

/// Opens a session, and returns the number of the opening.
async fn first(broker: &dyn Broker, byte: u8, session: SessionId) -> u64 {
    match used(broker, usage(byte, false, Some(session))).await {
        TicketUsed::First(what, opening) if what == content() => opening,
        other => panic!("{other:?}"),
    }
}

const UNKNOWN: TicketUsed = TicketUsed::Refused(TicketRefusal::Unknown);
const USED: TicketUsed = TicketUsed::Refused(TicketRefusal::Used);

pub(crate) async fn one_of_many_first_uses_gets_the_ticket<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    assert_eq!(used(broker, usage(1, false, Some(SessionId::random()))).await, UNKNOWN);
    for _ in 0..20 {
        assert!(create(broker, &ticket(1)).await);
        let uses = (0..20).map(|_| used(broker, usage(1, false, Some(SessionId::random()))));
        let results = join_all(uses).await;
        let firsts = results.iter().filter(|result| matches!(result, TicketUsed::First(..))).count();
        let refused = results.iter().filter(|result| **result == USED).count();
        assert_eq!((firsts, refused), (1, 19));
    }
}

pub(crate) async fn a_used_ticket_reopens_its_session_only<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let (session, other) = (SessionId::random(), SessionId::random());
    assert!(create(broker, &ticket(1)).await);
    let before = first(broker, 1, session).await;
    assert!(before > 0);
    let again = TicketUsed::Again(content(), session);
    assert_eq!(used(broker, usage(1, true, Some(other))).await, again, "the session stays");
    let named = |named| TicketUse { named: Some(named), ..usage(1, true, Some(named)) };
    assert_eq!(used(broker, named(session)).await, again);
    assert_eq!(used(broker, named(other)).await, TicketUsed::Refused(TicketRefusal::OtherSession));
    assert_eq!(used(broker, usage(1, false, Some(session))).await, USED);
    fixture.wipe().await;
    assert_eq!(used(broker, named(session)).await, UNKNOWN);
}

pub(crate) async fn a_look_changes_nothing<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    assert_eq!(used(broker, usage(1, false, None)).await, UNKNOWN);
    assert!(create(broker, &ticket(1)).await);
    for resumes in [false, true, false] {
        assert_eq!(used(broker, usage(1, resumes, None)).await, TicketUsed::First(content(), 0));
    }
    let session = SessionId::random();
    first(broker, 1, session).await;
    assert_eq!(used(broker, usage(1, false, None)).await, USED);
    assert_eq!(used(broker, usage(1, true, None)).await, TicketUsed::Again(content(), session));
}

pub(crate) async fn a_first_use_is_undone_unless_the_ticket_was_used_again<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let back = async |opening| broker.return_ticket(&user("7"), id(1), opening).await.unwrap();
    back(1).await;
    assert_eq!(used(broker, usage(1, false, None)).await, UNKNOWN);
    assert!(create(broker, &ticket(1)).await);
    let opening = first(broker, 1, SessionId::random()).await;
    back(opening + 1).await;
    assert_eq!(used(broker, usage(1, false, None)).await, USED, "another opening");
    back(opening).await;
    let session = SessionId::random();
    let opening = first(broker, 1, session).await;
    assert_eq!(used(broker, usage(1, true, Some(session))).await, TicketUsed::Again(content(), session));
    back(opening).await;
    assert_eq!(used(broker, usage(1, false, None)).await, USED, "used again meanwhile");
}

pub(crate) async fn a_ticket_ends_unused_soon_and_used_later<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let short = |byte| NewTicket { life: Duration::from_millis(200), ..ticket(byte) };
    assert!(create(broker, &short(1)).await && create(broker, &short(2)).await);
    let session = SessionId::random();
    first(broker, 2, session).await;
    eventually("the unused one has ended", async || used(broker, usage(1, false, None)).await == UNKNOWN)
        .await;
    assert_eq!(used(broker, usage(2, true, None)).await, TicketUsed::Again(content(), session));
    let kept = Duration::from_millis(300);
    assert!(create(broker, &NewTicket { life: kept, keep: kept, ..ticket(3) }).await);
    first(broker, 3, session).await;
    eventually("the used one has ended", async || used(broker, usage(3, true, None)).await == UNKNOWN).await;
}

pub(crate) async fn a_users_tickets_are_bounded_and_used_ones_make_room<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    for byte in [1, 2, 3] {
        assert!(create(broker, &ticket(byte)).await);
    }
    assert!(!create(broker, &ticket(4)).await, "three that are unused");
    let session = SessionId::random();
    first(broker, 2, session).await;
    // What is compared is the time, in milliseconds.
    tokio::time::sleep(Duration::from_millis(2)).await;
    first(broker, 1, session).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert!(matches!(used(broker, usage(2, true, Some(session))).await, TicketUsed::Again(..)));
    assert!(create(broker, &ticket(4)).await);
    assert_eq!(used(broker, usage(1, true, None)).await, UNKNOWN, "its last opening is longest ago");
    for byte in [2, 3, 4] {
        assert_ne!(used(broker, usage(byte, true, None)).await, UNKNOWN, "{byte}");
    }
    assert!(create(broker, &ticket(5)).await);
    assert!(!create(broker, &ticket(6)).await);
    let short = NewTicket { life: Duration::from_millis(5), limit: 4, ..ticket(7) };
    assert!(create(broker, &short).await);
    eventually("one that has ended makes room", async || {
        create(broker, &NewTicket { limit: 4, ..ticket(8) }).await
    })
    .await;
}

pub(crate) async fn a_ticket_belongs_to_its_user<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    assert!(create(broker, &ticket(1)).await);
    let usage = usage(1, true, Some(SessionId::random()));
    assert_eq!(broker.use_ticket(&user("8"), &usage).await.unwrap(), UNKNOWN);
}

#[tokio::test]
async fn tickets_leave_nothing_behind_and_what_no_node_wrote_is_removed() {
    let fixture = new::<Redis>().await;
    let broker = fixture.broker();
    let key = "fanfare:{user:7}:tickets";
    for value in ["", "x", "9999999999999 9999999999999 0", "-1 -1 0 - {}"] {
        let field = id(1).to_string();
        fixture.server.cli(&["HSET", key, &field, value]).await;
        assert_eq!(used(broker, usage(1, true, None)).await, UNKNOWN, "{value:?}");
        assert!(create(broker, &ticket(2)).await);
        assert_eq!(fixture.server.get::<usize>(&["HLEN", key]).await, 1, "{value:?}");
    }
    let ttl = async || fixture.server.get::<i64>(&["PTTL", key]).await;
    let whole = i64::try_from((2 * LONG).as_millis()).unwrap();
    assert!((1..=whole).contains(&ttl().await), "{}", ttl().await);
    let long = NewTicket { keep: 3 * LONG, ..ticket(3) };
    assert!(create(broker, &long).await && create(broker, &ticket(4)).await);
    assert!(ttl().await > whole, "the key lives as long as its longest ticket");
    // A value that another version wrote is an error, and not a stream with all rights.
    let field = id(5).to_string();
    fixture.server.cli(&["HSET", key, &field, "9999999999999 9999999999999 0 - {}"]).await;
    broker.use_ticket(&user("7"), &usage(5, true, None)).await.unwrap_err();
}
