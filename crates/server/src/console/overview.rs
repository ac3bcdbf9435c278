//! Who runs out when, who was refused today and why, what changes.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tollgate_console::{OverviewView, RefusedRow, Section};
use tollgate_domain::{Role, Window};

use super::session::Visitor;
use super::{channels, meter_choices, page, see_other, survey};
use crate::app::App;
use crate::extract::Query;
use crate::limits::SURVEY_LISTED_MAX;
use crate::reply::Failure;

/// What an operator looks at first. Who may see one organization only is sent to it.
pub(crate) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    mut query: Query,
) -> Result<Response, Failure> {
    let word = query.take("done");
    query.end()?;
    if let Some(bound) = &visitor.caller.org {
        return Ok(see_other(&format!("/console/orgs/{}", super::encoded(bound.as_str()))).into_response());
    }
    visitor.caller.require(Role::Read, None)?;
    let (found, looking) = survey::look(&app).await;
    let view = OverviewView {
        frame: visitor.frame_after(Section::Overview, "Overview", word.as_deref()),
        found,
        looking,
        refused: refused_today(&app).await?,
        undelivered: channels::undelivered(&app, &visitor.caller).await?,
        meters: meter_choices(&app),
    };
    page(StatusCode::OK, &view)
}

async fn refused_today(app: &App) -> Result<Vec<RefusedRow>, Failure> {
    let now = app.engine.clock().now();
    let mut rows = Vec::new();
    for (id, at, reason) in app.refusals.latest(SURVEY_LISTED_MAX) {
        let Some(org) = app.engine.org(&id).await? else { continue };
        let day = |at| org.zone.period_at(Window::Day, at);
        if day(at) == day(now) {
            rows.push(RefusedRow {
                org: id.to_string(),
                name: org.name.clone(),
                reason,
                at: at.to_string(),
                zone: org.zone.name().to_owned(),
            });
        }
    }
    Ok(rows)
}
