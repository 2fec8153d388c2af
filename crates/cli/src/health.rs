//! `fanfare health`: health check of the node on this machine.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use fanfare_api::health::Readiness;
use fanfare_client::{ApiClient, ClientSettings, Error};
use fanfare_config::source::{Flag, Sources};
use fanfare_config::{Config, Reading};

use crate::{display, tls};

/// Check the liveness or the readiness of the node on this machine.
///
/// For images without an HTTP client: health checks of containers, `exec` probes. Exits with 0 if the check passes,
/// and otherwise with 1 and the reason on stderr. Uses the address on which `fanfare serve` listens with the same
/// settings: `admin.listen` if it is set, otherwise `node.listen`, with TLS if a certificate is set. The certificate
/// is not verified, since the node is addressed by its IP address.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Check readiness for new streams (`/readyz`) instead of liveness (`/healthz`).
    #[arg(long)]
    ready: bool,
    /// Timeout of the check.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Address on which the node listens for probes [default: the setting `admin.listen`, or else `node.listen`].
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Settings file of the node [default: `FANFARE_CONFIG`].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the check fails, or if the node does not answer.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (listen, tls) = settings(args.listen, args.config)?;
    let node = nearby(listen)?;
    let server = format!("{}://{node}", if tls { "https" } else { "http" });
    let client = ApiClient::new(ClientSettings {
        call_timeout: args.timeout,
        // The node is on this machine; a proxy from the environment is not used.
        proxy: false,
        ..ClientSettings::new(server.parse()?, tls::unverified()?)
    })?;
    let failed = |error| match error {
        Error::Timeout { .. } => anyhow::anyhow!("{server} did not answer within {:?}", args.timeout),
        // Without the hint to set another server.
        Error::ConnectionRefused { .. } => anyhow::anyhow!("cannot connect to {server}: connection refused"),
        error => error.into(),
    };
    if args.ready {
        let readiness = client.readiness().await.map_err(failed)?;
        if !readiness.ready {
            bail!("{}", refusal(&readiness));
        }
        writeln!(std::io::stdout(), "ready")?;
    } else {
        client.health().await.map_err(failed)?;
        writeln!(std::io::stdout(), "alive")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the address on which the node listens for probes, and whether it uses TLS there. Other settings that are
/// invalid are ignored: the node reports them itself.
fn settings(listen: Option<String>, file: Option<PathBuf>) -> anyhow::Result<(SocketAddr, bool)> {
    let chosen = listen.is_some();
    let flag = listen.map(|value| Flag { flag: "--listen", setting: "node.listen", value });
    let Reading { config, faults, .. } = Config::read(&Sources::of_process(file, flag.into_iter().collect()));
    // The flag may be the address of the admin listener, which the node itself could not bind twice.
    let matters = |name: &str| name == "node.listen" || (name == "admin.listen" && !chosen);
    if let Some(fault) = faults.into_iter().find(|fault| matters(&fault.setting)) {
        bail!("{} (from {}): {}", fault.setting, fault.origin, fault.wrong);
    }
    let (node, admin) = (config.node.listen, config.admin.listen);
    let is_at = |admin: SocketAddr| {
        admin.port() == node.port() && (admin.ip() == node.ip() || admin.ip().is_unspecified())
    };
    match admin.filter(|admin| !chosen || is_at(*admin)) {
        Some(admin) => Ok((if chosen { node } else { admin }, false)),
        None => Ok((node, config.tls.is_on())),
    }
}

/// Returns the address at which a node is reached from its own machine.
pub(crate) fn nearby(listen: SocketAddr) -> anyhow::Result<SocketAddr> {
    if listen.port() == 0 {
        bail!("the node listens on a random port: set the port with --listen");
    }
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, listen.port()))
}

/// Returns why a node is not ready.
fn refusal(Readiness { parts, .. }: &Readiness) -> String {
    let why = parts.all().into_iter().filter(|(_, part)| !part.ok).map(|(name, part)| {
        let why = part.reason.as_deref().unwrap_or("no reason given");
        format!("{name}: {}", display::visible(why))
    });
    format!("not ready: {}", why.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use fanfare_api::health::{Part, Parts};

    use super::*;

    #[test]
    fn a_node_that_listens_everywhere_is_asked_on_the_loopback() {
        for (listen, asked) in
            [("0.0.0.0:8080", "127.0.0.1:8080"), ("[::]:81", "[::1]:81"), ("10.0.0.7:80", "10.0.0.7:80")]
        {
            assert_eq!(nearby(listen.parse().unwrap()).unwrap().to_string(), asked);
        }
        assert!(nearby("0.0.0.0:0".parse().unwrap()).is_err());
    }

    #[test]
    fn each_part_that_is_wrong_is_named() {
        let parts = Parts {
            redis: Part::wrong("away"),
            draining: Part::wrong("the node is draining"),
            ..Parts::default()
        };
        let text = refusal(&Readiness::new(parts));
        assert_eq!(text, "not ready: redis: away; draining: the node is draining");
    }
}
