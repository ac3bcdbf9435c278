//! The real binary under crashes, full disks, damage, overload and shutdown.
#![cfg(test)]
#![expect(clippy::print_stdout, reason = "the measured numbers are quoted in the documentation")]

mod bills;
mod clients;
mod copy;
mod crash;
mod damage;
mod disk_full;
mod footprint;
mod fsync;
mod golden;
mod idempotence;
mod linear;
mod monitoring;
mod month;
mod notices;
mod overload;
mod pages;
mod prices;
mod pulses;
mod reads;
mod replicas;
mod shutdown;

use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tollgate_e2e::Tollgate;

/// Held by a test that measures time or memory, shared by those that do not: two of these share the cores, while one waits
/// for the disk or for a server to start.
static MACHINE: RwLock<()> = RwLock::new(());

/// The machine for a test that measures: no other test runs.
fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// The machine for a test whose outcome does not depend on time.
fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// What the environment says, if it does: the figure of a long run.
fn given<N: std::str::FromStr>(name: &str) -> Option<N> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not the number it should be: {text}")))
}

/// The seed of a random test: printed, and taken from `TOLLGATE_SEED` to repeat a run.
fn seed() -> u64 {
    let seed = given("TOLLGATE_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}: repeat with TOLLGATE_SEED={seed}");
    seed
}

/// `tollgate verify` finds nothing.
fn assert_verified(store: &Path) {
    let verified = Tollgate::verify(store).run().expect("tollgate verify runs");
    let said = String::from_utf8_lossy(&verified.stdout);
    let error = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success(), "tollgate verify ended with {}:\n{said}{error}", verified.status);
}

#[track_caller]
fn assert_none(differences: &[String], what: &str) {
    assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
}
