//! `fanfare serve` and `fanfare config` as processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use fanfare_testkit::binary;
use fanfare_testkit::certificate::Certificate;
use fanfare_testkit::deadline::SOON;
use fanfare_testkit::node::Node;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn run(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = binary::command();
    command.args(args).envs(variables.iter().copied()).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn ask(node: &Node, request: &str) -> TcpStream {
    let mut socket = TcpStream::connect(node.address()).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    socket
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

#[tokio::test]
async fn a_node_that_gets_sigterm_ends_its_streams_and_exits_with_0() {
    for signal in [Node::terminate, Node::interrupt] {
        let mut node = Node::alone().start().await;
        let mut stream = ask(&node, "GET /v1/events HTTP/1.0\r\n\r\n");
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains("event: connected") {
            let mut some = [0; 1000];
            let n = stream.read(&mut some).unwrap();
            assert_ne!(n, 0, "{}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&some[..n]);
        }
        signal(&node);
        stream.read_to_end(&mut read).unwrap();
        assert!(String::from_utf8_lossy(&read).contains("event: shutdown"));
        // A node waits a while for clients to close their side.
        drop(stream);
        assert_eq!(node.ended(SOON).await.code(), Some(0));
    }
}

/// A node that tells a service manager at a socket what it does. Killed when dropped.
struct Service(Child);

impl Service {
    fn start(socket: &Path) -> Self {
        let node = binary::command()
            .args(["serve", "--auth", "none", "--listen", "127.0.0.1:0"])
            .envs([("FANFARE_DRAIN__NOTICE", "0s"), ("FANFARE_DRAIN__WINDOW", "0s")])
            .env("NOTIFY_SOCKET", socket)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(node.unwrap())
    }

    fn terminate(&self) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    }

    /// Waits until it has ended with 0. Returns what it logged.
    fn log(mut self) -> String {
        let mut log = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0), "{log}");
        log
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_manager_is_told_when_the_node_listens_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let told = || {
        let mut text = [0; 1000];
        let n = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..n]).into_owned()
    };
    let node = Service::start(&path);
    let ready = told();
    let address = ready.strip_prefix("READY=1\nSTATUS=listening on ").unwrap_or_else(|| panic!("{ready}"));
    TcpStream::connect(address.trim_end()).unwrap();
    node.terminate();
    assert_eq!(told(), "STOPPING=1\nSTATUS=draining\n");
    node.log();
}

#[test]
fn a_node_works_without_the_service_manager_that_started_it() {
    let mut node = Service::start(Path::new("/nowhere/notify"));
    let mut line = String::new();
    BufReader::new(node.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on http://"), "{line}");
    node.terminate();
    let log = node.log();
    assert!(log.contains("cannot notify the service manager"), "{log}");
}

#[tokio::test]
async fn a_second_signal_stops_it_at_once_with_1() {
    let mut node = Node::alone().launch().await;
    // A request whose body does not come keeps it waiting.
    let mut busy = ask(
        &node,
        "POST /v1/publish HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-type: application/json\r\n\
         content-length: 10\r\n\r\n",
    );
    let mut go_on = [0; 12];
    busy.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100");
    node.terminate();
    // The first signal is taken when the node does not listen any more.
    while TcpStream::connect(node.address()).is_ok() {
        std::thread::yield_now();
    }
    node.terminate();
    assert_eq!(node.ended(SOON).await.code(), Some(1));
}

#[tokio::test]
async fn a_node_that_speaks_tls_is_probed_and_called() {
    let (own, other) = (Certificate::default(), Certificate::default());
    let [certificate, key, authority, unknown] =
        [own.certificate_file(), own.key_file(), own.authority_file(), other.authority_file()]
            .map(|path| path.to_str().unwrap().to_owned());
    let tls = [("FANFARE_TLS__CERTIFICATE", &*certificate), ("FANFARE_TLS__KEY", &*key)];

    let (code, _, stderr) = run(&["serve", "--auth", "none"], &tls[..1]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("tls.key") && stderr.contains("together"), "{stderr}");

    let node = Node::alone().tls(&own).launch().await;
    let address = node.address().to_string();
    let health = run(&["health", "--listen", &address], &tls);
    assert_eq!(health, (Some(0), "alive\n".to_owned(), String::new()));
    let (code, _, stderr) = run(&["health", "--listen", &address], &[]);
    assert_eq!(code, Some(1), "no answer in clear text: {stderr}");

    let server = format!("https://localhost:{}", node.address().port());
    let publish = ["publish", "room:1", "hello", "--server", &server];
    let (code, out, stderr) = run(&[&publish[..], &["--ca", &authority]].concat(), &[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{out}");
    let (code, out, _) = run(&["history", "room:1", "--server", &server], &[("FANFARE_CA", &authority)]);
    assert!(code == Some(0) && out.contains("hello"), "{out}");
    // A certificate of an unknown authority is not trusted.
    let (code, _, stderr) = run(&[&publish[..], &["--ca", &unknown]].concat(), &[]);
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
    for line in [
        "user       42",
        "subscribe  room:*",
        "publish    room:7",
        "cancel     -",
        "admin      false",
        "expires    20",
    ] {
        assert!(stderr.contains(line), "no {line:?} in {stderr}");
    }
    let other = [("FANFARE_AUTH__JWT__SECRET", "another secret, which is long enough")];
    let (code, _, said) = run(&["token", "check", token.trim()], &other);
    assert_eq!(code, Some(1));
    assert!(said.contains("signature"), "{said}");
}

#[test]
fn a_token_is_signed_with_a_private_key_and_checked_with_the_public_one() {
    let file = |name: &str| format!("{}/../auth/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"));
    let sign = |key: &str, more: &[&str]| {
        let key = file(&format!("{key}.private.pem"));
        run(&[&["token", "--user", "42", "--key", &key], more].concat(), &[])
    };
    let public = file("es256.public.pem");
    let (code, token, said) = sign("es256", &["--kid", "2026"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let (code, out, said) =
        run(&["token", "check", token.trim()], &[("FANFARE_AUTH__JWT__KEY_FILES", &public)]);
    assert!(code == Some(0) && out.contains("user       42"), "{said}");
    let (code, _, said) = run(&["token", "check", token.trim()], &[("FANFARE_AUTH__JWT__SECRET", SECRET)]);
    assert!(code == Some(1) && said.contains("algorithm ES256 is not one of its key's (HS256"), "{said}");
    for (key, alg) in [("rs256", "PS512"), ("es384", "ES384"), ("ed25519", "EdDSA")] {
        let (code, token, said) = sign(key, &["--alg", alg]);
        assert_eq!(code, Some(0), "{said}");
        let public = file(&format!("{key}.public.pem"));
        let keys = [("FANFARE_AUTH__JWT__KEY_FILES", public.as_str())];
        assert_eq!(run(&["token", "check", token.trim()], &keys).0, Some(0), "{alg}");
    }
    let (code, _, said) = sign("es256", &["--alg", "RS256"]);
    assert!(code == Some(1) && said.contains("the key allows ES256"), "{said}");
    assert_eq!(sign("es256", &["--alg", "none"]).0, Some(2));
    let (code, _, said) = run(&["token", "--user", "42", "--key", &public], &[]);
    assert!(code == Some(1) && said.contains("no private key"), "{said}");
    let issuers = format!("[{{ issuer = 'https://a', key_files = ['{public}'], max_lifetime = '1m' }}]");
    let (code, _, said) = run(
        &["token", "--user", "42", "--key", &file("es256.private.pem"), "--issuer", "https://a"],
        &[("FANFARE_AUTH__ISSUERS", &issuers)],
    );
    assert!(code == Some(1) && said.contains("auth.issuers[0].max_lifetime"), "{said}");
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
