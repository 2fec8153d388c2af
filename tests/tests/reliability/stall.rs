//! A thousand clients that do not read.

use std::time::Duration;

use fanfare_soak::scenario::Scenario;
use fanfare_testkit::balancer::Kind;
use fanfare_testkit::behind_each;

use crate::form::{Form, is_long};
use crate::stage::{Stage, assert_passed};

behind_each! {
    clients_that_do_not_read_cost_the_others_nothing => a_thousand_do_not_read;
}

/// How much memory a node may take for each of them: its queue of 64 KiB, and what a stream takes itself.
const ROOM: u64 = 96 << 10;

async fn a_thousand_do_not_read(kind: Kind) {
    // They stay for the whole scenario, rather than be cut off for taking nothing.
    let mut stage =
        Stage::behind(kind, |node| node.set("STREAM__WRITE_TIMEOUT", "1h").set("STREAM__PEER_TIMEOUT", "1h"))
            .await;
    let mut form = Form::of(Scenario::Stall);
    // Large enough to fill what is between a node and a client.
    (form.size, form.options.quiet) = (4096, Duration::from_secs(5));
    let before: u64 = (0..3).map(|node| stage.node(node).memory()).sum();
    let report = stage.play(Scenario::Stall, &form).await;
    let after: u64 = (0..3).map(|node| stage.node(node).peak_memory()).sum();
    assert_passed(&report);
    let clients = (form.options.stalled + form.clients) as u64;
    assert!(after - before < clients * ROOM + (64 << 20), "{before} → {after} bytes for {clients} clients");
    if !is_long() {
        return;
    }
    // The long form needs a machine that does nothing else.
    let p99 = |label: &str| report.phase(label).expect("a phase of the scenario").delay.p99;
    let (alone, beside) = (p99("alone").max(p99("alone again")), p99("beside"));
    assert!(
        beside <= 1.2 * alone,
        "p99 {alone} ms without them, {beside} ms beside them\n{}",
        report.table()
    );
}
