//! The example publisher: made-up answers, token by token, for users who are there.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fanfare_testkit::binary;
use fanfare_testkit::chaos_proxy::{ChaosProxy, Trip};
use fanfare_testkit::client::{Client, End};
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, becomes, until};
use fanfare_testkit::lifecycle;
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::publisher::log_key;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use uuid::Uuid;

const GRACE: Duration = Duration::from_secs(3);

/// Users are missed for [`GRACE`] before they are offline; the nodes look for that every second.
fn patient(node: NodeBuilder) -> NodeBuilder {
    node.set("SESSION__GRACE", "3s").short_lease()
}

/// The example's process. Killed when dropped; after a panic what it said is printed.
struct TokenStream {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// Read what it says until it ends.
    _readers: JoinSet<()>,
}

impl TokenStream {
    /// Starts it, and waits until it watches who comes and leaves.
    async fn start(redis: &str, every: u64, tokens: u64) -> Self {
        let mut child = Command::new(binary::token_stream())
            .args(["--redis", redis, "--every", &every.to_string(), "--tokens", &tokens.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the example can be run");
        let (lines, mut readers) = (Arc::default(), JoinSet::new());
        readers.spawn(keep_lines(child.stdout.take().expect("stdout is a pipe"), Arc::clone(&lines)));
        readers.spawn(keep_lines(child.stderr.take().expect("stderr is a pipe"), Arc::clone(&lines)));
        let example = Self { child, lines, _readers: readers };
        example.says("watching fanfare:lifecycle after ").await;
        example
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has said a line that begins so, and gives back the rest of the first one.
    async fn says(&self, beginning: &str) -> String {
        until(&format!("the example says {beginning:?}"), SOON, async || {
            let lines = self.lines();
            let rest = lines.iter().find_map(|line| line.strip_prefix(beginning)).map(str::to_owned);
            rest.ok_or_else(|| lines.join("\n"))
        })
        .await
    }

    /// SIGTERM, and waits for the end.
    async fn stop(&mut self) -> ExitStatus {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).expect("it runs");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("our own child can be signalled");
        tokio::time::timeout(SOON, self.child.wait()).await.expect("it ends soon").expect("it has a status")
    }
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the example\n{}", self.lines().join("\n"));
        }
    }
}

async fn keep_lines(from: impl AsyncRead + Unpin, to: Arc<Mutex<Vec<String>>>) {
    let mut from = BufReader::new(from).lines();
    while let Ok(Some(line)) = from.next_line().await {
        to.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// A new client of a user. The answer begins when the user is reported online, and the client gets its first token.
fn stream(node: &Node, user: &str) -> StreamRequest {
    node.stream().user(user)
}

/// A client that reads an answer, each token once and in order.
struct Reader {
    client: Client,
    next: u64,
}

impl Reader {
    fn of(client: Client) -> Self {
        Self { client, next: 0 }
    }

    /// Reads tokens up to the first event that is none, and gives back its type; or until so many came in all.
    async fn read(&mut self, till: u64) -> String {
        while self.next < till {
            let event = self.client.next().await;
            if event.kind != "token" {
                return event.kind;
            }
            assert_eq!(event.json()["n"], self.next, "{}", self.client.story());
            self.next += 1;
        }
        "token".into()
    }

    /// Reads up to the goodbye of a node that leaves, and goes on at another one.
    async fn move_to(&mut self, node: &Node) {
        assert_eq!(self.read(u64::MAX).await, "shutdown");
        assert_eq!(self.client.end().await, End::Clean);
        self.client.resume(node).await;
    }
}

/// Checks that the log has each token of a user's only answer once and in order: as many as were said to be written, or
/// the one more that was being sent.
async fn wrote(redis: &Redis, user: &str, cancelled: &str) {
    let said: u64 = cancelled.split(' ').next().and_then(|n| n.parse().ok()).expect("a number of tokens");
    let log = redis.stream(&log_key(&format!("user:{user}"))).await;
    let number = |fields: &[(String, String)]| {
        let data = fields.iter().find_map(|(name, data)| (name == "d").then_some(data)).expect("data");
        serde_json::from_str::<Value>(data).expect("JSON")["n"].as_u64().expect("a number")
    };
    let written: Vec<u64> = log.iter().map(|(_, fields)| number(fields)).collect();
    let whole: Vec<u64> = (0..written.len() as u64).collect();
    assert_eq!(written, whole);
    assert!(
        (said..=said + 1).contains(&(written.len() as u64)),
        "{said} were said, {} written",
        written.len()
    );
}

#[tokio::test]
async fn an_answer_is_cancelled_when_its_user_has_been_gone_for_the_grace_and_not_before() {
    let cluster = Cluster::on(Redis::start().await, 2, patient).await;
    let mut example = TokenStream::start(&cluster.redis.url(), 20, 100_000).await;
    let mut stays = Reader::of(stream(cluster.b(), "1").open().await);
    let mut leaves = Reader::of(stream(cluster.a(), "42").open().await);
    leaves.read(5).await;
    let left = Instant::now();
    leaves.client.close();
    let after = example.says("cancelled 42 after ").await;
    assert!(left.elapsed() >= GRACE, "cancelled {:?} after the user left", left.elapsed());
    let events = ["session.connected a", "user.online", "session.disconnected closed", "user.offline"];
    lifecycle::tells(&cluster.redis, "42", &events).await;
    wrote(&cluster.redis, "42", &after).await;

    // No other user is affected, and a later event is a separate answer.
    let seen = stays.next;
    stays.read(seen + 10).await;
    let answer = leaves.client.received()[1].json()["answer"].clone();
    let mut again = stream(cluster.a(), "42").open().await;
    let first = again.find(|event| event.json()["answer"] != answer).await;
    assert_eq!((first.kind.as_str(), &first.json()["n"]), ("token", &Value::from(0)));
    assert!(example.stop().await.success());
    example.says("cancelled 1 after ").await;
}

#[tokio::test]
async fn a_rolling_restart_cancels_no_answer_and_each_token_arrives_once_and_in_order() {
    const TOKENS: u64 = 240;
    let mut cluster = Cluster::on(Redis::start().await, 2, patient).await;
    let example = TokenStream::start(&cluster.redis.url(), 50, TOKENS).await;
    // One keeps its session's name over reconnects; the other, as a plain EventSource does, gets a new one each time.
    let named = stream(cluster.a(), "42").session(&Uuid::new_v4().to_string());
    let plain = stream(cluster.a(), "43");
    let mut readers = [Reader::of(named.open().await), Reader::of(plain.open().await)];
    for (leaving, other) in [(0, 1), (1, 0)] {
        for reader in &mut readers {
            let seen = reader.next;
            assert_eq!(reader.read(seen + 5).await, "token");
        }
        cluster.nodes[leaving].terminate();
        for reader in &mut readers {
            reader.move_to(&cluster.nodes[other]).await;
        }
        assert!(cluster.nodes[leaving].ended(SOON).await.success());
        let again = Node::of(&cluster.redis).id(cluster.nodes[leaving].id());
        cluster.nodes[leaving] = patient(again).start().await;
    }
    for reader in &mut readers {
        assert_eq!((reader.read(u64::MAX).await.as_str(), reader.next), ("done", TOKENS));
    }

    // Missed users were looked up again, and found.
    becomes("no user is missed", 0, async || cluster.redis.get::<u64>(&["ZCARD", "fanfare:leaving"]).await)
        .await;
    let events = ["session.connected a", "user.online", "session.moved a>b", "session.moved b>a"];
    lifecycle::tells(&cluster.redis, "42", &events).await;
    let events = lifecycle::of_user(&cluster.redis, "43").await;
    let of_users: Vec<_> = events.iter().filter(|event| event.starts_with("user.")).collect();
    assert_eq!(of_users, ["user.online"], "{events:?}");
    for user in ["42", "43"] {
        example.says(&format!("done {user} after {TOKENS} tokens")).await;
    }
    let lines = example.lines();
    assert!(!lines.iter().any(|line| line.starts_with("cancelled")), "{lines:?}");
}

#[tokio::test]
async fn over_an_outage_of_redis_each_token_is_stored_once_and_who_left_meanwhile_is_noticed() {
    const TOKENS: u64 = 100;
    let cluster = Cluster::pair().await;
    let proxy = ChaosProxy::before(cluster.redis.address()).await;
    let example = TokenStream::start(&proxy.url(), 20, TOKENS).await;
    let mut stays = Reader::of(stream(cluster.a(), "42").open().await);
    let leaves = stream(cluster.b(), "43").open().await;
    // A token is stored and the publisher does not get the answer.
    proxy.trip_on(b"\"n\":20,", Trip::After);
    proxy.tripped().await;
    // Its connections are not closed, but it detects the loss.
    example.says("fanfare:lifecycle: ").await;
    proxy.cut();
    drop(leaves);
    let events = ["session.connected b", "user.online", "session.disconnected closed", "user.offline"];
    lifecycle::tells(&cluster.redis, "43", &events).await;
    proxy.resume();
    let after = example.says("cancelled 43 after ").await;
    wrote(&cluster.redis, "43", &after).await;
    assert_eq!((stays.read(u64::MAX).await.as_str(), stays.next), ("done", TOKENS));
    example.says(&format!("done 42 after {TOKENS} tokens")).await;
}

#[tokio::test]
async fn what_was_trimmed_from_lifecycle_during_an_outage_is_reported_and_later_clients_are_served() {
    let cluster = Cluster::pair().await;
    for (round, forget) in
        [&["XTRIM", lifecycle::KEY, "MAXLEN", "1"][..], &["DEL", lifecycle::KEY]].iter().enumerate()
    {
        let proxy = ChaosProxy::before(cluster.redis.address()).await;
        let example = TokenStream::start(&proxy.url(), 20, 100_000).await;
        let user = |name: &str| format!("{name}-{round}");
        let _first = stream(cluster.a(), &user("first")).open().await;
        example.says(&format!("started {}", user("first"))).await;
        proxy.cut();
        let _second = stream(cluster.a(), &user("second")).open().await;
        cluster.redis.get::<u64>(forget).await;
        proxy.resume();
        example.says("fanfare:lifecycle: entries after ").await;
        let mut third = stream(cluster.a(), &user("third")).open().await;
        third.expect("token").await;
        example.says(&format!("started {}", user("third"))).await;
    }
}
