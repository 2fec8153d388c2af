//! How a node is started: its command line and settings.

use std::net::SocketAddr;
use std::process::Stdio;

use super::output::{Listening, Output};
use super::{Node, SECRET};
use crate::binary;
use crate::certificate::Certificate;
use crate::deadline::{SOON, until};

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

impl NodeBuilder {
    /// Returns a node without Redis, with the id `a`, that requires no tokens.
    pub(super) fn alone() -> Self {
        Self {
            redis: None,
            listen: ([127, 0, 0, 1], 0).into(),
            id: "a".into(),
            auth: "none".into(),
            settings: Vec::new(),
            certificate: None,
        }
    }

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
        let output = Output::create().expect("a file for what the node prints");
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
            .stdout(output.stdio().expect("a handle for the node"))
            .stderr(output.stdio().expect("a handle for the node"));
        let child = command.spawn().expect("the binary can be run");
        let (address, certificate) = (([0, 0, 0, 0], 0).into(), self.certificate);
        let mut node = Node { id: self.id, address, admin: None, certificate, child, output };
        let Listening { address, admin } = until(&format!("node {} listens", node.id), SOON, async || {
            let listening = node.output.listening();
            assert!(listening.is_some() || node.is_alive(), "node {} has ended", node.id);
            listening.ok_or("it does not yet")
        })
        .await;
        (node.address, node.admin) = (address, admin);
        node
    }
}
