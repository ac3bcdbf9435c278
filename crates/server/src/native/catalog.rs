//! The catalog and its versions.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::response::Response;
use http::HeaderMap;
use http::request::Parts;
use tollgate_api::{CatalogReply, CatalogVersionItem, CatalogVersions, Code, CreatedMeterItem, Problem};
use tollgate_domain::catalog::changes;
use tollgate_domain::limits::CATALOG_BYTES_MAX;
use tollgate_domain::limits::CHANNELS_MAX;
use tollgate_domain::{
    Actor, ApplyCatalog, Catalog, CreatedMeter, RecordKey, Role, SystemCommand, SystemDenial,
};
use tollgate_storage::{Row, Scan};

use crate::app::App;
use crate::auth::Caller;
use crate::convert::conflict;
use crate::extract::{NoQuery, Query, content_type, path_param, read_decoded, whole_number};
use crate::form::{Form, form_of, varying};
use crate::native::catalog_json::{as_json, as_toml};
use crate::native::problems::{P404, P409};
use crate::paging::Paging;
use crate::reply::{Failure, ok};

/// The catalog in force, and the meters that usage created beside it.
///
/// As JSON, or by the header `Accept` as its text alone (`application/toml`).
#[utoipa::path(
    get, path = "/v1/catalog", tag = "Catalog", operation_id = "get_catalog",
    responses(
        (status = 200, description = "The catalog", content(
            (CatalogReply = "application/json"), (String = "application/toml"),
        )),
    )
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    read_allowed(&caller)?;
    let in_force = app.engine.catalog();
    let mut reply = reply_version(&app, in_force.version).await?;
    if form_of(&headers, &[Form::Json, Form::Toml]) == Form::Toml {
        return Ok(Form::Toml.response(reply.toml));
    }
    reply.created_meters = in_force.created_meters.iter().map(created_item).collect();
    Ok(varying(ok(&reply)))
}

/// The catalog names every plan and price: a key bound to one organization sees its own in its balance and bills.
fn read_allowed(caller: &Caller) -> Result<(), Failure> {
    caller.require(Role::Read, None)
}

fn created_item(created: &CreatedMeter) -> CreatedMeterItem {
    CreatedMeterItem { meter: created.id.to_string(), at: created.at.to_string() }
}

/// The text of a version of the catalog.
pub(crate) async fn text_of(app: &App, version: u32) -> Result<String, Failure> {
    reply_version(app, version).await.map(|reply| reply.toml)
}

async fn reply_version(app: &App, version: u32) -> Result<CatalogReply, Failure> {
    match app.engine.system(&[RecordKey::Catalog(version)]).await?.catalog(version) {
        Some(catalog) => Ok(CatalogReply {
            version: catalog.version,
            changes: Vec::new(),
            catalog: as_json(&catalog.text)?,
            toml: catalog.text.clone(),
            created_meters: Vec::new(),
        }),
        None => {
            let detail = format!("there is no version {version} of the catalog");
            Err(Problem::new(Code::UnknownVersion, detail).on_field("version").into())
        }
    }
}

/// Brings a catalog into force, or with `dry_run` says what would change.
///
/// TOML, or the same names and values as JSON: the member `catalog` of what `GET` gives. What is kept is TOML.
#[utoipa::path(
    put, path = "/v1/catalog", tag = "Catalog", operation_id = "put_catalog",
    params(("dry_run" = Option<bool>, Query, description = "Only check it and say what would change")),
    request_body(content((String = "application/toml", example = json!(tollgate_domain::catalog::DEFAULT)), (serde_json::Value = "application/json"))),
    responses(
        (status = 200, description = "In force (or, in a dry run, valid), with what changes", body = CatalogReply),
        P409,
    )
)]
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
    request: Request,
) -> Result<Response, Failure> {
    caller.require(Role::Admin, None)?;
    let dry_run =
        query.take_as("dry_run", |text| text.parse::<bool>().map_err(|_| "must be 'true' or 'false'"))?;
    query.end()?;
    let takes = |kind: &str| ["application/toml", "application/json"].contains(&kind);
    let is_json =
        content_type(&request, takes, "application/toml or application/json")? == "application/json";
    let body = read_decoded(request, CATALOG_BYTES_MAX, app.settings.request_timeout).await?;
    // A large catalog takes long to read, and all organizations may have to be looked through for the plans they have.
    let (reader, actor) = (Arc::clone(&app), caller.actor.clone());
    let putting = async move {
        let text = if is_json { as_toml(&body)? } else { utf_8(&body)? };
        put_text(&reader, &actor, text, dry_run == Some(true)).await
    };
    app.readers.report(putting).await?
}

/// Brings a text into force, or says what would change.
async fn put_text(app: &App, actor: &Actor, text: String, dry_run: bool) -> Result<Response, Failure> {
    let next = Catalog::from_toml(&text).map_err(|error| system_failure(SystemDenial::Catalog(error)))?;
    let in_force = app.engine.catalog();
    let before = reply_version(app, in_force.version).await?;
    let is_same = next == *in_force.declared;
    let changes = if is_same { Vec::new() } else { changes(&before.toml, &text) };
    let apply = ApplyCatalog::new(text.clone());
    let command = match dry_run {
        true => SystemCommand::CheckCatalog(apply),
        false if is_same => return Ok(ok(&before)),
        false => SystemCommand::ApplyCatalog(apply),
    };
    let version = app.engine.submit_system(actor, command).await?.map_err(system_failure)?;
    let catalog = as_json(&text)?;
    Ok(ok(&CatalogReply { version, changes, catalog, toml: text, created_meters: Vec::new() }))
}

fn utf_8(body: &[u8]) -> Result<String, Failure> {
    let text = str::from_utf8(body);
    let text = text.map_err(|_| Failure::from(Problem::new(Code::Unreadable, "the catalog is not UTF-8")))?;
    Ok(text.to_owned())
}

pub(crate) fn system_failure(denial: SystemDenial) -> Failure {
    match denial {
        SystemDenial::Catalog(error) => {
            Problem::new(Code::InvalidCatalog, error.to_string().trim_end()).into()
        }
        SystemDenial::PlansInUse(orgs) => {
            let mut problem = Problem::new(
                Code::PlanInUse,
                "the catalog lacks plans that organizations have; keep them with `retired = true`",
            );
            problem.conflicts =
                orgs.iter().map(|(plan, org)| format!("plan '{plan}': organization '{org}'")).collect();
            problem.into()
        }
        SystemDenial::PlansNotRetired(plans) => {
            let mut problem = Problem::new(
                Code::PlanInUse,
                "the catalog lacks plans that other servers may still give to organizations; apply it with \
                 `retired = true` first, and remove them a minute after that",
            );
            problem.conflicts =
                plans.iter().map(|plan| format!("plan '{plan}': not retired for a minute")).collect();
            problem.into()
        }
        SystemDenial::UnknownApiKey => {
            Problem::new(Code::UnknownApiKey, "there is no such API key").on_field("id").into()
        }
        SystemDenial::ApiKeyExists => {
            Problem::new(Code::ApiKeyExists, "an API key with this id exists; try again").into()
        }
        SystemDenial::LastAdminKey => Problem::new(
            Code::LastAdminKey,
            "it is the last API key with the role 'admin' and no org: nobody could make another; make one first, or set \
             TOLLGATE_API_KEY",
        )
        .on_field("id")
        .into(),
        SystemDenial::UnknownChannel => {
            Problem::new(Code::UnknownChannel, "there is no such channel").on_field("id").into()
        }
        SystemDenial::TooManyChannels => {
            Problem::new(Code::TooMany, format!("there are {CHANNELS_MAX} channels; remove one first")).into()
        }
        SystemDenial::ShipmentsMoved
        | SystemDenial::CatalogMoved
        | SystemDenial::ChannelExists
        | SystemDenial::ChannelMoved
        | SystemDenial::DeliveryClaimed => conflict(),
    }
}

/// The versions of the catalog, oldest first.
#[utoipa::path(
    get, path = "/v1/catalog/versions", tag = "Catalog", operation_id = "list_catalogs",
    params(Paging),
    responses(
        (status = 200, description = "Some versions", body = CatalogVersions),
    )
)]
pub(crate) async fn versions(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, Failure> {
    read_allowed(&caller)?;
    let paging = Paging::take(&mut query)?;
    query.end()?;
    let page = paging.read(&app, &Scan::Catalogs).await?;
    let versions = page.rows.iter().filter_map(|row| match row {
        Row::Catalog(catalog) => {
            Some(CatalogVersionItem { version: catalog.version, at: catalog.at.to_string() })
        }
        _ => None,
    });
    Ok(ok(&CatalogVersions { versions: versions.collect(), next: page.next }))
}

/// The version in the path.
pub(crate) struct VersionPath(pub(crate) u32);

impl FromRequestParts<App> for VersionPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        let version = path_param(&parts.extensions, "version")?;
        whole_number("version", &version, u32::MAX).map(Self)
    }
}

/// One version of the catalog.
#[utoipa::path(
    get, path = "/v1/catalog/versions/{version}", tag = "Catalog", operation_id = "get_catalog_version",
    params(("version" = u32, Path, description = "The version")),
    responses(
        (status = 200, description = "The catalog", body = CatalogReply),
        P404,
    )
)]
pub(crate) async fn version(
    State(app): State<App>,
    caller: Caller,
    VersionPath(version): VersionPath,
    _: NoQuery,
) -> Result<Response, Failure> {
    read_allowed(&caller)?;
    Ok(ok(&reply_version(&app, version).await?))
}
