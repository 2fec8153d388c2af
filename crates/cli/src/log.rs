//! The node's log, on stderr.

use std::io::IsTerminal;

use fanfare_config::log::{LogConfig, LogFormat};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Libraries between the socket and the handlers. Clients can cause any number of their log lines, and the node
/// counts their errors anyway. They log only if `log.level` names them.
const LIBRARIES: [&str; 9] =
    ["h2", "hyper", "hyper_util", "tower", "tower_http", "axum", "rustls", "tokio_rustls", "httparse"];

/// Starts the log. Must be called once per process.
///
/// # Errors
///
/// Fails if the level is invalid, which checked settings rule out.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<()> {
    let filter = filter(&config.level)?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()?;
    Ok(())
}

/// Returns the filter for a level. The last entry for a target decides.
fn filter(level: &str) -> anyhow::Result<Targets> {
    let asked: Targets = level.parse()?;
    let libraries = Targets::new().with_targets(LIBRARIES.map(|library| (library, LevelFilter::OFF)));
    Ok(libraries.with_targets(asked.iter()).with_default(asked.default_level().unwrap_or(LevelFilter::OFF)))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_log_only_what_is_asked_of_them_by_name() {
        for (level, target, at, logs) in [
            ("info", "h2::proto::streams::recv", Level::WARN, false),
            ("info", "h2::proto", Level::ERROR, false),
            ("debug", "hyper::proto", Level::WARN, false),
            ("info,h2=warn", "h2::proto", Level::WARN, true),
            ("info,h2::proto=debug", "h2::proto::streams", Level::DEBUG, true),
            ("info,h2::proto=debug", "h2::codec", Level::ERROR, false),
            ("info", "fanfare_node::listener", Level::INFO, true),
            ("info", "fanfare_node::listener", Level::DEBUG, false),
            ("info,fanfare_node::http=debug", "fanfare_node::http::middleware", Level::DEBUG, true),
            ("off", "fanfare_node", Level::ERROR, false),
        ] {
            assert_eq!(filter(level).unwrap().would_enable(target, &at), logs, "{level}: {target} {at}");
        }
    }
}
