//! Plans and prices: the catalog in force and those before it, and what another one would change before it is applied.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use tollgate_api::{CatalogReply, CatalogVersions, Code, Problem, WhatIfItem, WhatIfReply};
use tollgate_console::{Answered, Effect, PlansView, Section, TryView};
use tollgate_domain::catalog::changes;
use tollgate_domain::{Amount, Catalog, Period, Role, SystemDenial, Window, Zone};

use super::session::{SentCatalog, Visitor};
use super::{page, refused, said, see_other};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{NoQuery, Query, whole_number};
use crate::limits::MONTHS_TRIED;
use crate::native;
use crate::native::catalog::VersionPath;
use crate::reply::Failure;

/// A version of the catalog as a price list: the one in force, unless another is asked for.
pub(crate) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    mut query: Query,
) -> Result<Response, Failure> {
    let word = query.take("done");
    let mut number = |name: &str| {
        let number = query.take(name).filter(|text| !text.is_empty());
        number.map(|text| whole_number(name, &text, u32::MAX)).transpose()
    };
    let (version, against) = (number("version")?, number("against")?);
    query.end()?;
    let in_force = app.engine.catalog();
    let number = version.unwrap_or(in_force.version);
    let catalog = if number == in_force.version {
        // With the meters that usage created.
        let asked =
            native::catalog::show(State(app.clone()), visitor.caller.clone(), NoQuery, HeaderMap::new());
        (said::<CatalogReply>(asked).await?, Arc::clone(&in_force.catalog))
    } else {
        let reply = version_of(&app, &visitor, number).await?;
        let catalog = Catalog::from_toml(&reply.toml);
        let catalog =
            catalog.map_err(|error| native::catalog::system_failure(SystemDenial::Catalog(error)))?;
        (reply, Arc::new(catalog))
    };
    let (reply, catalog) = catalog;
    let against = match against.or_else(|| number.checked_sub(1).filter(|before| *before > 0)) {
        Some(against) => {
            Some((against, changes(&version_of(&app, &visitor, against).await?.toml, &reply.toml)))
        }
        None => None,
    };
    let versions =
        native::catalog::versions(State(app.clone()), visitor.caller.clone(), Query::of([("limit", "1000")]));
    let versions: CatalogVersions = said(versions).await?;
    let view = PlansView {
        frame: visitor.frame_after(Section::Plans, "Plans and prices", word.as_deref()),
        version: number,
        catalog,
        toml: reply.toml,
        versions: versions.versions.into_iter().rev().map(|item| (item.version, item.at)).collect(),
        against,
    };
    page(StatusCode::OK, &view)
}

async fn version_of(app: &App, visitor: &Visitor, version: u32) -> Result<CatalogReply, Failure> {
    let (state, caller) = (State(app.clone()), visitor.caller.clone());
    said(native::catalog::version(state, caller, VersionPath(version), NoQuery)).await
}

/// The text of a version, to be changed and tried.
pub(crate) async fn try_form(
    State(app): State<App>,
    visitor: Visitor,
    mut query: Query,
) -> Result<Response, Failure> {
    let version = query.take("version").map(|text| whole_number("version", &text, u32::MAX)).transpose()?;
    query.end()?;
    let version = version.unwrap_or(app.engine.catalog().version);
    let toml = version_of(&app, &visitor, version).await?.toml;
    shown(&app, &visitor, Tried { toml, ..Tried::default() })
}

/// What the page of another catalog shows.
#[derive(Default)]
struct Tried {
    toml: String,
    /// The month that was chosen, where one was.
    month: Option<String>,
    effect: Option<Effect>,
    sent: Option<Answered>,
}

fn shown(app: &App, visitor: &Visitor, tried: Tried) -> Result<Response, Failure> {
    let this = Zone::UTC.period_at(Window::Month, app.engine.clock().now());
    let months: Vec<String> =
        (0..MONTHS_TRIED).map(|back| Period { number: this.number - back, ..this }.label()).collect();
    let last = months.get(1).or(months.first()).cloned().unwrap_or_default();
    let status = tried.sent.as_ref().map_or(200, |sent| sent.problem.status);
    let view = TryView {
        frame: visitor.frame(Section::Plans, "Try a catalog"),
        version: app.engine.catalog().version,
        months,
        month: tried.month.unwrap_or(last),
        toml: tried.toml,
        effect: tried.effect,
        sent: tried.sent,
    };
    page(StatusCode::from_u16(status).unwrap_or_default(), &view)
}

/// Shows what a text would change; nothing is changed.
pub(crate) async fn try_it(State(app): State<App>, sent: SentCatalog) -> Result<Response, Failure> {
    let month = sent.value("month");
    let SentCatalog { visitor, catalog: toml, values } = sent;
    let (effect, answered) = match effect(&app, &visitor.caller, &toml, &month).await {
        Ok(effect) => (Some(effect), None),
        Err(failure) => (None, Some(refused("try", &values, of_catalog(failure))?)),
    };
    shown(&app, &visitor, Tried { toml, month: Some(month), effect, sent: answered })
}

async fn effect(app: &App, caller: &Caller, toml: &str, month: &str) -> Result<Effect, Failure> {
    let json = serde_json::json!({"catalog": toml, "month": month});
    let asked = request("application/json", json.to_string())?;
    let reply = native::bills::what_if(State(app.clone()), caller.clone(), NoQuery, asked);
    let mut reply: WhatIfReply = said(reply).await?;
    reply.items.sort_by_key(|item| Reverse(difference(item)));
    let in_force = app.engine.catalog();
    let (state, version) = (State(app.clone()), VersionPath(in_force.version));
    let now: CatalogReply = said(native::catalog::version(state, caller.clone(), version, NoQuery)).await?;
    Ok(Effect { changes: changes(&now.toml, toml), reply })
}

/// How far what an organization owes would change; what cannot be said comes first.
fn difference(item: &WhatIfItem) -> (bool, Amount) {
    let number = item.difference.as_ref().and_then(|text| Amount::parse(text.split(' ').next()?).ok());
    let number = number.unwrap_or_default();
    (item.problem.is_some(), if number < Amount::ZERO { -number } else { number })
}

/// Brings a text into force that was tried against the version which is in force still.
pub(crate) async fn apply(State(app): State<App>, sent: SentCatalog) -> Result<Response, Failure> {
    let (month, version) = (sent.value("month"), sent.value("version"));
    let SentCatalog { visitor, catalog: toml, values } = sent;
    match put(&app, &visitor.caller, &toml, &version).await {
        Ok(()) => Ok(see_other("/console/plans?done=applied")),
        Err(failure) => {
            let answered = refused("try", &values, of_catalog(failure))?;
            shown(&app, &visitor, Tried { toml, month: Some(month), effect: None, sent: Some(answered) })
        }
    }
}

async fn put(app: &App, caller: &Caller, toml: &str, version: &str) -> Result<(), Failure> {
    caller.require(Role::Admin, None)?;
    let in_force = app.engine.catalog().version;
    if version != in_force.to_string() {
        let detail = format!(
            "version {in_force} of the catalog came into force since you looked: show the effect again, then apply it"
        );
        return Err(Problem::new(Code::InvalidField, detail).into());
    }
    let asked = request("application/toml", toml.to_owned())?;
    native::catalog::put(State(app.clone()), caller.clone(), Query::of([]), asked).await.map(drop)
}

/// What is wrong with the text is wrong with the field that holds it.
fn of_catalog(mut failure: Failure) -> Failure {
    if failure.problem.code == Code::InvalidCatalog {
        failure.problem.field = Some("catalog".to_owned());
    }
    failure
}

/// A body as a handler of the API gets it.
fn request(kind: &'static str, body: String) -> Result<Request, Failure> {
    let request = http::Request::builder().header(CONTENT_TYPE, kind).body(Body::from(body));
    request.map_err(|error| {
        Failure::from(Problem::new(Code::Internal, "the form cannot be read")).caused_by(error.to_string())
    })
}
