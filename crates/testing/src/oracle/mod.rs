//! The oracle: the rules once more, without any state but the list of what was accepted.

mod bills;
mod calendar;
mod config;
mod debt;
mod gate;
mod history;
mod holds;
mod moving;
mod plans;
mod totals;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tollgate_domain::{
    Amount, Bill, BillError, Capture, Catalog, HoldEnd, MeterId, OrgCommand, OrgDecision, OrgId, PlanId,
    PlanTime, ReversalDenial, Reversed, Standing, UsageKey, Use, UserId,
};

pub use bills::{without_versions, without_versions_of};
pub use calendar::{Calendar, Label};
pub use history::{Counted, Granted, History, Pot, PotInForce};
pub use holds::{Held, without_reserves};
pub use plans::{Look, Setting};
pub use totals::total;

/// Answers commands from the list of the commands accepted before.
#[derive(Debug)]
pub struct Oracle {
    orgs: BTreeMap<OrgId, Vec<Fact>>,
    calendar: Calendar,
    key_keep_secs: i64,
    catalogs: Vec<(Timestamp, Arc<Catalog>)>,
}

/// A command that was accepted.
#[derive(Clone, Debug)]
pub struct Fact {
    /// Its number among those of its org: 1, 2, 3 …
    pub entry: u64,
    /// When.
    pub at: Timestamp,
    /// The catalog that was in force.
    pub catalog: Arc<Catalog>,
    /// The command; `None` is a refusal that was written down.
    pub command: Option<OrgCommand>,
    /// The meter on which it was refused.
    pub refused_on: Option<MeterId>,
    /// The hold that was ended, where no command names it: its time was over.
    pub expired: Option<u64>,
}

impl Fact {
    /// The usage it counted.
    fn usage(&self) -> Option<&Use> {
        match &self.command {
            Some(OrgCommand::Use(usage) | OrgCommand::Record(usage)) => Some(usage),
            _ => None,
        }
    }

    /// The hold that it made or ended.
    fn of_hold(&self) -> Option<u64> {
        match self.command.as_ref()? {
            OrgCommand::Hold(_) => Some(self.entry),
            OrgCommand::Capture(capture) => Some(capture.hold).filter(|_| capture.part.is_none()),
            OrgCommand::Release(number) => Some(*number),
            OrgCommand::Expire => self.expired,
            _ => None,
        }
    }

    /// When the usage it counted is counted: a record by its own time.
    fn counted_at(&self) -> Timestamp {
        match &self.command {
            Some(OrgCommand::Record(usage)) => usage.occurred_at.unwrap_or(self.at),
            _ => self.at,
        }
    }
}

impl Oracle {
    /// Knows nobody yet; forgets keys after some seconds.
    #[must_use]
    pub fn new(key_keep_secs: i64) -> Self {
        Self { orgs: BTreeMap::new(), calendar: Calendar::default(), key_keep_secs, catalogs: Vec::new() }
    }

    /// Learns of the next catalog: it is in force from a moment on, and never before the one before it.
    pub fn follow_catalog(&mut self, at: Timestamp, catalog: &Arc<Catalog>) {
        let before = self.catalogs.last().map_or(at, |(before, _)| *before);
        self.catalogs.push((at.max(before), Arc::clone(catalog)));
    }

    /// Answers a command and, if it is accepted, adds it to the list. The steps of a check are left empty, and the
    /// versions of the catalog in a bill are 0.
    pub fn decide(
        &mut self,
        catalog: &Arc<Catalog>,
        at: Timestamp,
        org: &OrgId,
        command: &OrgCommand,
    ) -> OrgDecision {
        let (decision, accepted) = self.answer(catalog, at, org, command);
        if accepted {
            self.accept(catalog, at, org, Some(command.clone()), None);
        }
        decision
    }

    /// What a command would be answered, and whether it would be added to the list.
    #[must_use]
    pub fn answer(
        &self,
        catalog: &Arc<Catalog>,
        at: Timestamp,
        org: &OrgId,
        command: &OrgCommand,
    ) -> (OrgDecision, bool) {
        let now = self.now(catalog, at, org);
        match command {
            OrgCommand::Use(usage) => now.decide_use(usage),
            OrgCommand::Record(usage) => now.decide_record(usage),
            OrgCommand::Check(check) => (now.decide_check(check), false),
            OrgCommand::Reverse(reverse) => {
                let result = now.take_back(&reverse.key);
                let accepted = matches!(&result, Ok(reversed) if !reversed.replayed);
                (OrgDecision::Reverse(result), accepted)
            }
            OrgCommand::Hold(take) => now.decide_hold(take),
            OrgCommand::Capture(capture) => now.decide_capture(capture),
            OrgCommand::Release(number) => now.decide_release(*number),
            OrgCommand::Expire => {
                let is_due = self.has_due_hold(at, org);
                (OrgDecision::Expire(is_due), is_due)
            }
            // Changes nothing that anybody decides on; its own test is `notices.rs` of the domain.
            OrgCommand::TellBudget(_) => (OrgDecision::Expire(false), false),
            OrgCommand::Put(put) => now.put(put),
            OrgCommand::Welcome(welcome) => now.welcome(welcome),
            OrgCommand::SetPlan(set) => now.set_plan(set),
            OrgCommand::CallOffPlan => now.call_off(),
            OrgCommand::SetLimit(set) => now.set_limit(set),
            OrgCommand::SetThresholds(set) => now.set_thresholds(set.as_ref()),
            OrgCommand::TopUp(top_up) => now.top_up(top_up),
            OrgCommand::Void(void) => now.void(void),
            OrgCommand::CloseMonth(close) => now.close(close.month),
            OrgCommand::Settle(settle) => now.settle(settle.shipment),
        }
    }

    /// The bill of a month, closed or an estimate; the versions of the catalog in it are 0.
    ///
    /// # Errors
    /// Why there is none.
    pub fn bill(
        &self,
        catalog: &Arc<Catalog>,
        at: Timestamp,
        org: &OrgId,
        month: i32,
    ) -> Result<Arc<Bill>, BillError> {
        self.now(catalog, at, org).bill(month)
    }

    fn now<'a>(&'a self, catalog: &'a Arc<Catalog>, at: Timestamp, org: &OrgId) -> Now<'a> {
        let facts = self.facts(org);
        Now {
            catalog,
            at,
            entry: number_after(facts),
            key_keep_secs: self.key_keep_secs,
            calendar: &self.calendar,
            catalogs: &self.catalogs,
            facts,
        }
    }

    /// Adds a refusal that was written down: it takes a number, and what is owed is paid as far as credit has come.
    pub fn note_refusal(&mut self, catalog: &Arc<Catalog>, at: Timestamp, org: &OrgId, meter: &MeterId) {
        self.accept(catalog, at, org, None, Some(meter.clone()));
    }

    /// Everything that is known of an org, worked out from its list.
    #[must_use]
    pub fn history(&self, org: &OrgId) -> Option<History<'_>> {
        let facts = self.orgs.get(org)?;
        Some(History::of(facts, &self.calendar))
    }

    /// Whether a hold of an org has expired at a moment and was not ended.
    #[must_use]
    pub fn has_due_hold(&self, at: Timestamp, org: &OrgId) -> bool {
        let holds = |fact: &Fact| matches!(fact.command, Some(OrgCommand::Hold(_)));
        let facts = self.facts(org);
        facts.iter().any(holds) && History::of(facts, &self.calendar).due(at).is_some()
    }

    /// How many holds of an org have expired at a moment and were not ended.
    #[must_use]
    pub fn due_holds(&self, at: Timestamp, org: &OrgId) -> usize {
        self.history(org).map_or(0, |history| history.all_due(at))
    }

    /// How a hold of an org ended, and what was left of it then.
    #[must_use]
    pub fn ended(&self, org: &OrgId, number: u64) -> Option<(HoldEnd, Amount)> {
        self.history(org)?.held(number)?.ended()
    }

    /// An org's balance on a meter at a moment, what has expired by then ended; `None` without a plan.
    #[must_use]
    pub fn standing(
        &self,
        catalog: &Catalog,
        at: Timestamp,
        org: &OrgId,
        meter: &MeterId,
        user: Option<&UserId>,
    ) -> Option<Standing> {
        let mut history = self.history(org)?;
        while history.due(at).is_some() {
            history.follow(0, at, catalog, &OrgCommand::Expire);
        }
        history.pay(at, catalog, meter);
        history.standing(catalog, at, meter, user)
    }

    /// The shares of credit that cause a notice of usage counted at a moment.
    #[must_use]
    pub fn thresholds<'a>(
        &'a self,
        catalog: &'a Catalog,
        at: Timestamp,
        org: &OrgId,
        look: Look,
    ) -> &'a [u8] {
        let history = self.history(org);
        let own = history.as_ref().and_then(|history| history.thresholds);
        let plan = history.as_ref().and_then(|history| history.plan_in(catalog, at, look));
        let planned = plan.and_then(|plan| plan.notices.as_ref()).map(|notices| &notices.thresholds);
        own.or(planned).unwrap_or(&catalog.notices.thresholds)
    }

    /// When a change of plan asked for at a moment takes effect.
    #[must_use]
    pub fn takes_effect(&self, at: Timestamp, org: &OrgId, from: PlanTime) -> Option<Timestamp> {
        History::of(self.facts(org), &self.calendar).takes_effect(at, from)
    }

    /// The plan in force at a moment.
    #[must_use]
    pub fn plan_at(&self, at: Timestamp, org: &OrgId) -> Option<&PlanId> {
        History::of(self.facts(org), &self.calendar).plan_at(at, Look::Gate)
    }

    /// What was accepted of an org, in order.
    #[must_use]
    pub fn facts(&self, org: &OrgId) -> &[Fact] {
        self.orgs.get(org).map_or(&[][..], Vec::as_slice)
    }

    /// What time it is for an org while a clock shows a time: that of the latest it accepted, where the clock is up to five
    /// seconds behind it.
    #[must_use]
    pub fn time_of(&self, org: &OrgId, clock: Timestamp) -> Timestamp {
        let latest = self.facts(org).last().map_or(clock, |fact| fact.at);
        let behind = latest.as_nanosecond() - clock.as_nanosecond();
        if (0..=5_000_000_000).contains(&behind) { latest } else { clock }
    }

    /// The calendar it goes by.
    #[must_use]
    pub const fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    fn accept(
        &mut self,
        catalog: &Arc<Catalog>,
        at: Timestamp,
        org: &OrgId,
        command: Option<OrgCommand>,
        refused_on: Option<MeterId>,
    ) {
        let facts = self.orgs.entry(org.clone()).or_default();
        let expires = matches!(command, Some(OrgCommand::Expire));
        let expired = expires.then(|| History::of(facts, &self.calendar).due(at)).flatten();
        facts.push(Fact {
            entry: number_after(facts),
            at,
            catalog: Arc::clone(catalog),
            command,
            refused_on,
            expired,
        });
    }
}

fn number_after(facts: &[Fact]) -> u64 {
    facts.last().map_or(1, |fact| fact.entry + 1)
}

/// A command's moment: what it is answered from.
#[derive(Clone, Copy)]
struct Now<'a> {
    catalog: &'a Arc<Catalog>,
    at: Timestamp,
    /// The number it gets if it is accepted.
    entry: u64,
    key_keep_secs: i64,
    calendar: &'a Calendar,
    catalogs: &'a [(Timestamp, Arc<Catalog>)],
    facts: &'a [Fact],
}

impl<'a> Now<'a> {
    fn history(&self) -> Option<History<'a>> {
        (!self.facts.is_empty()).then(|| History::of(self.facts, self.calendar))
    }

    /// The history that ends with an entry.
    fn history_until(&self, entry: u64) -> History<'a> {
        let known = self.facts.iter().take_while(|fact| fact.entry <= entry).count();
        let (facts, _) = self.facts.split_at(known);
        History::of(facts, self.calendar)
    }

    /// Whether a key seen at a time is still known.
    fn remembers(&self, seen_at: Timestamp) -> bool {
        self.at.as_second() - seen_at.as_second() < self.key_keep_secs
    }

    fn take_back(&self, key: &UsageKey) -> Result<Reversed, ReversalDenial> {
        if self.facts.is_empty() {
            return Err(ReversalDenial::UnknownOrg);
        }
        let known = self.last_made(key).filter(|known| self.counts(known));
        let Some(known) = known else { return Err(ReversalDenial::UnknownKey) };
        let reversed_by = self.reversal(known, key);
        Ok(Reversed {
            entry: reversed_by.unwrap_or(self.entry),
            reversed_entry: known.entry,
            replayed: reversed_by.is_some(),
        })
    }

    /// The last entry that was made for a key: a usage, a hold, or what captured or ended one.
    fn last_made(&self, key: &UsageKey) -> Option<&'a Fact> {
        self.facts.iter().rev().find(|fact| self.made_key(fact) == Some(key))
    }

    /// The key that an entry was made for.
    fn made_key(&self, fact: &'a Fact) -> Option<&'a UsageKey> {
        match fact.command.as_ref()? {
            OrgCommand::Use(usage) | OrgCommand::Record(usage) => Some(&usage.key),
            OrgCommand::Capture(Capture { part: Some(part), .. }) => Some(part),
            _ => {
                let number = fact.of_hold()?;
                let made = self.facts.iter().find(|made| made.entry == number)?;
                let Some(OrgCommand::Hold(take)) = &made.command else { return None };
                Some(&take.usage.key)
            }
        }
    }

    /// Whether an entry counted something.
    fn counts(&self, fact: &Fact) -> bool {
        fact.usage().is_some() || self.history_until(fact.entry).captured_by(fact.entry).is_some()
    }

    /// The entry that took back a usage with a key.
    fn reversal(&self, counted: &Fact, key: &UsageKey) -> Option<u64> {
        let takes_back =
            |fact: &&Fact| matches!(&fact.command, Some(OrgCommand::Reverse(reverse)) if reverse.key == *key);
        self.facts.iter().filter(|fact| fact.entry > counted.entry).find(takes_back).map(|fact| fact.entry)
    }
}

/// The sum of some amounts.
fn sum(amounts: impl Iterator<Item = Amount>) -> Amount {
    amounts.fold(Amount::ZERO, |sum, amount| sum + amount)
}
