//! Publishers that go through the balancer, as their clients do.

use fanfare_soak::scenario::Scenario;
use fanfare_testkit::balancer::Kind;
use fanfare_testkit::behind_each;

use crate::form::Form;
use crate::stage::{Stage, assert_passed};

behind_each! {
    nothing_accepted_over_http_is_lost_when_each_node_is_killed => nodes_are_killed;
    nothing_accepted_over_http_is_lost_when_redis_restarts => redis_restarts;
}

async fn nodes_are_killed(kind: Kind) {
    over_http(kind, Scenario::Kill).await;
}

async fn redis_restarts(kind: Kind) {
    over_http(kind, Scenario::RedisRestart).await;
}

async fn over_http(kind: Kind, scenario: Scenario) {
    let mut stage = Stage::behind(kind, |node| node).await;
    let mut form = Form::of(scenario);
    form.mix = "http";
    assert_passed(&stage.play(scenario, &form).await);
}
