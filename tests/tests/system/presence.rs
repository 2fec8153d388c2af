//! Who follows a channel, over rolls, a kill and restarts of Redis: as in a model, on every node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fanfare_testkit::api::Api;
use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::becomes;
use fanfare_testkit::lifecycle;
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::{Value, json};
use uuid::Uuid;

/// Channel that one client follows alone, who does not come back.
const LEFT: &str = "room:left";

/// A client, and what the model knows of it.
struct Follower {
    client: Client,
    user: String,
    rooms: Vec<String>,
    /// Place of its node.
    at: usize,
}

/// Three nodes with followers.
struct Stage {
    cluster: Cluster,
    followers: Vec<Follower>,
}

fn node(node: NodeBuilder) -> NodeBuilder {
    // The grace is much longer than a client is away, and the sweep runs many times meanwhile.
    node.short_lease().set("SESSION__GRACE", "6s").set("SESSION__PRESENCE_CHANNELS", "room:*")
}

impl Stage {
    /// Five users with fourteen sessions on all nodes, in seven channels.
    async fn set_up() -> Self {
        let cluster = Cluster::on(Redis::durable().await, 3, node).await;
        let mut stage = Self { cluster, followers: Vec::new() };
        for number in 0..13_usize {
            let rooms: BTreeSet<_> =
                [number % 6, number * number % 6].map(|room| format!("room:{room}")).into();
            stage.open(&format!("u{}", number % 5), number % 3, rooms.into_iter().collect()).await;
        }
        stage.open("u0", 0, vec![LEFT.into()]).await;
        stage
    }

    async fn open(&mut self, user: &str, at: usize, rooms: Vec<String>) {
        let session = Uuid::new_v4().to_string();
        let request = self.cluster.nodes[at].stream().user(user).session(&session).channels(&rooms);
        // It follows this one too, whose presence is not recorded.
        let client = request.channel("doc:1").open().await;
        self.followers.push(Follower { client, user: user.into(), rooms, at });
    }

    /// The presence of every channel, as it should be.
    fn wanted(&self) -> BTreeMap<String, Value> {
        let rooms = (0..7).map(|room| format!("room:{room}")).chain([LEFT.to_owned()]);
        let presence = |room: String| {
            let of = self.followers.iter().filter(|follower| follower.rooms.contains(&room));
            let users: BTreeSet<_> = of.clone().map(|follower| &follower.user).collect();
            let presence =
                json!({"channel": room, "sessions": of.count(), "users": users.len(), "user_ids": users});
            (room, presence)
        };
        rooms.map(presence).collect()
    }

    /// The presence of every channel, as a node tells it.
    async fn found(&self, at: usize) -> BTreeMap<String, Value> {
        let api = self.cluster.nodes[at].api();
        let mut found = BTreeMap::new();
        for room in self.wanted().into_keys() {
            let answer = api.get(&format!("/v1/channels/{room}/presence?users=100")).await;
            found.insert(room, answer.json());
        }
        found
    }

    async fn is_exact(&self, at: usize) {
        assert_eq!(self.found(at).await, self.wanted());
    }

    async fn becomes_exact(&self) {
        for at in 0..self.cluster.nodes.len() {
            becomes("presence is that of the model", self.wanted(), async || self.found(at).await).await;
        }
    }

    async fn start(&mut self, at: usize) {
        let id = ["a", "b", "c"][at];
        self.cluster.nodes[at] = node(Node::of(&self.cluster.redis).id(id)).start().await;
    }

    /// Drains a node and starts it again. Its clients go to the next one.
    async fn roll(&mut self, at: usize) {
        let next = (at + 1) % self.cluster.nodes.len();
        self.cluster.nodes[at].terminate();
        for number in 0..self.followers.len() {
            let follower = &mut self.followers[number];
            if follower.at == at {
                follower.client.find(|event| event.kind == "shutdown").await;
                follower.client.resume(&self.cluster.nodes[next]).await;
                follower.at = next;
                self.is_exact(next).await;
            }
        }
        assert!(self.cluster.nodes[at].ended(Duration::from_secs(20)).await.success());
        self.start(at).await;
        self.is_exact(at).await;
    }

    /// Kills a node and starts it again. Its clients go to the next one, except for one.
    async fn kill(&mut self, at: usize) {
        let next = (at + 1) % self.cluster.nodes.len();
        self.cluster.nodes[at].kill().await;
        for follower in self.followers.iter_mut().filter(|follower| follower.at == at) {
            if follower.rooms != [LEFT] {
                follower.client.resume(&self.cluster.nodes[next]).await;
            }
            follower.at = next;
        }
        // The session of that one is recorded until the sweep.
        self.followers.retain(|follower| follower.rooms != [LEFT]);
        let (mut found, mut wanted) = (self.found(next).await, self.wanted());
        found.remove(LEFT);
        wanted.remove(LEFT);
        assert_eq!(found, wanted);
        self.start(at).await;
        self.becomes_exact().await;
    }
}

/// Returns what the lifecycle stream reports of each channel, in order.
async fn reports(redis: &Redis) -> BTreeMap<String, Vec<String>> {
    let mut reports = BTreeMap::<_, Vec<_>>::new();
    for mut fields in lifecycle::all(redis).await {
        if let Some(channel) = fields.remove("channel") {
            reports.entry(channel).or_default().push(fields.remove("event").expect("an event"));
            assert!(fields.is_empty(), "{fields:?}");
        }
    }
    reports
}

/// The six channels with several followers, and the one with the client that does not come back.
fn told(rooms: &[&str], left: &[&str]) -> BTreeMap<String, Vec<String>> {
    let texts = |events: &[&str]| events.iter().map(|event| format!("channel.{event}")).collect::<Vec<_>>();
    let mut told: BTreeMap<_, _> = (0..6).map(|room| (format!("room:{room}"), texts(rooms))).collect();
    if !left.is_empty() {
        told.insert(LEFT.to_owned(), texts(left));
    }
    told
}

#[tokio::test]
async fn presence_is_exact_over_a_roll_a_kill_and_restarts_of_redis_and_no_channel_flaps() {
    let mut stage = Stage::set_up().await;
    stage.is_exact(2).await;
    for at in 0..3 {
        stage.roll(at).await;
    }
    assert_eq!(reports(&stage.cluster.redis).await, told(&["occupied"], &["occupied"]));
    // The one that does not come back is there after a roll of all nodes.
    let at = stage.followers.last().expect("the last one").at;
    stage.kill(at).await;

    stage.cluster.redis.stop().await;
    stage.cluster.redis.start_again().await;
    stage.becomes_exact().await;
    // A check in between would have reported any channel that was vacated before the one that was left.
    let wanted = told(&["occupied"], &["occupied", "vacated"]);
    becomes("the channel is vacated", wanted, async || reports(&stage.cluster.redis).await).await;

    stage.cluster.redis.stop().await;
    stage.cluster.redis.forget();
    stage.cluster.redis.start_again().await;
    stage.becomes_exact().await;
    for mut follower in std::mem::take(&mut stage.followers) {
        follower.client.close();
    }
    let wanted = told(&["occupied", "vacated"], &[]);
    becomes("all channels are vacated", wanted, async || reports(&stage.cluster.redis).await).await;
    stage.becomes_exact().await;
    assert!(stage.cluster.redis.keys("fanfare:presence:*").await.is_empty());
}

#[tokio::test]
async fn without_a_pattern_nothing_is_recorded_and_the_call_says_so() {
    let cluster = Cluster::on(Redis::start().await, 1, |node| node).await;
    let client = cluster.a().stream().user("42").channel("room:1").open().await;
    assert!(cluster.redis.keys("fanfare:presence:*").await.is_empty());
    assert!(reports(&cluster.redis).await.is_empty());
    let answer = cluster.a().api().get("/v1/channels/room:1/presence").await;
    answer.is_problem(404, "not-found", &["room:1", "session.presence_channels"]).unwrap();
    drop(client);
}

#[tokio::test]
async fn publishers_see_numbers_on_the_public_listener_and_users_are_listed_on_the_admin_listener() {
    let configure = |builder: NodeBuilder| node(builder).auth("jwt").admin();
    let cluster = Cluster::on(Redis::start().await, 1, configure).await;
    let node = cluster.a();
    let follower = Token::of("42").subscribe(&["room:*"]).sign();
    let _client = node.stream().token(&follower).channel("room:1").open().await;
    let ask = async |api: Api, token: &str, query: &str| {
        api.with_token(token).get(&format!("/v1/channels/room:1/presence{query}")).await
    };
    let publisher = Token::of("app").publish(&["room:*"]).sign();
    let looks = Token::of("ops").grant("admin", json!(["look"])).sign();
    let count = json!({"channel": "room:1", "sessions": 1, "users": 1});
    for api in [node.api(), node.admin_api()] {
        assert_eq!(ask(api, &publisher, "").await.json(), count);
    }
    ask(node.admin_api(), &publisher, "?users=1").await.is_problem(403, "no-grant", &["look"]).unwrap();
    for query in ["", "?users=1"] {
        ask(node.api(), &looks, query).await.is_problem(404, "not-found", &["admin.listen"]).unwrap();
        assert_eq!(ask(node.admin_api(), &looks, query).await.json()["users"], 1);
    }
    assert_eq!(ask(node.admin_api(), &looks, "?users=1").await.json()["user_ids"], json!(["42"]));
    ask(node.api(), &follower, "").await.is_problem(403, "no-grant", &["publish"]).unwrap();
}
