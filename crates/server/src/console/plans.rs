//! Plans and prices: the catalog in force, and those before it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use tollgate_api::{CatalogReply, CatalogVersions};
use tollgate_console::{PlansView, Section};
use tollgate_domain::catalog::changes;
use tollgate_domain::{Catalog, SystemDenial};

use super::session::Visitor;
use super::{page, said};
use crate::app::App;
use crate::extract::{NoQuery, Query, whole_number};
use crate::native;
use crate::native::catalog::VersionPath;
use crate::reply::Failure;

/// A version of the catalog as a price list: the one in force, unless another is asked for.
pub(crate) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    mut query: Query,
) -> Result<Response, Failure> {
    let version = query.take("version").map(|text| whole_number("version", &text, u32::MAX)).transpose()?;
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
    let changes = match number.checked_sub(1).filter(|before| *before > 0) {
        Some(before) => changes(&version_of(&app, &visitor, before).await?.toml, &reply.toml),
        None => Vec::new(),
    };
    let versions =
        native::catalog::versions(State(app.clone()), visitor.caller.clone(), Query::of([("limit", "1000")]));
    let versions: CatalogVersions = said(versions).await?;
    let view = PlansView {
        frame: visitor.frame(Section::Plans, "Plans and prices"),
        version: number,
        catalog,
        toml: reply.toml,
        versions: versions.versions.into_iter().rev().map(|item| (item.version, item.at)).collect(),
        changes,
    };
    page(StatusCode::OK, &view)
}

async fn version_of(app: &App, visitor: &Visitor, version: u32) -> Result<CatalogReply, Failure> {
    let (state, caller) = (State(app.clone()), visitor.caller.clone());
    said(native::catalog::version(state, caller, VersionPath(version), NoQuery)).await
}
