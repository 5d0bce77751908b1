//! What every process of Windlass shows Prometheus, and where.
//!
//! Each process has one registry: the instruments of its own, made and recorded by the module that knows what happens,
//! beside those that all processes have ([`process`]). Always: names follow Prometheus' guide (prefix `windlass_`, base
//! units, `_total` for counters), labels have few values, none is a path, a run, an attempt or a text of users, and a scrape reads
//! numbers that are there: it asks neither PostgreSQL nor the leader.

pub mod http;
mod listener;
pub mod live;
mod page;
mod picture;
pub mod process;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

pub use listener::{Listen, NotAnAddress, serve};
pub use page::{Ask, Health, Page};
pub use picture::Picture;

/// A counter for each value of one label.
pub type By = Family<[(&'static str, &'static str); 1], Counter>;

/// Bounds for what should take milliseconds: a turn, a commit, an answer.
const WORK_SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds for what a task waits or takes: milliseconds to hours.
const TASK_SECONDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0];

/// A histogram of durations that should be short.
#[must_use]
pub fn work_seconds() -> Histogram {
    Histogram::new(WORK_SECONDS)
}

/// A histogram of durations that depend on users' tasks.
#[must_use]
pub fn task_seconds() -> Histogram {
    Histogram::new(TASK_SECONDS)
}

/// A registry with what every process shows: itself, and which version it is.
#[must_use]
pub fn registry(version: &'static str) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process::ThisProcess::default()));
    let build = Family::<[(&str, &str); 1], Gauge>::default();
    build.get_or_create(&[("version", version)]).set(1);
    windlass(&mut registry).register("build_info", "Which version runs; the value is always 1", build);
    registry
}

/// The part of a registry whose names begin with `windlass_`.
pub fn windlass(registry: &mut Registry) -> &mut Registry {
    registry.sub_registry_with_prefix("windlass")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_the_process_and_its_version_and_ends_as_openmetrics_ends() {
        let text = Page::new(registry("1.2.3")).text();
        assert!(text.contains("windlass_build_info{version=\"1.2.3\"} 1\n"), "{text}");
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
            assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}: {text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
