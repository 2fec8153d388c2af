//! A redis-server of one's own, and everything that can happen to it.
//!
//! # Layout
//!
//! - `cluster`: several as a Redis Cluster
//! - `monitor`: the commands of nodes
//! - `sentinel`: a primary with replicas, watched by Sentinels

mod cluster;
mod monitor;
mod sentinel;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, RedisResult, ToRedisArgs};
use tempfile::TempDir;

pub use self::cluster::RedisCluster;
pub use self::monitor::{Asked, Monitor};
pub use self::sentinel::RedisSentinel;
use crate::certificate::Certificate;
use crate::deadline::{SOON, until};
use crate::loopback;

/// Where TLS is spoken, if it is.
const TLS_PORT: u16 = 6380;

/// An entry of a stream: its id and its fields.
pub type StreamEntry = (String, Vec<(String, String)>);

/// A real redis-server on a loopback address of its own. Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    address: SocketAddr,
    /// Data, log. Removed when dropped.
    dir: TempDir,
    durable: bool,
    /// Shown on [`TLS_PORT`], if it listens there.
    certificate: Option<Certificate>,
    /// More of its command line.
    arguments: Vec<String>,
    /// Whether it is a Sentinel, which keeps what it knows in its configuration file.
    sentinel: bool,
    /// None while it is stopped.
    child: Option<Child>,
    client: redis::Client,
}

impl Redis {
    /// One that forgets everything when it stops.
    pub async fn start() -> Self {
        Self::with_arguments(&[]).await
    }

    /// One that has every write on disk before it answers.
    pub async fn durable() -> Self {
        let mut redis = Self::new(own_address(), &[]);
        redis.durable = true;
        redis.started().await
    }

    /// One that also speaks TLS, beside the clear text that tests have for themselves.
    pub async fn with_tls() -> Self {
        let mut redis = Self::new(own_address(), &[]);
        redis.certificate = Some(Certificate::of(&[&redis.address.ip().to_string()]));
        redis.started().await
    }

    /// One that asks clients for certificates of its own authority over TLS. Tests have clear text for themselves.
    pub async fn with_client_certificates() -> Self {
        let mut redis = Self::new(own_address(), &["--tls-auth-clients", "yes"]);
        redis.certificate = Some(Certificate::of(&[&redis.address.ip().to_string()]));
        redis.started().await
    }

    /// What it shows over TLS, by the authority whose clients it believes.
    ///
    /// # Panics
    ///
    /// When it does not speak TLS.
    pub fn certificate(&self) -> &Certificate {
        self.certificate.as_ref().expect("it speaks TLS")
    }

    /// One that forgets everything, with settings of its own: `["--cluster-enabled", "yes"]`.
    pub async fn with_arguments(arguments: &[&str]) -> Self {
        Self::new(own_address(), arguments).started().await
    }

    fn new(address: SocketAddr, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let client = redis::Client::open(format!("redis://{address}")).expect("the address is one");
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let (durable, sentinel, certificate, child) = (false, false, None, None);
        Self { address, dir, durable, certificate, arguments, sentinel, child, client }
    }

    async fn started(mut self) -> Self {
        self.start_again().await;
        self
    }

    /// Starts it on the same address, with the data that it kept.
    ///
    /// # Panics
    ///
    /// When it runs already, or does not answer soon.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "Redis runs already");
        let log = File::options().create(true).append(true).open(self.dir.path().join("log"));
        let log = log.expect("the log can be written");
        let mut command = Command::new("redis-server");
        if self.sentinel {
            command.arg(self.config_file()).arg("--sentinel");
        }
        if let Some(certificate) = &self.certificate {
            command.args([
                "--tls-port",
                &TLS_PORT.to_string(),
                "--tls-auth-clients",
                "no",
                "--tls-cert-file",
            ]);
            command.arg(certificate.certificate_file()).arg("--tls-key-file").arg(certificate.key_file());
            command.arg("--tls-ca-cert-file").arg(certificate.authority_file());
        }
        let child = command
            .args(["--bind", &self.address.ip().to_string(), "--port", &self.address.port().to_string()])
            .args(["--save", "", "--appendonly", if self.durable { "yes" } else { "no" }])
            .args(["--appendfsync", "always", "--dir"])
            .arg(self.dir.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a file can be cloned"))
            .stdout(log)
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        until("redis-server answers", SOON, async || self.ask::<String>(&["PING"]).await).await;
    }

    /// Stops it in an orderly way, as an operator does.
    ///
    /// # Panics
    ///
    /// When it is stopped already.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().expect("Redis runs");
        signal(&child, Signal::SIGTERM);
        until("redis-server ends", SOON, async || child.try_wait().ok().flatten().ok_or("it still runs"))
            .await;
    }

    /// Ends it at once, with what it has not written.
    ///
    /// # Panics
    ///
    /// When it is stopped already.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("Redis runs");
        child.kill().and_then(|()| child.wait()).expect("our own child can be killed");
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Removes what a stopped one has on disk: it comes back empty.
    ///
    /// # Panics
    ///
    /// When it runs.
    pub fn forget(&mut self) {
        assert!(self.child.is_none(), "Redis runs");
        // There is none when nothing was kept.
        let _ = std::fs::remove_dir_all(self.dir.path().join("appendonlydir"));
    }

    /// Freezes the process: connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// The end of [`Self::pause`].
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, what: Signal) {
        signal(self.child.as_ref().expect("Redis runs"), what);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a node's `--redis` takes.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The same over TLS, and the file of who vouches for it.
    ///
    /// # Panics
    ///
    /// When it does not speak TLS.
    pub fn tls_url(&self) -> (String, PathBuf) {
        let certificate = self.certificate();
        (format!("rediss://{}:{TLS_PORT}", self.address.ip()), certificate.authority_file())
    }

    /// A connection of one's own, patient enough for a Redis that is paused for a while.
    ///
    /// # Errors
    ///
    /// When Redis is away.
    pub async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(5)))
            .set_response_timeout(Some(Duration::from_mins(1)));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// One command over a connection of its own.
    ///
    /// # Errors
    ///
    /// When Redis is away, or answers with an error or another type.
    pub async fn ask<T: FromRedisValue>(&self, parts: &[impl ToRedisArgs]) -> RedisResult<T> {
        let mut connection = self.connection().await?;
        let mut command = redis::Cmd::new();
        for part in parts {
            command.arg(part);
        }
        command.query_async(&mut connection).await
    }

    /// [`Self::ask`] that must succeed.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub async fn get<T: FromRedisValue>(&self, parts: &[impl ToRedisArgs + std::fmt::Debug]) -> T {
        self.ask(parts).await.unwrap_or_else(|e| panic!("{parts:?}: {e}"))
    }

    /// The output of the real `redis-cli`, without its last line ending.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub async fn cli(&self, arguments: &[&str]) -> String {
        let output = tokio::process::Command::new("redis-cli")
            .args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string(), "-e"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("redis-cli is installed");
        let text = |bytes| String::from_utf8_lossy(bytes).trim_end().to_owned();
        assert!(
            output.status.success(),
            "redis-cli {arguments:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Closes the connections of a kind (`normal` or `pubsub`) and says how many there were.
    pub async fn kill_clients(&self, kind: &str) -> usize {
        self.get(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await
    }

    /// One figure of `INFO`, like `used_memory` or `used_cpu_user`.
    ///
    /// # Panics
    ///
    /// When there is no such figure.
    pub async fn info(&self, name: &str) -> f64 {
        let info: String = self.get(&["INFO", "everything"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("INFO has no figure {name}"))
    }

    /// How often a command was called since Redis started.
    pub async fn calls(&self, command: &str) -> u64 {
        let info: String = self.get(&["INFO", "commandstats"]).await;
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_")?.strip_prefix(command)?.strip_prefix(":calls="));
        line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
    }

    /// The keys that match a pattern, in alphabetical order.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.get(&["KEYS", pattern]).await;
        keys.sort();
        keys
    }

    /// The entries of a stream. What is no UTF-8 in them is shown as such.
    pub async fn stream(&self, key: &str) -> Vec<StreamEntry> {
        let raw: Vec<(String, Vec<Vec<u8>>)> = self.get(&["XRANGE", key, "-", "+"]).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pairs = |fields: Vec<Vec<u8>>| {
            fields.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
        };
        raw.into_iter().map(|(id, fields)| (id, pairs(fields))).collect()
    }

    fn config_file(&self) -> PathBuf {
        self.dir.path().join("redis.conf")
    }

    /// What Redis printed.
    pub fn log(&self) -> String {
        read(&self.dir.path().join("log"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- redis {}\n{}", self.address, self.log());
        }
        if let Some(mut child) = self.child.take() {
            // It may be dead already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An address for one server of one test.
fn own_address() -> SocketAddr {
    (loopback::address(), 6379).into()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn signal(child: &Child, what: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id is an i32"));
    kill(pid, what).expect("our own child can be signalled");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_durable_one_comes_back_with_its_data_and_another_one_empty() {
        for (durable, wanted) in [(true, Some("1")), (false, None)] {
            let mut redis = if durable { Redis::durable().await } else { Redis::start().await };
            redis.get::<()>(&["SET", "a", "1"]).await;
            redis.stop().await;
            assert!(redis.ask::<String>(&["PING"]).await.is_err());
            redis.start_again().await;
            assert_eq!(redis.get::<Option<String>>(&["GET", "a"]).await.as_deref(), wanted);
            redis.stop().await;
            redis.forget();
            redis.start_again().await;
            assert_eq!(redis.get::<Option<String>>(&["GET", "a"]).await, None);
        }
    }

    #[tokio::test]
    async fn redis_cli_and_figures_work() {
        let redis = Redis::start().await;
        assert_eq!(redis.cli(&["ECHO", "a b"]).await, "a b");
        redis.cli(&["XADD", "s", "5-1", "k", "v"]).await;
        assert_eq!(redis.stream("s").await, [("5-1".into(), vec![("k".into(), "v".into())])]);
        assert_eq!(redis.calls("xadd").await, 1);
        assert_eq!(redis.calls("get").await, 0);
        assert!(redis.info("used_memory").await > 0.0);
        assert_eq!(redis.keys("*").await, ["s"]);
    }

    #[tokio::test]
    async fn killed_clients_are_gone_and_a_paused_one_answers_later() {
        let redis = Redis::start().await;
        let mut other = redis.connection().await.unwrap();
        assert_eq!(redis.kill_clients("normal").await, 1);
        assert!(redis::cmd("PING").query_async::<String>(&mut other).await.is_err());
        redis.pause();
        let mut late = tokio::task::JoinSet::new();
        let client = redis.client.clone();
        late.spawn(async move {
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("PING").query_async::<String>(&mut connection).await
        });
        redis.resume();
        late.join_next().await.unwrap().unwrap().unwrap();
    }
}
