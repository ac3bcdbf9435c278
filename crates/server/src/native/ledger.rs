//! The ledger of an org, and the notices of all.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::request::Parts;
use tollgate_api::{Code, EntryItem, LedgerPage, NoticePage, Problem};
use tollgate_domain::{Record, RecordKey, Role};
use tollgate_storage::{Order, Row, Scan};

use crate::app::App;
use crate::auth::Caller;
use crate::convert::{entry_item, notice_item};
use crate::extract::{OrgPath, Query, cursor_text, invalid_parameter, path_param};
use crate::native::orgs::{scan, unknown_org};
use crate::reply::{Failure, ok};

/// The entries of an organisation's ledger.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/ledger", tag = "Ledger", operation_id = "ledger",
    params(
        ("org" = String, Path, description = "The organisation"),
        ("order" = Option<String>, Query, description = "`newest` (unless given) or `oldest` first"),
        ("limit" = Option<u32>, Query, description = "Most rows, 1 to 1000; 50 unless given"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "Some entries", body = LedgerPage),
        (status = "4XX", description = "Not valid, or not known", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Cannot be read", body = Problem, content_type = "application/problem+json"),
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
    let (limit, cursor) = query.page()?;
    query.end()?;
    app.engine.org(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let entries = Scan::Entries { org, order: order.unwrap_or(Order::Newest) };
    let page = scan(&app, &entries, cursor.as_ref(), limit).await?;
    let entries = page.rows.iter().filter_map(|row| match row {
        Row::Entry(entry) => Some(entry_item(entry)),
        _ => None,
    });
    Ok(ok(&LedgerPage { entries: entries.collect(), next: page.next.as_ref().map(cursor_text) }))
}

/// The number of an entry in the path.
pub(crate) struct EntryPath(u64);

impl FromRequestParts<App> for EntryPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let number = path_param(parts, app, "entry").await?;
        number.parse().map(Self).map_err(|_| invalid_parameter("entry", "must be a whole number"))
    }
}

/// One entry of an organisation's ledger.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/ledger/{entry}", tag = "Ledger", operation_id = "ledger_entry",
    params(
        ("org" = String, Path, description = "The organisation"),
        ("entry" = u64, Path, description = "The number of the entry"),
    ),
    responses(
        (status = 200, description = "The entry", body = EntryItem),
        (status = "4XX", description = "Not known", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    EntryPath(number): EntryPath,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    match app.engine.load(&[RecordKey::Entry(org.clone(), number)]).await?.pop() {
        Some(Some(Record::Entry(entry))) => Ok(ok(&entry_item(&entry))),
        _ => {
            let detail = format!("the ledger of '{org}' has no entry {number}");
            Err(Problem::new(Code::UnknownEntry, detail).on_field("entry").into())
        }
    }
}

/// The notices of all organisations, oldest first.
#[utoipa::path(
    get, path = "/v1/notices", tag = "Ledger", operation_id = "notices",
    params(
        ("limit" = Option<u32>, Query, description = "Most rows, 1 to 1000; 50 unless given"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "Some notices", body = NoticePage),
        (status = "4XX", description = "Not valid", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn notices(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, Failure> {
    caller.require(Role::Read, None)?;
    let (limit, cursor) = query.page()?;
    query.end()?;
    let page = scan(&app, &Scan::Notices, cursor.as_ref(), limit).await?;
    let notices = page.rows.iter().filter_map(|row| match row {
        Row::Notice(row) => Some(notice_item(row)),
        _ => None,
    });
    Ok(ok(&NoticePage { notices: notices.collect(), next: page.next.as_ref().map(cursor_text) }))
}
