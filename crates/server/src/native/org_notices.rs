//! Which shares of its credit an org's notices tell of.

use axum::extract::State;
use axum::response::Response;
use tollgate_api::{Id, OrgNoticesReply, OrgNoticesRequest, ThresholdsGiver};
use tollgate_domain::{OrgCommand, OrgId, Role, ThresholdsFrom};

use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Json, NoQuery, OrgPath};
use crate::native::orgs::{change, unknown_org};
use crate::native::problems::P404;
use crate::reply::{Failure, ok};

/// Which shares of its credit an organization's notices tell of: its own, or those of its plan or of the catalog.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/notices", tag = "Organizations", operation_id = "get_org_notices",
    params(("org" = Id, Path, description = "The organization")),
    responses(
        (status = 200, description = "The shares in force", body = OrgNoticesReply),
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
    in_force(&app, org, false).await
}

/// Sets which shares of its credit an organization's notices tell of; `null` goes by its plan again.
///
/// Each share is told once when it is crossed, and again when there is more credit. One below what was told already waits for
/// that.
#[utoipa::path(
    put, path = "/v1/orgs/{org}/notices", tag = "Organizations", operation_id = "put_org_notices",
    params(("org" = Id, Path, description = "The organization")),
    request_body = OrgNoticesRequest,
    responses(
        (status = 200, description = "The shares in force", body = OrgNoticesReply),
        P404,
    )
)]
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    _: NoQuery,
    Json(request): Json<OrgNoticesRequest>,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, Some(&org))?;
    let thresholds = request.thresholds.map(|shares| {
        let mut thresholds: Vec<u8> = shares.into_iter().map(|share| share.0).collect();
        thresholds.sort_unstable();
        thresholds.dedup();
        thresholds
    });
    let changed = change(&app, &caller, &org, OrgCommand::SetThresholds(thresholds)).await?;
    in_force(&app, org, changed.entry.is_some()).await
}

async fn in_force(app: &App, org: OrgId, changed: bool) -> Result<Response, Failure> {
    let known = app.engine.org(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let catalog = app.engine.catalog().catalog;
    let in_force = known.plans.in_force(known.now(app.engine.clock().now()));
    let plan = in_force.and_then(|change| change.plan.as_ref());
    let (thresholds, from) = catalog.thresholds(&known, plan.and_then(|plan| catalog.plan(plan)));
    Ok(ok(&OrgNoticesReply {
        org: org.into(),
        plan: plan.map(ToString::to_string),
        thresholds: thresholds.to_vec(),
        from: match from {
            ThresholdsFrom::Org => ThresholdsGiver::Org,
            ThresholdsFrom::Plan => ThresholdsGiver::Plan,
            ThresholdsFrom::Catalog => ThresholdsGiver::Catalog,
        },
        changed,
    }))
}
