//! Patterns that reach further than they say: `publish: ["*"]` reached every user's private channel, and `broadcast`.

use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::json;

/// A pattern, and whether it opens `user:9` and `broadcast` to who publishes.
const PATTERNS: [(&str, bool, bool); 14] = [
    ("*", false, false),
    ("**", false, false),
    ("*:*", false, false),
    ("u*", false, false),
    ("user*", false, false),
    ("*9", false, false),
    ("*ser:9", false, false),
    ("b*", false, false),
    ("*t", false, false),
    ("room:*", false, false),
    ("user:*", true, false),
    ("user:9", true, false),
    ("broadcast", false, true),
    ("broadcast*", false, true),
];

#[tokio::test]
async fn a_pattern_reaches_private_channels_and_broadcast_only_if_it_spells_them_out_on_every_way() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").start().await;
    let mut nine = node.stream().token(&Token::of("9").sign()).open().await;
    for (pattern, private, broadcast) in PATTERNS {
        let token = Token::of("eve").publish(&[pattern]).sign();
        let api = node.api().with_token(&token);
        for (channel, opens) in [("user:9", private), ("broadcast", broadcast)] {
            let event = json!({"channel": channel, "type": "t", "data": pattern});
            let one = api.post(&event).await.unwrap();
            let many = api.post(&json!([event])).await.unwrap().json();
            let ephemeral = json!({"channel": channel, "type": "t", "data": pattern, "ephemeral": true});
            let ephemeral = api.post(&ephemeral).await.unwrap();
            let case = format!("publish {pattern} to {channel}");
            if opens {
                assert_eq!((one.status, ephemeral.status), (200, 200), "{case}: {}", one.text);
                assert!(many[0]["id"].is_string(), "{case}: {many}");
                for _ in 0..3 {
                    assert_eq!(&*nine.expect("t").await.data, pattern, "{case}");
                }
            } else {
                one.is_problem(403, "no-grant", &[channel]).unwrap_or_else(|e| panic!("{case}: {e}"));
                ephemeral.is_problem(403, "no-grant", &[channel]).unwrap_or_else(|e| panic!("{case}: {e}"));
                fanfare_testkit::api::check_problem(&many[0]["error"], 403, "no-grant", &[channel])
                    .unwrap_or_else(|e| panic!("{case}: {e}"));
            }
        }
        let token = Token::of("eve").subscribe(&[pattern]).sign();
        let case = format!("subscribe {pattern} to user:9");
        let stream = node.stream().token(&token).channel("user:9").send().await;
        let history = node.api().with_token(&token).get("/v1/channels/user:9/events").await;
        let status = if private { 200 } else { 403 };
        assert_eq!((stream.status(), history.status), (status, status), "{case}");
        // Whose sessions may be seen is not a matter of channels.
        let sessions = node.api().with_token(&token).get("/v1/users/9/sessions").await;
        sessions.is_problem(403, "no-grant", &[]).unwrap_or_else(|e| panic!("{case}: {e}"));
    }
    // Nothing else has come meanwhile.
    node.api().with_token(&Token::of("a").admin().sign()).publish("user:9", "t", "the last").await;
    assert_eq!(&*nine.expect("t").await.data, "the last");
}
