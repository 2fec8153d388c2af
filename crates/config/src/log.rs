//! Settings of the node's own log: `[log]`.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::Config;
use crate::check::Checks;
use crate::setting::settings;
use crate::value::{Input, Value, choice, text};

settings! {
    /// `[log]`.
    pub struct LogConfig = "log", |config| config.log => {
        /// `error`, `warn`, `info`, `debug`, `trace` or `off`; also per module: `info,fanfare_node::http=debug`.
        level: String = "info";
        /// `text` for people, `json` for machines.
        format: LogFormat = "text";
        /// Where the [audit log](operations.md#audit-log) goes: `stderr`, with the node's own log; the path of a file, to which
        /// lines are appended; or `off`. `log.level` does not apply to it.
        audit: AuditOutput = "stderr";
        /// Maximum number of lines for [ended connections](operations.md#connection-log) per second, on average over a minute; `0`
        /// for none. Connections that end without a line are counted.
        connections: u32 = "200", in "0" to "100000";
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

/// Where the audit log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditOutput {
    /// Standard error, with the node's own log.
    Stderr,
    /// A file, to which lines are appended.
    File(PathBuf),
    /// Nowhere.
    Off,
}

impl Value for AuditOutput {
    fn read(input: &Input) -> Result<Self, String> {
        match &*text(input)? {
            "stderr" => Ok(Self::Stderr),
            "off" => Ok(Self::Off),
            path if path.contains('/') && !path.ends_with('/') => Ok(Self::File(path.into())),
            _ => Err("neither stderr, nor off, nor a path with a slash".to_owned()),
        }
    }

    fn right() -> String {
        "stderr, off, or the path of a file, like /var/log/fanfare/audit.log".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(stderr|off|.*/[^/]+)$" })
    }
}

/// Checks the levels, and the directory of the audit log.
pub(crate) fn check(config: &Config, checks: &mut Checks<'_>) {
    if let AuditOutput::File(path) = &config.log.audit {
        checks.hold(
            path.parent().is_some_and(Path::is_dir) && !path.is_dir(),
            &["log.audit"],
            "the file's directory does not exist, or the path is a directory",
            "the path of a file in a directory that exists",
        );
    }
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
