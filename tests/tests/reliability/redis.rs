//! Redis restarts, loses its connections, or cannot be reached by one node.

use fanfare_load::scenario::Scenario;
use fanfare_tests::balancer::Kind;

use crate::form::Form;
use crate::stage::{Stage, assert_passed, behind_each};

behind_each! {
    nothing_accepted_is_lost_when_redis_restarts => redis_restarts;
    nothing_accepted_is_lost_when_connections_to_redis_are_killed => connections_are_killed;
    nothing_accepted_is_lost_when_one_node_is_cut_off_from_redis => one_node_is_cut_off;
}

async fn redis_restarts(kind: Kind) {
    let mut stage = Stage::behind(kind, |node| node).await;
    let report = stage.play(Scenario::RedisRestart, &Form::of(Scenario::RedisRestart)).await;
    assert_passed(&report);
    assert!(report.publish_errors > 0, "publishers were told");
}

async fn connections_are_killed(kind: Kind) {
    let mut stage = Stage::behind(kind, |node| node).await;
    let report = stage.play(Scenario::RedisDisconnect, &Form::of(Scenario::RedisDisconnect)).await;
    assert_passed(&report);
}

async fn one_node_is_cut_off(kind: Kind) {
    let mut stage = Stage::behind(kind, |node| node).await;
    let report = stage.play(Scenario::Partition, &Form::of(Scenario::Partition)).await;
    assert_passed(&report);
    assert!(report.publish_errors > 0, "publishers were told");
}
