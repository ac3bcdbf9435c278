//! Small answers that templates ask for.

use tollgate_api::{LimitGiver, MeterBalanceReply, OrgMeterItem, ScopeName, TopUpState};

use crate::text;

pub(crate) use crate::chart::gauge;

/// How much of its credit an organization used of a meter, in percent, where it has any.
pub(crate) fn share_of(meter: &OrgMeterItem) -> Option<i128> {
    meter.remaining.map(|remaining| text::percent(meter.used.0, meter.used.0 + remaining.0))
}

/// How much of a meter's credit is used, in percent, where it has any.
pub(crate) fn used_share(meter: &MeterBalanceReply) -> Option<i128> {
    meter.remaining.map(|remaining| text::percent(meter.used.0, meter.used.0 + remaining.0))
}

pub(crate) fn whose(scope: &ScopeName, user: &Option<String>) -> String {
    match (scope, user) {
        (ScopeName::Org, _) => "the organization".to_owned(),
        (ScopeName::User, None) => "each user".to_owned(),
        (ScopeName::User, Some(user)) => user.clone(),
    }
}

pub(crate) fn state(state: &TopUpState) -> &'static str {
    match state {
        TopUpState::Active => "active",
        TopUpState::Scheduled => "scheduled",
        TopUpState::Exhausted => "used up",
        TopUpState::Expired => "expired",
    }
}

pub(crate) fn is_open(state: &TopUpState) -> bool {
    matches!(state, TopUpState::Active | TopUpState::Scheduled)
}

pub(crate) fn giver(giver: &LimitGiver) -> &'static str {
    match giver {
        LimitGiver::Org => "set here",
        LimitGiver::Plan => "from the plan",
    }
}
