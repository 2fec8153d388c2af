//! The node's log, on stderr, and the audit log.

use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::Context;
use fanfare_config::log::{AuditOutput, LogConfig, LogFormat};
use fanfare_node::audit;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::appended_file::AppendedFile;

/// Libraries between the socket and the handlers. Clients can cause any number of their log lines, and the node
/// counts their errors anyway. They log only if `log.level` names them.
const LIBRARIES: [&str; 9] =
    ["h2", "hyper", "hyper_util", "tower", "tower_http", "axum", "rustls", "tokio_rustls", "httparse"];

/// Starts the log. Must be called once per process.
///
/// # Errors
///
/// Fails if the file of the audit log cannot be opened, or if the level is invalid, which checked settings rule out.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<()> {
    let filter = filter(&config.level)?;
    let audited = Targets::new().with_target(audit::TARGET, LevelFilter::INFO);
    let audit = match &config.audit {
        AuditOutput::Off => None,
        AuditOutput::Stderr => Some(stderr(config.format)),
        AuditOutput::File(path) => {
            let file = AppendedFile::open(path);
            let file = file.with_context(|| format!("cannot open the audit log {}", path.display()))?;
            Some(lines(config.format, Arc::new(file), false))
        }
    };
    let audit = audit.map(|lines| lines.with_filter(audited));
    tracing_subscriber::registry().with(audit).with(stderr(config.format).with_filter(filter)).try_init()?;
    Ok(())
}

type Lines<S> = Box<dyn Layer<S> + Send + Sync>;

fn stderr<S: Subscriber + for<'a> LookupSpan<'a>>(format: LogFormat) -> Lines<S> {
    lines(format, std::io::stderr, std::io::stderr().is_terminal())
}

fn lines<S, W>(format: LogFormat, writer: W, is_terminal: bool) -> Lines<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer);
    match format {
        LogFormat::Text => lines.with_ansi(is_terminal).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// Returns the filter for a level. The last entry for a target decides. The audit log has a filter of its own.
fn filter(level: &str) -> anyhow::Result<Targets> {
    let asked: Targets = level.parse()?;
    let libraries = Targets::new().with_targets(LIBRARIES.map(|library| (library, LevelFilter::OFF)));
    let asked =
        libraries.with_targets(asked.iter()).with_default(asked.default_level().unwrap_or(LevelFilter::OFF));
    Ok(asked.with_target(audit::TARGET, LevelFilter::OFF))
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
            ("trace,fanfare::audit=trace", "fanfare::audit", Level::INFO, false),
        ] {
            assert_eq!(filter(level).unwrap().would_enable(target, &at), logs, "{level}: {target} {at}");
        }
    }
}
