//! Nodes are killed, or frozen.

use std::time::Duration;

use fanfare_soak::scenario::Scenario;
use fanfare_testkit::balancer::Kind;
use fanfare_testkit::behind_each;
use fanfare_testkit::node::NodeBuilder;

use crate::form::Form;
use crate::stage::{Stage, assert_passed};

behind_each! {
    nothing_is_lost_when_each_node_is_killed => nodes_are_killed;
    a_node_frozen_for_longer_than_its_lease_delivers_nothing_twice => a_node_is_frozen;
}

async fn nodes_are_killed(kind: Kind) {
    let mut stage = Stage::behind(kind, |node| node).await;
    let report = stage.play(Scenario::Kill, &Form::of(Scenario::Kill)).await;
    assert_passed(&report);
    for node in 0..3 {
        let phase = report.phase(&format!("node {node} killed")).expect("it was");
        assert!(phase.outages > 0, "node {node} had clients");
    }
}

async fn a_node_is_frozen(kind: Kind) {
    let mut stage = Stage::behind(kind, NodeBuilder::short_lease).await;
    let mut form = Form::of(Scenario::Pause);
    form.options.fault = Duration::from_secs(8);
    let report = stage.play(Scenario::Pause, &form).await;
    assert_passed(&report);
    // The node notices by itself that its sessions are gone, and claims them again or releases them.
    stage.node(0).ready().await;
}
