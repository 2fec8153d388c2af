//! What leaks to strangers from the side of operators, and settings that do not do what they seem to.

use std::process::Output;

use fanfare_testkit::binary;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;

/// What Redis's errors, the system's and ours about them have, and fixed words have not.
const INTERNAL: [&str; 8] =
    ["127.", "os error", "refused (", "broken pipe", "(Redis: ", "NOPERM", "WRONGPASS", "6379"];

#[tokio::test]
async fn readyz_says_in_fixed_words_what_is_wrong_with_redis_and_the_log_says_the_rest() {
    let locked = Redis::start().await;
    locked.get::<String>(&["CONFIG", "SET", "requirepass", "right"]).await;
    let node = Node::of(&locked).through(&locked.url().replace("redis://", "redis://:wrong@")).launch().await;
    says(&node, "Redis rejects the user or password of redis.url", "WRONGPASS").await;
    let mut redis = Redis::start().await;
    let node = Node::of(&redis).short_lease().start().await;
    redis.stop().await;
    says(&node, "Redis does not answer", &redis.address().ip().to_string()).await;
}

async fn says(node: &Node, words: &str, logged: &str) {
    let text = until(&format!("/readyz says {words:?}"), SOON, async || {
        let readiness = node.readyz(503).await;
        let why = readiness["parts"]["redis"]["reason"].as_str().unwrap_or_default().to_owned();
        if why == words { Ok(readiness.to_string()) } else { Err(why) }
    })
    .await;
    for word in INTERNAL {
        assert!(!text.contains(word), "{word}: {text}");
    }
    let log = async || if node.log().contains(logged) { Ok(()) } else { Err(node.log()) };
    until(&format!("the log has {logged:?}"), SOON, log).await;
}

/// What other users of the machine see of a process (`ps`).
fn command_line(node: &Node) -> String {
    let bytes = std::fs::read(format!("/proc/{}/cmdline", node.pid())).expect("a process that runs");
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

#[tokio::test]
async fn the_password_of_redis_comes_from_a_file_and_is_in_no_command_line_and_no_log() {
    let redis = Redis::start().await;
    redis.get::<String>(&["ACL", "SETUSER", "ann", "on", ">s3cr3t of ann", "~*", "&*", "+@all"]).await;
    redis.get::<String>(&["ACL", "SETUSER", "default", "resetpass", ">other"]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "s3cr3t of ann\n").unwrap();
    let url = redis.url().replace("redis://", "redis://ann@");
    let node =
        Node::of(&redis).through(&url).set("REDIS__PASSWORD_FILE", file.to_str().unwrap()).start().await;
    assert!(!command_line(&node).contains("s3cr3t"));
    assert!(!node.log().contains("s3cr3t") && !node.log().contains("(ps)"), "{}", node.log());
    node.api().publish("a", "t", "x").await;
}

#[tokio::test]
async fn a_password_in_the_command_line_is_warned_of() {
    let redis = Redis::start().await;
    redis.get::<String>(&["CONFIG", "SET", "requirepass", "s3cr3t"]).await;
    let node = Node::of(&redis).through(&redis.url().replace("redis://", "redis://:s3cr3t@")).start().await;
    assert!(command_line(&node).contains("s3cr3t"), "the process cannot take it back");
    let log = node.log();
    assert!(log.contains("--redis-password-file") && log.contains("FANFARE_REDIS__URL"), "{log}");
    assert!(!log.contains("s3cr3t"), "{log}");
}

fn refused(variables: &[(&str, &str)]) -> String {
    let mut command = binary::command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--auth", "none"]).envs(variables.iter().copied());
    let Output { status, stderr, .. } = command.output().expect("the binary can be run");
    let said = String::from_utf8(stderr).expect("text");
    assert_eq!(status.code(), Some(2), "{variables:?}: {said}");
    said
}

#[test]
fn settings_that_never_do_what_they_seem_to_are_refused_with_the_reason() {
    for (origin, word) in [
        ("https://app.example/", "slash"),
        ("https://app.example/path", "path"),
        ("app.example", "no scheme"),
        ("https://App.example", "browsers send https://app.example"),
        ("https://app.example:443", "browsers send https://app.example"),
        ("https://*.example", "list each origin"),
        ("null", "any page"),
        ("https://app.example,*", "must stand alone"),
    ] {
        let said = refused(&[("FANFARE_HTTP__ALLOWED_ORIGINS", origin)]);
        assert!(said.contains("http.allowed_origins") && said.contains(word), "{origin}: {said}");
    }
    for (host, word) in [("https://sse.example", "scheme"), ("sse.example:8080", "port"), ("*.example", "*")]
    {
        let said = refused(&[("FANFARE_HTTP__ALLOWED_HOSTS", host)]);
        assert!(said.contains("http.allowed_hosts") && said.contains(word), "{host}: {said}");
    }
    for (node, admin) in [("0.0.0.0:8081", "127.0.0.1:8081"), ("127.0.0.1:8081", "127.0.0.1:8081")] {
        let ports = [("FANFARE_NODE__LISTEN", node), ("FANFARE_ADMIN__LISTEN", admin)];
        let mut command = binary::command();
        let Output { status, stderr, .. } =
            command.args(["serve", "--auth", "none"]).envs(ports).output().unwrap();
        let said = String::from_utf8_lossy(&stderr);
        assert!(status.code() == Some(2) && said.contains("the same address and port"), "{said}");
    }
    let apart = [("FANFARE_NODE__LISTEN", "10.0.0.7:8081"), ("FANFARE_ADMIN__LISTEN", "127.0.0.1:8081")];
    let mut command = binary::command();
    let status = command.args(["config", "--auth", "none"]).envs(apart).output().unwrap().status;
    assert_eq!(status.code(), Some(0), "two addresses of one machine");
    let empty = tempfile::NamedTempFile::new().unwrap();
    let file = empty.path().to_str().unwrap();
    let url = ("FANFARE_REDIS__URL", "redis://127.0.0.1:1");
    assert!(refused(&[url, ("FANFARE_REDIS__PASSWORD_FILE", file)]).contains("empty"));
    assert!(refused(&[("FANFARE_REDIS__PASSWORD_FILE", file)]).contains("redis.url is not"));
    let twice = ("FANFARE_REDIS__URL", "redis://:s3cr3t@127.0.0.1:1");
    let said = refused(&[twice, ("FANFARE_REDIS__PASSWORD_FILE", file)]);
    assert!(said.contains("set twice") && !said.contains("s3cr3t"), "{said}");
}
