//! `fanfare stream`: bytes from stdin of one command to stdout of another, over nodes, broken connections and every end.

use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::time::Duration;

use fanfare_testkit::binary;
use fanfare_testkit::chaos_proxy::ChaosProxy;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::node::SECRET;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// What a test allows for a command to end, or to print.
const PATIENCE: Duration = Duration::from_mins(1);

fn command(server: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::from(binary::command());
    command.arg("stream").args(arguments).env("FANFARE_SERVER", format!("http://{server}"));
    command.env("NO_PROXY", "127.0.0.1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn start(server: SocketAddr, arguments: &[&str]) -> Child {
    command(server, arguments).spawn().expect("the binary can be run")
}

async fn ended(child: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").expect("its output can be read");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// Runs a command with this input.
async fn run(server: SocketAddr, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = start(server, arguments);
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that does not read its input may have closed it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    ended(child).await
}

/// Reads what a command prints, until it is this.
async fn prints(child: &mut Child, wanted: &str) {
    let stdout = child.stdout.as_mut().expect("it is piped");
    let mut printed = vec![0; wanted.len()];
    timeout(PATIENCE, stdout.read_exact(&mut printed)).await.expect("it prints").expect("it goes on");
    assert_eq!(String::from_utf8(printed).expect("text"), wanted);
}

async fn write(child: &mut Child, text: &str) {
    child.stdin.as_mut().expect("it is piped").write_all(text.as_bytes()).await.expect("it reads");
}

#[tokio::test]
async fn what_is_piped_on_one_node_is_printed_on_another_while_it_runs() {
    let cluster = Cluster::pair().await;
    let (a, b) = (cluster.a().address(), cluster.b().address());
    assert_eq!(run(a, &["create", "chat-7"], "").await, (Some(0), "created\n".into(), String::new()));
    assert_eq!(run(b, &["create", "chat-7"], "").await, (Some(0), "exists\n".into(), String::new()));
    let mut reader = start(b, &["read", "chat-7"]);
    let mut writer = start(a, &["append", "chat-7"]);
    for part in ["one ", "two\n", "\u{1f600} three"] {
        write(&mut writer, part).await;
        prints(&mut reader, part).await;
    }
    let read = run(b, &["read", "chat-7", "--no-follow"], "").await;
    assert_eq!(read, (Some(0), "one two\n\u{1f600} three".into(), String::new()), "it has not ended");
    drop(writer.stdin.take());
    assert_eq!(ended(writer).await, (Some(0), String::new(), String::new()));
    assert_eq!(ended(reader).await, (Some(0), String::new(), String::new()));
    // Created by its first append, left open, and of messages.
    let append = ["append", "log", "--type", "application/json", "--keep-open", "--ttl", "1h"];
    assert_eq!(run(a, &append, "{\"n\": 1}\n\n[2]\n12345678901234567890").await.0, Some(0));
    let read = run(b, &["read", "log", "--no-follow"], "").await;
    assert_eq!(read, (Some(0), "{\"n\":1}\n[2]\n12345678901234567890\n".into(), String::new()));
}

/// Returns the first block of shell commands behind a heading of a page.
fn block(page: &'static str, heading: &str) -> &'static str {
    let (_, section) = page.split_once(heading).expect("the heading");
    let (_, block) = section.split_once("```sh\n").expect("a block");
    block.split_once("```").expect("the block ends").0
}

#[tokio::test]
async fn the_commands_of_the_pages_print_the_answer() {
    let readme = block(include_str!("../../../README.md"), "## An answer that survives a refresh");
    let page = block(include_str!("../../../docs/finite-streams.md"), "## Command line");
    let cluster = Cluster::on(Redis::start().await, 1, |node| node.auth("jwt")).await;
    let dir = tempfile::tempdir().expect("a directory");
    let release = dir.path().join("target/release");
    std::fs::create_dir_all(&release).expect("a directory");
    std::os::unix::fs::symlink(binary::path(), release.join("fanfare")).expect("a link");
    std::fs::write(dir.path().join("jwt.secret"), SECRET).expect("a file");
    let llm = "llm() { for word in Once upon a time; do printf '%s ' $word; done; }";
    // The answer is complete before the page ends it.
    let ended = "fanfare: the stream had ended before: complete\n";
    let token = Token::of("app").publish(&["stream:*"]).subscribe(&["stream:*"]).sign();
    for (lines, stderr) in [(readme, ""), (page, ended)] {
        let mut command = Command::new("bash");
        // `fanfare token` takes it for a setting.
        command.env_remove("FANFARE_BIN");
        command.args(["-euo", "pipefail", "-c", &format!("{llm}\n{lines}")]).current_dir(dir.path());
        command.env("FANFARE_TOKEN", &token);
        let path = format!("{}:{}", release.display(), std::env::var("PATH").expect("a path"));
        command.env("PATH", path).env("NO_PROXY", "127.0.0.1");
        command.env("FANFARE_SERVER", format!("http://{}", cluster.a().address()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = self::ended(command.spawn().expect("there is a shell")).await;
        assert_eq!(output, (Some(0), "created\nOnce upon a time ".into(), stderr.into()));
    }
}

#[tokio::test]
async fn an_end_is_an_exit_code_with_its_reason_on_stderr() {
    let cluster = Cluster::pair().await;
    let (a, b) = (cluster.a().address(), cluster.b().address());
    for (name, flag, kind, code) in [("e", "--error", "error", 3), ("c", "--cancelled", "cancelled", 4)] {
        assert_eq!(run(a, &["append", name, "--keep-open"], "some").await.0, Some(0));
        let mut writer = start(b, &["append", name]);
        let end = ["end", name, flag, "--reason", "out of tokens"];
        assert_eq!(run(a, &end, "").await, (Some(0), String::new(), String::new()));
        let (status, stdout, stderr) = run(b, &["read", name], "").await;
        assert_eq!((status, &*stdout), (Some(code), "some"), "{stderr}");
        assert_eq!(stderr, format!("fanfare: the stream ended: {kind}: out of tokens\n"));
        write(&mut writer, "late").await;
        let (status, _, stderr) = ended(writer).await;
        assert_eq!(status, Some(code), "{stderr}");
        assert!(stderr.contains(&format!("not all was appended, the stream has ended: {kind}")), "{stderr}");
        let (status, _, stderr) = run(b, &["end", name], "").await;
        assert_eq!(status, Some(0));
        assert_eq!(stderr, format!("fanfare: the stream had ended before: {kind}: out of tokens\n"));
    }
}

#[tokio::test]
async fn the_streams_are_listed_with_their_ends() {
    let cluster = Cluster::pair().await;
    let (a, b) = (cluster.a().address(), cluster.b().address());
    assert_eq!(run(b, &["list"], "").await, (Some(0), String::new(), String::new()));
    assert_eq!(run(a, &["create", "chat-7", "--ttl", "1h"], "").await.0, Some(0));
    assert_eq!(run(a, &["append", "log"], "some").await.0, Some(0));
    assert_eq!(run(a, &["end", "chat-7", "--error", "--reason", "lost"], "").await.0, Some(0));
    let (_, table, _) = run(b, &["list"], "").await;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let chat = ["chat-7", "text/plain", "0", "error", "lost"];
    assert_eq!(
        rows,
        [["NAME", "TYPE", "BYTES", "END", "REASON"], chat, ["log", "text/plain", "4", "complete", "-"]]
    );
    let (_, lines, _) = run(b, &["list", "--json"], "").await;
    let chat =
        r#"{"name":"chat-7","media_type":"text/plain","bytes":0,"end":"error","reason":"lost","ttl":3600}"#;
    assert_eq!(lines.lines().next(), Some(chat));
}

#[tokio::test]
async fn each_byte_is_appended_and_printed_once_although_connections_break() {
    let cluster = Cluster::pair().await;
    let to = ChaosProxy::before(cluster.a().address()).await;
    let from = ChaosProxy::before(cluster.b().address()).await;
    assert_eq!(run(to.address(), &["create", "story"], "").await.0, Some(0));
    let mut writer = start(to.address(), &["append", "story"]);
    let mut reader = start(from.address(), &["read", "story"]);
    let mut wanted = String::new();
    for n in 0..120 {
        let part = format!("{n}{}\n", "x".repeat(n * n));
        write(&mut writer, &part).await;
        wanted.push_str(&part);
        match n % 6 {
            0 => to.reset(),
            3 => from.reset(),
            _ => prints(&mut reader, &std::mem::take(&mut wanted)).await,
        }
    }
    to.cut();
    write(&mut writer, "last").await;
    to.resume();
    drop(writer.stdin.take());
    prints(&mut reader, &format!("{wanted}last")).await;
    assert_eq!(ended(writer).await.0, Some(0));
    let (status, rest, _) = ended(reader).await;
    assert_eq!((status, &*rest), (Some(0), ""));
}

#[tokio::test]
async fn an_interrupt_cancels_the_stream_and_a_bad_line_fails_it() {
    let cluster = Cluster::pair().await;
    let (a, b) = (cluster.a().address(), cluster.b().address());
    let mut writer = start(a, &["append", "chat-8"]);
    write(&mut writer, "some").await;
    // It exists once the first bytes are there.
    while run(b, &["read", "chat-8", "--no-follow"], "").await.1 != "some" {}
    let pid = writer.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.expect("there is kill").success());
    assert_eq!(ended(writer).await.0, Some(130));
    let (status, stdout, stderr) = run(b, &["read", "chat-8"], "").await;
    assert_eq!((status, &*stdout), (Some(4), "some"));
    assert_eq!(stderr, "fanfare: the stream ended: cancelled: interrupted\n");

    let append = ["append", "log", "--type", "application/json"];
    let (status, _, stderr) = run(a, &append, "{\"n\":1}\n").await;
    assert_eq!(status, Some(0), "{stderr}");
    let bad = ["append", "bad", "--type", "application/json"];
    let (status, _, stderr) = run(a, &bad, "{\"n\":\n").await;
    assert!(status == Some(1) && stderr.contains("JSON"), "{stderr}");
    let (status, stdout, stderr) = run(b, &["read", "bad"], "").await;
    assert_eq!((status, &*stdout), (Some(3), ""));
    assert!(stderr.contains("the producer's bytes were refused: bad-json"), "{stderr}");
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let cluster = Cluster::pair().await;
    let a = cluster.a().address();
    assert_eq!(run(a, &["append", "page", "--type", "text/html", "--keep-open"], "x").await.0, Some(0));
    let long = "x".repeat(257);
    for (arguments, code, word) in [
        (&["read", "nothing"][..], 1, "no stream with this name"),
        (&["read", "page", "--from", "7"], 1, "offset"),
        (&["read", "page", "--from", "0000000000000007_0000000000000000"], 1, "not a place of this stream"),
        (&["end", "nothing"], 1, "no stream with this name"),
        (&["append", "page"], 1, "media type"),
        (&["create", "page"], 1, "exists with another"),
        (&["create", "a//b"], 2, "a//b"),
        (&["create", "x", "--ttl", "1500ms"], 2, "whole seconds"),
        (&["create", "x", "--type", "no type"], 1, "media type"),
        (&["end", "page", "--reason", &long], 2, "256"),
        (&["end", "page", "--error", "--cancelled"], 2, "--cancelled"),
    ] {
        let (status, stdout, stderr) = run(a, arguments, "more").await;
        assert_eq!((status, &*stdout), (Some(code), ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(word), "{arguments:?}: {stderr}");
    }
    assert_eq!(run(a, &["read", "page", "--no-follow"], "").await.1, "x", "nothing has changed");
}
