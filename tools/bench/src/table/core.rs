//! Which processor core runs what: server on the first, load and Redis on the second.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Where something runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Core {
    /// The server's.
    Server,
    /// The load's and Redis's.
    Load,
    /// Both.
    Both,
}

impl Core {
    /// Lets the calling thread, and what it starts from now on, run there only.
    pub(super) fn pin(self) -> anyhow::Result<()> {
        let mut set = CpuSet::new();
        let cores: &[usize] = match self {
            Self::Server => &[0],
            Self::Load => &[1],
            Self::Both => &[0, 1],
        };
        for core in cores {
            set.set(*core)?;
        }
        Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
    }
}
