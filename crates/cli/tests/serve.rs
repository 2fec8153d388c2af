//! `fanfare serve` and `fanfare config` as processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn fanfare(args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FANFARE_") {
            command.env_remove(name);
        }
    }
    command.args(args).envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

fn run(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = fanfare(args, variables).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A node; killed when the test fails.
struct Node {
    child: Child,
    address: String,
}

impl Node {
    fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[], "http")
    }

    fn start_with(args: &[&str], variables: &[(&str, &str)], scheme: &str) -> Self {
        let all = [&["serve", "--listen", "127.0.0.1:0", "--auth", "none"], args].concat();
        let mut child =
            fanfare(&all, variables).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = format!("listening on {scheme}://");
        let address = line.trim_end().strip_prefix(&ready).expect("the ready line").to_owned();
        Self { child, address }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn ask(&self, request: &str) -> TcpStream {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        socket
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It has ended already if the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn everything_that_is_wrong_is_reported_before_anything_is_bound() {
    let (code, out, stderr) = run(
        &["serve", "--listen", "nowhere"],
        &[("FANFARE_REDIS_URL", "redis://h"), ("FANFARE_STREAM__HEARTBEAT", "15")],
    );
    assert_eq!((code, out.as_str()), (Some(2), ""));
    for word in ["4 settings", "--auth none", "--listen", "FANFARE_REDIS__URL", "like 15s"] {
        assert!(stderr.contains(word), "{word} is not in {stderr}");
    }
    assert_eq!(run(&["serve", "--colour"], &[]).0, Some(2));
}

#[test]
fn config_shows_each_value_and_who_said_so_but_no_secret() {
    let variables = [
        ("FANFARE_AUTH__JWT__SECRET", SECRET),
        ("FANFARE_REDIS__URL", "redis://me:hush@127.0.0.1:6379"),
        ("FANFARE_SERVICE_HOST", "10.0.0.1"),
    ];
    let (code, out, stderr) = run(&["config", "--auth", "jwt"], &variables);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(!out.contains(SECRET) && !out.contains("hush"), "{out}");
    let row = |name: &str| out.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(row("auth.mode").ends_with("flag --auth"));
    assert!(row("redis.url").contains("redis://me:********@127.0.0.1:6379"));
    assert!(row("redis.url").ends_with("environment FANFARE_REDIS__URL"));
    assert!(row("stream.heartbeat").contains("15s") && row("stream.heartbeat").ends_with("default"));

    let (code, out, _) = run(&["config", "--json"], &variables);
    assert_eq!(code, Some(2), "auth is not said");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let url = json["settings"].as_array().unwrap().iter().find(|one| one["setting"] == "redis.url").unwrap();
    assert_eq!(url["origin"], "environment FANFARE_REDIS__URL");
}

#[test]
fn a_node_that_gets_sigterm_ends_its_streams_and_exits_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut node = Node::start(&[]);
        let mut stream = node.ask("GET /v1/events HTTP/1.0\r\n\r\n");
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains("event: connected") {
            let mut some = [0; 1000];
            let n = stream.read(&mut some).unwrap();
            assert_ne!(n, 0, "{}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&some[..n]);
        }
        node.signal(signal);
        stream.read_to_end(&mut read).unwrap();
        assert!(String::from_utf8_lossy(&read).contains("event: shutdown"));
        // A node waits a while for clients to close their side.
        drop(stream);
        assert_eq!(node.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_second_signal_stops_it_at_once_with_1() {
    let mut node = Node::start(&[]);
    // A request whose body does not come keeps it waiting.
    let mut busy = node.ask(
        "POST /v1/publish HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-type: application/json\r\n\
         content-length: 10\r\n\r\n",
    );
    let mut go_on = [0; 12];
    busy.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100");
    node.signal(Signal::SIGTERM);
    // The first signal is taken when the node does not listen any more.
    while TcpStream::connect(&node.address).is_ok() {
        std::thread::yield_now();
    }
    node.signal(Signal::SIGTERM);
    assert_eq!(node.child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_node_that_speaks_tls_is_probed_and_called() {
    let dir = tempfile::tempdir().unwrap();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| dir.path().join(name));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let [certificate, key] = [&certificate, &key].map(|path| path.to_str().unwrap());
    let tls = [("FANFARE_TLS__CERTIFICATE", certificate), ("FANFARE_TLS__KEY", key)];

    let (code, _, stderr) = run(&["serve", "--auth", "none"], &tls[..1]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("tls.key") && stderr.contains("together"), "{stderr}");

    let node = Node::start_with(&[], &tls, "https");
    let health = run(&["health", "--listen", &node.address], &tls);
    assert_eq!(health, (Some(0), "alive\n".to_owned(), String::new()));
    let (code, _, stderr) = run(&["health", "--listen", &node.address], &[]);
    assert_eq!(code, Some(1), "no answer in clear text: {stderr}");

    let server = format!("https://localhost:{}", node.address.rsplit(':').next().unwrap());
    let publish = ["publish", "room:1", "hello", "--server", &server];
    let (code, out, stderr) = run(&[&publish[..], &["--ca", certificate]].concat(), &[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{out}");
    let (code, out, _) = run(&["history", "room:1", "--server", &server], &[("FANFARE_CA", certificate)]);
    assert!(code == Some(0) && out.contains("hello"), "{out}");
    // An unknown certificate is not trusted.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(dir.path().join("other.pem"), other.cert.pem()).unwrap();
    let other = dir.path().join("other.pem");
    let (code, _, stderr) = run(&[&publish[..], &["--ca", other.to_str().unwrap()]].concat(), &[]);
    assert!(code == Some(1) && stderr.contains("certificate"), "{code:?} {stderr}");
}

#[test]
fn a_token_is_made_with_the_secret_of_a_node_and_is_worth_what_it_says() {
    let secret = [("FANFARE_AUTH__JWT__SECRET", SECRET)];
    let (code, token, said) = run(
        &["token", "--user", "42", "--subscribe", "room:*", "--publish", "room:7", "--ttl", "10m"],
        &secret,
    );
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(
        (token.lines().count(), token.matches('.').count()),
        (1, 2),
        "the token and nothing else: {token}"
    );
    let (code, stderr, _) = run(&["token", "check", token.trim()], &secret);
    assert_eq!(code, Some(0));
    for line in
        ["user       42", "subscribe  room:*", "publish    room:7", "admin      false", "expires    20"]
    {
        assert!(stderr.contains(line), "no {line:?} in {stderr}");
    }
    let other = [("FANFARE_AUTH__JWT__SECRET", "another secret, which is long enough")];
    let (code, _, said) = run(&["token", "check", token.trim()], &other);
    assert_eq!(code, Some(1));
    assert!(said.contains("signature"), "{said}");
}

#[test]
fn a_token_needs_a_secret_and_a_user_that_can_be_one() {
    let (code, out, said) = run(&["token", "--user", "42"], &[]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(said.contains("auth.jwt.secret_file"), "{said}");
    let (code, _, said) = run(&["token", "--user", "a b"], &[("FANFARE_AUTH__JWT__SECRET", SECRET)]);
    assert_eq!(code, Some(2));
    assert!(said.contains("user id has ' ' at byte 1"), "{said}");
    assert_eq!(run(&["token"], &[("FANFARE_AUTH__JWT__SECRET", SECRET)]).0, Some(2));
    // What is wrong with other settings is the node's to say.
    let variables = [("FANFARE_AUTH__JWT__SECRET", SECRET), ("FANFARE_STREAM__QUEUE", "many")];
    assert_eq!(run(&["token", "--user", "42", "--admin"], &variables).0, Some(0));
}
