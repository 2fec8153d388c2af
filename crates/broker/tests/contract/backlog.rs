//! Contracts of backlogs: however much comes together is worked off in full steps, one after the other, and each of them is
//! short.

use std::time::Duration;

use fanfare_broker::lease::{SWEEP_STEP, Swept};
use fanfare_broker::session::{CloseReason, Holding, Renewed};
use fanfare_broker::{Broker, BrokerSettings, Membership, SessionStore};
use fanfare_protocol::{SessionId, User};
use futures_util::{StreamExt, stream};

use crate::fixture::{Fixture, LONG, Redis, info, new, node};
use crate::sessions::{claim, user};

/// How many come together, by calls of the broker.
const MANY: usize = 2_000;
/// How many come together that a script of the test has put into Redis.
const VERY_MANY: usize = 20_000;
/// How many calls of a test are under way at once.
const AT_ONCE: usize = 500;

/// Sweeps until a step is not full, and returns the steps.
async fn sweep(broker: &dyn Broker) -> Vec<Swept> {
    let mut steps = Vec::new();
    while steps.last().is_none_or(|step: &Swept| step.more) {
        steps.push(broker.sweep(&node("n9"), LONG).await.unwrap());
        assert!(steps.len() <= 2 * VERY_MANY / SWEEP_STEP, "the sweep does not come to its end");
    }
    steps
}

/// Sweeps until enough is done: the grace of the last may not be over at once.
async fn sweep_till(broker: &dyn Broker, enough: impl Fn(&[Swept]) -> bool) -> Vec<Swept> {
    let (mut steps, mut sweeps) = (Vec::new(), 0);
    while !enough(&steps) {
        steps.extend(sweep(broker).await);
        sweeps += 1;
        assert!(sweeps < 100, "{} steps are not enough", steps.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    steps
}

/// Returns so many users with one session each on a node.
async fn claimed(broker: &dyn Broker, by: &str) -> Vec<(User, SessionId, u64)> {
    let claims = (0..MANY).map(|n| {
        let claim = claim(&format!("u{n}"), SessionId::random(), by);
        async move {
            let fanfare_broker::session::Claimed::Held { epoch, .. } = broker.claim(&claim).await.unwrap()
            else {
                panic!("full")
            };
            (claim.user, claim.session, epoch)
        }
    });
    stream::iter(claims).buffer_unordered(AT_ONCE).collect().await
}

async fn reported<F: Fixture>(fixture: &F, event: &str) -> usize {
    let all = fixture.lifecycle().await;
    all.iter().filter(|fields| fields.first().is_some_and(|(_, of)| of == event)).count()
}

pub(crate) async fn users_who_leave_together_are_reported_offline_in_full_steps<F: Fixture>() {
    let fixture =
        F::with(BrokerSettings { grace: Duration::from_millis(1), ..BrokerSettings::default() }).await;
    let broker = fixture.broker();
    let by = node("n1");
    broker.lease(&info("n1", "i"), LONG).await.unwrap();
    let (by, held) = (&by, claimed(broker, "n1").await);
    let releases = held.iter().map(|(user, session, epoch)| async move {
        assert!(broker.release(by, user, *session, *epoch, CloseReason::Closed.into()).await.unwrap());
    });
    stream::iter(releases).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    let steps = sweep_till(broker, |steps| steps.iter().map(|step| step.users).sum::<usize>() == MANY).await;
    let full = steps.iter().filter(|step| step.users == SWEEP_STEP).count();
    assert!(full >= MANY / SWEEP_STEP - 1, "{full} of {} steps", steps.len());
    assert!(steps.iter().all(|step| step.users <= SWEEP_STEP));
    assert_eq!(reported(&fixture, "user.offline").await, MANY);
}

pub(crate) async fn the_sessions_of_a_killed_node_are_swept_in_full_steps<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    broker.lease(&info("n1", "i"), LONG).await.unwrap();
    claimed(broker, "n1").await;
    fixture.lapse(&node("n1")).await;
    let steps = sweep(broker).await;
    assert!(steps.iter().all(|step| step.sessions <= SWEEP_STEP));
    assert_eq!(steps.iter().map(|step| step.sessions).sum::<usize>(), MANY);
    assert_eq!(steps.len(), MANY / SWEEP_STEP + 1);
    assert_eq!(reported(&fixture, "user.offline").await, MANY);
    assert_eq!(sweep(broker).await, [Swept::default()]);
}

pub(crate) async fn sessions_that_wait_for_another_node_end_in_full_steps<F: Fixture>() {
    let fixture =
        F::with(BrokerSettings { grace: Duration::from_millis(1), ..BrokerSettings::default() }).await;
    let broker = fixture.broker();
    let by = node("n1");
    let (by, held) = (&by, claimed(broker, "n1").await);
    let releases = held.iter().map(|(user, session, epoch)| async move {
        assert!(broker.release(by, user, *session, *epoch, CloseReason::Shutdown.into()).await.unwrap());
    });
    stream::iter(releases).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    let steps =
        sweep_till(broker, |steps| steps.iter().map(|step| step.sessions).sum::<usize>() == MANY).await;
    assert!(steps.iter().all(|step| step.users <= SWEEP_STEP));
    assert_eq!(reported(&fixture, "user.offline").await, MANY);
}

#[tokio::test]
async fn twenty_thousand_users_and_as_many_sessions_are_worked_off_by_one_sweep() {
    let redis = new::<Redis>().await;
    // Users without a session whose grace is over, and the sessions of a node that was killed.
    let script = "
        for n = 1, tonumber(ARGV[1]) do
          redis.call('ZADD', 'fanfare:leaving', n, 'gone' .. n)
          local id = string.format('00000000-0000-4000-8000-%012d', n)
          redis.call('HSET', 'fanfare:{user:u' .. n .. '}:sessions', id, '{\"node\":\"n1\",\"epoch\":1,\"since\":1}')
          redis.call('SADD', 'fanfare:node:n1:sessions', id .. ' u' .. n)
        end
        redis.call('SADD', 'fanfare:nodes', 'n1')
        return 1";
    redis.server.get::<u8>(&["EVAL", script, "0", &VERY_MANY.to_string()]).await;
    let steps = sweep(&redis.broker).await;
    assert_eq!(steps.len(), VERY_MANY / SWEEP_STEP + 1, "each step is full");
    let total = steps.into_iter().fold(Swept::default(), |mut total, step| {
        total += step;
        total
    });
    let done = Swept { sessions: VERY_MANY, users: VERY_MANY, ..Swept::default() };
    assert_eq!(total, done);
    // Each user offline, and before it the sessions of half of them disconnected.
    assert_eq!(redis.server.get::<usize>(&["XLEN", "fanfare:lifecycle"]).await, 3 * VERY_MANY);
    let left: Vec<String> = redis.server.get(&["KEYS", "*"]).await;
    assert_eq!(left.len(), 2, "the lifecycle and the lock: {:?}", &left[..left.len().min(5)]);
}

#[tokio::test]
async fn twenty_thousand_sessions_are_renewed_in_an_empty_redis() {
    let redis = new::<Redis>().await;
    let held: Vec<_> = (0..VERY_MANY)
        .map(|n| Holding {
            user: user(&format!("u{n}")),
            session: SessionId::random(),
            epoch: 7,
            since: 1,
            client: "c".into(),
        })
        .collect();
    let renewed = redis.broker.renew(&node("n1"), &held).await.unwrap();
    assert_eq!(renewed.iter().filter(|renewed| matches!(renewed, Renewed::Held(_))).count(), VERY_MANY);
    assert_eq!(redis.server.get::<usize>(&["SCARD", "fanfare:node:n1:sessions"]).await, VERY_MANY);
}

#[tokio::test]
async fn names_of_nodes_that_left_nothing_are_forgotten_in_full_steps() {
    let redis = new::<Redis>().await;
    let names: Vec<String> = (0..3000).map(|n| format!("gone-{n}")).collect();
    let mut add = vec!["SADD", "fanfare:nodes"];
    add.extend(names.iter().map(String::as_str));
    redis.server.get::<()>(&add).await;
    redis.broker.lease(&info("n9", "i"), LONG).await.unwrap();
    assert!(sweep(&redis.broker).await.len() <= 10);
    let left: Vec<String> = redis.server.get(&["SMEMBERS", "fanfare:nodes"]).await;
    assert_eq!(left, ["n9"]);
}

#[tokio::test]
async fn a_key_of_another_type_keeps_none_behind_it_waiting() {
    let redis = new::<Redis>().await;
    let (mut add, mut spoil) =
        (vec!["ZADD".to_owned(), "fanfare:leaving".to_owned()], vec!["MSET".to_owned()]);
    for n in 0..SWEEP_STEP {
        add.extend([n.to_string(), format!("spoilt{n}"), (SWEEP_STEP + n).to_string(), format!("u{n}")]);
        spoil.extend([format!("fanfare:{{user:spoilt{n}}}:sessions"), "x".to_owned()]);
    }
    // No node wrote this.
    add.extend(["0".to_owned(), "no user".to_owned()]);
    for command in [add, spoil] {
        redis.server.get::<()>(&command.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let steps = sweep(&redis.broker).await;
    assert!(steps.iter().any(|step| step.fault.is_some()), "what is spoilt is reported: {steps:?}");
    assert_eq!(reported(&redis, "user.offline").await, SWEEP_STEP);
    assert!(redis.broker.sessions(&user("u0")).await.unwrap().is_empty());
    assert_eq!(
        redis.server.get::<usize>(&["ZCARD", "fanfare:leaving"]).await,
        SWEEP_STEP,
        "to be looked at again"
    );
}

#[tokio::test]
async fn an_index_of_another_type_keeps_no_user_waiting() {
    let redis = new::<Redis>().await;
    redis.server.get::<()>(&["SADD", "fanfare:nodes", "n1"]).await;
    redis.server.get::<()>(&["SET", "fanfare:node:n1:sessions", "x"]).await;
    redis.server.get::<()>(&["ZADD", "fanfare:leaving", "1", "u"]).await;
    let [step] = &sweep(&redis.broker).await[..] else { panic!("one step") };
    assert!(step.fault.is_some() && step.users == 1, "{step:?}");
    assert_eq!(reported(&redis, "user.offline").await, 1);
}
