//! Redis goes away, comes back, forgets, stops.

use std::collections::HashMap;
use std::time::Duration;

use fanfare_broker::lease::{SWEEP_STEP, Swept};
use fanfare_broker::log::PageLimit;
use fanfare_broker::session::{CloseReason, Holding, Renewed};
use fanfare_broker::subscriber::SubscriberEvent;
use fanfare_broker::{
    Broker, BrokerError, BrokerSettings, EventLog, IntakeQueue, Membership, Outage, RedisBroker,
    RedisSettings, SessionStore,
};
use fanfare_protocol::publish::Publication;
use fanfare_protocol::session::Control;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::wire::Frame;
use fanfare_protocol::{Position, SessionId};
use fanfare_testkit::chaos_proxy::ChaosProxy;
use fanfare_testkit::deadline::eventually;
use fanfare_testkit::redis::Redis as RedisServer;
use tokio::time::Instant;

use crate::fixture::{Fixture, Redis, Subscriber, channel, info, new, node, publication, publish, read};
use crate::intake::begin;
use crate::sessions::{claim, hold, user};

/// Impatient, so that faults are noticed within a test.
fn impatient(url: String) -> RedisBroker {
    let settings = RedisSettings {
        url,
        timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(1),
        probe_interval: Duration::from_millis(50),
        probe_timeout: Duration::from_secs(1),
        ..RedisSettings::default()
    };
    RedisBroker::connect(settings, BrokerSettings::default()).unwrap()
}

async fn try_publish(broker: &dyn Broker, name: &str) -> Result<Position, BrokerError> {
    let published = broker.publish(vec![publication(name, "x")]).await.pop().unwrap();
    published.map(|published| published.position.unwrap())
}

async fn publishes_again(broker: &dyn Broker, name: &str) {
    eventually("publishing works again", || async { try_publish(broker, name).await.is_ok() }).await;
}

fn downs(subscriber: &Subscriber) -> usize {
    subscriber.count(&SubscriberEvent::Down)
}

async fn is_down(subscriber: &Subscriber, times: usize) {
    eventually("the subscriber connection is down", || async { downs(subscriber) == times }).await;
}

async fn is_subscribed_again(subscriber: &Subscriber, names: &[&str], ticket: u64) {
    eventually("the channels are confirmed again", || async {
        let events = subscriber.events();
        let down = events.iter().rposition(|event| *event == SubscriberEvent::Down).unwrap();
        let after = &events[down..];
        let confirmed: Vec<_> = after
            .iter()
            .filter_map(
                |event| if let SubscriberEvent::Subscribed(some) = event { Some(some.clone()) } else { None },
            )
            .flatten()
            .collect();
        names.iter().all(|name| confirmed.contains(&(channel(name), ticket)))
    })
    .await;
}

#[tokio::test]
async fn a_broker_starts_without_redis_and_works_once_it_is_there() {
    let mut server = RedisServer::start().await;
    server.stop().await;
    let broker = impatient(server.url());
    let subscriber = Subscriber::open_at_once(&broker, "n");
    subscriber.request(&["a"], 1);
    for _ in 0..20 {
        let started = Instant::now();
        assert!(try_publish(&broker, "a").await.unwrap_err().is_passing());
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    assert!(broker.prepare().await.unwrap_err().is_passing());
    assert!(broker.sessions(&user("u")).await.unwrap_err().is_passing());
    assert!(broker.claim(&claim("u", SessionId::random(), "n")).await.unwrap_err().is_passing());
    assert!(
        broker.page(&channel("a"), Position::ZERO, PageLimit::entries(1)).await.unwrap_err().is_passing()
    );
    let events = subscriber.events();
    assert!(
        events.iter().all(|event| matches!(event, SubscriberEvent::Unavailable(Outage::NoAnswer))),
        "{events:?}"
    );
    server.start_again().await;
    publishes_again(&broker, "b").await;
    subscriber.confirmed(&["a"], 1).await;
    publish(&broker, "a", "1").await;
    subscriber.wait_messages("a", 1).await;
    assert_eq!(downs(&subscriber), 0, "it was never up before");
}

#[tokio::test]
async fn an_error_never_shows_the_password() {
    let server = RedisServer::start().await;
    server.get::<()>(&["CONFIG", "SET", "requirepass", "correct-horse"]).await;
    let url = server.url().replace("redis://", "redis://:hunter2@");
    let broker = impatient(url);
    let error = try_publish(&broker, "a").await.unwrap_err();
    assert!(error.is_passing(), "a password can be mended at the other end");
    for text in [error.to_string(), format!("{broker:?}"), broker.prepare().await.unwrap_err().to_string()] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    let broker = impatient(server.url().replace("redis://", "redis://:correct-horse@"));
    publishes_again(&broker, "a").await;
    assert!(!format!("{broker:?}").contains("correct-horse"));
}

#[tokio::test]
async fn flushed_scripts_are_loaded_again_and_a_batch_keeps_its_order() {
    let redis = new::<Redis>().await;
    publish(&redis.broker, "a", "first").await;
    redis.server.get::<()>(&["SCRIPT", "FLUSH"]).await;
    let batch = (0..100).map(|n| Publication { ephemeral: n % 10 == 9, ..publication("a", &n.to_string()) });
    let answers = redis.broker.publish(batch.collect()).await;
    assert!(answers.iter().all(Result::is_ok));
    let found = read(&redis.broker, "a", Position::ZERO).await;
    let wanted: Vec<_> = (0..100).filter(|n| n % 10 != 9).map(|n: i32| n.to_string()).collect();
    assert_eq!(found[1..], wanted);
    redis.server.get::<()>(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(redis.broker.locate(&channel("a"), StartAt::Earliest).await.unwrap(), Position::ZERO);
    hold(&redis.broker, "u", SessionId::random(), "n").await;
}

#[tokio::test]
async fn a_killed_wire_comes_back_and_is_confirmed_again() {
    let redis = new::<Redis>().await;
    let subscriber = Subscriber::open(&redis.broker, "n").await;
    subscriber.subscribe(&["a", "b"], 1).await;
    for round in 1..=3 {
        assert_eq!(redis.server.kill_clients("pubsub").await, 1);
        is_down(&subscriber, round).await;
        is_subscribed_again(&subscriber, &["a", "b"], 1).await;
        publish(&redis.broker, "b", &round.to_string()).await;
        subscriber.wait_messages("b", round).await;
    }
    assert_eq!(subscriber.count(&SubscriberEvent::Up), 4);
}

#[tokio::test]
async fn killed_command_connections_are_replaced() {
    let redis = new::<Redis>().await;
    for round in 0..5 {
        publish(&redis.broker, "a", &round.to_string()).await;
        assert!(redis.server.kill_clients("normal").await > 0);
        publishes_again(&redis.broker, "b").await;
        eventually("reading works again", || async {
            redis.broker.page(&channel("a"), Position::ZERO, PageLimit::entries(10)).await.is_ok()
        })
        .await;
        eventually("the pool works again", || async { redis.broker.prepare().await.is_ok() }).await;
    }
    assert_eq!(read(&redis.broker, "a", Position::ZERO).await.len(), 5);
}

#[tokio::test]
async fn what_is_asked_while_the_wire_is_down_is_done_when_it_is_up() {
    let mut redis = new::<Redis>().await;
    let subscriber = Subscriber::open(&redis.broker, "n").await;
    subscriber.subscribe(&["a", "b"], 1).await;
    redis.server.stop().await;
    is_down(&subscriber, 1).await;
    subscriber.unsubscribe(&["a"]);
    subscriber.request(&["b"], 2);
    subscriber.request(&["c"], 2);
    subscriber.request(&["d"], 2);
    subscriber.unsubscribe(&["d"]);
    redis.server.start_again().await;
    is_subscribed_again(&subscriber, &["b", "c"], 2).await;
    publishes_again(&redis.broker, "x").await;
    for name in ["a", "b", "c", "d"] {
        publish(&redis.broker, name, "1").await;
    }
    subscriber.wait_messages("c", 1).await;
    assert_eq!(subscriber.messages("b").len(), 1);
    assert!(subscriber.messages("a").is_empty() && subscriber.messages("d").is_empty());
    assert_eq!(downs(&subscriber), 1, "a loss is reported once, however many attempts fail");
}

#[tokio::test]
async fn a_redis_that_comes_back_with_its_data_goes_on_with_the_chain() {
    let mut redis = new::<Redis>().await;
    let before = publish(&redis.broker, "a", "1").await;
    redis.server.get::<()>(&["SAVE"]).await;
    redis.server.stop().await;
    assert!(try_publish(&redis.broker, "a").await.unwrap_err().is_passing());
    redis.server.start_again().await;
    publishes_again(&redis.broker, "other").await;
    let after = publish(&redis.broker, "a", "2").await;
    let page = redis.broker.page(&channel("a"), before, PageLimit::entries(10)).await.unwrap();
    assert_eq!((page.entries[0].previous, page.entries[0].position), (before, after));
}

#[tokio::test]
async fn a_redis_that_stands_still_is_noticed_though_nothing_flows() {
    let server = RedisServer::start().await;
    let broker = impatient(server.url());
    let subscriber = Subscriber::open(&broker, "n").await;
    subscriber.subscribe(&["a"], 1).await;
    publish(&broker, "a", "1").await;
    server.pause();
    let started = Instant::now();
    is_down(&subscriber, 1).await;
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(try_publish(&broker, "a").await.unwrap_err().is_passing());
    server.resume();
    is_subscribed_again(&subscriber, &["a"], 1).await;
    publishes_again(&broker, "b").await;
    publish(&broker, "a", "2").await;
    eventually("the subscriber receives again", || async {
        subscriber.messages("a").last().is_some_and(|message| message.ends_with(b"\n2"))
    })
    .await;
}

#[tokio::test]
async fn a_partition_without_a_reset_is_noticed_and_healed() {
    let server = RedisServer::start().await;
    let proxy = ChaosProxy::before(server.address()).await;
    let broker = impatient(proxy.url());
    let subscriber = Subscriber::open(&broker, "n").await;
    subscriber.subscribe(&["a"], 1).await;
    publish(&broker, "a", "1").await;
    proxy.pause();
    is_down(&subscriber, 1).await;
    assert!(try_publish(&broker, "a").await.unwrap_err().is_passing());
    proxy.resume();
    is_subscribed_again(&subscriber, &["a"], 1).await;
    publishes_again(&broker, "b").await;
}

#[tokio::test]
async fn a_wire_left_at_a_former_primary_is_noticed() {
    let (old, fresh) = (RedisServer::start().await, RedisServer::start().await);
    let proxy = ChaosProxy::before(old.address()).await;
    let broker = impatient(proxy.url());
    let subscriber = Subscriber::open(&broker, "n").await;
    subscriber.subscribe(&["a"], 1).await;
    proxy.lead_to(fresh.address());
    // The connection of commands is replaced; the subscriber connection works, but receives nothing any more.
    old.kill_clients("normal").await;
    is_down(&subscriber, 1).await;
    is_subscribed_again(&subscriber, &["a"], 1).await;
    publishes_again(&broker, "b").await;
    publish(&broker, "a", "1").await;
    subscriber.wait_messages("a", 1).await;
    assert_eq!(fresh.get::<u64>(&["XLEN", "fanfare:{a}:log"]).await, 1);
}

#[tokio::test]
async fn a_healthy_wire_is_left_alone() {
    let server = RedisServer::start().await;
    let broker = impatient(server.url());
    let subscriber = Subscriber::open(&broker, "n").await;
    subscriber.subscribe(&["a"], 1).await;
    // Far more probes than fit into the time-out.
    eventually("many probes were sent", || async { server.calls("publish").await > 30 }).await;
    assert_eq!(downs(&subscriber), 0);
}

#[tokio::test]
async fn thousands_of_channels_are_subscribed_and_subscribed_again_in_few_commands() {
    const COUNT: usize = 5000;
    let redis = new::<Redis>().await;
    let subscriber = Subscriber::open(&redis.broker, "n").await;
    let names: Vec<String> = (0..COUNT).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in &names {
        subscriber.request(&[name], 1);
    }
    let subscribed = || {
        let count = |event| if let SubscriberEvent::Subscribed(some) = event { some.len() } else { 0 };
        subscriber.events().into_iter().map(count).sum::<usize>()
    };
    let commands = async || redis.server.calls("subscribe").await;
    eventually("all are subscribed", || async { subscribed() == COUNT }).await;
    let first = commands().await;
    assert!(first <= 24, "{first} commands");
    redis.server.kill_clients("pubsub").await;
    eventually("all are subscribed again", || async { subscribed() == 2 * COUNT }).await;
    let again = commands().await - first;
    assert!(again <= 12, "{again} commands");
    for some in names.chunks(500) {
        let batch = some.iter().map(|name| publication(name, "x")).collect();
        assert!(redis.broker.publish(batch).await.iter().all(Result::is_ok));
    }
    eventually("every channel has its message", || async {
        subscriber.events().iter().filter(|event| matches!(event, SubscriberEvent::Message(..))).count()
            == COUNT
    })
    .await;
    subscriber.unsubscribe(&names);
    eventually("every channel is left", || async {
        redis.server.get::<Vec<String>>(&["PUBSUB", "CHANNELS", "*{*"]).await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn nothing_is_missed_between_the_confirmation_and_the_first_message() {
    let redis = new::<Redis>().await;
    let names: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let subscriber = Subscriber::open(&redis.broker, "n").await;
    let rounds = async {
        for round in 0..40 {
            let batch = names.iter().map(|name| publication(name, &round.to_string())).collect();
            assert!(redis.broker.publish(batch).await.iter().all(Result::is_ok));
        }
    };
    let follows = async {
        for (n, name) in names.iter().enumerate() {
            subscriber.request(&[name], 1);
            if n % 7 == 0 {
                tokio::task::yield_now().await;
            }
            if n % 3 == 0 {
                subscriber.unsubscribe(&[name]);
                subscriber.request(&[name], 2);
            }
        }
    };
    tokio::join!(rounds, follows);
    for (n, name) in names.iter().enumerate() {
        subscriber.confirmed(&[name], if n % 3 == 0 { 2 } else { 1 }).await;
        publish(&redis.broker, name, "last").await;
    }
    let mut confirmed = HashMap::new();
    let mut chains: HashMap<_, Vec<_>> = HashMap::new();
    eventually("the last of each arrives", || async {
        names
            .iter()
            .all(|name| subscriber.messages(name).last().is_some_and(|message| message.ends_with(b"last")))
    })
    .await;
    for event in subscriber.events() {
        match event {
            SubscriberEvent::Subscribed(some) => confirmed.extend(some),
            SubscriberEvent::Message(channel, topic, message) => {
                assert!(confirmed.contains_key(&channel), "a message before its confirmation");
                let Frame::Kept(entry) = Frame::parse(topic, &message, 100).unwrap() else {
                    panic!("not kept")
                };
                chains.entry(channel).or_default().push((entry.previous, entry.position));
            }
            _ => {}
        }
    }
    for chain in chains.values() {
        assert!(chain.windows(2).all(|pair| pair[0].1 == pair[1].0), "a hole");
    }
}

#[tokio::test]
async fn a_full_redis_is_a_passing_error_and_changes_nothing() {
    let redis = new::<Redis>().await;
    let last = publish(&redis.broker, "a", "1").await;
    redis.server.get::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = try_publish(&redis.broker, "a").await.unwrap_err();
    assert!(error.is_passing() && error.to_string().contains("OOM"), "{error}");
    assert!(redis.broker.claim(&claim("u", SessionId::random(), "n")).await.unwrap_err().is_passing());
    assert_eq!(read(&redis.broker, "a", Position::ZERO).await, ["1"], "reading works");
    redis.server.get::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(publish(&redis.broker, "a", "2").await > last);
    assert!(redis.broker.sessions(&user("u")).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_replica_is_a_passing_error() {
    let redis = new::<Redis>().await;
    publish(&redis.broker, "a", "1").await;
    redis.server.get::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    for _ in 0..3 {
        let error = try_publish(&redis.broker, "a").await.unwrap_err();
        assert!(error.is_passing() && error.to_string().contains("READONLY"), "{error}");
    }
    redis.server.get::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    publishes_again(&redis.broker, "a").await;
}

#[tokio::test]
async fn a_command_that_is_not_allowed_is_a_condition_and_changes_nothing() {
    let redis = new::<Redis>().await;
    let rules = ["ACL", "SETUSER", "poor", "on", ">pw", "~*", "&*", "+@all", "-xadd"];
    redis.server.get::<()>(&rules).await;
    let broker = impatient(redis.server.url().replace("redis://", "redis://poor:pw@"));
    let error = try_publish(&broker, "a").await.unwrap_err();
    // An operator may grant it, and then the same call succeeds.
    assert!(
        error.is_passing() && error.to_string().contains("lacks permissions that a node needs"),
        "{error}"
    );
    assert_eq!(redis.server.get::<u64>(&["EXISTS", "fanfare:{a}:log", "fanfare:{a}:last"]).await, 0);
}

#[tokio::test]
async fn a_user_who_may_not_name_its_connections_can_do_everything_else() {
    let redis = new::<Redis>().await;
    let rules = ["ACL", "SETUSER", "nameless", "on", ">pw", "~*", "&*", "+@all", "-client"];
    redis.server.get::<()>(&rules).await;
    let broker = impatient(redis.server.url().replace("redis://", "redis://nameless:pw@"));
    publishes_again(&broker, "a").await;
    broker.prepare().await.unwrap();
}

#[tokio::test]
async fn positions_grow_though_the_clock_has_gone_back() {
    let redis = new::<Redis>().await;
    let ahead = Position::new(9_000_000_000_000, 41);
    redis.server.get::<()>(&["SET", "fanfare:{a}:last", &ahead.to_string()]).await;
    let first = publish(&redis.broker, "a", "1").await;
    assert_eq!(first, Position::new(ahead.ms, 42));
    let second = publish(&redis.broker, "a", "2").await;
    assert!(second > first);
    redis.server.get::<()>(&["DEL", "fanfare:{a}:log"]).await;
    let third = publish(&redis.broker, "a", "3").await;
    assert!(third > second);
    let edge = "9000000000001-9007199254740993";
    redis.server.get::<()>(&["SET", "fanfare:{b}:last", edge]).await;
    assert_eq!(publish(&redis.broker, "b", "1").await, Position::new(9_000_000_000_002, 0));
}

#[tokio::test]
async fn a_lost_last_position_is_found_in_the_log() {
    let redis = new::<Redis>().await;
    let first = publish(&redis.broker, "a", "1").await;
    for spoilt in [["DEL", "fanfare:{a}:last", ""], ["SET", "fanfare:{a}:last", "x"]] {
        let words: Vec<&str> = spoilt.into_iter().filter(|word| !word.is_empty()).collect();
        redis.server.get::<()>(&words).await;
        assert!(redis.broker.locate(&channel("a"), StartAt::Latest).await.unwrap() >= first);
        let next = publish(&redis.broker, "a", "2").await;
        let page = redis.broker.page(&channel("a"), Position::ZERO, PageLimit::entries(10)).await.unwrap();
        let last = page.entries.last().unwrap();
        assert_eq!(last.position, next);
        assert_eq!(last.previous, page.entries[page.entries.len() - 2].position);
    }
}

#[tokio::test]
async fn events_that_grow_too_old_are_trimmed_from_a_busy_log() {
    let mut settings = BrokerSettings::default();
    settings.retention.default.age = Duration::from_millis(1500);
    let redis = Redis::with(settings).await;
    let first = publish(&redis.broker, "a", "old").await;
    eventually("the old event is trimmed", || async {
        let now = publish(&redis.broker, "a", "young").await;
        let oldest: Vec<(String, Vec<String>)> =
            redis.server.get(&["XRANGE", "fanfare:{a}:log", "-", "+", "COUNT", "1"]).await;
        now.ms > first.ms && oldest[0].1[3] == "young"
    })
    .await;
}

#[tokio::test]
async fn a_wiped_intake_heals_also_under_a_waiting_node() {
    let redis = new::<Redis>().await;
    let reading = begin(&redis.broker).await;
    let wait = Duration::from_secs(10);
    let wiped = async {
        redis.a_reader_waits().await;
        redis.server.get::<()>(&["FLUSHALL"]).await;
        redis.ingest(&[("channel", "a"), ("data", "1")]).await
    };
    let (taken, id) = tokio::join!(redis.broker.take_intake(&reading, 10, wait), wiped);
    assert!(taken.unwrap_err().is_passing());
    let reading = begin(&redis.broker).await;
    assert_eq!(redis.broker.take_intake(&reading, 10, wait).await.unwrap()[0].id, id);
}

#[tokio::test]
async fn a_take_that_is_given_up_does_not_spoil_the_pool() {
    let redis = new::<Redis>().await;
    let reading = begin(&redis.broker).await;
    for _ in 0..10 {
        let take = redis.broker.take_intake(&reading, 1, Duration::from_mins(1));
        assert!(tokio::time::timeout(Duration::from_millis(20), take).await.is_err());
    }
    let started = Instant::now();
    redis.broker.prepare().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn many_orphans_are_swept_in_several_turns() {
    let redis = new::<Redis>().await;
    let ttl = Duration::from_secs(30);
    redis.broker.lease(&info("n1", "i"), ttl).await.unwrap();
    let sessions: Vec<_> = (0..1500).map(|_| SessionId::random()).collect();
    let claims = sessions.iter().enumerate().map(|(n, session)| {
        let claim = claim(&format!("u{n}"), *session, "n1");
        let broker = redis.broker.clone();
        async move { broker.claim(&claim).await.unwrap() }
    });
    futures_util::future::join_all(claims).await;
    redis.lapse(&node("n1")).await;
    let mut steps = Vec::new();
    while steps.last().is_none_or(|step: &Swept| step.more) {
        steps.push(redis.broker.sweep(&node("n2"), ttl).await.unwrap());
    }
    let sessions: Vec<_> = steps.iter().map(|step| step.sessions).collect();
    assert_eq!(sessions, [SWEEP_STEP, SWEEP_STEP, SWEEP_STEP, SWEEP_STEP, SWEEP_STEP, SWEEP_STEP, 0]);
    assert_eq!(redis.server.get::<u64>(&["EXISTS", "fanfare:nodes"]).await, 0, "the node is forgotten");
}

#[tokio::test]
async fn a_sweep_that_began_spares_a_node_that_comes_back_amid_it() {
    let redis = new::<Redis>().await;
    let ttl = Duration::from_secs(30);
    let broker = &redis.broker;
    for _ in 0..30 {
        broker.lease(&info("n1", "i"), ttl).await.unwrap();
        let mut held = Vec::new();
        for n in 0..20 {
            let session = SessionId::random();
            let of = format!("u{n}");
            let epoch = hold(broker, &of, session, "n1").await;
            held.push(fanfare_broker::session::Holding {
                user: user(&of),
                session,
                epoch,
                since: 1,
                client: "c".into(),
            });
        }
        redis.lapse(&node("n1")).await;
        let sweeper = node("n2");
        let back = async {
            broker.lease(&info("n1", "i"), ttl).await.unwrap();
            broker.renew(&node("n1"), &held).await.unwrap()
        };
        let (_, renewed) = tokio::join!(broker.sweep(&sweeper, ttl), back);
        for (holding, renewed) in held.iter().zip(renewed) {
            let fanfare_broker::session::Renewed::Held(epoch) = renewed else { panic!("lost") };
            let released = broker
                .release(&node("n1"), &holding.user, holding.session, epoch, CloseReason::Closed.into())
                .await;
            assert!(released.unwrap(), "what was renewed is held");
        }
    }
}

#[tokio::test]
async fn many_calls_at_once_share_one_connection() {
    let redis = new::<Redis>().await;
    let calls = (0..2000).map(|n| {
        let broker = redis.broker.clone();
        async move { publish(&broker, &format!("c{}", n % 10), &n.to_string()).await }
    });
    let positions = futures_util::future::join_all(calls).await;
    assert_eq!(positions.len(), 2000);
    let connected = redis.server.info("connected_clients").await;
    assert!(connected <= 4.0, "{connected}");
}

#[tokio::test]
async fn connections_that_were_closed_while_idle_fail_no_call() {
    let redis = new::<Redis>().await;
    let position = publish(&redis.broker, "a", "1").await;
    for _ in 0..5 {
        assert_eq!(read(&redis.broker, "a", Position::ZERO).await, ["1"]);
        // As `timeout` of Redis, or a load balancer before it, closes what was silent for long.
        assert!(redis.server.kill_clients("normal").await > 0);
        eventually("the ends are noticed", || async {
            !format!("{:?}", redis.broker).contains("SharedConnection(\"up\")")
        })
        .await;
        assert_eq!(redis.broker.locate(&channel("a"), StartAt::Latest).await, Ok(position));
        assert_eq!(redis.broker.sessions(&user("u")).await, Ok(Vec::new()));
        redis.broker.publish(vec![publication("b", "2")]).await.pop().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_session_taken_back_after_a_fail_over_is_taken_from_its_older_owner() {
    let redis = new::<Redis>().await;
    let old = Subscriber::open(&redis.broker, "n1").await;
    let session = SessionId::random();
    // The claim of n2 was lost by the fail-over.
    let epoch = hold(&redis.broker, "u", session, "n1").await + 1_000_000;
    let held = Holding { user: user("u"), session, epoch, since: 1, client: "c".into() };
    let renewed = redis.broker.renew(&node("n2"), &[held]).await.unwrap();
    let [Renewed::Held(epoch)] = renewed[..] else { panic!("{renewed:?}") };
    eventually("the older owner has its command", || async { !old.controls().is_empty() }).await;
    assert_eq!(
        Control::parse(&old.controls()[0]).unwrap(),
        Control::Supersede { user: user("u"), session, epoch }
    );
    let index: Vec<String> = redis.server.get(&["SMEMBERS", "fanfare:node:n1:sessions"]).await;
    assert!(index.is_empty(), "{index:?}");
}
