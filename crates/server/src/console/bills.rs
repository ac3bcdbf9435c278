//! Bills: of a month, of one organization, and one of them as it leaves.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use tollgate_api::{BillPage, BillReply, BillStatus, Code, OrgPage};
use tollgate_console::{Answered, BillRow, BillsView, OrgTab, Section};
use tollgate_domain::{OrgId, Period, Window, Zone};

use super::org::head_of;
use super::session::Visitor;
use super::{encoded, next_page, page, said};
use crate::app::App;
use crate::extract::{OrgPath, Query};
use crate::native;
use crate::native::balance::read_month;
use crate::reply::Failure;

/// Organizations of a page: each has its month rated for it.
const ROWS: &str = "25";

/// Months to choose from.
const MONTHS: i32 = 6;

/// The bills of all organizations for a month, some at a time.
pub(crate) async fn of_all(
    State(app): State<App>,
    visitor: Visitor,
    mut query: Query,
) -> Result<Response, Failure> {
    let now = Zone::UTC.period_at(Window::Month, app.engine.clock().now());
    let month = query.take_as("month", read_month)?.unwrap_or(now).label();
    let cursor = query.take("cursor");
    query.end()?;
    let params = [("limit", ROWS)].into_iter().chain(cursor.as_deref().map(|cursor| ("cursor", cursor)));
    let orgs = native::orgs::list(State(app.clone()), visitor.caller.clone(), Query::of(params));
    let orgs: OrgPage = said(orgs).await?;
    let mut rows = Vec::new();
    for org in orgs.orgs {
        let Ok(id) = OrgId::new(&org.org) else { continue };
        let (state, caller) = (State(app.clone()), visitor.caller.clone());
        let asked = Query::of([("month", month.as_str())]);
        let bill = native::bills::show(state, caller, OrgPath(id), asked, HeaderMap::new());
        match said::<BillReply>(bill).await {
            Ok(bill) => rows.push(BillRow::of(bill)),
            // It had no plan in that month.
            Err(failure) if failure.problem.code == Code::UnknownBill => {}
            Err(failure) if failure.problem.status < 500 => rows.push(BillRow {
                org: org.org,
                name: org.name,
                month: month.clone(),
                status: BillStatus::Estimate,
                number: None,
                total: None,
                problem: Some(failure.problem.detail),
            }),
            Err(failure) => return Err(failure),
        }
        tokio::task::yield_now().await;
    }
    let asked = BTreeMap::from([("month".to_owned(), month.clone())]);
    let view = BillsView {
        frame: visitor.frame(Section::Bills, &format!("Bills of {month}")),
        head: None,
        rows,
        beside: (0..MONTHS).map(|back| Period::month(now.number - back).label()).collect(),
        month,
        next: next_page(Section::Bills.path(), &asked, orgs.next.as_deref()),
        sent: None,
    };
    page(StatusCode::OK, &view)
}

/// The bills of one organization, the latest month first.
pub(crate) async fn of_org(
    State(app): State<App>,
    visitor: Visitor,
    OrgPath(org): OrgPath,
    mut query: Query,
) -> Result<Response, Failure> {
    let (word, cursor) = (query.take("done"), query.take("cursor"));
    query.end()?;
    list_of(&app, &visitor, org, word.as_deref(), cursor.as_deref(), None).await
}

/// The page, with what was just done, or with why a month was not closed.
pub(super) async fn list_of(
    app: &App,
    visitor: &Visitor,
    org: OrgId,
    word: Option<&str>,
    cursor: Option<&str>,
    sent: Option<Answered>,
) -> Result<Response, Failure> {
    let head = head_of(app, visitor, &org, OrgTab::Bills).await?;
    let params = [("limit", "24")].into_iter().chain(cursor.map(|cursor| ("cursor", cursor)));
    let (state, caller) = (State(app.clone()), visitor.caller.clone());
    let bills: BillPage =
        said(native::bill_list::list(state, caller, OrgPath(org.clone()), Query::of(params))).await?;
    let path = format!("/console/orgs/{}/bills", encoded(org.as_str()));
    let status = sent.as_ref().map_or(200, |sent| sent.problem.status);
    let view = BillsView {
        frame: visitor.frame_after(Section::Orgs, &format!("Bills of {org}"), word),
        head: Some(head),
        next: next_page(&path, &BTreeMap::new(), bills.next.as_deref()),
        rows: BillsView::rows_of(bills),
        month: String::new(),
        beside: Vec::new(),
        sent,
    };
    page(StatusCode::from_u16(status).unwrap_or_default(), &view)
}

/// A bill as the API gives it: a page, a table, rows of FOCUS, JSON.
pub(crate) async fn bill(
    State(app): State<App>,
    visitor: Visitor,
    path: OrgPath,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    native::bills::show(State(app), visitor.caller, path, query, headers).await
}
