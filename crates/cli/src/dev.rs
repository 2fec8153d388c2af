//! `fanfare dev`: a development node with a demo page.
//!
//! # Layout
//!
//! - [`page`]: the page at `/`

mod page;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use fanfare_config::Config;
use fanfare_config::source::{Flag, Sources};
use fanfare_node::node::{Node, StartError};

use crate::serve;

/// Start a development node on this machine, with a demo page.
///
/// It needs no Redis and no tokens: everyone on this machine may do everything, and all data is lost when the process
/// exits. Settings in files and the environment are ignored. Ctrl-C stops it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Listen address, on the loopback only; port 0 picks any free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = loopback)]
    listen: SocketAddr,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the address cannot be bound, or if the shutdown after Ctrl-C does not complete in time.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = config(args.listen)?;
    serve::serve(&config, page::page(), welcome).await.map_err(explain)
}

/// Returns the settings of the node, which do not depend on the environment.
fn config(listen: SocketAddr) -> anyhow::Result<Config> {
    let flag = |flag, setting, value: &str| Flag { flag, setting, value: value.to_owned() };
    let flags = vec![
        flag("--listen", "node.listen", &listen.to_string()),
        flag("--node-id", "node.id", "dev"),
        flag("--auth", "auth.mode", "none"),
        // Refuses pages whose host name resolves to this machine (DNS rebinding).
        flag("--allowed-hosts", "http.allowed_hosts", "localhost"),
        // There is no load balancer to wait for: Ctrl-C stops at once.
        flag("--drain-notice", "drain.notice", "0s"),
        flag("--drain-window", "drain.window", "0s"),
        // Fits the usual limit of open files of a shell without a warning.
        flag("--connections", "limits.connections", "200"),
        flag("--sockets", "limits.sockets", "200"),
        // The terminal shows warnings only.
        flag("--log-level", "log.level", "warn"),
    ];
    Ok(Config::load(&Sources { flags, ..Sources::default() })?)
}

fn explain(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(StartError::Listen { addr, error, .. }) if error.kind() == io::ErrorKind::AddrInUse => {
            anyhow::anyhow!(
                "{addr} is in use; choose another address with --listen 127.0.0.1:8081, or any free port with --listen 127.0.0.1:0"
            )
        }
        _ => error,
    }
}

fn welcome(node: &Node) {
    let addr = node.addr();
    let url = format!("http://{addr}");
    // As it was typed: in a clone, `fanfare` is not in the path.
    let program = std::env::args().next().unwrap_or_else(|| "fanfare".to_owned());
    let server = if addr.port() == 8080 { String::new() } else { format!(" --server {url}") };
    // A closed stdout does not stop the node.
    let _ = writeln!(
        io::stdout(),
        "\
Fanfare is at {url}/

  follow    curl -N '{url}/v1/events?user=me&channel=demo'
  publish   curl {url}/v1/publish --json '{{\"channel\":\"demo\",\"type\":\"note\",\"data\":\"hello\"}}'
  or        {program} listen demo --user me{server}

All data is in memory and lost on exit (Ctrl-C)."
    );
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let addr: SocketAddr = text.parse().map_err(|_| "expected an address like 127.0.0.1:8080".to_owned())?;
    if addr.ip().is_loopback() {
        Ok(addr)
    } else {
        Err("the node has no authentication and listens on the loopback only: 127.0.0.1 or [::1]".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_open_to_this_machine_only() {
        assert!(loopback("127.0.0.1:0").is_ok() && loopback("[::1]:8080").is_ok());
        for bad in ["0.0.0.0:8080", "[::]:1", "10.0.0.1:1", "8080", "localhost:1"] {
            assert!(loopback(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn its_settings_are_right() {
        let addr = "127.0.0.1:0".parse().unwrap();
        let config = config(addr).unwrap();
        assert_eq!(config.node.listen, addr);
        assert!(config.redis.url.is_none());
    }
}
