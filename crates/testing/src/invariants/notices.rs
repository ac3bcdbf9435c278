//! Notices, by their properties: told when due, and once.

use std::collections::BTreeMap;

use tollgate_domain::{
    Allowed, Amount, Denial, Entry, Notice, NoticeKind, OrgId, Period, PolicyScope, ScopePath, Use, Window,
};

use super::hold;

/// What a notice is about: two of the same are one too many, unless a limit was raised between them.
type About = (Option<String>, Option<String>, Option<Period>, &'static str, u8);

fn about(notice: &Notice) -> About {
    let meter = notice.meter.as_ref().map(ToString::to_string);
    let path = notice.path.as_ref().map(|path| format!("path {path}"));
    let user = notice.user.as_ref().map(ToString::to_string).or(path);
    let (user, name, percent) = match &notice.kind {
        NoticeKind::ThresholdCrossed { percent, .. } => (None, "threshold", *percent),
        NoticeKind::LimitReached { credit: true, .. } => (None, "credit reached", 0),
        NoticeKind::LimitReached { credit: false, .. } => (user, "limit reached", 0),
        NoticeKind::OnTrackToRunOut { .. } => (None, "on track", 0),
        NoticeKind::FirstDenial { .. } => (None, "first denial", 0),
        NoticeKind::TrialEnding { .. } => return (None, None, None, "trial ending", 0),
        NoticeKind::TrialEnded { .. } => return (None, None, None, "trial ended", 0),
        NoticeKind::TopUpGranted { .. } => (None, "top-up", 0),
        NoticeKind::BillClosed { .. } => (None, "bill closed", 0),
        NoticeKind::GatewayBudget(budget) => (Some(budget.whose.clone()), budget.stage.name(), 0),
    };
    (meter, user, notice.period, name, percent)
}

fn limit(kind: &NoticeKind) -> Option<Amount> {
    match kind {
        NoticeKind::ThresholdCrossed { limit, .. }
        | NoticeKind::LimitReached { limit, .. }
        | NoticeKind::OnTrackToRunOut { limit, .. } => Some(*limit),
        _ => None,
    }
}

/// Each notice at most once, unless the limit was raised; how many there are.
///
/// A raise shows in the limits that the notices of the same credit name: somewhere between two alike, one is higher
/// than one before it.
pub fn check_ledger(org: &OrgId, entries: &[Entry]) -> Result<usize, String> {
    let mut count = 0;
    // Of each kind told, the lowest limit named since, and whether a higher one was named after a lower.
    let mut told: BTreeMap<About, (u64, Amount, bool)> = BTreeMap::new();
    for (entry, notice) in
        entries.iter().flat_map(|entry| entry.notices.iter().map(move |notice| (entry, notice)))
    {
        count += 1;
        let key = about(notice);
        if key.3 == "top-up" {
            continue;
        }
        let named = limit(&notice.kind);
        if let Some(named) = named {
            for (other, (_, lowest, raised)) in &mut told {
                let same_credit = other.0 == key.0
                    && other.2 == key.2
                    && other.1 == key.1
                    && (other.3 == "limit reached") == (key.3 == "limit reached");
                if same_credit {
                    *raised |= named > *lowest;
                    *lowest = named.min(*lowest);
                }
            }
        }
        if let Some((before, _, raised)) = told.get(&key) {
            hold!(
                *raised,
                "{org}: entry {} at {} tells again what entry {before} told: {notice:?}",
                entry.number,
                entry.at
            );
        }
        told.insert(key, (entry.number, named.unwrap_or_default(), false));
    }
    Ok(count)
}

fn any_told(entries: &[Entry], wanted: impl Fn(&Notice) -> bool) -> bool {
    entries.iter().flat_map(|entry| &entry.notices).any(wanted)
}

/// Whether somebody was told in this period that a meter's usage was denied.
pub fn first_denial_is_told(entries: &[Entry], usage: &Use, period: Option<Period>, denial: &Denial) -> bool {
    let worth_telling = denial.limit().is_some() || matches!(denial, Denial::NoPlan | Denial::TrialEnded);
    let first = |notice: &Notice| {
        matches!(notice.kind, NoticeKind::FirstDenial { .. })
            && notice.meter.as_ref() == Some(&usage.meter)
            && notice.period == period
    };
    !worth_telling || any_told(entries, first)
}

/// Every share of the credit that is used has been told in this period, of those that cause a notice.
pub fn credit_is_told(
    entries: &[Entry],
    thresholds: &[u8],
    usage: &Use,
    period: Option<Period>,
    allowed: &Allowed,
) -> Result<(), String> {
    let standing = allowed.standing;
    if standing.remaining.is_none() || !standing.granted.is_positive() {
        return Ok(());
    }
    let here = |notice: &Notice| notice.meter.as_ref() == Some(&usage.meter) && notice.period == period;
    for share in thresholds {
        let at = standing.granted.billionths() * i128::from(*share);
        if standing.used.billionths() * 100 >= at {
            let told = any_told(entries, |notice| {
                here(notice)
                    && matches!(notice.kind, NoticeKind::ThresholdCrossed { percent, .. } if percent >= *share)
            });
            hold!(told, "nobody was told that {share} % is used: {standing:?}");
        }
    }
    if standing.used >= standing.granted {
        let told = any_told(entries, |notice| {
            here(notice) && matches!(notice.kind, NoticeKind::LimitReached { credit: true, .. })
        });
        hold!(told, "nobody was told that the credit is used up: {standing:?}");
    }
    Ok(())
}

/// Every limit that is used up has been told in its period.
pub fn limits_are_told(entries: &[Entry], usage: &Use, allowed: &Allowed) -> Result<(), String> {
    for policy in &allowed.policies {
        let Some(period) = policy.period.filter(|_| policy.remaining.is_zero()) else { continue };
        let user = usage.user.as_ref().filter(|_| policy.scope == PolicyScope::User);
        let path = match (policy.scope, &usage.path) {
            (PolicyScope::Path(depth), Some(path)) => Some(path.first(depth)),
            _ => None,
        };
        let told = any_told(entries, |notice| {
            // A rolling window has gone on since.
            let same = notice.period.is_some_and(|told| match period.window {
                Window::Rolling(_) => told.window == period.window,
                _ => told == period,
            });
            same && notice.user.as_ref() == user
                && notice.path.as_ref().map(ScopePath::as_str) == path
                && notice.meter.as_ref() == Some(&usage.meter)
                && matches!(notice.kind, NoticeKind::LimitReached { credit: false, .. })
        });
        hold!(told, "nobody was told that a limit is reached: {policy:?}");
    }
    Ok(())
}
