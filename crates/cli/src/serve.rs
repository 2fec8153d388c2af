//! `fanfare serve`: one node.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use fanfare_broker::redis::RedisBroker;
use fanfare_broker::{Broker, MemoryBroker};
use fanfare_node::config::auth::AuthMode;
use fanfare_node::{Config, Node};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::flags::Flags;
use crate::{config, files, log};

/// Run a node.
///
/// Prints `listening on http://<address>` (or `https://`) once it listens, and before that `admin calls on
/// http://<address>` if the setting `admin.listen` is set; the log is on stderr. SIGTERM or SIGINT lets it leave in
/// order: not ready, each stream ended with a time to come back, sessions given up, exit 0. A second one stops it at
/// once with 1. `fanfare config` lists all settings.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
}

/// Runs the command.
///
/// # Errors
///
/// When the node cannot start.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let shown = args.flags.shows_password();
    match Config::load(&args.flags.sources()) {
        Ok(config) => serve(&config, Router::new(), |node| announce(&config, node, shown)).await,
        Err(faults) => Ok(config::wrong(&faults)),
    }
}

/// Runs a node from settings that were checked, and `pages` beside its calls, until it is told to stop. `announce` tells
/// whoever started it that it listens.
///
/// # Errors
///
/// When it cannot start.
pub(crate) async fn serve(
    config: &Config,
    pages: Router,
    announce: impl FnOnce(&Node),
) -> anyhow::Result<ExitCode> {
    log::start(&config.log)?;
    // Before anything else, so that a signal during the start is not lost.
    let mut signals = Signals::new().context("cannot listen for signals")?;
    files::raise_limit(config);
    let broker = broker(config)?;
    let node = Node::start_with(config, broker, pages)?;
    announce(&node);
    let in_order = tokio::select! {
        why = node.must_stop() => {
            tracing::error!(error = %why, "this node must stop");
            false
        }
        name = signals.next() => {
            tracing::info!(signal = name, "told to stop; a second signal stops at once");
            true
        }
    };
    let left = tokio::select! {
        left = node.shutdown() => left,
        name = signals.next() => {
            tracing::warn!(signal = name, "stopped at once");
            return Ok(ExitCode::FAILURE);
        }
    };
    if let Err(error) = &left {
        tracing::error!(%error, "what was left is cut off");
    }
    Ok(if in_order && left.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn broker(config: &Config) -> anyhow::Result<Arc<dyn Broker>> {
    let settings = config.broker_settings();
    Ok(match config.redis.settings() {
        Some(redis) => Arc::new(RedisBroker::connect(redis, settings).context("redis.url")?),
        None => Arc::new(MemoryBroker::new(settings)),
    })
}

/// Prints and logs where the node listens. `shown`: the command line contains a password.
fn announce(config: &Config, node: &Node, shown: bool) {
    if shown {
        tracing::warn!(
            "every user of this machine can read the password in --redis (ps): put it into a file (--redis-password-file) \
             or the URL into FANFARE_REDIS__URL"
        );
    }
    let redis = config.redis.settings().map(|redis| redis.address());
    tracing::info!(
        node = %node.id(),
        address = %node.addr(),
        redis = redis.as_deref().unwrap_or("none: everything is in memory and ends with this process"),
        "serving"
    );
    if config.auth.mode == Some(AuthMode::None) && !node.addr().ip().is_loopback() {
        tracing::warn!("--auth none: everybody who can reach this node may do everything");
    }
    if let Some(admin) = node.admin_addr() {
        // Before the line that says that the node is there.
        let _ = writeln!(std::io::stdout(), "admin calls on http://{admin}");
    }
    let scheme = if config.tls.is_on() { "https" } else { "http" };
    // Nobody may be reading; that is no reason to stop.
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

    /// Waits for the next, and names it. Cancel-safe.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
