//! History and `last=` read as much as any client requested: Redis was held for most of a second, and
//! others' publishes and leases waited.

use std::time::Duration;

use fanfare_testkit::api::Answer;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::Node;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;

/// As large as an event may be by default.
const LARGE: usize = 60 * 1024;
const HISTORY: &str = "/v1/channels/room:e/events?limit=1000";

/// A log of large events, as many as are kept.
async fn fill(redis: &Redis) -> Publisher {
    let mut publisher = Publisher::on(redis).await;
    let data = vec!["x".repeat(LARGE); 50];
    for _ in 0..20 {
        publisher.publish_all("room:e", "n", &data).await;
    }
    publisher
}

#[tokio::test]
async fn the_newest_thousand_events_are_as_many_as_a_mebibyte_holds() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let mut publisher = fill(&redis).await;
    let used = redis.info("used_cpu_user").await;
    for _ in 0..20 {
        let mut client = node.stream().channel("room:e").parameter("last", "1000").open().await;
        client.expect("n").await;
    }
    let used = redis.info("used_cpu_user").await - used;
    assert!(used < 1.0, "{used} s of Redis for 20 streams: to count a thousand took 0.1 s each");
    let mut client = node.stream().channel("room:e").parameter("last", "1000").open().await;
    publisher.publish("room:e", "behind", "").await;
    client.find(|event| event.kind == "behind").await;
    let held = (1 << 20) / (LARGE + 65);
    assert_eq!(client.received().iter().filter(|event| event.kind == "n").count(), held);
}

#[tokio::test]
async fn one_user_who_asks_for_much_history_is_refused_and_others_get_theirs() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").set("REDIS__TIMEOUT", "30s");
    let node =
        node.set("LIMITS__HISTORY_READS", "6").set("LIMITS__HISTORY_READS_PER_USER", "2").start().await;
    fill(&redis).await;
    let api = |user: &str| node.api().with_token(&Token::of(user).subscribe(&["room:*"]).sign());
    // Nothing is answered, so all that is let in is under way.
    redis.pause();
    let mut calls = tokio::task::JoinSet::new();
    let ask = |calls: &mut tokio::task::JoinSet<_>, user: &'static str, times: usize| {
        for _ in 0..times {
            let api = api(user);
            calls.spawn(async move { (user, api.get(HISTORY).await) });
        }
    };
    ask(&mut calls, "eve", 40);
    ask(&mut calls, "ann", 1);
    ask(&mut calls, "bob", 2);
    let mut refused: Vec<(&str, Answer)> = Vec::new();
    while refused.len() < 38 {
        refused.push(calls.join_next().await.expect("three are under way").unwrap());
    }
    for (user, answer) in &refused {
        assert_eq!(*user, "eve");
        answer.is_problem(429, "user-reads", &["2 history calls"]).unwrap();
        assert_eq!(answer.header("retry-after"), "1");
    }
    // Now the node has room for one more, at most: which of the calls that are left comes last is open.
    ask(&mut calls, "dan", 2);
    let (_, late) = calls.join_next().await.expect("one does not fit").unwrap();
    late.is_problem(503, "overloaded", &["6 history calls"]).unwrap();
    redis.resume();
    let mut answered = 0;
    while let Some(call) = calls.join_next().await {
        let (user, answer) = call.unwrap();
        assert_eq!(answer.status, 200, "{user}: {}", answer.text);
        assert!(answer.text.len() < 2 << 20, "{user}: {} bytes", answer.text.len());
        answered += 1;
    }
    assert_eq!(answered, 6);
    until("places are free again", SOON, async || match api("eve").get(HISTORY).await.status {
        200 => Ok(()),
        other => Err(other),
    })
    .await;
}

#[tokio::test]
async fn streams_and_publishing_go_on_beside_those_who_read_as_much_as_they_can() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").start().await;
    fill(&redis).await;
    let eve = Token::of("eve").subscribe(&["room:*"]).sign();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let api = node.api().with_token(&eve);
        readers.spawn(async move {
            loop {
                api.get(HISTORY).await;
            }
        });
    }
    for _ in 0..10 {
        let stream = node.stream().token(&eve).channel("room:e").parameter("last", "1000");
        readers.spawn(async move {
            loop {
                stream.clone().send().await;
            }
        });
    }
    let api = node.api().with_token(&Token::of("ann").publish(&["user:*"]).sign());
    let mut client = node.stream().token(&Token::of("ann").sign()).open().await;
    for n in 0..20 {
        let data = n.to_string();
        let (published, seen) = (api.publish("user:ann", "n", &data), client.expect_data(&data));
        tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(published, seen) })
            .await
            .expect("it is there soon");
        assert_eq!(node.admin_api().get("/readyz").await.status, 200);
    }
    readers.shutdown().await;
}
