//! What happened in a run: who asked what when, what came back, when each entry was committed, what the clocks showed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tollgate_domain::{
    Amount, Balance, OrgCommand, OrgDecision, OrgId, Sku, SystemCommand, SystemDenial, Timestamp, UsageKey,
};

use super::executor::Sim;

/// What an attempt asks of an org.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// A command.
    Command(Arc<OrgCommand>),
    /// Its balance.
    Balance,
    /// What is unsent of it.
    Unsent,
    /// Where it is in the list of all orgs.
    Listed,
}

/// What is unsent of an org, by day.
pub(super) type UnsentOf = BTreeMap<(i32, Sku), Amount>;

/// What came back.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Nothing, or that nobody knows: it was done wholly, or not at all, or will be.
    Unknown,
    /// It was not done, and never will be.
    NotDone,
    /// A decision.
    Decision(Box<OrgDecision>),
    /// The version of the org and its balance; `None` where nobody has heard of it.
    Balance(Option<Box<(u64, Balance)>>),
    /// What is unsent.
    Unsent(UnsentOf),
    /// The version of the org as the list has it; zero: it is not in the list.
    Listed(u64),
}

/// One request sent to one engine.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// Whose.
    pub(super) org: OrgId,
    /// What is asked.
    pub(super) ask: Ask,
    /// Which engine.
    pub(super) engine: usize,
    /// When it was sent.
    pub(super) sent: u64,
    /// When the reply came.
    pub(super) replied: Option<u64>,
    /// The catalog in force at the engine when it was sent and when the reply came.
    pub(super) catalogs: (u32, u32),
    /// The reply.
    pub(super) reply: Reply,
}

/// One request of the system.
#[derive(Clone, Debug)]
pub(super) struct SystemAttempt {
    /// What is asked.
    pub(super) command: SystemCommand,
    /// The answer, if one came.
    pub(super) reply: Option<Result<u32, SystemDenial>>,
    /// Whether it is known that it was not done.
    pub(super) not_done: bool,
}

/// Everything that happened; clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Log {
    sim: Sim,
    inner: Arc<Mutex<Happened>>,
}

/// See [`Log`].
#[derive(Clone, Debug, Default)]
pub(super) struct Happened {
    /// All requests to orgs.
    pub(super) attempts: Vec<Attempt>,
    /// All requests to the system.
    pub(super) system: Vec<SystemAttempt>,
    /// When each entry of each org was committed, the first entry first.
    pub(super) commits: BTreeMap<OrgId, Vec<u64>>,
    /// What the clock of each engine showed from when on.
    pub(super) clocks: Vec<Vec<(u64, Timestamp)>>,
    /// Who has which lease.
    pub(super) leases: BTreeMap<String, Lease>,
    /// How many months engines say that they closed by themselves, by label.
    pub(super) closed: BTreeMap<String, u64>,
    /// What was seen to be wrong while the run went on.
    pub(super) wrong: Vec<String>,
}

/// A lease that somebody has, or had.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    holder: u64,
    number: u64,
    /// By the clock of the store.
    until: Duration,
    /// When each holder got it last.
    given: BTreeMap<u64, u64>,
}

impl Lease {
    /// What is wrong with its being given under a number at a time to a holder, or to nobody.
    fn refuses(&self, holder: u64, at: Duration, given: Option<u64>) -> Option<&'static str> {
        let (is_ours, is_held) = (self.holder == holder, at < self.until);
        match given {
            None if is_ours || !is_held => Some("is not given, though nobody else has it"),
            Some(_) if !is_ours && is_held => Some("is given while another has it"),
            Some(number) if !is_ours && number <= self.number => Some("has no higher number"),
            Some(number) if is_ours && is_held && number != self.number => {
                Some("is kept under another number")
            }
            _ => None,
        }
    }
}

impl Log {
    /// Nothing happened yet to so many engines.
    #[must_use]
    pub(super) fn new(sim: &Sim, engines: usize) -> Self {
        let happened = Happened { clocks: vec![Vec::new(); engines], ..Happened::default() };
        Self { sim: sim.clone(), inner: Arc::new(Mutex::new(happened)) }
    }

    fn inner(&self) -> MutexGuard<'_, Happened> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything so far.
    #[must_use]
    pub(super) fn happened(&self) -> Happened {
        self.inner().clone()
    }

    /// Whether something was seen to be wrong.
    #[must_use]
    pub(super) fn is_wrong(&self) -> bool {
        !self.inner().wrong.is_empty()
    }

    /// Something is wrong.
    pub(super) fn wrong(&self, says: String) {
        self.inner().wrong.push(says);
    }

    /// A request is sent; gives its number.
    #[must_use]
    pub(super) fn sent(&self, org: &OrgId, ask: &Ask, engine: usize, catalog: u32) -> usize {
        let sent = self.sim.stamp();
        let mut inner = self.inner();
        let number = inner.attempts.len();
        self.sim.trace(&format!("{number} to {engine}: {org} {ask:?}"));
        inner.attempts.push(Attempt {
            org: org.clone(),
            ask: ask.clone(),
            engine,
            sent,
            replied: None,
            catalogs: (catalog, catalog),
            reply: Reply::Unknown,
        });
        number
    }

    /// A reply came.
    pub(super) fn replied(&self, number: usize, catalog: u32, reply: Reply) {
        let stamp = self.sim.stamp();
        self.sim.trace(&format!("{number} is answered {reply:?}"));
        if let Some(attempt) = self.inner().attempts.get_mut(number) {
            attempt.replied = Some(stamp);
            attempt.catalogs.1 = catalog;
            attempt.reply = reply;
        }
    }

    /// The number of the latest hold, with a key or with any, as far as somebody heard of it.
    pub(super) fn number_of(&self, org: &OrgId, key: Option<&UsageKey>) -> Option<u64> {
        let inner = self.inner();
        inner.attempts.iter().rev().filter(|attempt| attempt.org == *org).find_map(|attempt| {
            match &attempt.reply {
                Reply::Decision(decision) => match decision.as_ref() {
                    OrgDecision::Hold(Ok(taken)) if key.is_none_or(|key| taken.hold.key == *key) => {
                        Some(taken.hold.number)
                    }
                    _ => None,
                },
                _ => None,
            }
        })
    }

    /// The latest time that any clock showed.
    pub(super) fn latest_time(&self) -> Option<Timestamp> {
        self.inner().clocks.iter().flatten().map(|(_, at)| *at).max()
    }

    /// A request of the system is sent; gives its number.
    #[must_use]
    pub(super) fn system_sent(&self, command: &SystemCommand) -> usize {
        let mut inner = self.inner();
        self.sim.trace(&format!("to the system: {command:?}"));
        inner.system.push(SystemAttempt { command: command.clone(), reply: None, not_done: false });
        inner.system.len() - 1
    }

    /// The system answered; an error is that nothing was done.
    pub(super) fn system_replied(&self, number: usize, reply: Result<Result<u32, SystemDenial>, ()>) {
        self.sim.trace(&format!("the system answers {reply:?}"));
        if let Some(attempt) = self.inner().system.get_mut(number) {
            match reply {
                Ok(reply) => attempt.reply = Some(reply),
                Err(()) => attempt.not_done = true,
            }
        }
    }

    /// A store said that an entry is durable.
    pub(super) fn committed(&self, org: &OrgId, number: u64) {
        let stamp = self.sim.stamp();
        self.sim.trace(&format!("{org} entry {number}"));
        let mut inner = self.inner();
        let commits = inner.commits.entry(org.clone()).or_default();
        commits.push(stamp);
        let count = length(commits);
        if count != number {
            inner.wrong.push(format!("{org}: entry {number} was committed as the {count}th"));
        }
    }

    /// A store was opened again and holds these orgs at these versions: what was durable must be there.
    pub(super) fn recovered(&self, found: &BTreeMap<OrgId, u64>) {
        let stamp = self.sim.stamp();
        let mut inner = self.inner();
        let Happened { commits, wrong, .. } = &mut *inner;
        for (org, known) in commits.iter() {
            let version = found.get(org).copied().unwrap_or(0);
            if version < length(known) {
                wrong.push(format!("{org}: {} entries were durable, {version} were found", known.len()));
            }
        }
        for (org, version) in found {
            self.sim.trace(&format!("{org} found at {version}"));
            let known = commits.entry(org.clone()).or_default();
            while length(known) < *version {
                known.push(stamp);
            }
        }
    }

    /// A lease was claimed at a time, by the store's clock, until another: given under a number, or not.
    pub(super) fn claimed(
        &self,
        lease: &str,
        holder: u64,
        (at, until): (Duration, Duration),
        given: Option<u64>,
    ) {
        let stamp = self.sim.stamp();
        self.sim.trace(&format!("{lease} of {holder} from {at:?} to {until:?}: {given:?}"));
        let mut inner = self.inner();
        let Happened { leases, wrong, .. } = &mut *inner;
        let known = leases.get(lease);
        let says = match (known, given) {
            (Some(known), given) => known.refuses(holder, at, given),
            (None, None) => Some("is not given, though nobody has it"),
            (None, Some(_)) => None,
        };
        if let Some(says) = says {
            wrong.push(format!("the lease {lease} {says}: {given:?} to {holder} at {at:?} after {known:?}"));
        }
        if let Some(number) = given {
            let mut given = known.map(|known| known.given.clone()).unwrap_or_default();
            given.insert(holder, stamp);
            leases.insert(lease.to_owned(), Lease { holder, number, until, given });
        }
    }

    /// Whether a lease was given to a holder since.
    pub(super) fn was_given_to(&self, lease: &str, holder: u64, since: u64) -> bool {
        let inner = self.inner();
        let given = inner.leases.get(lease).and_then(|lease| lease.given.get(&holder));
        given.is_some_and(|given| *given >= since)
    }

    /// Whether a lease was given to anybody since.
    pub(super) fn was_given(&self, lease: &str, since: u64) -> bool {
        let inner = self.inner();
        inner.leases.get(lease).is_some_and(|lease| lease.given.values().any(|given| *given >= since))
    }

    /// Whether somebody else has a lease, or had it last.
    pub(super) fn has_another(&self, lease: &str, holder: u64) -> bool {
        self.inner().leases.get(lease).is_some_and(|lease| lease.holder != holder)
    }

    /// An engine says how many months it closed by themselves.
    pub(super) fn closed(&self, months: BTreeMap<String, u64>) {
        let mut inner = self.inner();
        for (month, count) in months {
            *inner.closed.entry(month).or_default() += count;
        }
    }

    /// The clock of an engine is set.
    pub(super) fn clock_set(&self, engine: usize, at: Timestamp) {
        let stamp = self.sim.stamp();
        self.sim.trace(&format!("clock {engine}: {at}"));
        if let Some(clock) = self.inner().clocks.get_mut(engine) {
            clock.push((stamp, at));
        }
    }
}

fn length(list: &[u64]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}
