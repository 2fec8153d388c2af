//! How soon a client comes back from an end that was planned.

use std::time::Duration;

use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::node::NodeBuilder;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;

/// The `retry:` with which a stream ends.
async fn retry_of(mut client: Client, reason: &str) -> Duration {
    assert_eq!(client.expect("expired").await.json()["reason"], reason);
    client.retry().expect("each stream has one")
}

async fn node(setting: &str, value: &str) -> Cluster {
    Cluster::on(Redis::start().await, 1, |node: NodeBuilder| node.set(setting, value)).await
}

#[tokio::test]
async fn a_stream_that_expires_by_age_or_idleness_comes_back_as_fast_as_from_a_drain() {
    for (setting, reason) in [("STREAM__MAX_AGE", "age"), ("STREAM__IDLE_TIMEOUT", "idle")] {
        let cluster = node(setting, "500ms").await;
        let mut retries = Vec::new();
        for _ in 0..5 {
            retries.push(retry_of(cluster.a().stream().user("42").open().await, reason).await);
        }
        let (least, most) = (Duration::from_millis(100), Duration::from_millis(500));
        assert!(retries.iter().all(|retry| (least..=most).contains(retry)), "{reason}: {retries:?}");
        assert!(retries.iter().any(|retry| *retry != retries[0]), "{reason}: jittered: {retries:?}");
    }
}

#[tokio::test]
async fn a_client_whose_token_expired_has_time_to_get_another() {
    let cluster = Cluster::on(Redis::start().await, 1, |node| node.auth("jwt")).await;
    let token = Token::of("42").expires_in(Duration::from_secs(2)).sign();
    let client = cluster.a().stream().token(&token).open().await;
    let retry = retry_of(client, "token").await;
    assert!((2000..=4000).contains(&retry.as_millis()), "{retry:?}");
}
