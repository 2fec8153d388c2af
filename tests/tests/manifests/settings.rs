//! What a node makes of the environment that it is given.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use fanfare_config::Config;
use fanfare_config::source::Sources;

/// What a node needs from the end of its drain to the end of its process, and an engine until it looks again.
pub(crate) const MARGIN: Duration = Duration::from_secs(5);

/// The settings that a node reads from these variables. A secret's file is there and holds one.
pub(crate) fn read<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Config {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    writeln!(secret, "0123456789abcdef0123456789abcdef").unwrap();
    let own = |name: &str, value: &str| match name {
        "FANFARE_AUTH__JWT__SECRET_FILE" => secret.path().as_os_str().to_owned(),
        _ => OsString::from(value),
    };
    let variables = variables.into_iter().map(|(name, value)| (name.into(), own(name, value))).collect();
    match Config::load(&Sources { variables, ..Sources::default() }) {
        Ok(config) => config,
        Err(faults) => panic!("{faults}"),
    }
}

/// Of each stream, with the kernel's part of its socket, in bytes.
const STREAM: u64 = 8 << 10;
/// Of the admin listener, in bytes.
const ADMIN: u64 = 32 << 20;

/// Holds that a node with these settings stays within its container's memory: `docs/operations.md`, "Sizing the container".
pub(crate) fn fits_memory(config: &Config, container: u64) {
    let Config { limits, stream, .. } = config;
    assert!(
        stream.shards > 0,
        "without stream.shards, the cores of the machine decide how many queues there are"
    );
    let needed = limits.memory.as_u64()
        + limits.connections as u64 * STREAM
        + stream.shards as u64 * stream.shard_queue.as_u64()
        + stream.max_log_read_bytes.as_u64()
        + config.admin.listen.map_or(0, |_| ADMIN);
    assert!(needed <= container, "the node may take {} MiB of {} MiB", needed >> 20, container >> 20);
}

/// Holds that a node with these settings ends by itself before it is killed, and that every stream was sent away
/// before the node gives up.
pub(crate) fn fits(config: &Config, grace: Duration) {
    let drain = &config.drain;
    let needed = drain.notice + drain.window + MARGIN;
    assert!(
        needed <= drain.deadline,
        "notice and window need {needed:?}, the deadline is {:?}",
        drain.deadline
    );
    let needed = drain.deadline + MARGIN;
    assert!(needed <= grace, "the deadline needs {needed:?}, the node is killed after {grace:?}");
}
