//! What goes wrong, how often, and how often it did.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::executor::Sim;

/// Declares the faults with their names, how often in ten thousand chances each fires where it is on, and where it can.
macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal $rate:literal $place:ident),+ $(,)?) => {
        /// Something that goes wrong on purpose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[doc = $doc])+ $variant),+
        }

        impl Fault {
            /// All of them, in the order of their variants.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name in tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            const fn rate(self) -> u32 {
                match self { $(Self::$variant => $rate),+ }
            }

            /// On which store it can happen.
            #[must_use]
            pub const fn place(self) -> Place {
                match self { $(Self::$variant => Place::$place),+ }
            }
        }
    };
}

/// Where a fault can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On every store.
    All,
    /// On the stores in memory.
    Memory,
    /// On the shared store.
    Shared,
    /// On the embedded store.
    Embedded,
}

faults! {
    /// A read takes seconds.
    SlowRead "slow read" 60 All,
    /// An append takes seconds.
    SlowAppend "slow append" 100 All,
    /// Images take seconds to be written.
    SlowCheckpoint "slow checkpoint" 400 All,
    /// Orgs cannot be opened.
    OpenFailed "failed open" 80 All,
    /// Parts of an org cannot be loaded.
    LoadFailed "failed load" 80 All,
    /// Keys cannot be looked up.
    FindFailed "failed look-up of keys" 80 All,
    /// Rows cannot be read.
    ScanFailed "failed scan" 80 All,
    /// An org is opened whose image lacks entries.
    OpenedBehind "org opened behind its ledger" 0 All,
    /// The image of an org was replaced while parts of it were loaded.
    ImageMoved "image moved while loading" 0 All,
    /// An append is refused for want of room.
    Full "append refused, no room" 120 Memory,
    /// An append of several orgs is refused as too large.
    TooLarge "append refused, too large" 1_000 Memory,
    /// An append fails, nothing was written.
    FailedBefore "append failed, not written" 60 Memory,
    /// An append fails, all was written.
    AnswerLost "append failed, written" 60 Memory,
    /// An append fails, and is written later unless somebody else was faster.
    LateWrite "append failed, written later" 60 Shared,
    /// Another engine appended first: this one decides again.
    RaceLost "append lost a race" 0 Shared,
    /// Images cannot be written.
    CheckpointFailed "checkpoint failed" 500 All,
    /// The process ends before an append.
    CrashBefore "crash before an append" 50 All,
    /// The process ends after an append, before the answers.
    CrashAfter "crash after an append" 70 All,
    /// The process ends before images are written.
    CrashBeforeCheckpoint "crash before a checkpoint" 60 All,
    /// The process ends after images were written, before it knows.
    CrashAfterCheckpoint "crash after a checkpoint" 60 All,
    /// The process ends at any step of the writer.
    CrashAnywhere "crash at any step" 15 All,
    /// The process ends while it starts.
    CrashInStart "crash while starting" 800 All,
    /// The process does nothing for seconds, and goes on.
    ProcessStopped "process stopped for a while" 25 All,
    /// The power goes before or after a disk operation.
    PowerCut "power cut at a disk operation" 0 Embedded,
    /// The power goes while the store is recovering.
    PowerCutInRecovery "power cut in recovery" 2_500 Embedded,
    /// After a power cut something written and not synced is lost.
    WriteLost "unsynced write lost" 0 Embedded,
    /// After a power cut something written and not synced is there in part.
    WriteTorn "unsynced write torn" 0 Embedded,
    /// After a power cut some sectors written later are there and some written before are not.
    WriteReordered "unsynced sectors reordered" 0 Embedded,
    /// A disk operation fails.
    DiskError "disk operation failed" 0 Embedded,
    /// A sync fails, and forgets what it has not written.
    SyncFailed "sync failed" 0 Embedded,
    /// A disk operation does only half of what it is asked.
    ShortOperation "short read or write" 0 Embedded,
    /// The disk is full for a while.
    DiskFull "append refused, disk full" 0 Embedded,
    /// The tables are gone at start.
    TablesLost "tables lost" 1_200 Embedded,
    /// The tables are as they were some time before.
    TablesBack "tables went back" 2_500 Embedded,
    /// The clock goes back.
    ClockBack "clock stepped back" 0 All,
    /// The clock jumps a day or more ahead.
    ClockAhead "clock jumped ahead" 0 All,
    /// A month ends somewhere.
    MonthEnd "month ended" 0 All,
    /// Who has a lease is stopped until it ends, and goes on with its work.
    HolderStopped "holder of a lease stopped until it ended" 2_000 Memory,
    /// Another engine has the lease of work that one has just done.
    LeaseLost "work done after its lease was lost" 0 Shared,
    /// A lease is claimed, and who claims it does not hear of it.
    ClaimAnswerLost "lease claimed, answer lost" 500 Memory,
    /// A lease is claimed after it was said that it cannot be.
    LateClaim "lease claimed late" 300 Memory,
    /// Leases go by clocks that differ.
    LeaseClockSkew "clocks of leases differ" 500 Memory,
    /// The clocks of two engines differ.
    ClockSkew "clocks of engines differ" 5_000 Shared,
    /// A request is sent twice at once.
    Duplicate "request sent twice at once" 700 All,
    /// A request is held up on its way, and passed by later ones.
    Delayed "request held up on its way" 400 All,
    /// A client gives up waiting.
    TimedOut "client gave up waiting" 0 All,
    /// A client sends a request again without knowing what became of it.
    Retried "request sent again" 0 All,
    /// A shipment does not reach the processor.
    ShipmentLost "shipment lost" 2_000 All,
    /// The processor takes a shipment, and nobody hears of it.
    ShipmentAnswerLost "answer of the processor lost" 2_000 All,
    /// A shipment comes that the processor has already.
    ShipmentAgain "shipment sent again" 0 All,
    /// Too many requests wait.
    Overload "request refused, queue full" 0 All,
}

/// How often each fault happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts(Vec<u64>);

impl Default for Counts {
    fn default() -> Self {
        Self(vec![0; Fault::ALL.len()])
    }
}

impl Counts {
    /// How often a fault happened.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        let place = Fault::ALL.iter().position(|known| *known == fault);
        place.and_then(|place| self.0.get(place)).copied().unwrap_or(0)
    }

    fn add(&mut self, fault: Fault, times: u64) {
        let place = Fault::ALL.iter().position(|known| *known == fault);
        if let Some(count) = place.and_then(|place| self.0.get_mut(place)) {
            *count += times;
        }
    }
}

impl std::ops::AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }
}

/// The dice of one run: each fault is on in about half of the runs, so that runs differ in kind. Clones are the same.
#[derive(Clone, Debug)]
pub struct Faults {
    sim: Sim,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    active: bool,
    on: Vec<bool>,
    counts: Counts,
}

impl Faults {
    /// Draws which faults are on.
    #[must_use]
    pub fn draw(sim: &Sim) -> Self {
        let on = Fault::ALL.iter().map(|_| sim.chance(5_000)).collect();
        let inner = Inner { active: false, on, counts: Counts::default() };
        Self { sim: sim.clone(), inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What throws the dice.
    #[must_use]
    pub const fn sim(&self) -> &Sim {
        &self.sim
    }

    /// Lets faults happen, or no more.
    pub fn set_active(&self, active: bool) {
        self.inner().active = active;
    }

    /// Whether faults may happen.
    #[must_use]
    pub fn active(&self) -> bool {
        self.inner().active
    }

    /// Whether a fault may happen now in this run.
    #[must_use]
    pub fn may(&self, fault: Fault) -> bool {
        let inner = self.inner();
        let place = Fault::ALL.iter().position(|known| *known == fault);
        inner.active && place.and_then(|place| inner.on.get(place)).copied().unwrap_or(false)
    }

    /// Throws the dice for a fault, and counts it if it happens.
    #[must_use]
    pub fn fires(&self, fault: Fault) -> bool {
        let fires = self.may(fault) && self.sim.chance(fault.rate());
        if fires {
            self.count(fault, 1);
        }
        fires
    }

    /// Counts a fault that happened.
    pub fn count(&self, fault: Fault, times: u64) {
        if times > 0 {
            self.inner().counts.add(fault, times);
            self.sim.trace(fault.name());
        }
    }

    /// How often each happened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner().counts.clone()
    }
}
