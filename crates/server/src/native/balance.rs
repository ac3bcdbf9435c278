//! What an org has, used and has left; its users.

use axum::extract::State;
use axum::response::Response;
use tollgate_api::{BalanceReply, Id, Month, UserItem, UserPage};
use tollgate_domain::{LimitScope, MeterId, Org, Period, Role, UserId, Window};
use tollgate_storage::Scan;

use crate::app::App;
use crate::auth::Caller;
use crate::convert::balance_reply;
use crate::extract::{NoQuery, OrgPath, Query};
use crate::limits::BALANCE_USERS_MAX;
use crate::native::orgs::unknown_org;
use crate::native::problems::Problems;
use crate::paging::Paging;
use crate::reply::{Failure, ok};

/// The balance of an organization: per meter what it has, what it used, what is left.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/balance", tag = "Organizations", operation_id = "balance",
    params(("org" = Id, Path, description = "The organization")),
    responses(
        (status = 200, description = "The balance", body = BalanceReply),
        Problems,
    )
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    _: NoQuery,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    let (known, balance) = app.engine.balance(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let mut reply = balance_reply(&known, &balance);
    let month = known.zone.period_at(Window::Month, balance.at);
    let first = Paging::first(BALANCE_USERS_MAX);
    for (meter, line) in &balance.meters {
        let each = line
            .limits
            .iter()
            .find(|limit| limit.scope == LimitScope::EachUser && limit.window == Window::Month);
        let (users, _) = users_of(&app, &known, meter, month, each.map(|limit| limit.amount), &first).await?;
        if let Some(meter) = reply.meters.get_mut(meter.as_str()) {
            meter.users = users;
        }
    }
    Ok(ok(&reply))
}

async fn users_of(
    app: &App,
    org: &Org,
    meter: &MeterId,
    month: Period,
    each_user: Option<tollgate_domain::Amount>,
    paging: &Paging,
) -> Result<(Vec<UserItem>, Option<String>), Failure> {
    let list = Scan::Tallies { org: org.id.clone(), meter: meter.clone() };
    let (from, limit) = paging.begin(&list)?;
    let (users, next) = app.engine.user_counters(&org.id, meter, month, from, limit).await?;
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
    Ok((items.collect(), Paging::next(&list, next)))
}

fn named_limit(org: &Org, meter: &MeterId, user: &UserId) -> Option<tollgate_domain::Amount> {
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
        Problems,
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
    let (known, balance) = app.engine.balance(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let month = month.unwrap_or_else(|| known.zone.period_at(Window::Month, balance.at));
    let each = balance.meters.iter().find(|(id, _)| *id == meter).and_then(|(_, line)| {
        line.limits.iter().find(|limit| limit.scope == LimitScope::EachUser && limit.window == Window::Month)
    });
    let (users, next) =
        users_of(&app, &known, &meter, month, each.map(|limit| limit.amount), &paging).await?;
    Ok(ok(&UserPage { meter: meter.into(), month: month.label(), users, next }))
}

pub(crate) fn read_month(text: &str) -> Result<Period, &'static str> {
    Period::parse_month(text).ok_or("must be a month such as 2026-11")
}
