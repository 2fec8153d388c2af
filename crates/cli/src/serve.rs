//! `fanfare serve`: runs one node.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use fanfare_broker::redis::RedisBroker;
use fanfare_broker::{Broker, MemoryBroker};
use fanfare_config::Config;
use fanfare_config::auth::AuthMode;
use fanfare_node::{Additions, Node};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::flags::Flags;
use crate::{config, log, rlimit, service_manager};

/// Run a node.
///
/// Prints `listening on http://<address>` (or `https://`) once the node listens, and before that `admin calls on
/// http://<address>` if the setting `admin.listen` is set. The log is on stderr. SIGTERM or SIGINT starts a graceful
/// shutdown: the node is no longer ready, closes its streams in waves with a reconnection time, releases its sessions
/// and exits with 0. A second signal stops it at once with exit code 1. `fanfare config` lists all settings.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the node cannot start.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let shown = args.flags.shows_password();
    match Config::load(&args.flags.sources()) {
        Ok(config) => serve(&config, Router::new(), |node| announce(&config, node, shown)).await,
        Err(faults) => Ok(config::wrong(&faults)),
    }
}

/// Runs a node with checked settings until a signal stops it. `pages` are served besides the API. `announce` is
/// called once the node listens.
///
/// # Errors
///
/// Fails if the node cannot start.
pub(crate) async fn serve(
    config: &Config,
    pages: Router,
    announce: impl FnOnce(&Node),
) -> anyhow::Result<ExitCode> {
    log::start(&config.log)?;
    // First, so that a signal during the start is not lost.
    let mut signals = Signals::new().context("cannot listen for signals")?;
    rlimit::raise(config);
    let (broker, redis) = broker(config)?;
    let node = Node::start_with(config, broker, Additions { pages, redis })?;
    announce(&node);
    service_manager::ready(node.addr());
    let in_order = tokio::select! {
        why = node.must_stop() => {
            tracing::error!(error = %why, "fatal error, shutting down");
            false
        }
        name = signals.next() => {
            tracing::info!(signal = name, "received signal, shutting down (send again to exit now)");
            true
        }
    };
    service_manager::stopping();
    let left = tokio::select! {
        left = node.shutdown() => left,
        name = signals.next() => {
            tracing::warn!(signal = name, "received second signal, exiting now");
            return Ok(ExitCode::FAILURE);
        }
    };
    if let Err(error) = &left {
        tracing::error!(%error, "graceful shutdown incomplete");
    }
    Ok(if in_order && left.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the broker; and once more, if it is Redis.
fn broker(config: &Config) -> anyhow::Result<(Arc<dyn Broker>, Option<RedisBroker>)> {
    let settings = config.broker_settings();
    Ok(match config.redis.settings() {
        Some(redis) => {
            let broker = RedisBroker::connect(redis, settings).context("redis.url")?;
            (Arc::new(broker.clone()), Some(broker))
        }
        None => (Arc::new(MemoryBroker::new(settings)), None),
    })
}

/// Prints and logs the listen addresses. `shown`: the command line contains a password.
fn announce(config: &Config, node: &Node, shown: bool) {
    if shown {
        tracing::warn!(
            "the password in --redis is visible to every user of this machine (ps): use --redis-password-file, or set \
             FANFARE_REDIS__URL"
        );
    }
    let redis = config.redis.settings().map(|redis| redis.address());
    tracing::info!(
        node = %node.id(),
        address = %node.addr(),
        redis = redis.as_deref().unwrap_or("none (in memory; all data is lost on exit)"),
        "listening"
    );
    if config.auth.mode == Some(AuthMode::None) && !node.addr().ip().is_loopback() {
        tracing::warn!("auth.mode is none: every client that can reach this node may do everything");
    }
    if let Some(admin) = node.admin_addr() {
        // Printed before the line that announces the node.
        let _ = writeln!(std::io::stdout(), "admin calls on http://{admin}");
    }
    let scheme = if config.tls.is_on() { "https" } else { "http" };
    // A closed stdout does not stop the node.
    let _ = writeln!(std::io::stdout(), "listening on {scheme}://{}", node.addr());
}

/// SIGTERM and SIGINT.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal and returns its name. Cancel-safe.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
