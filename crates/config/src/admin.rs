//! Settings of the admin listener: `[admin]`.

use std::net::SocketAddr;

use crate::Config;
use crate::check::Checks;
use crate::setting::settings;

settings! {
    /// `[admin]`: a separate listener for probes, metrics and admin calls, with its own socket limit.
    pub struct AdminConfig = "admin", |config| config.admin => {
        /// Listen address for `/healthz`, `/readyz`, `/metrics`, the admin calls and the admin page, in clear text. Default: the
        /// calls are served on `node.listen`, and there is no page.
        listen: Option<SocketAddr>;
        /// Maximum number of open sockets on `admin.listen`; at most 200, which fit into the memory of the listener. What
        /// happens to further ones is `limits.when_full`.
        sockets: usize = "64", in "1" to "200";
    }
}

/// Checks that both listeners can be bound.
pub(crate) fn check(config: &Config, checks: &mut Checks<'_>) {
    checks.hold(
        config.admin.listen.is_none_or(|listen| !overlap(listen, config.node.listen)),
        &["admin.listen", "node.listen"],
        "admin.listen and node.listen use the same address and port",
        "another port, like 0.0.0.0:8081; or no admin.listen, so that node.listen serves all calls",
    );
}

/// Returns whether two listeners cannot be bound to these addresses at the same time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_port = one.port() == other.port() && one.port() != 0;
    same_port && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}
