//! `fanfare publish --lines` stopped at a line that was not UTF-8, and said nothing of what it had not read.

use std::net::SocketAddr;
use std::process::Stdio;

use fanfare_testkit::binary;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;

async fn publish(node: &Node, arguments: &[&str], input: &[u8]) -> (Option<i32>, String) {
    publish_to(node.address(), arguments, input).await
}

async fn publish_to(server: SocketAddr, arguments: &[&str], input: &[u8]) -> (Option<i32>, String) {
    let server = format!("http://{server}");
    let mut child = Command::new(binary::path())
        .arg("publish")
        .args(arguments)
        .args(["--server", &server])
        .env("NO_PROXY", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

async fn stored(node: &Node, channel: &str) -> Vec<String> {
    let history = node.api().get(&format!("/v1/channels/{channel}/events?limit=1000")).await.json();
    let events = history["events"].as_array().unwrap().iter();
    events.map(|event| event["data"].as_str().unwrap().chars().take(20).collect()).collect()
}

#[tokio::test]
async fn a_line_that_cannot_be_published_costs_the_others_nothing() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let long = "x".repeat(7 << 20);
    let large = "y".repeat(100_000);
    let input =
        [b"one\r\n".as_slice(), b"\xff\xfe\n", b"\n", long.as_bytes(), b"\n", large.as_bytes(), b"\nlast"]
            .concat();
    let (code, said) = publish(&node, &["logs", "--lines"], &input).await;
    assert_eq!(stored(&node, "logs").await, ["one", "", "last"]);
    assert_eq!(code, Some(1), "{said}");
    for line in [
        "line 2: the line is not UTF-8 at byte 0",
        "line 4: the line has 7340032 bytes; at most",
        "line 5: ",
        "3 of 6 lines were not published",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    let (code, said) = publish(&node, &["good", "--lines"], b"one\ntwo\n").await;
    assert_eq!((code, said.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn of_json_lines_each_stands_for_itself_and_passes_as_it_was_written() {
    let redis = Redis::start().await;
    // Fewer at once than the command sends.
    let node = Node::of(&redis).set("LIMITS__BATCH_EVENTS", "3").start().await;
    let odd = r#"{"a":1E5,"a":{"$serde_json::private::RawValue":"2"}}"#;
    let input = format!(
        "{{\"channel\":\"a\",\"data\":{odd}}}\n\n{{\n[\"a\",\"note\",\"by place\"]\n{{\"channel\":\"a\",\"data\":1}}\n\
         {{\"channel\":\"a\",\"data\":2}}\n{{\"channel\":\"a b\",\"data\":3}}\n{{\"channel\":\"a\",\"data\":4}}"
    );
    let (code, said) = publish(&node, &["--json-lines"], input.as_bytes()).await;
    assert_eq!(stored(&node, "a").await, [&odd[..20], "1", "2", "4"], "{said}");
    assert_eq!(code, Some(1));
    for line in ["line 3: invalid JSON", "line 4: ", "line 7: ", "3 of 7 lines were not published"] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
}

/// They were said to be not published, and "cannot connect" was the reason.
#[tokio::test]
async fn lines_whose_answer_is_lost_may_be_published() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    for (answer, reason) in [
        ("", "the connection to http://127.0.0.1:"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[", "the connection to http://127.0.0.1:"),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "the server answered with status 502"),
    ] {
        let publishing = publish_to(address, &["logs", "--lines"], b"one\ntwo\n");
        let answering = async {
            // A client may repeat a request over another connection if it got nothing.
            loop {
                let (mut socket, _) = server.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = socket.read(&mut request).await.unwrap();
                socket.write_all(answer.as_bytes()).await.unwrap();
                socket.shutdown().await.unwrap();
                let _ = socket.read_to_end(&mut Vec::new()).await;
            }
        };
        let (code, said) = tokio::select! {
            done = publishing => done,
            () = answering => unreachable!("it never ends"),
        };
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("lines 1 to ") && said.contains("may be published or not"), "{said}");
        assert!(said.contains(reason) && !said.contains("cannot connect"), "{said}");
    }
    drop(server);
    let (code, said) = publish_to(address, &["logs", "--lines"], b"one\ntwo\n").await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("lines from 1 on were not published") && said.contains("refused"), "{said}");
}
