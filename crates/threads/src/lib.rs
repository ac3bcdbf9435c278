//! How the threads of a server share its cores: whoever answers callers goes first.
//!
//! Linux lets a thread run on for a while before another that has just been woken takes its core: for its *slice*, and in
//! effect until the next tick of the clock, which is up to 4 ms. A low priority (`nice`) does not change that. So a call of
//! the gate that wakes while a report is computed waits for milliseconds, on a machine that could have answered it in 0.2.
//! From Linux 6.12 on a thread may ask for a slice of its own, and a thread with a shorter one takes the core at once.
//! Older kernels and other systems leave everything as it was.
//!
//! This is the one crate with `unsafe` code: the call is in no safe library.

use std::time::Duration;

/// The slice of threads that answer callers: the shortest that Linux gives.
const SHORT_SLICE: Duration = Duration::from_micros(100);

/// The slice of threads that work beside the gate: longer than the system's own.
const LONG_SLICE: Duration = Duration::from_millis(5);

/// From now on the calling thread takes a core as soon as it has something to do, unless others like it have it.
///
/// Threads that it starts later begin like it: those that answer nobody say so with [`work_beside`] or
/// [`yield_to_callers`].
pub fn answer_first() {
    // Without the right to do so the thread goes on as it is.
    let _ = system::set_slice(SHORT_SLICE);
}

/// From now on the calling thread leaves a core at once to those that answer callers, and has its share of it all the same.
pub fn work_beside() {
    let _ = system::set_slice(LONG_SLICE);
}

/// From now on the calling thread leaves the cores to those that answer callers, and much of its share, too.
///
/// `niceness` is how much, as `nice` counts: 5 leaves a thread a third of what another gets, 10 a tenth, 19 a seventieth.
pub fn yield_to_callers(niceness: i32) {
    system::add_niceness(niceness);
    work_beside();
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;
    use std::time::Duration;

    /// Lowers the priority of the calling thread. Elsewhere than on Linux it would be that of the whole process.
    pub(super) fn add_niceness(niceness: i32) {
        // Without the right to do so the thread goes on as it is.
        let _ = rustix::process::nice(niceness);
    }

    /// Sets the slice of the calling thread and leaves its priority as it is.
    #[expect(unsafe_code, reason = "no safe library has this call")]
    pub(super) fn set_slice(slice: Duration) -> io::Result<()> {
        let attributes = libc::sched_attr {
            size: u32::try_from(size_of::<libc::sched_attr>()).map_err(io::Error::other)?,
            sched_policy: u32::try_from(libc::SCHED_OTHER).map_err(io::Error::other)?,
            sched_flags: 0,
            sched_nice: rustix::process::getpriority_process(None)?,
            sched_priority: 0,
            sched_runtime: u64::try_from(slice.as_nanos()).map_err(io::Error::other)?,
            sched_deadline: 0,
            sched_period: 0,
        };
        let (this_thread, no_flags) = (0, 0);
        // SAFETY: the kernel reads `size` bytes of the structure, which lives until the call returns, and keeps no pointer.
        let result = unsafe {
            libc::syscall(libc::SYS_sched_setattr, this_thread, std::ptr::from_ref(&attributes), no_flags)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::time::Duration;

    pub(super) fn add_niceness(_: i32) {}

    pub(super) fn set_slice(_: Duration) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::fs;

    /// A line of what the kernel tells of the calling thread, if it has such a line.
    fn told(name: &str) -> Option<String> {
        let text = fs::read_to_string("/proc/thread-self/sched").expect("the kernel tells");
        let line = text.lines().find(|line| line.trim_start().starts_with(name))?;
        line.rsplit_once(':').map(|(_, value)| value.trim().to_owned())
    }

    #[test]
    fn a_thread_gets_the_slice_it_asks_for_and_keeps_its_priority() {
        std::thread::spawn(|| {
            super::system::set_slice(super::SHORT_SLICE).expect("the kernel takes it");
            // Kernels before 6.12 take the call and give no slice.
            let knows_slices = told("se.slice").is_some();
            assert!(!knows_slices || told("se.slice").as_deref() == Some("100000"), "{:?}", told("se.slice"));
            let before = told("prio");
            super::yield_to_callers(1);
            assert!(
                !knows_slices || told("se.slice").as_deref() == Some("5000000"),
                "{:?}",
                told("se.slice")
            );
            assert_ne!(told("prio"), before, "it is nicer");
            super::answer_first();
            assert_ne!(told("prio"), before, "and stays so");
        })
        .join()
        .expect("no panic");
    }
}
