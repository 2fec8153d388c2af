//! Events that play tricks on who reads them in a shell: C1 control characters and overrides of direction.

use std::process::{Output, Stdio};

use fanfare_testkit::binary;
use fanfare_testkit::deadline::eventually;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use serde_json::{Value, json};

/// CSI and OSC of C1, DEL, NEL, an override, an isolate, a mark, the separators.
const TRICKS: &str =
    "a\u{9b}31m\u{9d}0;title\u{7}\u{7f}\u{85}\u{202e}gpj.exe\u{2066}\u{200f}\u{2028}\u{2029}\u{1b}[2Jz";

fn is_harmless(text: &str) -> bool {
    !text.chars().any(|c| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

/// Leaves an intake entry that is full of tricks and cannot be published. Returns its id in the dead-letter stream.
async fn poison(redis: &Redis) -> String {
    let entry = ["XADD", "fanfare:ingest", "*", "channel", TRICKS, TRICKS, TRICKS];
    redis.get::<String>(&entry).await;
    eventually("it is dead", async || redis.get::<usize>(&["XLEN", "fanfare:ingest:dead"]).await == 1).await;
    redis.stream("fanfare:ingest:dead").await.remove(0).0
}

fn fanfare(node: &Node, arguments: &[&str]) -> String {
    let mut command = binary::command();
    command.args(arguments).args(["--server", &format!("http://{}", node.address())]).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().expect("the binary can be run");
    let stderr = String::from_utf8(stderr).expect("text");
    assert!(status.success() && is_harmless(&stderr), "{arguments:?}: {stderr:?}");
    String::from_utf8(stdout).expect("text")
}

#[tokio::test]
async fn what_is_printed_of_an_event_has_no_control_character_and_nothing_that_turns_text_around() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let event = json!({"channel": "room:1", "type": TRICKS, "data": TRICKS});
    let answer = node.api().post(&event).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    let listen = ["listen", "room:1", "--last", "1", "--count", "1"];
    let history = ["history", "room:1"];
    for arguments in [listen.to_vec(), [&listen[..], &["--format", "raw"]].concat(), history.to_vec()] {
        let out = fanfare(&node, &arguments);
        assert!(
            is_harmless(&out) && out.contains("\\u{202e}") && out.contains("gpj"),
            "{arguments:?}: {out:?}"
        );
        let out = fanfare(&node, &[&arguments[..], &["--json"]].concat());
        assert!(is_harmless(&out), "{arguments:?}: {out:?}");
        // And it says the same.
        let values: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(values.iter().any(|value| value["data"] == TRICKS), "{arguments:?}: {out:?}");
    }
}

#[tokio::test]
async fn what_is_printed_of_a_dead_letter_has_no_control_character_and_nothing_that_turns_text_around() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let id = poison(&redis).await;
    for arguments in [&["dead", "list"][..], &["dead", "show", &id]] {
        let out = fanfare(&node, arguments);
        assert!(is_harmless(&out) && out.contains("\\u{202e}gpj"), "{arguments:?}: {out:?}");
        let out = fanfare(&node, &[arguments, &["--json"]].concat());
        let value: Value = serde_json::from_str(&out).expect("JSON");
        assert!(is_harmless(&out) && value["channel"] == TRICKS, "{arguments:?}: {out:?}");
        if arguments.contains(&"show") {
            assert_eq!(value["fields"][1], json!({"name": TRICKS, "value": TRICKS}));
        }
    }
}
