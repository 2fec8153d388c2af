//! The process's own log, on stderr.

use std::io::IsTerminal;

use fanfare_node::config::log::{LogConfig, LogFormat};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Starts it. Once for each process.
///
/// # Errors
///
/// When the level cannot be read, which checked settings rule out.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<()> {
    let filter: Targets = config.level.parse()?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()?;
    Ok(())
}
