//! What processes take of the machine, as the kernel counts it (`proc(5)`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

/// Memory of one or more processes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// What they have for themselves: `RssAnon`.
    pub anonymous: u64,
    /// With files and what they share: `VmRSS`.
    pub resident: u64,
}

/// A process that is watched, with all its descendants: servers fork workers.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What it is in a report: `server`, `redis`.
    pub label: String,
    /// Its id.
    pub pid: u32,
}

impl Watched {
    /// Creates a process under a name.
    pub fn new(label: &str, pid: u32) -> Self {
        Self { label: label.to_owned(), pid }
    }

    /// Returns the time that the family has spent on processors, in the kernel too. What a thread took that has ended
    /// is forgotten, as is a process that has.
    pub fn cpu(&self) -> Duration {
        family(self.pid).iter().map(|pid| cpu(&tasks(*pid))).sum()
    }

    /// Returns what the family holds.
    pub fn memory(&self) -> Memory {
        let status = family(self.pid).into_iter().filter_map(|pid| read(pid, "status"));
        status.fold(Memory::default(), |sum, status| Memory {
            anonymous: sum.anonymous + field(&status, "RssAnon:"),
            resident: sum.resident + field(&status, "VmRSS:"),
        })
    }
}

/// Returns the time that the calling thread has spent on a processor.
pub fn own_cpu() -> Duration {
    cpu(&[PathBuf::from("/proc/thread-self")])
}

fn tasks(pid: u32) -> Vec<PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    tasks.flatten().map(|task| task.path()).collect()
}

/// Returns the first number of `schedstat`: nanoseconds on a processor.
fn cpu(tasks: &[PathBuf]) -> Duration {
    let time = |task: &Path| {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.iter().filter_map(|task| time(task)).sum())
}

/// Returns the process and its descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let parents: Vec<(u32, u32)> = every_process().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    family
}

fn every_process() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns the second field after the name, which stands in brackets and may have any character in it.
fn parent(pid: u32) -> Option<u32> {
    let stat = read(pid, "stat")?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn read(pid: u32, file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).ok()
}

/// Returns a field in kB.
fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_seen_with_its_children() {
        let mut shell = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while family(shell.id()).len() < 2 {
            assert!(std::time::Instant::now() < deadline, "no child was seen");
        }
        let family = family(shell.id());
        let both = Watched::new("shell", shell.id());
        assert!(both.memory().resident > 0 && both.cpu() > Duration::ZERO);
        for pid in family.iter().rev() {
            let pid = nix::unistd::Pid::from_raw((*pid).try_into().unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        shell.wait().unwrap();
    }

    #[test]
    fn work_is_seen_as_time_on_a_processor() {
        let before = own_cpu();
        let mut sum = 0_u64;
        while own_cpu().saturating_sub(before) < Duration::from_millis(5) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(sum > 0);
    }
}
