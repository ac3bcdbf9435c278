//! What an org has, used and has left; its users and paths.

use axum::extract::State;
use axum::response::Response;
use tollgate_api::{BalanceReply, Id, Month, PathItem, PathLimitItem, PathPage, UserItem, UserPage};
use tollgate_domain::{
    Amount, Counter, LimitLine, LimitScope, MeterBalance, MeterId, Org, OrgId, Period, Role, ScopePath,
    UserId, Window,
};
use tollgate_storage::Scan;

use crate::app::App;
use crate::auth::Caller;
use crate::convert::{balance_reply, some_held};
use crate::extract::{OrgPath, Query};
use crate::limits::{BALANCE_USERS_MAX, PAGE_ROWS_MAX};
use crate::native::orgs::unknown_org;
use crate::native::problems::P404;
use crate::native::series::need_meter;
use crate::paging::Paging;
use crate::reply::{Failure, ok};

/// The balance of an organization: per meter what it has, what it used, what is left, and its first users.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/balance", tag = "Organizations", operation_id = "balance",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("users_limit" = Option<u32>, Query, description = "Most users that each meter lists, 0 to 1,000; 100 unless given", minimum = 0, maximum = 1000),
    ),
    responses(
        (status = 200, description = "The balance", body = BalanceReply),
        P404,
    )
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    mut query: Query,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    let allowed = format!("must be a whole number from 0 to {PAGE_ROWS_MAX}");
    let users_limit = query.take_as("users_limit", |text| match text.parse::<usize>() {
        Ok(limit) if limit <= PAGE_ROWS_MAX => Ok(limit),
        _ => Err(allowed),
    })?;
    query.end()?;
    let limit = users_limit.unwrap_or(BALANCE_USERS_MAX);
    let found = app.engine.balance_with_users(&org, limit).await?;
    let (known, balance, users) = found.ok_or_else(|| unknown_org(&org))?;
    let mut reply = balance_reply(&known, &balance);
    for ((meter, line), page) in balance.meters.iter().zip(users) {
        if let Some(item) = reply.meters.get_mut(meter.as_str()) {
            item.users = user_items(&known, meter, page.users, each_user(line));
            item.users_next = Paging::next(&tallies(&org, meter), page.next);
        }
    }
    Ok(ok(&reply))
}

/// The limit of each user a month.
fn each_user(line: &MeterBalance) -> Option<Amount> {
    let mut limits = line.limits.iter();
    let each = limits.find(|limit| limit.scope == LimitScope::EachUser && limit.window == Window::Month);
    each.map(|limit| limit.amount)
}

/// The list of the users of a meter.
fn tallies(org: &OrgId, meter: &MeterId) -> Scan {
    Scan::Tallies { org: org.clone(), meter: meter.clone() }
}

fn user_items(
    org: &Org,
    meter: &MeterId,
    users: Vec<(UserId, Counter)>,
    each_user: Option<Amount>,
) -> Vec<UserItem> {
    let items = users.into_iter().map(|(user, counter)| {
        let used = counter.value;
        let limit = named_limit(org, meter, &user).or(each_user);
        UserItem {
            user: user.into(),
            used: used.into(),
            limit: limit.map(Into::into),
            remaining: limit.map(|limit| (limit - used).at_least_zero().into()),
        }
    });
    items.collect()
}

fn named_limit(org: &Org, meter: &MeterId, user: &UserId) -> Option<Amount> {
    let named = org.limits.iter().find(|limit| {
        limit.meter == *meter
            && limit.window == Window::Month
            && matches!(&limit.scope, LimitScope::User(named) if named == user)
    });
    named.map(|limit| limit.amount)
}

/// The users of an organization in a month, by id.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/users", tag = "Organizations", operation_id = "list_users",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("meter" = Id, Query, description = "The meter"),
        ("month" = Option<Month>, Query, description = "Such as `2026-11`; the current month unless given"),
        Paging,
    ),
    responses(
        (status = 200, description = "Some users", body = UserPage),
        P404,
    )
)]
pub(crate) async fn users(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    mut query: Query,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    let meter = query.need("meter", MeterId::new)?;
    let month = query.take_as("month", read_month)?;
    let paging = Paging::take(&mut query)?;
    query.end()?;
    need_meter(&app, &org, &meter).await?;
    let (known, balance) = app.engine.balance(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let month = month.unwrap_or_else(|| known.zone.period_at(Window::Month, balance.at));
    let line = balance.meters.iter().find(|(id, _)| *id == meter).map(|(_, line)| line);
    let list = tallies(&org, &meter);
    let (from, limit) = paging.begin(&list)?;
    let (users, next) = app.engine.user_counters(&org, &meter, month, from, limit).await?;
    let users = user_items(&known, &meter, users, line.and_then(each_user));
    let next = Paging::next(&list, next);
    Ok(ok(&UserPage { meter: meter.into(), month: month.label(), users, next }))
}

/// The paths of an organization that limits are on, by name, with what is used and left of each.
///
/// A page may come back short, with more to follow at `next`: paths whose limits are gone are passed over.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/paths", tag = "Organizations", operation_id = "list_paths",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("meter" = Id, Query, description = "The meter"),
        Paging,
    ),
    responses(
        (status = 200, description = "Some paths", body = PathPage),
        P404,
    )
)]
pub(crate) async fn paths(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    mut query: Query,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    let meter = query.need("meter", MeterId::new)?;
    let paging = Paging::take(&mut query)?;
    query.end()?;
    need_meter(&app, &org, &meter).await?;
    let list = Scan::PathTallies { org: org.clone(), meter: meter.clone() };
    let (from, limit) = paging.begin(&list)?;
    let found = app.engine.paths(&org, &meter, from, limit).await?;
    let (paths, next) = found.ok_or_else(|| unknown_org(&org))?;
    let item = |(path, limits): (ScopePath, Vec<LimitLine>)| PathItem {
        path: path.into(),
        limits: limits.iter().map(path_limit).collect(),
    };
    let paths = paths.into_iter().map(item).collect();
    Ok(ok(&PathPage { meter: meter.into(), paths, next: Paging::next(&list, next) }))
}

fn path_limit(line: &LimitLine) -> PathLimitItem {
    let (used, held) = (line.used.unwrap_or_default(), line.held.unwrap_or_default());
    PathLimitItem {
        window: line.window,
        amount: line.amount.into(),
        used: used.into(),
        held: some_held(held),
        remaining: (line.amount - used - held).at_least_zero().into(),
        resets_at: line.resets_at.map(|at| at.to_string()),
    }
}

pub(crate) fn read_month(text: &str) -> Result<Period, &'static str> {
    Period::parse_month(text).ok_or("must be a month such as 2026-11")
}
