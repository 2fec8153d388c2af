//! A file whose read does not end, as on a disk that hangs, kept a node's process for ever after it had shut down.

use std::fs::{self, OpenOptions};
use std::process::Command;
use std::time::Duration;

use fanfare_testkit::deadline::eventually;
use fanfare_testkit::node::{Node, SECRET};

#[tokio::test]
async fn a_read_that_does_not_end_does_not_keep_a_node_from_ending() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("secret");
    fs::write(&file, SECRET).expect("a file");
    let mut node = Node::alone()
        .auth("jwt")
        .set("AUTH__JWT__SECRET", "")
        .set("AUTH__JWT__SECRET_FILE", file.to_str().expect("text"))
        .set("AUTH__RELOAD_INTERVAL", "20ms")
        .set("DRAIN__NOTICE", "0s")
        .set("DRAIN__WINDOW", "100ms")
        .start()
        .await;
    fs::remove_file(&file).expect("the file");
    assert!(Command::new("mkfifo").arg(&file).status().expect("mkfifo can be run").success());
    // A pipe that could be written to: a read of it waits.
    let _pipe = OpenOptions::new().read(true).write(true).open(&file).expect("a pipe");
    eventually("the node reads", async || {
        let open = fs::read_dir(format!("/proc/{}/fd", node.pid())).expect("a process");
        open.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == file))
    })
    .await;
    node.terminate();
    assert!(node.ended(Duration::from_secs(20)).await.success());
}
