//! The history of an org, gone through from the first accepted command to the last, every time anew.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tollgate_domain::catalog::{Aggregation, Allowance, Enforcement};
use tollgate_domain::{
    Amount, Catalog, LimitScope, MeterId, OrgCommand, Period, PlanTime, PutOrg, ScopePath, SetPlan, Standing,
    TopUp, TopUpExpiry, TopUpStart, UsageKey, Use, UserId, Welcome, Window, Zone,
};

use super::debt::Debt;
use super::holds::Held;
use super::plans::Whose;
use super::totals::{aggregation, burns, quantity};
use super::{Calendar, Fact, Label, Look, Setting, sum, total};

/// What is known of an org after some of its commands.
#[derive(Debug)]
pub struct History<'a> {
    /// The zone of its calendar.
    pub zone: Zone,
    /// Its name.
    pub name: Option<&'a str>,
    /// What its caller keeps with it for itself.
    pub metadata: Option<&'a BTreeMap<String, String>>,
    /// What it was told of its plans, in that order.
    pub plans: Vec<Setting<'a>>,
    /// Start and end of its trial.
    pub trial: Option<(Timestamp, Timestamp)>,
    /// The limits it set.
    pub limits: BTreeMap<(&'a MeterId, LimitScope, Window), Amount>,
    /// The shares of credit that cause a notice, where it says which.
    pub thresholds: Option<&'a Vec<u8>>,
    /// What it used, with what was taken back.
    pub uses: Vec<Counted<'a>>,
    /// What it was granted beyond its plan.
    pub grants: Vec<Granted<'a>>,
    /// What it held, and holds.
    pub(super) holds: Vec<Held<'a>>,
    /// What all usage that was not taken back burned of each pot.
    pub(super) burned: BTreeMap<(&'a MeterId, Pot), Amount>,
    pub(super) debts: BTreeMap<&'a MeterId, Debt>,
    pub(super) calendar: &'a Calendar,
}

/// A usage that was counted.
#[derive(Debug)]
pub struct Counted<'a> {
    /// The number of its entry.
    pub entry: u64,
    /// When it was counted; of a record the time it names.
    pub at: Timestamp,
    /// The usage; of what was captured that which was held.
    pub usage: &'a Use,
    /// The key that it was counted with.
    pub key: &'a UsageKey,
    /// Whose it is.
    pub user: Option<&'a UserId>,
    /// The hold that it was captured of.
    pub of_hold: Option<u64>,
    /// How much it counts.
    pub quantity: Amount,
    /// How its meter counted then.
    pub aggregation: Aggregation,
    /// The windows it was counted in.
    pub labels: Vec<Label>,
    /// Where along its path it was counted, besides the org and the user, and in which windows.
    pub along: Vec<(ScopePath, Label)>,
    /// By which part of time it was counted in windows that go by usage: for the org and the user, or for a path.
    pub parts: Vec<(Window, Option<ScopePath>, i64)>,
    /// Which of the org's plans it was counted under; zero: before the first.
    pub under: u32,
    /// Which credit it burned.
    pub burns: Vec<(Pot, Amount)>,
    /// How it moved the debt.
    pub debt: Amount,
    /// What nothing covered and is billed.
    pub overage: Amount,
    /// The entry that took it back.
    pub reversed_by: Option<u64>,
}

/// Credit beyond the plan's.
#[derive(Debug)]
pub struct Granted<'a> {
    /// The number of its entry.
    pub entry: u64,
    /// When it was granted.
    pub at: Timestamp,
    /// As it was asked for.
    pub top_up: &'a TopUp,
    /// From when it can be burned.
    pub from: Timestamp,
    /// Until when.
    pub until: Option<Timestamp>,
    /// How much of it was taken back.
    pub voided: Amount,
    /// Whether what comes back to it is taken back, too.
    pub closed: bool,
    /// Whether its key was forgotten and is that of a correction by now.
    pub renamed: bool,
}

/// One source of credit of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pot {
    /// The allowance of a year and month, under the plan with a number.
    Month(i16, i8, u32),
    /// The trial.
    Trial,
    /// The top-up of an entry.
    TopUp(u64),
}

/// A source of credit as it is at a moment.
#[derive(Clone, Copy, Debug)]
pub struct PotInForce {
    /// Which.
    pub pot: Pot,
    /// How much was granted.
    pub granted: Amount,
    /// How much of it is burned.
    pub burned: Amount,
    /// How much of it holds reserve.
    pub held: Amount,
    /// Until when it can be burned.
    pub until: Option<Timestamp>,
    /// Whether so little of it is left that it burns after all others.
    is_last: bool,
    priority: u8,
    from: Timestamp,
}

impl PotInForce {
    pub(super) fn left(&self) -> Amount {
        (self.granted - self.burned - self.held).at_least_zero()
    }

    /// What of it is not burned, held or not.
    pub(super) fn unburned(&self) -> Amount {
        (self.granted - self.burned).at_least_zero()
    }

    /// What is held of what it grants now.
    fn shown_held(&self) -> Amount {
        self.unburned() - self.left()
    }
}

impl<'a> History<'a> {
    pub(super) fn of(facts: &'a [Fact], calendar: &'a Calendar) -> Self {
        let mut history = Self {
            zone: Zone::UTC,
            name: None,
            metadata: None,
            plans: Vec::new(),
            trial: None,
            limits: BTreeMap::new(),
            thresholds: None,
            uses: Vec::new(),
            grants: Vec::new(),
            holds: Vec::new(),
            burned: BTreeMap::new(),
            debts: BTreeMap::new(),
            calendar,
        };
        for fact in facts {
            if let Some(command) = &fact.command {
                history.follow(fact.entry, fact.at, &fact.catalog, command);
            }
            if let Some(meter) = &fact.refused_on {
                history.pay(fact.at, &fact.catalog, meter);
                history.touch(fact.at, meter);
            }
        }
        history
    }

    /// Takes one more accepted command.
    pub(super) fn follow(&mut self, entry: u64, at: Timestamp, catalog: &Catalog, command: &'a OrgCommand) {
        match command {
            OrgCommand::Use(usage) => {
                self.pay(at, catalog, &usage.meter);
                self.count(entry, (at, at), catalog, usage, false);
                self.touch(at, &usage.meter);
            }
            OrgCommand::Record(usage) => {
                self.pay(at, catalog, &usage.meter);
                self.count(entry, (usage.occurred_at.unwrap_or(at), at), catalog, usage, true);
                self.touch(at, &usage.meter);
            }
            OrgCommand::Check(_)
            | OrgCommand::CloseMonth(_)
            | OrgCommand::Settle(_)
            | OrgCommand::TellBudget(_) => {}
            OrgCommand::Hold(take) => self.hold(entry, at, catalog, take),
            OrgCommand::Capture(capture) => self.capture((entry, at), catalog, capture),
            OrgCommand::Release(number) => self.release((entry, at), catalog, *number),
            OrgCommand::Expire => self.expire((entry, at), catalog),
            OrgCommand::Reverse(reverse) => self.take_back(entry, at, catalog, &reverse.key),
            OrgCommand::Put(PutOrg { name, zone, metadata }) => {
                if let Some(metadata) = metadata {
                    self.metadata = Some(metadata);
                }
                if let Some(name) = name {
                    self.name = name.as_deref();
                }
                if let Some(zone) = zone {
                    self.zone = zone.clone();
                }
            }
            OrgCommand::SetPlan(SetPlan { plan, from }) => self.set_plan(at, catalog, plan.as_ref(), *from),
            OrgCommand::Welcome(Welcome { plan: Some(plan) }) => {
                self.set_plan(at, catalog, Some(plan), PlanTime::Now);
            }
            OrgCommand::CallOffPlan => self.call_off(at),
            OrgCommand::Welcome(Welcome { plan: None }) => {}
            OrgCommand::SetLimit(set) => {
                let place = (&set.meter, set.scope.clone(), set.window);
                match set.amount {
                    Some(amount) => self.limits.insert(place, amount),
                    None => self.limits.remove(&place),
                };
            }
            OrgCommand::SetThresholds(set) => self.thresholds = set.as_ref(),
            OrgCommand::TopUp(top_up) => {
                let (from, until) = self.stretch(at, top_up);
                self.grants.push(Granted {
                    entry,
                    at,
                    top_up,
                    from,
                    until,
                    voided: Amount::ZERO,
                    closed: false,
                    renamed: false,
                });
                self.pay(at, catalog, &top_up.meter);
                self.touch(at, &top_up.meter);
            }
            OrgCommand::Void(void) => self.void(at, catalog, void),
        }
    }

    /// From when until when a top-up asked for at a moment can be burned.
    pub(super) fn stretch(&self, at: Timestamp, top_up: &TopUp) -> (Timestamp, Option<Timestamp>) {
        let from = match top_up.start {
            TopUpStart::Now => None,
            TopUpStart::At { at, .. } => Some(at),
            TopUpStart::Day(day) => self.calendar.takes_effect(&self.zone, at, PlanTime::Day(day)),
        };
        let from = from.filter(|from| *from > at).unwrap_or(at);
        let until = match top_up.expiry {
            TopUpExpiry::EndOfMonth => self.end_of_month(from, top_up.start),
            TopUpExpiry::At(until) => Some(until),
            TopUpExpiry::Day(day) => self
                .calendar
                .takes_effect(&self.zone, at, PlanTime::Day(day))
                .and_then(|start| self.calendar.end(&self.zone, Window::Day, start)),
            TopUpExpiry::Never => None,
        };
        (from, until)
    }

    /// The end of the month that credit begins in, or of a later one that the caller wrote.
    fn end_of_month(&self, from: Timestamp, start: TopUpStart) -> Option<Timestamp> {
        let mut end = self.calendar.end(&self.zone, Window::Month, from)?;
        if let TopUpStart::At { at, written_month } = start
            && at == from
        {
            let mut month = self.calendar.label(&self.zone, Window::Month, from).period().number;
            while month < written_month {
                (month, end) = (month + 1, self.calendar.end(&self.zone, Window::Month, end)?);
            }
        }
        Some(end)
    }

    pub(super) fn enforcement(
        &self,
        catalog: &Catalog,
        at: Timestamp,
        meter: &MeterId,
        look: Look,
    ) -> Enforcement {
        self.allowance(catalog, at, meter, look).map_or(Enforcement::Hard, |allowance| allowance.enforcement)
    }

    fn allowance<'c>(
        &self,
        catalog: &'c Catalog,
        at: Timestamp,
        meter: &MeterId,
        look: Look,
    ) -> Option<&'c Allowance> {
        self.plan_in(catalog, at, look)?.allowances.iter().find(|allowance| allowance.meter == *meter)
    }

    /// The credit in force at a moment, in the order it burns: by priority, nearest expiry, oldest; but last what is left of
    /// an allowance that is nearly used up.
    #[must_use]
    pub fn pots(&self, catalog: &Catalog, at: Timestamp, meter: &MeterId, look: Look) -> Vec<PotInForce> {
        let mut pots = Vec::new();
        let under = self.setting_at(at, look).map_or(0, |setting| setting.number);
        if let (Some(plan), Some(allowance)) =
            (self.plan_in(catalog, at, look), self.allowance(catalog, at, meter, look))
        {
            let stretch = if plan.trial_days.is_some() {
                let running = self.trial.filter(|(_, end)| at < *end);
                running.map(|(start, end)| (Pot::Trial, start, Some(end)))
            } else {
                let label = self.calendar.label(&self.zone, Window::Month, at);
                let Label::Month(year, month) = label else { return pots };
                let (first, _) = Period::days_of_month(label.period().number);
                let start = self
                    .calendar
                    .takes_effect(&self.zone, at, PlanTime::Day(first))
                    .unwrap_or(Timestamp::MIN);
                let end = self.calendar.end(&self.zone, Window::Month, at);
                Some((Pot::Month(year, month, under), start, end))
            };
            if let Some((pot, from, until)) = stretch {
                let (granted, priority) = (allowance.amount, allowance.priority);
                let burned = self.burned_of_allowance(meter, pot, look);
                let held = self.held_of(meter, pot);
                let last_below = allowance.last_below;
                let is_last = last_below.is_positive() && burned + held + last_below > granted;
                pots.push(PotInForce { pot, granted, burned, held, until, is_last, priority, from });
            }
        }
        for grant in self.grants.iter().filter(|grant| grant.top_up.meter == *meter) {
            if grant.from <= at && grant.until.is_none_or(|until| until > at) {
                let pot = Pot::TopUp(grant.entry);
                pots.push(PotInForce {
                    pot,
                    granted: grant.granted(self.burned(meter, pot)),
                    burned: self.burned(meter, pot),
                    held: self.held_of(meter, pot),
                    until: grant.until,
                    is_last: false,
                    priority: grant.top_up.priority,
                    from: grant.from,
                });
            }
        }
        pots.sort_by_key(|pot| {
            (pot.is_last, pot.priority, pot.until.is_none(), pot.until, pot.from, pot.pot)
        });
        pots
    }

    pub(super) fn burned(&self, meter: &MeterId, pot: Pot) -> Amount {
        self.burned.get(&(meter, pot)).copied().unwrap_or_default()
    }

    /// What was burned of a month's allowance under any plan, or under those until the pot's own.
    pub(super) fn burned_of_allowance(&self, meter: &MeterId, pot: Pot, look: Look) -> Amount {
        let Pot::Month(year, month, under) = pot else { return self.burned(meter, pot) };
        let counts = |(of, pot): &(&MeterId, Pot)| {
            let Pot::Month(other_year, other_month, number) = *pot else { return false };
            *of == meter
                && (other_year, other_month) == (year, month)
                && (look == Look::Gate || number <= under)
        };
        sum(self.burned.iter().filter(|(key, _)| counts(key)).map(|(_, amount)| *amount))
    }

    /// The usage of a meter that was not taken back.
    fn standing_uses(&self, meter: &MeterId) -> impl Iterator<Item = &Counted<'a>> {
        self.uses.iter().filter(move |counted| counted.usage.meter == *meter && counted.reversed_by.is_none())
    }

    /// What may still be used.
    pub(super) fn left(&self, catalog: &Catalog, at: Timestamp, meter: &MeterId) -> Amount {
        let left = sum(self.pots(catalog, at, meter, Look::Gate).iter().map(PotInForce::left));
        left - self.debt(meter) - self.held_debt(meter)
    }

    /// What usage under a label comes to, for the org or one of its users.
    #[must_use]
    pub fn counted(&self, meter: &MeterId, user: Option<&UserId>, label: Label) -> Amount {
        let uses = self
            .standing_uses(meter)
            .filter(|counted| counted.labels.contains(&label) && (user.is_none() || counted.user == user));
        total(uses)
    }

    /// What usage under a label comes to, for the org, a user or a path.
    pub(super) fn counted_for(&self, meter: &MeterId, whose: &Whose, label: Label) -> Amount {
        let Whose::Path(path) = whose else { return self.counted(meter, whose.user(), label) };
        let here = (path.clone(), label);
        total(self.standing_uses(meter).filter(|counted| counted.along.contains(&here)))
    }

    /// How the org stands on a meter at a moment; `None` without a plan.
    #[must_use]
    pub fn standing(
        &self,
        catalog: &Catalog,
        at: Timestamp,
        meter: &MeterId,
        user: Option<&UserId>,
    ) -> Option<Standing> {
        self.plan_in(catalog, at, Look::Gate)?;
        Some(self.standing_on_any_plan(catalog, at, meter, user, Look::Gate))
    }

    /// The same as usage that has happened finds it, at its own time.
    #[must_use]
    pub fn standing_of_record(
        &self,
        catalog: &Catalog,
        at: Timestamp,
        meter: &MeterId,
        user: Option<&UserId>,
    ) -> Standing {
        self.standing_on_any_plan(catalog, at, meter, user, Look::Record)
    }

    /// Like [`Self::standing`], and without a plan how the org stands on what it was granted beyond one.
    pub(super) fn standing_on_any_plan(
        &self,
        catalog: &Catalog,
        at: Timestamp,
        meter: &MeterId,
        user: Option<&UserId>,
        look: Look,
    ) -> Standing {
        let pots = self.pots(catalog, at, meter, look);
        let month = self.calendar.label(&self.zone, Window::Month, at);
        let asked = self.enforcement(catalog, at, meter, look) != Enforcement::None;
        let granted = sum(pots.iter().map(|pot| pot.granted));
        let held_debt = self.held_debt(meter);
        let remaining = sum(pots.iter().map(PotInForce::left)) - self.debt(meter) - held_debt;
        let held = match asked {
            true => sum(pots.iter().map(PotInForce::shown_held)) + held_debt,
            false => self.held_in(meter, &Whose::Org, month.period().window, Some(month)),
        };
        // Used, held and remaining make up what is granted: overage is used of nothing.
        let used = if asked { granted - remaining - held } else { self.counted(meter, None, month) };
        Standing {
            held,
            granted,
            used,
            remaining: asked.then_some(remaining),
            user_used: user.map(|user| self.counted(meter, Some(user), month)),
        }
    }

    fn count(
        &mut self,
        entry: u64,
        (at, now): (Timestamp, Timestamp),
        catalog: &Catalog,
        usage: &'a Use,
        afterwards: bool,
    ) {
        let look = if afterwards { Look::Record } else { Look::Gate };
        let named = (usage.user.as_ref(), usage.path.as_ref());
        let Places { labels, along, moving } = self.places(catalog, at, &usage.meter, named, look);
        let adds_up = burns(&aggregation(catalog, &usage.meter));
        let part = |(window, path): (Window, Option<ScopePath>)| {
            let whose = path.clone().map_or_else(|| Whose::from(usage.user.as_ref()), Whose::Path);
            let part = match afterwards {
                true => Self::part_then(window, at, now),
                false => self.part_now((&usage.meter, &whose), window, now),
            };
            (window, path, part)
        };
        let parts = moving.into_iter().filter(|_| adds_up).map(part).collect();
        let enforcement = self.enforcement(catalog, at, &usage.meter, look);
        let quantity = quantity(catalog, usage);
        let aggregation = aggregation(catalog, &usage.meter);
        let burns = burns(&aggregation);
        let mut counted = Counted {
            entry,
            at,
            usage,
            key: &usage.key,
            user: usage.user.as_ref(),
            of_hold: None,
            quantity,
            aggregation,
            labels,
            along,
            parts,
            under: self.setting_at(at, look).map_or(0, |setting| setting.number),
            burns: Vec::new(),
            debt: Amount::ZERO,
            overage: Amount::ZERO,
            reversed_by: None,
        };
        if burns {
            let pots = self.pots(catalog, at, &usage.meter, look);
            for (from, amount) in spread(&pots, quantity, enforcement, afterwards) {
                counted.take(from, amount);
            }
        }
        self.add(counted);
    }

    /// Adds a usage to those that were counted.
    pub(super) fn add(&mut self, counted: Counted<'a>) {
        let meter = &counted.usage.meter;
        if counted.debt > Amount::ZERO {
            self.debts.entry(meter).or_default().owed.push((counted.entry, counted.debt));
        }
        for (pot, amount) in &counted.burns {
            *self.burned.entry((meter, *pot)).or_default() += *amount;
        }
        self.uses.push(counted);
    }

    /// Where a usage counts at a moment.
    pub(super) fn places(
        &self,
        catalog: &Catalog,
        at: Timestamp,
        meter: &MeterId,
        named: (Option<&UserId>, Option<&ScopePath>),
        look: Look,
    ) -> Places {
        let limited = self.windows_limited(catalog, at, meter, look);
        let (by_usage, others): (Vec<Window>, Vec<Window>) = limited
            .into_iter()
            .filter(|window| !Window::ALL.contains(window))
            .partition(|window| window.moves());
        let on_calendar = Window::ALL
            .into_iter()
            .filter(|window| self.is_counted(catalog, at, meter, *window, look))
            .chain(others)
            .map(|window| self.label(window, at, look));
        let mut places = Places { labels: on_calendar.collect(), along: Vec::new(), moving: Vec::new() };
        places.moving.extend(by_usage.into_iter().map(|window| (window, None)));
        for limit in self.limits_on(catalog, at, meter, named, look) {
            let Whose::Path(path) = &limit.whose else { continue };
            match limit.window.moves() {
                true => places.moving.push((limit.window, Some(path.clone()))),
                false => places.along.push((path.clone(), self.label(limit.window, at, look))),
            }
        }
        places
    }

    /// Days, months and the lifetime always are; minutes, hours and weeks where the meter says so, or while a limit on them is
    /// there.
    fn is_counted(
        &self,
        catalog: &Catalog,
        at: Timestamp,
        meter: &MeterId,
        window: Window,
        look: Look,
    ) -> bool {
        if matches!(window, Window::Day | Window::Month | Window::Lifetime) {
            return true;
        }
        if catalog.meter(meter).is_some_and(|meter| meter.windows.contains(&window)) {
            return true;
        }
        self.windows_limited(catalog, at, meter, look).contains(&window)
    }
}

/// Where something counts.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// For the org and the user, by label.
    pub(super) labels: Vec<Label>,
    /// Along the path, by label.
    pub(super) along: Vec<(ScopePath, Label)>,
    /// In windows that go by usage, of the org and the user or of a path.
    pub(super) moving: Vec<(Window, Option<ScopePath>)>,
}

/// Where something is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakenFrom {
    /// A source of credit.
    Pot(Pot),
    /// Nowhere: it will be owed.
    Debt,
    /// Nowhere: it will be billed.
    Overage,
}

impl Counted<'_> {
    /// Takes an amount from somewhere.
    pub(super) fn take(&mut self, from: TakenFrom, amount: Amount) {
        match from {
            TakenFrom::Pot(pot) => self.burns.push((pot, amount)),
            TakenFrom::Debt => self.debt += amount,
            TakenFrom::Overage => self.overage += amount,
        }
    }
}

/// From where a quantity is taken: the pots in their order, and what they could not give as the enforcement says; afterwards
/// nothing is owed.
pub(super) fn spread(
    pots: &[PotInForce],
    quantity: Amount,
    enforcement: Enforcement,
    afterwards: bool,
) -> Vec<(TakenFrom, Amount)> {
    let (burns, beyond) = burn(pots, quantity);
    let mut taken: Vec<_> = burns.into_iter().map(|(pot, amount)| (TakenFrom::Pot(pot), amount)).collect();
    let on_trial = pots.iter().any(|pot| pot.pot == Pot::Trial);
    let from = match enforcement {
        _ if on_trial => Some(TakenFrom::Pot(Pot::Trial)),
        Enforcement::None => None,
        Enforcement::Overdraft | Enforcement::Hard if !afterwards => Some(TakenFrom::Debt),
        Enforcement::Overdraft | Enforcement::Hard | Enforcement::Soft => Some(TakenFrom::Overage),
    };
    if let Some(from) = from.filter(|_| beyond.is_positive()) {
        match taken.iter_mut().find(|(of, _)| *of == from) {
            Some((_, amount)) => *amount += beyond,
            None => taken.push((from, beyond)),
        }
    }
    taken
}

/// Takes an amount from pots in their order; what was taken from which, and what they could not give.
pub(super) fn burn(pots: &[PotInForce], amount: Amount) -> (Vec<(Pot, Amount)>, Amount) {
    let mut burns = Vec::new();
    let mut short = amount;
    for pot in pots {
        let taken = if pot.left() < short { pot.left() } else { short };
        if taken > Amount::ZERO {
            burns.push((pot.pot, taken));
            short -= taken;
        }
    }
    (burns, short)
}
