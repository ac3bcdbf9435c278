//! The reports API: `POST /plan`, `/limit`, `/use`, `/top-up` on the meter `reports`.
//!
//! Unknown fields are ignored, as its clients expect. Errors carry `error`, and the members of a native problem beside it.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tollgate_api::{Code, Decimal, Id, PositiveDecimal, Problem};
use tollgate_domain::catalog::PRIORITY_DEFAULT;
use tollgate_domain::{
    ConfigDenial, Denial, LimitScope, MeterId, OrgCommand, OrgDecision, OrgId, PlanId, Quantity, Role,
    SetLimit, SetPlan, TopUp, TopUpExpiry, TopUpStart, UsageKey, Use, UserId, Window,
};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::compat::failure::{self, Dialect, agreed, read};
use crate::convert::{config_problem, conflict};
use crate::extract::IdempotencyKey;
use crate::limit_headers::gate_problem;
use crate::native::problems::{P404, P409, P422};
use crate::refusals::note_refusal;
use crate::reply::{Failure, ok};

/// The meter of this API.
const METER: &str = "reports";

/// How this API reports errors.
#[derive(Debug)]
pub(crate) struct Reports;

impl Dialect for Reports {
    fn own_name(field: &str) -> &str {
        match field {
            "org" => "org_id",
            "user" => "user_id",
            "key" => "report_id",
            other => other,
        }
    }
}

type CompatFailure = failure::CompatFailure<Reports>;

fn meter() -> Result<MeterId, CompatFailure> {
    MeterId::new(METER).map_err(|_| conflict().into())
}

/// It is done.
#[derive(Serialize, ToSchema)]
#[schema(as = ReportsStatus)]
pub(crate) struct Status {
    /// What was done, in words.
    status: &'static str,
}

/// Sets a plan.
#[derive(Deserialize, ToSchema)]
#[schema(as = ReportsPlanRequest)]
pub(crate) struct PlanBody {
    /// The organization.
    #[schema(value_type = Id)]
    org_id: OrgId,
    /// A plan of the catalog, in any letter case.
    plan: String,
}

/// Sets the plan.
#[utoipa::path(
    post, path = "/plan", tag = "Reports API", operation_id = "reports_plan",
    request_body = PlanBody,
    responses((status = 200, description = "The plan is in force", body = Status))
)]
pub(crate) async fn plan(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    header: Result<IdempotencyKey, Failure>,
    request: Request,
) -> Result<Response, CompatFailure> {
    let caller = caller?;
    let body: PlanBody = read(&app, request).await?;
    caller.require(Role::Manage, Some(&body.org_id))?;
    agreed::<Reports>(header, None)?;
    let plan = PlanId::new(&body.plan.to_lowercase())
        .map_err(|error| CompatFailure::bad_field("plan", &error.to_string()))?;
    match app
        .engine
        .submit(&caller.actor, body.org_id.clone(), OrgCommand::SetPlan(SetPlan::now(plan)))
        .await
        .map_err(Failure::from)?
    {
        OrgDecision::Change(Ok(_)) => Ok(ok(&Status { status: "plan set" })),
        OrgDecision::Change(Err(denial)) => Err(config_failure(&denial, &body.org_id)),
        _ => Err(conflict().into()),
    }
}

fn config_failure(denial: &ConfigDenial, org: &OrgId) -> CompatFailure {
    let problem = config_problem(denial, org);
    match denial {
        ConfigDenial::KeyReused => CompatFailure::told(422, "the key was used for another content", problem),
        ConfigDenial::UnknownOrg => CompatFailure::told(404, "org not found", problem),
        ConfigDenial::NoPlan => CompatFailure::told(403, "no plan", problem),
        ConfigDenial::TrialEnded => CompatFailure::told(403, "trial ended", problem),
        _ => CompatFailure::bad(problem),
    }
}

/// Sets the limit of each user.
#[derive(Deserialize, ToSchema)]
#[schema(as = ReportsLimitRequest)]
pub(crate) struct LimitBody {
    /// The organization.
    #[schema(value_type = Id)]
    org_id: OrgId,
    /// How many reports a month, a whole number; null removes the limit.
    // Told apart: a missing limit is an error.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true)]
    limit: Option<PositiveDecimal>,
}

/// Sets the limit of each user a month, or removes it with null.
#[utoipa::path(
    post, path = "/limit", tag = "Reports API", operation_id = "reports_limit",
    request_body = LimitBody,
    responses((status = 200, description = "The limit is in force, or removed", body = Status), P404)
)]
pub(crate) async fn limit(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    header: Result<IdempotencyKey, Failure>,
    request: Request,
) -> Result<Response, CompatFailure> {
    let caller = caller?;
    let body: LimitBody = read(&app, request).await?;
    caller.require(Role::Manage, Some(&body.org_id))?;
    agreed::<Reports>(header, None)?;
    let amount = body.limit.map(|limit| whole("limit", limit)).transpose()?.map(Quantity::amount);
    let set = SetLimit { meter: meter()?, scope: LimitScope::EachUser, window: Window::Month, amount };
    match app
        .engine
        .submit(&caller.actor, body.org_id.clone(), OrgCommand::SetLimit(set))
        .await
        .map_err(Failure::from)?
    {
        OrgDecision::Change(Ok(_)) => Ok(ok(&Status { status: "user limit set" })),
        OrgDecision::Change(Err(denial)) => Err(config_failure(&denial, &body.org_id)),
        _ => Err(conflict().into()),
    }
}

fn whole(field: &str, PositiveDecimal(quantity): PositiveDecimal) -> Result<Quantity, CompatFailure> {
    let whole = quantity.amount().as_whole().map(|_| quantity);
    whole.ok_or_else(|| CompatFailure::bad_field(field, "must be a whole number, at least 1"))
}

/// Asks to use one report.
#[derive(Deserialize, ToSchema)]
#[schema(as = ReportsUseRequest)]
pub(crate) struct UseBody {
    /// The organization.
    #[schema(value_type = Id)]
    org_id: OrgId,
    /// The user; needed while a limit of users is in force.
    #[schema(value_type = Option<Id>)]
    user_id: Option<UserId>,
    /// The id of the report: it counts once however often it is sent. This or `enquiry_id` is needed.
    #[schema(value_type = Option<Id>)]
    report_id: Option<UsageKey>,
    /// The same under its other name, which goes first.
    #[schema(value_type = Option<Id>)]
    enquiry_id: Option<UsageKey>,
}

/// It was counted.
#[derive(Serialize, ToSchema)]
#[schema(as = ReportsUseReply)]
pub(crate) struct UseReply {
    /// What was done, in words.
    status: &'static str,
    /// The id of the report.
    enquiry_id: String,
    /// What the organization may still use; null where credit is not asked.
    remaining_credits: Option<Decimal>,
    /// All credit in force.
    total_credits: Decimal,
    /// What the user has used this month.
    user_usage: Decimal,
    /// Whether the report had been counted before.
    replayed: bool,
}

/// Checks and counts one report.
#[utoipa::path(
    post, path = "/use", tag = "Reports API", operation_id = "reports_use",
    request_body = UseBody,
    responses((status = 200, description = "It was counted, now or before", body = UseReply), P404, P409, P422)
)]
pub(crate) async fn use_(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    header: Result<IdempotencyKey, Failure>,
    request: Request,
) -> Result<Response, CompatFailure> {
    let caller = caller?;
    let body: UseBody = read(&app, request).await?;
    caller.require(Role::Ingest, Some(&body.org_id))?;
    let missing = || {
        let detail = "the field 'report_id' is missing (or 'enquiry_id')";
        CompatFailure::bad(Problem::new(Code::MissingField, detail).on_field("report_id"))
    };
    let key = agreed::<Reports>(header, body.enquiry_id.or(body.report_id))?.ok_or_else(missing)?;
    let (user, meter) = (body.user_id, meter()?);
    let usage = Use {
        user: user.clone(),
        path: None,
        meter: meter.clone(),
        quantity: Quantity::ONE,
        key: key.clone(),
        occurred_at: None,
        properties: std::collections::BTreeMap::new(),
    };
    #[cfg(feature = "otlp")]
    crate::telemetry::note_usage(&app, &body.org_id, &usage);
    match app
        .engine
        .submit(&caller.actor, body.org_id.clone(), OrgCommand::Use(usage))
        .await
        .map_err(Failure::from)?
    {
        OrgDecision::Use(Ok(allowed)) => Ok(ok(&UseReply {
            status: "report counted",
            enquiry_id: key.into(),
            remaining_credits: allowed.standing.remaining.map(Into::into),
            total_credits: allowed.standing.granted.into(),
            user_usage: allowed.standing.user_used.unwrap_or_default().into(),
            replayed: allowed.replayed,
        })),
        OrgDecision::Use(Err(denied)) => {
            note_refusal(&app, &body.org_id, &denied.denial);
            let problem = gate_problem(&app, &denied, &body.org_id, &meter, Quantity::ONE);
            Err(match denied.denial {
                Denial::UnknownOrg => CompatFailure::told(404, "org not found", problem),
                Denial::NoPlan => CompatFailure::told(403, "no plan", problem),
                Denial::TrialEnded => CompatFailure::told(403, "trial ended", problem),
                // No report names a path.
                Denial::OutOfCredit(_) | Denial::OrgLimitReached(_) | Denial::PathLimitReached(_) => {
                    CompatFailure::told(403, "limit reached", problem)
                }
                Denial::UserLimitReached(_) => CompatFailure::told(403, "user limit reached", problem),
                Denial::UserRequired => {
                    CompatFailure::told(400, "user_id is required while a user limit is in force", problem)
                }
                Denial::KeyReused => {
                    CompatFailure::told(422, "the report id was used for another content", problem)
                }
                Denial::KeyReversed => CompatFailure::told(409, "the report was taken back", problem),
                Denial::UnknownMeter | Denial::UnknownProperty(_) => CompatFailure::bad(problem),
            })
        }
        _ => Err(conflict().into()),
    }
}

/// Adds reports.
#[derive(Deserialize, ToSchema)]
#[schema(as = ReportsTopUpRequest)]
pub(crate) struct TopUpBody {
    /// The organization.
    #[schema(value_type = Id)]
    org_id: OrgId,
    /// How many, a whole number. This or `credits` is needed.
    count: Option<PositiveDecimal>,
    /// The same under its other name.
    credits: Option<PositiveDecimal>,
}

/// They were added.
#[derive(Serialize, ToSchema)]
#[schema(as = ReportsTopUpReply)]
pub(crate) struct TopUpReply {
    /// What was done, in words.
    status: &'static str,
    /// How many were added.
    top_up_credits: Decimal,
    /// What the organization may now use; null where credit is not asked.
    remaining_credits: Option<Decimal>,
    /// All credit in force.
    total_credits: Decimal,
}

/// Adds reports that expire with the month.
#[utoipa::path(
    post, path = "/top-up", tag = "Reports API", operation_id = "reports_top_up",
    request_body = TopUpBody,
    responses((status = 200, description = "They were added", body = TopUpReply), P404)
)]
pub(crate) async fn top_up(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    header: Result<IdempotencyKey, Failure>,
    request: Request,
) -> Result<Response, CompatFailure> {
    let caller = caller?;
    let body: TopUpBody = read(&app, request).await?;
    caller.require(Role::Manage, Some(&body.org_id))?;
    let (field, count) = match (body.count, body.credits) {
        (Some(count), _) => ("count", count),
        (None, Some(credits)) => ("credits", credits),
        (None, None) => {
            let detail = "the field 'count' is missing (or 'credits')";
            return Err(CompatFailure::bad(Problem::new(Code::MissingField, detail).on_field("count")));
        }
    };
    let amount = whole(field, count)?;
    let top_up = TopUp {
        meter: meter()?,
        amount,
        key: agreed::<Reports>(header, None)?,
        expiry: TopUpExpiry::EndOfMonth,
        start: TopUpStart::Now,
        priority: PRIORITY_DEFAULT,
        reason: None,
        metadata: std::collections::BTreeMap::new(),
    };
    #[cfg(feature = "otlp")]
    crate::telemetry::note_top_up(&app, &body.org_id, &top_up);
    match app
        .engine
        .submit(&caller.actor, body.org_id.clone(), OrgCommand::TopUp(top_up))
        .await
        .map_err(Failure::from)?
    {
        OrgDecision::TopUp(Ok(topped_up)) => Ok(ok(&TopUpReply {
            status: "credits topped up",
            top_up_credits: amount.amount().into(),
            remaining_credits: topped_up.standing.remaining.map(Into::into),
            total_credits: topped_up.standing.granted.into(),
        })),
        OrgDecision::TopUp(Err(denial)) => Err(config_failure(&denial, &body.org_id)),
        _ => Err(conflict().into()),
    }
}
