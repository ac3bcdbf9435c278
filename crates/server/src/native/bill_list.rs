//! The bills of an organization, month by month.

use axum::extract::State;
use axum::response::Response;
use tollgate_api::{BillItem, BillPage, BillStatus, Id};
use tollgate_domain::{BillError, Org, OrgId, Role, Window};
use tollgate_storage::Cursor;

use crate::app::App;
use crate::auth::Caller;
use crate::extract::{OrgPath, Query};
use crate::native::orgs::unknown_org;
use crate::native::problems::P404;
use crate::paging::{Paging, invalid_cursor};
use crate::reply::{Failure, ok};

/// The bills of an organization, the latest month first: closed ones, and estimates of the others.
///
/// A page goes over as many months as its `limit` says; months without a plan have no bill, so it may come back short
/// with more to follow at `next`.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/bills", tag = "Bills", operation_id = "list_bills",
    params(("org" = Id, Path, description = "The organization"), Paging),
    responses(
        (status = 200, description = "Some bills", body = BillPage),
        P404,
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    mut query: Query,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    let paging = Paging::take(&mut query)?;
    query.end()?;
    let known = app.engine.org(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let list = ("bills", org.clone());
    let (after, limit) = paging.begin(&list)?;
    let (first, running) = months(&app, &known);
    let latest = match after {
        Some(after) => month_before(after)?.min(running),
        None => running,
    };
    let mut bills = Vec::new();
    let mut month = latest;
    for _ in 0..limit {
        if month < first {
            break;
        }
        bills.extend(item(&app, &org, month).await?);
        month = month.saturating_sub(1);
    }
    let next = (month >= first).then(|| Cursor(month.saturating_add(1).to_be_bytes().to_vec()));
    Ok(ok(&BillPage { org: org.into(), bills, next: Paging::next(&list, next) }))
}

/// The month in which an organization came to be known, and the one that runs. In another zone it may have been the
/// month before.
fn months(app: &App, org: &Org) -> (i32, i32) {
    let month_at = |at| org.zone.period_at(Window::Month, at).number;
    (month_at(org.created_at).saturating_sub(1), month_at(org.now(app.engine.clock().now())))
}

/// The month before the one that a cursor names.
fn month_before(cursor: &Cursor) -> Result<i32, Failure> {
    let bytes = cursor.0.as_slice().try_into().map_err(|_| invalid_cursor())?;
    Ok(i32::from_be_bytes(bytes).saturating_sub(1))
}

async fn item(app: &App, org: &OrgId, month: i32) -> Result<Option<BillItem>, Failure> {
    let (month, bill) = app.engine.bill(org, Some(month)).await?.ok_or_else(|| unknown_org(org))?;
    let month = month.label();
    Ok(match bill {
        Ok(bill) => Some(BillItem {
            month,
            status: if bill.number.is_some() { BillStatus::Closed } else { BillStatus::Estimate },
            number: bill.number,
            currency: Some(bill.total.currency.to_string()),
            total: Some(bill.total.number()),
            problem: None,
        }),
        Err(BillError::UnknownOrg | BillError::NoPlan) => None,
        Err(error) => Some(BillItem {
            month,
            status: BillStatus::Estimate,
            number: None,
            currency: None,
            total: None,
            problem: Some(error.to_string()),
        }),
    })
}
