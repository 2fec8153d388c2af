//! Idempotency keys that are long or many: each takes memory of Redis.

use std::time::{Duration, Instant};

use fanfare_testkit::api::{Answer, Api};
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::Node;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use futures_util::future::join_all;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const KEYS: &str = "fanfare:*:once:*";
/// The longest key, in bytes.
const LONGEST: usize = 128;

#[tokio::test]
async fn a_key_is_bounded_in_length_and_in_time_on_every_way_in() {
    const WINDOW: Duration = Duration::from_secs(5);
    let redis = Redis::start().await;
    let node = Node::of(&redis).set("PUBLISH__IDEMPOTENCY_WINDOW", "5s").start().await;
    let mut publisher = Publisher::on(&redis).await;
    let event = |key: &str| json!({"channel": "room:1", "type": "t", "data": "x", "key": key});
    let by_header = async |key: &str| {
        let body = json!({"channel": "room:1", "type": "t", "data": "x"}).to_string();
        node.api().call("POST", "/v1/publish", &[JSON, ("idempotency-key", key)], body).await.unwrap().status
    };
    let entry = |key: &str| {
        [("channel", "room:1"), ("type", "t"), ("data", "x"), ("key", key)]
            .map(|(name, value)| (name, value.as_bytes().to_vec()))
    };
    let dead = async |least: usize| {
        until("the entry is in the dead-letter stream", SOON, async || {
            let dead: usize = redis.get(&["XLEN", "fanfare:ingest:dead"]).await;
            if dead >= least { Ok(()) } else { Err(dead) }
        })
        .await;
    };

    let long = "k".repeat(LONGEST + 1);
    assert_eq!(node.api().post(&event(&long)).await.unwrap().status, 400);
    let batch = node.api().post(&json!([event(&long)])).await.unwrap().json();
    assert_eq!(batch[0]["error"]["status"], 400, "{batch}");
    assert_eq!(by_header(&long).await, 400);
    assert!(publisher.call("room:1", "t", "x", Some(&long)).await.is_err());
    let fields = entry(&long);
    publisher.ingest(&fields.each_ref().map(|(name, value)| (*name, &**value))).await.unwrap();
    dead(1).await;
    assert_eq!(redis.keys(KEYS).await, Vec::<String>::new());

    // One for each way in, as long as they may be.
    let key = |first: &str| first.repeat(LONGEST);
    assert_eq!(node.api().post(&event(&key("a"))).await.unwrap().status, 200);
    assert_eq!(by_header(&key("b")).await, 200);
    publisher.call("room:1", "t", "x", Some(&key("c"))).await.unwrap();
    let fields = entry(&key("d"));
    publisher.ingest(&fields.each_ref().map(|(name, value)| (*name, &**value))).await.unwrap();
    until("the entry is published", SOON, async || {
        let exists: usize = redis.get(&["EXISTS", &format!("fanfare:{{room:1}}:once:{}", key("d"))]).await;
        if exists == 1 { Ok(()) } else { Err("not yet") }
    })
    .await;
    let window = i64::try_from(WINDOW.as_millis()).unwrap();
    for name in redis.keys(KEYS).await {
        let left: i64 = redis.get(&["PTTL", &name]).await;
        // -2: it has expired meanwhile. -1 would be for ever.
        assert!(left == -2 || (0..=window).contains(&left), "{name} lives for {left} ms");
        let bytes: Option<usize> = redis.get(&["MEMORY", "USAGE", &name]).await;
        assert!(bytes.unwrap_or_default() <= 150 + 2 * LONGEST, "{name} takes {bytes:?} bytes");
    }
    until("all keys have expired", SOON, async || {
        let left = redis.keys(KEYS).await;
        if left.is_empty() { Ok(()) } else { Err(left.join(" ")) }
    })
    .await;
}

/// The ways in over HTTP.
#[derive(Clone, Copy, Debug)]
enum Way {
    Field,
    Header,
    BatchOfFields,
    BatchWithHeader,
}

const WAYS: [Way; 4] = [Way::Field, Way::Header, Way::BatchOfFields, Way::BatchWithHeader];

impl Way {
    /// Publishes `count` events to a channel, each with a new key, at once.
    async fn publish(self, api: &Api, channel: &str, count: usize, round: usize) -> Vec<Answer> {
        let plain = json!({"channel": channel, "type": "t", "data": "x"});
        let with_key = |n: usize| {
            let mut event = plain.clone();
            event["key"] = format!("{round}-{n}").into();
            event
        };
        let call = async |header: Option<String>, body: Value| {
            let mut headers = vec![JSON];
            headers.extend(header.as_deref().map(|key| ("idempotency-key", key)));
            api.call("POST", "/v1/publish", &headers, body.to_string()).await.unwrap()
        };
        let key = |n: usize| Some(format!("{round}-{n}"));
        match self {
            Self::Field => join_all((0..count).map(|n| call(None, with_key(n)))).await,
            Self::Header => join_all((0..count).map(|n| call(key(n), plain.clone()))).await,
            Self::BatchOfFields => vec![call(None, (0..count).map(with_key).collect()).await],
            Self::BatchWithHeader => vec![call(key(0), vec![plain.clone(); count].into()).await],
        }
    }
}

fn is_limited(answer: &Answer, scope: &str) {
    let setting = format!("limits.{scope}.idempotency_keys_per_second");
    let words = [&*format!("more than {RATE} new idempotency keys"), &setting];
    answer.is_problem(429, "rate-limited", &words).unwrap_or_else(|e| panic!("{e}"));
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| (1..=10).contains(&seconds)));
}

/// Returns the most keys that a rate allows since then: a second's worth at once, and a last batch that is admitted as a whole.
fn most(begun: Instant) -> usize {
    RATE * (usize::try_from(begun.elapsed().as_secs()).unwrap() + 3)
}

/// New keys a second in these tests.
const RATE: usize = 20;
const ROUNDS: usize = 20;

#[tokio::test]
async fn new_keys_are_limited_by_user_on_every_way_in_over_http() {
    let redis = Redis::start().await;
    let node = Node::of(&redis)
        .auth("jwt")
        .set("LIMITS__USER__IDEMPOTENCY_KEYS_PER_SECOND", &RATE.to_string())
        .start()
        .await;
    let publisher = |user: &str| node.api().with_token(&Token::of(user).publish(&["room:*"]).sign());
    let mut counted = 0;
    for way in WAYS {
        let (eve, channel) = (publisher(&format!("{way:?}")), format!("room:{way:?}"));
        let begun = Instant::now();
        let mut refused = Vec::new();
        for round in 0..ROUNDS {
            let answers = way.publish(&eve, &channel, RATE, round).await;
            refused.extend(answers.into_iter().filter(|answer| answer.status != 200));
        }
        let keys = redis.keys(&format!("fanfare:{{{channel}}}:once:*")).await.len();
        assert!((RATE..=most(begun)).contains(&keys), "{way:?}: {keys} keys after {:?}", begun.elapsed());
        assert!(!refused.is_empty(), "{way:?}");
        for answer in &refused {
            is_limited(answer, "user");
        }
        counted += refused.len();
        // What has no key passes, and so does another user.
        eve.publish(&channel, "t", "x").await;
        let other = way.publish(&publisher(&format!("not-{way:?}")), &channel, 1, ROUNDS).await;
        assert_eq!(other[0].status, 200, "{way:?}: {}", other[0].text);
    }
    let labels = [r#"scope="user""#, r#"kind="idempotency_keys""#];
    let metric = node.metrics().await.sum("fanfare_rate_limited_total", &labels);
    assert!((metric - f64::from(u32::try_from(counted).unwrap())).abs() < 0.5, "{metric} of {counted}");
}

#[tokio::test]
async fn new_keys_of_many_users_are_limited_by_address() {
    let redis = Redis::start().await;
    let node = Node::of(&redis)
        .auth("jwt")
        .set("LIMITS__ADDRESS__IDEMPOTENCY_KEYS_PER_SECOND", &RATE.to_string())
        .start()
        .await;
    let begun = Instant::now();
    let mut refused = 0;
    for round in 0..ROUNDS {
        let token = Token::of(&format!("{round}")).publish(&["room:*"]).sign();
        for answer in Way::BatchOfFields.publish(&node.api().with_token(&token), "room:1", RATE, round).await
        {
            if answer.status != 200 {
                is_limited(&answer, "address");
                refused += 1;
            }
        }
    }
    let keys = redis.keys(KEYS).await.len();
    assert!((RATE..=most(begun)).contains(&keys) && refused > 0, "{keys} keys, {refused} refused");
}

#[tokio::test]
async fn a_batch_larger_than_the_rate_is_paid_for_by_the_next_ones() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).set("LIMITS__ADDRESS__IDEMPOTENCY_KEYS_PER_SECOND", "20").start().await;
    let batch = async |round| Way::BatchOfFields.publish(&node.api(), "room:1", 600, round).await.remove(0);
    assert_eq!(batch(0).await.status, 200);
    let refused = batch(1).await;
    assert_eq!(refused.status, 429);
    // 30 s for the keys of the first.
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((20..=30).contains(&wait), "{wait} s");
}

#[tokio::test]
async fn keys_that_redis_does_not_store_use_up_no_rate() {
    let redis = Redis::start().await;
    let node =
        Node::of(&redis).auth("jwt").set("LIMITS__USER__IDEMPOTENCY_KEYS_PER_SECOND", "5").start().await;
    let publisher = node.api().with_token(&Token::of("7").publish(&["room:*"]).sign());
    let event = |channel: &str| json!({"channel": channel, "type": "t", "data": "x", "key": "k"});
    for _ in 0..100 {
        let answer = publisher.post(&event("room:1")).await.unwrap();
        assert_eq!(answer.status, 200, "a repeat: {}", answer.text);
        assert_eq!(publisher.post(&event("not:granted")).await.unwrap().status, 403);
        let invalid = json!(vec![json!({"channel": "room:1", "key": "k"}); 100]);
        assert_eq!(publisher.post(&invalid).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn publishers_on_redis_have_no_rate_of_keys() {
    const COUNT: usize = 100;
    let redis = Redis::start().await;
    let node = Node::of(&redis)
        .set("LIMITS__USER__IDEMPOTENCY_KEYS_PER_SECOND", "1")
        .set("LIMITS__ADDRESS__IDEMPOTENCY_KEYS_PER_SECOND", "1")
        .start()
        .await;
    let mut publisher = Publisher::on(&redis).await;
    for n in 0..COUNT {
        publisher.call("room:1", "t", "x", Some(&format!("call {n}"))).await.unwrap();
        let key = format!("intake {n}");
        let fields = [("channel", "room:1"), ("data", "x"), ("key", &key)];
        publisher.ingest(&fields.map(|(name, value)| (name, value.as_bytes()))).await.unwrap();
    }
    until("all keys are stored", SOON, async || {
        let keys = redis.keys(KEYS).await.len();
        if keys == 2 * COUNT { Ok(()) } else { Err(keys) }
    })
    .await;
    assert!(node.metrics().await.sum("fanfare_rate_limited_total", &[]) < 0.5);
}
