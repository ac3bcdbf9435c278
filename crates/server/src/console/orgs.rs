//! The list of organizations, and adding one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tollgate_api::{OrgItem, OrgPage, OrgRequest, PlanRequest};
use tollgate_console::{Answered, OrgsView, Section, percent};
use tollgate_domain::OrgId;

use super::session::{Sent, Visitor};
use super::{
    address, encoded, meter_choices, next_page, page, plan_choices, refused, request, said, see_other,
};
use crate::app::App;
use crate::extract::{Json, OrgPath, Query, invalid_parameter};
use crate::native;
use crate::reply::Failure;

const PATH: &str = "/console/orgs";

/// Rows of a page.
const ROWS: &str = "50";

/// The organizations, some at a time.
pub(crate) async fn list(
    State(app): State<App>,
    visitor: Visitor,
    query: Query,
) -> Result<Response, Failure> {
    show(&app, &visitor, query, None).await
}

async fn show(
    app: &App,
    visitor: &Visitor,
    mut query: Query,
    sent: Option<Answered>,
) -> Result<Response, Failure> {
    let word = query.take("done");
    let sort = query.take("sort").unwrap_or_else(|| "id".to_owned());
    let cursor = query.take("cursor");
    let asked = query.take_given(&["name", "plan", "used_at_least", "refused_today"]);
    query.end()?;
    let mut params: Vec<(&str, &str)> =
        asked.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    params.push(("limit", ROWS));
    params.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
    let listed = native::orgs::list(State(app.clone()), visitor.caller.clone(), Query::of(params));
    let (mut found, wrong) = match said::<OrgPage>(listed).await {
        Ok(found) => (found, None),
        Err(failure) if failure.problem.status == 400 => {
            (OrgPage { orgs: Vec::new(), next: None }, Some(*failure.problem))
        }
        Err(failure) => return Err(failure),
    };
    match sort.as_str() {
        "used" => found.orgs.sort_by_key(|org| Reverse(share(org))),
        "name" => found.orgs.sort_by_key(|org| {
            org.name.as_ref().map_or_else(|| org.org.to_lowercase(), |name| name.to_lowercase())
        }),
        _ => {}
    }
    let mut kept = asked.clone();
    if sort != "id" {
        kept.insert("sort".to_owned(), sort.clone());
    }
    let status = sent.as_ref().map_or(200, |sent| sent.problem.status);
    let view = OrgsView {
        frame: visitor.frame_after(Section::Orgs, "Organizations", word.as_deref()),
        next: next_page(PATH, &kept, found.next.as_deref()),
        orgs: found.orgs,
        later: cursor.is_some(),
        sort,
        asked,
        wrong,
        plans: plan_choices(app),
        meters: meter_choices(app),
        sent,
    };
    page(StatusCode::from_u16(status).unwrap_or_default(), &view)
}

/// The largest share of its credit that an organization used of a meter.
fn share(org: &OrgItem) -> i128 {
    let shares = org.meters.values().filter_map(|meter| {
        let remaining = meter.remaining?;
        Some(percent(meter.used.0, meter.used.0 + remaining.0))
    });
    shares.max().unwrap_or(-1)
}

/// Adds an organization: its name and zone, and its first plan.
pub(crate) async fn add(State(app): State<App>, sent: Sent) -> Result<Response, Failure> {
    match added(&app, &sent).await {
        Ok(org) => Ok(see_other(&address(&format!("{PATH}/{}", encoded(org.as_str())), [("done", "added")]))),
        Err(failure) => {
            let answered = refused("org", &sent.values, failure)?;
            let reader = app.clone();
            app.readers
                .read(async move { show(&reader, &sent.visitor, Query::of([]), Some(answered)).await })
                .await?
        }
    }
}

async fn added(app: &App, sent: &Sent) -> Result<OrgId, Failure> {
    let org = OrgId::new(sent.value("org")).map_err(|error| invalid_parameter("org", &error.to_string()))?;
    let set = |values: &BTreeMap<String, String>| request::<OrgRequest>(values, &["name", "time_zone"]);
    let (about, plan) = (set(&sent.values)?, request::<PlanRequest>(&sent.values, &["plan"])?);
    let caller = || sent.visitor.caller.clone();
    let put =
        native::orgs::put(State(app.clone()), caller(), OrgPath(org.clone()), super::NO_QUERY, Json(about));
    put.await?;
    let plan =
        native::plans::set(State(app.clone()), caller(), OrgPath(org.clone()), super::NO_QUERY, Json(plan));
    plan.await.map(|_| org)
}
