//! What comes together is worked off as fast as Redis allows, not at a number for each tick.

use std::time::Duration;

use fanfare_testkit::deadline::until;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;

const MANY: usize = 20_000;

/// Far less than a rate of 200 a second would need, which is 100 s; far more than is needed.
const LIMIT: Duration = Duration::from_secs(50);

async fn populate(redis: &Redis, script: &str) {
    redis.get::<u8>(&["EVAL", script, "0", &MANY.to_string()]).await;
}

async fn becomes_empty(redis: &Redis, what: &str, count: &[&str]) {
    until(what, LIMIT, async || match redis.get::<usize>(count).await {
        0 => Ok(()),
        left => Err(left),
    })
    .await;
}

#[tokio::test]
async fn twenty_thousand_users_who_left_together_are_reported_offline_by_one_look() {
    let redis = Redis::start().await;
    populate(
        &redis,
        "for n = 1, tonumber(ARGV[1]) do redis.call('ZADD', 'fanfare:leaving', n, 'u' .. n) end return 1",
    )
    .await;
    let node = Node::of(&redis).set("INTAKE__ENABLED", "false").start().await;
    becomes_empty(&redis, "all are reported", &["ZCARD", "fanfare:leaving"]).await;
    assert_eq!(redis.get::<usize>(&["XLEN", "fanfare:lifecycle"]).await, MANY);
    until("all are counted", LIMIT, async || {
        let counted = node.metrics().await.sum("fanfare_users_departed_total", &[]);
        if counted >= 20_000.0 { Ok(()) } else { Err(counted) }
    })
    .await;
}

#[tokio::test]
async fn twenty_thousand_sessions_of_a_killed_node_are_swept_by_one_look() {
    let redis = Redis::start().await;
    populate(
        &redis,
        "for n = 1, tonumber(ARGV[1]) do
           local id = string.format('00000000-0000-4000-8000-%012d', n)
           redis.call('HSET', 'fanfare:{user:u' .. n .. '}:sessions', id, '{\"node\":\"gone\",\"epoch\":1,\"since\":1}')
           redis.call('SADD', 'fanfare:node:gone:sessions', id .. ' u' .. n)
         end
         redis.call('SADD', 'fanfare:nodes', 'gone')
         return 1",
    )
    .await;
    let _node = Node::of(&redis).start().await;
    becomes_empty(&redis, "all are swept", &["SCARD", "fanfare:node:gone:sessions"]).await;
    assert!(redis.keys("fanfare:{user:*}:sessions").await.is_empty());
}

#[tokio::test]
async fn twenty_thousand_intake_entries_are_published_as_they_are() {
    let redis = Redis::start().await;
    populate(
        &redis,
        "for n = 1, tonumber(ARGV[1]) do
           redis.call('XADD', 'fanfare:ingest', '*', 'channel', 'room:' .. n % 10, 'data', n)
         end
         return 1",
    )
    .await;
    let _node = Node::of(&redis).set("RETENTION__EVENTS", "10000").start().await;
    becomes_empty(&redis, "all are published", &["XLEN", "fanfare:ingest"]).await;
    for n in 0..10 {
        let log = format!("fanfare:{{room:{n}}}:log");
        assert_eq!(redis.get::<usize>(&["XLEN", &log]).await, MANY / 10);
    }
}
