//! Settings of the admin listener: `[admin]`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// `[admin]`: a listener for probes, metrics and admin calls, with sockets of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Where `/healthz`, `/readyz`, `/metrics` and the admin calls are served, in clear text; port 0 is any free one.
    /// Without it they are on `node.listen`. `FANFARE_ADMIN__LISTEN`.
    pub listen: Option<SocketAddr>,
    /// How many sockets may be open there; more wait to be accepted. `FANFARE_ADMIN__SOCKETS`.
    pub sockets: usize,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: None, sockets: 64 }
    }
}
