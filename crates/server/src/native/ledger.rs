//! The ledger of an org, and the notices of all.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::request::Parts;
use tollgate_api::{Code, EntryItem, Id, LedgerPage, NoticePage, OrderName, Problem};
use tollgate_domain::{Entry, Role};
use tollgate_notifier::notice_item;
use tollgate_storage::{Order, Row, Scan};

use crate::app::App;
use crate::auth::Caller;
use crate::convert::entry_item;
use crate::extract::{NoQuery, OrgPath, Query, path_param, whole_number};
use crate::native::filters::{EntryFilter, NoticeFilter};
use crate::native::orgs::unknown_org;
use crate::native::problems::P404;
use crate::paging::{Filter, Paging};
use crate::reply::{Failure, ok};

/// The entries of an organization's ledger.
///
/// Filtered, a page may come back short, or even empty, with more to follow at `next`: only so many entries are read
/// for it.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/ledger", tag = "Ledger", operation_id = "ledger",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("order" = Option<OrderName>, Query, description = "`newest` first unless given"),
        EntryFilter, Paging,
    ),
    responses(
        (status = 200, description = "Some entries", body = LedgerPage),
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
    let order = query.take_as("order", |text| match text {
        "newest" => Ok(Order::Newest),
        "oldest" => Ok(Order::Oldest),
        _ => Err("must be 'newest' or 'oldest'"),
    })?;
    let filter = EntryFilter::take(&mut query)?;
    let paging = Paging::take(&mut query)?;
    query.end()?;
    app.engine.org(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let order = order.unwrap_or(Order::Newest);
    let catalog = app.engine.catalog().catalog;
    let item = |entry: &Entry| entry_item(entry, &catalog);
    let passes = |row: &Row| matches!(row, Row::Entry(entry) if filter.passes(entry.at, &item(entry)));
    let page = paging.read_where(&app, &Scan::Entries { org, order }, &Filter::by(&filter), passes).await?;
    let entries = page.rows.iter().filter_map(|row| match row {
        Row::Entry(entry) => Some(item(entry)),
        _ => None,
    });
    let resume = (order == Order::Oldest).then_some(page.resume);
    Ok(ok(&LedgerPage { entries: entries.collect(), next: page.next, resume }))
}

/// The number of an entry in the path.
pub(crate) struct EntryPath(pub(crate) u64);

impl FromRequestParts<App> for EntryPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        let number = path_param(&parts.extensions, "entry")?;
        whole_number("entry", &number, u64::MAX).map(Self)
    }
}

/// One entry of an organization's ledger.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/ledger/{entry}", tag = "Ledger", operation_id = "ledger_entry",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("entry" = u64, Path, description = "The number of the entry"),
    ),
    responses(
        (status = 200, description = "The entry", body = EntryItem),
        P404,
    )
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    EntryPath(number): EntryPath,
    _: NoQuery,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    match app.engine.entry(&org, number).await? {
        Some(entry) => Ok(ok(&entry_item(&entry, &app.engine.catalog().catalog))),
        None => {
            let detail = format!("the ledger of '{org}' has no entry {number}");
            Err(Problem::new(Code::UnknownEntry, detail).on_field("entry").into())
        }
    }
}

/// The notices of all organizations, oldest first.
///
/// Filtered, a page may come back short, or even empty, with more to follow at `next`: only so many notices are read
/// for it. An API key that is bound to an organization must name it.
#[utoipa::path(
    get, path = "/v1/notices", tag = "Ledger", operation_id = "notices",
    params(NoticeFilter, Paging),
    responses(
        (status = 200, description = "Some notices", body = NoticePage),
    )
)]
pub(crate) async fn notices(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, Failure> {
    let filter = NoticeFilter::take(&mut query)?;
    let paging = Paging::take(&mut query)?;
    query.end()?;
    caller.require(Role::Read, filter.org.as_ref())?;
    let passes = |row: &Row| matches!(row, Row::Notice(row) if filter.passes(row.at, &notice_item(row)));
    let page = paging.read_where(&app, &Scan::Notices, &Filter::by(&filter), passes).await?;
    let notices = page.rows.iter().filter_map(|row| match row {
        Row::Notice(row) => Some(notice_item(row)),
        _ => None,
    });
    Ok(ok(&NoticePage { notices: notices.collect(), next: page.next, resume: page.resume }))
}
