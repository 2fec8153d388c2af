//! `fanfare doctor`: each thing that is wrong around a node is found, with what to do.

use std::net::TcpListener;

use fanfare_testkit::balancer::{Balancer, Kind};
use fanfare_testkit::binary;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::Value;

/// What Redis needs beside the defaults.
const GOOD: [&str; 8] = [
    "--maxmemory",
    "100mb",
    "--maxmemory-policy",
    "noeviction",
    "--appendonly",
    "yes",
    "--client-output-buffer-limit",
    "pubsub 64mb 16mb 60",
];

/// What a doctor has found.
struct Visit {
    code: Option<i32>,
    findings: Value,
}

impl Visit {
    /// Lets a doctor look, with few enough connections for this machine.
    async fn of(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = binary::command();
        command.args(["doctor", "--json"]).args(arguments);
        command.env("FANFARE_LIMITS__CONNECTIONS", "100").env("FANFARE_LIMITS__SOCKETS", "100");
        command.env("FANFARE_NODE__LISTEN", "127.0.0.1:0").envs(variables.iter().copied());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let findings =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{output:?}: {error}"));
        Self { code: output.status.code(), findings }
    }

    async fn of_redis(url: &str) -> Self {
        Self::of(&["--redis", url], &[]).await
    }

    fn get(&self, check: &str, member: &str) -> &str {
        let all = self.findings["findings"].as_array().unwrap();
        let finding = all.iter().find(|finding| finding["check"] == check);
        finding.unwrap_or_else(|| panic!("no {check}: {}", self.findings))[member].as_str().unwrap()
    }

    /// Checks that something is wrong, with words of what was found and of the advice.
    fn is_wrong(&self, check: &str, found: &str, advice: &str) {
        assert_eq!(self.get(check, "result"), "wrong", "{}", self.findings);
        assert!(self.get(check, "found").contains(found), "{}", self.get(check, "found"));
        assert!(self.get(check, "advice").contains(advice), "{}", self.get(check, "advice"));
        assert_eq!((self.code, &self.findings["ok"]), (Some(1), &false.into()));
    }

    fn result(&self, check: &str) -> &str {
        self.get(check, "result")
    }
}

const OF_REDIS: [&str; 5] =
    ["maxmemory-policy", "maxmemory", "appendonly", "pubsub buffer limit", "idle timeout"];

#[tokio::test]
async fn a_redis_with_the_documented_settings_is_right_and_each_other_setting_is_named() {
    let good = Redis::with_arguments(&GOOD).await;
    let visit = Visit::of_redis(&good.url()).await;
    for check in OF_REDIS.into_iter().chain(["redis", "clock of redis", "rights in redis", "open files"]) {
        assert_eq!(visit.result(check), "ok", "{}", visit.findings);
    }
    assert_eq!(good.keys("*").await, Vec::<String>::new(), "it leaves nothing");

    let bad = Redis::with_arguments(&[
        "--maxmemory-policy",
        "allkeys-lru",
        "--appendonly",
        "no",
        "--timeout",
        "30",
    ])
    .await;
    let visit = Visit::of_redis(&bad.url()).await;
    visit.is_wrong("maxmemory-policy", "allkeys-lru", "CONFIG SET maxmemory-policy noeviction");
    visit.is_wrong("maxmemory", "no limit", "set maxmemory");
    visit.is_wrong("appendonly", "no", "CONFIG SET appendonly yes");
    visit.is_wrong("pubsub buffer limit", "33554432 bytes", "pubsub 64mb 16mb 60");
    visit.is_wrong("idle timeout", "30 s", "CONFIG SET timeout 0");
    assert_eq!(visit.result("clock of redis"), "ok");
}

#[tokio::test]
async fn a_redis_that_is_away_or_refuses_the_password_is_named() {
    let mut redis = Redis::start().await;
    redis.get::<()>(&["CONFIG", "SET", "requirepass", "word"]).await;
    let visit = Visit::of_redis(&redis.url()).await;
    visit.is_wrong("redis", "rejects the user or password", "correct the user and password");
    redis.kill();
    Visit::of_redis(&redis.url()).await.is_wrong("redis", "Redis unavailable", "start Redis");
    assert_eq!(Visit::of(&[], &[]).await.result("redis"), "unknown", "without one");
}

#[tokio::test]
async fn a_right_that_the_redis_user_lacks_is_named_as_the_rule_that_grants_it() {
    let page = include_str!("../../../docs/operations.md");
    let rules = page.lines().filter_map(|line| line.strip_prefix("    ACL SETUSER fanfare "));
    let rules: Vec<&str> = rules.flat_map(str::split_whitespace).collect();
    let redis = Redis::with_arguments(&[&["--user", "fanfare"], &rules[..]].concat()).await;
    let url = redis.url().replace("redis://", "redis://fanfare:password@");
    let visit = Visit::of_redis(&url).await;
    assert_eq!(visit.result("rights in redis"), "ok", "{}", visit.findings);
    for check in OF_REDIS {
        assert_eq!(visit.result(check), "unknown", "{}", visit.findings);
    }
    for rule in ["+zadd", "+function|load", "+subscribe", "+publish", "+xgroup|create"] {
        redis.get::<()>(&["ACL", "SETUSER", "fanfare", &rule.replace('+', "-")]).await;
        Visit::of_redis(&url).await.is_wrong(
            "rights in redis",
            rule,
            &format!("ACL SETUSER <user of redis.url> {rule}"),
        );
        redis.get::<()>(&["ACL", "SETUSER", "fanfare", rule]).await;
    }
    let without: Vec<&str> = rules
        .iter()
        .filter(|rule| !["~fanfare:presence:*", "&fanfare:probe:*"].contains(rule))
        .copied()
        .collect();
    redis.get::<()>(&[&["ACL", "SETUSER", "fanfare", "reset"], &without[..]].concat()).await;
    let visit = Visit::of_redis(&url).await;
    visit.is_wrong("rights in redis", "~fanfare:presence:*", "~fanfare:presence:*");
    visit.is_wrong("rights in redis", "&fanfare:probe:*", "&fanfare:probe:*");
}

#[tokio::test]
async fn a_port_may_be_that_of_a_node_and_not_of_another_program() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (of_node, of_other) = (node.address().to_string(), other.local_addr().unwrap().to_string());
    let visit =
        Visit::of(&[], &[("FANFARE_NODE__LISTEN", &of_node), ("FANFARE_ADMIN__LISTEN", &of_other)]).await;
    assert_eq!(visit.result("node.listen"), "ok", "{}", visit.findings);
    visit.is_wrong("admin.listen", "in use by another program", "set admin.listen to another port");
    let far = Visit::of(&[], &[("FANFARE_NODE__LISTEN", "192.0.2.1:80")]).await;
    far.is_wrong("node.listen", "192.0.2.1:80", "an address of this machine");
}

#[tokio::test]
async fn too_few_open_files_are_named_with_the_settings_that_need_them() {
    let visit = Visit::of(&[], &[("FANFARE_LIMITS__CONNECTIONS", "10000000")]).await;
    visit.is_wrong("open files", "the settings need 100", "LimitNOFILE=");
}

#[tokio::test]
async fn a_proxy_that_buffers_is_found_and_one_that_does_not_is_right() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").start().await;
    let nodes = [node.address(); 3];
    let token = Token::of("7").sign();
    let visit =
        async |url: &str, token: &str| Visit::of(&["--server", url], &[("FANFARE_TOKEN", token)]).await;

    let good = Balancer::before(Kind::Nginx, nodes).await;
    let right = visit(&good.url(), &token).await;
    for check in ["stream", "compressed stream"] {
        assert_eq!(right.result(check), "ok", "{}", right.findings);
        assert!(right.get(check, "found").contains("HTTP/1.1"), "{}", right.findings);
    }
    assert!(right.get("compressed stream", "found").contains("compressed (gzip)"), "{}", right.findings);

    // By HTTP/1.0, nginx cannot see where a write of the node ends, and waits for a full buffer.
    let buffers = [
        ("proxy_http_version 1.1;", "proxy_http_version 1.0;"),
        ("proxy_buffering off;", "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"),
    ];
    let bad = Balancer::changed(Kind::Nginx, nodes, &buffers).await;
    let wrong = visit(&bad.url(), &token).await;
    for check in ["stream", "compressed stream"] {
        wrong.is_wrong(check, "something holds them back", "proxy_buffering off");
    }
    visit(&good.url(), "x").await.is_wrong("stream", "Invalid token", "set a token");
}

#[test]
fn an_invalid_setting_is_reported_as_by_a_node() {
    let output = binary::command().args(["doctor", "--listen", "here"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("node.listen = here (from flag --listen)"));
}
