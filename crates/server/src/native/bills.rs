//! Bills: what an organization owes for a month, closing it, and what another catalog would change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderMap;
use tollgate_api::{
    BillFormat, BillReply, CloseRequest, Code, HeaderKey, Id, Month, Problem, WhatIfDenied, WhatIfItem,
    WhatIfReply, WhatIfRequest, WhatIfTotal,
};
use tollgate_domain::{
    BillError, Catalog, CloseDenial, CloseMonth, Currency, Denials, Money, OrgCommand, OrgDecision, OrgId,
    Period, Rated, Role, SystemDenial, Timestamp,
};
use tollgate_engine::CatalogInForce;
use tollgate_storage::{Row, Scan};

use crate::app::App;
use crate::auth::Caller;
use crate::bills::{Seller, bill_reply, csv, focus, html};
use crate::convert::conflict;
use crate::extract::{IdempotencyKey, Json, NoQuery, OrgPath, Query, parse, read_json};
use crate::form::{Form, form_of, varying};
use crate::limits::{PAGE_ROWS_MAX, WHAT_IF_BYTES_MAX, WHAT_IF_ORGS_MAX};
use crate::native::balance::read_month;
use crate::native::catalog::system_failure;
use crate::native::orgs::unknown_org;
use crate::native::problems::{P404, P409};
use crate::reply::{Failure, ok};

/// The bill of an organization for a month: an estimate until it is closed.
///
/// As JSON, as a table (`text/csv`), as a page that prints (`text/html`), or as rows of FOCUS 1.2
/// (`text/csv; profile=focus`): by the parameter `format`, or else by the header `Accept`.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/bill", tag = "Bills", operation_id = "bill",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("month" = Option<Month>, Query, description = "Such as `2026-11`; the current month unless given"),
        ("format" = Option<BillFormat>, Query, description = "In place of the header `Accept`"),
    ),
    responses(
        (status = 200, description = "The bill", content(
            (BillReply = "application/json"), (String = "text/csv"), (String = "text/html"),
        )),
        P404,
    )
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    mut query: Query,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    let month = query.take_as("month", read_month)?;
    let format = query.take_as("format", read_format)?;
    query.end()?;
    let asked = month.map(|month| month.number);
    let (month, bill) = app.engine.bill(&org, asked).await?.ok_or_else(|| unknown_org(&org))?;
    let bill = bill.map_err(|error| bill_failure(&error, &org, month))?;
    let reply = bill_reply(&org, &bill);
    let form = format.map_or_else(|| form_of(&headers, &Form::ALL), Form::from);
    Ok(match form {
        Form::Json | Form::Toml => varying(ok(&reply)),
        Form::Csv => form.response(csv(&reply)),
        Form::Html => form.response(html(&reply)),
        Form::Focus => {
            let known = app.engine.org(&org).await?.ok_or_else(|| unknown_org(&org))?;
            let catalog = app.engine.catalog().catalog;
            let seller = Seller { provider: &app.settings.provider, org: &known, catalog: &catalog };
            form.response(focus(&seller, &bill))
        }
    })
}

fn read_format(text: &str) -> Result<BillFormat, &'static str> {
    let known = BillFormat::ALL.into_iter().find(|format| format.text() == text);
    known.ok_or("expected json, csv, html or focus")
}

pub(crate) fn bill_failure(error: &BillError, org: &OrgId, month: Period) -> Failure {
    match error {
        BillError::UnknownOrg => unknown_org(org),
        BillError::NotBegun => {
            let detail = format!("{} has not begun in the time zone of '{org}'", month.label());
            Problem::new(Code::UnknownBill, detail).on_field("month").into()
        }
        BillError::NoPlan => {
            let detail = format!("the organization '{org}' had no plan in {}", month.label());
            Problem::new(Code::UnknownBill, detail).on_field("month").into()
        }
        BillError::Rate(error) => Problem::new(Code::Unrated, error.to_string()).into(),
    }
}

/// Closes the bill of a month that is over: from then on it never changes.
///
/// Asked again, it answers with the bill that was closed. Usage that is taken back from a closed month, or comes late
/// to it, becomes an adjustment on the next bill.
#[utoipa::path(
    post, path = "/v1/orgs/{org}/bill/close", tag = "Bills", operation_id = "close_bill",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("Idempotency-Key" = Option<HeaderKey>, Header, description = "Taken, and not needed: sent again, the request changes nothing more"),
    ),
    request_body = CloseRequest,
    responses(
        (status = 200, description = "The closed bill", body = BillReply),
        P404,
        P409,
    )
)]
pub(crate) async fn close(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    _: NoQuery,
    _: IdempotencyKey,
    Json(request): Json<CloseRequest>,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, Some(&org))?;
    let month = month_field(&request.month)?;
    let command = OrgCommand::CloseMonth(CloseMonth { month: month.number });
    match app.engine.submit(&caller.actor, org.clone(), command).await? {
        OrgDecision::Close(Ok(closed)) => Ok(ok(&bill_reply(&org, &closed.bill))),
        OrgDecision::Close(Err(CloseDenial::Bill(error))) => Err(bill_failure(&error, &org, month)),
        OrgDecision::Close(Err(CloseDenial::MonthRuns)) => {
            let detail = format!("{} is not over in the time zone of '{org}'", month.label());
            Err(Problem::new(Code::MonthRuns, detail).on_field("month").into())
        }
        OrgDecision::Close(Err(CloseDenial::EarlierOpen(open))) => {
            let (open, month) = (open.label(), month.label());
            let detail = format!("months close in order: {open} of '{org}' is to be closed before {month}");
            Err(Problem::new(Code::EarlierMonthOpen, detail).on_field("month").into())
        }
        OrgDecision::Close(Err(CloseDenial::LaterClosed)) => {
            let month = month.label();
            let detail = format!("a month after {month} is closed, and {month} had nothing to bill");
            Err(Problem::new(Code::LaterMonthClosed, detail).on_field("month").into())
        }
        _ => Err(conflict()),
    }
}

fn month_field(text: &str) -> Result<Period, Failure> {
    read_month(text)
        .map_err(|says| Problem::new(Code::InvalidField, format!("month: {says}")).on_field("month").into())
}

/// What another catalog would change in a month, for each organization and in sum; nothing is changed.
///
/// Money: the month's usage, rated by the catalog in force and by the other. Denials: the month's usage that was asked
/// for and allowed, decided again by each.
#[utoipa::path(
    post, path = "/v1/whatif", tag = "Bills", operation_id = "what_if",
    request_body = WhatIfRequest,
    responses(
        (status = 200, description = "What would change", body = WhatIfReply),
    )
)]
pub(crate) async fn what_if(
    State(app): State<App>,
    caller: Caller,
    _: NoQuery,
    request: Request,
) -> Result<Response, Failure> {
    caller.require(Role::Read, None)?;
    let body = read_json(&app, request, WHAT_IF_BYTES_MAX).await?;
    let reader = Arc::clone(&app);
    app.readers.report(async move { compare(&reader, &body).await }).await?
}

/// Rates and decides the month's usage of all organizations by both catalogs.
async fn compare(app: &App, body: &[u8]) -> Result<Response, Failure> {
    let request: WhatIfRequest = parse(body)?;
    let month = month_field(&request.month)?;
    let catalog =
        Catalog::from_toml(&request.catalog).map_err(|error| system_failure(SystemDenial::Catalog(error)))?;
    let in_force = app.engine.catalog();
    let version = in_force.version.saturating_add(1);
    let other = CatalogInForce::new(version, Timestamp::MIN, Arc::new(catalog), in_force.created_meters);
    let mut sums = Sums::default();
    let mut cursor = None;
    loop {
        let page = app.engine.scan(&Scan::Orgs, cursor.as_ref(), PAGE_ROWS_MAX).await?;
        for row in page.rows {
            if let Row::Org(org) = row {
                let [now, then] = app.engine.rated_by_both(&org.id, month.number, &other).await?;
                let denials = app.engine.denied_by_both(&org.id, month.number, &other).await?;
                sums.add(&org.id, now, then, &denials);
                tokio::task::yield_now().await;
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(ok(&sums.reply(month)));
        }
    }
}

/// What was rated and decided by both catalogs so far.
#[derive(Default)]
struct Sums {
    orgs: u64,
    changed: u64,
    denied_otherwise: u64,
    /// Now and then, in minor units, by the currency's code.
    totals: BTreeMap<String, (Currency, i128, i128)>,
    denials: [Denials; 2],
    items: Vec<WhatIfItem>,
}

impl Sums {
    fn add(
        &mut self,
        org: &OrgId,
        now: Result<Rated, BillError>,
        then: Result<Rated, BillError>,
        denials: &[Denials; 2],
    ) {
        let [denied_now, denied_then] = denials;
        let denied_otherwise = denied_now != denied_then;
        self.denied_otherwise += u64::from(denied_otherwise);
        for (sum, denied) in self.denials.iter_mut().zip(denials) {
            for (about, more) in denied {
                let sum = sum.entry(about.clone()).or_default();
                sum.usages += more.usages;
                sum.quantity += more.quantity;
            }
        }
        let total = |rated: &Result<Rated, BillError>| rated.as_ref().ok().map(|rated| rated.total);
        let totals = (total(&now), total(&then));
        let owes_otherwise = self.add_money(&now, &then);
        if (owes_otherwise || denied_otherwise) && self.items.len() < WHAT_IF_ORGS_MAX {
            self.items.push(WhatIfItem {
                org: org.to_string(),
                now: totals.0.map(|total| total.to_string()),
                then: totals.1.map(|total| total.to_string()),
                difference: totals
                    .0
                    .zip(totals.1)
                    .and_then(|(now, then)| then.checked_sub(now))
                    .map(|difference| difference.to_string()),
                problem: then.err().or(now.err()).map(|error| error.to_string()),
                would_be_denied: would_be_denied(denials),
            });
        }
    }

    /// Adds what an org owes by both catalogs; gives whether it is not the same.
    fn add_money(&mut self, now: &Result<Rated, BillError>, then: &Result<Rated, BillError>) -> bool {
        let without_prices = |rated: &Result<Rated, BillError>| match rated {
            Ok(rated) => rated.lines.is_empty() && rated.unpriced.is_empty(),
            Err(error) => *error == BillError::NoPlan || *error == BillError::UnknownOrg,
        };
        if without_prices(now) && without_prices(then) {
            return false;
        }
        self.orgs += 1;
        let total = |rated: &Result<Rated, BillError>| rated.as_ref().ok().map(|rated| rated.total);
        let totals = (total(now), total(then));
        for (total, is_then) in [(totals.0, false), (totals.1, true)] {
            let Some(total) = total else { continue };
            let sum = self.totals.entry(total.currency.to_string()).or_insert((total.currency, 0, 0));
            let sum = if is_then { &mut sum.2 } else { &mut sum.1 };
            *sum = sum.saturating_add(total.minor);
        }
        let owes_otherwise = totals.0 != totals.1 || totals.0.is_none();
        self.changed += u64::from(owes_otherwise);
        owes_otherwise
    }

    fn reply(self, month: Period) -> WhatIfReply {
        let totals = self.totals.into_values().map(|(currency, now, then)| {
            let number = |minor| Money { currency, minor }.number();
            WhatIfTotal {
                currency: currency.to_string(),
                now: number(now),
                then: number(then),
                difference: number(then.saturating_sub(now)),
            }
        });
        WhatIfReply {
            month: month.label(),
            orgs: self.orgs,
            changed: self.changed,
            totals: totals.collect(),
            denied_otherwise: self.denied_otherwise,
            would_be_denied: would_be_denied(&self.denials),
            items: self.items,
        }
    }
}

/// What either catalog would deny, by meter and reason.
fn would_be_denied([now, then]: &[Denials; 2]) -> Vec<WhatIfDenied> {
    let about: BTreeSet<_> = now.keys().chain(then.keys()).collect();
    let rows = about.into_iter().map(|about| {
        let [now, then] = [now, then].map(|denials| denials.get(about).copied().unwrap_or_default());
        let (meter, reason) = about;
        WhatIfDenied {
            meter: meter.to_string(),
            reason: (*reason).to_owned(),
            usages_now: now.usages,
            usages_then: then.usages,
            quantity_now: now.quantity.into(),
            quantity_then: then.quantity.into(),
        }
    });
    rows.collect()
}
