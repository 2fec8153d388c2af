//! A redis-server of a test's own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisResult};
use tempfile::TempDir;

use crate::eventually;

/// A running redis-server; killed when it is dropped.
pub(crate) struct RedisServer {
    child: Option<Child>,
    port: u16,
    dir: TempDir,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        let mut server = Self { child: None, port: 0, dir: tempfile::tempdir().unwrap() };
        // A port that is free now may be taken by another test before the server has it: then the next one.
        for _ in 0..20 {
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if server.launch().await {
                return server;
            }
            server.kill();
        }
        panic!("no port for a redis-server");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts the server again on its port, with the data it had when it was stopped with `save`.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.launch().await, "redis-server did not start again");
    }

    /// Ends the server; with `save` its data is there when it starts again.
    pub(crate) async fn stop(&mut self, save: bool) {
        if save {
            self.run::<()>(&["SAVE"]).await;
        }
        self.kill();
    }

    /// Stops the process without closing anything.
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Runs one command, as an administrator or a publisher does.
    pub(crate) async fn run<T: FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_run(command).await.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    pub(crate) async fn try_run<T: FromRedisValue>(&self, command: &[&str]) -> RedisResult<T> {
        let bytes: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
        self.try_run_bytes(&bytes).await
    }

    pub(crate) async fn try_run_bytes<T: FromRedisValue>(&self, command: &[&[u8]]) -> RedisResult<T> {
        let mut words = redis::cmd(std::str::from_utf8(command[0]).unwrap());
        for word in &command[1..] {
            words.arg(*word);
        }
        words.query_async(&mut self.connection().await?).await
    }

    pub(crate) async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
        redis::Client::open(self.url())?.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn launch(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "no", "--dir"]).arg(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server is installed"));
        eventually("redis-server answers or ends", || async {
            self.try_run::<String>(&["PING"]).await.is_ok() || self.has_ended()
        })
        .await;
        !self.has_ended() && self.is_ours().await
    }

    /// Returns whether the server on the port is the process we have started, and not another test's.
    async fn is_ours(&self) -> bool {
        let info: String = self.run(&["INFO", "server"]).await;
        info.contains(&format!("process_id:{}\r\n", self.child.as_ref().unwrap().id()))
    }

    fn has_ended(&self) -> bool {
        // A zombie still has a process id: its state says that it has ended.
        let id = self.child.as_ref().unwrap().id();
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('Z') || rest.is_empty())
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().unwrap().id();
        kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
