//! Limit of open files: each stream uses one file descriptor.

use fanfare_config::Config;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// File descriptors for Redis, the listener, the log and the runtime.
const OTHERS: u64 = 256;

/// Returns the number of open files that a node with these settings may need.
pub(crate) fn wanted(config: &Config) -> u64 {
    let admin = config.admin.listen.map_or(0, |_| config.admin.sockets);
    (config.limits.connections + config.limits.sockets + admin) as u64 + OTHERS
}

/// Raises the soft limit to the hard limit, and warns if it is lower than the settings need.
pub(crate) fn raise(config: &Config) {
    let wanted = wanted(config);
    let limit = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(error) => {
                tracing::warn!(%error, "failed to raise the limit of open files");
                soft
            }
        },
        Ok((soft, _)) => soft,
        Err(error) => {
            tracing::warn!(%error, "failed to read the limit of open files");
            return;
        }
    };
    if limit < wanted {
        tracing::warn!(
            limit,
            wanted,
            "limit of open files is lower than limits.connections and limits.sockets need: raise ulimit -n"
        );
    }
}
