//! Settings of the node's own log: `[log]`.

use crate::Config;
use crate::check::Checks;
use crate::setting::settings;
use crate::value::choice;

settings! {
    /// `[log]`.
    pub struct LogConfig = "log", |config| config.log => {
        /// `error`, `warn`, `info`, `debug`, `trace` or `off`; also per module: `info,fanfare_node::http=debug`.
        level: String = "info";
        /// `text` for people, `json` for machines.
        format: LogFormat = "text";
    }
}

choice! {
    /// Format of the log.
    pub enum LogFormat {
        /// Human-readable lines.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

/// Checks the levels.
pub(crate) fn check(config: &Config, checks: &mut Checks<'_>) {
    let level = |part: &str| {
        let (target, level) = part.rsplit_once('=').unwrap_or(("", part));
        let known = level.parse::<tracing::level_filters::LevelFilter>().is_ok();
        known && target.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b))
    };
    checks.hold(
        config.log.level.split(',').all(level),
        &["log.level"],
        "unknown log level",
        "error, warn, info, debug, trace or off; per module like info,fanfare_node::http=debug",
    );
}
