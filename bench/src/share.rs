//! Processes that may use a part of a core, by a control group of the kernel.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

/// Where control groups of the second version are, and the controller of the first.
const UNIFIED: &str = "/sys/fs/cgroup";
const CPU: &str = "/sys/fs/cgroup/cpu";

/// In each period a group may run for its part of it. Short, so that what is held waits for a few milliseconds at most.
const PERIOD_MICROS: u32 = 10_000;

/// A control group, which ends with this value. What is in it must have ended before.
#[derive(Debug)]
pub(crate) struct Share(PathBuf);

impl Share {
    /// A group of a name of its own, with a part of a core.
    pub(crate) fn new(name: &str, part: f64) -> Result<Self> {
        let failed = |error: std::io::Error| {
            format!(
                "no control group can be made ({error}): this must run as root, where {UNIFIED} may be written"
            )
        };
        let quota = format!("{:.0}", part * f64::from(PERIOD_MICROS));
        let make = |parent: &str, limits: &[(&str, String)]| -> std::io::Result<PathBuf> {
            let folder = Path::new(parent).join(format!("{name}-{}", std::process::id()));
            fs::create_dir(&folder)?;
            limits.iter().try_for_each(|(file, limit)| fs::write(folder.join(file), limit))?;
            Ok(folder)
        };
        let made = if Path::new(UNIFIED).join("cgroup.controllers").exists() {
            fs::write(Path::new(UNIFIED).join("cgroup.subtree_control"), "+cpu").map_err(failed)?;
            make(UNIFIED, &[("cpu.max", format!("{quota} {PERIOD_MICROS}"))])
        } else {
            make(CPU, &[("cpu.cfs_period_us", PERIOD_MICROS.to_string()), ("cpu.cfs_quota_us", quota)])
        };
        Ok(Self(made.map_err(failed)?))
    }

    /// Puts a process into it, with all of its threads.
    pub(crate) fn hold(&self, process: u32) -> Result<()> {
        fs::write(self.0.join("cgroup.procs"), process.to_string())?;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("{} is left over: {error}", self.0.display());
        }
    }
}
