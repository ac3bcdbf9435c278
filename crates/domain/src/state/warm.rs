//! Reading ahead: what usages will read, of many orgs at once.

use super::OrgState;
use crate::{Account, OrgCommand, Tally, Use};

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

impl OrgState {
    /// Reads a little of all that a usage will read at a distance, so that it is in the caches then; what it gives means
    /// nothing.
    #[must_use]
    pub fn warm(&self, command: &OrgCommand, distance: Distance) -> u64 {
        let (OrgCommand::Use(usage) | OrgCommand::Record(usage)) = command else { return 0 };
        match distance {
            Distance::Here => self.warm_here(usage),
            Distance::Near => self.warm_near(usage),
            Distance::Far => self.warm_far(usage),
        }
    }

    fn account_of(&self, usage: &Use) -> Option<&Account> {
        self.meter(&usage.meter)?.account.as_ref()?.value.as_ref()
    }

    fn tally_of_user(&self, usage: &Use) -> Option<&Tally> {
        self.meter(&usage.meter)?.users.get(usage.user.as_ref()?)?.value.as_ref()
    }

    fn warm_here(&self, usage: &Use) -> u64 {
        let org = self.org().map_or(0, |org| org.version ^ org.settled ^ size(&org.limits));
        let account = self.account_of(usage).map_or(0, |account| {
            let Account { allowances, grants, days, marks, tally, .. } = account;
            let counted = tally.open().iter().map(|open| u64::from(open.period.number.unsigned_abs()));
            size(allowances) ^ size(grants) ^ size(days) ^ size(marks) ^ counted.fold(0, u64::wrapping_add)
        });
        org ^ account ^ size(&self.changed) ^ u64::from(self.keys.is_empty())
    }

    fn warm_near(&self, usage: &Use) -> u64 {
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
        u64::from(org ^ account) ^ u64::from(self.meter(&usage.meter).is_some_and(|known| known.users.warm()))
    }

    fn warm_far(&self, usage: &Use) -> u64 {
        let counted = |tally: &Tally| tally.open().iter().map(|open| open.period.number.unsigned_abs()).sum();
        u64::from(self.tally_of_user(usage).map_or(0, counted))
    }
}

fn size<T>(values: &[T]) -> u64 {
    u64::try_from(values.len()).unwrap_or_default()
}
