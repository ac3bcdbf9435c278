//! Reading ahead: what usages and holds will read, of many orgs at once.

use super::OrgState;
use crate::{Account, MeterId, OrgCommand, Tally, Use, UserId};

/// How far something lies from an org that is found: memory is asked for what lies equally far of many orgs together, and
/// then for what that points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// In the org itself.
    Here,
    /// What it points to.
    Near,
    /// What that points to.
    Far,
}

impl Distance {
    /// In the order in which they are read.
    pub const ALL: [Self; 3] = [Self::Here, Self::Near, Self::Far];
}

/// What will be looked for: a meter, and its user.
struct Sought<'a> {
    meter: &'a MeterId,
    user: Option<&'a UserId>,
}

impl<'a> From<&'a Use> for Sought<'a> {
    fn from(usage: &'a Use) -> Self {
        Self { meter: &usage.meter, user: usage.user.as_ref() }
    }
}

impl OrgState {
    /// Reads a little of all that a usage, a hold or a capture will read at a distance, so that it is in the caches then; what
    /// it gives means nothing.
    #[must_use]
    pub fn warm(&self, command: &OrgCommand, distance: Distance) -> u64 {
        match command {
            OrgCommand::Use(usage) | OrgCommand::Record(usage) => self.warm_usage(&usage.into(), distance),
            OrgCommand::Hold(take) => {
                let usage = Sought::from(&take.usage);
                self.warm_usage(&usage, distance) ^ self.warm_holds(&usage, distance)
            }
            OrgCommand::Capture(capture) => self.warm_capture(capture.hold, distance),
            _ => 0,
        }
    }

    fn warm_usage(&self, usage: &Sought<'_>, distance: Distance) -> u64 {
        match distance {
            Distance::Here => self.warm_here(usage),
            Distance::Near => self.warm_near(usage),
            Distance::Far => self.warm_far(usage),
        }
    }

    fn warm_holds(&self, usage: &Sought<'_>, distance: Distance) -> u64 {
        let holds = self.org().and_then(|org| org.holds.as_deref());
        holds.map_or(0, |holds| match distance {
            Distance::Here => 1,
            Distance::Near => number(holds.warm_near()),
            Distance::Far => number(holds.warm_far(usage.meter)),
        })
    }

    /// What is counted is known by the hold, which is some way off itself.
    fn warm_capture(&self, number: u64, distance: Distance) -> u64 {
        let Some(org) = self.org() else { return 0 };
        let hold = || org.hold(number).map(|hold| Sought { meter: &hold.meter, user: hold.user.as_ref() });
        match distance {
            Distance::Here => org.version ^ u64::from(org.holds.is_some()),
            Distance::Near => hold().map_or(0, |hold| self.warm_here(&hold)),
            Distance::Far => hold().map_or(0, |hold| {
                let holds = self.warm_holds(&hold, Distance::Near) ^ self.warm_holds(&hold, Distance::Far);
                holds ^ self.warm_near(&hold) ^ self.warm_far(&hold)
            }),
        }
    }

    fn account_of(&self, usage: &Sought<'_>) -> Option<&Account> {
        self.meter(usage.meter)?.account.as_ref()?.value.as_ref()
    }

    fn tally_of_user(&self, usage: &Sought<'_>) -> Option<&Tally> {
        self.meter(usage.meter)?.users.get(usage.user?)?.value.as_ref()
    }

    fn warm_here(&self, usage: &Sought<'_>) -> u64 {
        let org = self.org().map_or(0, |org| org.version ^ org.settled ^ size(&org.limits));
        let account = self.account_of(usage).map_or(0, |account| {
            let Account { allowances, grants, days, marks, tally, .. } = account;
            let counted = tally.open().iter().map(|open| u64::from(open.period.number.unsigned_abs()));
            size(allowances) ^ size(grants) ^ size(days) ^ size(marks) ^ counted.fold(0, u64::wrapping_add)
        });
        org ^ account ^ size(&self.changed) ^ u64::from(self.keys.is_empty())
    }

    fn warm_near(&self, usage: &Sought<'_>) -> u64 {
        let org = self.org().map_or(0, |org| {
            let plan = org.plans.last().map_or(0, |last| last.number);
            plan ^ org.limits.first().map_or(0, |limit| u32::from(limit.is_on_users()))
        });
        let account = self.account_of(usage).map_or(0, |account| {
            let Account { allowances, grants, days, marks, tally, .. } = account;
            let allowance = allowances.last().map_or(0, |last| last.segment.unsigned_abs());
            let grant = grants.last().map_or(0, |last| u32::from(last.priority));
            let day = days.last().map_or(0, |last| last.day.unsigned_abs());
            let mark = marks.last().map_or(0, |last| u32::from(last.percent));
            let extras = tally.open().iter().filter(|open| !open.counter.extras().overage.is_zero()).count();
            allowance ^ grant ^ day ^ mark ^ u32::from(extras > 0)
        });
        u64::from(org ^ account) ^ u64::from(self.meter(usage.meter).is_some_and(|known| known.users.warm()))
    }

    fn warm_far(&self, usage: &Sought<'_>) -> u64 {
        let counted = |tally: &Tally| tally.open().iter().map(|open| open.period.number.unsigned_abs()).sum();
        u64::from(self.tally_of_user(usage).map_or(0, counted))
    }
}

fn size<T>(values: &[T]) -> u64 {
    number(values.len())
}

fn number(of: usize) -> u64 {
    u64::try_from(of).unwrap_or_default()
}
