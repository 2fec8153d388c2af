//! An event that one session does not get: by every way in, live and from the log, with the cursor of that session.

use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::publisher::{ephemeral_topic, log_key};
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::{Value, json};
use uuid::Uuid;

const ROOM: &str = "room:7";

fn node(node: NodeBuilder) -> NodeBuilder {
    node.short_lease().set("STREAM__HEARTBEAT", "1s").set("STREAM__MIN_HEARTBEAT", "1s")
}

/// Two sessions of one user and one of another, each on its own node; the last two have the same session id.
struct Stage {
    cluster: Cluster,
    clients: Vec<Client>,
    /// The first session.
    except: String,
}

impl Stage {
    async fn set_up() -> Self {
        let cluster = Cluster::on(Redis::start().await, 3, node).await;
        let [first, second] = [Uuid::new_v4().to_string(), Uuid::new_v4().to_string()];
        let mut clients = Vec::new();
        // Another user with the same session id is another session.
        for (at, (user, session)) in
            [("alice", &first), ("alice", &second), ("bob", &first)].iter().enumerate()
        {
            let request = cluster.nodes[at].stream().user(user).session(session).channel(ROOM);
            clients.push(request.open().await);
        }
        Self { cluster, clients, except: format!("alice/{first}") }
    }

    /// Publishes to all but the first session by every way in. Returns the data of the stored events.
    async fn publish(&self, round: &str) -> Vec<String> {
        let (redis, except) = (&self.cluster.redis, &*self.except);
        let data = |way: &str| format!("{round} {way}");
        let one = json!({"channel": ROOM, "data": data("post"), "except": except});
        let batch = json!([
            {"channel": ROOM, "data": data("batch"), "except": except, "key": data("k")},
            {"channel": ROOM, "data": data("ephemeral"), "except": except, "ephemeral": true},
        ]);
        for body in [one, batch] {
            let answer = self.cluster.nodes[1].api().post(&body).await.expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
        redis.cli(&["FCALL", "fanfare_publish", "1", &log_key(ROOM), "", &data("call"), "", except]).await;
        let topic = json!({"data": data("topic"), "except": except}).to_string();
        redis.cli(&["PUBLISH", &ephemeral_topic(ROOM), &topic]).await;
        let entry = ["channel", ROOM, "data", &data("intake"), "except", except];
        redis.cli(&[&["XADD", "fanfare:ingest", "*"][..], &entry].concat()).await;
        ["post", "batch", "call", "intake"].map(data).to_vec()
    }

    /// The other sessions get these events, besides ephemeral ones.
    async fn others_get(&mut self, stored: &[String], ephemeral: usize) {
        for client in &mut self.clients[1..] {
            let (mut found, mut sent) = (Vec::new(), 0);
            while found.len() < stored.len() || sent < ephemeral {
                let event = client.find(|event| !event.is_control()).await;
                let is_ephemeral = ["ephemeral", "topic"].iter().any(|way| event.data.ends_with(way));
                if is_ephemeral {
                    sent += 1;
                } else {
                    found.push(event.data.to_string());
                }
            }
            assert_eq!(found, stored);
        }
    }

    /// The next event of the first session is a new one for all, or the cursor that takes the place of a heartbeat.
    async fn first_goes_on(&mut self, data: &str) {
        self.cluster.nodes[2].api().publish(ROOM, "all", data).await;
        let event = self.clients[0].find(|event| event.kind != "excepted").await;
        assert_eq!(&*event.data, data, "{}", self.clients[0].story());
    }
}

#[tokio::test]
async fn a_session_gets_no_event_that_excepts_it_live_and_from_the_log_on_any_node() {
    let mut stage = Stage::set_up().await;
    let live = stage.publish("live").await;
    stage.others_get(&live, 2).await;
    stage.first_goes_on("one").await;

    // It was away, and reads its log on another node, after all events and then after some.
    stage.clients[0].close();
    let away = stage.publish("away").await;
    stage.others_get(&[&["one".to_owned()], &away[..]].concat(), 2).await;
    let node = &stage.cluster.nodes[1];
    stage.clients[0].resume(node).await;
    stage.first_goes_on("two").await;
    stage.clients[0].close();
    let again = stage.publish("again").await;
    stage.others_get(&[&["two".to_owned()], &again[..]].concat(), 2).await;
    stage.cluster.nodes[0].api().publish(ROOM, "all", "three").await;
    let node = &stage.cluster.nodes[2];
    stage.clients[0].resume(node).await;
    assert_eq!(&*stage.clients[0].next().await.data, "three");
    stage.first_goes_on("four").await;
}

/// The cursor of a client without a user in the only channel is a position.
#[tokio::test]
async fn a_roll_and_a_kill_give_the_session_neither_the_event_nor_a_gap() {
    // Retention soon removes the events that the session does not get.
    let cluster = Cluster::on(Redis::start().await, 3, |builder| node(builder).keep(2)).await;
    let mut nodes = cluster.nodes;
    let session = Uuid::new_v4().to_string();
    let mut client = nodes[0].stream().parameter("session", &session).open().await;
    let except = json!({"channel": "broadcast", "data": "x", "except": session});
    // Enough for `MAXLEN ~`.
    for _ in 0..4 {
        let batch = Value::Array(vec![except.clone(); 100]);
        assert_eq!(nodes[1].api().post(&batch).await.expect("an answer").status, 200);
    }
    let post = async |node: &Node, body: &Value| {
        let answer = node.api().post(body).await.expect("an answer");
        answer.json()["id"].as_str().expect("a position").to_owned()
    };
    let last = post(&nodes[1], &except).await;
    client.find(|event| event.kind == "excepted" && event.last_id == last).await;
    nodes[0].kill().await;
    client.resume(&nodes[1]).await;

    // A roll before the next heartbeat.
    let mut others = nodes[1].stream().parameter("after", &last).open().await;
    let last = post(&nodes[2], &except).await;
    others.expect_data("x").await;
    nodes[1].terminate();
    client.find(|event| event.kind == "shutdown").await;
    assert_eq!(client.last_id(), last);
    client.resume(&nodes[2]).await;
    post(&nodes[2], &json!({"channel": "broadcast", "data": "for all"})).await;
    let event = client.find(|event| event.kind != "excepted").await;
    assert_eq!(&*event.data, "for all", "{}", client.story());
}

#[tokio::test]
async fn only_who_may_list_sessions_sees_in_the_history_whom_an_event_excepts() {
    let cluster = Cluster::on(Redis::start().await, 1, |node| node.auth("jwt")).await;
    let api = |token: Token| cluster.a().api().with_token(&token.sign());
    let except = format!("alice/{}", Uuid::new_v4());
    let publisher = Token::of("app").publish(&["room:*"]);
    let posted = api(publisher).post(&json!({"channel": ROOM, "data": "x", "except": except})).await;
    assert_eq!(posted.expect("an answer").status, 200);
    let reader = Token::of("bob").subscribe(&["room:*"]);
    let looks = Token::of("ops").subscribe(&["room:*"]).grant("admin", json!(["look"]));
    for (token, seen) in [(reader, Value::Null), (looks, json!(except))] {
        let page = api(token).get("/v1/channels/room:7/events").await.json();
        assert_eq!((&page["events"][0]["data"], &page["events"][0]["except"]), (&json!("x"), &seen));
    }
}

#[tokio::test]
async fn a_session_that_cannot_be_is_refused_with_the_form() {
    let cluster = Cluster::on(Redis::start().await, 1, |node| node).await;
    for bad in [
        json!(""),
        json!("alice"),
        json!("alice/7"),
        json!(format!("{}/{}", "u".repeat(251), Uuid::new_v4())),
    ] {
        let answer = cluster.a().api().post(&json!({"channel": ROOM, "data": "x", "except": bad})).await;
        answer.expect("an answer").is_problem(400, "bad-event", &["except: ", "<user>/<session>"]).unwrap();
    }
}
