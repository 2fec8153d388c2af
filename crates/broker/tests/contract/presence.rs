//! Contracts of presence: who follows a channel, and the reports of occupied and vacated channels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fanfare_broker::session::{Claim, Claimed, CloseReason, Holding, Presence, UserPage};
use fanfare_broker::{Broker, BrokerSettings, Membership};
use fanfare_protocol::SessionId;
use fanfare_testkit::deadline::eventually;

use crate::fixture::{Fixture, LONG, Redis, channel, info, node};
use crate::sessions::{claim, life, user};

const SHORT: Duration = Duration::from_millis(100);

pub(crate) async fn with_grace<F: Fixture>(grace: Duration) -> F {
    F::with(BrokerSettings { grace, ..BrokerSettings::default() }).await
}

pub(crate) fn following(of: &str, session: SessionId, by: &str, channels: &[&str]) -> Claim {
    let mut claim = Claim { limit: 100, ..claim(of, session, by) };
    claim.client.present_in = channels.iter().map(|name| channel(name)).collect();
    claim
}

/// Claims a session that follows channels, and answers the epoch.
pub(crate) async fn follow(
    broker: &dyn Broker,
    of: &str,
    session: SessionId,
    by: &str,
    channels: &[&str],
) -> u64 {
    match broker.claim(&following(of, session, by, channels)).await.unwrap() {
        Claimed::Held { epoch, .. } => epoch,
        Claimed::Full => panic!("full"),
    }
}

async fn release(
    broker: &dyn Broker,
    (of, session, by): (&str, SessionId, &str),
    epoch: u64,
    why: CloseReason,
) {
    assert!(broker.release(&node(by), &user(of), session, epoch, why.into()).await.unwrap());
}

/// Returns the numbers of sessions and users that follow a channel.
async fn counts(broker: &dyn Broker, name: &str) -> (usize, usize) {
    let Presence { sessions, users, list } =
        broker.presence(&channel(name), &UserPage::default()).await.unwrap();
    assert!(list.is_empty(), "nothing is listed unasked");
    (sessions, users)
}

async fn listed(broker: &dyn Broker, name: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let page = UserPage { after: after.map(user), limit };
    let found = broker.presence(&channel(name), &page).await.unwrap();
    found.list.iter().map(|user| user.id().to_owned()).collect()
}

/// Returns the reports of channels in the lifecycle stream.
pub(crate) async fn reports<F: Fixture>(fixture: &F) -> Vec<String> {
    let mut lines = life(fixture, &[]).await;
    lines.retain(|line| line.starts_with("channel."));
    lines
}

/// Sweeps until the lifecycle stream has so many reports of channels.
async fn reported<F: Fixture>(fixture: &F, count: usize) -> Vec<String> {
    eventually("the channels are reported", || async {
        fixture.broker().sweep(&node("n9"), LONG).await.unwrap();
        reports(fixture).await.len() >= count
    })
    .await;
    reports(fixture).await
}

pub(crate) async fn sessions_and_users_of_a_channel_are_counted_and_users_listed<F: Fixture>() {
    let fixture = with_grace::<F>(LONG).await;
    let broker = fixture.broker();
    let sessions: Vec<_> = std::iter::repeat_with(SessionId::random).take(5).collect();
    follow(broker, "b", sessions[0], "n1", &["room:1", "room:2"]).await;
    let epoch = follow(broker, "a", sessions[1], "n1", &["room:1"]).await;
    follow(broker, "a", sessions[2], "n2", &["room:1"]).await;
    // A user whose id begins with that of another one.
    let longer = follow(broker, "ab", sessions[3], "n2", &["room:1"]).await;
    follow(broker, "c", sessions[4], "n2", &[]).await;
    assert_eq!(counts(broker, "room:1").await, (4, 3));
    assert_eq!(counts(broker, "room:2").await, (1, 1));
    assert_eq!(counts(broker, "room").await, (0, 0));
    assert_eq!(listed(broker, "room:1", None, 10).await, ["a", "ab", "b"]);
    assert_eq!(listed(broker, "room:1", None, 2).await, ["a", "ab"]);
    assert_eq!(listed(broker, "room:1", Some("ab"), 2).await, ["b"]);
    assert_eq!(listed(broker, "room:1", Some("aa"), 1).await, ["ab"]);
    assert!(listed(broker, "room:1", Some("b"), 1).await.is_empty());
    release(broker, ("a", sessions[1], "n1"), epoch, CloseReason::Closed).await;
    assert_eq!(counts(broker, "room:1").await, (3, 3));
    release(broker, ("ab", sessions[3], "n2"), longer, CloseReason::Age).await;
    assert_eq!(listed(broker, "room:1", None, 10).await, ["a", "b"]);
    assert_eq!(counts(broker, "room:1").await, (2, 2));
}

pub(crate) async fn a_channel_is_occupied_with_its_first_session_and_vacated_after_the_grace<F: Fixture>() {
    let fixture = with_grace::<F>(SHORT).await;
    let broker = fixture.broker();
    let (s1, s2) = (SessionId::random(), SessionId::random());
    let first = follow(broker, "u", s1, "n1", &["room:1"]).await;
    let second = follow(broker, "v", s2, "n2", &["room:1"]).await;
    assert_eq!(reports(&fixture).await, ["channel.occupied room:1"]);
    release(broker, ("u", s1, "n1"), first, CloseReason::Closed).await;
    release(broker, ("v", s2, "n2"), second, CloseReason::Closed).await;
    let both = ["channel.occupied room:1", "channel.vacated room:1"];
    assert_eq!(reported(&fixture, 2).await, both);
    follow(broker, "v", s2, "n2", &["room:1"]).await;
    assert_eq!(reports(&fixture).await, [&both[..], &both[..1]].concat());
    let entry = fixture.lifecycle().await.pop().unwrap();
    let names: Vec<_> = entry.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["event", "channel"]);
}

pub(crate) async fn without_a_grace_a_channel_is_vacated_at_once<F: Fixture>() {
    let fixture = with_grace::<F>(Duration::ZERO).await;
    let broker = fixture.broker();
    let s1 = SessionId::random();
    let epoch = follow(broker, "u", s1, "n1", &["room:1"]).await;
    release(broker, ("u", s1, "n1"), epoch, CloseReason::Shutdown).await;
    assert_eq!(reports(&fixture).await, ["channel.occupied room:1", "channel.vacated room:1"]);
    assert_eq!(counts(broker, "room:1").await, (0, 0));
}

pub(crate) async fn a_channel_that_is_followed_again_within_the_grace_was_never_vacated<F: Fixture>() {
    let fixture = with_grace::<F>(LONG).await;
    let broker = fixture.broker();
    let (s1, s2) = (SessionId::random(), SessionId::random());
    let epoch = follow(broker, "u", s1, "n1", &["room:1"]).await;
    release(broker, ("u", s1, "n1"), epoch, CloseReason::Closed).await;
    assert_eq!(counts(broker, "room:1").await, (0, 0));
    broker.sweep(&node("n9"), LONG).await.unwrap();
    follow(broker, "v", s2, "n2", &["room:1"]).await;
    assert_eq!(counts(broker, "room:1").await, (1, 1));
    assert_eq!(reports(&fixture).await, ["channel.occupied room:1"]);
}

pub(crate) async fn a_session_that_moves_keeps_its_channels_occupied<F: Fixture>() {
    let fixture = with_grace::<F>(LONG).await;
    let broker = fixture.broker();
    let s1 = SessionId::random();
    let epoch = follow(broker, "u", s1, "n1", &["room:1", "room:2"]).await;
    release(broker, ("u", s1, "n1"), epoch, CloseReason::Shutdown).await;
    assert_eq!(counts(broker, "room:1").await, (1, 1), "it waits for its client");
    broker.sweep(&node("n9"), LONG).await.unwrap();
    follow(broker, "u", s1, "n2", &["room:1", "room:2"]).await;
    // Without a release, as after the end of a balancer's connection.
    follow(broker, "u", s1, "n1", &["room:1", "room:2"]).await;
    assert_eq!(counts(broker, "room:2").await, (1, 1));
    assert_eq!(reports(&fixture).await, ["channel.occupied room:1", "channel.occupied room:2"]);
}

pub(crate) async fn a_session_that_no_node_takes_over_leaves_its_channels<F: Fixture>() {
    let fixture = with_grace::<F>(SHORT).await;
    let broker = fixture.broker();
    let (s1, s2) = (SessionId::random(), SessionId::random());
    let epoch = follow(broker, "u", s1, "n1", &["room:1", "room:2"]).await;
    broker.lease(&info("n2", "i"), LONG).await.unwrap();
    follow(broker, "u", s2, "n2", &["room:2"]).await;
    release(broker, ("u", s1, "n1"), epoch, CloseReason::Shutdown).await;
    eventually("the session ends", || async { broker.sweep(&node("n9"), LONG).await.unwrap().sessions == 1 })
        .await;
    // It has waited for the grace period, and its channels do not wait again.
    let wanted = ["channel.occupied room:1", "channel.occupied room:2", "channel.vacated room:1"];
    assert_eq!(reports(&fixture).await, wanted);
    assert_eq!((counts(broker, "room:1").await, counts(broker, "room:2").await), ((0, 0), (1, 1)));
}

pub(crate) async fn a_session_of_a_dead_node_leaves_its_channels<F: Fixture>() {
    let fixture = with_grace::<F>(SHORT).await;
    let broker = fixture.broker();
    broker.lease(&info("n1", "i"), LONG).await.unwrap();
    broker.lease(&info("n2", "i"), LONG).await.unwrap();
    let (s1, s2) = (SessionId::random(), SessionId::random());
    follow(broker, "u", s1, "n1", &["room:1", "room:2"]).await;
    follow(broker, "v", s2, "n2", &["room:2"]).await;
    fixture.lapse(&node("n1")).await;
    let wanted = ["channel.occupied room:1", "channel.occupied room:2", "channel.vacated room:1"];
    assert_eq!(reported(&fixture, 3).await, wanted);
    assert_eq!((counts(broker, "room:1").await, counts(broker, "room:2").await), ((0, 0), (1, 1)));
}

pub(crate) async fn a_claim_with_other_channels_replaces_those_of_the_session<F: Fixture>() {
    let fixture = with_grace::<F>(SHORT).await;
    let broker = fixture.broker();
    let s1 = SessionId::random();
    follow(broker, "u", s1, "n1", &["room:1", "room:2"]).await;
    let epoch = follow(broker, "u", s1, "n2", &["room:2", "room:3"]).await;
    let all = async || {
        [counts(broker, "room:1").await.0, counts(broker, "room:2").await.0, counts(broker, "room:3").await.0]
    };
    assert_eq!(all().await, [0, 1, 1]);
    release(broker, ("u", s1, "n2"), epoch, CloseReason::Closed).await;
    assert_eq!(all().await, [0, 0, 0]);
    let reports: BTreeSet<_> = reported(&fixture, 6).await.into_iter().collect();
    assert_eq!(reports.len(), 6, "each channel once occupied and once vacated: {reports:?}");
}

pub(crate) async fn renewing_restores_the_channels_of_what_is_gone<F: Fixture>() {
    let fixture = with_grace::<F>(LONG).await;
    let broker = fixture.broker();
    let s1 = SessionId::random();
    let epoch = follow(broker, "u", s1, "n1", &["room:1"]).await;
    let client = following("u", s1, "n1", &["room:1"]).client;
    let held = [Holding { user: user("u"), session: s1, epoch, since: 1, client }];
    broker.renew(&node("n1"), &held).await.unwrap();
    assert_eq!(reports(&fixture).await, ["channel.occupied room:1"], "nothing was gone");
    fixture.wipe().await;
    assert_eq!(counts(broker, "room:1").await, (0, 0));
    for _ in 0..2 {
        broker.renew(&node("n1"), &held).await.unwrap();
        assert_eq!(counts(broker, "room:1").await, (1, 1));
        assert_eq!(reports(&fixture).await, ["channel.occupied room:1"]);
    }
}

pub(crate) async fn channels_beyond_the_rate_of_a_user_are_reported_by_the_check<F: Fixture>() {
    let settings = BrokerSettings { grace: SHORT, lifecycle_per_minute: 3, ..BrokerSettings::default() };
    let fixture = F::with(settings).await;
    let broker = fixture.broker();
    broker.lease(&info("n1", "i"), LONG).await.unwrap();
    let (s1, s2) = (SessionId::random(), SessionId::random());
    let names: Vec<String> = (0..6).map(|n| format!("room:{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let epoch = follow(broker, "u", s1, "n1", &names).await;
    let occupied: Vec<_> = names.iter().map(|name| format!("channel.occupied {name}")).collect();
    assert_eq!(reports(&fixture).await, occupied[..3]);
    // Of those that wait, one goes on to be followed.
    release(broker, ("u", s1, "n1"), epoch, CloseReason::Closed).await;
    follow(broker, "u", s2, "n1", &names[4..5]).await;
    let all: BTreeSet<_> = reported(&fixture, 7).await.into_iter().collect();
    let vacated = names[..3].iter().map(|name| format!("channel.vacated {name}"));
    let wanted: BTreeSet<_> = occupied[..3].iter().chain([&occupied[4]]).cloned().chain(vacated).collect();
    assert_eq!(all, wanted, "what came and went while it waited is not reported");
}

/// What the presence should be: each session with its user, its node, its epoch, its channels and whether it waits.
#[derive(Default)]
struct Model {
    sessions: BTreeMap<SessionId, Modelled>,
}

struct Modelled {
    user: &'static str,
    node: &'static str,
    epoch: u64,
    waits: bool,
    channels: BTreeSet<&'static str>,
}

const USERS: [&str; 3] = ["u", "uu", "v"];
const NODES: [&str; 2] = ["n1", "n2"];
const CHANNELS: [&str; 4] = ["a", "b", "room:1", "room:11"];

impl Model {
    fn presence(&self, name: &str) -> ((usize, usize), Vec<String>) {
        let of = self.sessions.values().filter(|session| session.channels.contains(name));
        let users: BTreeSet<_> = of.clone().map(|session| session.user.to_owned()).collect();
        ((of.count(), users.len()), users.into_iter().collect())
    }

    fn occupied(&self) -> BTreeSet<String> {
        let all = self.sessions.values().flat_map(|session| &session.channels);
        all.map(|name| (*name).to_owned()).collect()
    }
}

/// Returns the channels that a reader of the lifecycle stream believes occupied. Panics where the stream contradicts itself.
fn read(reports: &[String]) -> BTreeSet<String> {
    let mut occupied = BTreeSet::new();
    for line in reports {
        let changed = match line.split_once(' ') {
            Some(("channel.occupied", name)) => occupied.insert(name.to_owned()),
            Some(("channel.vacated", name)) => occupied.remove(name),
            _ => panic!("{line}"),
        };
        assert!(changed, "{line} in {reports:#?}");
    }
    occupied
}

pub(crate) async fn whatever_happens_presence_is_that_of_a_model<F: Fixture>() {
    for (seed, grace, per_minute) in [(1, LONG, 0), (2, Duration::ZERO, 0), (3, SHORT, 20), (4, SHORT, 0)] {
        let settings =
            BrokerSettings { grace, lifecycle_per_minute: per_minute, ..BrokerSettings::default() };
        let fixture = F::with(settings).await;
        for name in NODES {
            fixture.broker().lease(&info(name, "i"), LONG).await.unwrap();
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model = Model::default();
        let known: Vec<_> = std::iter::repeat_with(SessionId::random).take(6).collect();
        for _ in 0..150 {
            step(fixture.broker(), &mut model, &known, grace, &mut random).await;
            for name in CHANNELS {
                let found =
                    (counts(fixture.broker(), name).await, listed(fixture.broker(), name, None, 10).await);
                assert_eq!(found, model.presence(name), "{name}");
            }
            read(&reports(&fixture).await);
        }
        let believed = read(&reports(&fixture).await);
        assert!(model.occupied().is_subset(&believed) || per_minute > 0, "{believed:?}");
        if grace != LONG {
            eventually("the lifecycle stream is right", || async {
                fixture.broker().sweep(&node("n1"), LONG).await.unwrap();
                read(&reports(&fixture).await) == model.occupied()
            })
            .await;
        }
    }
}

/// Claims a session, or releases one.
async fn step(
    broker: &dyn Broker,
    model: &mut Model,
    known: &[SessionId],
    grace: Duration,
    random: &mut fastrand::Rng,
) {
    let at = random.usize(..known.len());
    let session = known[at];
    let held = model.sessions.get(&session).filter(|held| !held.waits);
    if let (Some(held), true) = (held, random.bool()) {
        let (user, node, epoch) = (held.user, held.node, held.epoch);
        // A session that waits ends at a time that the model does not know, unless the grace is long.
        let waits = grace == LONG && random.bool();
        let why = if waits { CloseReason::Shutdown } else { CloseReason::Closed };
        release(broker, (user, session, node), epoch, why).await;
        if waits {
            model.sessions.get_mut(&session).unwrap().waits = true;
        } else {
            model.sessions.remove(&session);
        }
        return;
    }
    // A session belongs to one user.
    let user = USERS[at % USERS.len()];
    let node = NODES[random.usize(..NODES.len())];
    let channels: BTreeSet<_> = CHANNELS.into_iter().filter(|_| random.bool()).collect();
    let names: Vec<_> = channels.iter().copied().collect();
    let epoch = follow(broker, user, session, node, &names).await;
    model.sessions.insert(session, Modelled { user, node, epoch, waits: false, channels });
}

/// A check may be left over, as after writes of a process that were lost in a failover.
#[tokio::test]
async fn a_check_reports_only_what_differs_from_the_last_report() {
    let redis = with_grace::<Redis>(SHORT).await;
    let broker = &redis.broker;
    follow(broker, "u", SessionId::random(), "n1", &["room:1"]).await;
    broker.lease(&info("n1", "i"), LONG).await.unwrap();
    for (member, wanted) in [
        ("occupied room:1", &["channel.occupied room:1"][..]),
        ("vacated room:2", &["channel.occupied room:1"]),
        ("occupied room:2", &["channel.occupied room:1", "channel.vacated room:2"]),
    ] {
        redis.server.get::<()>(&["ZADD", "fanfare:leaving", "1", member]).await;
        broker.sweep(&node("n9"), LONG).await.unwrap();
        assert_eq!(redis.server.get::<usize>(&["ZCARD", "fanfare:leaving"]).await, 0, "{member}");
        assert_eq!(reports(&redis).await, wanted, "{member}");
    }
}
