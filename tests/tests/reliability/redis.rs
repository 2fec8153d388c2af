//! Redis restarts, loses its connections, or cannot be reached by one node.

use std::time::Duration;

use fanfare_soak::scenario::Scenario;
use fanfare_testkit::api::Api;
use fanfare_testkit::balancer::Kind;
use fanfare_testkit::behind_each;
use serde_json::json;

use crate::form::Form;
use crate::stage::{Stage, assert_passed};

behind_each! {
    nothing_accepted_is_lost_when_redis_restarts => redis_restarts;
    nothing_accepted_is_lost_when_connections_to_redis_are_killed => connections_are_killed;
    nothing_accepted_is_lost_when_one_node_is_cut_off_from_redis => one_node_is_cut_off;
}

async fn redis_restarts(kind: Kind) {
    let mut stage = Stage::behind(kind, |node| node).await;
    let report = stage.play(Scenario::RedisRestart, &Form::of(Scenario::RedisRestart)).await;
    assert_passed(&report);
    assert!(report.publish_errors > 0, "publishers got errors");
}

async fn connections_are_killed(kind: Kind) {
    let mut stage = Stage::behind(kind, |node| node).await;
    let report = stage.play(Scenario::RedisDisconnect, &Form::of(Scenario::RedisDisconnect)).await;
    assert_passed(&report);
}

async fn one_node_is_cut_off(kind: Kind) {
    let mut stage = Stage::behind(kind, |node| node).await;
    // At the node itself: a balancer may send it no publisher during the fault.
    let refused = tokio::spawn(publish_until_refused(stage.node(0).api()));
    let report = stage.play(Scenario::Partition, &Form::of(Scenario::Partition)).await;
    assert_passed(&report);
    assert!(refused.is_finished(), "a publisher at the node that was cut off got an error");
    refused.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
}

/// Publishes to a channel without subscribers until Redis is unavailable.
async fn publish_until_refused(api: Api) {
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    loop {
        pace.tick().await;
        let answer =
            api.post(&json!({"channel": "unread", "data": "x"})).await.expect("a node always answers");
        if answer.status != 200 {
            answer.is_problem(503, "unavailable", &[]).unwrap_or_else(|e| panic!("{e}"));
            return;
        }
    }
}
