//! Intake entries that could not be published: an operator looks at them, requeues them and drops them.

use std::process::Output;

use fanfare_testkit::binary;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{becomes, eventually};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::Value;

const DEAD: &str = "fanfare:ingest:dead";
const LOG: &str = "fanfare:{room:7}:log";

async fn cluster() -> Cluster {
    Cluster::on(Redis::start().await, 2, |node| node.auth("jwt")).await
}

/// Runs `fanfare dead` as an admin.
async fn dead(node: &Node, arguments: &[&str]) -> Output {
    let mut command = binary::command();
    command.arg("dead").args(arguments).args(["--server", &format!("http://{}", node.address())]);
    command.env("FANFARE_TOKEN", Token::of("ops").admin().sign());
    let output = tokio::task::spawn_blocking(move || command.output());
    output.await.expect("it does not panic").expect("the binary can be run")
}

/// Returns what a command has printed. It succeeds.
fn out(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn json(output: Output) -> Value {
    serde_json::from_str(&out(output)).expect("one JSON object")
}

/// Leaves an entry, and waits until so many are dead.
async fn poison(redis: &Redis, count: usize, fields: &[&str]) -> String {
    let entry: String = redis.get(&[&["XADD", "fanfare:ingest", "*"], fields].concat()).await;
    becomes("the entry is dead", count, async || redis.get(&["XLEN", DEAD]).await).await;
    entry
}

async fn is_settled(redis: &Redis) {
    becomes("the intake is settled", 0, async || redis.get::<usize>(&["XLEN", "fanfare:ingest"]).await).await;
}

#[tokio::test]
async fn an_entry_is_requeued_when_its_cause_is_gone_and_delivered_once_although_two_do_it() {
    let cluster = cluster().await;
    let redis = &cluster.redis;
    redis.get::<()>(&["SET", LOG, "of another type"]).await;
    let fields = ["channel", "room:7", "type", "order.paid", "data", "the data", "key", "order 7"];
    let entry = poison(redis, 1, &fields).await;

    let listed = json(dead(cluster.a(), &["list", "--json"]).await);
    let id = listed["id"].as_str().expect("an id").to_owned();
    assert_eq!((&listed["entry"], &listed["channel"]), (&entry.into(), &"room:7".into()));
    assert!(listed["complete"] == true && listed["fields"].is_null(), "{listed}");
    let reason = listed["reason"].as_str().expect("a reason");
    assert!(reason.contains("WRONGTYPE") || reason.contains("refused by Redis"), "{reason}");
    let table = out(dead(cluster.a(), &["list"]).await);
    assert!(table.starts_with("ID ") && table.contains(&id) && !table.contains("the data"), "{table}");
    let shown = out(dead(cluster.b(), &["show", &id]).await);
    assert!(shown.contains("  data  the data\n") && shown.contains("  key  order 7\n"), "{shown}");

    // Requeued while its cause is there, it is a new dead letter.
    out(dead(cluster.a(), &["requeue", &id]).await);
    becomes("it is dead again", 1, async || redis.get::<usize>(&["XLEN", DEAD]).await).await;
    let again = json(dead(cluster.a(), &["list", "--json"]).await)["id"].as_str().expect("an id").to_owned();
    assert_ne!(again, id);

    redis.get::<()>(&["DEL", LOG]).await;
    let reader = Token::of("42").subscribe(&["room:*"]).sign();
    let mut client = cluster.b().stream().token(&reader).channel("room:7").open().await;
    let requeue = ["requeue", &again, "--json"];
    let (one, other) = tokio::join!(dead(cluster.a(), &requeue), dead(cluster.b(), &requeue));
    let [won, lost] = if one.status.success() { [one, other] } else { [other, one] };
    assert_eq!(json(won)["id"], *again);
    let said = String::from_utf8(lost.stderr).expect("text");
    assert!(lost.status.code() == Some(1) && said.contains("has no entry"), "{said}");
    let received = client.expect("order.paid").await;
    assert_eq!(&*received.data, "the data");

    // Its key is known: a publisher that repeats it publishes nothing.
    redis.get::<String>(&[&["XADD", "fanfare:ingest", "*"], &fields[..]].concat()).await;
    redis.get::<String>(&["XADD", "fanfare:ingest", "*", "channel", "room:7", "data", "the end"]).await;
    client.expect_data("the end").await;
    is_settled(redis).await;
    assert_eq!(redis.get::<usize>(&["XLEN", LOG]).await, 2, "each event once");
    assert_eq!(out(dead(cluster.a(), &["list"]).await).lines().count(), 1, "none is left");
}

#[tokio::test]
async fn dead_letters_are_dropped_and_what_is_truncated_or_late_is_not_published() {
    let cluster = cluster().await;
    let (redis, a) = (&cluster.redis, cluster.a());
    let large = "x".repeat(100_000);
    poison(redis, 1, &["channel", "room:7", "data", &large]).await;
    poison(redis, 2, &["channel", "room 7", "data", "x"]).await;
    redis.get::<()>(&["SET", LOG, "of another type"]).await;
    poison(redis, 3, &["channel", "room:7", "data", "late", "until", "1000000000000"]).await;
    let lines = out(dead(a, &["list", "--json"]).await);
    let letters: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ids: Vec<&str> = letters.iter().map(|letter| letter["id"].as_str().expect("an id")).collect();
    let [truncated, invalid, late] = ids[..] else { panic!("{letters:?}") };

    // By pages, as `list` says.
    let first = dead(a, &["list", "--limit", "2"]).await;
    let hint = String::from_utf8(first.stderr).expect("text");
    assert!(hint.contains(&format!("--after {invalid}")), "{hint}");
    let rest = out(dead(a, &["list", "--after", invalid]).await);
    assert!(rest.lines().count() == 2 && rest.contains(late), "{rest}");

    redis.get::<()>(&["DEL", LOG]).await;
    // What one entry is refused for does not affect the next one.
    let requeued = dead(a, &["requeue", truncated, late]).await;
    let said = String::from_utf8(requeued.stderr).expect("text");
    assert!(requeued.status.code() == Some(1) && said.contains("was truncated"), "{said}");
    assert!(String::from_utf8_lossy(&requeued.stdout).contains(&format!("{late} is requeued as ")));
    eventually("what is late is dropped and counted", async || {
        let mut late = 0.0;
        for node in &cluster.nodes {
            late += node.metrics().await.sum("fanfare_intake_entries_total", &["outcome=\"late\""]);
        }
        late >= 1.0
    })
    .await;
    out(dead(a, &["drop", truncated, invalid]).await);
    let again = dead(a, &["drop", invalid, "--json"]).await;
    assert!(again.status.code() == Some(1) && again.stdout.is_empty(), "{again:?}");
    is_settled(redis).await;
    assert_eq!(redis.get::<usize>(&["EXISTS", LOG]).await + redis.get::<usize>(&["XLEN", DEAD]).await, 0);
}

/// The commands of the section on dead letters in `docs/operations.md`.
fn page() -> String {
    let page = include_str!("../../../docs/operations.md");
    let (_, section) = page.split_once("\n## Dead letters\n").expect("the section");
    let (_, block) = section.split_once("```sh\n").expect("a block");
    block.split_once("```").expect("its end").0.to_owned()
}

#[tokio::test]
async fn the_commands_of_the_page_do_what_it_says() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").admin().start().await;
    let mut script = page();
    redis.get::<()>(&["SET", LOG, "of another type"]).await;
    for (n, data) in ["first", "second", "third"].into_iter().enumerate() {
        poison(&redis, n + 1, &["channel", "room:7", "data", data]).await;
    }
    redis.get::<()>(&["DEL", LOG]).await;
    let ids = ["1732800000000-0", "1732800000007-0", "1732800000009-0"];
    for (shown, (id, _)) in ids.into_iter().zip(redis.stream(DEAD).await) {
        assert!(script.contains(shown), "{script}");
        script = script.replace(shown, &id);
    }
    let admin = node.admin_address().expect("it has an admin listener").to_string();
    let binary = binary::path().parent().expect("a folder").to_owned();
    let path = std::env::var("PATH").expect("a PATH");
    let mut command = tokio::process::Command::new("sh");
    command.args(["-ec", &script.replace("127.0.0.1:8081", &admin)]);
    command.env("PATH", format!("{}:{path}", binary.display()));
    command.env("FANFARE_TOKEN", Token::of("ops").admin().sign());
    let said = out(command.output().await.expect("there is a shell"));
    assert!(said.contains("  data  first\n") && said.contains(" is requeued as "), "{said}");
    assert!(said.ends_with(" is dropped\n"), "{said}");
    is_settled(&redis).await;
    let log = redis.stream(LOG).await;
    let data: Vec<&str> = log.iter().map(|(_, fields)| &*fields[1].1).collect();
    assert_eq!((&data[..], redis.get(&["XLEN", DEAD]).await), (&["first", "second"][..], 0));
}
