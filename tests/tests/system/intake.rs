//! Entries of the ingest stream land in the log once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_testkit::chaos_proxy::{ChaosProxy, Trip};
use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, becomes, until};
use fanfare_testkit::ledger::{Account, Ledger};
use fanfare_testkit::node::Node;
use fanfare_testkit::publisher::{Publisher, log_key};
use fanfare_testkit::redis::Redis;

const CHANNEL: &str = "room:1";

/// Leaves a channel's next event in the ingest stream.
async fn leave(publisher: &mut Publisher, ledger: &Ledger, channel: &str) {
    let text = ledger.draw(channel);
    let fields = [("channel", channel.as_bytes()), ("type", b"numbered"), ("data", text.as_bytes())];
    publisher.ingest(&fields).await.expect("Redis takes it");
    ledger.accept(&text);
}

/// Every entry is settled: none is left.
async fn is_settled(redis: &Redis) {
    until("the ingest stream is settled", SOON, async || {
        let left: usize = redis.get(&["XLEN", "fanfare:ingest"]).await;
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
}

async fn leads(redis: &Redis, node: &str) {
    until(&format!("{node} takes entries"), SOON, async || {
        let leader: Option<String> = redis.get(&["GET", "fanfare:ingest:leader"]).await;
        if leader.as_deref().is_some_and(|leader| leader.contains(node)) {
            Ok(())
        } else {
            Err(format!("{leader:?}"))
        }
    })
    .await;
}

/// A node `leader` behind a proxy that takes entries, and a node `heir` that would; a client on the heir.
struct Scene {
    redis: Redis,
    proxy: ChaosProxy,
    leader: Node,
    heir: Node,
    client: Client,
    account: Account,
    ledger: Ledger,
    publisher: Publisher,
}

async fn scene() -> Scene {
    let redis = Redis::start().await;
    let proxy = ChaosProxy::before(redis.address()).await;
    let leader = Node::of(&redis).id("leader").through(&proxy.url()).short_lease().start().await;
    leads(&redis, "leader").await;
    let heir = Node::of(&redis).id("heir").short_lease().start().await;
    let ledger = Ledger::default();
    let client = heir.stream().user("42").channel(CHANNEL).open().await;
    let account = ledger.account(&[CHANNEL]);
    let publisher = Publisher::on(&redis).await;
    let mut scene = Scene { redis, proxy, leader, heir, client, account, ledger, publisher };
    leave(&mut scene.publisher, &scene.ledger, CHANNEL).await;
    scene.account.follow(&mut scene.client, &scene.ledger, SOON).await;
    is_settled(&scene.redis).await;
    scene
}

impl Scene {
    async fn in_log(&self) -> usize {
        self.redis.get(&["XLEN", &log_key(CHANNEL)]).await
    }

    async fn unsettled(&self) -> usize {
        self.redis.get(&["XLEN", "fanfare:ingest"]).await
    }

    /// The heir has taken over: all entries are in the log once and in order, and so are new ones.
    async fn ends_whole(mut self) {
        is_settled(&self.redis).await;
        leads(&self.redis, "heir").await;
        for _ in 0..3 {
            leave(&mut self.publisher, &self.ledger, CHANNEL).await;
        }
        self.account.follow(&mut self.client, &self.ledger, SOON).await;
        self.ledger.judge(&self.account).assert_clean();
        is_settled(&self.redis).await;
        assert_eq!(self.in_log().await, self.ledger.expected(&self.account), "each is in the log once");
        assert_eq!(self.redis.get::<usize>(&["XLEN", "fanfare:ingest:dead"]).await, 0);
        self.heir.ready().await;
    }
}

#[tokio::test]
async fn entries_taken_by_a_node_that_dies_before_it_publishes_land_once_by_another() {
    let mut scene = scene().await;
    // The texts are what the leader sends when it publishes: it has taken them by then.
    scene.proxy.trip_on(b"room:1#2", Trip::Before);
    for _ in 0..20 {
        leave(&mut scene.publisher, &scene.ledger, CHANNEL).await;
    }
    scene.proxy.tripped().await;
    assert!(scene.unsettled().await > 0, "the leader holds entries");
    assert_eq!(scene.in_log().await, 1, "and has published none of them");
    scene.leader.kill().await;
    scene.ends_whole().await;
}

#[tokio::test]
async fn entries_published_by_a_node_that_dies_before_it_settles_them_land_once() {
    let mut scene = scene().await;
    scene.proxy.trip_on(b"room:1#2", Trip::After);
    for _ in 0..20 {
        leave(&mut scene.publisher, &scene.ledger, CHANNEL).await;
    }
    scene.proxy.tripped().await;
    until("some are in the log", SOON, async || {
        let kept = scene.in_log().await;
        if kept > 1 { Ok(()) } else { Err(kept) }
    })
    .await;
    assert!(scene.unsettled().await > 0, "none of them is settled");
    scene.leader.kill().await;
    scene.ends_whole().await;
}

#[tokio::test]
async fn a_node_that_was_paused_with_entries_in_hand_does_not_publish_them_twice() {
    let mut scene = scene().await;
    scene.proxy.trip_on(b"room:1#2", Trip::Before);
    for _ in 0..20 {
        leave(&mut scene.publisher, &scene.ledger, CHANNEL).await;
    }
    scene.proxy.tripped().await;
    scene.leader.pause();
    leads(&scene.redis, "heir").await;
    is_settled(&scene.redis).await;
    // What it had on the way arrives after all, and it goes on where it was.
    scene.proxy.resume();
    scene.leader.resume();
    scene.leader.ready().await;
    scene.ends_whole().await;
}

#[tokio::test]
async fn a_node_cut_off_from_redis_leaves_its_entries_to_another() {
    let mut scene = scene().await;
    scene.proxy.trip_on(b"room:1#2", Trip::Before);
    for _ in 0..20 {
        leave(&mut scene.publisher, &scene.ledger, CHANNEL).await;
    }
    scene.proxy.tripped().await;
    is_settled(&scene.redis).await;
    scene.proxy.reset();
    scene.proxy.resume();
    scene.leader.ready().await;
    scene.ends_whole().await;
}

#[tokio::test]
async fn entries_left_while_every_node_was_down_are_taken_when_one_starts() {
    let redis = Redis::start().await;
    let ledger = Ledger::default();
    let account = ledger.account(&["room:1", "room:2"]);
    let mut publisher = Publisher::on(&redis).await;
    for channel in ["room:1", "room:2"].into_iter().cycle().take(500) {
        leave(&mut publisher, &ledger, channel).await;
    }
    let node = Node::of(&redis).start().await;
    is_settled(&redis).await;
    let mut account = account;
    let mut client = node.stream().channel("room:1").channel("room:2").after("earliest").open().await;
    account.follow(&mut client, &ledger, SOON).await;
    ledger.judge(&account).assert_clean();
}

#[tokio::test]
async fn two_nodes_keep_the_order_of_each_channel() {
    let cluster = Cluster::pair().await;
    let (ledger, rooms) = (Ledger::default(), ["room:1", "room:2", "room:3"]);
    let mut account = ledger.account(&rooms);
    let mut client = cluster.b().stream().user("42").channels(&rooms).open().await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    for room in rooms.into_iter().cycle().take(900) {
        leave(&mut publisher, &ledger, room).await;
    }
    account.follow(&mut client, &ledger, SOON).await;
    is_settled(&cluster.redis).await;
    ledger.judge(&account).assert_clean();
}

#[tokio::test]
async fn a_leader_that_leaves_in_an_orderly_way_hands_over_at_once() {
    let mut scene = scene().await;
    scene.leader.terminate();
    assert!(scene.leader.ended(SOON).await.success());
    becomes("no node waits for the lease", true, async || {
        let leader: Option<String> = scene.redis.get(&["GET", "fanfare:ingest:leader"]).await;
        leader.is_some_and(|leader| leader.contains("heir"))
    })
    .await;
    scene.ends_whole().await;
}

#[tokio::test]
async fn an_entry_whose_time_passed_while_no_node_ran_is_not_delivered_late() {
    let redis = Redis::start().await;
    let mut publisher = Publisher::on(&redis).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let soon = now + Duration::from_millis(200);
    for (data, until) in [("1", None), ("2", Some(soon)), ("3", Some(now + SOON))] {
        let until = until.map(|until| until.as_millis().to_string());
        let mut fields = vec![("channel", CHANNEL.as_bytes()), ("type", b"t"), ("data", data.as_bytes())];
        fields.extend(until.iter().map(|until| ("until", until.as_bytes())));
        publisher.ingest(&fields).await.expect("Redis takes it");
    }
    // Until the time of the second entry has passed.
    tokio::time::sleep(Duration::from_millis(250)).await;
    let node = Node::of(&redis).start().await;
    is_settled(&redis).await;
    let mut client = node.stream().user("42").channel(CHANNEL).parameter("last", "9").open().await;
    for data in ["1", "3"] {
        assert_eq!(&*client.expect("t").await.data, data);
    }
    let late = node.metrics().await.sum("fanfare_intake_entries_total", &["outcome=\"late\""]);
    assert!((late - 1.0).abs() < f64::EPSILON, "{late}");
    assert!(node.log().contains("dropped an intake entry"), "{}", node.log());
}
