//! Reading ahead: what usages will read, of many orgs at once.

use super::OrgState;
use crate::{Account, OrgCommand, Tally};

impl OrgState {
    /// Reads a little of all that a usage will read, so that it is in the caches then; what it gives means nothing.
    #[must_use]
    pub fn warm(&self, command: &OrgCommand) -> u64 {
        let (OrgCommand::Use(usage) | OrgCommand::Record(usage)) = command else { return 0 };
        let of_tally =
            |tally: &Tally| tally.open().iter().map(|open| open.period.number.unsigned_abs()).sum();
        let of_account = |account: &Account| {
            let Account { allowances, grants, days, marks, tally, .. } = account;
            let allowance = allowances.last().map_or(0, |last| last.segment.unsigned_abs());
            let grant = grants.last().map_or(0, |last| u32::from(last.priority));
            let day = days.last().map_or(0, |last| last.day.unsigned_abs());
            let mark = marks.last().map_or(0, |last| u32::from(last.percent));
            [allowance, grant, day, mark, of_tally(tally)]
        };
        let plan = self.org().and_then(|org| org.plans.last()).map_or(0, |last| last.number);
        let known = self.meter(&usage.meter);
        let account = known.and_then(|known| known.account.as_ref()?.value.as_ref());
        let user = known.zip(usage.user.as_ref());
        let user = user.and_then(|(known, user)| known.users.get(user)?.value.as_ref());
        let read = account.map(of_account).into_iter().flatten().chain(user.map(of_tally));
        read.chain([plan, u32::from(self.keys.is_empty())])
            .map(u64::from)
            .fold(self.version(), u64::wrapping_add)
    }
}
