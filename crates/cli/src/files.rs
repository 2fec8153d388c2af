//! How many file descriptors the process may have: each stream takes one.

use fanfare_node::config::Config;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// For Redis, the listener, the log and whatever the runtime needs.
const OTHERS: u64 = 256;

/// Takes as many as the system allows, and says so if that is fewer than the settings promise to clients.
pub(crate) fn raise_limit(config: &Config) {
    let admin = config.admin.listen.map_or(0, |_| config.admin.sockets);
    let wanted = (config.limits.connections + config.limits.sockets + admin) as u64 + OTHERS;
    let limit = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(error) => {
                tracing::warn!(%error, "the limit of open files could not be raised");
                soft
            }
        },
        Ok((soft, _)) => soft,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files is not known");
            return;
        }
    };
    if limit < wanted {
        tracing::warn!(
            limit,
            wanted,
            "fewer files may be open than limits.connections and limits.sockets need: raise ulimit -n"
        );
    }
}
