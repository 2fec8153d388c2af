//! The machine that was measured on.

use std::fs;
use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// What the figures depend on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) memory_gib: u64,
    pub(super) kernel: String,
    /// The programs and their versions; those that are not installed say so.
    pub(super) programs: Vec<(String, String)>,
}

impl Machine {
    /// Looks at this one.
    pub(super) fn look() -> anyhow::Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
        };
        let kilobytes = field(&memory, "MemTotal").split(' ').next().and_then(|number| number.parse().ok());
        let programs = [
            ("Redis", "redis-server", &["--version"][..]),
            ("nginx", "nginx", &["-v"]),
            ("nchan", "dpkg-query", &["-W", "-f", "${Version}", "libnginx-mod-nchan"]),
            ("Pushpin", "pushpin", &["--version"]),
        ];
        Ok(Self {
            processor: field(&processors, "model name"),
            cores: processors.lines().filter(|line| line.starts_with("processor")).count(),
            memory_gib: kilobytes.unwrap_or(0_u64).div_ceil(1024 * 1024),
            kernel: said("uname", &["-sr"]).context("uname does not say which kernel this is")?,
            programs: programs
                .iter()
                .map(|(name, program, args)| {
                    let version = said(program, args).unwrap_or_else(|| "not installed".into());
                    ((*name).to_owned(), version)
                })
                .collect(),
        })
    }
}

/// Returns the first line that a program says, on whichever of its outputs; `None` if it is not there or says no.
pub(super) fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    let text = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&text).lines().next()?.trim().to_owned())
}
