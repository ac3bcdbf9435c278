//! Lists: users and ledger; and one entry.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tollgate_api::{BalanceReply, EntryItem, LedgerPage, UserPage};
use tollgate_console::{Choice, EntryView, LedgerView, OrgTab, Section, UsersView};
use tollgate_domain::EntryKind;

use super::org::head_of;
use super::session::Visitor;
use super::{encoded, next_page, page, said};
use crate::app::App;
use crate::extract::{EntryPath, OrgPath, Query};
use crate::native;
use crate::reply::Failure;

/// The users of an organization.
pub(crate) async fn users(
    State(app): State<App>,
    visitor: Visitor,
    OrgPath(org): OrgPath,
    mut query: Query,
) -> Result<Response, Failure> {
    let mut asked = query.take_given(&["meter", "month"]);
    let cursor = query.take("cursor");
    query.end()?;
    let head = head_of(&app, &visitor, &org, OrgTab::Users).await?;
    let (state, caller) = (State(app.clone()), visitor.caller.clone());
    let balance =
        native::balance::show(state, caller, OrgPath(org.clone()), Query::of([("users_limit", "1")]));
    let balance: BalanceReply = said(balance).await?;
    // The first meter that has users, or else the first.
    let with_users = balance.meters.iter().find(|(_, line)| !line.users.is_empty());
    if let Some((meter, _)) = with_users.or_else(|| balance.meters.first_key_value()) {
        asked.entry("meter".to_owned()).or_insert_with(|| meter.clone());
    }
    let meters: Vec<String> = balance.meters.into_keys().collect();
    let users = if asked.contains_key("meter") {
        let params = asked.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let params = params.chain(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let (state, caller) = (State(app.clone()), visitor.caller.clone());
        let users = native::balance::users(state, caller, OrgPath(org.clone()), Query::of(params));
        Some(said::<UserPage>(users).await?)
    } else {
        None
    };
    let path = format!("/console/orgs/{}/users", encoded(org.as_str()));
    let next = next_page(&path, &asked, users.as_ref().and_then(|users| users.next.as_deref()));
    let frame = visitor.frame(Section::Orgs, &format!("Users of {org}"));
    page(StatusCode::OK, &UsersView { frame, head, users, meters, next })
}

pub(super) fn kinds(names: &[&str]) -> Vec<Choice> {
    names.iter().map(|name| Choice::pair((name, &name.replace('_', " ")))).collect()
}

/// What was decided of an organization, the latest first.
pub(crate) async fn ledger(
    State(app): State<App>,
    visitor: Visitor,
    OrgPath(org): OrgPath,
    mut query: Query,
) -> Result<Response, Failure> {
    let asked = query.take_given(&["kind", "user", "path", "meter", "key", "actor"]);
    let cursor = query.take("cursor");
    query.end()?;
    let head = head_of(&app, &visitor, &org, OrgTab::Ledger).await?;
    let params = asked.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let params = params.chain(cursor.as_deref().map(|cursor| ("cursor", cursor)));
    let (state, caller) = (State(app.clone()), visitor.caller.clone());
    let entries = native::ledger::list(state, caller, OrgPath(org.clone()), Query::of(params));
    let (entries, wrong) = match said::<LedgerPage>(entries).await {
        Ok(entries) => (entries, None),
        Err(failure) if failure.problem.status == 400 => {
            (LedgerPage { entries: Vec::new(), next: None, resume: None }, Some(*failure.problem))
        }
        Err(failure) => return Err(failure),
    };
    let path = format!("/console/orgs/{}/ledger", encoded(org.as_str()));
    let view = LedgerView {
        frame: visitor.frame(Section::Orgs, &format!("Ledger of {org}")),
        head,
        next: next_page(&path, &asked, entries.next.as_deref()),
        entries: entries.entries,
        asked,
        wrong,
        kinds: kinds(EntryKind::NAMES),
    };
    page(StatusCode::OK, &view)
}

/// One entry.
pub(crate) async fn entry(
    State(app): State<App>,
    visitor: Visitor,
    EntryPath(org, number): EntryPath,
    query: Query,
) -> Result<Response, Failure> {
    query.end()?;
    let head = head_of(&app, &visitor, &org, OrgTab::Ledger).await?;
    let (state, caller) = (State(app.clone()), visitor.caller.clone());
    let number = native::ledger::EntryPath(number);
    let entry: EntryItem =
        said(native::ledger::show(state, caller, OrgPath(org.clone()), number, super::NO_QUERY)).await?;
    let frame = visitor.frame(Section::Orgs, &format!("Entry {} of {org}", entry.entry));
    page(StatusCode::OK, &EntryView { frame, head, entry })
}
