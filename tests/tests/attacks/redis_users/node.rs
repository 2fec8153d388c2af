//! A node's whole life with the rights of the page, and what each of them is for.

use std::collections::BTreeSet;
use std::path::Path;

use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{becomes, eventually};
use fanfare_testkit::redis::{Asked, Monitor, Redis};
use redis::{Value, pipe};

use super::{NODE, client, is_denied, life, nothing_was_denied, redis_with_users, rules, url};

async fn two_nodes(redis: Redis) -> (Cluster, String) {
    let through = url(&redis, NODE);
    (Cluster::on(redis, 2, |node| life::node(&through, node)).await, through)
}

#[tokio::test]
async fn a_nodes_whole_life_takes_each_of_its_rights_and_no_other() {
    let redis = redis_with_users().await;
    let monitor = Monitor::start(&redis).await;
    let (mut cluster, through) = two_nodes(redis).await;
    life::publishes(&cluster).await;
    life::takes_in(&cluster).await;
    life::clears_dead_letters(&cluster).await;
    life::reads(&cluster).await;
    life::holds_sessions(&cluster).await;
    life::merges_lifecycle(&cluster).await;
    life::revokes(&cluster).await;
    life::acknowledges(&cluster).await;
    life::uses_tickets(&cluster).await;
    life::keeps_finite_streams(&cluster).await;
    life::dies(&mut cluster, &through).await;
    let mut asked = monitor.asked();
    nothing_was_denied(&cluster.redis).await;
    life::survives_redis(&mut cluster).await;
    let monitor = Monitor::start(&cluster.redis).await;
    life::drains(&mut cluster).await;
    nothing_was_denied(&cluster.redis).await;
    asked.extend(monitor.asked());

    let rights = rules(NODE);
    assert_eq!(denied(&cluster.redis, &rights, &asked).await, None, "all that the nodes asked was granted");
    let rare = commands_of_scripts();
    for right in rights.iter().filter(|right| right.starts_with(['+', '~', '&'])) {
        let others: Vec<&str> = rights.iter().copied().filter(|other| other != right).collect();
        let is_missed = denied(&cluster.redis, &others, &asked).await.is_some();
        let is_rare = right.strip_prefix('+').is_some_and(|command| rare.contains(command));
        assert!(is_missed || is_rare, "no node uses {right}");
    }
}

/// Returns a command that a user with these rules may not give, if there is one.
async fn denied(redis: &Redis, rules: &[&str], asked: &BTreeSet<Asked>) -> Option<Asked> {
    redis.get::<()>(&[&["ACL", "SETUSER", "probe", "reset"], rules].concat()).await;
    let mut tries = pipe();
    for command in asked {
        tries.cmd("ACL").arg("DRYRUN").arg("probe").arg(command);
    }
    let mut connection = redis.connection().await.unwrap();
    let answers: Vec<String> = tries.query_async(&mut connection).await.unwrap();
    asked.iter().zip(answers).find(|(_, answer)| answer != "OK").map(|(command, _)| command.clone())
}

/// Returns every command in the scripts of nodes, as an ACL names it: also those for states that a life seldom reaches.
fn commands_of_scripts() -> BTreeSet<String> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/broker/src/redis");
    let files = std::fs::read_dir(scripts).unwrap().map(|entry| entry.unwrap().path());
    let texts = files.filter(|file| file.extension().is_some_and(|kind| kind == "lua"));
    let commands: BTreeSet<String> =
        texts.flat_map(|file| commands_of(&std::fs::read_to_string(file).unwrap())).collect();
    assert!(commands.contains("xgroup|create") && commands.contains("spop") && commands.contains("copy"));
    commands
}

fn commands_of(script: &str) -> Vec<String> {
    let calls = script.split("call('").skip(1).map(|rest| {
        let mut words = rest.split('\'');
        let (command, sub) = (words.next().unwrap_or_default(), words.nth(1));
        let sub = sub.filter(|_| matches!(command, "XGROUP" | "XINFO")).map(|sub| format!("|{sub}"));
        format!("{command}{}", sub.unwrap_or_default()).to_lowercase()
    });
    calls.collect()
}

#[test]
fn every_command_of_a_script_is_among_the_rights_of_nodes() {
    let rights = rules(NODE);
    for command in commands_of_scripts() {
        assert!(rights.contains(&&*format!("+{command}")), "{command} is not on the page");
    }
}

#[tokio::test]
async fn a_node_without_one_of_its_rights_says_so() {
    let redis = redis_with_users().await;
    redis.get::<()>(&["ACL", "SETUSER", NODE, "-xadd"]).await;
    let through = url(&redis, NODE);
    let cluster = Cluster::on(redis, 1, |node| node.through(&through)).await;
    let event = serde_json::json!({"channel": "room:7", "data": "x"});
    let answer = cluster.a().api().post(&event).await.unwrap();
    answer.is_problem(503, "unavailable", &["lacks permissions"]).unwrap();
    eventually("the node logs it", async || cluster.a().log().contains("lacks permissions")).await;
    let log: Vec<Value> = cluster.redis.get(&["ACL", "LOG"]).await;
    assert!(format!("{log:?}").contains("xadd"), "{log:?}");
}

#[tokio::test]
async fn a_node_without_the_right_to_presence_serves_counts_what_is_refused_and_logs_it() {
    const COUNT: &str = "fanfare_presence_refused_total";
    let redis = redis_with_users().await;
    let (presence, others): (Vec<&str>, Vec<&str>) =
        rules(NODE).into_iter().partition(|rule| *rule == "~fanfare:presence:*");
    assert_eq!(presence.len(), 1, "it is among the rights of the page");
    redis.get::<()>(&[&["ACL", "SETUSER", NODE, "reset"], &others[..]].concat()).await;
    let through = url(&redis, NODE);
    let cluster = Cluster::on(redis, 1, |node| {
        let node = node.through(&through).set("SESSION__PRESENCE_CHANNELS", "room:*");
        node.set("SESSION__GRACE", "0s")
    })
    .await;
    let node = cluster.a();
    let count = async || node.metrics().await.sum(COUNT, &[]).to_string();
    assert_eq!(count().await, "0");
    let mut client = node.stream().user("42").channel("room:1").channel("room:2").open().await;
    assert_eq!(count().await, "2", "of each channel");
    let logged = || node.log().matches("refused a command about presence").count();
    eventually("the node logs it", async || logged() == 1).await;
    // Redis says it in other words since 7.2.
    assert!(["NOPERM", "can't access"].iter().any(|words| node.log().contains(words)), "{}", node.log());
    let answer = node.api().get("/v1/channels/room:1/presence").await;
    answer.is_problem(503, "unavailable", &["lacks permissions"]).unwrap();
    node.api().publish("room:1", "t", "x").await;
    client.expect_data("x").await;
    client.close();
    becomes("the end of the session is refused, too", "4".to_owned(), count).await;
    assert_eq!(logged(), 1, "once in a minute");

    cluster.redis.get::<()>(&["ACL", "SETUSER", NODE, "~fanfare:presence:*"]).await;
    let _client = node.stream().user("42").channel("room:1").open().await;
    let answer = node.api().get("/v1/channels/room:1/presence").await.json();
    assert_eq!((&answer["sessions"], count().await), (&serde_json::json!(1), "4".to_owned()));
}

#[tokio::test]
async fn the_rules_of_a_user_that_exists_are_replaced_in_one_step() {
    let redis = Redis::start().await;
    redis.get::<()>(&["ACL", "SETUSER", NODE, "on", ">password", "~*", "&*", "+@all"]).await;
    let through = url(&redis, NODE);
    let cluster = Cluster::on(redis, 1, |node| node.through(&through)).await;
    let mut replace = pipe();
    replace.atomic().cmd("ACL").arg(&["SETUSER", NODE, "reset"]).ignore();
    for command in super::documented().iter().filter(|command| command[2] == NODE) {
        replace.cmd("ACL").arg(&command[1..]).ignore();
    }
    let mut connection = cluster.redis.connection().await.unwrap();
    replace.query_async::<()>(&mut connection).await.unwrap();
    cluster.a().api().publish("room:7", "t", "x").await;
    nothing_was_denied(&cluster.redis).await;
    assert!(
        is_denied(&mut client(&cluster.redis, NODE).await, &["FLUSHALL"]).await,
        "the former rights are gone"
    );
}

#[tokio::test]
async fn nodes_do_not_administer_redis() {
    let redis = redis_with_users().await;
    let mut node = client(&redis, NODE).await;
    let others: &[&[&str]] = &[
        &["CONFIG", "GET", "*"],
        &["ACL", "LIST"],
        &["ACL", "SETUSER", "eve", "on", "nopass", "~*", "&*", "+@all"],
        &["KEYS", "*"],
        &["FLUSHALL"],
        &["FLUSHDB"],
        &["CLIENT", "LIST"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["FUNCTION", "DELETE", "fanfare"],
        &["FUNCTION", "FLUSH"],
        &["SCRIPT", "FLUSH"],
        &["SAVE"],
        &["REPLICAOF", "NO", "ONE"],
        &["MODULE", "LIST"],
        &["SHUTDOWN", "NOSAVE"],
        &["MONITOR"],
        &["GET", "other"],
        &["SET", "other", "x"],
        &["GET", "fanfare:blue:nodes"],
        &["PUBLISH", "other", "x"],
        &["PUBLISH", "fanfare:blue:node:a:control", "x"],
        &["PSUBSCRIBE", "*"],
        &["EVAL", "return 1", "0"],
    ];
    for command in others {
        assert!(is_denied(&mut node, command).await, "{command:?}");
    }
}
