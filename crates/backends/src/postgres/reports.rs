//! What people read of bills and notices: JSON, of which the functions of the schema make columns.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tollgate_domain::{
    Adjustment, Bill, BillLine, Entry, EntryKind, Notice, NoticeKind, Period, Timestamp, Window, Zone,
};

/// The years of times that are told: nothing that is told for people may refuse an entry.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;

/// A closed bill with its lines, as the function `keep_bills` takes it; `None`: the entry closes none.
pub(super) fn bill_of(org: &str, entry: &Entry) -> Option<String> {
    let EntryKind::BillClosed(bill) = &entry.kind else { return None };
    let Bill { number, closed_at, name, zone, from, until, rated, adjustments, total } = bill.as_ref();
    let lines = rated.lines.iter().map(of_line).chain(adjustments.iter().map(of_adjustment));
    let lines: Vec<Value> = (1..).zip(lines).map(|(number, line)| numbered(number, line)).collect();
    let bill = json!({
        "org": org,
        "number": number,
        "entry": entry.number,
        "month": first_day(rated.month),
        "begins_at": time(*from),
        "ends_at": time(*until),
        "time_zone": Zone::name(zone),
        "closed_at": time(closed_at.or(Some(entry.at))),
        "name": name.as_deref().map(told),
        "plan": rated.plan().map(ToString::to_string),
        "catalog": rated.catalog(),
        "currency": total.currency.code(),
        "total": total.number(),
        "lines": lines,
    });
    Some(bill.to_string())
}

fn of_line(line: &BillLine) -> Value {
    let properties: BTreeMap<String, String> =
        line.properties.iter().map(|(name, value)| (told(name), told(value))).collect();
    json!({
        "kind": if line.meter.is_some() { "usage" } else { "fee" },
        "plan": line.price.plan.as_str(),
        "begins_at": time(line.from),
        "ends_at": time(line.until),
        "description": told(&line.description),
        "meter": line.meter.as_ref().map(ToString::to_string),
        "properties": properties,
        "quantity": line.quantity.to_string(),
        "included": line.included.to_string(),
        "billable": line.billable.to_string(),
        "amount": line.amount.number(),
        "arithmetic": told(&line.arithmetic),
    })
}

fn of_adjustment(adjustment: &Adjustment) -> Value {
    json!({
        "kind": "adjustment",
        "adjusted_month": first_day(adjustment.month),
        "amount": adjustment.amount.number(),
    })
}

fn numbered(number: u32, mut line: Value) -> Value {
    if let Value::Object(fields) = &mut line {
        fields.insert("line".to_owned(), number.into());
    }
    line
}

/// The first day of a month; `None`: one that a date of the database cannot be trusted to hold, and that no bill is of.
fn first_day(month: Period) -> Option<String> {
    YEARS.contains(&month.number.div_euclid(12)).then(|| format!("{}-01", month.label()))
}

/// A time, with the same care.
fn time(at: Option<Timestamp>) -> Option<String> {
    let month = |at| Zone::UTC.period_at(Window::Month, at).number;
    at.filter(|at| YEARS.contains(&month(*at).div_euclid(12))).map(|at| at.to_string())
}

/// A text as the database takes it, which keeps no zero character.
fn told(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// What a notice says, each number and text by a name.
pub(super) fn details_of(notice: &Notice) -> String {
    let mut details = Map::new();
    let mut say = |name: &str, value: Value| drop(details.insert(name.to_owned(), value));
    if let Some(path) = &notice.path {
        say("path", path.to_string().into());
    }
    match &notice.kind {
        NoticeKind::ThresholdCrossed { percent, used, limit } => {
            say("percent", (*percent).into());
            say("used", used.to_string().into());
            say("limit", limit.to_string().into());
        }
        NoticeKind::OnTrackToRunOut { used, projected, limit, day } => {
            say("used", used.to_string().into());
            say("projected", projected.to_string().into());
            say("limit", limit.to_string().into());
            say("runs_out_on", Period::day(*day).label().into());
        }
        NoticeKind::LimitReached { used, limit, credit } => {
            say("used", used.to_string().into());
            say("limit", limit.to_string().into());
            say("credit", (*credit).into());
        }
        NoticeKind::TrialEnding { ends_at, remaining } => {
            say("ends_at", ends_at.to_string().into());
            say("remaining", remaining.to_string().into());
        }
        NoticeKind::TrialEnded { used } => say("used", used.to_string().into()),
        NoticeKind::FirstDenial { reason } => say("reason", told(reason).into()),
        NoticeKind::TopUpGranted { amount, expires_at, plan } => {
            say("amount", amount.to_string().into());
            say("expires_at", expires_at.map(|at| at.to_string()).into());
            say("plan", plan.as_ref().map(ToString::to_string).into());
        }
        NoticeKind::BillClosed { number, total } => {
            say("number", (*number).into());
            say("total", total.number().into());
            say("currency", total.currency.code().into());
        }
        NoticeKind::GatewayBudget(budget) => {
            say("gateway", told(&budget.gateway).into());
            say("budget", told(&budget.whose).into());
            say("stage", budget.stage.name().into());
            say("spent", budget.spent.to_string().into());
            say("limit", budget.limit.to_string().into());
            say("projected", budget.projected.map(|projected| projected.to_string()).into());
        }
    }
    Value::Object(details).to_string()
}
