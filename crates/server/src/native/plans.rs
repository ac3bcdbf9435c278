//! The plan of an org: in force, scheduled, left.

use axum::extract::State;
use axum::response::Response;
use tollgate_api::{Code, Id, PlanReply, PlanRequest, Problem, ScheduledPlan};
use tollgate_domain::{Changed, Org, OrgCommand, OrgId, Period, PlanTime, Role, SetPlan, Timestamp};

use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Json, NoQuery, OrgPath, Query};
use crate::native::orgs::unknown_org;
use crate::native::orgs::{change, read_time};
use crate::native::problems::{P404, P409, P422};
use crate::reply::{Failure, ok};

/// The plan in force, and the change that is scheduled.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/plan", tag = "Organizations", operation_id = "get_plan",
    params(("org" = Id, Path, description = "The organization")),
    responses(
        (status = 200, description = "The plan", body = PlanReply),
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
    reply(&app, &org, &Changed { entry: None, deprecated: false }).await
}

/// Sets the plan, at once or from a later time on; makes the organization if need be.
///
/// One change may be scheduled: scheduling again replaces it, and setting a plan at once calls it off.
#[utoipa::path(
    put, path = "/v1/orgs/{org}/plan", tag = "Organizations", operation_id = "put_plan",
    params(("org" = Id, Path, description = "The organization")),
    request_body = PlanRequest,
    responses(
        (status = 200, description = "The plan is in force, or scheduled", body = PlanReply),
        P404,
        P409,
        P422,
    )
)]
pub(crate) async fn set(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    _: NoQuery,
    Json(request): Json<PlanRequest>,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, Some(&org))?;
    let from = plan_time(request.at.as_deref())?;
    let set = SetPlan { plan: Some(request.plan), from };
    let changed = change(&app, &caller, &org, OrgCommand::SetPlan(set)).await?;
    reply(&app, &org, &changed).await
}

/// Leaves the plan, at once or from a later time on: from the next day there is no fee, and nothing may be used.
#[utoipa::path(
    delete, path = "/v1/orgs/{org}/plan", tag = "Organizations", operation_id = "delete_plan",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("at" = Option<String>, Query, description = "From when: a time, a day such as 2026-12-01, or next_month; at once unless given"),
    ),
    responses(
        (status = 200, description = "There is no plan, or its end is scheduled", body = PlanReply),
        P404,
        P422,
    )
)]
pub(crate) async fn leave(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    mut query: Query,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, Some(&org))?;
    let from = plan_time(query.take("at").as_deref())?;
    query.end()?;
    let changed = change(&app, &caller, &org, OrgCommand::SetPlan(SetPlan { plan: None, from })).await?;
    reply(&app, &org, &changed).await
}

/// Calls off the change of plan that is scheduled.
#[utoipa::path(
    delete, path = "/v1/orgs/{org}/plan/scheduled", tag = "Organizations", operation_id = "delete_scheduled_plan",
    params(("org" = Id, Path, description = "The organization")),
    responses(
        (status = 200, description = "Nothing is scheduled", body = PlanReply),
        P404,
    )
)]
pub(crate) async fn call_off(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    _: NoQuery,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, Some(&org))?;
    let changed = change(&app, &caller, &org, OrgCommand::CallOffPlan).await?;
    reply(&app, &org, &changed).await
}

/// How the org stands now.
async fn reply(app: &App, id: &OrgId, changed: &Changed) -> Result<Response, Failure> {
    let org = app.engine.org(id).await?.ok_or_else(|| unknown_org(id))?;
    Ok(ok(&plan_reply(&org, org.now(app.engine.clock().now()), changed)))
}

fn plan_reply(org: &Org, now: Timestamp, changed: &Changed) -> PlanReply {
    let in_force = org.plans.in_force(now);
    let scheduled = org.plans.scheduled(now).map(|change| ScheduledPlan {
        plan: change.plan.as_ref().map(ToString::to_string),
        at: org.zone.text(change.since),
    });
    PlanReply {
        org: org.id.to_string(),
        plan: in_force.and_then(|change| change.plan.as_ref()).map(ToString::to_string),
        since: in_force.map(|change| change.since.to_string()),
        scheduled,
        changed: changed.entry.is_some(),
        deprecated: changed.deprecated,
    }
}

/// Reads when a change of plan takes effect.
fn plan_time(text: Option<&str>) -> Result<PlanTime, Failure> {
    let wrong = || {
        let detail =
            "at: must be a time such as 2026-12-01T00:00:00Z, a day such as 2026-12-01, or next_month";
        Failure::from(Problem::new(Code::InvalidField, detail).on_field("at"))
    };
    Ok(match text {
        None => PlanTime::Now,
        Some("next_month") => PlanTime::NextMonth,
        Some(text) => match read_day("at", text).map_err(|_| wrong())? {
            Some(day) => PlanTime::Day(day),
            None => PlanTime::At(read_time("at", text).map_err(|_| wrong())?),
        },
    })
}

/// The number of a day such as 2026-12-01; `None`: the text is no day, and may be a time.
pub(super) fn read_day(field: &str, text: &str) -> Result<Option<i32>, Failure> {
    match Period::parse_day(text) {
        None => Ok(None),
        Some(day) if (0..DAY_MAX).contains(&day.number) => Ok(Some(day.number)),
        Some(_) => {
            let detail = format!("{field}: must be a day from 1970-01-01 to 5999-12-31");
            Err(Problem::new(Code::InvalidField, detail).on_field(field).into())
        }
    }
}

/// The first day that is too late to be accepted: 6000-01-01.
const DAY_MAX: i32 = 1_471_927;
