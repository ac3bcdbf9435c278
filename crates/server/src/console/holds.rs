//! The open holds of an organization, and the end of one by hand.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tollgate_api::HoldPage;
use tollgate_console::{Answered, HoldsView, OrgTab, Section};
use tollgate_domain::{OrgId, Role};

use super::org::head_of;
use super::session::{Sent, Visitor};
use super::{address, encoded, next_page, page, refused, said, see_other};
use crate::app::App;
use crate::extract::{IdempotencyKey, NoQuery, OrgPath, Query, invalid_parameter};
use crate::native;
use crate::native::holds::HoldPath;
use crate::reply::Failure;

/// The open holds, the oldest first.
pub(crate) async fn list(
    State(app): State<App>,
    visitor: Visitor,
    OrgPath(org): OrgPath,
    query: Query,
) -> Result<Response, Failure> {
    show(&app, &visitor, &org, query, None).await
}

async fn show(
    app: &App,
    visitor: &Visitor,
    org: &OrgId,
    mut query: Query,
    sent: Option<Answered>,
) -> Result<Response, Failure> {
    let (word, cursor) = (query.take("done"), query.take("cursor"));
    query.end()?;
    let head = head_of(app, visitor, org, OrgTab::Holds).await?;
    let asked = Query::of(cursor.as_deref().map(|cursor| ("cursor", cursor)));
    let (state, caller) = (State(app.clone()), visitor.caller.clone());
    let found: HoldPage = said(native::holds::list(state, caller, OrgPath(org.clone()), asked)).await?;
    let status = sent.as_ref().map_or(200, |sent| sent.problem.status);
    let view = HoldsView {
        frame: visitor.frame_after(Section::Orgs, &format!("Holds of {org}"), word.as_deref()),
        head,
        holds: found.holds,
        next: next_page(&path_of(org), &BTreeMap::new(), found.next.as_deref()),
        later: cursor.is_some(),
        sent,
    };
    page(StatusCode::from_u16(status).unwrap_or_default(), &view)
}

fn path_of(org: &OrgId) -> String {
    format!("/console/orgs/{}/holds", encoded(org.as_str()))
}

/// Gives back what is still held, and ends the hold.
pub(crate) async fn release(
    State(app): State<App>,
    OrgPath(org): OrgPath,
    HoldPath(id): HoldPath,
    sent: Sent,
) -> Result<Response, Failure> {
    // Programs end their own holds with a key that may do little else; a person who ends one manages the organization.
    sent.visitor.caller.require(Role::Manage, Some(&org))?;
    if id.org != org {
        return Err(invalid_parameter("hold", "is a hold of another organization"));
    }
    let (state, caller) = (State(app.clone()), sent.visitor.caller.clone());
    let released = native::holds::release(state, caller, HoldPath(id), NoQuery, IdempotencyKey(None)).await;
    match released {
        Ok(_) => Ok(see_other(&address(&path_of(&org), [("done", "released")]))),
        Err(failure) => {
            let answered = refused("release", &sent.values, failure)?;
            let reader = app.clone();
            let again =
                async move { show(&reader, &sent.visitor, &org, Query::of([]), Some(answered)).await };
            app.readers.read(again).await?
        }
    }
}
