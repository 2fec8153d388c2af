//! No script holds Redis for more than some milliseconds, whatever the data. What is measured is the time on the processor,
//! which a busy machine does not change much.

use std::time::Duration;

use fanfare_broker::lease::LeaseOutcome;
use fanfare_broker::log::{Likely, NEWEST_BYTES, PageLimit};
use fanfare_broker::session::{CloseReason, UserPage};
use fanfare_broker::{
    AckStore, BrokerSettings, EventLog, IntakeQueue, Membership, RedisBroker, SessionStore,
};
use fanfare_protocol::cursor::MAX_CURSOR_CHANNELS;
use fanfare_protocol::reader::Reader;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Position, SessionId};
use fanfare_testkit::deadline::eventually;
use fanfare_testkit::redis::Redis as RedisServer;
use prometheus_client::registry::Registry;

use crate::fixture::{Fixture, LONG, Redis, channel, info, new, node, publication, publish};
use crate::presence::{follow, with_grace};
use crate::sessions::user;

/// Several times of what was measured, and a small part of what it was when it depended on the data.
const FEW: Duration = Duration::from_millis(25);

/// Returns the time on the processor that Redis has used so far.
async fn used(server: &RedisServer) -> Duration {
    let info: String = server.get(&["INFO", "cpu"]).await;
    let figure = |name: &str| -> f64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().parse().unwrap()
    };
    Duration::from_secs_f64(figure("used_cpu_user_main_thread") + figure("used_cpu_sys_main_thread"))
}

/// Returns the memory that Redis uses, in bytes.
async fn memory(server: &RedisServer) -> usize {
    server
        .get::<String>(&["INFO", "memory"])
        .await
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:")?.parse().ok())
        .unwrap()
}

/// Makes some calls, and fails if they take too long on the average.
async fn is_short<T>(redis: &Redis, what: &str, call: impl AsyncFn() -> T) {
    const TIMES: u32 = 8;
    let before = used(&redis.server).await;
    for _ in 0..TIMES {
        call().await;
    }
    let each = used(&redis.server).await.saturating_sub(before) / TIMES;
    assert!(each < FEW, "{what}: {each:?}");
}

#[tokio::test]
async fn reading_a_log_of_large_events_holds_redis_for_milliseconds() {
    for size in [60 * 1024, 1 << 20] {
        let redis = Redis::with(BrokerSettings { max_data: 1 << 20, ..BrokerSettings::default() }).await;
        let (broker, a) = (&redis.broker, channel("a"));
        for _ in 0..8 {
            let batch = (0..100).map(|_| publication("a", &"x".repeat(size))).take((60 << 20) / size / 8);
            assert!(broker.publish(batch.collect()).await.iter().all(Result::is_ok));
        }
        is_short(&redis, "last=1000", async || broker.locate(&a, StartAt::Newest(1000)).await.unwrap()).await;
        is_short(&redis, "earliest", async || broker.locate(&a, StartAt::Earliest).await.unwrap()).await;
        let limit = PageLimit { entries: 1000, bytes: NEWEST_BYTES, likely: Likely::Long };
        is_short(&redis, "history", async || broker.page(&a, Position::ZERO, limit).await.unwrap()).await;
    }
}

#[tokio::test]
async fn reading_dead_letters_holds_redis_for_milliseconds() {
    for (count, size) in [(40, 1 << 20), (5000, 100)] {
        let redis = Redis::with(BrokerSettings { max_data: 1 << 20, ..BrokerSettings::default() }).await;
        let data = "x".repeat(size);
        for _ in 0..count {
            let fields = ["reason", "r", "entry", "1-0", "channel", "a", "data", &data];
            redis.server.get::<String>(&[&["XADD", "fanfare:ingest:dead", "*"], &fields[..]].concat()).await;
        }
        let page = async || redis.broker.dead_letters(Position::ZERO, 1000, 1 << 20).await.unwrap();
        is_short(&redis, "a page of dead letters", page).await;
    }
}

#[tokio::test]
async fn acknowledging_holds_redis_for_milliseconds() {
    let redis = new::<Redis>().await;
    let (user, reader) = (user("7"), Reader::Session(SessionId::random()));
    let of =
        |first: u64| (0..MAX_CURSOR_CHANNELS as u64).map(move |n| (first + n, Position::new(1000 + n, 0)));
    let (some, others): (Vec<_>, Vec<_>) = (of(0).collect(), of(1000).collect());
    is_short(&redis, "256 positions that replace others", async || {
        redis.broker.acknowledge(&user, &reader, &some).await.unwrap();
        redis.broker.acknowledge(&user, &reader, &others).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_function_holds_redis_for_milliseconds_whatever_the_text() {
    let redis = Redis::with(BrokerSettings { max_data: 1 << 20, ..BrokerSettings::default() }).await;
    for text in ["x", "é", "漢", "😀", "é漢😀x"] {
        let data = text.repeat((1 << 20) / text.len());
        let call = async || {
            let words = ["FCALL", "fanfare_publish", "1", "fanfare:{a}:log", "t", &data];
            redis.server.get::<(String, u8)>(&words).await
        };
        is_short(&redis, text, call).await;
    }
}

#[tokio::test]
async fn a_name_that_comes_back_twice_before_the_sweep_takes_over_in_steps() {
    let redis = new::<Redis>().await;
    let server = &redis.server;
    let fill = |set: &'static str, what: &'static str, count: usize| async move {
        let script = "for i = 1, ARGV[2] do redis.call('SADD', KEYS[1], ARGV[1] .. i) end";
        server.get::<()>(&["EVAL", script, "1", set, what, &count.to_string()]).await;
    };
    let (index, former) = ("fanfare:node:n1:sessions", "fanfare:node:n1:former");
    server.get::<()>(&["SET", "fanfare:node:n1:incarnation", "i0"]).await;
    fill(index, "of the first ", 4500).await;
    let lease =
        async |incarnation| redis.broker.lease(&info("n1", incarnation), Duration::from_secs(30)).await;
    assert_eq!(lease("i1").await.unwrap(), LeaseOutcome::Taken);
    server.get::<()>(&["DEL", "fanfare:node:n1"]).await;
    fill(index, "of the second ", 4500).await;
    assert_eq!(lease("i2").await.unwrap(), LeaseOutcome::Taken);
    let left: (usize, usize) = (server.get(&["SCARD", index]).await, server.get(&["SCARD", former]).await);
    assert_eq!(left, (0, 9000), "all of it is put aside for the sweep");
    let calls: String = server.get(&["INFO", "commandstats"]).await;
    assert!(calls.contains("cmdstat_spop:calls=5,") && !calls.contains("cmdstat_sunionstore"), "{calls}");
}

/// Claims sessions, each of another user, and returns what one of them took: bytes, and commands of some kinds.
async fn claims(count: usize, recorded: bool) -> (usize, Vec<u64>) {
    // Few entries, so that the stream takes nothing that depends on the number of claims.
    let settings = BrokerSettings { grace: LONG, lifecycle_events: 100, ..BrokerSettings::default() };
    let redis = Redis::with(settings).await;
    let before = memory(&redis.server).await;
    for number in 0..count {
        let (user, channel) = (format!("user-{number:05}"), format!("room:{number:05}"));
        let channels: &[&str] = if recorded { &[&channel] } else { &[] };
        follow(&redis.broker, &user, SessionId::random(), "n1", channels).await;
    }
    let bytes = (memory(&redis.server).await - before) / count;
    let mut commands = Vec::new();
    for command in ["zcard", "zadd", "zrem", "zscore", "xadd"] {
        commands.push(redis.server.calls(command).await / count as u64);
    }
    (bytes, commands)
}

#[tokio::test]
async fn a_channel_with_one_follower_takes_few_bytes_and_commands_and_one_that_is_not_recorded_none() {
    let (without, commands) = claims(2000, false).await;
    // Whether a key has another type, whether the user is about to be offline, and the reports of the session and the user.
    assert_eq!(commands, [1, 0, 0, 1, 2]);
    let (with, commands) = claims(2000, true).await;
    assert_eq!(commands, [2, 1, 1, 2, 3]);
    let each = with - without;
    assert!(each < 400, "{each} bytes");
}

#[tokio::test]
async fn sessions_that_follow_many_channels_hold_redis_for_milliseconds() {
    let redis = with_grace::<Redis>(LONG).await;
    let broker = &redis.broker;
    let names =
        |first: usize| (first..first + MAX_CURSOR_CHANNELS).map(|n| format!("room:{n}")).collect::<Vec<_>>();
    let (some, others) = (names(0), names(1000));
    let [some, others] = [&some, &others].map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
    let session = SessionId::random();
    is_short(&redis, "a claim with 256 channels that replace others", async || {
        follow(broker, "u", session, "n1", &some).await;
        follow(broker, "u", session, "n1", &others).await;
    })
    .await;
    // A user with many sessions whose node drained, and none of whose clients comes back.
    let redis = with_grace::<Redis>(Duration::from_millis(1)).await;
    let broker = &redis.broker;
    for number in 0..16 {
        let session = SessionId::random();
        let epoch = follow(broker, "u", session, "n1", if number % 2 == 0 { &some } else { &others }).await;
        let released =
            broker.release(&node("n1"), &user("u"), session, epoch, CloseReason::Shutdown.into()).await;
        assert!(released.unwrap());
    }
    is_short(&redis, "the end of the grace period", async || broker.sweep(&node("n1"), LONG).await.unwrap())
        .await;
    let page = UserPage { after: None, limit: 1000 };
    for number in 0..2000 {
        follow(broker, &format!("u{number}"), SessionId::random(), "n1", &["room:1"]).await;
    }
    let bytes: usize = redis.server.get(&["MEMORY", "USAGE", "fanfare:presence:room:1"]).await;
    assert!(bytes / 2000 < 300, "{bytes} bytes for 2000 sessions and as many users");
    is_short(&redis, "a page of users", async || broker.presence(&channel("room:1"), &page).await.unwrap())
        .await;
}

/// Returns how many pipelines of commands the broker has sent.
fn sent(broker: &RedisBroker) -> u64 {
    let (mut registry, mut text) = (Registry::default(), String::new());
    broker.register_metrics(&mut registry);
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let line = "fanfare_redis_latency_seconds_count{connection=\"commands\"} ";
    text.lines().find_map(|row| row.strip_prefix(line)?.parse().ok()).unwrap()
}

/// Six sessions, each of another user with so many channels, whose node drained or died. Returns how many pipelines one step of the
/// sweep sent.
async fn sweep_of(channels: usize, drained: bool) -> u64 {
    let redis = with_grace::<Redis>(if drained { Duration::from_millis(1) } else { LONG }).await;
    let broker = &redis.broker;
    let names: Vec<String> = (0..channels).map(|n| format!("room:{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for number in 0..6 {
        let (name, session) = (format!("u{number}"), SessionId::random());
        let epoch = follow(broker, &name, session, "n1", &names).await;
        if drained {
            let end = CloseReason::Shutdown.into();
            assert!(broker.release(&node("n1"), &user(&name), session, epoch, end).await.unwrap());
        }
    }
    if drained {
        let due = "return redis.call('ZCOUNT', 'fanfare:leaving', '-inf', redis.call('TIME')[1] * 1000)";
        eventually("the grace period is over", async || {
            redis.server.get::<usize>(&["EVAL", due, "0"]).await == 6
        })
        .await;
    }
    let before = sent(broker);
    let swept = broker.sweep(&node("n9"), LONG).await.unwrap();
    assert_eq!((swept.sessions, swept.fault), (6, None));
    let sent = sent(broker) - before;
    assert!(redis.server.keys("fanfare:presence:*").await.is_empty());
    sent
}

#[tokio::test]
async fn a_sweep_ends_sessions_with_many_channels_in_several_pipelines() {
    for drained in [false, true] {
        // Two sessions with 256 channels fill a pipeline.
        assert_eq!(sweep_of(MAX_CURSOR_CHANNELS, drained).await, sweep_of(1, drained).await + 2);
    }
}

#[tokio::test]
async fn the_sessions_of_one_user_with_very_many_channels_end_in_steps_that_follow_each_other() {
    let redis = with_grace::<Redis>(Duration::from_millis(1)).await;
    let broker = &redis.broker;
    let names: Vec<String> = (0..MAX_CURSOR_CHANNELS).map(|n| format!("room:{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for _ in 0..7 {
        let session = SessionId::random();
        let epoch = follow(broker, "u", session, "n1", &names).await;
        let end = CloseReason::Shutdown.into();
        assert!(broker.release(&node("n1"), &user("u"), session, epoch, end).await.unwrap());
    }
    let mut ended = Vec::new();
    eventually("the grace period is over", async || {
        let swept = broker.sweep(&node("n9"), LONG).await.unwrap();
        if swept.sessions > 0 {
            ended.push(swept.sessions);
        }
        !ended.is_empty() && !swept.more
    })
    .await;
    assert_eq!(ended.iter().sum::<usize>(), 7);
    assert!(ended.iter().all(|&sessions| sessions <= 2), "{ended:?}");
    assert!(redis.server.keys("fanfare:presence:*").await.is_empty());
}

#[tokio::test]
async fn a_channel_of_one_short_event_with_a_key_takes_less_than_a_kilobyte() {
    const COUNT: usize = 2000;
    let redis = new::<Redis>().await;
    publish(&redis.broker, "warm", "x").await;
    let before = memory(&redis.server).await;
    for first in (0..COUNT).step_by(500) {
        let batch = (first..first + 500).map(|n| fanfare_protocol::publish::Publication {
            key: Some(format!("order-{n}")),
            ..publication(&format!("user:{n}"), "twenty bytes of data")
        });
        assert!(redis.broker.publish(batch.collect()).await.iter().all(Result::is_ok));
    }
    let each = (memory(&redis.server).await - before) / COUNT;
    assert!(each < 1024, "{each} bytes");
    // And it is the log that it was.
    let page = redis.broker.page(&channel("user:7"), Position::ZERO, PageLimit::entries(10)).await.unwrap();
    assert_eq!((page.entries.len(), page.entries[0].previous), (1, Position::ZERO));
    let keys: Vec<String> = redis.server.get(&["KEYS", "fanfare:{user:7}:*"]).await;
    assert_eq!(keys.len(), 3, "{keys:?}");
    let ttl: i64 = redis.server.get(&["PTTL", "fanfare:{user:7}:log"]).await;
    assert!(ttl > 0, "it expires");
}
