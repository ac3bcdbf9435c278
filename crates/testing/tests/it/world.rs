//! The domain and the oracle side by side: the same commands to both, every answer compared.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use jiff::Timestamp;
use tollgate_domain::{
    Actor, Allowed, ApplyCatalog, Balance, Catalog, Check, Context, Denial, Denied, Entry, EntryKind,
    HoldRefused, KeySpace, MeterId, Moments, NoticeKind, Org, OrgCommand, OrgDecision, OrgId, OrgState,
    Outcome, PartKey, Period, Quantity, Record, RecordKey, Source, SystemCommand, SystemEntry, SystemRecords,
    UsageKey, Use, Wants, Window, Zone, apply, apply_system, balance, bill, decide, decide_system,
    read_by_system, touched, touched_by_system,
};
use tollgate_testing::generate::{Action, AtHand, Scenario, Step, with_number};
use tollgate_testing::hold;
use tollgate_testing::invariants::{Books, Stored, ledger, notices, whatif};
use tollgate_testing::oracle::{Look, Oracle, Pot, without_reserves, without_versions, without_versions_of};

/// Who asks.
const ACTOR: Actor = Actor::Local;

/// The balance is compared after every so many commands: it costs more than all the rest.
const BALANCE_EVERY: usize = 3;

/// And so are the bills of the month that runs and its neighbors.
const BILL_EVERY: usize = 11;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) commands: usize,
    pub(crate) allowed: usize,
    pub(crate) denied: usize,
    pub(crate) replayed: usize,
    pub(crate) reversed: usize,
    pub(crate) recorded: usize,
    pub(crate) topped_up: usize,
    pub(crate) held: usize,
    pub(crate) captured: usize,
    pub(crate) expired: usize,
    pub(crate) closed: usize,
    pub(crate) adjusted: usize,
    /// Months with more than one plan, or none for a part of them.
    pub(crate) changed_within: usize,
    /// Months with usage that makes no line.
    pub(crate) unbilled: usize,
    /// Usage recorded under a plan that was not in force any more.
    pub(crate) late: usize,
    pub(crate) notices: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.commands += other.commands;
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.replayed += other.replayed;
        self.reversed += other.reversed;
        self.recorded += other.recorded;
        self.topped_up += other.topped_up;
        self.held += other.held;
        self.captured += other.captured;
        self.expired += other.expired;
        self.closed += other.closed;
        self.adjusted += other.adjusted;
        self.changed_within += other.changed_within;
        self.unbilled += other.unbilled;
        self.late += other.late;
        self.notices += other.notices;
    }
}

pub(crate) struct World {
    key_keep_secs: i64,
    at_hand: AtHand,
    states: BTreeMap<OrgId, OrgState>,
    system_records: SystemRecords,
    stored: Stored,
    /// What is remembered of callers' keys: it follows from the entries.
    keys: Stored,
    pub(crate) ledgers: BTreeMap<OrgId, Vec<Entry>>,
    pub(crate) system: Vec<SystemEntry>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) catalogs: Vec<Arc<Catalog>>,
    catalog_since: Timestamp,
    pub(crate) oracle: Oracle,
    pub(crate) tally: Tally,
}

/// Runs steps through both; the first difference or broken invariant is the error.
pub(crate) fn run(scenario: &Scenario, steps: &[Step]) -> Result<Tally, String> {
    let mut world = World::new(scenario)?;
    for (number, step) in steps.iter().enumerate() {
        world
            .step(step)
            .map_err(|error| format!("step {number} at {}: {:?}\n{error}", step.at, step.action))?;
    }
    let records = world.all_records();
    crate::series::check(&world, &records)?;
    let books = Books {
        ledgers: &world.ledgers,
        system: &world.system,
        catalogs: &world.catalogs,
        records: &records,
        key_keep_secs: scenario.key_keep_secs,
        all_hard: scenario.all_hard,
    };
    ledger::check(&books)?;
    whatif::check(&books)?;
    for (org, entries) in &world.ledgers {
        world.tally.notices += notices::check_ledger(org, entries)?;
    }
    Ok(world.tally)
}

impl World {
    pub(crate) fn new(scenario: &Scenario) -> Result<Self, String> {
        let catalog = Arc::new(Catalog::from_toml(&scenario.catalog).map_err(|error| error.to_string())?);
        let mut world = Self {
            key_keep_secs: scenario.key_keep_secs,
            at_hand: scenario.at_hand,
            states: BTreeMap::new(),
            system_records: SystemRecords::default(),
            stored: Stored::default(),
            keys: Stored::default(),
            ledgers: BTreeMap::new(),
            system: Vec::new(),
            catalogs: Vec::new(),
            catalog_since: Timestamp::UNIX_EPOCH,
            catalog,
            oracle: Oracle::new(scenario.key_keep_secs),
            tally: Tally::default(),
        };
        world.apply_catalog(Timestamp::UNIX_EPOCH, &scenario.catalog)?;
        Ok(world)
    }

    /// A world with a catalog in which nothing happened yet; keys are kept for 35 days.
    pub(crate) fn with_catalog(catalog: &str) -> Self {
        let scenario = Scenario {
            key_keep_secs: 35 * 86_400,
            at_hand: AtHand::All,
            all_hard: true,
            catalog: catalog.to_owned(),
            steps: Vec::new(),
        };
        Self::new(&scenario).expect("a catalog")
    }

    /// Whether the catalog that an entry was decided on counts a meter by properties.
    pub(crate) fn declared(&self, entry: u64, org: &OrgId, meter: &MeterId) -> bool {
        let place = usize::try_from(entry - 1).expect("a place");
        let version = self.ledgers.get(org).and_then(|entries| entries.get(place)).map(|entry| entry.catalog);
        let place = version.and_then(|version| usize::try_from(version - 1).ok());
        let catalog = place.and_then(|place| self.catalogs.get(place));
        let meter = catalog.and_then(|catalog| catalog.meter(meter));
        meter.is_some_and(|meter| !meter.properties.is_empty())
    }

    /// All records as they are.
    pub(crate) fn all_records(&self) -> Stored {
        self.stored.clone()
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        self.tally.commands += 1;
        match &step.action {
            Action::Catalog(text) => self.apply_catalog(step.at, text),
            Action::Org(org, command) => {
                let latest = self.number_of(org, None);
                let command = with_number(command, |key| self.number_of(org, Some(key)), latest);
                self.command(step.at, org, &command).map(drop)
            }
        }
    }

    /// The number of the latest hold of an org, with a key or with any.
    fn number_of(&self, org: &OrgId, key: Option<&UsageKey>) -> Option<u64> {
        let is_it = |entry: &&Entry| matches!(&entry.kind, EntryKind::Held(held) if key.is_none_or(|key| held.hold.key == *key));
        self.ledgers.get(org)?.iter().rev().find(is_it).map(|entry| entry.number)
    }

    pub(crate) fn apply_catalog(&mut self, at: Timestamp, text: &str) -> Result<(), String> {
        let command = SystemCommand::ApplyCatalog(ApplyCatalog::new(text.to_owned()));
        for key in read_by_system(&command) {
            let record = self.stored.get(&key).cloned();
            self.system_records.put(key, record);
        }
        let outcome = decide_system(&self.system_records, at, &ACTOR, &command);
        let wanted = u32::try_from(self.catalogs.len() + 1).expect("a version");
        hold!(outcome.decision == Ok(wanted), "catalog {wanted}: {:?}", outcome.decision);
        let entry = outcome.entry.ok_or("a catalog makes an entry")?;
        hold!(
            touched_by_system(&entry).iter().all(|key| self.system_records.holds(key)),
            "what the system touches is not at hand"
        );
        apply_system(&mut self.system_records, &entry);
        self.system.push(entry);
        self.catalog = Arc::new(Catalog::from_toml(text).map_err(|error| error.to_string())?);
        self.catalogs.push(Arc::clone(&self.catalog));
        self.catalog_since = self.system_records.system().catalog_since;
        self.oracle.follow_catalog(at, &self.catalog);
        let changed = self.system_records.changed().map(|(key, record)| (key.clone(), record.clone()));
        self.stored.extend(changed);
        Ok(())
    }

    /// Forgets what is in memory of an org, unless it is kept all along.
    fn begin(&mut self, org: &OrgId) {
        if self.at_hand == AtHand::All && self.states.contains_key(org) {
            return;
        }
        let mut state = OrgState::of(org.clone(), self.stored.get(&RecordKey::Org(org.clone())).cloned());
        if let AtHand::Some(seed) = self.at_hand {
            // The order of what is stored is another in each run, so the lot goes by the keys.
            let (lot, number) = (FixedState::with_seed(seed), self.tally.commands);
            let drawn = |key: &RecordKey| lot.hash_one((number, key)) % 2 == 0;
            for (key, record) in self.stored.iter().chain(&self.keys).filter(|(key, _)| drawn(key)) {
                if let Some((_, part)) = PartKey::in_org(key).filter(|(of, _)| *of == org) {
                    state.put(part, Some(record.clone()));
                }
            }
        }
        self.states.insert(org.clone(), state);
    }

    /// Puts a question to an org, after loading what it lacks.
    fn ask<T>(&mut self, org: &OrgId, question: impl Fn(&Self, &OrgState) -> T) -> Result<T, String> {
        if !self.states.contains_key(org) {
            self.begin(org);
        }
        loop {
            let state = &self.states[org];
            match state.ask(|state| question(self, state)) {
                Ok(answer) => return Ok(answer),
                Err(wants) => self.load(org, wants)?,
            }
        }
    }

    fn load(&mut self, org: &OrgId, wants: Wants) -> Result<(), String> {
        for key in wants.0 {
            let record = match &key {
                PartKey::Entry(number) => {
                    let place = usize::try_from(*number - 1).expect("a place");
                    let entry = self.ledgers.get(org).and_then(|entries| entries.get(place)).cloned();
                    entry.map(Arc::new).map(Record::Entry)
                }
                PartKey::Key(..) => self.keys.get(&key.clone().of(org)).cloned(),
                key => self.stored.get(&key.clone().of(org)).cloned(),
            };
            let state = self.states.get_mut(org).ok_or("the org is in memory")?;
            hold!(!state.holds(&key), "what is loaded is wanted again: {key:?}");
            state.put(key, record);
        }
        Ok(())
    }

    /// Gives a command to both and compares their answers; the answer they agree on. What has expired ends before.
    pub(crate) fn command(
        &mut self,
        at: Timestamp,
        org: &OrgId,
        command: &OrgCommand,
    ) -> Result<OrgDecision, String> {
        loop {
            self.begin(org);
            let is_due = self.states.get(org).is_some_and(|state| state.has_due_hold(at));
            let wanted = self.oracle.has_due_hold(at, org);
            hold!(is_due == wanted, "a hold that is due: {is_due}, the oracle says {wanted}");
            if !is_due {
                return self.decide_both(at, org, command);
            }
            self.decide_both(at, org, &OrgCommand::Expire)?;
        }
    }

    fn decide_both(
        &mut self,
        at: Timestamp,
        org: &OrgId,
        command: &OrgCommand,
    ) -> Result<OrgDecision, String> {
        let outcome = self.decide(at, org, command)?;
        let mut answer = outcome.decision;
        let wanted = self.oracle.decide(&Arc::clone(&self.catalog), at, org, command);
        if let OrgDecision::Check(checked) = &mut answer {
            check_steps(checked)?;
            checked.steps.clear();
        }
        without_versions(&mut answer);
        without_reserves(&mut answer);
        hold!(answer == wanted, "the oracle says {wanted:#?}\nthe domain   {answer:#?}");
        self.check_entry(at, org, command, &answer, outcome.entry)?;
        self.count(&answer);
        self.look_closer(at, org, command, &answer)?;
        Ok(answer)
    }

    fn count(&mut self, answer: &OrgDecision) {
        match answer {
            OrgDecision::Use(Ok(allowed)) if allowed.replayed => self.tally.replayed += 1,
            OrgDecision::Use(Ok(_)) => self.tally.allowed += 1,
            OrgDecision::Use(Err(_)) => self.tally.denied += 1,
            OrgDecision::Record(Ok(recorded)) if recorded.duplicate => self.tally.replayed += 1,
            OrgDecision::Record(Ok(_)) => self.tally.recorded += 1,
            OrgDecision::Reverse(Ok(_)) => self.tally.reversed += 1,
            OrgDecision::TopUp(Ok(_)) => self.tally.topped_up += 1,
            OrgDecision::Hold(Ok(_)) => self.tally.held += 1,
            OrgDecision::Capture(Ok(_)) => self.tally.captured += 1,
            OrgDecision::Expire(true) => self.tally.expired += 1,
            OrgDecision::Close(Ok(closed)) if closed.entry.is_some() => {
                self.tally.closed += 1;
                self.tally.adjusted += closed.bill.adjustments.len();
                let rated = &closed.bill.rated;
                self.tally.changed_within += usize::from(rated.segments.len() > 1);
                self.tally.unbilled += usize::from(!rated.included.is_empty() || !rated.unpriced.is_empty());
            }
            _ => {}
        }
    }

    fn decide(&mut self, at: Timestamp, org: &OrgId, command: &OrgCommand) -> Result<Outcome, String> {
        self.begin(org);
        let catalog = Arc::clone(&self.catalog);
        let moments = Moments::new(at);
        let outcome = loop {
            match decide(&self.states[org], &self.context(&catalog, &moments), command) {
                Ok(outcome) => break outcome,
                Err(wants) => self.load(org, wants)?,
            }
        };
        let state = self.states.get_mut(org).ok_or("the org is in memory")?;
        if let Some(entry) = &outcome.entry {
            let absent = touched(state, entry);
            hold!(absent.is_ok(), "applying needs what deciding did not load: {absent:?}");
            apply(state, entry);
            self.stored.extend(state.take_changed());
            self.remember(org, entry);
        }
        Ok(outcome)
    }

    /// Remembers the key that an entry was made for, and that the usage of one was taken back.
    fn remember(&mut self, org: &OrgId, entry: &Entry) {
        if let Some((space, key, record)) = entry.made_key() {
            let key = PartKey::Key(space, key.clone()).of(org);
            self.keys.insert(key, Record::Key(Arc::new(record)));
        }
        let took_back = entry.took_back_key().map(|key| PartKey::Key(KeySpace::Use, key.clone()).of(org));
        if let Some(Record::Key(known)) = took_back.and_then(|key| self.keys.get_mut(&key)) {
            Arc::make_mut(known).reversed_by = Some(entry.number);
        }
    }

    fn context<'a>(&self, catalog: &'a Catalog, moments: &'a Moments) -> Context<'a> {
        Context {
            catalog,
            catalog_version: u32::try_from(self.catalogs.len()).expect("a version"),
            catalog_since: self.catalog_since,
            moments,
            key_keep_secs: self.key_keep_secs,
            actor: &ACTOR,
        }
    }

    /// An entry is made exactly when something changed, and carries the next number, the time, the catalog and who
    /// asked.
    fn check_entry(
        &mut self,
        at: Timestamp,
        org: &OrgId,
        command: &OrgCommand,
        answer: &OrgDecision,
        entry: Option<Entry>,
    ) -> Result<(), String> {
        let made = entry.as_ref().map(|entry| entry.number);
        let promised = match answer {
            OrgDecision::Use(Ok(allowed)) => (!allowed.replayed).then_some(allowed.entry),
            OrgDecision::Use(Err(_)) | OrgDecision::Check(_) => None,
            OrgDecision::Hold(result) => {
                result.as_ref().ok().filter(|taken| !taken.replayed).map(|taken| taken.hold.number)
            }
            OrgDecision::Capture(result) => {
                result.as_ref().ok().filter(|captured| !captured.replayed).map(|captured| captured.entry)
            }
            OrgDecision::Release(result) => {
                let ended = result.as_ref().ok().filter(|ended| !ended.replayed);
                ended.and_then(|ended| ended.hold.end).map(|end| end.entry)
            }
            OrgDecision::Expire(expired) => made.filter(|_| *expired),
            OrgDecision::Record(result) => {
                result.as_ref().ok().filter(|recorded| !recorded.duplicate).map(|recorded| recorded.entry)
            }
            OrgDecision::Reverse(result) => {
                result.as_ref().ok().filter(|reversed| !reversed.replayed).map(|reversed| reversed.entry)
            }
            OrgDecision::TopUp(result) => {
                result.as_ref().ok().filter(|topped_up| !topped_up.replayed).map(|topped_up| topped_up.entry)
            }
            OrgDecision::Void(result) => {
                result.as_ref().ok().filter(|voided| !voided.replayed).and_then(|voided| voided.entry)
            }
            OrgDecision::Change(result) => result.as_ref().ok().and_then(|changed| changed.entry),
            OrgDecision::Close(result) => result.as_ref().ok().and_then(|closed| closed.entry),
        };
        let Some(entry) = entry else {
            hold!(promised.is_none(), "entry {promised:?} was promised and not made");
            return Ok(());
        };
        let refused = matches!(entry.kind, EntryKind::Refused { .. });
        if refused {
            let refused =
                matches!(answer, OrgDecision::Use(Err(_)) | OrgDecision::Hold(Err(HoldRefused::Gate(_))));
            hold!(refused, "only a use or a hold can be refused: {command:?}");
            let matters = !entry.notices.is_empty() || !entry.settled.is_empty();
            hold!(matters, "a refusal that nobody is told of and that settles nothing is not written down");
            let meter = entry.kind.meter().expect("a refusal is on a meter");
            self.oracle.note_refusal(&self.catalog, at, org, meter);
        } else {
            hold!(promised == Some(entry.number), "entry {} for promised {promised:?}", entry.number);
        }
        let ledger = self.ledgers.entry(org.clone()).or_default();
        let next = u64::try_from(ledger.len()).expect("a number") + 1;
        let version = u32::try_from(self.catalogs.len()).expect("a version");
        hold!(
            entry.number == next && entry.at == at && entry.catalog == version && entry.actor == ACTOR,
            "entry {next} at {at} under {version}: {entry:?}"
        );
        let kinds = entry.notices.iter().map(|notice| notice.kind.name());
        hold!(
            EntryKind::NAMES.contains(&entry.kind.name())
                && kinds.clone().all(|kind| NoticeKind::NAMES.contains(&kind)),
            "all names of kinds are listed: {entry:?}"
        );
        ledger.push(entry);
        Ok(())
    }

    /// Looks at the balance and the notices after a command.
    fn look_closer(
        &mut self,
        at: Timestamp,
        org: &OrgId,
        command: &OrgCommand,
        answer: &OrgDecision,
    ) -> Result<(), String> {
        let moments = Moments::new(at);
        let Some(known) = self.states.get(org).and_then(OrgState::org).cloned() else { return Ok(()) };
        if self.tally.commands.is_multiple_of(BALANCE_EVERY) {
            let catalog = Arc::clone(&self.catalog);
            let found = self.ask(org, |world, state| balance(state, &world.context(&catalog, &moments)))?;
            let found = found.ok_or("a known org has a balance")?;
            self.check_balance(&self.context(&catalog, &moments), org, &found)?;
        }
        if self.tally.commands.is_multiple_of(BILL_EVERY) {
            self.check_estimate(at, org)?;
        }
        if let (OrgCommand::Record(usage), OrgDecision::Record(Ok(recorded))) = (command, answer)
            && !recorded.duplicate
        {
            self.check_record(at, &known, usage)?;
        }
        if let (OrgCommand::Use(usage), OrgDecision::Use(result)) = (command, answer) {
            self.check_use_notices(at, &known, usage, result)?;
            if result.as_ref().is_ok_and(|allowed| !allowed.replayed) {
                self.check_end_of_trial(at, org, usage)?;
            }
        }
        Ok(())
    }

    /// What the month that runs, and the one before, would be billed.
    fn check_estimate(&mut self, at: Timestamp, org: &OrgId) -> Result<(), String> {
        let (catalog, moments) = (Arc::clone(&self.catalog), Moments::new(at));
        let zone = self.states.get(org).and_then(OrgState::org).map_or(Zone::UTC, |org| org.zone.clone());
        let month = zone.period_at(Window::Month, at).number;
        for month in [month - 1, month, month + 1] {
            let found =
                self.ask(org, |world, state| bill(state, &world.context(&catalog, &moments), month))?;
            let found = found.map(|bill| without_versions_of(&bill));
            let wanted = self.oracle.bill(&catalog, at, org, month).map(|bill| without_versions_of(&bill));
            hold!(found == wanted, "the estimate of month {month}: {found:#?}\nthe oracle: {wanted:#?}");
        }
        Ok(())
    }

    /// The balance says of each grant what the oracle burns of it, and the sums fit.
    fn check_balance(&self, context: &Context<'_>, org: &OrgId, balance: &Balance) -> Result<(), String> {
        let mut history = self.oracle.history(org).ok_or("the oracle knows the org")?;
        for (meter, found) in &balance.meters {
            history.pay(context.at(), context.catalog, meter);
            let counted = |window| {
                let label = self.oracle.calendar().label(&history.zone, window, context.at());
                history.counted(meter, None, label)
            };
            let (month, lifetime) = (counted(Window::Month), counted(Window::Lifetime));
            hold!(
                found.month == month && found.lifetime == lifetime,
                "balance of {meter}: {found:#?}\nthe oracle: {month} this month, {lifetime} ever"
            );
            let Some(wanted) = history.standing(context.catalog, context.at(), meter, None) else { continue };
            hold!(
                found.used == wanted.used
                    && found.remaining == wanted.remaining
                    && found.held == wanted.held
                    && found.allowance + found.topped_up == wanted.granted,
                "balance of {meter}: {found:#?}\nthe oracle: {wanted:?}"
            );
            hold!(
                found
                    .remaining
                    .is_none_or(|left| found.used + found.held + left == found.allowance + found.topped_up),
                "the balance of {meter} does not add up: {found:#?}"
            );
            let lines: Vec<_> = found
                .credits
                .iter()
                .map(|line| (line.source, line.granted, line.burned, line.expires_at))
                .collect();
            let pots: Vec<_> = history
                .pots(context.catalog, context.at(), meter, Look::Gate)
                .into_iter()
                .map(|pot| (source(pot.pot), pot.granted, pot.burned, pot.until))
                .collect();
            hold!(lines == pots, "credit of {meter}: {lines:?}\nthe oracle: {pots:?}");
        }
        Ok(())
    }

    /// What is due to be told has been told.
    fn check_use_notices(
        &self,
        at: Timestamp,
        org: &Org,
        usage: &Use,
        result: &Result<Box<Allowed>, Box<Denied>>,
    ) -> Result<(), String> {
        let plan = org.plans.in_force(at).and_then(|change| self.catalog.plan(change.plan.as_ref()?));
        let on_trial = plan.is_some_and(|plan| plan.trial_days.is_some());
        let month = self.oracle.calendar().label(&org.zone, Window::Month, at).period();
        let period = (!on_trial).then_some(month);
        let entries = self.ledgers.get(&org.id).map_or(&[][..], Vec::as_slice);
        match result {
            Err(denied) => {
                let told = notices::first_denial_is_told(entries, usage, period, &denied.denial);
                hold!(told, "nobody was told of the first denial of {period:?}: {denied:?}");
                Ok(())
            }
            Ok(allowed) if allowed.replayed => Ok(()),
            Ok(allowed) => {
                let thresholds = self.oracle.thresholds(&self.catalog, at, &org.id, Look::Gate);
                notices::credit_is_told(entries, thresholds, usage, period, allowed)?;
                // What is held leaves nothing of a limit, and is not used of it.
                if org.holds.is_some() { Ok(()) } else { notices::limits_are_told(entries, usage, allowed) }
            }
        }
    }

    /// A record says what it stands for, and the notices it causes are those of its own month.
    fn check_record(&mut self, at: Timestamp, org: &Org, usage: &Use) -> Result<(), String> {
        let entries = self.ledgers.get(&org.id).map_or(&[][..], Vec::as_slice);
        let Some(EntryKind::Used(used)) = entries.last().map(|entry| &entry.kind) else {
            return Err(format!("{} has no entry of {usage:?}", org.id));
        };
        let own = usage.occurred_at.unwrap_or(at);
        let history = self.oracle.history(&org.id).ok_or("the oracle knows the org")?;
        let wanted = history.standing_of_record(&self.catalog, own, &usage.meter, usage.user.as_ref());
        let now = org.plans.in_force(at).map(|change| change.number);
        self.tally.late += usize::from(org.plans.at(own).map(|change| change.number) < now);
        hold!(used.recorded, "a record does not say that it is one: {used:?}");
        hold!(wanted == used.standing, "the oracle says {wanted:?}: {used:?}");
        let plan = org.plans.plan_at(own).and_then(|plan| self.catalog.plan(plan));
        let on_trial = plan.is_some_and(|plan| plan.trial_days.is_some());
        let month = self.oracle.calendar().label(&org.zone, Window::Month, own).period();
        hold!(used.periods.contains(&month), "not counted in {month:?}: {used:?}");
        let (standing, policies) = (used.standing, Default::default());
        let allowed = Allowed { entry: 0, replayed: false, standing, policies };
        let thresholds = self.oracle.thresholds(&self.catalog, own, &org.id, Look::Record);
        notices::credit_is_told(entries, thresholds, usage, (!on_trial).then_some(month), &allowed)
    }

    /// The end of a trial is told with a usage only when nothing more of it would be allowed.
    fn check_end_of_trial(&mut self, at: Timestamp, org: &OrgId, usage: &Use) -> Result<(), String> {
        let last = self.ledgers.get(org).and_then(|entries| entries.last());
        let is_end = |entry: &Entry| {
            entry.notices.iter().any(|notice| matches!(notice.kind, NoticeKind::TrialEnded { .. }))
        };
        if !last.is_some_and(is_end) {
            return Ok(());
        }
        let quantity = Quantity::parse("0.000000001").expect("a quantity");
        let check = Check {
            user: usage.user.clone(),
            path: None,
            meter: usage.meter.clone(),
            quantity,
            properties: usage.properties.clone(),
        };
        let catalog = Arc::clone(&self.catalog);
        let next = self.oracle.decide(&catalog, at, org, &OrgCommand::Check(check));
        let over = matches!(&next, OrgDecision::Check(checked)
            if matches!(&checked.result, Err(denied) if denied.denial == Denial::TrialEnded));
        hold!(over, "the end of a trial was told while it runs: {next:?}");
        Ok(())
    }
}

/// The name that the domain gives a source of credit.
fn source(pot: Pot) -> Source {
    match pot {
        Pot::Month(year, month, plan) => {
            let month = i32::from(year) * 12 + i32::from(month) - 1;
            Source::Allowance(Period::segment(month, plan).number)
        }
        Pot::Trial => Source::Trial,
        Pot::TopUp(entry) => Source::Grant(entry),
    }
}

/// The steps of a check tell its result: all passed, or the first that failed is the reason.
fn check_steps(checked: &tollgate_domain::Checked) -> Result<(), String> {
    let failed = checked.steps.iter().find(|step| !step.passed).map(|step| step.check);
    let wanted = match checked.result.as_ref().map_err(|denied| &denied.denial) {
        Ok(_) => None,
        Err(Denial::UnknownMeter) => Some("meter"),
        Err(Denial::UnknownProperty(_)) => Some("properties"),
        Err(Denial::UnknownOrg) => Some("org"),
        Err(Denial::NoPlan) => Some("plan"),
        Err(Denial::TrialEnded) => Some("trial"),
        Err(Denial::UserRequired) => Some("user"),
        Err(Denial::OutOfCredit(_)) => Some("credit"),
        Err(Denial::OrgLimitReached(_) | Denial::PathLimitReached(_) | Denial::UserLimitReached(_)) => {
            Some("limit")
        }
        Err(Denial::KeyReused | Denial::KeyReversed) => Some("no key is checked"),
    };
    hold!(failed == wanted, "the steps say {failed:?}, the result {wanted:?}: {checked:#?}");
    Ok(())
}
