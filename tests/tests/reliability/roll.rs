//! Nodes are asked to leave, one after another, with users on them.

use fanfare_soak::counts::Counts;
use fanfare_soak::scenario::Scenario;
use fanfare_testkit::balancer::Kind;
use fanfare_testkit::behind_each;
use fanfare_testkit::node::NodeBuilder;

use crate::form::{Form, is_long};
use crate::stage::{Stage, assert_passed};

behind_each! {
    nothing_is_lost_and_no_client_is_out_for_long_when_all_nodes_roll => all_nodes_roll;
}

/// A drain as an operator would set it, but short.
pub(crate) fn leaves_soon(node: NodeBuilder) -> NodeBuilder {
    node.set("DRAIN__NOTICE", "1500ms")
        .set("DRAIN__WINDOW", "3s")
        .set("DRAIN__RETRY_SPREAD", "400ms")
        .set("SESSION__GRACE", "10s")
}

/// How many times its even share the fullest 100 ms may hold. In the short form a machine with other work adds to it;
/// without a window all would be in one.
fn peak() -> f64 {
    if is_long() { 2.0 } else { 3.0 }
}

async fn all_nodes_roll(kind: Kind) {
    let mut stage = Stage::alone_behind(kind, leaves_soon).await;
    let mut form = Form::of(Scenario::Roll);
    // So many that chance alone does not fill 100 ms to twice their even share.
    form.clients = form.clients.max(1500);
    let report = stage.play(Scenario::Roll, &form).await;
    // This includes: no user was reported offline.
    assert_passed(&report);
    let moved = report.lifecycle.get("session.moved").copied().unwrap_or_default();
    assert!(moved >= form.clients as u64, "every session has moved, some of them twice: {moved}");
    let Counts { broken, failed, .. } = report.counts;
    assert_eq!((broken, failed), (0, 0), "every stream ends as it should\n{}", report.table());
    for node in 0..3 {
        let phase = report.phase(&format!("node {node} rolls")).expect("it did");
        assert!(phase.outages > 0, "node {node} had clients");
        // How fast they are back is judged where nothing else needs the processor.
        if is_long() {
            let outage = &phase.outage;
            assert!(outage.p50 <= 600.0 && outage.p99 <= 2000.0, "{outage:?}\n{}", report.table());
        }
        assert!(phase.peak <= peak(), "{:?}", phase.reconnects_per_100_ms);
    }
}
