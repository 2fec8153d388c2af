//! Settings of HTTP: `[http]`.

use std::time::Duration;

use bytesize::ByteSize;

use crate::check::Checks;
use crate::network::Network;
use crate::setting::settings;
use crate::value::choice;
use crate::{Config, host, origin};

settings! {
    /// `[http]`.
    pub struct HttpConfig = "http", |config| config.http => {
        /// Origins whose pages may call the API (CORS), like `https://app.example`; `*` allows every origin, without
        /// cookies.
        allowed_origins: Vec<String>;
        /// Names allowed in a request's `Host`, besides addresses and `localhost`; `*` allows every name. Default:
        /// every name; on the loopback without tokens only those without a dot.
        allowed_hosts: Vec<String>;
        /// Addresses and ranges (`10.0.0.0/8`) of the load balancers in front of the node, whose client addresses are
        /// trusted.
        trusted_proxies: Vec<Network>;
        /// Header in which trusted proxies pass the client's address. They must overwrite it or append to it.
        forwarded_header: ForwardedHeader = "x-forwarded-for";
        /// Timeout for receiving the head of the next request, and so the keep-alive timeout.
        header_read_timeout: Duration = "30s", in "1ms" to "366d";
        /// Timeout for receiving a request's body.
        body_read_timeout: Duration = "30s", in "1ms" to "366d";
        /// Minimum bytes per second at which a client sends a body or reads an answer; slower clients are
        /// disconnected. Streams are exempt.
        min_rate: ByteSize = "1KiB", in "0B" to "1MiB";
        /// Time over which `http.min_rate` is measured.
        min_rate_window: Duration = "10s", in "1s" to "10m";
    }
}

choice! {
    /// The header in which trusted proxies report their peers.
    #[derive(Default)]
    pub enum ForwardedHeader {
        /// `X-Forwarded-For`: addresses separated by commas.
        #[default]
        XForwardedFor = "x-forwarded-for",
        /// `Forwarded` (RFC 7239): elements whose `for=` is a peer.
        Forwarded = "forwarded",
    }
}

/// Checks each origin and host name, and the trusted proxies.
pub(crate) fn check(config: &Config, checks: &mut Checks<'_>) {
    let http = &config.http;
    for origin in &http.allowed_origins {
        if let Some(wrong) = origin::wrong(origin, http.allowed_origins.len()) {
            checks.fail(
                &["http.allowed_origins"],
                &format!("{origin:?} {wrong}"),
                "a scheme and a host as browsers send them, like https://app.example:8443, without a path; or only *",
            );
        }
    }
    for host in &http.allowed_hosts {
        if let Some(wrong) = host::wrong(host, http.allowed_hosts.len()) {
            checks.fail(
                &["http.allowed_hosts"],
                &format!("{host:?} {wrong}"),
                "host names without scheme, port and path, like sse.example; or only *",
            );
        }
    }
    checks.hold(
        !http.trusted_proxies.iter().any(Network::is_everything),
        &["http.trusted_proxies"],
        "trusts every address: any client could claim any client address",
        "the addresses of the load balancers, like 10.0.0.5 or 10.0.0.0/24",
    );
    checks.hold(
        !config.node.proxy_protocol || !http.trusted_proxies.is_empty(),
        &["node.proxy_protocol", "http.trusted_proxies"],
        "node.proxy_protocol is on, but no proxy is trusted to send the PROXY protocol header",
        "http.trusted_proxies with the addresses of the load balancers",
    );
}
