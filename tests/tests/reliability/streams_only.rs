//! A balancer that nothing but streams passes through: publishers use Redis, and no short request tells the balancer that
//! a node is back.
//!
//! nginx forgets a node's failure when a request to it ends. Streams do not end: with `max_fails=1` alone a node that was
//! restarted got one new stream every two seconds, and most clients stayed out for a minute.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fanfare_soak::effect::Effect;
use fanfare_soak::scenario::{Action, FaultInjector, FaultTarget, Scenario, Step, Verb};
use fanfare_soak::soak::Soak;
use fanfare_testkit::api::Api;
use fanfare_testkit::balancer::{Balancer, Kind};
use fanfare_testkit::behind_each;
use fanfare_testkit::client::Client;
use fanfare_testkit::deadline::until;
use fanfare_testkit::node::NodeBuilder;
use fanfare_testkit::request::StreamRequest;
use tokio::time::timeout;

use crate::form::Form;
use crate::roll::leaves_soon;
use crate::stage::{Stage, assert_passed};

behind_each! {
    nodes_that_roll_have_all_streams_and_their_share_of_new_ones => all_nodes_roll;
    nodes_that_were_killed_have_all_streams_and_their_share_of_new_ones => all_nodes_are_killed;
    a_frozen_node_keeps_no_new_stream_waiting_and_has_its_share_afterwards => a_node_is_frozen;
}

/// How many streams there are, and how many come afterwards before each look at the shares.
const STREAMS: usize = 120;
const NEW: usize = 60;
/// How far apart the later ones come: a node that came back a moment ago is noticed while they come.
const ARRIVALS: Duration = Duration::from_millis(50);
/// How soon after the last start every stream is open, and every node has its share of new ones.
const SOON: Duration = Duration::from_secs(30);
/// The least that a node has then, of its even share.
const SHARE: f64 = 0.75;
/// How long a balancer waits for a silent node in these tests, in place of what is in its file.
const PATIENCE: (&str, &str) = ("45s", "8s");
/// How soon a balancer notices a frozen node: `HAProxy` by two checks that are not answered, nginx by one request.
const NOTICES: Duration = Duration::from_secs(8);
/// How long a new stream may take once the balancer has noticed: one check that is not answered, and a busy machine.
const OPENS: Duration = Duration::from_secs(6);
/// How many new streams come while a node is frozen, and how many of them may take as long as the balancer is patient:
/// nginx may try the node by a stream, in the moment in which it would try it by a request for `/readyz`.
const MEANWHILE: (usize, usize) = (40, 4);

async fn all_nodes_roll(kind: Kind) {
    after_each_node(kind, Scenario::Roll).await;
}

async fn all_nodes_are_killed(kind: Kind) {
    after_each_node(kind, Scenario::Kill).await;
}

fn form(scenario: Scenario) -> Form {
    let mut form = Form::of(scenario);
    (form.clients, form.rate, form.options.quiet) = (STREAMS, 60.0, Duration::from_secs(2));
    form
}

async fn after_each_node(kind: Kind, scenario: Scenario) {
    let mut stage = Stage::behind(kind, leaves_soon).await;
    let form = form(scenario);
    let mut soak = stage.open(scenario, &form).await;
    for step in scenario.steps(&form.options) {
        // The run waits a minute for clients that are out. They must be back sooner.
        if step == Step::AwaitReconnects {
            all_are_open(&soak).await;
        }
        soak.step(&step, &mut stage).await.unwrap_or_else(|e| panic!("{e:#}"));
    }
    let new = new_streams_are_shared(&stage).await;
    let report = soak.finish().await.unwrap_or_else(|e| panic!("{e:#}"));
    println!("{}", report.table());
    assert_passed(&report);
    drop(new);
}

async fn all_are_open(soak: &Soak) {
    until("every stream is open", SOON, async || match soak.open_streams() {
        STREAMS => Ok(()),
        open => Err(format!("{open} of {STREAMS}")),
    })
    .await;
}

/// Opens new streams until every node has its share. nginx may try a node by a stream, in the moment in which it would try it
/// by a request for `/ready`: then the node has one stream, and is tried again some seconds later.
async fn new_streams_are_shared(stage: &Stage) -> Vec<Client> {
    let to = stage.balancer().address();
    let mut open = Vec::new();
    let mut nodes: BTreeMap<String, usize> = BTreeMap::new();
    let begun = Instant::now();
    loop {
        let user = format!("new-{}", open.len());
        let client = timeout(SOON, StreamRequest::to(to).user(&user).open()).await;
        let client = client.expect("a new stream is opened");
        *nodes.entry(client.node().to_owned()).or_default() += 1;
        open.push(client);
        tokio::time::sleep(ARRIVALS).await;
        if open.len() % NEW == 0 {
            let held = streams_of_each(stage).await;
            println!("new streams: {nodes:?} in {:?}", begun.elapsed());
            #[allow(clippy::cast_precision_loss)]
            let even = (STREAMS + open.len()) as f64 / 3.0;
            if held.iter().all(|held| *held >= SHARE * even) {
                return open;
            }
            assert!(begun.elapsed() < SOON, "{held:?} of {even} each; new ones: {nodes:?}");
        }
    }
}

async fn streams_of_each(stage: &Stage) -> Vec<f64> {
    let mut held = Vec::new();
    for place in 0..3 {
        held.push(stage.node(place).streams().await);
    }
    held
}

/// Waits until the balancer has noticed that a node is frozen.
async fn notices(kind: Kind, balancer: &Balancer) {
    let api = Api::at(balancer.address());
    until("the balancer notices the frozen node", NOTICES, async || {
        let sign = match kind {
            Kind::Haproxy => "Server nodes/a is DOWN",
            Kind::Nginx => {
                // Only requests show nginx that a node does not answer.
                let _ = api.call("GET", "/healthz", &[], "").await;
                "upstream timed out"
            }
        };
        let log = balancer.log();
        if log.contains(sign) { Ok(()) } else { Err(log) }
    })
    .await;
}

async fn a_node_is_frozen(kind: Kind) {
    // The longest silence of a stream is shorter than the balancer's patience.
    let beats = |node: NodeBuilder| node.set("STREAM__HEARTBEAT", "2s");
    let mut stage = Stage::behind_changed(kind, &[PATIENCE], beats).await;
    let form = form(Scenario::Pause);
    let mut soak = stage.open(Scenario::Pause, &form).await;
    stage.act(Action { verb: Verb::Pause, who: FaultTarget::Node(0) }).await.expect("a node can be frozen");
    let frozen = Instant::now();
    // What comes before the balancer has noticed waits as the streams do that the node holds: until its patience ends.
    let to = stage.balancer().address();
    let open = |n: usize| StreamRequest::to(to).user(&format!("meanwhile-{n}")).open();
    let early = tokio::spawn(timeout(2 * SOON, open(0)));
    notices(kind, stage.balancer()).await;
    let mut late = Vec::new();
    let mut slow = 0;
    for n in 1..=MEANWHILE.0 {
        let begun = Instant::now();
        let client = timeout(SOON, open(n)).await;
        late.push(client.unwrap_or_else(|_| panic!("stream {n}, {:?} after the freeze", frozen.elapsed())));
        slow += usize::from(begun.elapsed() > OPENS);
    }
    println!("{slow} of {} new streams had to wait, in {:?}", MEANWHILE.0, frozen.elapsed());
    assert!(slow <= MEANWHILE.1, "{slow} new streams waited for the frozen node");
    assert!(late.iter().all(|client| client.node() != "a"), "no new stream is on the frozen node");
    drop(early.await.expect("no panic").expect("a stream that came early is open in the end"));
    // Its own streams wait until the balancer's patience ends, and are elsewhere then.
    soak.step(&Step::Require(Effect::Broken), &mut stage).await.expect("nothing is done");
    all_are_open(&soak).await;
    stage.act(Action { verb: Verb::Resume, who: FaultTarget::Node(0) }).await.expect("a node can go on");
    drop(late);
    stage.node(0).ready().await;
    all_are_open(&soak).await;
    // nginx tries the node again when fail_timeout has passed, and sends what comes before to the others.
    let back = until("a new stream is on the node that was frozen", SOON, async || {
        let client = open(0).await;
        if client.node() == "a" { Ok(client) } else { Err(format!("it is on {}", client.node())) }
    })
    .await;
    let new = new_streams_are_shared(&stage).await;
    soak.step(&Step::AwaitReconnects, &mut stage).await.expect("nothing is done");
    let report = soak.finish().await.unwrap_or_else(|e| panic!("{e:#}"));
    println!("{}", report.table());
    assert_passed(&report);
    assert!(report.counts.broken > 0, "streams of the frozen node were cut off by the balancer");
    drop((back, new));
}
