//! Notices in words.

use tollgate_api::{NoticeItem, grouped};
use tollgate_domain::{
    Amount, BudgetStage, GatewayBudget, MeterId, Money, Notice, NoticeKind, Period, Timestamp, Zone,
};
use tollgate_storage::NoticeRow;

use crate::message::Home;

/// A notice as replies and messages tell it.
#[must_use]
pub fn notice_item(row: &NoticeRow) -> NoticeItem {
    NoticeItem {
        id: format!("{}/{}/{}", row.org, row.entry, row.index),
        org: row.org.to_string(),
        kind: row.notice.kind.name().to_owned(),
        at: row.at.to_string(),
        entry: row.entry,
        meter: row.notice.meter.clone().map(Into::into),
        user: row.notice.user.clone().map(Into::into),
        path: row.notice.path.clone().map(Into::into),
        period: row.notice.period.map(Period::label),
        summary: notice_summary(&row.notice),
    }
}

/// What happened, in a line for people.
#[must_use]
pub fn notice_summary(notice: &Notice) -> String {
    let meter = notice.meter.as_ref().map_or("", MeterId::as_str);
    match &notice.kind {
        NoticeKind::ThresholdCrossed { percent, used, limit } => {
            format!("{percent} % of the {meter} are used: {} of {}", grouped(used), grouped(limit))
        }
        NoticeKind::OnTrackToRunOut { used, projected, limit, day } => {
            let day = Period::day(*day).label();
            let [used, projected, limit] = [used, projected, limit].map(grouped);
            format!(
                "on track to run out of {meter} on {day}: {used} of {limit} used, {projected} expected this month"
            )
        }
        NoticeKind::LimitReached { used, limit, credit } => {
            let whose = match (&notice.user, &notice.path) {
                (Some(user), _) => format!("user '{user}'"),
                (None, Some(path)) => format!("path '{path}'"),
                (None, None) => "the organization".to_owned(),
            };
            let what = if *credit { "credit" } else { "limit" };
            format!("{whose} has reached the {what} of {} {meter} ({} used)", grouped(limit), grouped(used))
        }
        NoticeKind::TrialEnding { ends_at, remaining } => {
            format!("the trial ends: {} {meter} left, until {ends_at}", grouped(remaining))
        }
        NoticeKind::TrialEnded { used } => format!("the trial is over: {} {meter} used", grouped(used)),
        NoticeKind::FirstDenial { reason } => {
            format!("the first denial of {meter} this period: {}", reason.replace('_', " "))
        }
        NoticeKind::TopUpGranted { amount, expires_at, .. } => {
            let until = expires_at.map_or_else(|| "for ever".to_owned(), |at| format!("until {at}"));
            format!("{} {meter} were added {until}", grouped(amount))
        }
        NoticeKind::BillClosed { number, total } => {
            let month = notice.period.map(Period::label).unwrap_or_default();
            format!("bill {number} of {month} is closed: {}", price(total))
        }
        NoticeKind::GatewayBudget(budget) => budget_summary(budget),
    }
}

/// What a gateway told of a budget, as one should know that the gateway is who says so.
fn budget_summary(budget: &GatewayBudget) -> String {
    let GatewayBudget { gateway, whose, stage, spent, limit, projected } = budget;
    let (spent, limit) = (grouped(spent), grouped(limit));
    let projected =
        projected.map_or_else(String::new, |projected| format!(", {} expected", grouped(projected)));
    let stands = match stage {
        BudgetStage::Nearly => "is nearly used up",
        BudgetStage::Soft => "has reached its soft limit",
        BudgetStage::Reached => "is used up",
        BudgetStage::Projected => "will be used up at this pace",
    };
    format!("{gateway} says: the budget of {whose} {stands}: {spent} of {limit} USD spent{projected}")
}

/// What there is to know of a notice, each with what it is called, for people.
pub(crate) fn notice_facts(row: &NoticeRow, home: &Home) -> Vec<(&'static str, String)> {
    let NoticeRow { org, at, notice, .. } = row;
    let time = |at: &Timestamp| time_at(&home.zone, *at);
    let whose = home.name.as_ref().map_or_else(|| org.to_string(), |name| format!("{name} ({org})"));
    let mut facts = vec![("Organization", whose)];
    facts.extend(notice.user.iter().map(|user| ("User", user.to_string())));
    facts.extend(notice.path.iter().map(|path| ("Path", path.to_string())));
    facts.extend(notice.meter.iter().map(|meter| ("Meter", meter.to_string())));
    facts.extend(notice.period.map(|period| ("Period", period.label())));
    match &notice.kind {
        NoticeKind::ThresholdCrossed { used, limit, .. } => {
            facts.extend([
                ("Used", grouped(used)),
                ("Credit", grouped(limit)),
                ("Left", left(*limit, *used)),
            ]);
        }
        NoticeKind::OnTrackToRunOut { used, projected, limit, day } => facts.extend([
            ("Used", grouped(used)),
            ("Credit", grouped(limit)),
            ("Expected this month", grouped(projected)),
            ("Runs out on", Period::day(*day).label()),
        ]),
        NoticeKind::LimitReached { used, limit, credit } => {
            facts.extend([
                ("Used", grouped(used)),
                (if *credit { "Credit" } else { "Limit" }, grouped(limit)),
            ]);
        }
        NoticeKind::TrialEnding { ends_at, remaining } => {
            facts.extend([("Left", grouped(remaining)), ("Trial ends", time(ends_at))]);
        }
        NoticeKind::TrialEnded { used } => facts.push(("Used", grouped(used))),
        NoticeKind::FirstDenial { reason } => facts.push(("Reason", reason.replace('_', " "))),
        NoticeKind::TopUpGranted { amount, expires_at, plan } => {
            facts.push(("Added", grouped(amount)));
            facts.push(("Expires", expires_at.as_ref().map_or_else(|| "never".to_owned(), time)));
            facts.extend(plan.iter().map(|plan| ("Plan", plan.to_string())));
        }
        NoticeKind::BillClosed { number, total } => {
            facts.extend([("Bill", number.to_string()), ("Total", price(total))]);
        }
        NoticeKind::GatewayBudget(budget) => {
            let usd = |amount| format!("{} USD", grouped(amount));
            facts.extend([
                ("Told by", budget.gateway.clone()),
                ("Budget of", budget.whose.clone()),
                ("Spent", usd(&budget.spent)),
                ("Budget", usd(&budget.limit)),
            ]);
            facts.extend(budget.projected.iter().map(|projected| ("Expected", usd(projected))));
        }
    }
    facts.push(("When", time(at)));
    facts
}

/// What is left of a credit; nothing where more was used.
fn left(limit: Amount, used: Amount) -> String {
    grouped((limit - used).at_least_zero())
}

fn price(total: &Money) -> String {
    format!("{} {}", grouped(total.number()), total.currency)
}

/// A time as the clocks of a zone show it, to the minute.
pub(crate) fn time_at(zone: &Zone, at: Timestamp) -> String {
    let text = zone.text(at);
    let minute = text.get(..16).map_or_else(|| text.clone(), |minute| minute.replace('T', " "));
    format!("{minute} ({})", zone.name())
}

#[cfg(test)]
mod tests {
    use tollgate_domain::OrgId;

    use super::*;

    fn facts(kind: NoticeKind, zone: &str, name: Option<&str>) -> Vec<(&'static str, String)> {
        let at = "2026-11-02T23:30:00Z".parse().expect("a time");
        let meter = Some(MeterId::new("tokens").expect("an id"));
        let notice = Notice { path: None, meter, user: None, period: Period::parse_month("2026-11"), kind };
        let row = NoticeRow { org: OrgId::new("acme").expect("an id"), entry: 5, index: 0, at, notice };
        let home = Home { name: name.map(str::to_owned), zone: Zone::new(zone).expect("a zone") };
        notice_facts(&row, &home)
    }

    #[test]
    fn facts_have_numbers_and_times_that_a_person_can_read() {
        let crossed = NoticeKind::ThresholdCrossed {
            percent: 80,
            used: Amount::from_billionths(1_600_000_500_000_000),
            limit: Amount::from_whole(2_000_000),
        };
        let wanted = [
            ("Organization", "Acme Inc. (acme)"),
            ("Meter", "tokens"),
            ("Period", "2026-11"),
            ("Used", "1,600,000.5"),
            ("Credit", "2,000,000"),
            ("Left", "399,999.5"),
            ("When", "2026-11-03 00:30 (Europe/Berlin)"),
        ];
        assert_eq!(
            facts(crossed, "Europe/Berlin", Some("Acme Inc.")),
            wanted.map(|(name, text)| (name, text.to_owned()))
        );
        let added = NoticeKind::TopUpGranted { amount: Amount::from_whole(5), expires_at: None, plan: None };
        assert!(facts(added, "UTC", None).contains(&("Expires", "never".to_owned())));
        let denied = NoticeKind::FirstDenial { reason: "credit_exhausted".to_owned() };
        assert!(facts(denied, "UTC", None).contains(&("Reason", "credit exhausted".to_owned())));
    }
}
