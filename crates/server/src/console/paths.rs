//! The paths of an organization, with the limits on them.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tollgate_api::{LimitsReply, PathPage};
use tollgate_console::{OrgTab, PathsView, Section};

use super::org::head_of;
use super::session::Visitor;
use super::{encoded, next_page, page, said};
use crate::app::App;
use crate::extract::{OrgPath, Query};
use crate::native;
use crate::reply::Failure;

/// The paths that limits of a meter are on, with what is used, held and left.
pub(crate) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    OrgPath(org): OrgPath,
    mut query: Query,
) -> Result<Response, Failure> {
    let mut asked = query.take_given(&["meter"]);
    let cursor = query.take("cursor");
    query.end()?;
    let head = head_of(&app, &visitor, &org, OrgTab::Paths).await?;
    let (state, caller) = (State(app.clone()), visitor.caller.clone());
    let limits = native::orgs::show_limits(state, caller, OrgPath(org.clone()), super::NO_QUERY);
    let limits: LimitsReply = said(limits).await?;
    let on_paths = limits.limits.into_iter().filter(|limit| limit.path.is_some());
    let mut meters: Vec<String> = on_paths.map(|limit| limit.meter).collect();
    meters.sort_unstable();
    meters.dedup();
    if let Some(first) = meters.first() {
        asked.entry("meter".to_owned()).or_insert_with(|| first.clone());
    }
    let paths = if asked.contains_key("meter") {
        let params = asked.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let params = params.chain(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let (state, caller) = (State(app.clone()), visitor.caller.clone());
        let paths = native::balance::paths(state, caller, OrgPath(org.clone()), Query::of(params));
        Some(said::<PathPage>(paths).await?)
    } else {
        None
    };
    let path = format!("/console/orgs/{}/paths", encoded(org.as_str()));
    let next = next_page(&path, &asked, paths.as_ref().and_then(|paths| paths.next.as_deref()));
    let frame = visitor.frame(Section::Orgs, &format!("Paths of {org}"));
    page(StatusCode::OK, &PathsView { frame, head, paths, meters, next })
}
