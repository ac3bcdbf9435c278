//! The machine under the benchmark: its disk, its processes, its limits.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit};

use crate::Result;
use crate::stats::{Latencies, float};

/// Bytes in one MiB.
pub(crate) const MIB: f64 = 1_048_576.0;
/// What `statfs` says of a tmpfs.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Latency of fdatasync, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Writes 4 KiB and calls fdatasync, over and over, into a file whose blocks exist already: the least that a durable
/// answer can cost on this disk.
pub(crate) fn measure_fdatasync(folder: &Path, lasts: Duration) -> Result<Disk> {
    const BLOCK: usize = 4096;
    const BLOCKS: u64 = 4096;
    let path = folder.join("fdatasync");
    let mut file = File::create(&path)?;
    let block = vec![0xa5_u8; BLOCK];
    for _ in 0..BLOCKS {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut latencies = Latencies::new()?;
    let began = Instant::now();
    let mut at = 0;
    while began.elapsed() < lasts {
        let started = Instant::now();
        file.write_all_at(&block, at * u64::try_from(BLOCK)?)?;
        file.sync_data()?;
        latencies.record(started.elapsed());
        at = (at + 1) % BLOCKS;
    }
    fs::remove_file(&path)?;
    Ok(Disk { p50_ms: latencies.millis(0.5), p99_ms: latencies.millis(0.99) })
}

/// Refuses a folder in memory: nothing measured there would be durable.
pub(crate) fn require_disk(folder: &Path) -> Result<()> {
    let kind = rustix::fs::statfs(folder)?.f_type;
    if kind == TMPFS_MAGIC {
        return Err(format!("{} is in memory (tmpfs); give --folder on a disk", folder.display()).into());
    }
    Ok(())
}

/// Lets this process and the servers it starts open as many sockets as the system allows.
pub(crate) fn raise_open_files() -> Result<()> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised)?;
    Ok(())
}

/// How many files this process may open.
pub(crate) fn open_files_max() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// CPU time that a process and all below it have used, with that of children that ended and were waited for.
pub(crate) fn cpu_of_tree(root: u32) -> Result<Duration> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end between the listing and the look.
        if let Some(stat) = stat(pid) {
            processes.push((pid, stat));
        }
    }
    let mut tree = vec![root];
    let mut ticks = 0;
    while let Some(pid) = tree.pop() {
        let Some((_, stat)) = processes.iter().find(|(id, _)| *id == pid) else {
            return Err(format!("process {pid} is gone").into());
        };
        ticks += stat.ticks;
        tree.extend(processes.iter().filter(|(_, stat)| stat.parent == pid).map(|(id, _)| *id));
    }
    let hertz = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_millis(ticks * 1000 / hertz))
}

/// CPU time of everything on the machine since it started.
pub(crate) fn cpu_of_all() -> Result<Duration> {
    let ticks = busy_ticks(&fs::read_to_string("/proc/stat")?).ok_or("no CPU line in /proc/stat")?;
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// The first line's user, nice and system time, interrupts and what a hypervisor took; not idle and waiting.
fn busy_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    Some([0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum())
}

/// CPU time of the load generator itself.
pub(crate) fn own_cpu() -> Result<Duration> {
    // Children of this process are the servers: only its own share counts.
    let stat = stat(std::process::id()).ok_or("this process has no /proc entry")?;
    Ok(Duration::from_millis(stat.own_ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

struct Stat {
    parent: u32,
    own_ticks: u64,
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields after the name in parentheses: state, parent, …; user and system time are the 12th and 13th, those of
/// children waited for the 14th and 15th.
fn parse_stat(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let own_ticks = number(11)? + number(12)?;
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own_ticks,
        ticks: own_ticks + number(13)? + number(14)?,
    })
}

/// Resident memory now and at its highest, in MiB.
pub(crate) fn resident_mib(pid: u32) -> Result<(f64, f64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib: u64 = line.and_then(|rest| rest.split_whitespace().next()).ok_or(name)?.parse()?;
        Ok(float(kib) / 1024.0)
    };
    Ok((mib("VmRSS:")?, mib("VmHWM:")?))
}

/// What a folder takes on disk, in MiB.
pub(crate) fn folder_mib(folder: &Path) -> Result<f64> {
    Ok(float(folder_bytes(folder)?) / MIB)
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += metadata.blocks() * 512;
        if metadata.is_dir() {
            sum += folder_bytes(&entry.path())?;
        }
    }
    Ok(sum)
}

/// The first line that a program prints of itself.
pub(crate) fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("version unknown").to_owned()
}

/// One line about the machine.
pub(crate) fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(':')).map_or("unknown CPU", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let meminfo = read("/proc/meminfo");
    let kib: u64 = meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores ({model}), {:.0} GiB, Linux {}", float(kib) / 1048576.0, kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_line_is_read_past_a_name_with_spaces() {
        let line = "42 (a) b) c) S 7 42 42 0 -1 4194560 9 0 0 0 11 22 3 4 20 0 1 0 5 6 7";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.parent, stat.own_ticks, stat.ticks), (7, 33, 40));
        assert!(parse_stat("42 (x").is_none());
    }

    #[test]
    fn idle_and_waiting_are_not_busy() {
        assert_eq!(busy_ticks("cpu  1 2 3 1000 2000 4 5 6 7 8\ncpu0 1 1"), Some(21));
        assert_eq!(busy_ticks("intr 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_cpu_time() {
        let pid = std::process::id();
        let (now, highest) = resident_mib(pid).unwrap();
        assert!(now > 0.1 && highest > 0.1, "{now} {highest}");
        assert!(cpu_of_tree(pid).is_ok() && own_cpu().is_ok());
    }
}
