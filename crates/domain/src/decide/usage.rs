//! The gate: may this be used, and what does it burn, move and cause?

mod along;

use std::borrow::Cow;

use along::OfPath;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::catalog::{Meter, MeterRules};
use crate::counter::ScopeRef;
use crate::counting::{Motion, Move};
use crate::decide::limits::{
    ALWAYS_COUNTED, InForce, limits_in_force, needs_user, period_of, windows_counted,
};
use crate::decide::settle::{add_burn, settled};
use crate::decide::{
    Allowed, Ask, Checked, Context, Credit, Denial, Denied, OrgDecision, Outcome, Policies, Policy,
    PolicyScope, ReachedLimit,
};
use crate::limits::TRIAL_ENDING_SECS;
use crate::moment::{Moment, minute_of};
use crate::moving::Moves;
use crate::records::Standing;
use crate::state::Counters;
use crate::{
    Account, Amount, Burn, Burns, Captured, Check, Counting, Entry, EntryKind, Group, Hold, KeyRecord,
    KeySpace, LimitScope, MeterId, Notice, NoticeKind, Org, OrgState, PRICED_AS, PRICED_BY, Pace, Period,
    Periods, Quantity, Source, Use, UsedEntry, UserId, Window, forecast::project_with,
};

/// Whether a usage is asked for, or has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tense {
    /// Credit and limits may refuse it.
    Asked,
    /// It is counted whatever they say, and looks at credit as it was at its own time: what was burned of the allowance later,
    /// under other plans, does not matter to it.
    Happened,
    /// The same of what was held: it was allowed before.
    Captured,
}

/// Everything a usage that passed the checks is made of.
pub(crate) struct Gate<'a> {
    tense: Tense,
    org: &'a Org,
    meter: &'a Meter,
    plan: &'a MeterRules,
    moment: Moment,
    account: &'a Account,
    /// How credit that came into force settles the debt of an overdraft.
    settled: Vec<Burn>,
    credit: Credit,
    limits: SmallVec<[InForce<'a>; 2]>,
    /// What windows that go by usage go by.
    moves: Moves<'a>,
    /// How much the usage counts.
    quantity: Quantity,
    counting: Counting,
    /// What the usage would make of the org's month.
    after: Amount,
    /// What was counted of the user in the month, and what the usage would make of it.
    user_month: Option<Amount>,
    user_after: Option<Amount>,
}

pub(super) fn decide_use(state: &OrgState, context: &Context<'_>, usage: &Use) -> Outcome {
    let fingerprint = fingerprint(usage);
    if let Some(known) = known_key(state, context, usage) {
        let result = if known.fingerprint != fingerprint {
            Err(Denied { denial: Denial::KeyReused, standing: None })
        } else if known.reversed_by.is_some() {
            Err(Denied { denial: Denial::KeyReversed, standing: None })
        } else {
            let policies = Policies::new();
            Ok(Allowed { entry: known.entry, replayed: true, standing: known.standing, policies })
        };
        let result = result.map(Box::new).map_err(Box::new);
        return Outcome { decision: OrgDecision::Use(result), entry: None };
    }
    match gate(state, context, &Ask::from(usage)) {
        Ok(mut gate) => allow(state, context, &mut gate, usage, fingerprint),
        Err(denied) => {
            let entry = deny(state, context, &Ask::from(usage), &denied);
            Outcome { decision: OrgDecision::Use(Err(Box::new(denied))), entry }
        }
    }
}

/// What is remembered of a usage's key.
pub(super) fn known_key<'a>(
    state: &'a OrgState,
    context: &Context<'_>,
    usage: &Use,
) -> Option<&'a KeyRecord> {
    state.key(KeySpace::Use, &usage.key).filter(|known| context.remembers(known.at))
}

pub(super) fn decide_check(state: &OrgState, context: &Context<'_>, check: &Check) -> Outcome {
    let gate = gate(state, context, &Ask::from(check));
    let steps = crate::explain(state, context, check);
    let result = gate.map(|mut gate| {
        gate.take();
        let standing = gate.standing();
        Allowed { entry: 0, replayed: false, standing, policies: gate.policies(&standing) }
    });
    Outcome { decision: OrgDecision::Check(Box::new(Checked { result, steps })), entry: None }
}

/// The checks of a usage after its key, in order; the first that fails is the answer.
pub(crate) fn gate<'a>(
    state: &'a OrgState,
    context: &Context<'a>,
    ask: &Ask<'a>,
) -> Result<Gate<'a>, Denied> {
    let refuse = |denial| Err(Denied { denial, standing: None });
    let Some(meter) = context.catalog.meter(ask.meter) else {
        return refuse(Denial::UnknownMeter);
    };
    if let Some(name) = meter.refused_property(ask.properties) {
        return refuse(Denial::UnknownProperty(name.clone()));
    }
    let Some(org) = state.org() else { return refuse(Denial::UnknownOrg) };
    let Some(plan) = context.plan_of(org) else {
        return refuse(Denial::NoPlan);
    };
    let plan = MeterRules::of(Some(plan), ask.meter);
    let gate = Gate::load(Tense::Asked, state, context, ask, (org, meter, plan), context.now_of(org));
    match gate.refusal(ask) {
        Some(denial) => Err(Denied { denial, standing: Some(gate.standing()) }),
        None => Ok(gate),
    }
}

impl<'a> Gate<'a> {
    /// How an org and a user of it stand on a meter at a moment, and what a usage would make of it.
    pub(super) fn load(
        tense: Tense,
        state: &'a OrgState,
        context: &Context<'_>,
        ask: &Ask<'a>,
        (org, meter, plan): (&'a Org, &'a Meter, &'a MeterRules),
        moment: Moment,
    ) -> Self {
        let (user, id) = (ask.user, ask.meter);
        let quantity = meter.counts(ask.quantity);
        let counting = meter.counting(user, ask.properties, moment.at);
        let (entry, motion) = (org.next_entry(), Motion::Count);
        let usage = Move { counting: &counting, quantity: quantity.amount(), entry, motion };
        let on = state.on(id);
        let of_org = on.counters(ScopeRef::Org);
        let of_user = user.map(|user| on.counters(ScopeRef::User(user)));
        let month = |counters: &Counters<'a, 'a>| {
            let month = counters.of(moment.month);
            (month, counters.after(&usage, moment.month, month))
        };
        let (org_month, after) = month(&of_org);
        let user_month = of_user.as_ref().map(month);
        let account = on.account().unwrap_or_else(|| Account::nothing());
        let (standing, settled) = settled(context, org, id, Cow::Borrowed(account));
        let mut credit = Credit::new(org, id, plan, &standing, &moment, org_month);
        if tense != Tense::Asked {
            credit.as_of_segment(&standing);
        }
        // What happens now, or is captured now, is never before what was counted; what is told late is never after now.
        let now = minute_of(context.at());
        let minute = if tense == Tense::Happened { minute_of(moment.at).min(now) } else { now };
        let tallies = [of_org.tally, of_user.and_then(|of_user| of_user.tally)];
        let moves = Moves { minute, now: tense != Tense::Happened, tallies };
        let mut of_path = OfPath::new(on, ask.path);
        // Usage of nobody in particular moves no user's counter.
        let in_force = limits_in_force(org, plan, id, (user, ask.path)).into_iter().filter_map(|limit| {
            if let Some(path) = limit.path() {
                let counters = of_path.counters(path)?;
                let moves = Moves { tallies: [counters.tally, None], ..moves };
                return Some(InForce::load(&counters, org, (&moment, &moves), limit, Some(&usage)));
            }
            let counters = if limit.is_on_users() { of_user.as_ref()? } else { &of_org };
            Some(InForce::load(counters, org, (&moment, &moves), limit, Some(&usage)))
        });
        let limits = in_force.collect();
        Self {
            tense,
            org,
            meter,
            plan,
            moment,
            account,
            settled,
            credit,
            limits,
            moves,
            quantity,
            after,
            user_month: user_month.map(|(month, _)| month.value),
            user_after: user_month.map(|(_, after)| after),
            counting,
        }
    }
}

impl Gate<'_> {
    fn refusal(&self, ask: &Ask<'_>) -> Option<Denial> {
        if self.trial_over() {
            return Some(Denial::TrialEnded);
        }
        if ask.user.is_none() && needs_user(self.org, self.plan, ask.meter) {
            return Some(Denial::UserRequired);
        }
        if !self.credit.covers(self.quantity.amount()) {
            let standing = self.credit.standing(None);
            return Some(Denial::OutOfCredit(ReachedLimit {
                user: None,
                path: None,
                window: (!self.credit.trial).then_some(Window::Month),
                amount: standing.granted,
                used: standing.used,
                held: standing.held,
                resets_at: if self.credit.trial { None } else { self.credit.resets_at(&self.moment) },
            }));
        }
        let reached = self.limits.iter().find(|limit| !limit.passes())?;
        Some(self.reached(reached))
    }

    /// That a limit does not leave room.
    fn reached(&self, reached: &InForce<'_>) -> Denial {
        let limit = ReachedLimit {
            user: reached.user().cloned(),
            path: reached.path(),
            window: Some(reached.limit.window),
            amount: reached.limit.amount,
            used: reached.used,
            held: reached.held,
            resets_at: reached.passes_at(self.org, &self.moment),
        };
        match reached.limit.scope {
            LimitScope::Org => Denial::OrgLimitReached(limit),
            LimitScope::Path(_) => Denial::PathLimitReached(limit),
            LimitScope::EachUser | LimitScope::User(_) => Denial::UserLimitReached(limit),
        }
    }

    /// A trial ends by time, or when its last credit is used.
    fn trial_over(&self) -> bool {
        self.plan.trial && trial_over(self.org, &self.credit, &self.moment)
    }

    /// Burns and counts in the view of this decision.
    fn take(&mut self) -> Burns {
        self.limits.iter_mut().for_each(InForce::take);
        self.user_month = self.user_after;
        if !self.counting.adds_up() {
            // What does not add up burns no credit.
            self.credit.month = self.after;
            return Burns::new();
        }
        match self.tense {
            Tense::Asked => self.credit.burn(self.quantity.amount()),
            Tense::Happened | Tense::Captured => self.credit.burn_afterwards(self.quantity.amount()),
        }
    }

    /// Reserves in the view of this decision.
    pub(super) fn reserve(&mut self) -> Burns {
        let quantity = self.quantity.amount();
        self.limits.iter_mut().for_each(|limit| limit.held += quantity);
        self.credit.reserve(quantity)
    }

    /// Burns and counts, in the view of this decision, what is captured of a hold; gives back the rest if the hold ends. What
    /// it burns.
    pub(super) fn capture(&mut self, hold: &Hold, quantity: Amount, ends: bool) -> Burns {
        let (reserved, beyond) = hold.drawn(quantity);
        let within = quantity - beyond;
        // What goes back to another hold stays held.
        let freed = hold.frees(self.org).filter(|_| ends).map_or(Amount::ZERO, |free| free - within);
        // What a limit that is new since the hold was made goes by is not counted.
        for limit in self.limits.iter_mut().filter(|limit| limit.holds(hold)) {
            limit.held -= within + freed;
            limit.take();
        }
        // A hold that was made in another zone of the org may count in another month than the one that is told of.
        let told = hold.month() == Some(self.moment.month);
        let (month, held_in_month) = (self.credit.month, self.credit.held_in_month);
        if freed.is_positive() {
            let all = hold.reserve.iter().filter(|burn| !burn.amount.is_zero());
            let mut left: Burns = all.copied().collect();
            reserved.iter().for_each(|burn| add_burn(&mut left, burn.source, -burn.amount));
            self.credit.release(freed, &left);
        }
        let burns = self.credit.capture(within, reserved, beyond);
        if told {
            self.user_month = self.user_after;
        } else {
            (self.credit.month, self.credit.held_in_month) = (month, held_in_month);
        }
        burns
    }

    /// The periods that a usage counts in.
    pub(super) fn periods(&self) -> Periods {
        let windows = windows_counted(self.org, (self.plan, self.moment.plan), self.meter);
        windows.iter().map(|window| period_of(self.org, &self.moment, &self.moves, *window)).collect()
    }

    /// The periods that what is captured of a hold counts in: where the hold reserved its room, and in windows that go by usage
    /// now.
    fn periods_of(&self, hold: &Hold) -> Periods {
        let now = |period: &Period| match period.window.moves() {
            true => self.moves.period(period.window),
            false => *period,
        };
        hold.periods.iter().map(now).collect()
    }

    /// How credit that came into force settles the debt of an overdraft.
    pub(super) fn settled(&mut self) -> Vec<Burn> {
        std::mem::take(&mut self.settled)
    }

    pub(super) fn standing(&self) -> Standing {
        self.credit.standing(self.user_month)
    }

    /// A standing after debt was paid. What paid may have come into force since the moment that the usage counts at.
    pub(super) fn standing_paid(&self, standing: Standing, paid: &[Burn]) -> Standing {
        let knows = |source| self.credit.pots.iter().any(|pot| pot.source.takes_in(source));
        let by_others = paid.iter().filter(|burn| burn.source != Source::Overdraft && !knows(burn.source));
        let paid: Amount = by_others.map(|burn| burn.amount).sum();
        match standing.remaining {
            Some(remaining) => {
                Standing { used: standing.used - paid, remaining: Some(remaining + paid), ..standing }
            }
            None => standing,
        }
    }

    pub(super) fn policies(&self, standing: &Standing) -> Policies {
        let mut policies = Policies::new();
        if let Some(remaining) = standing.remaining {
            policies.push(Policy {
                scope: PolicyScope::Org,
                window: None,
                period: None,
                amount: standing.granted,
                remaining: remaining.at_least_zero(),
                resets_at: self.credit.resets_at(&self.moment),
            });
        }
        for limit in &self.limits {
            policies.push(Policy {
                scope: match limit.scope {
                    ScopeRef::User(_) => PolicyScope::User,
                    _ => limit.depth().map_or(PolicyScope::Org, PolicyScope::Path),
                },
                window: Some(limit.limit.window),
                period: Some(limit.period),
                amount: limit.limit.amount,
                remaining: limit.remaining(),
                resets_at: limit.resets_at(self.org, &self.moment),
            });
        }
        policies
    }

    /// What people should know after the usage was taken.
    fn notices(&self, context: &Context<'_>, meter: &MeterId, standing: &Standing) -> Vec<Notice> {
        let mut notices = Vec::new();
        let month = self.credit.notice_month(&self.moment);
        let period = month.map(|_| self.moment.month);
        let about = |kind| Notice { meter: Some(meter.clone()), user: None, path: None, period, kind };
        let (used, limit) = (standing.used, standing.granted);
        if standing.remaining.is_some() && limit.is_positive() {
            let marks = self.account.marks_of(month);
            let crossed_before = if marks.percent_of >= limit { marks.percent } else { 0 };
            // They are in order.
            let crossed = self.thresholds(context).iter().copied().filter(|percent| {
                *percent > crossed_before && used.is_share_of(limit, (*percent).into(), 100)
            });
            notices
                .extend(crossed.map(|percent| about(NoticeKind::ThresholdCrossed { percent, used, limit })));
            if used >= limit && marks.reached_of < limit {
                notices.push(about(NoticeKind::LimitReached { used, limit, credit: true }));
            }
            // A fifth of the credit must be used before a forecast is worth a person's time.
            let worth_telling = used < limit && marks.on_track_of < limit && used.is_share_of(limit, 1, 5);
            if worth_telling && !self.credit.trial {
                notices.extend(self.forecast(context, used, limit).map(about));
            }
        }
        // Of late usage it is not known whether the trial is over now: the next usage tells.
        if self.moment.at == context.at() {
            notices.extend(self.trial_notices(standing).map(about));
        }
        notices.extend(self.limit_notices(meter));
        notices
    }

    /// The shares of credit that cause a notice: what the org says counts before what its plan says, and that before what the
    /// catalog says for all.
    fn thresholds<'b>(&'b self, context: &'b Context<'_>) -> &'b [u8] {
        let set = self.org.thresholds.as_deref().or(self.plan.thresholds.as_deref());
        set.unwrap_or(&context.catalog.notices.thresholds)
    }

    /// That the credit runs out before the month does, if it does; of usage of an earlier month nobody can tell.
    fn forecast(&self, context: &Context<'_>, used: Amount, limit: Amount) -> Option<NoticeKind> {
        let now = context.now_of(self.org);
        if self.moment.month != now.month {
            return None;
        }
        let more_today = if self.moment.day == now.day { self.quantity.amount() } else { Amount::ZERO };
        let used_and_billed = used + self.credit.overage;
        let Pace { projected, runs_out_on } =
            project_with(self.account, &now, more_today, used_and_billed, limit);
        runs_out_on.map(|day| NoticeKind::OnTrackToRunOut { used, projected, limit, day })
    }

    fn trial_notices(&self, standing: &Standing) -> impl Iterator<Item = NoticeKind> {
        let trial = self.org.trial.as_ref().filter(|_| self.credit.trial);
        let remaining = standing.remaining.unwrap_or_default() + standing.held;
        let (mut ending, mut ended) = (None, None);
        if let Some(trial) = trial {
            let last_days = trial.ends_at.as_second() - self.moment.at.as_second() <= TRIAL_ENDING_SECS;
            let over = self.trial_over();
            let nearly_used = remaining <= standing.granted.scale_floor(1, 5);
            if !over && !trial.ending_noticed && (last_days || nearly_used) {
                ending = Some(NoticeKind::TrialEnding { ends_at: trial.ends_at, remaining });
            }
            if over && !trial.ended_noticed {
                ended = Some(NoticeKind::TrialEnded { used: standing.used });
            }
        }
        ending.into_iter().chain(ended)
    }

    /// Those limits that are reached now. Two of them may go by one counter, where the month of a plan is also named by its day:
    /// the counter remembers the highest limit that was told of, which comes last, and the same one is told of once.
    fn limit_notices<'b>(&'b self, meter: &'b MeterId) -> impl Iterator<Item = Notice> + 'b {
        let reached =
            |limit: &&InForce<'_>| limit.used >= limit.limit.amount && limit.reached_of < limit.limit.amount;
        let mut told: SmallVec<[&InForce<'_>; 4]> = SmallVec::new();
        for limit in self.limits.iter().filter(reached) {
            let amount = limit.limit.amount;
            let is_not_lower = |other: &&InForce<'_>| {
                (other.scope, other.period) == (limit.scope, limit.period) && other.limit.amount >= amount
            };
            match told.iter().position(is_not_lower) {
                Some(place) if told.get(place).is_some_and(|other| other.limit.amount == amount) => {}
                Some(place) => told.insert(place, limit),
                None => told.push(limit),
            }
        }
        told.into_iter().map(|limit| Notice {
            meter: Some(meter.clone()),
            user: limit.user().cloned(),
            path: limit.path(),
            period: Some(limit.period),
            kind: NoticeKind::LimitReached { used: limit.used, limit: limit.limit.amount, credit: false },
        })
    }
}

/// Whether the trial of an org is over: by time, or because nothing is left of it and nothing was topped up.
fn trial_over(org: &Org, credit: &Credit, moment: &Moment) -> bool {
    let in_time = org.trial.as_ref().is_some_and(|trial| moment.at < trial.ends_at);
    let given = credit.pots.iter().any(|pot| pot.source == Source::Trial && pot.granted.is_positive());
    !in_time || (given && credit.is_used_up())
}

fn allow(
    state: &OrgState,
    context: &Context<'_>,
    gate: &mut Gate<'_>,
    usage: &Use,
    fingerprint: u64,
) -> Outcome {
    let burns = gate.take();
    let standing = gate.standing();
    let policies = gate.policies(&standing);
    let counted = Counted { usage, fingerprint, burns, standing, captured: None };
    let entry = used_entry(state, context, gate, counted);
    let allowed = Allowed { entry: entry.number, replayed: false, standing, policies };
    Outcome { decision: OrgDecision::Use(Ok(Box::new(allowed))), entry: Some(entry) }
}

/// Counts a usage that has happened, whatever credit and limits say.
pub(super) fn count_afterwards(
    state: &OrgState,
    context: &Context<'_>,
    mut gate: Gate<'_>,
    usage: &Use,
    fingerprint: u64,
) -> Entry {
    let burns = gate.take();
    let counted = Counted { usage, fingerprint, burns, standing: gate.standing(), captured: None };
    used_entry(state, context, &mut gate, counted)
}

/// A usage that was taken.
pub(super) struct Counted<'a> {
    pub(super) usage: &'a Use,
    pub(super) fingerprint: u64,
    /// What it burned.
    pub(super) burns: Burns,
    /// How the org stands after it.
    pub(super) standing: Standing,
    /// The hold that it captures.
    pub(super) captured: Option<(&'a Hold, Captured)>,
}

/// The entry of a usage that was taken.
pub(super) fn used_entry(
    state: &OrgState,
    context: &Context<'_>,
    gate: &mut Gate<'_>,
    counted: Counted<'_>,
) -> Entry {
    let Counted { usage, fingerprint, burns, standing, captured } = counted;
    let notices = gate.notices(context, &usage.meter, &standing);
    let periods = captured.map_or_else(|| gate.periods(), |(hold, _)| gate.periods_of(hold));
    let path = match captured {
        Some((hold, _)) => gate.along_of(state, hold),
        None => gate.along(usage.path.as_ref()),
    };
    let month = captured.and_then(|(hold, _)| hold.month()).unwrap_or(gate.moment.month);
    assert!(periods.len() >= ALWAYS_COUNTED.len(), "day, month, segment and lifetime are always counted");
    let used = UsedEntry {
        user: usage.user.clone(),
        path,
        meter: usage.meter.clone(),
        quantity: gate.quantity,
        key: usage.key.clone(),
        fingerprint,
        occurred_at: usage.occurred_at,
        recorded: gate.tense != Tense::Asked,
        counting: gate.counting.clone(),
        properties: usage.properties.clone(),
        burns,
        periods,
        group: group_of(state, gate.meter, usage, month),
        sink: gate.meter.sink.clone(),
        captured: captured.map(|(_, captured)| captured),
        standing,
    };
    let mut entry = context.entry(Some(gate.org), EntryKind::Used(Box::new(used)), notices);
    entry.settled = gate.settled();
    entry
}

/// The group that a usage of a meter is counted in, in a month; `None` if the meter is counted by no properties.
fn group_of(state: &OrgState, meter: &Meter, usage: &Use, month: Period) -> Option<Group> {
    if meter.properties.is_empty() {
        return None;
    }
    let group = Group::of(meter, &usage.properties);
    Some(match state.groups(&usage.meter, month) {
        Some(groups) => groups.place(group),
        None => group,
    })
}

/// A denial consumes nothing; it makes an entry only when somebody should be told of it.
pub(super) fn deny(state: &OrgState, context: &Context<'_>, ask: &Ask<'_>, denied: &Denied) -> Option<Entry> {
    let known = state.org();
    let notices = known.map(|org| denial_notices(state, context, org, ask, denied)).unwrap_or_default();
    let account = state.account(ask.meter);
    // What is refused must not leave a debt as it is that credit has come for.
    let settled = known
        .zip(account)
        .map(|(known, account)| settled(context, known, ask.meter, Cow::Borrowed(account)).1);
    let settled = settled.unwrap_or_default();
    (!notices.is_empty() || !settled.is_empty()).then(|| {
        let kind = EntryKind::Refused {
            user: ask.user.cloned(),
            path: ask.path.cloned().map(Box::new),
            meter: ask.meter.clone(),
            quantity: ask.quantity,
            reason: denied.denial.code().to_owned(),
        };
        Entry { settled, ..context.entry(known, kind, notices) }
    })
}

fn denial_notices(
    state: &OrgState,
    context: &Context<'_>,
    org: &Org,
    ask: &Ask<'_>,
    denied: &Denied,
) -> Vec<Notice> {
    let worth_telling = matches!(
        denied.denial,
        Denial::NoPlan
            | Denial::TrialEnded
            | Denial::OutOfCredit(_)
            | Denial::OrgLimitReached(_)
            | Denial::PathLimitReached(_)
            | Denial::UserLimitReached(_)
    );
    if !worth_telling {
        return Vec::new();
    }
    let month = context.now_of(org).month;
    let on_trial = context.plan_of(org).is_some_and(|plan| plan.trial_days.is_some());
    let period = (!on_trial).then_some(month);
    let marks = state.account(ask.meter).map(|account| account.marks_of(period.map(|period| period.number)));
    let about = |user, kind| Notice { meter: Some(ask.meter.clone()), user, path: None, period, kind };
    let mut notices = Vec::new();
    if !marks.is_some_and(|marks| marks.denied) {
        let reason = denied.denial.code().to_owned();
        notices.push(about(ask.user.cloned(), NoticeKind::FirstDenial { reason }));
    }
    let unnoticed_end = org.trial.as_ref().is_some_and(|trial| !trial.ended_noticed);
    if denied.denial == Denial::TrialEnded && unnoticed_end {
        let used = denied.standing.map(|standing| standing.used).unwrap_or_default();
        notices.push(about(None, NoticeKind::TrialEnded { used }));
    }
    notices
}

/// Which content a key stands for. The time the caller gives is no part of it: a retry may carry a later one.
pub(super) fn fingerprint(usage: &Use) -> u64 {
    // Hashed in one go: starting and ending a hash of parts costs more than hashing as little as this.
    let mut content = Vec::with_capacity(256);
    let mut text = |text: &str| {
        content.extend_from_slice(&text.len().to_le_bytes());
        content.extend_from_slice(text.as_bytes());
    };
    text(usage.user.as_ref().map_or("", UserId::as_str));
    text(usage.meter.as_str());
    for (name, value) in
        usage.properties.iter().filter(|(name, _)| ![PRICED_BY, PRICED_AS].contains(&name.as_str()))
    {
        text(name);
        text(value);
    }
    // What a call costs may be another at the next attempt; its model and tokens are not.
    if !usage.properties.contains_key(PRICED_BY) {
        content.extend_from_slice(&usage.quantity.amount().billionths().to_le_bytes());
    }
    // Behind all else: a usage without a path stands for what it stood for before there were any.
    if let Some(path) = &usage.path {
        content.extend_from_slice(path.as_str().as_bytes());
        content.push(b'/');
    }
    xxh3_64(&content)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::UsageKey;

    /// Keys are kept in stores with what they stand for: a retry after an upgrade must still be one.
    #[test]
    fn a_content_has_the_same_fingerprint_for_ever() {
        let usage = |properties: &[(&str, &str)]| Use {
            user: Some(UserId::new("ann").expect("an id")),
            path: None,
            meter: MeterId::new("reports").expect("an id"),
            quantity: Quantity::ONE,
            key: UsageKey::new("a key").expect("an id"),
            occurred_at: None,
            properties: properties
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
        };
        let long = "x".repeat(300);
        assert_eq!(fingerprint(&usage(&[])), 6_308_798_252_734_386_073);
        assert_eq!(fingerprint(&usage(&[("model", "large"), ("region", "eu")])), 4_969_502_052_845_811_969);
        assert_eq!(fingerprint(&usage(&[("model", &long)])), 5_153_150_578_641_398_038);
        assert_eq!(
            fingerprint(&usage(&[("model", "large"), (PRICED_BY, "table")])),
            12_871_547_064_510_787_589
        );
    }
}
