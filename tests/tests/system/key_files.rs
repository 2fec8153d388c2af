//! Files with secrets and keys of tokens that change while a node runs.

use std::fs;
use std::path::Path;

use fanfare_testkit::deadline::becomes;
use fanfare_testkit::key_pair::KeyPair;
use fanfare_testkit::node::Node;
use fanfare_testkit::token::Token;
use serde_json::json;
use tempfile::TempDir;

const PATH: &str = "/v1/users/7/sessions";
const OLD: &str = "3b8f1d6a2c5e7f904d1b3a6c8e0f2d5b7a9c1e3f";
const NEW: &str = "c40e9d2b7f1a3c5d8e6b0a2f4c1d3e5b7f9a8c6d";

/// A file, and what it has before and after the change.
struct Change<'a> {
    setting: &'a str,
    old: &'a str,
    new: &'a str,
    /// Contents that cannot be used, each with a word of the reason; `None` for no file.
    broken: &'a [(Option<&'a str>, &'a str)],
    old_token: &'a str,
    new_token: &'a str,
}

/// Replaces a file at once, as a mounted secret is replaced: no reader finds a part of it.
fn replace(file: &Path, content: Option<&str>) {
    let Some(content) = content else { return fs::remove_file(file).unwrap() };
    let next = file.with_extension("next");
    fs::write(&next, content).unwrap();
    fs::rename(&next, file).unwrap();
}

impl Change<'_> {
    async fn is_followed(&self) {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("keys");
        replace(&file, Some(self.old));
        let node = Node::alone()
            .auth("jwt")
            .set("AUTH__JWT__SECRET", "")
            .set("AUTH__RELOAD_INTERVAL", "20ms")
            .set("AUTH__JWT__MAX_LIFETIME", "0s")
            .set(self.setting, file.to_str().unwrap())
            .start()
            .await;
        let status = async |token: &str| node.api().with_token(token).get(PATH).await.status;
        let count = async |name: &str| node.metrics().await.sum(name, &[]);
        let (failures, loaded) =
            ("fanfare_auth_key_file_failures_total", "fanfare_auth_key_files_loaded_total");
        let mut stream = node.stream().token(self.old_token).open().await;
        for (number, (content, word)) in (1..).zip(self.broken) {
            replace(&file, *content);
            becomes(word, f64::from(number), async || count(failures).await).await;
            assert_eq!((status(self.old_token).await, status(self.new_token).await), (200, 401), "{word}");
            let log = node.log();
            let line = log.lines().rfind(|line| line.contains("keeping the old keys"));
            assert!(line.is_some_and(|line| line.contains(word)), "no {word}: {log}");
        }
        replace(&file, Some(self.new));
        becomes("the new key", 200, async || status(self.new_token).await).await;
        assert_eq!(status(self.old_token).await, 401);
        let counts = [count(loaded).await, count(failures).await].map(|count| count.to_string());
        assert_eq!(counts, ["1".to_owned(), self.broken.len().to_string()]);
        // The stream of an old token continues until the token expires.
        node.api().with_token(self.new_token).publish("user:7", "t", "hello").await;
        stream.expect_data("hello").await;
        for secret in [OLD, NEW, "-----BEGIN"] {
            assert!(!node.log().contains(secret), "{}", node.log());
        }
    }
}

#[tokio::test]
async fn a_changed_secret_is_used_and_streams_continue() {
    let token = |secret: &str| Token::of("7").publish(&["user:7"]).secret(secret).sign();
    let large = "x".repeat(1024 * 1024 + 1);
    Change {
        setting: "AUTH__JWT__SECRET_FILE",
        old: OLD,
        new: NEW,
        broken: &[
            (Some("too short"), "9 bytes"),
            (Some(""), "0 bytes"),
            (Some(&large), "more than 1 MiB"),
            (Some("\u{feff}0123456789abcdef0123456789abcdef"), "byte order mark"),
            (None, "cannot be read"),
        ],
        old_token: &token(OLD),
        new_token: &token(NEW),
    }
    .is_followed()
    .await;
}

#[tokio::test]
async fn a_changed_key_file_is_used_and_streams_continue() {
    let (old, new) = (KeyPair::new("a"), KeyPair::new("b"));
    let token = |key: &KeyPair| {
        key.sign(&json!({"sub": "7", "exp": 4_000_000_000_u64, "fanfare": {"publish": ["user:7"]}}))
    };
    let (pem, large) = (new.public_pem(), "x".repeat(1024 * 1024 + 1));
    let cut = &pem[..pem.len() / 2];
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    Change {
        setting: "AUTH__JWT__KEY_FILES",
        old: &old.public_pem(),
        new: &pem,
        broken: &[
            (Some(cut), "not PEM"),
            (Some(""), "no public key"),
            (Some(private), "private key"),
            (Some("{\"keys\": []}"), "no keys"),
            (Some(&large), "more than 1 MiB"),
            (None, "cannot be read"),
        ],
        old_token: &token(&old),
        new_token: &token(&new),
    }
    .is_followed()
    .await;
}
