//! What the process uses.

/// What the process uses of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Processor time since the start, in user and in system mode, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Soft limit of open file descriptors.
    pub max_fds: u64,
}

impl Usage {
    /// Reads what this process uses; `None` if `/proc` is not readable.
    #[cfg(target_os = "linux")]
    pub fn read() -> Option<Self> {
        let values = crate::process::Values::read().ok()?;
        Some(Self {
            cpu_seconds: values.cpu_seconds,
            resident_bytes: values.resident_bytes,
            open_fds: values.open_fds as u64,
            max_fds: values.max_fds,
        })
    }

    /// Returns `None`: this system has no `/proc`.
    #[cfg(not(target_os = "linux"))]
    pub fn read() -> Option<Self> {
        None
    }
}
