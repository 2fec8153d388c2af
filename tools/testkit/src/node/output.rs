//! What a node prints: where it listens, and its log.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::process::Stdio;

/// How much of a node's log is read, in bytes.
const MAX_LOG: usize = 1 << 20;

/// Where a node says that it listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listening {
    pub address: SocketAddr,
    /// Where probes, metrics and admin calls are, if not there.
    pub admin: Option<SocketAddr>,
}

/// What a process has printed. It is a file: a line that the process wrote before it answered is there when its answer is,
/// which nothing promises of a pipe that a thread reads.
#[derive(Debug)]
pub(super) struct Output(File);

impl Output {
    /// Creates an empty one, without a name in the file system.
    pub(super) fn create() -> io::Result<Self> {
        tempfile::tempfile().map(Self)
    }

    /// Returns a handle for the process. All handles share one position, so that none writes over another's lines.
    pub(super) fn stdio(&self) -> io::Result<Stdio> {
        self.0.try_clone().map(Stdio::from)
    }

    /// Returns the beginning, at most [`MAX_LOG`].
    pub(super) fn text(&self) -> String {
        let mut bytes = vec![0; MAX_LOG];
        let mut filled = 0;
        while let Ok(read @ 1..) = self.0.read_at(&mut bytes[filled..], filled as u64) {
            filled += read;
        }
        String::from_utf8_lossy(&bytes[..filled]).into_owned()
    }

    /// Returns where the node listens, once it has said so.
    pub(super) fn listening(&self) -> Option<Listening> {
        let text = self.text();
        let after = |words: &str| {
            let line =
                text.split_inclusive('\n').find_map(|line| line.strip_prefix(words)?.strip_suffix('\n'));
            line.and_then(|address| address.trim().parse().ok())
        };
        let address = after("listening on http://").or_else(|| after("listening on https://"))?;
        Some(Listening { address, admin: after("admin calls on http://") })
    }
}
