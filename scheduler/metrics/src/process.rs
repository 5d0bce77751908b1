//! What the kernel says of this process, under the names that Prometheus' client libraries agree on.

use std::fs;

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use crate::Picture;

/// Reads `/proc/self` at each scrape. What can not be read is left out.
#[derive(Debug)]
pub struct ThisProcess {
    ticks_per_second: f64,
    /// When the machine started, in seconds since 1970.
    booted_at: Option<f64>,
}

impl Default for ThisProcess {
    fn default() -> Self {
        // SAFETY: sysconf only reads a number of the system.
        let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        let booted_at = fs::read_to_string("/proc/stat").ok().and_then(|stat| number_after(&stat, "btime "));
        Self { ticks_per_second: ticks.max(1) as f64, booted_at }
    }
}

/// The fields of `/proc/self/stat` (proc(5)) behind the program's name.
struct Stat {
    cpu_ticks: f64,
    threads: f64,
    started_ticks: f64,
    virtual_bytes: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<f64> =
            text.rsplit_once(')')?.1.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
        // The state is field 3 of the manual page and the first one here.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            started_ticks: field(22)?,
            virtual_bytes: field(23)?,
        })
    }
}

impl Collector for ThisProcess {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut picture = Picture::new(encoder);
        if let Some(stat) = Stat::read() {
            let cpu_seconds = stat.cpu_ticks / self.ticks_per_second;
            picture.counter("process_cpu_seconds", "CPU time that the process has used", cpu_seconds)?;
            picture.gauge("process_threads", "Threads of the process", stat.threads)?;
            picture.gauge("process_virtual_memory_bytes", "Address space of the process", stat.virtual_bytes)?;
            if let Some(booted_at) = self.booted_at {
                let started = booted_at + stat.started_ticks / self.ticks_per_second;
                picture.gauge("process_start_time_seconds", "When the process started, since 1970", started)?;
            }
        }
        if let Some(kibibytes) = number_in("/proc/self/status", "VmRSS:") {
            let help = "Memory of the process that is in RAM";
            picture.gauge("process_resident_memory_bytes", help, kibibytes * 1024.0)?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            picture.gauge("process_open_fds", "Open file descriptors", open.count() as f64)?;
        }
        if let Some(most) = number_in("/proc/self/limits", "Max open files") {
            picture.gauge("process_max_fds", "File descriptors that may be open", most)?;
        }
        Ok(())
    }
}

fn number_in(file: &str, name: &str) -> Option<f64> {
    number_after(&fs::read_to_string(file).ok()?, name)
}

/// The first word of the line that begins with a name, as a number.
fn number_after(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}
