//! One organization.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use tollgate_api::{
    BalanceReply, HoldPage, LedgerPage, LimitsReply, OrgItem, OrgNoticesReply, PlanReply, TopUpPage,
    UsageSeries,
};
use tollgate_console::{Answered, Bar, Chart, Limited, Mark, OrgHead, OrgTab, OrgView, Section};
use tollgate_domain::{Amount, MeterId, OrgId, Period, Window, Zone};

use super::session::Visitor;
use super::{encoded, meter_choices, once, page, plan_choices, said};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{OrgPath, Query};
use crate::limits::{CHARTS_MAX, HOLDS_LISTED};
use crate::native;
use crate::reply::Failure;

/// Plan, credit, limits, and what may be done.
pub(crate) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    OrgPath(org): OrgPath,
    mut query: Query,
) -> Result<Response, Failure> {
    let word = query.take("done");
    let mut given = |name| query.take(name).unwrap_or_default();
    let limited = Limited { user: given("user"), path: given("path") };
    query.end()?;
    summary(&app, &visitor, org, word.as_deref(), limited, None, None).await
}

/// The page, with what was just done, or with a form that was refused.
pub(super) async fn summary(
    app: &App,
    visitor: &Visitor,
    org: OrgId,
    word: Option<&str>,
    limited: Limited,
    sent: Option<Answered>,
    link: Option<(String, String)>,
) -> Result<Response, Failure> {
    let caller = || visitor.caller.clone();
    let at = || (State(app.clone()), caller(), OrgPath(org.clone()));
    let (state, who, path) = at();
    let known: OrgItem = said(native::orgs::show(state, who, path, super::NO_QUERY)).await?;
    let (state, who, path) = at();
    let plan: PlanReply = said(native::plans::show(state, who, path, super::NO_QUERY)).await?;
    let (state, who, path) = at();
    let balance: BalanceReply =
        said(native::balance::show(state, who, path, Query::of([("users_limit", "0")]))).await?;
    let (state, who, path) = at();
    let limits: LimitsReply = said(native::orgs::show_limits(state, who, path, super::NO_QUERY)).await?;
    let (state, who, path) = at();
    let told_at: OrgNoticesReply = said(native::org_notices::show(state, who, path, super::NO_QUERY)).await?;
    let (state, who, path) = at();
    let top_ups: TopUpPage =
        said(native::top_ups::list(state, who, path, Query::of([("limit", "20")]))).await?;
    let (state, who, path) = at();
    let ledger: LedgerPage =
        said(native::ledger::list(state, who, path, Query::of([("limit", "8")]))).await?;
    let (state, who, path) = at();
    let holds: HoldPage =
        said(native::holds::list(state, who, path, Query::of([("limit", HOLDS_LISTED)]))).await?;
    let charts = charts(app, &visitor.caller, &org, &known.time_zone, &balance).await?;
    let status = sent.as_ref().map_or(200, |sent| sent.problem.status);
    let title = known.name.clone().unwrap_or_else(|| known.org.clone());
    let view = OrgView {
        frame: visitor.frame_after(Section::Orgs, &title, word),
        head: head(&known, OrgTab::Summary),
        org: known,
        plan,
        balance,
        limits,
        told_at,
        top_ups: top_ups.top_ups,
        more_holds: holds.next.is_some(),
        holds: holds.holds,
        entries: ledger.entries,
        charts,
        plans: plan_choices(app),
        meters: meter_choices(app),
        sent,
        once: once()?,
        link,
        limited,
    };
    page(StatusCode::from_u16(status).unwrap_or_default(), &view)
}

/// What is above every page of an organization.
pub(super) fn head(org: &OrgItem, tab: OrgTab) -> OrgHead {
    OrgHead {
        path: encoded(&org.org),
        org: org.org.clone(),
        name: org.name.clone(),
        zone: org.time_zone.clone(),
        plan: org.plan.clone(),
        tab,
    }
}

/// The same, of an organization that is not read yet.
pub(super) async fn head_of(
    app: &App,
    visitor: &Visitor,
    org: &OrgId,
    tab: OrgTab,
) -> Result<OrgHead, Failure> {
    let (state, caller) = (State(app.clone()), visitor.caller.clone());
    let known: OrgItem =
        said(native::orgs::show(state, caller, OrgPath(org.clone()), super::NO_QUERY)).await?;
    Ok(head(&known, tab))
}

/// The usage of this month by day, with what is expected of its rest, of each meter with usage.
pub(super) async fn charts(
    app: &App,
    caller: &Caller,
    org: &OrgId,
    zone: &str,
    balance: &BalanceReply,
) -> Result<Vec<(String, Chart)>, Failure> {
    let zone = Zone::new(zone).unwrap_or(Zone::UTC);
    let now = app.engine.clock().now();
    let (month, today) = (zone.period_at(Window::Month, now), zone.period_at(Window::Day, now));
    let used = balance.meters.iter().filter(|(_, line)| line.month.0.is_positive());
    let mut charts = Vec::new();
    for (meter, line) in used.take(CHARTS_MAX) {
        let asked = Query::of([("meter", meter.as_str()), ("from", &month.label()), ("limit", "31")]);
        let (state, path) = (State(app.clone()), OrgPath(org.clone()));
        let by_day =
            native::series::series(state, caller.clone(), path, asked, Uri::default(), HeaderMap::new());
        let by_day: UsageSeries = said(by_day).await?;
        let name = MeterId::new(meter)
            .ok()
            .and_then(|id| Some(app.engine.catalog().catalog.meter(&id)?.name.clone()));
        let chart = Chart {
            caption: format!("{} by day, {}", name.clone().unwrap_or_else(|| meter.clone()), month.label()),
            unit: name.unwrap_or_else(|| meter.clone()),
            bars: days(month, today, &by_day, line.projected.map(|projected| projected.0)),
        };
        charts.push((meter.clone(), chart));
    }
    Ok(charts)
}

/// A bar for each day of a month: what was counted, and behind today an even share of what is still expected.
fn days(month: Period, today: Period, series: &UsageSeries, projected: Option<Amount>) -> Vec<Bar> {
    let counted = |label: &str| {
        let point = series.points.iter().find(|point| point.period == label);
        point.map_or(Amount::ZERO, |point| point.quantity.0)
    };
    let sum: Amount = series.points.iter().map(|point| point.quantity.0).sum();
    let (first, after) = Period::days_of_month(month.number);
    let left = i64::from((after - 1).saturating_sub(today.number));
    let expected = projected.map_or(Amount::ZERO, |projected| (projected - sum).at_least_zero());
    let bar = |number: i32| {
        let label = Period::day(number).label();
        if number > today.number {
            Bar { label, value: expected.scale_floor(1, left), mark: Mark::Expected }
        } else {
            Bar { value: counted(&label), label, mark: Mark::Counted }
        }
    };
    (first..after).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_is_shared_out_behind_today() {
        let point = |period: &str, quantity| serde_json::json!({"period": period, "start": null, "end": null, "quantity": quantity});
        let series = serde_json::json!({"org": "a", "meter": "m", "window": "day", "next": null,
            "points": [point("2026-11-01", 4), point("2026-11-28", 6)]});
        let series = serde_json::from_value(series).expect("a series");
        let month = Period::parse_month("2026-11").expect("a month");
        let today = Period::parse_day("2026-11-28").expect("a day");
        let bars = days(month, today, &series, Some(Amount::from_whole(20)));
        let marks = bars.iter().filter(|bar| bar.mark == Mark::Expected).count();
        assert_eq!((bars.len(), marks), (30, 2));
        let values: Vec<String> = [0, 1, 27, 28, 29].map(|place: usize| bars[place].value.to_string()).into();
        assert_eq!(values, ["4", "0", "6", "5", "5"]);
        let last = Period::parse_day("2026-11-30").expect("a day");
        assert!(days(month, last, &series, None).iter().all(|bar| bar.mark == Mark::Counted));
    }
}
