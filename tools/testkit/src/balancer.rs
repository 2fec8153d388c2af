//! nginx or `HAProxy` in front of nodes, configured as `deploy/` says.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::api::Api;
use crate::deadline::{SOON, until};
use crate::loopback;

/// How the nodes are called in the files in `deploy/`.
const NODES: [&str; 3] = ["node-a:8080", "node-b:8080", "node-c:8080"];
/// How long it may take to stop before it is killed.
const STOPS: Duration = Duration::from_secs(5);

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `deploy/nginx.conf`.
    Nginx,
    /// `deploy/haproxy.cfg`.
    Haproxy,
}

/// A load balancer of the distribution's package. Ended when dropped.
#[derive(Debug)]
pub struct Balancer {
    kind: Kind,
    address: SocketAddr,
    /// None while it is stopped.
    child: Option<Child>,
    /// Configuration, log. Removed when dropped.
    dir: TempDir,
}

impl Balancer {
    /// Starts one before three nodes and waits until it passes requests on.
    ///
    /// # Panics
    ///
    /// When it is not installed, does not like its configuration, or does not get ready soon.
    pub async fn before(kind: Kind, nodes: [SocketAddr; 3]) -> Self {
        Self::changed(kind, nodes, &[]).await
    }

    /// The same with other words in its file: each must be there.
    ///
    /// # Panics
    ///
    /// When it is not installed, does not like its configuration, or does not get ready soon.
    pub async fn changed(kind: Kind, nodes: [SocketAddr; 3], words: &[(&str, &str)]) -> Self {
        let address = SocketAddr::from((loopback::address(), 8080));
        let dir = tempfile::tempdir().expect("a temporary directory");
        // nginx's workers are another user.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).expect("our own directory");
        let config = dir.path().join("config");
        std::fs::write(&config, kind.config(address, nodes, dir.path(), words))
            .expect("a file can be written");
        let mut balancer = Self { kind, address, child: None, dir };
        balancer.start_again().await;
        balancer
    }

    /// Starts it on the same address, and waits until it passes requests on.
    ///
    /// # Panics
    ///
    /// When it runs already, is not installed, does not like its configuration, or does not get ready soon.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "{:?} runs already", self.kind);
        let log = File::options().create(true).append(true).open(self.dir.path().join("log"));
        let log = log.expect("the log can be written");
        let child = self
            .kind
            .command(&self.dir.path().join("config"))
            .env("PATH", path_with_sbin())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{:?} is installed: {e}", self.kind));
        self.child = Some(child);
        self.ready().await;
    }

    /// Stops it with all that passes through it: nothing listens on its address.
    ///
    /// # Panics
    ///
    /// When it is stopped already, or does not end soon.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        terminate(&child);
        until(&format!("{:?} ends", self.kind), SOON, async || {
            child.try_wait().ok().flatten().ok_or("it still runs")
        })
        .await;
    }

    async fn ready(&mut self) {
        let api = Api::at(self.address);
        until(&format!("{:?} passes requests on", self.kind), SOON, async || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "{:?} ended with {ended:?}\n{}", self.kind, self.log());
            let answer = api.call("GET", "/healthz", &[], "").await;
            let answer = answer.map_err(|e| format!("{e:?}\n{}", self.log()))?;
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}\n{}", self.log())) }
        })
        .await;
    }

    /// Where clients go.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Kind {
    /// The file in `deploy/` with the addresses of a test.
    fn config(
        self,
        address: SocketAddr,
        nodes: [SocketAddr; 3],
        dir: &Path,
        words: &[(&str, &str)],
    ) -> String {
        let (name, listen) = match self {
            Self::Nginx => ("nginx.conf", ("listen 8080", format!("listen {address}"))),
            Self::Haproxy => ("haproxy.cfg", ("bind :8080", format!("bind {address}"))),
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name);
        let mut text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut replace = |what: &str, with: &str| {
            assert!(text.contains(what), "{name} has {what:?}");
            text = text.replace(what, with);
        };
        replace(listen.0, &listen.1);
        for (what, with) in words {
            replace(what, with);
        }
        for (name, node) in NODES.iter().zip(nodes) {
            replace(name, &node.to_string());
        }
        if self == Self::Nginx {
            replace("/tmp/nginx", &dir.join("nginx").display().to_string());
        }
        text
    }

    fn command(self, config: &Path) -> Command {
        let mut command;
        match self {
            Self::Nginx => {
                command = Command::new("nginx");
                command.args(["-e", "stderr", "-g", "daemon off;", "-c"]).arg(config);
            }
            Self::Haproxy => {
                command = Command::new("haproxy");
                command.args(["-db", "-f"]).arg(config);
            }
        }
        command
    }
}

/// Directories in which some distributions put servers, and which may not be in `PATH`.
fn path_with_sbin() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- {:?} at {}\n{}", self.kind, self.address, self.log());
        }
        let Some(mut child) = self.child.take() else { return };
        // nginx ends its workers itself, so it must not be killed first.
        terminate(&child);
        let end = Instant::now() + STOPS;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn terminate(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}

/// Makes two tests of each function: behind nginx and behind `HAProxy`. The function takes the [`Kind`].
#[macro_export]
macro_rules! behind_each {
    ($($name:ident => $test:ident;)*) => {
        mod behind_nginx {
            $(#[tokio::test] async fn $name() { super::$test($crate::balancer::Kind::Nginx).await; })*
        }
        mod behind_haproxy {
            $(#[tokio::test] async fn $name() { super::$test($crate::balancer::Kind::Haproxy).await; })*
        }
    };
}
