//! Orgs and their limits.

use axum::extract::State;
use axum::response::Response;
use tollgate_api::{
    Code, Id, LimitPathName, LimitReply, LimitRequest, LimitsReply, OrgItem, OrgPage, OrgRequest, Problem,
    ScopeName, Time, WindowName,
};
use tollgate_domain::limits::{TEXT_CHARS_MAX, TIME_MAX_SECS, TIME_MIN_SECS};
use tollgate_domain::{
    Amount, Changed, ConfigDenial, LimitPath, LimitScope, MeterId, Org, OrgCommand, OrgDecision, OrgId,
    PutOrg, Role, SetLimit, Timestamp, UserId, Window, Zone, given_limits,
};
use tollgate_storage::{Row, Scan};

use crate::app::App;
use crate::auth::Caller;
use crate::convert::{config_problem, conflict, given_limit_item, limit_item, org_item, with_suggestion};
use crate::extract::{Json, NoQuery, OrgPath, Query, invalid_parameter};
use crate::limits::FILTER_BALANCES_MAX;
use crate::native::filters::OrgFilter;
use crate::native::problems::{P404, P409};
use crate::paging::{Filter, Paging};
use crate::reply::{Failure, ok};

/// Sets name and time zone; makes the organization if need be.
#[utoipa::path(
    put, path = "/v1/orgs/{org}", tag = "Organizations", operation_id = "put_org",
    params(("org" = Id, Path, description = "The organization")),
    request_body = OrgRequest,
    responses(
        (status = 200, description = "As it is now", body = OrgItem),
    )
)]
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    _: NoQuery,
    Json(request): Json<OrgRequest>,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, Some(&org))?;
    let zone = request.time_zone.map(|name| {
        Zone::chosen(&name).map_err(|error| {
            let shown: String = name.chars().take(60).collect();
            Failure::from(
                Problem::new(Code::InvalidField, format!("time_zone: '{shown}' {error}"))
                    .on_field("time_zone"),
            )
        })
    });
    let line = |name: Option<String>| name.map(|name| text_line("name", name)).transpose();
    let name = request.name.map(line).transpose()?;
    let metadata = request.metadata.map(|metadata| metadata.unwrap_or_default().0);
    change(&app, &caller, &org, OrgCommand::Put(PutOrg { name, zone: zone.transpose()?, metadata })).await?;
    show_org(&app, &org).await
}

/// A line of text for people.
pub(crate) fn text_line(field: &str, text: String) -> Result<String, Failure> {
    let length = text.chars().count();
    if length == 0 || length > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
        let detail =
            format!("{field}: must be a line of 1 to {TEXT_CHARS_MAX} characters without control characters");
        return Err(Problem::new(Code::InvalidField, detail).on_field(field).into());
    }
    Ok(text)
}

pub(crate) async fn change(
    app: &App,
    caller: &Caller,
    org: &OrgId,
    command: OrgCommand,
) -> Result<Changed, Failure> {
    let meter = match &command {
        OrgCommand::SetLimit(set) => Some(set.meter.clone()),
        _ => None,
    };
    match app.engine.submit(&caller.actor, org.clone(), command).await? {
        OrgDecision::Change(Ok(changed)) => Ok(changed),
        OrgDecision::Change(Err(denial)) => {
            let asked = match (&denial, &meter) {
                (ConfigDenial::UnknownPlan(plan), _) => plan.as_str(),
                (_, Some(meter)) => meter.as_str(),
                _ => "",
            };
            let problem = config_problem(&denial, org);
            Err(with_suggestion(problem, &app.engine.catalog().catalog, asked).into())
        }
        _ => Err(conflict()),
    }
}

/// An organization, with how it stands on each meter.
#[utoipa::path(
    get, path = "/v1/orgs/{org}", tag = "Organizations", operation_id = "get_org",
    params(("org" = Id, Path, description = "The organization")),
    responses(
        (status = 200, description = "The organization", body = OrgItem),
        P404,
    )
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    _: NoQuery,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    show_org(&app, &org).await
}

async fn show_org(app: &App, org: &OrgId) -> Result<Response, Failure> {
    let (known, balance) = app.engine.balance(org).await?.ok_or_else(|| unknown_org(org))?;
    Ok(ok(&org_item(&known, &balance)))
}

pub(crate) fn unknown_org(org: &OrgId) -> Failure {
    Problem::new(Code::UnknownOrg, format!("the organization '{org}' is not known")).on_field("org").into()
}

/// The organizations, by id, with how each stands.
///
/// Filtered, a page may come back short, or even empty, with more to follow at `next`: only so many organizations are
/// looked at for it.
#[utoipa::path(
    get, path = "/v1/orgs", tag = "Organizations", operation_id = "list_orgs",
    params(OrgFilter, Paging),
    responses(
        (status = 200, description = "Some organizations", body = OrgPage),
        P404,
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, Failure> {
    caller.require(Role::Read, caller.org.as_ref())?;
    let filter = OrgFilter::take(&mut query)?;
    let paging = Paging::take(&mut query)?;
    query.end()?;
    let catalog = app.engine.catalog().catalog;
    if let Some(plan) = filter.unknown_plan(&catalog) {
        let problem = Problem::new(Code::UnknownPlan, format!("the catalog has no plan '{plan}'"));
        return Err(with_suggestion(problem.on_field("plan"), &catalog, plan.as_str()).into());
    }
    let now = app.engine.clock().now();
    let passes = |org: &Org| filter.passes(org, now, |org| app.refusals.today(org, now));
    if let Some(org) = &caller.org {
        let found = app.engine.balance(org).await?;
        let found = found.iter().filter(|(org, balance)| passes(org) && filter.passes_balance(balance));
        let orgs = found.map(|(org, balance)| org_item(org, balance)).collect();
        return Ok(ok(&OrgPage { orgs, next: None }));
    }
    let limit = paging.limit();
    let (mut orgs, mut looked_at, mut paging) = (Vec::new(), 0, paging);
    loop {
        let row_passes = |row: &Row| matches!(row, Row::Org(org) if passes(org));
        let page = paging.read_where(&app, &Scan::Orgs, &Filter::by(&filter), row_passes).await?;
        looked_at += page.rows.len();
        for row in page.rows {
            tokio::task::yield_now().await;
            if let Row::Org(org) = row
                && let Some((org, balance)) = app.engine.balance(&org.id).await?
                && filter.passes_balance(&balance)
            {
                orgs.push(org_item(&org, &balance));
            }
        }
        match page.next {
            // Where balances decide, more of them are looked at while the page is mostly empty.
            Some(next)
                if looked_at < FILTER_BALANCES_MAX && 2 * orgs.len() < limit && filter.asks_balance() =>
            {
                paging = paging.at(&next)?.with_limit(limit - orgs.len());
            }
            next => return Ok(ok(&OrgPage { orgs, next })),
        }
    }
}

/// The limits that an organization has set itself and those of its plan, and which of them are in force.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/limits", tag = "Organizations", operation_id = "list_limits",
    params(("org" = Id, Path, description = "The organization")),
    responses(
        (status = 200, description = "The limits", body = LimitsReply),
        P404,
    )
)]
pub(crate) async fn show_limits(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    _: NoQuery,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    let known = app.engine.org(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let catalog = app.engine.catalog().catalog;
    let in_force = known.plans.in_force(known.now(app.engine.clock().now()));
    let plan = in_force.and_then(|change| change.plan.as_ref());
    Ok(ok(&LimitsReply {
        org: org.into(),
        plan: plan.map(ToString::to_string),
        limits: given_limits(&known, plan.and_then(|plan| catalog.plan(plan)))
            .iter()
            .map(given_limit_item)
            .collect(),
    }))
}

/// Sets a limit, or removes it with `amount: null`.
#[utoipa::path(
    put, path = "/v1/orgs/{org}/limits", tag = "Organizations", operation_id = "put_limit",
    params(("org" = Id, Path, description = "The organization")),
    request_body = LimitRequest,
    responses(
        (status = 200, description = "The limits are in force", body = LimitReply),
        P404,
        P409,
    )
)]
pub(crate) async fn put_limit(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    _: NoQuery,
    Json(request): Json<LimitRequest>,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, Some(&org))?;
    let amount = request.amount.map(|amount| amount.0.amount());
    if amount.is_some_and(|amount| amount < Amount::from_whole(1)) {
        let detail = "amount: must be at least 1, or null to remove the limit";
        return Err(Problem::new(Code::InvalidField, detail).on_field("amount").into());
    }
    let scope = scope(request.scope, request.user, request.path).map_err(|(field, text)| {
        Problem::new(Code::InvalidField, format!("{field}: {text}")).on_field(field)
    })?;
    let set = SetLimit { meter: request.meter, scope, window: request.window, amount };
    set_limit(&app, &caller, org, set).await
}

/// What a limit is on; where the fields do not fit, which of them and why.
fn scope(
    scope: ScopeName,
    user: Option<UserId>,
    path: Option<LimitPath>,
) -> Result<LimitScope, (&'static str, &'static str)> {
    match (scope, user, path) {
        (ScopeName::Org, None, None) => Ok(LimitScope::Org),
        (ScopeName::User, None, None) => Ok(LimitScope::EachUser),
        (ScopeName::User, Some(user), None) => Ok(LimitScope::User(user)),
        (ScopeName::Path, None, Some(path)) => Ok(LimitScope::Path(path)),
        (ScopeName::Path, None, None) => {
            Err(("path", "is needed with the scope 'path': a path, or '*' for each of one name"))
        }
        (ScopeName::Org | ScopeName::Path, Some(_), _) => {
            Err(("user", "is not allowed with this scope; use the scope 'user'"))
        }
        (ScopeName::Org | ScopeName::User, _, Some(_)) => {
            Err(("path", "is not allowed with this scope; use the scope 'path'"))
        }
    }
}

async fn set_limit(app: &App, caller: &Caller, org: OrgId, set: SetLimit) -> Result<Response, Failure> {
    let changed = change(app, caller, &org, OrgCommand::SetLimit(set)).await?;
    let known = app.engine.org(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let limits = known.limits.iter().map(limit_item).collect();
    Ok(ok(&LimitReply { org: org.into(), changed: changed.entry.is_some(), limits }))
}

/// Removes a limit.
#[utoipa::path(
    delete, path = "/v1/orgs/{org}/limits", tag = "Organizations", operation_id = "delete_limit",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("meter" = Id, Query, description = "What is capped"),
        ("scope" = ScopeName, Query, description = "Whose usage"),
        ("user" = Option<Id>, Query, description = "The one user, if it is for one"),
        ("path" = Option<LimitPathName>, Query, description = "The path, if it is on paths"),
        ("window" = Option<WindowName>, Query, description = "`month` unless given"),
    ),
    responses(
        (status = 200, description = "The limits are in force", body = LimitReply),
        P404,
    )
)]
pub(crate) async fn delete_limit(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    mut query: Query,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, Some(&org))?;
    let meter = query.need("meter", MeterId::new)?;
    let name = query.need("scope", |text| match text {
        "org" => Ok(ScopeName::Org),
        "user" => Ok(ScopeName::User),
        "path" => Ok(ScopeName::Path),
        _ => Err("must be 'org', 'user' or 'path'"),
    })?;
    let user = query.take_as("user", UserId::new)?;
    let path = query.take_as("path", LimitPath::new)?;
    let window = query.take_as("window", read_window)?.unwrap_or(Window::Month);
    query.end()?;
    let scope = scope(name, user, path).map_err(|(field, text)| invalid_parameter(field, text))?;
    set_limit(&app, &caller, org, SetLimit { meter, scope, window, amount: None }).await
}

pub(crate) fn read_window(text: &str) -> Result<Window, &'static str> {
    text.parse().map_err(|_| Window::NAMES)
}

pub(super) fn read_time(field: &str, text: &str) -> Result<Timestamp, Failure> {
    let in_range = |at: &Timestamp| (TIME_MIN_SECS..TIME_MAX_SECS).contains(&at.as_second());
    text.parse().ok().map(|Time(at)| at).filter(in_range).ok_or_else(|| {
        let detail = format!("{field}: must be a time such as 2026-12-31T00:00:00Z");
        Problem::new(Code::InvalidField, detail).on_field(field).into()
    })
}
