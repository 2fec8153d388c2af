//! `fanfare dev`: a node and a page to play with.
//!
//! # Layout
//!
//! - [`page`]: the page at `/`

mod page;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use fanfare_node::config::Config;
use fanfare_node::config::source::{Flag, Sources};
use fanfare_node::node::{Node, StartError};

use crate::serve;

/// Start a node on this machine with a page to play with.
///
/// No Redis, no tokens: whoever is on this machine may do everything, and nothing outlives the process. Settings in
/// files and the environment do not matter. Ctrl-C ends it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen, on this machine only; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = loopback)]
    listen: SocketAddr,
}

/// Runs the command.
///
/// # Errors
///
/// When the address cannot be listened on, or the node was not done in time after Ctrl-C.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = config(args.listen)?;
    serve::serve(&config, page::page(), welcome).await.map_err(told)
}

/// The settings of a node that is always the same, whatever the environment says.
fn config(listen: SocketAddr) -> anyhow::Result<Config> {
    let flag = |flag, setting, value: &str| Flag { flag, setting, value: value.to_owned() };
    let flags = vec![
        flag("--listen", "node.listen", &listen.to_string()),
        flag("--node-id", "node.id", "dev"),
        flag("--auth", "auth.mode", "none"),
        // A page of another name that leads here (DNS rebinding) is not answered.
        flag("--allowed-hosts", "http.allowed_hosts", "localhost"),
        // Nobody waits for a balancer here, and Ctrl-C means now.
        flag("--drain-notice", "drain.notice", "0s"),
        flag("--drain-window", "drain.window", "0s"),
        // As many as a shell's usual limit of open files allows without a warning.
        flag("--connections", "limits.connections", "200"),
        flag("--sockets", "limits.sockets", "200"),
        // People read this terminal; what they should know is a warning.
        flag("--log-level", "log.level", "warn"),
    ];
    Ok(Config::load(&Sources { flags, ..Sources::default() })?)
}

fn told(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(StartError::Listen { addr, error, .. }) if error.kind() == io::ErrorKind::AddrInUse => {
            anyhow::anyhow!(
                "{addr} is taken; choose another with --listen 127.0.0.1:8081, or any free one with --listen 127.0.0.1:0"
            )
        }
        _ => error,
    }
}

fn welcome(node: &Node) {
    let addr = node.addr();
    let url = format!("http://{addr}");
    // As it was typed: somebody in a clone has no `fanfare` in the path.
    let program = std::env::args().next().unwrap_or_else(|| "fanfare".to_owned());
    let server = if addr.port() == 8080 { String::new() } else { format!(" --server {url}") };
    // Nobody may be reading; that is no reason to stop.
    let _ = writeln!(
        io::stdout(),
        "\
Fanfare is at {url}/

  follow    curl -N '{url}/v1/events?user=me&channel=demo'
  publish   curl {url}/v1/publish --json '{{\"channel\":\"demo\",\"type\":\"note\",\"data\":\"hello\"}}'
  or        {program} listen demo --user me{server}

Everything is kept in memory and lost with Ctrl-C."
    );
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let addr: SocketAddr = text.parse().map_err(|_| "an address looks like 127.0.0.1:8080".to_owned())?;
    if addr.ip().is_loopback() {
        Ok(addr)
    } else {
        Err("it lets everybody in, so it listens on this machine only: 127.0.0.1 or [::1]".into())
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
