//! Work that one engine of several does at a time: claimed by a lease, and done again by nobody, though its holder is stopped
//! until the lease is another's and then goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::SignedDuration;
use tollgate_domain::{Actor, EntryKind, Period};
use tollgate_engine::Engine;
use tollgate_engine::limits::SERVING;
use tollgate_storage::Store;

use super::World;
use super::executor::Sim;
use super::faults::Fault;
use super::log::Happened;
use super::shipping::Trip;
use super::state::Found;
use super::store::{Crash, SimStore};
use crate::hold;

/// A holder of leases that runs no engine: whoever copies a store asks whether it is in use.
const STRANGER: u64 = 0;

/// Within which time, without faults, somebody has each lease: longer than any is held, by whatever clock.
const CLAIMED_SECS: u64 = 60;

/// Some work, and the lease of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Months that are over are closed.
    Closing,
    /// What is unsent is shipped.
    Shipping,
    /// What is expired is deleted: here there is none, and the lease is all there is of it.
    Sweeping,
    /// An engine says that it runs.
    Serving,
}

impl Work {
    const ALL: [Self; 4] = [Self::Closing, Self::Shipping, Self::Sweeping, Self::Serving];

    /// What is done in a run: each in half of them.
    pub(super) fn draw(sim: &Sim) -> Vec<Self> {
        Self::ALL.into_iter().filter(|_| sim.chance(5_000)).collect()
    }

    const fn lease(self) -> &'static str {
        match self {
            Self::Closing => "closing",
            Self::Shipping => "shipping",
            Self::Sweeping => "sweeping",
            Self::Serving => SERVING,
        }
    }
}

/// A process that may do some work.
struct Worker {
    world: Arc<World>,
    engine: Arc<Engine<SimStore>>,
    holder: u64,
    crash: Crash,
}

impl World {
    /// Does what an engine is to do beside answering, until everything comes to its end. On the embedded store nothing is claimed: one
    /// process has it.
    pub(super) async fn work(self: Arc<Self>, engine: Arc<Engine<SimStore>>, holder: u64, crash: Crash) {
        while !self.begun.load(Ordering::Relaxed) {
            self.sim.sleep(Duration::from_millis(20)).await;
        }
        let worker = Worker { world: self, engine, holder, crash };
        while let Some(work) = worker.next().await {
            worker.turn(work).await;
        }
    }

    /// Without faults every lease that is asked for is somebody's before long.
    pub(super) async fn claim_the_rest(&self) {
        let (since, until) = (self.sim.stamp(), self.sim.now() + Duration::from_secs(CLAIMED_SECS));
        for work in &self.works {
            while !self.log.was_given(work.lease(), since) && !self.log.is_wrong() {
                if self.sim.now() > until {
                    self.log.wrong(format!("without faults nobody gets the lease of {work:?}"));
                }
                self.sim.sleep(Duration::from_millis(100)).await;
            }
        }
        self.rests.store(true, Ordering::Relaxed);
    }
}

impl Worker {
    /// What is to be done next, after a while; `None`: nothing any more.
    async fn next(&self) -> Option<Work> {
        let sim = &self.world.sim;
        sim.sleep(sim.millis(50, 1_500)).await;
        let works = &self.world.works;
        if self.world.rests.load(Ordering::Relaxed) || self.world.log.is_wrong() {
            return None;
        }
        works.get(sim.place(works.len())).copied()
    }

    /// Does some work, if it is this engine's to do.
    async fn turn(&self, work: Work) {
        let sim = &self.world.sim;
        if work == Work::Serving && sim.chance(2_000) {
            // Refused while an engine runs, which the log sees to.
            drop(self.engine.store().claim(SERVING, STRANGER, Duration::ZERO).await);
            return;
        }
        let time = sim.millis(500, 4_000);
        if !self.is_to_do(work, time).await {
            return;
        }
        match work {
            Work::Closing => self.close(time).await,
            Work::Shipping => {
                let trip = Trip(Arc::clone(&self.world));
                drop(self.engine.ship(&Actor::Shipper, &(i32::MIN..=i32::MAX), &trip).await);
            }
            Work::Sweeping | Work::Serving => sim.sleep(sim.millis(0, 500)).await,
        }
        let lost = self.world.log.has_another(work.lease(), self.holder);
        self.world.faults.count(Fault::LeaseLost, u64::from(lost));
        if sim.chance(2_000) {
            self.engine.is_to_do(work.lease(), Duration::ZERO).await;
        }
    }

    /// Claims a lease. The process may be stopped right after that, until the lease is no longer its own: it does not know.
    async fn is_to_do(&self, work: Work, time: Duration) -> bool {
        let World { sim, log, faults, .. } = &*self.world;
        let asked = sim.stamp();
        if !self.engine.is_to_do(work.lease(), time).await {
            return false;
        }
        if !log.was_given_to(work.lease(), self.holder, asked) {
            log.wrong(format!("{} does {work:?} without its lease", self.holder));
        }
        if faults.fires(Fault::HolderStopped) {
            self.crash.stop_until(sim.now() + time + sim.millis(0, 3_000));
            sim.sleep(Duration::from_millis(1)).await;
        }
        true
    }

    /// Looks at all orgs once for months that are over, as a server does: some at a time, the lease kept in between.
    async fn close(&self, time: Duration) {
        let mut cursor = None;
        let grace = SignedDuration::from_hours(24 * self.world.grace_days);
        loop {
            let Ok(closing) = self.engine.close_due(grace, cursor.as_ref()).await else { return };
            self.world.log.closed(closing.closed);
            cursor = closing.next;
            if cursor.is_none() || !self.is_to_do(Work::Closing, time).await {
                return;
            }
        }
    }
}

/// No month was closed twice, and as many were closed by themselves as engines say, and those whose answers were lost.
pub(super) fn check(found: &Found, happened: &Happened) -> Result<(), String> {
    let mut by_themselves: BTreeMap<String, u64> = BTreeMap::new();
    for (org, entries) in &found.ledgers {
        let mut months = BTreeMap::new();
        for entry in entries {
            let EntryKind::BillClosed(bill) = &entry.kind else { continue };
            let month = bill.rated.month.number;
            let before = months.insert(month, entry.number);
            hold!(before.is_none(), "{org}: month {month} was closed by {before:?} and by {}", entry.number);
            if entry.actor == Actor::Closing {
                *by_themselves.entry(Period::month(month).label()).or_default() += 1;
            }
        }
    }
    for (month, told) in &happened.closed {
        let closed = by_themselves.get(month).copied().unwrap_or_default();
        hold!(
            *told <= closed,
            "{month} is said to be closed by themselves for {told} orgs, and is for {closed}"
        );
    }
    Ok(())
}
