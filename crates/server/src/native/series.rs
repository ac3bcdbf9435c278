//! Usage over time: by window, user and property.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::header::LINK;
use http::{HeaderMap, HeaderValue, Uri};
use tollgate_api::{Code, Id, Problem, SeriesWindow, Time, UsagePoint, UsageSeries};
use tollgate_domain::catalog::Meter;
use tollgate_domain::{GROUPED, GroupBy, MeterId, OrgId, Period, Role, Timestamp, UserId, Window, Zone};
use tollgate_engine::{SeriesAsk, SeriesError, SeriesPage, SeriesPoint, Split};

use crate::app::App;
use crate::auth::Caller;
use crate::convert::with_suggestion;
use crate::csv::{Cell, Table};
use crate::extract::{GROUP_BY, OrgPath, Query, invalid_parameter};
use crate::form::{Form, form_of, varying};
use crate::native::orgs::unknown_org;
use crate::native::problems::P404;
use crate::paging::Paging;
use crate::reply::{Failure, ok};

/// Parameters with this before their name ask for the usage with a value of a property.
const PROPERTY: &str = "property.";

/// What `group_by` calls the users.
const USER: &str = "user";

/// The usage of an organization over time.
///
/// As JSON, or by the header `Accept` as a table (`text/csv`), whose next page is in the header `Link`. All points of a
/// page are of one moment. Besides the parameters named here, `property.NAME=VALUE` asks for the usage with a value of a
/// property.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/usage", tag = "Organizations", operation_id = "usage_series",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("meter" = Id, Query, description = "The meter"),
        ("window" = Option<SeriesWindow>, Query, description = "`day` unless given"),
        ("from" = Option<String>, Query, description = "A day (`2026-11-01`), a month (`2026-11`) or a time (`2026-11-21T09:00:00Z`): the first window is the one that holds its first moment"),
        ("to" = Option<String>, Query, description = "The same: windows that begin then or later are not read any more"),
        ("user" = Option<Id>, Query, description = "Only the usage of this user"),
        ("group_by" = Option<Vec<String>>, Query, description = "`user`, or properties that the meter declares; properties by day and month only"),
        Paging,
    ),
    responses(
        (status = 200, description = "Some points", content(
            (UsageSeries = "application/json"), (String = "text/csv"),
        )),
        P404,
    )
)]
pub(crate) async fn series(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    mut query: Query,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    let meter = query.need("meter", MeterId::new)?;
    let window = query.take_as("window", read_window)?.unwrap_or(Window::Day);
    let parts = Parts {
        user: query.take_as("user", UserId::new)?,
        group_by: query.take_all(GROUP_BY),
        only: query.take_prefixed(PROPERTY),
    };
    let (from, to) = (query.take_as("from", Edge::read)?, query.take_as("to", Edge::read)?);
    let paging = Paging::take(&mut query)?;
    query.end()?;
    need_meter(&app, &org, &meter).await?;
    let catalog = app.engine.catalog().catalog;
    let (split, columns) = parts.split(catalog.meter(&meter), &meter, window)?;
    let known = app.engine.org(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let (from, until) = range(&known.zone, window, from, to)?;
    let ask = SeriesAsk { org, meter, window, from, until, split };
    let (after, limit) = paging.begin(&ask)?;
    let page = app.engine.series(&ask, after, limit).await.map_err(|error| failure(error, &ask.org))?;
    let next = Paging::next(&ask, page.next.clone());
    Ok(match form_of(&headers, &[Form::Json, Form::Csv]) {
        Form::Csv => {
            let mut response = Form::Csv.response(csv(&ask, &page, &columns));
            if let Some(link) = next.and_then(|next| link_to(&uri, &next)) {
                response.headers_mut().insert(LINK, link);
            }
            response
        }
        _ => varying(ok(&reply(ask, page, next))),
    })
}

fn read_window(text: &str) -> Result<Window, &'static str> {
    let told = [Window::Minute, Window::Hour, Window::Day, Window::Week, Window::Month];
    let named = told.into_iter().find(|window| window.name() == text);
    named.ok_or("must be 'minute', 'hour', 'day', 'week' or 'month'")
}

pub(crate) fn failure(error: SeriesError, org: &OrgId) -> Failure {
    match error {
        SeriesError::UnknownOrg => unknown_org(org),
        SeriesError::TooManyPeriods => {
            invalid_parameter("from", &format!("{error}, too many by user; narrow 'from' and 'to'"))
        }
        SeriesError::Engine(error) => error.into(),
    }
}

/// In which parts the usage is asked for.
pub(crate) struct Parts {
    pub(crate) user: Option<UserId>,
    pub(crate) group_by: Vec<String>,
    pub(crate) only: BTreeMap<String, String>,
}

impl Parts {
    /// The same as the engine reads it, and the names of the properties to be shown; a problem where it is not counted.
    pub(crate) fn split(
        self,
        meter: Option<&Meter>,
        id: &MeterId,
        window: Window,
    ) -> Result<(Split, Vec<String>), Failure> {
        let Self { user, group_by, only } = self;
        if Window::ON_REQUEST.contains(&window) {
            let meter = meter.ok_or_else(|| unknown_meter(id))?;
            if !meter.windows.contains(&window) {
                let text = format!(
                    "'{id}' is not counted by {window}; it may be day or month, and with windows = [\"{window}\"] in \
                     the catalog it is counted by {window} from then on"
                );
                return Err(invalid_parameter("window", &text));
            }
        }
        let names: Vec<String> = group_by
            .iter()
            .filter(|name| *name != USER)
            .map(|name| name.strip_prefix(PROPERTY).unwrap_or(name).to_owned())
            .collect();
        let by_user = names.len() < group_by.len();
        if names.is_empty() && only.is_empty() {
            return match (user, by_user) {
                (Some(_), true) => Err(invalid_parameter("user", "cannot be given with group_by=user")),
                (Some(user), false) => Ok((Split::User(user), Vec::new())),
                (None, true) => Ok((Split::Users, Vec::new())),
                (None, false) => Ok((Split::Whole, Vec::new())),
            };
        }
        let apart = "users are not counted by properties: ask for a user, or for properties";
        if user.is_some() {
            return Err(invalid_parameter("user", apart));
        }
        if by_user {
            return Err(invalid_parameter(GROUP_BY, apart));
        }
        let by = GroupBy { names, only };
        let meter = meter.ok_or_else(|| unknown_meter(id))?;
        check_properties(meter, window, &by)?;
        let columns = by.names.clone();
        Ok((Split::Properties(Box::new(meter.clone()), by), columns))
    }
}

/// Refuses what is not counted by properties.
fn check_properties(meter: &Meter, window: Window, by: &GroupBy) -> Result<(), Failure> {
    if !GROUPED.contains(&window) {
        return Err(invalid_parameter(
            "window",
            "must be 'day' or 'month': others are not counted by properties",
        ));
    }
    let declared = || match meter.properties.as_slice() {
        [] => format!("'{}' is counted by no properties", meter.id),
        names => format!("'{}' is counted by {}", meter.id, names.join(", ")),
    };
    if let Some(name) = by.names.iter().find(|name| !meter.properties.contains(name)) {
        return Err(invalid_parameter(GROUP_BY, &format!("'{name}' cannot be; {}", declared())));
    }
    if by.names.iter().enumerate().any(|(place, name)| by.names.iter().take(place).any(|other| other == name))
    {
        return Err(invalid_parameter(GROUP_BY, "names a property twice"));
    }
    if let Some(name) = by.only.keys().find(|name| !meter.properties.contains(name)) {
        return Err(invalid_parameter(&format!("{PROPERTY}{name}"), &declared()));
    }
    let left = meter.properties.iter().find(|name| !by.names.contains(name) && !by.only.contains_key(*name));
    if let (false, Some(left)) = (meter.aggregation.adds_up(), left) {
        let text = format!(
            "must name '{left}' too, unless {PROPERTY}{left} is given: aggregation = \"{}\" is not kept of several \
             groups together",
            meter.aggregation.name()
        );
        return Err(invalid_parameter(GROUP_BY, &text));
    }
    Ok(())
}

fn unknown_meter(meter: &MeterId) -> Problem {
    Problem::new(Code::UnknownMeter, format!("the catalog has no meter '{meter}'")).on_field("meter")
}

/// Refuses a meter that the catalog lacks and the organization has never used: nothing can be told of it. What was used of
/// one that the catalog has no more is.
pub(crate) async fn need_meter(app: &App, org: &OrgId, meter: &MeterId) -> Result<(), Failure> {
    let catalog = app.engine.catalog().catalog;
    if catalog.meter(meter).is_some() {
        return Ok(());
    }
    let known = app.engine.org(org).await?.ok_or_else(|| unknown_org(org))?;
    if known.meters.iter().any(|used| used.id == *meter) {
        return Ok(());
    }
    Err(with_suggestion(unknown_meter(meter), &catalog, meter.as_str()).into())
}

/// Where a range begins or ends, as it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edge {
    Label(Period),
    Time(Timestamp),
}

impl Edge {
    fn read(text: &str) -> Result<Self, &'static str> {
        let label = Period::parse_month(text).or_else(|| Period::parse_day(text)).map(Self::Label);
        label.or_else(|| text.parse().ok().map(|Time(at)| Self::Time(at))).ok_or(
            "must be a day such as 2026-11-21, a month such as 2026-11, or a time such as 2026-11-21T09:00:00Z",
        )
    }

    /// Its moment; `None` is beyond all time.
    fn at(self, zone: &Zone) -> Option<Timestamp> {
        match self {
            Self::Label(period) => zone.bounds(period).0,
            Self::Time(at) => Some(at),
        }
    }
}

/// The numbers of the windows that are asked for: the first, and the first after them.
pub(crate) fn range(
    zone: &Zone,
    window: Window,
    from: Option<Edge>,
    to: Option<Edge>,
) -> Result<(i32, i32), Failure> {
    let at = |name: &str, edge: Option<Edge>| {
        let at = edge.map(|edge| edge.at(zone).ok_or_else(|| invalid_parameter(name, "is beyond all time")));
        at.transpose()
    };
    let (from, to) = (at("from", from)?, at("to", to)?);
    let first = from.map_or(i32::MIN, |from| zone.period_at(window, from).number);
    // The first window that does not begin before the end.
    let after = to.map_or(i32::MAX, |to| {
        let holds = zone.period_at(window, to);
        let begins = zone.bounds(holds).0.is_some_and(|start| start == to);
        holds.number.saturating_add(i32::from(!begins))
    });
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        return Err(invalid_parameter("to", "must be after 'from'"));
    }
    Ok((first, after))
}

fn reply(ask: SeriesAsk, page: SeriesPage, next: Option<String>) -> UsageSeries {
    let zone = &page.org.zone;
    let points = page.points.into_iter().map(|point| {
        let [start, end] = bounds(zone, point.period);
        UsagePoint {
            period: point.period.label(),
            start,
            end,
            user: point.user.map(Into::into),
            properties: point.properties,
            quantity: point.value.into(),
        }
    });
    UsageSeries {
        org: ask.org.into(),
        meter: ask.meter.into(),
        window: ask.window.to_string(),
        points: points.collect(),
        next,
    }
}

fn bounds(zone: &Zone, period: Period) -> [Option<String>; 2] {
    let (start, end) = zone.bounds(period);
    [start, end].map(|at| at.map(|at| at.to_string()))
}

/// The points as comma-separated values: a row for each, with the user and the properties it is grouped by.
fn csv(ask: &SeriesAsk, page: &SeriesPage, columns: &[String]) -> String {
    let by_user = matches!(ask.split, Split::Users | Split::User(_));
    let named: Vec<String> = columns.iter().map(|name| format!("{PROPERTY}{name}")).collect();
    let headings = ["org", "meter", "window", "period", "start", "end"].into_iter();
    let headings = headings.chain(by_user.then_some(USER)).chain(named.iter().map(String::as_str));
    let mut table = Table::new(headings.chain(["quantity"]));
    let name = ask.window.name();
    let head = [Cell::text(ask.org.as_str()), Cell::text(ask.meter.as_str()), Cell::plain(&name)];
    for point in &page.points {
        let SeriesPoint { period, user, properties, value } = point;
        let mut cells = head.to_vec();
        cells.push(Cell::plain(period.label()));
        cells.extend(bounds(&page.org.zone, *period).map(Cell::maybe));
        cells.extend(user.iter().map(|user| Cell::text(user.as_str())));
        let values = columns.iter().map(|name| properties.get(name).cloned().flatten().unwrap_or_default());
        cells.extend(values.map(Cell::text));
        cells.push(Cell::plain(value));
        table.row(cells);
    }
    table.into_text()
}

/// The address of the next page.
fn link_to(uri: &Uri, next: &str) -> Option<HeaderValue> {
    let query = uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    pairs.extend_pairs(form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "cursor"));
    pairs.append_pair("cursor", next);
    HeaderValue::from_str(&format!("<{}?{}>; rel=\"next\"", uri.path(), pairs.finish())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_of_the_windows_that_begin_in_it() {
        let berlin = Zone::new("Europe/Berlin").expect("a zone");
        for (window, from, to, labels) in [
            (Window::Day, "2026-10-25", "2026-10-26", ["2026-10-25", "2026-10-26"]),
            (Window::Day, "2026-10", "2026-11", ["2026-10-01", "2026-11-01"]),
            // The 25th is the Sunday of its week.
            (Window::Week, "2026-10-25", "2026-10-26", ["2026-W43", "2026-W44"]),
            (Window::Month, "2026-10", "2026-12", ["2026-10", "2026-12"]),
            (Window::Month, "2026-10-25", "2026-12-02", ["2026-10", "2027-01"]),
            // A day of 25 hours.
            (Window::Hour, "2026-10-25", "2026-10-26", ["2026-10-24T22:00Z", "2026-10-25T23:00Z"]),
            (
                Window::Hour,
                "2026-10-25T00:30:00Z",
                "2026-10-25T02:00:01Z",
                ["2026-10-25T00:00Z", "2026-10-25T03:00Z"],
            ),
            (
                Window::Minute,
                "2026-10-25T00:30:00Z",
                "2026-10-25T00:31:00Z",
                ["2026-10-25T00:30Z", "2026-10-25T00:31Z"],
            ),
        ] {
            let edge = |text| Some(Edge::read(text).expect("an edge"));
            let (first, after) = range(&berlin, window, edge(from), edge(to)).expect("a range");
            let found = [first, after].map(|number| Period { window, number }.label());
            assert_eq!(found, labels, "{window} {from} {to}");
        }
    }
}
