//! Metrics of the process, with the names that Prometheus client libraries use
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).

use std::fmt;

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo, boot_time_secs, ticks_per_second};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads the metrics of this process from `/proc` for each scrape. Exports none if `/proc` is not readable.
#[derive(Debug)]
pub struct ProcessMetrics;

/// What is read.
pub(crate) struct Values {
    /// Processor time in user and in system mode, in seconds.
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    virtual_bytes: u64,
    pub(crate) open_fds: usize,
    /// Soft limit of open files.
    pub(crate) max_fds: u64,
    threads: i64,
    /// Unix time.
    start_seconds: f64,
}

#[allow(clippy::cast_precision_loss)] // All are far below 2^53.
impl Values {
    pub(crate) fn read() -> ProcResult<Self> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second() as f64;
        let max_fds = match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(most) => most,
            LimitValue::Unlimited => u64::MAX,
        };
        Ok(Self {
            cpu_seconds: seconds(stat.utime + stat.stime),
            resident_bytes: stat.rss_bytes().get(),
            virtual_bytes: stat.vsize,
            open_fds: open_fds(&process)?,
            max_fds,
            threads: stat.num_threads,
            start_seconds: boot_time_secs()? as f64 + seconds(stat.starttime),
        })
    }

    fn gauges(&self) -> [(&'static str, &'static str, f64); 6] {
        [
            ("process_resident_memory_bytes", "Resident memory in bytes", self.resident_bytes as f64),
            ("process_virtual_memory_bytes", "Virtual memory in bytes", self.virtual_bytes as f64),
            ("process_open_fds", "Open file descriptors", self.open_fds as f64),
            ("process_max_fds", "Soft limit of open file descriptors", self.max_fds as f64),
            ("process_threads", "Threads", self.threads as f64),
            ("process_start_time_seconds", "Unix time of the start of the process", self.start_seconds),
        ]
    }
}

/// Returns the number of open file descriptors. Linux 6.2 and later tell it as the size of the directory; with 15,000 of
/// them, counting its entries takes 10 ms and longer.
fn open_fds(process: &Process) -> ProcResult<usize> {
    match std::fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len()) {
        0 => process.fd_count(),
        open => Ok(usize::try_from(open).unwrap_or(usize::MAX)),
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok(values) = Values::read() else { return Ok(()) };
        let cpu = ConstCounter::new(values.cpu_seconds);
        let help = "Processor time in user and system mode, in seconds";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        for (name, help, value) in values.gauges() {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn the_values_are_those_of_this_process() {
        // Reading takes processor time itself.
        let before = loop {
            let values = Values::read().unwrap();
            if values.cpu_seconds > 0.0 {
                break values;
            }
        };
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        let memory = vec![1_u8; 64 << 20];
        let after = Values::read().unwrap();
        assert!(after.cpu_seconds >= before.cpu_seconds);
        let grown = std::hint::black_box(&memory).len() as u64 / 2;
        assert!(after.resident_bytes > before.resident_bytes + grown, "{}", after.resident_bytes);
        assert!(after.open_fds > 3 && after.max_fds >= after.open_fds as u64 && after.threads >= 1);
        assert!(after.virtual_bytes > after.resident_bytes);
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!(after.start_seconds < now && after.start_seconds > now - 3600.0, "{}", after.start_seconds);
        drop(file);
    }

    #[test]
    fn open_files_are_told_as_the_kernel_lists_them() {
        let process = Process::myself().unwrap();
        let files: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        // Other tests of this program open files meanwhile.
        let (told, listed) = (open_fds(&process).unwrap(), process.fd_count().unwrap());
        assert!(told >= files.len() && told.abs_diff(listed) < 50, "{told} {listed}");
    }
}
