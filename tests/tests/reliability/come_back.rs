//! No answer of a balancer ends a client: what a node or the balancer cannot serve becomes "come back".

use fanfare_soak::scenario::{Action, FaultInjector, FaultTarget, Verb};
use fanfare_testkit::balancer::Kind;
use fanfare_testkit::behind_each;
use fanfare_testkit::client::End;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::request::StreamRequest;

use crate::stage::Stage;

behind_each! {
    without_a_node_a_browser_is_asked_to_come_back_and_others_get_503 => all_nodes_are_down;
    a_dead_node_is_never_seen => one_node_is_down;
    bad_requests_get_through_as_they_are => bad_requests;
}

async fn all_nodes_are_down(kind: Kind) {
    let mut stage = Stage::behind(kind, |node| node).await;
    for place in 0..3 {
        let kill = Action { verb: Verb::Kill, who: FaultTarget::Node(place) };
        stage.act(kill).await.expect("a node can be killed");
    }
    let to = stage.balancer().address();
    // Also in the moment before the balancer knows, and after.
    for _ in 0..20 {
        let mut client = StreamRequest::to(to).user("1").send().await;
        assert_eq!((client.status(), client.head().field("content-type")), (200, "text/event-stream"));
        assert_eq!(client.expect("overloaded").await.json()["reason"], "unavailable");
        let retry = client.retry().expect("a time to come back").as_millis();
        assert!((1000..3000).contains(&retry), "{retry}");
        assert_eq!(client.end().await, End::Clean);
    }
    let prefers = StreamRequest::to(to).user("1").header("Prefer", "status").send().await;
    assert!((502..=504).contains(&prefers.status()), "{:?}", prefers.head());
}

async fn one_node_is_down(kind: Kind) {
    let mut stage = Stage::behind(kind, |node| node).await;
    stage.act(Action { verb: Verb::Kill, who: FaultTarget::Node(1) }).await.expect("a node can be killed");
    let to = stage.balancer().address();
    for n in 0..30 {
        let client = StreamRequest::to(to).user(&n.to_string()).open().await;
        assert!(["a", "c"].contains(&client.node()));
    }
    let answer = fanfare_testkit::api::Api::at(to).get("/v1/channels/broadcast/events").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn bad_requests(kind: Kind) {
    let stage = Stage::behind(kind, |node| node).await;
    let to = stage.balancer().address();
    let answer = StreamRequest::to(to).user("1").after("nonsense!").send().await.answer().await;
    answer.is_problem(400, "bad-cursor", &[]).unwrap_or_else(|e| panic!("{e}"));
    // Too many sessions of a user is no reason for a browser to give up.
    let mut open = Vec::new();
    let request = StreamRequest::to(to).user("many");
    let retry = until("the user has as many sessions as allowed", SOON, async || {
        let mut client = request.clone().send().await;
        assert_eq!(client.status(), 200);
        let first = client.next().await;
        if first.kind == "overloaded" {
            return Ok(client.retry());
        }
        open.push(client);
        Err("it has fewer")
    })
    .await;
    assert!(retry.is_some(), "a time to come back");
}
