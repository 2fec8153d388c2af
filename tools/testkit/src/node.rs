//! A `fanfare serve` process.

mod builder;
mod output;
mod process;

use std::net::SocketAddr;
use std::process::Child;

pub use self::builder::NodeBuilder;
use self::output::Output;
use crate::api::Api;
use crate::certificate::Certificate;
use crate::deadline::{SOON, until};
use crate::metrics::Metrics;
use crate::redis::Redis;
use crate::request::StreamRequest;
use crate::transport::Transport;

/// The secret of every node and token in a test.
pub const SECRET: &str = "the secret that nodes and tokens of these tests share";

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
    output: Output,
}

impl Node {
    /// Returns a node on this Redis with the id `a` that requires no tokens.
    pub fn of(redis: &Redis) -> NodeBuilder {
        Self::alone().through(&redis.url())
    }

    /// Returns a node without Redis, with the id `a`, that requires no tokens. It keeps everything in memory.
    pub fn alone() -> NodeBuilder {
        NodeBuilder::alone()
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

    /// What it has printed: every line that it wrote before this call, up to 1 MiB.
    pub fn log(&self) -> String {
        self.output.text()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let status = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- node {} at {} ({status:?})\n{}", self.id, self.address, self.log());
        }
    }
}
