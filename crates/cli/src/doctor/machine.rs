//! Checks of the machine: open files, the listen backlog, ports.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use fanfare_client::{ApiClient, ClientSettings};
use fanfare_config::Config;
use fanfare_node::listener::BACKLOG;
use nix::sys::resource::{Resource, getrlimit};

use super::finding::Finding;
use crate::{health, rlimit, tls};

/// The kernel's limit of listen backlogs.
const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";
/// Time for a node that holds a port to answer.
const ANSWERS: Duration = Duration::from_secs(3);

/// Checks the machine.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![open_files(config), backlog()];
    findings.push(port("node.listen", config.node.listen, config.tls.is_on()).await);
    if let Some(admin) = config.admin.listen {
        findings.push(port("admin.listen", admin, false).await);
    }
    findings
}

/// A node raises its soft limit to the hard one.
fn open_files(config: &Config) -> Finding {
    const CHECK: &str = "open files";
    let wanted = rlimit::wanted(config);
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) => Finding::when(
            hard >= wanted,
            CHECK,
            format!("the hard limit is {hard}; the settings need {wanted}"),
            "raise it (LimitNOFILE= of systemd, --ulimit nofile= of docker, ulimit -Hn), or lower limits.connections and \
            limits.sockets",
        ),
        Err(error) => Finding::unknown(CHECK, format!("the limit cannot be read: {error}")),
    }
}

fn backlog() -> Finding {
    const CHECK: &str = "listen backlog";
    let text = std::fs::read_to_string(SOMAXCONN);
    match text.ok().and_then(|text| text.trim().parse::<u32>().ok()) {
        Some(most) => Finding::when(
            most >= BACKLOG,
            CHECK,
            format!("net.core.somaxconn is {most}; a node requests {BACKLOG}"),
            "raise it: sysctl -w net.core.somaxconn=4096, in a container --sysctl. When many clients reconnect at once, \
            connections are dropped otherwise",
        ),
        None => Finding::unknown(CHECK, format!("{SOMAXCONN} cannot be read")),
    }
}

async fn port(check: &'static str, address: SocketAddr, has_tls: bool) -> Finding {
    if address.port() == 0 {
        return Finding::unknown(check, format!("{address}: the system chooses a port"));
    }
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(check, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if is_node(address, has_tls).await {
                return Finding::ok(check, format!("{address} is in use by a running node"));
            }
            Finding::wrong(
                check,
                format!("{address} is in use by another program"),
                format!("stop that program (ss -ltnp names it), or set {check} to another port"),
            )
        }
        Err(error) => Finding::wrong(
            check,
            format!("{address}: {error}"),
            format!("set {check} to an address of this machine, with a port that this user may use"),
        ),
    }
}

/// Returns whether a node answers health checks at an address.
async fn is_node(address: SocketAddr, has_tls: bool) -> bool {
    let (Ok(node), Ok(tls)) = (health::nearby(address), tls::unverified()) else { return false };
    let Ok(server) = format!("{}://{node}", if has_tls { "https" } else { "http" }).parse() else {
        return false;
    };
    let settings = ClientSettings { call_timeout: ANSWERS, proxy: false, ..ClientSettings::new(server, tls) };
    let Ok(client) = ApiClient::new(settings) else { return false };
    client.health().await.is_ok()
}
