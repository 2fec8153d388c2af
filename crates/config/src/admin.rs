//! Settings of the admin listener: `[admin]`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// `[admin]`: a separate listener for probes, metrics and admin calls, with its own socket limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Listen address for `/healthz`, `/readyz`, `/metrics` and the admin calls, in clear text. Default: they are
    /// served on `node.listen`. `FANFARE_ADMIN__LISTEN`.
    pub listen: Option<SocketAddr>,
    /// Maximum number of open sockets on `admin.listen`; further ones wait to be accepted. Default: `64`.
    /// `FANFARE_ADMIN__SOCKETS`.
    pub sockets: usize,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: None, sockets: 64 }
    }
}
