//! The account: an org's balance and history on one meter.

use std::fmt;
use std::sync::LazyLock;

use jiff::Timestamp;

use crate::decide::settle::add_burn;
use crate::limits::{
    ALLOWANCE_MONTHS_KEPT, EXPIRED_GRANT_KEEP_SECS, FORECAST_DAYS, MARKS_KEPT, OVERDRAFTS_KEPT,
};
use crate::{Amount, Burn, Period, Tally, UsageKey};

/// An org's balance and history on one meter: what its credit has been burned by, and what the forecast and notices remember.
///
/// The amounts of the month's allowance and of the trial are the plan's, in the catalog; the account holds only what
/// was burned of them. So a change of plan or catalog takes effect at once and touches no account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What was burned of the allowance, by month and plan, newest last; those of a few months are kept.
    pub allowances: Vec<AllowanceUse>,
    /// What was burned of the trial.
    pub trial_burned: Amount,
    /// Top-ups and prepaid pots, oldest first.
    pub grants: Vec<Grant>,
    /// What usages took beyond all credit, oldest first; those that are settled are kept for their reversal, the newest.
    pub overdrafts: Vec<Overdraft>,
    /// Until when all credit in force has settled the debt; `None` without debt.
    pub debt_since: Option<Timestamp>,
    /// The day number of the first usage, if there was one.
    pub first_day: Option<i32>,
    /// Totals of the latest days with usage, oldest first.
    pub days: Vec<DayUse>,
    /// Which notices on credit have gone out, by period, newest last; a few are kept.
    pub marks: Vec<CreditMarks>,
    /// The org's own open counters of the meter.
    pub tally: Tally,
}

/// What was burned of one month's allowance while one plan was in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowanceUse {
    /// The number of the segment of the month.
    pub segment: i32,
    /// How much.
    pub burned: Amount,
}

/// The usage of one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayUse {
    /// The number of the day.
    pub day: i32,
    /// How much.
    pub amount: Amount,
}

/// Credit beyond the allowance: a top-up, a prepaid pot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The entry that made it.
    pub entry: u64,
    /// The caller's id of it.
    pub key: Option<UsageKey>,
    /// How much was granted.
    pub amount: Amount,
    /// How much of it is burned.
    pub burned: Amount,
    /// How much of it corrections took back.
    pub corrected: Amount,
    /// Whether what is unused of it was taken back, and what comes back to it later, too.
    pub closed: bool,
    /// Lower burns first.
    pub priority: u8,
    /// From when it can be burned.
    pub effective_at: Timestamp,
    /// First moment at which it can no longer be burned; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// Why it was granted, for people.
    pub reason: Option<String>,
}

/// What one usage took beyond all credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdraft {
    /// The entry of the usage.
    pub entry: u64,
    /// What of it is owed.
    pub owed: Amount,
    /// The credit that settled the rest: given back where the usage is taken back.
    pub settled: Vec<Burn>,
}

/// Where credit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The allowance of the month, under the plan in force in the segment with this number.
    Allowance(i32),
    /// The trial.
    Trial,
    /// The grant made by the entry with this number.
    Grant(u64),
    /// Nowhere: taken beyond all credit, to be settled by the next. Negative where that settled it.
    Overdraft,
    /// Nowhere: billed as overage.
    Overage,
}

impl Source {
    /// Whether what is held of the other is held of this: an allowance is that of its month, under whichever plan.
    pub(crate) fn shares_with(self, other: Self) -> bool {
        match (self, other) {
            (Self::Allowance(one), Self::Allowance(other)) => {
                Period::month_of_segment(one) == Period::month_of_segment(other)
            }
            _ => self == other,
        }
    }

    /// Whether what is burned of the other is burned of this, as it is at the end of its segment of a month.
    pub(crate) fn takes_in(self, other: Self) -> bool {
        match (self, other) {
            (Self::Allowance(until), Self::Allowance(of)) => self.shares_with(other) && of <= until,
            _ => self == other,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowance(segment) => {
                write!(formatter, "allowance {}", Period::month_of_segment(*segment).label())
            }
            Self::Trial => formatter.write_str("trial"),
            Self::Grant(entry) => write!(formatter, "top_up {entry}"),
            Self::Overdraft => formatter.write_str("overdraft"),
            Self::Overage => formatter.write_str("overage"),
        }
    }
}

/// Which notices on credit have gone out in a period; a raised limit re-arms them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreditMarks {
    /// The number of the month, or `None` for the trial.
    pub month: Option<i32>,
    /// The highest threshold crossed, in percent …
    pub percent: u8,
    /// … of this much credit.
    pub percent_of: Amount,
    /// The credit that was reported as used up.
    pub reached_of: Amount,
    /// The credit that was forecast to run out.
    pub on_track_of: Amount,
    /// Whether a denial was reported.
    pub denied: bool,
}

impl AllowanceUse {
    /// The number of the month.
    #[must_use]
    pub const fn month(&self) -> i32 {
        Period::month_of_segment(self.segment).number
    }
}

impl Grant {
    /// How much it grants, less what was taken back of it.
    #[must_use]
    pub fn granted(&self) -> Amount {
        if self.closed { self.burned } else { self.amount - self.corrected }
    }

    /// How much of it can be burned at a moment, or later.
    #[must_use]
    pub fn unused(&self, at: Timestamp) -> Amount {
        let expired = self.expires_at.is_some_and(|expiry| expiry <= at);
        if expired { Amount::ZERO } else { (self.granted() - self.burned).at_least_zero() }
    }
}

impl Account {
    /// Nothing was ever counted, burned or granted.
    #[must_use]
    pub fn nothing() -> &'static Self {
        static NOTHING: LazyLock<Account> = LazyLock::new(Account::default);
        &NOTHING
    }

    /// What was burned of a month's allowance, under whichever plan.
    #[must_use]
    pub fn allowance_burned(&self, month: i32) -> Amount {
        let of_month = self.allowances.iter().filter(|allowance| allowance.month() == month);
        of_month.map(|allowance| allowance.burned).sum()
    }

    /// What was burned of a month's allowance until a segment of it ended.
    #[must_use]
    pub fn allowance_burned_until(&self, segment: i32) -> Amount {
        let month = Period::month_of_segment(segment).number;
        let until = self
            .allowances
            .iter()
            .filter(|allowance| allowance.month() == month && allowance.segment <= segment);
        until.map(|allowance| allowance.burned).sum()
    }

    /// The marks of a period; fresh ones if nothing was noticed in it.
    #[must_use]
    pub fn marks_of(&self, month: Option<i32>) -> CreditMarks {
        let known = self.marks.iter().find(|marks| marks.month == month).copied();
        known.unwrap_or(CreditMarks { month, ..CreditMarks::default() })
    }

    /// Remembers the marks of a period.
    pub(crate) fn set_marks(&mut self, marks: CreditMarks) {
        match self.marks.iter_mut().find(|known| known.month == marks.month) {
            Some(known) => *known = marks,
            None => self.marks.push(marks),
        }
        if self.marks.len() > MARKS_KEPT {
            self.marks.remove(0);
        }
    }

    /// Burns (or, with a negated amount, restores).
    pub(crate) fn burn(&mut self, burn: Burn) {
        match burn.source {
            Source::Allowance(segment) => self.burn_allowance(segment, burn.amount),
            Source::Trial => self.trial_burned += burn.amount,
            Source::Grant(entry) => {
                if let Some(grant) = self.grants.iter_mut().find(|grant| grant.entry == entry) {
                    grant.burned += burn.amount;
                }
            }
            Source::Overdraft | Source::Overage => {}
        }
    }

    /// What is owed: taken beyond all credit, and not settled.
    #[must_use]
    pub fn debt(&self) -> Amount {
        self.overdrafts.iter().map(|overdraft| overdraft.owed).sum()
    }

    /// Notes that the usage of an entry took something beyond all credit.
    pub(crate) fn overdraw(&mut self, entry: u64, amount: Amount) {
        self.overdrafts.push(Overdraft { entry, owed: amount, settled: Vec::new() });
        if self.overdrafts.len() > OVERDRAFTS_KEPT {
            self.overdrafts.remove(0);
        }
    }

    /// Takes the burns that settle debt, the oldest first, or those that give back what settled some.
    pub(crate) fn settle(&mut self, burns: &[Burn]) {
        for burn in burns.iter().filter(|burn| burn.source != Source::Overdraft) {
            self.burn(*burn);
            let mut left = burn.amount;
            for overdraft in &mut self.overdrafts {
                let amount = left.min(overdraft.owed);
                if amount.is_positive() {
                    overdraft.owed -= amount;
                    left -= amount;
                    add_burn(&mut overdraft.settled, burn.source, amount);
                }
            }
        }
    }

    /// Notes that all credit in force until a moment has settled what it could.
    pub(crate) fn note_debt(&mut self, at: Timestamp) {
        self.debt_since =
            self.debt().is_positive().then(|| self.debt_since.map_or(at, |since| since.max(at)));
    }

    /// Takes credit back of the grants of some entries, and closes one.
    pub(crate) fn void(&mut self, grants: &[(u64, Amount)], closes: Option<u64>) {
        for grant in &mut self.grants {
            let taken = grants.iter().filter(|(entry, _)| *entry == grant.entry);
            grant.corrected += taken.map(|(_, amount)| *amount).sum();
            grant.closed |= closes == Some(grant.entry);
        }
    }

    fn burn_allowance(&mut self, segment: i32, amount: Amount) {
        if let Some(allowance) = self.allowances.iter_mut().find(|allowance| allowance.segment == segment) {
            allowance.burned += amount;
            return;
        }
        if !amount.is_positive() {
            // A restored allowance that is no longer kept: its month can no longer be used.
            return;
        }
        let place = self.allowances.partition_point(|allowance| allowance.segment < segment);
        self.allowances.insert(place, AllowanceUse { segment, burned: amount });
        let newest = self.allowances.last().map_or(0, AllowanceUse::month);
        // Old months go, but never the one that was just burned.
        self.allowances.retain(|allowance| {
            allowance.segment == segment || newest.saturating_sub(allowance.month()) < ALLOWANCE_MONTHS_KEPT
        });
    }

    /// Adds to a day's total (negative: a reversal).
    pub(crate) fn count_day(&mut self, day: i32, amount: Amount) {
        self.first_day = Some(self.first_day.map_or(day, |first| first.min(day)));
        if let Some(known) = self.days.iter_mut().find(|known| known.day == day) {
            known.amount += amount;
            return;
        }
        if !amount.is_positive() {
            return;
        }
        let place = self.days.partition_point(|known| known.day < day);
        self.days.insert(place, DayUse { day, amount });
        let newest = self.days.last().map_or(day, |known| known.day);
        self.days.retain(|known| i64::from(newest) - i64::from(known.day) <= FORECAST_DAYS);
    }

    /// Drops grants that expired long ago.
    pub(crate) fn forget_expired(&mut self, at: Timestamp) {
        let now = at.as_second();
        self.grants.retain(|grant| {
            grant
                .expires_at
                .is_none_or(|expiry| expiry.as_second().saturating_add(EXPIRED_GRANT_KEEP_SECS) > now)
        });
    }
}
