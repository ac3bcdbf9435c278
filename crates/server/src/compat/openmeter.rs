//! What OpenMeter's clients read: whether a customer has access, the value of an entitlement, and the usage of a meter.
//!
//! A subject or a customer is an organization, and a feature is a meter. Nothing is consumed. What an entitlement says is the
//! gate's own answer to the smallest usage, so limits and trials decide too.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::Uri;
use http::request::Parts as RequestParts;
use serde::{Deserialize, Serialize};
use tollgate_api::{Code, Decimal, Id, Problem, Time, shortened};
use tollgate_domain::{
    Amount, Check, Checked, Denial, MeterBalance, MeterId, OrgCommand, OrgDecision, OrgId, Quantity, Role,
    Timestamp, Window, Zone,
};
use tollgate_engine::{SeriesAsk, SeriesPoint};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::convert::conflict;
use crate::extract::{Json, NoQuery, invalid_parameter, path_id};
use crate::limits::{METER_QUERY_ROWS_MAX, METER_QUERY_SUBJECTS_MAX, PAGE_ROWS_MAX};
use crate::native::orgs::unknown_org;
use crate::native::problems::P404;
use crate::native::series::{Edge, Parts, failure, range};
use crate::reply::{Failure, ok};

/// What an organization has of a meter.
#[derive(Serialize, ToSchema)]
#[schema(as = EntitlementValue)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ValueItem {
    /// Whether the gate lets the smallest usage pass.
    has_access: bool,
    /// What may still be used; absent where credit is not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<Decimal>,
    /// What was used of credit and beyond it.
    usage: Decimal,
    /// What was used beyond credit.
    overage: Decimal,
    /// All credit in force; absent where credit is not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_available_grant_amount: Option<Decimal>,
}

/// What an organization has of each meter.
#[derive(Serialize, ToSchema)]
#[schema(as = CustomerAccess)]
pub(crate) struct AccessReply {
    /// By meter.
    entitlements: BTreeMap<String, ValueItem>,
}

/// The organization and the meter of a path, under whatever names.
pub(crate) struct EntitlementPath(OrgId, MeterId);

impl FromRequestParts<App> for EntitlementPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut RequestParts, _: &App) -> Result<Self, Failure> {
        let org = path_id(&parts.extensions, "customer", OrgId::new)?;
        Ok(Self(org, path_id(&parts.extensions, "feature", MeterId::new)?))
    }
}

/// The organization of a path.
pub(crate) struct CustomerPath(OrgId);

impl FromRequestParts<App> for CustomerPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut RequestParts, _: &App) -> Result<Self, Failure> {
        path_id(&parts.extensions, "customer", OrgId::new).map(Self)
    }
}

/// The meter of a path.
pub(crate) struct MeterPath(MeterId);

impl FromRequestParts<App> for MeterPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut RequestParts, _: &App) -> Result<Self, Failure> {
        path_id(&parts.extensions, "meter", MeterId::new).map(Self)
    }
}

/// The value of an entitlement of a subject: what the organization may still use of a meter.
#[utoipa::path(
    get, path = "/api/v1/subjects/{customer}/entitlements/{feature}/value", tag = "Events API",
    operation_id = "openmeter_subject_value",
    params(
        ("customer" = Id, Path, description = "The organization"),
        ("feature" = Id, Path, description = "The meter"),
    ),
    responses((status = 200, description = "The value, as of now", body = ValueItem), P404)
)]
pub(crate) async fn subject_value(
    state: State<App>,
    caller: Caller,
    path: EntitlementPath,
    query: NoQuery,
) -> Result<Response, Failure> {
    value(state, caller, path, query).await
}

/// The value of an entitlement of a customer, by the second version of the API.
#[utoipa::path(
    get, path = "/api/v2/customers/{customer}/entitlements/{feature}/value", tag = "Events API",
    operation_id = "openmeter_value",
    params(
        ("customer" = Id, Path, description = "The organization"),
        ("feature" = Id, Path, description = "The meter"),
    ),
    responses((status = 200, description = "The value, as of now", body = ValueItem), P404)
)]
pub(crate) async fn value_v2(
    state: State<App>,
    caller: Caller,
    path: EntitlementPath,
    query: NoQuery,
) -> Result<Response, Failure> {
    value(state, caller, path, query).await
}

/// The value of an entitlement of a customer: what the organization may still use of a meter.
#[utoipa::path(
    get, path = "/api/v1/customers/{customer}/entitlements/{feature}/value", tag = "Events API",
    operation_id = "openmeter_customer_value",
    params(
        ("customer" = Id, Path, description = "The organization"),
        ("feature" = Id, Path, description = "The meter"),
    ),
    responses((status = 200, description = "The value, as of now", body = ValueItem), P404)
)]
pub(crate) async fn value(
    State(app): State<App>,
    caller: Caller,
    EntitlementPath(org, meter): EntitlementPath,
    _: NoQuery,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    let (_, balance) = app.engine.balance(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let line = balance.meters.iter().find(|(id, _)| *id == meter);
    let (_, line) = line.ok_or_else(|| {
        let detail = format!("the organization '{org}' has nothing of a meter '{meter}'");
        Problem::new(Code::UnknownMeter, detail).on_field("feature")
    })?;
    Ok(ok(&item(&app, &caller, &org, &meter, line).await?))
}

/// The value of every entitlement of a customer.
#[utoipa::path(
    get, path = "/api/v1/customers/{customer}/access", tag = "Events API", operation_id = "openmeter_access",
    params(("customer" = Id, Path, description = "The organization")),
    responses((status = 200, description = "By meter, as of now", body = AccessReply), P404)
)]
pub(crate) async fn access(
    State(app): State<App>,
    caller: Caller,
    CustomerPath(org): CustomerPath,
    _: NoQuery,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    let (_, balance) = app.engine.balance(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let mut entitlements = BTreeMap::new();
    for (meter, line) in &balance.meters {
        entitlements.insert(meter.to_string(), item(&app, &caller, &org, meter, line).await?);
    }
    Ok(ok(&AccessReply { entitlements }))
}

async fn item(
    app: &App,
    caller: &Caller,
    org: &OrgId,
    meter: &MeterId,
    line: &MeterBalance,
) -> Result<ValueItem, Failure> {
    let check = Check {
        user: None,
        path: None,
        meter: meter.clone(),
        quantity: Quantity::new(Amount::from_billionths(1)).map_err(|_| conflict())?,
        properties: BTreeMap::new(),
    };
    let OrgDecision::Check(checked) =
        app.engine.submit(&caller.actor, org.clone(), OrgCommand::Check(check)).await?
    else {
        return Err(conflict());
    };
    let Checked { result, .. } = *checked;
    let granted = line.allowance + line.topped_up;
    let is_asked = line.remaining.is_some();
    let overdrawn = if is_asked && line.used > granted { line.used - granted } else { Amount::ZERO };
    Ok(ValueItem {
        // Which user it is decides later; the organization has access.
        has_access: match &result {
            Ok(_) => true,
            Err(denied) => denied.denial == Denial::UserRequired,
        },
        balance: line.remaining.map(|remaining| remaining.max(Amount::ZERO).into()),
        usage: (line.used + line.overage).into(),
        overage: (line.overage + overdrawn).into(),
        total_available_grant_amount: is_asked.then(|| granted.into()),
    })
}

/// The usage of a meter over time.
#[derive(Serialize, ToSchema)]
#[schema(as = MeterQueryResult)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueryReply {
    /// From when, as it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Until when, as it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    to: Option<String>,
    /// By which windows, as it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    window_size: Option<&'static str>,
    /// A row for each organization, window and group with usage.
    data: Vec<QueryRow>,
}

/// What was used in a window.
#[derive(Serialize, ToSchema)]
#[schema(as = MeterQueryRow)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueryRow {
    /// How much.
    value: Decimal,
    /// When the window begins.
    #[schema(format = DateTime)]
    window_start: String,
    /// When it ends.
    #[schema(format = DateTime)]
    window_end: String,
    /// The organization.
    subject: String,
    /// The values of what it is grouped by.
    group_by: BTreeMap<String, Option<String>>,
}

/// Which usage is asked for.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = MeterQueryRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct QueryBody {
    /// Not looked at.
    client_id: Option<String>,
    /// From when; from the first usage unless given.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Time>,
    /// Until when, without that moment; until now unless given.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Time>,
    /// `MINUTE`, `HOUR`, `DAY` or `MONTH`; one row for all of it unless given.
    window_size: Option<String>,
    /// The organizations' time zone, if any: windows are counted by that.
    window_time_zone: Option<String>,
    /// The organizations.
    subject: Option<Vec<String>>,
    /// The organizations, by another name.
    filter_customer_id: Option<Vec<String>>,
    /// By property, its value.
    filter_group_by: Option<BTreeMap<String, Vec<String>>>,
    /// Properties that the meter declares, or `user`. Rows are by `subject` always.
    group_by: Option<Vec<String>>,
}

/// Asks for the usage of a meter over time, of one organization or several.
#[utoipa::path(
    get, path = "/api/v1/meters/{meter}/query", tag = "Events API", operation_id = "openmeter_query",
    params(
        ("meter" = Id, Path, description = "The meter"),
        ("subject" = Option<Vec<String>>, Query, description = "The organizations, at most 100; not needed with an API key that is bound to one"),
        ("filterCustomerId" = Option<Vec<String>>, Query, description = "The same by another name"),
        ("from" = Option<String>, Query, description = "From when; from the first usage unless given"),
        ("to" = Option<String>, Query, description = "Until when, without that moment; until now unless given"),
        ("windowSize" = Option<String>, Query, description = "`MINUTE`, `HOUR`, `DAY` or `MONTH`; one row for all of it unless given"),
        ("windowTimeZone" = Option<String>, Query, description = "The organizations' time zone, if any: windows are counted by that"),
        ("groupBy" = Option<Vec<String>>, Query, description = "Properties that the meter declares, or `user`; rows are by `subject` always"),
    ),
    responses((status = 200, description = "The usage", body = QueryReply), P404)
)]
pub(crate) async fn query(
    State(app): State<App>,
    caller: Caller,
    MeterPath(meter): MeterPath,
    uri: Uri,
) -> Result<Response, Failure> {
    answer(&app, &caller, meter, read_query(&uri)?).await
}

/// The same with the question in a body.
#[utoipa::path(
    post, path = "/api/v1/meters/{meter}/query", tag = "Events API", operation_id = "openmeter_query_by_body",
    params(("meter" = Id, Path, description = "The meter")),
    request_body = QueryBody,
    responses((status = 200, description = "The usage", body = QueryReply), P404)
)]
pub(crate) async fn query_by_body(
    State(app): State<App>,
    caller: Caller,
    MeterPath(meter): MeterPath,
    _: NoQuery,
    body: Result<Json<QueryBody>, Failure>,
) -> Result<Response, Failure> {
    let Json(body) = body.map_err(|mut failure| {
        // 400 here, whatever it is in the native API.
        if failure.problem.status == 422 {
            failure.problem.status = 400;
        }
        failure
    })?;
    answer(&app, &caller, meter, body).await
}

/// A question as the query of an address, with names that may come several times.
fn read_query(uri: &Uri) -> Result<QueryBody, Failure> {
    let mut body = QueryBody::default();
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        let value = value.into_owned();
        let once = |place: &mut Option<String>, value: String| match place.replace(value) {
            Some(_) => Err(invalid_parameter(&name, "is given twice")),
            None => Ok(()),
        };
        let time = || {
            let text = "must be a time such as 2026-11-21T00:00:00Z";
            value.parse::<Time>().map_err(|_| invalid_parameter(&name, text))
        };
        match name.as_ref() {
            "clientId" => once(&mut body.client_id, value)?,
            "windowSize" => once(&mut body.window_size, value)?,
            "windowTimeZone" => once(&mut body.window_time_zone, value)?,
            "from" => body.from = Some(time()?),
            "to" => body.to = Some(time()?),
            "subject" => body.subject.get_or_insert_default().push(value),
            "filterCustomerId" => body.filter_customer_id.get_or_insert_default().push(value),
            "groupBy" => body.group_by.get_or_insert_default().push(value),
            other => {
                let filter = other.strip_prefix("filterGroupBy[").and_then(|rest| rest.strip_suffix(']'));
                let filter =
                    filter.ok_or_else(|| invalid_parameter(other, "is not a parameter of this route"))?;
                let filters = body.filter_group_by.get_or_insert_default();
                filters.entry(filter.to_owned()).or_default().push(value);
            }
        }
    }
    Ok(body)
}

async fn answer(app: &App, caller: &Caller, meter: MeterId, body: QueryBody) -> Result<Response, Failure> {
    let orgs = orgs(caller, &body)?;
    for org in &orgs {
        caller.require(Role::Read, Some(org))?;
    }
    let window = body.window_size.as_deref().map(window).transpose()?;
    let catalog = app.engine.catalog().catalog;
    let known = catalog.meter(&meter).ok_or_else(|| {
        Problem::new(Code::UnknownMeter, format!("the catalog has no meter '{meter}'")).on_field("meter")
    })?;
    if window.is_none() && !known.aggregation.adds_up() {
        let text = format!(
            "must be given: aggregation = \"{}\" is kept by window, and does not add up",
            known.aggregation.name()
        );
        return Err(invalid_parameter("windowSize", &text));
    }
    let (from, to) = (body.from.map(|Time(at)| at), body.to.map(|Time(at)| at));
    let mut data = Vec::new();
    for org in orgs {
        let zone = app.engine.org(&org).await?.ok_or_else(|| unknown_org(&org))?.zone;
        check_zone(&org, &zone, body.window_time_zone.as_deref())?;
        let counted_by = match window {
            Some(window) => window,
            None if from.is_none() && to.is_none() => Window::Month,
            None => whole_days(&zone, [("from", from), ("to", to)])?,
        };
        let parts = Parts {
            user: None,
            group_by: body.group_by.iter().flatten().filter(|name| *name != "subject").cloned().collect(),
            only: only(&body)?,
        };
        let (split, _) = parts.split(Some(known), &meter, counted_by).map_err(own_names)?;
        let (from_number, until) = range(&zone, counted_by, from.map(Edge::Time), to.map(Edge::Time))?;
        let ask = SeriesAsk {
            org: org.clone(),
            meter: meter.clone(),
            window: counted_by,
            from: from_number,
            until,
            split,
        };
        let points = points(app, &ask, METER_QUERY_ROWS_MAX.saturating_sub(data.len())).await?;
        if window.is_some() {
            data.extend(points.iter().map(|point| row(&org, &zone, point)));
        } else {
            let now = app.engine.clock().now();
            data.extend(sums(&org, &zone, &points, from, to.unwrap_or(now)));
        }
    }
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let window_size = window.map(|window| NAMES.into_iter().find(|(_, named)| *named == window));
    Ok(ok(&QueryReply {
        from: text(from),
        to: text(to),
        window_size: window_size.flatten().map(|(name, _)| name),
        data,
    }))
}

/// The windows, as OpenMeter calls them.
const NAMES: [(&str, Window); 4] =
    [("MINUTE", Window::Minute), ("HOUR", Window::Hour), ("DAY", Window::Day), ("MONTH", Window::Month)];

fn window(text: &str) -> Result<Window, Failure> {
    let found = NAMES.into_iter().find(|(name, _)| *name == text);
    let text = "must be 'MINUTE', 'HOUR', 'DAY' or 'MONTH'";
    found.map(|(_, window)| window).ok_or_else(|| invalid_parameter("windowSize", text))
}

/// The organizations that are asked about.
fn orgs(caller: &Caller, body: &QueryBody) -> Result<Vec<OrgId>, Failure> {
    let named = [("subject", &body.subject), ("filterCustomerId", &body.filter_customer_id)];
    let mut found: Vec<OrgId> = Vec::new();
    for (name, ids) in named {
        for id in ids.iter().flatten() {
            let org = OrgId::new(id).map_err(|error| invalid_parameter(name, &error.to_string()))?;
            if !found.contains(&org) {
                found.push(org);
            }
            if found.len() > METER_QUERY_SUBJECTS_MAX {
                let text = format!("there may be at most {METER_QUERY_SUBJECTS_MAX}");
                return Err(invalid_parameter(name, &text));
            }
        }
    }
    if found.is_empty() {
        let text = "is missing: usage is counted by organization; name one or several";
        found.push(caller.org.clone().ok_or_else(|| invalid_parameter("subject", text))?);
    }
    Ok(found)
}

/// The one value of each property that is asked for.
fn only(body: &QueryBody) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    for (name, values) in body.filter_group_by.iter().flatten() {
        let [value] = values.as_slice() else {
            let name = shortened(&format!("filterGroupBy[{name}]"));
            return Err(invalid_parameter(&name, "must have one value"));
        };
        found.insert(name.clone(), value.clone());
    }
    Ok(found)
}

/// Windows are those of the organization's calendar.
fn check_zone(org: &OrgId, zone: &Zone, asked: Option<&str>) -> Result<(), Failure> {
    if asked.is_none_or(|asked| asked == zone.name()) {
        return Ok(());
    }
    let text =
        format!("must be '{}', in whose days and months '{org}' is counted, or be left out", zone.name());
    Err(invalid_parameter("windowTimeZone", &text))
}

/// Days, where a range is of whole ones.
fn whole_days(zone: &Zone, edges: [(&str, Option<Timestamp>); 2]) -> Result<Window, Failure> {
    for (name, at) in edges {
        let begins = |at: Timestamp| zone.bounds(zone.period_at(Window::Day, at)).0 == Some(at);
        if at.is_some_and(|at| !begins(at)) {
            let text = format!("must be the begin of a day in {} where windowSize is not given", zone.name());
            return Err(invalid_parameter(name, &text));
        }
    }
    Ok(Window::Day)
}

/// A refusal of the native series, with the names of this API.
fn own_names(mut failure: Failure) -> Failure {
    let native = failure.problem.field.take();
    let own = native.as_deref().map(|field| match field {
        "window" => "windowSize".to_owned(),
        "group_by" => "groupBy".to_owned(),
        other => match other.strip_prefix("property.") {
            Some(name) => format!("filterGroupBy[{name}]"),
            None => other.to_owned(),
        },
    });
    if let (Some(native), Some(own)) = (&native, &own) {
        failure.problem.detail =
            failure.problem.detail.replacen(&format!("{native}:"), &format!("{own}:"), 1);
    }
    failure.problem.field = own;
    failure
}

/// All points of a question.
async fn points(app: &App, ask: &SeriesAsk, most: usize) -> Result<Vec<SeriesPoint>, Failure> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = app.engine.series(ask, after.as_ref(), PAGE_ROWS_MAX).await;
        let page = page.map_err(|error| failure(error, &ask.org))?;
        found.extend(page.points);
        if found.len() > most {
            let text = format!("there are more than {METER_QUERY_ROWS_MAX} rows; narrow 'from' and 'to'");
            return Err(invalid_parameter("from", &text));
        }
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

fn row(org: &OrgId, zone: &Zone, point: &SeriesPoint) -> QueryRow {
    let (start, end) = zone.bounds(point.period);
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    QueryRow {
        value: point.value.into(),
        window_start: text(start),
        window_end: text(end),
        subject: org.to_string(),
        group_by: groups(point),
    }
}

fn groups(point: &SeriesPoint) -> BTreeMap<String, Option<String>> {
    let user = point.user.as_ref().map(|user| ("user".to_owned(), Some(user.to_string())));
    point.properties.clone().into_iter().chain(user).collect()
}

/// What the windows of each group come to together.
fn sums(
    org: &OrgId,
    zone: &Zone,
    points: &[SeriesPoint],
    from: Option<Timestamp>,
    to: Timestamp,
) -> Vec<QueryRow> {
    let mut found: BTreeMap<_, (Amount, Option<Timestamp>)> = BTreeMap::new();
    for point in points {
        let start = zone.bounds(point.period).0;
        let (sum, first) = found.entry(groups(point)).or_insert((Amount::ZERO, start));
        *sum += point.value;
        *first = (*first).min(start);
    }
    let rows = found.into_iter().map(|(group_by, (sum, first))| QueryRow {
        value: sum.into(),
        window_start: from.or(first).map(|at| at.to_string()).unwrap_or_default(),
        window_end: to.to_string(),
        subject: org.to_string(),
        group_by,
    });
    rows.collect()
}
