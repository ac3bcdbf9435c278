//! Usage over time.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tollgate_api::{Code, Problem, UsagePoint, UsageSeries};
use tollgate_console::{Bar, Chart, Choice, Mark, Section, UsageForm, UsageView};
use tollgate_domain::{MeterId, OrgId, Period};

use super::session::Visitor;
use super::{address, meter_choices, next_page, page, said};
use crate::app::App;
use crate::extract::{GROUP_BY, OrgPath, Query};
use crate::native;
use crate::reply::Failure;

/// What a form of usage may ask.
const ASKED: [&str; 7] = ["org", "meter", "window", GROUP_BY, "user", "from", "to"];

/// Points of a page: a year of days.
const POINTS: &str = "366";

/// Most bars of a chart: beyond it they are too thin to see.
const BARS_MAX: usize = 400;

/// The usage of an organization.
pub(crate) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    mut query: Query,
) -> Result<Response, Failure> {
    let mut asked = query.take_given(&ASKED);
    let cursor = query.take("cursor");
    query.end()?;
    if let Some(bound) = &visitor.caller.org {
        asked.entry("org".to_owned()).or_insert_with(|| bound.to_string());
    }
    let meters = meter_choices(&app);
    if let Some(first) = meters.first() {
        asked.entry("meter".to_owned()).or_insert_with(|| first.value.clone());
    }
    asked.entry("window".to_owned()).or_insert_with(|| "day".to_owned());
    let found = match asked.contains_key("org") {
        true => series(&app, &visitor, &asked, cursor.as_deref()).await.map(Some),
        false => Ok(None),
    };
    let (series, wrong) = match found {
        Ok(series) => (series, None),
        Err(failure) if failure.problem.status < 500 && failure.problem.code != Code::Forbidden => {
            (None, Some(*failure.problem))
        }
        Err(failure) => return Err(failure),
    };
    let split = asked.get(GROUP_BY).map(|by| if by == "user" { "User".to_owned() } else { by.clone() });
    let points = series.as_ref().map_or(&[][..], |series| &series.points);
    let view = UsageView {
        frame: visitor.frame(Section::Usage, "Usage"),
        chart: series.as_ref().filter(|_| split.is_none()).and_then(chart),
        points: points.iter().map(|point| (point.period.clone(), whose(point), point.quantity)).collect(),
        of: split,
        csv: address("/console/usage.csv", asked.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
        next: next_page(
            Section::Usage.path(),
            &asked,
            series.as_ref().and_then(|series| series.next.as_deref()),
        ),
        form: UsageForm { splits: splits(&app, &asked), asked, meters, wrong },
    };
    page(StatusCode::OK, &view)
}

async fn series(
    app: &App,
    visitor: &Visitor,
    asked: &BTreeMap<String, String>,
    cursor: Option<&str>,
) -> Result<UsageSeries, Failure> {
    let params = asked.iter().filter(|(name, _)| *name != "org");
    let params = params.map(|(name, value)| (name.as_str(), value.as_str()));
    let params = params.chain([("limit", POINTS)]).chain(cursor.map(|cursor| ("cursor", cursor)));
    let org = org_of(asked)?;
    let (state, caller) = (State(app.clone()), visitor.caller.clone());
    said(native::series::series(state, caller, org, Query::of(params), Uri::default(), HeaderMap::new()))
        .await
}

fn org_of(asked: &BTreeMap<String, String>) -> Result<OrgPath, Failure> {
    let org = asked.get("org").map_or("", String::as_str);
    OrgId::new(org)
        .map(OrgPath)
        .map_err(|error| Problem::new(Code::InvalidParameter, format!("org: {error}")).on_field("org").into())
}

/// What the usage of a meter is counted by.
fn splits(app: &App, asked: &BTreeMap<String, String>) -> Vec<Choice> {
    let catalog = app.engine.catalog().catalog;
    let meter = asked.get("meter").and_then(|meter| MeterId::new(meter).ok());
    let properties =
        meter.and_then(|meter| Some(catalog.meter(&meter)?.properties.clone())).unwrap_or_default();
    [Choice::plain("user")].into_iter().chain(properties.iter().map(|name| Choice::plain(name))).collect()
}

/// The user of a point, or the values of its properties.
fn whose(point: &UsagePoint) -> String {
    let values = point.properties.values().map(|value| value.as_deref().unwrap_or("none"));
    let values: Vec<&str> = point.user.as_deref().into_iter().chain(values).collect();
    values.join(", ")
}

/// Days or months from the first to the last, those without usage too.
fn chart(series: &UsageSeries) -> Option<Chart> {
    let read = |text: &str| Period::parse_day(text).or_else(|| Period::parse_month(text));
    let (first, last) = (series.points.first()?, series.points.last()?);
    let bars: Vec<Bar> = match (read(&first.period), read(&last.period)) {
        (Some(first), Some(last)) => {
            let counted: BTreeMap<&str, _> =
                series.points.iter().map(|point| (point.period.as_str(), point.quantity.0)).collect();
            let bar = |number| {
                let label = Period { window: first.window, number }.label();
                let value = counted.get(label.as_str()).copied().unwrap_or_default();
                Bar { label, value, mark: Mark::Counted }
            };
            (first.number..=last.number).take(BARS_MAX).map(bar).collect()
        }
        _ => {
            let bar = |point: &UsagePoint| Bar {
                label: point.period.clone(),
                value: point.quantity.0,
                mark: Mark::Counted,
            };
            series.points.iter().take(BARS_MAX).map(bar).collect()
        }
    };
    let caption = format!("{} of {} by {}", series.meter, series.org, series.window);
    Some(Chart { caption, unit: series.meter.clone(), bars })
}

/// The same as comma-separated values.
pub(crate) async fn csv(
    State(app): State<App>,
    visitor: Visitor,
    mut query: Query,
    uri: Uri,
) -> Result<Response, Failure> {
    let asked = query.take_given(&ASKED);
    let cursor = query.take("cursor");
    query.end()?;
    let params = asked.iter().filter(|(name, _)| *name != "org");
    let params = params.map(|(name, value)| (name.as_str(), value.as_str()));
    let params = params.chain([("limit", "1000")]).chain(cursor.as_deref().map(|cursor| ("cursor", cursor)));
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/csv"))]);
    native::series::series(State(app), visitor.caller, org_of(&asked)?, Query::of(params), uri, headers).await
}
