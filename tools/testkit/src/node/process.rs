//! A node as a process: what it takes of the machine, and signals.

use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Node;
use crate::deadline::{SOON, until};

impl Node {
    /// Resident memory, in bytes.
    pub fn memory(&self) -> u64 {
        self.status_line("VmRSS:")
    }

    /// The most resident memory since it started or since [`Self::forget_peak`], in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status_line("VmHWM:")
    }

    /// Resets the measured peak.
    ///
    /// # Panics
    ///
    /// When the system does not let us.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("our child's peak");
    }

    fn status_line(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kilobytes.unwrap_or_else(|| panic!("node {} has no {name} any more", self.id)) * 1024
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// SIGINT, as Ctrl-C sends it.
    pub fn interrupt(&self) {
        self.signal(Signal::SIGINT);
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    ///
    /// When it had ended by itself.
    pub async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended(SOON).await;
    }

    fn signal(&self, what: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id is an i32"));
        kill(pid, what).unwrap_or_else(|e| panic!("node {}: {what}: {e}", self.id));
    }

    /// Waits until the process has ended.
    ///
    /// # Panics
    ///
    /// When it has not within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        until(&format!("node {} ends", self.id), limit, async || {
            self.child.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| "it still runs".to_owned())
        })
        .await
    }

    /// Whether the process runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}
