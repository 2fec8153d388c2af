//! The quick start began with `--auth jwt` and showed nowhere how to make a token: it is followed here, as it is printed.
//!
//! What is replaced: `cargo build` has run already; `redis-cli` and `redis://127.0.0.1:6379` lead to a Redis of the test; the
//! node takes a free port, which stands in the place of 127.0.0.1:8080.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use fanfare_testkit::binary;
use fanfare_testkit::deadline::SOON;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// The code blocks of a language in README's quick start.
fn blocks(language: &str) -> Vec<&'static str> {
    let readme = include_str!("../../../README.md");
    let (_, section) = readme.split_once("\n## Quick start with Redis\n").expect("the section");
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let opening = format!("```{language}\n");
    section
        .split(opening.as_str())
        .skip(1)
        .map(|rest| rest.split_once("```").expect("the block ends").0)
        .collect()
}

/// The reader's machine: a directory with the repository's binary in its place, and a shell.
struct Machine {
    dir: tempfile::TempDir,
    redis: Redis,
    node: String,
}

impl Machine {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (release, bin) = (dir.path().join("target/release"), dir.path().join("bin"));
        fs::create_dir_all(&release).unwrap();
        fs::create_dir_all(&bin).unwrap();
        symlink(binary::path(), release.join("fanfare")).unwrap();
        let redis = Redis::start().await;
        let (host, port) = (redis.address().ip(), redis.address().port());
        script(&bin.join("cargo"), "exit 0");
        script(
            &bin.join("redis-cli"),
            &format!("exec {} -h {host} -p {port} -e \"$@\"", which("redis-cli").display()),
        );
        Self { dir, redis, node: String::new() }
    }

    /// Begins to run a block as a shell of its own.
    fn shell(&self, block: &str) -> Shell {
        let node = if self.node.is_empty() { "127.0.0.1:0" } else { &self.node };
        let block =
            block.replace("redis://127.0.0.1:6379", &self.redis.url()).replace("127.0.0.1:8080", node);
        let path = format!("{}:{}", self.dir.path().join("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FANFARE_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["-euo", "pipefail", "-c", &block])
            .current_dir(self.dir.path())
            .env("PATH", path)
            .env("FANFARE_NODE__LISTEN", "127.0.0.1:0")
            .env("FANFARE_SERVER", format!("http://{}", self.node))
            .env("NO_PROXY", "*")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Shell { child, lines }
    }
}

/// A shell of the reader's. Killed with what it started when dropped.
struct Shell {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Shell {
    /// Waits until each of these has been printed, in whatever order.
    async fn prints(&mut self, words: &[&str]) -> String {
        let (mut left, mut seen) = (words.to_vec(), String::new());
        while !left.is_empty() {
            let line = tokio::time::timeout(SOON, self.lines.next_line()).await.map(Result::unwrap);
            let Ok(Some(line)) = line else { panic!("no {left:?} in\n{seen}") };
            left.retain(|words| !line.contains(words));
            seen.push_str(&line);
            seen.push('\n');
        }
        seen
    }

    /// Waits until it ends, which must be well, and gives back what it printed.
    async fn ends(mut self) -> String {
        let mut seen = String::new();
        while let Some(line) = tokio::time::timeout(SOON, self.lines.next_line()).await.unwrap().unwrap() {
            seen.push_str(&line);
            seen.push('\n');
        }
        let status = self.child.wait().await.unwrap();
        assert!(status.success(), "{status}: {seen}");
        seen
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended.
            let _ =
                nix::sys::signal::killpg(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn which(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .expect("it is installed")
}

#[tokio::test]
async fn the_quick_start_works_as_it_is_printed() {
    let blocks = blocks("sh");
    let [serve, listen, publish, curl, commands] = blocks[..] else { panic!("{} blocks", blocks.len()) };
    let mut machine = Machine::new().await;
    let mut node = machine.shell(serve);
    let listening = node.prints(&["listening on http://"]).await;
    listening.trim().rsplit('/').next().unwrap().clone_into(&mut machine.node);

    let mut listener = machine.shell(&format!("exec 2>&1\n{listen}"));
    listener.prints(&["connected to node"]).await;
    let answers = machine.shell(publish).ends().await;
    assert!(answers.contains(r#""repeat":false"#), "{answers}");
    let all = ["from the command line", r#"{"from":"HTTP"}"#, r#"{"id":7}"#, r#"{"id":8}"#, r#"{"x":3}"#];
    listener.prints(&all).await;

    let export = listen.lines().next().unwrap();
    let mut follower = machine.shell(&format!("{export}\n{curl}"));
    follower.prints(&[r#"data: {"from":"HTTP"}"#]).await;
    let token = machine.shell(&format!("{export}\necho $FANFARE_TOKEN")).ends().await;
    browser(&machine, token.trim()).await;
    each_command(&machine, commands).await;
}

/// Runs each line of a block whose first line exports a token.
async fn each_command(machine: &Machine, block: &str) {
    fs::write(machine.dir.path().join("app.log"), "started\n").unwrap();
    let (export, commands) = block.split_once('\n').expect("a token and commands");
    for command in commands.lines() {
        let mut shell = machine.shell(&format!("exec 2>&1\n{export}\n{command}"));
        // These two run until they are interrupted.
        if command.contains(" listen ") {
            shell.prints(&["connected to node"]).await;
        } else if command.starts_with("tail -f ") {
            shell.prints(&["-0"]).await;
        } else {
            assert!(!shell.ends().await.is_empty(), "{command}");
        }
    }
}

/// Opens the stream that the browser's snippet opens.
async fn browser(machine: &Machine, token: &str) {
    let [snippet] = blocks("js")[..] else { panic!("one snippet") };
    assert!(snippet.contains(r#"EventSource("/v1/events?channel=room:7&token=" + token)"#), "{snippet}");
    let request =
        StreamRequest::to(machine.node.parse().unwrap()).channel("room:7").parameter("token", token);
    let client = request.open().await;
    assert_eq!(client.status(), 200);
}
