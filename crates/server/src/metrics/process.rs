//! What the operating system says of this process, under the names that every Prometheus client library gives it.

use std::fs;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Read from `/proc` each time; what is not there is left out.
#[derive(Debug)]
pub(super) struct ProcessCollector;

/// Memory and start of the process, from `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    /// Since the machine started, in ticks.
    started_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// The second field is the program's name in parentheses, which may hold anything; the third is behind the last one.
    fn parse(text: &str) -> Option<Self> {
        let (_, behind_name) = text.rsplit_once(')')?;
        let field = |number: usize| behind_name.split_whitespace().nth(number - 3)?.parse().ok();
        Some(Self { started_ticks: field(22)?, virtual_bytes: field(23)?, resident_pages: field(24)? })
    }

    /// Since 1970.
    fn started(&self) -> Option<Duration> {
        let machine = fs::read_to_string("/proc/stat").ok()?;
        let booted_secs: u64 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
        let millis = self.started_ticks.checked_mul(1_000)? / rustix::param::clock_ticks_per_second();
        Some(Duration::from_secs(booted_secs) + Duration::from_millis(millis))
    }
}

/// Processor time of all threads.
fn cpu_time() -> Option<Duration> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

/// Without the one that is open to count them.
fn open_files() -> Option<u64> {
    u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?.checked_sub(1)
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if let Some(time) = cpu_time() {
            let help = "Processor time of all threads";
            let counter =
                encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
            ConstCounter::new(time.as_secs_f64()).encode(counter)?;
        }
        let stat = Stat::read();
        if let Some(started) = stat.as_ref().and_then(Stat::started) {
            let help = "When the process started, since 1970";
            let unit = Some(&Unit::Seconds);
            let gauge = encoder.encode_descriptor("process_start_time", help, unit, MetricType::Gauge)?;
            ConstGauge::new(started.as_secs_f64()).encode(gauge)?;
        }
        let page = u64::try_from(rustix::param::page_size()).unwrap_or_default();
        let resident = stat.as_ref().map(|stat| stat.resident_pages.saturating_mul(page));
        let files_max = getrlimit(Resource::Nofile).current;
        for (name, help, unit, value) in [
            ("process_resident_memory", "Memory in use", Some(&Unit::Bytes), resident),
            (
                "process_virtual_memory",
                "Addresses taken, whether or not memory is behind them",
                Some(&Unit::Bytes),
                stat.as_ref().map(|stat| stat.virtual_bytes),
            ),
            ("process_open_fds", "Open files and connections", None, open_files()),
            ("process_max_fds", "Most files and connections that may be open", None, files_max),
        ] {
            if let Some(value) = value {
                let gauge = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
                ConstGauge::new(value).encode(gauge)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_moves_no_field() {
        let fields: Vec<String> = (3..=30).map(|number| number.to_string()).collect();
        let stat = Stat::parse(&format!("7 (a b) c) {}\n", fields.join(" ")));
        assert_eq!(stat, Some(Stat { started_ticks: 22, virtual_bytes: 23, resident_pages: 24 }));
        assert_eq!(Stat::parse("7 (cut) S 1"), None);
    }
}
