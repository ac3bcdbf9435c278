//! The credit, usage and limits of an organization; its users; its usage over time.

use clap::Args;
use tollgate_api::{BalanceReply, MeterBalanceReply, PathPage, UsageSeries, UserItem, UserPage};
use ureq::http::Method;

use super::org::limit_rows;
use super::pages::more;
use super::{MeterArg, Paging, Session};
use crate::client::{Route, Sent};
use crate::failure::Failure;
use crate::table::{Field, pairs, parts, rows, time, time_or};

/// `tollgate balance`
#[derive(Debug, Args)]
pub(crate) struct BalanceArgs {
    /// The organization.
    org: String,
}

/// `tollgate users`
#[derive(Debug, Args)]
pub(crate) struct UsersArgs {
    /// The organization.
    org: String,
    #[command(flatten)]
    meter: MeterArg,
    /// The month, such as 2026-11 [default: the current month]
    #[arg(long)]
    month: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

/// `tollgate paths`
#[derive(Debug, Args)]
pub(crate) struct PathsArgs {
    /// The organization.
    org: String,
    #[command(flatten)]
    meter: MeterArg,
    #[command(flatten)]
    paging: Paging,
}

/// `tollgate usage`
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// The organization.
    org: String,
    #[command(flatten)]
    meter: MeterArg,
    /// Length of each point.
    #[arg(long, value_parser = ["minute", "hour", "day", "week", "month"], default_value = "day")]
    window: String,
    /// Start: a day (2026-11-01), a month (2026-11) or a time (2026-11-21T09:00:00Z).
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// End, exclusive, written like the start.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only the usage of this user.
    #[arg(long)]
    user: Option<String>,
    /// Group by "user" or by the name of a property; may be repeated.
    #[arg(long, value_name = "NAME")]
    group_by: Vec<String>,
    /// Only usage with this value of a property; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    property: Vec<String>,
    #[command(flatten)]
    paging: Paging,
}

/// Runs `tollgate balance`.
pub(crate) fn balance(session: &mut Session, args: &BalanceArgs) -> Result<(), Failure> {
    session.show(Method::GET, &Route::v1(&["orgs", &args.org, "balance"]), &Sent::Nothing, balance_text)
}

/// Runs `tollgate users`.
pub(crate) fn users(session: &mut Session, args: &UsersArgs) -> Result<(), Failure> {
    let route = Route::v1(&["orgs", &args.org, "users"])
        .with("meter", Some(&args.meter.meter))
        .with("month", args.month.as_deref());
    let page = session.list(&route, &args.paging, "users")?;
    session.show_list(&page, "users", |page: &UserPage| {
        let empty = format!("no users of {} in {}", page.meter, page.month);
        parts(vec![user_rows(&page.users, &empty), more(page.next.as_ref())])
    })
}

/// Runs `tollgate paths`.
pub(crate) fn paths(session: &mut Session, args: &PathsArgs) -> Result<(), Failure> {
    let route = Route::v1(&["orgs", &args.org, "paths"]).with("meter", Some(&args.meter.meter));
    let page = session.list(&route, &args.paging, "paths")?;
    session.show_list(&page, "paths", paths_text)
}

/// Runs `tollgate usage`.
pub(crate) fn usage(session: &mut Session, args: &UsageArgs) -> Result<(), Failure> {
    let mut route = Route::v1(&["orgs", &args.org, "usage"])
        .with("meter", Some(&args.meter.meter))
        .with("window", Some(&args.window))
        .with("from", args.from.as_deref())
        .with("to", args.to.as_deref())
        .with("user", args.user.as_deref());
    for name in &args.group_by {
        route = route.with("group_by", Some(name));
    }
    for property in &args.property {
        let Some((name, value)) = property.split_once('=') else {
            return Err(Failure::Usage(format!("property: '{property}' is not NAME=VALUE")));
        };
        route = route.with(&format!("property.{name}"), Some(value));
    }
    let page = session.list(&route, &args.paging, "points")?;
    session.show_list(&page, "points", series_text)
}

fn balance_text(balance: &BalanceReply) -> String {
    let about = pairs(vec![
        ("org", (&balance.org).into()),
        ("plan", (&balance.plan).into()),
        ("at", time(&balance.at)),
    ]);
    let meters = balance.meters.iter().map(|(meter, stands)| {
        vec![
            Field::from(meter),
            stands.allowance.into(),
            stands.topped_up.into(),
            stands.used.into(),
            stands.remaining.into(),
            stands.month.into(),
            stands.projected.into(),
            (&stands.runs_out_on).into(),
            time_or(stands.resets_at.as_ref(), "-"),
        ]
    });
    let headings = [
        "meter",
        "allowance",
        "topped up",
        "used",
        "remaining",
        "this month",
        "projected",
        "runs out on",
        "resets at",
    ];
    let mut all = vec![about, rows(&headings, meters.collect(), "no meters: no plan, and nothing used")];
    for (meter, stands) in &balance.meters {
        all.extend(meter_parts(meter, stands));
    }
    parts(all)
}

/// The credit, the limits and the users of a meter, each if there are any.
fn meter_parts(meter: &str, stands: &MeterBalanceReply) -> Vec<String> {
    let mut all = Vec::new();
    if !stands.credits.is_empty() {
        let lines = stands.credits.iter().map(|credit| {
            let source = credit
                .entry
                .map_or_else(|| credit.source.clone(), |entry| format!("{} (entry {entry})", credit.source));
            vec![
                Field::from(meter),
                source.into(),
                credit.granted.into(),
                credit.used.into(),
                u64::from(credit.priority).into(),
                time_or(credit.expires_at.as_ref(), "never"),
            ]
        });
        let headings = ["meter", "credit, as it burns", "granted", "used", "priority", "expires at"];
        all.push(rows(&headings, lines.collect(), ""));
    }
    if !stands.limits.is_empty() {
        all.push(limit_rows(&stands.limits, ""));
    }
    if !stands.users.is_empty() {
        all.push(user_rows(&stands.users, ""));
    }
    all
}

fn user_rows(users: &[UserItem], empty: &str) -> String {
    let lines = users.iter().map(|user| {
        vec![Field::from(&user.user), user.used.into(), user.limit.into(), user.remaining.into()]
    });
    rows(&["user", "used", "limit", "remaining"], lines.collect(), empty)
}

/// A row for each limit of a path.
fn paths_text(page: &PathPage) -> String {
    let lines = page.paths.iter().flat_map(|path| {
        path.limits.iter().map(|limit| {
            vec![
                Field::from(&path.path),
                limit.window.to_string().into(),
                limit.amount.into(),
                limit.used.into(),
                limit.held.into(),
                limit.remaining.into(),
                time_or(limit.resets_at.as_ref(), "-"),
            ]
        })
    });
    let headings = ["path", "window", "amount", "used", "held", "remaining", "resets at"];
    let empty = format!("no paths with limits on {}", page.meter);
    parts(vec![rows(&headings, lines.collect(), &empty), more(page.next.as_ref())])
}

fn series_text(series: &UsageSeries) -> String {
    let by_user = series.points.iter().any(|point| point.user.is_some());
    let names: Vec<&String> =
        series.points.first().map(|point| point.properties.keys().collect()).unwrap_or_default();
    let mut headings = vec![series.window.as_str()];
    headings.extend(by_user.then_some("user"));
    headings.extend(names.iter().map(|name| name.as_str()));
    headings.push(&series.meter);
    let lines = series.points.iter().map(|point| {
        let mut line = vec![Field::from(&point.period)];
        line.extend(by_user.then(|| Field::from(&point.user)));
        line.extend(names.iter().map(|name| Field::from(&point.properties.get(*name).cloned().flatten())));
        line.push(point.quantity.into());
        line
    });
    let table = rows(&headings, lines.collect(), "nothing used");
    parts(vec![table, more(series.next.as_ref())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balance_shows_what_there_is() {
        let reply = r#"{"org":"acme","plan":"basic","at":"2026-11-21T05:00:00Z","meters":{"reports":{
            "allowance":100,"topped_up":20,"used":7,"held":0,"remaining":113,"overage":0,"month":7,"lifetime":9,
            "resets_at":"2026-12-01T00:00:00Z","projected":10.5,"runs_out_on":null,
            "future_credits":[],"credits":[{"source":"allowance","granted":100,"used":7,"priority":100,"expires_at":"2026-12-01T00:00:00Z"},
                       {"source":"top_up","entry":4,"granted":20,"used":0,"priority":100,"expires_at":null}],
            "limits":[],"users":[{"user":"ann","used":7,"limit":50,"remaining":43}]}}}"#;
        let balance = serde_json::from_str(reply).expect("a balance");
        assert_eq!(
            balance_text(&balance),
            "org   acme\nplan  basic\nat    2026-11-21T05:00:00Z\n\n\
             METER    ALLOWANCE  TOPPED UP  USED  REMAINING  THIS MONTH  PROJECTED  RUNS OUT ON  RESETS AT\n\
             reports        100         20     7        113           7       10.5  -            2026-12-01T00:00:00Z\n\
             \n\
             METER    CREDIT, AS IT BURNS  GRANTED  USED  PRIORITY  EXPIRES AT\n\
             reports  allowance                100     7       100  2026-12-01T00:00:00Z\n\
             reports  top_up (entry 4)          20     0       100  never\n\
             \n\
             USER  USED  LIMIT  REMAINING\n\
             ann      7     50         43\n"
        );
    }
}
