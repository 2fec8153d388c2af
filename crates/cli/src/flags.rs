//! Flags for the most common settings. All settings can be set in the file and the environment.

use std::path::PathBuf;

use fanfare_broker::redis::RedisSettings;
use fanfare_config::source::{Flag, Sources};

/// Flags of the commands that read a node's settings. Flags override the environment, which overrides the file.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Listen address; port 0 picks any free port [default: 0.0.0.0:8080]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// URL of Redis; without it the node keeps everything in its own memory
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// File with the password of Redis. A password in --redis is visible to other users of this machine
    #[arg(long, value_name = "FILE")]
    redis_password_file: Option<String>,
    /// Node name, unique in the cluster [default: the host name and six random characters]
    #[arg(long, value_name = "NAME")]
    node_id: Option<String>,
    /// `jwt`: every request needs a token. `none`: every request may do everything. Required, here or as `auth.mode`
    #[arg(long, value_name = "jwt|none")]
    auth: Option<String>,
    /// File with the HS256 secret of tokens, at least 32 bytes
    #[arg(long, value_name = "FILE")]
    jwt_secret_file: Option<String>,
    /// How long a node keeps its streams after it was asked to stop, so that load balancers notice first [default:
    /// 5s]
    #[arg(long, value_name = "DURATION")]
    drain_notice: Option<String>,
    /// Time over which streams are then closed, in even waves [default: 20s]
    #[arg(long, value_name = "DURATION")]
    drain_window: Option<String>,
    /// Clients of a draining node reconnect after 100 ms plus a random part of this time [default: 400ms]
    #[arg(long, value_name = "DURATION")]
    drain_retry_spread: Option<String>,
    /// Maximum time from the request to stop to the exit; remaining streams are cut [default: 45s]
    #[arg(long, value_name = "DURATION")]
    drain_deadline: Option<String>,
    /// Log level: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// TOML file with settings [default: `FANFARE_CONFIG`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Flags {
    /// Returns whether the command line contains a password, which other users of this machine can read.
    pub(crate) fn shows_password(&self) -> bool {
        let url = self.redis.clone();
        url.is_some_and(|url| RedisSettings { url, ..RedisSettings::default() }.has_password())
    }

    /// Returns all sources of settings: these flags, the environment, the file.
    pub(crate) fn sources(self) -> Sources {
        let flags = [
            ("--listen", "node.listen", self.listen),
            ("--redis", "redis.url", self.redis),
            ("--redis-password-file", "redis.password_file", self.redis_password_file),
            ("--node-id", "node.id", self.node_id),
            ("--auth", "auth.mode", self.auth),
            ("--jwt-secret-file", "auth.jwt.secret_file", self.jwt_secret_file),
            ("--drain-notice", "drain.notice", self.drain_notice),
            ("--drain-window", "drain.window", self.drain_window),
            ("--drain-retry-spread", "drain.retry_spread", self.drain_retry_spread),
            ("--drain-deadline", "drain.deadline", self.drain_deadline),
            ("--log-level", "log.level", self.log_level),
        ];
        let given = flags
            .into_iter()
            .filter_map(|(flag, setting, value)| value.map(|value| Flag { flag, setting, value }));
        Sources::of_process(self.config, given.collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use fanfare_config::setting::Setting;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    #[test]
    fn a_password_in_a_flag_is_noticed() {
        let shows = |url: &str| Line::parse_from(["x", "--redis", url]).flags.shows_password();
        assert!(shows("redis://:hush@h") && shows("rediss://ann:hush@h:1"));
        assert!(shows("unix:///run/redis.sock?pass=hush"));
        assert!(!shows("redis://h") && !shows("redis://ann@h") && !shows("nonsense"));
        assert!(!Line::parse_from(["x"]).flags.shows_password());
    }

    #[test]
    fn every_flag_names_a_setting() {
        let line = "x --listen a --redis b --redis-password-file l --node-id c --auth d --jwt-secret-file e --log-level f --config g \
                    --drain-notice h --drain-window i --drain-retry-spread j --drain-deadline k";
        let sources = Line::parse_from(line.split(' ')).flags.sources();
        assert_eq!(sources.flags.len(), 11);
        for flag in sources.flags {
            assert!(Setting::named(flag.setting).is_some(), "{}", flag.setting);
        }
    }
}
