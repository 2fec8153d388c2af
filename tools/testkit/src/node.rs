//! A `fanfare serve` process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;

use crate::api::Api;
use crate::binary;
use crate::certificate::Certificate;
use crate::deadline::{SOON, until};
use crate::metrics::Metrics;
use crate::redis::Redis;
use crate::request::StreamRequest;
use crate::transport::Transport;

/// The secret of every node and token in a test.
pub const SECRET: &str = "the secret that nodes and tokens of these tests share";

/// How much of a node's log is kept, in bytes.
const MAX_LOG: usize = 1 << 20;

/// A node to be started.
#[derive(Clone, Debug)]
pub struct NodeBuilder {
    /// None for a node on its own, which keeps everything in memory.
    redis: Option<String>,
    listen: SocketAddr,
    id: String,
    auth: String,
    settings: Vec<(String, String)>,
    certificate: Option<Certificate>,
}

/// A running node. Killed when dropped; after a panic its log is printed.
#[derive(Debug)]
pub struct Node {
    id: String,
    address: SocketAddr,
    /// Where probes, metrics and admin calls are, if not there.
    admin: Option<SocketAddr>,
    /// What it shows, if it speaks TLS.
    certificate: Option<Certificate>,
    child: Child,
    log: Arc<Mutex<String>>,
    /// Read the process's output until it ends; joined when dropped.
    readers: Vec<JoinHandle<()>>,
}

impl NodeBuilder {
    /// Its name.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// Where it listens, rather than on any free port: for a node that comes back where it was.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Whom it believes: `jwt` with [`SECRET`], or `none`, which is the default.
    #[must_use]
    pub fn auth(mut self, auth: &str) -> Self {
        auth.clone_into(&mut self.auth);
        self
    }

    /// The Redis it talks to, perhaps through a proxy.
    #[must_use]
    pub fn through(mut self, redis: &str) -> Self {
        self.redis = Some(redis.to_owned());
        self
    }

    /// Speaks TLS with this certificate.
    #[must_use]
    pub fn tls(self, certificate: &Certificate) -> Self {
        let path = |path: std::path::PathBuf| path.to_str().expect("a path of ours is text").to_owned();
        let mut node = self
            .set("TLS__CERTIFICATE", &path(certificate.certificate_file()))
            .set("TLS__KEY", &path(certificate.key_file()));
        node.certificate = Some(certificate.clone());
        node
    }

    /// A setting by its environment name without the prefix: `STREAM__QUEUE`.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With an admin listener, on any free port.
    #[must_use]
    pub fn admin(self) -> Self {
        self.set("ADMIN__LISTEN", "127.0.0.1:0")
    }

    /// How many events each channel keeps.
    #[must_use]
    pub fn keep(self, events: usize) -> Self {
        self.set("RETENTION__EVENTS", &events.to_string())
    }

    /// How long each channel keeps its events, like `1s`. Its last position outlives them.
    #[must_use]
    pub fn keep_for(self, age: &str) -> Self {
        self.set("RETENTION__AGE", age)
    }

    /// A node that dies is noticed within two seconds.
    #[must_use]
    pub fn short_lease(self) -> Self {
        self.set("LEASE__TTL", "2s").set("INTAKE__LEASE", "2s")
    }

    /// Starts it and waits until `/readyz` says so.
    ///
    /// # Panics
    ///
    /// When it does not get ready soon.
    pub async fn start(self) -> Node {
        let node = self.launch().await;
        node.ready().await;
        node
    }

    /// Starts it and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it ends or does not listen soon.
    pub async fn launch(self) -> Node {
        let mut command = binary::command();
        command
            .args(["serve", "--listen", &self.listen.to_string()])
            .args(self.redis.iter().flat_map(|url| ["--redis", url]))
            .args(["--node-id", &self.id, "--auth", &self.auth])
            .env("FANFARE_AUTH__JWT__SECRET", SECRET)
            // Unless a test sets these, no balancer has to notice the drain, and no test waits for even waves.
            .env("FANFARE_DRAIN__NOTICE", "0s")
            .env("FANFARE_DRAIN__WINDOW", "0s")
            .env("FANFARE_SESSION__GRACE", "0s")
            .envs(self.settings.iter().map(|(name, value)| (format!("FANFARE_{name}"), value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be run");
        let log = Arc::new(Mutex::new(String::new()));
        let (found, mut listening) = mpsc::unbounded_channel();
        let out = child.stdout.take().expect("stdout is a pipe");
        let err = child.stderr.take().expect("stderr is a pipe");
        let readers =
            vec![read_lines(out, Arc::clone(&log), Some(found)), read_lines(err, Arc::clone(&log), None)];
        let (address, certificate) = (([0, 0, 0, 0], 0).into(), self.certificate);
        let mut node = Node { id: self.id, address, admin: None, certificate, child, log, readers };
        loop {
            // None when the process ended.
            match tokio::time::timeout(SOON, listening.recv()).await {
                Ok(Some(Listening::Admin(address))) => node.admin = Some(address),
                Ok(Some(Listening::Everything(address))) => node.address = address,
                ended => panic!("node {} does not listen ({ended:?})", node.id),
            }
            if node.address.port() != 0 {
                return node;
            }
        }
    }
}

/// Where a node says that it listens: for admin calls first, if that is another place.
#[derive(Clone, Copy, Debug)]
enum Listening {
    Admin(SocketAddr),
    Everything(SocketAddr),
}

impl Listening {
    fn read(line: &str) -> Option<Self> {
        let (before, address) = line.split_once("://")?;
        let address = address.trim().parse().ok()?;
        match before {
            "admin calls on http" => Some(Self::Admin(address)),
            "listening on http" | "listening on https" => Some(Self::Everything(address)),
            _ => None,
        }
    }
}

fn read_lines(
    from: impl Read + Send + 'static,
    log: Arc<Mutex<String>>,
    found: Option<mpsc::UnboundedSender<Listening>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if let Some(found) = &found
                && let Some(listening) = Listening::read(&line)
            {
                let _ = found.send(listening);
            }
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() < MAX_LOG {
                log.push_str(&line);
                log.push('\n');
            }
        }
    })
}

impl Node {
    /// Returns a node on this Redis with the id `a` that requires no tokens.
    pub fn of(redis: &Redis) -> NodeBuilder {
        Self::alone().through(&redis.url())
    }

    /// Returns a node without Redis, with the id `a`, that requires no tokens. It keeps everything in memory.
    pub fn alone() -> NodeBuilder {
        NodeBuilder {
            redis: None,
            listen: ([127, 0, 0, 1], 0).into(),
            id: "a".into(),
            auth: "none".into(),
            settings: Vec::new(),
            certificate: None,
        }
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its HTTP calls.
    pub fn api(&self) -> Api {
        match &self.certificate {
            None => Api::at(self.address),
            Some(certificate) => Api::over_tls(self.address, certificate),
        }
    }

    /// Its calls for probes, monitoring and operators.
    pub fn admin_api(&self) -> Api {
        self.admin.map_or_else(|| self.api(), Api::at)
    }

    /// Where its admin listener is, if it has one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns a request for a stream from this node, over HTTP/1.1 by default.
    pub fn stream(&self) -> StreamRequest {
        let transport = self.certificate.clone().map_or(Transport::Clear, Transport::Tls);
        StreamRequest::to(self.address).over(transport)
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Panics
    ///
    /// When it does not soon.
    pub async fn ready(&self) {
        self.readyz(200).await;
    }

    /// Waits until `/readyz` answers with this status, and gives back its body.
    ///
    /// # Panics
    ///
    /// When it does not soon.
    pub async fn readyz(&self, status: u16) -> serde_json::Value {
        let api = self.admin_api();
        until(&format!("/readyz of {} answers {status}", self.id), SOON, async || {
            let answer = api.call("GET", "/readyz", &[], "").await.map_err(|e| format!("{e:?}"))?;
            if answer.status == status { Ok(answer.json()) } else { Err(answer.text) }
        })
        .await
    }

    /// What it counts.
    ///
    /// # Panics
    ///
    /// When it does not say.
    pub async fn metrics(&self) -> Metrics {
        let answer = self.admin_api().get("/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        Metrics::parse(&answer.text)
    }

    /// How many streams it says it holds.
    pub async fn streams(&self) -> f64 {
        self.metrics().await.sum("sse_active_connections", &[])
    }

    /// Resident memory, in bytes.
    pub fn memory(&self) -> u64 {
        self.status_line("VmRSS:")
    }

    /// The most resident memory since it started or since [`Self::forget_peak`], in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status_line("VmHWM:")
    }

    /// Resets the measured peak.
    ///
    /// # Panics
    ///
    /// When the system does not let us.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("our child's peak");
    }

    fn status_line(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kilobytes.unwrap_or_else(|| panic!("node {} has no {name} any more", self.id)) * 1024
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// SIGINT, as Ctrl-C sends it.
    pub fn interrupt(&self) {
        self.signal(Signal::SIGINT);
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    ///
    /// When it had ended by itself.
    pub async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended(SOON).await;
    }

    fn signal(&self, what: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id is an i32"));
        kill(pid, what).unwrap_or_else(|e| panic!("node {}: {what}: {e}", self.id));
    }

    /// Waits until the process has ended.
    ///
    /// # Panics
    ///
    /// When it has not within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        until(&format!("node {} ends", self.id), limit, async || {
            self.child.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| "it still runs".to_owned())
        })
        .await
    }

    /// Whether the process runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let status = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("---- node {} at {} ({status:?})\n{}", self.id, self.address, self.log());
        }
    }
}
