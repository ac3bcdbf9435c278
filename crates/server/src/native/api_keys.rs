//! API keys: made, listed, revoked. The secret is shown once.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use tollgate_api::{ApiKeyCreated, ApiKeyItem, ApiKeyList, ApiKeyRequest, Code, HeaderKey, Problem};
use tollgate_domain::{ApiKey, ApiKeyId, RecordKey, RevokeApiKey, Role, SystemCommand, SystemDenial};
use tollgate_storage::{Row, Scan};

use crate::app::App;
use crate::auth::{Caller, id_for, new_secret};
use crate::extract::{IdempotencyKey, Json, NoQuery, Query, path_param};
use crate::native::catalog::system_failure;
use crate::native::orgs::text_line;
use crate::native::problems::{P404, P409};
use crate::paging::Paging;
use crate::reply::{Failure, json, ok};

/// Makes an API key. The first one must be an admin's: from then on every request needs a key.
#[utoipa::path(
    post, path = "/v1/api-keys", tag = "API keys", operation_id = "create_api_key",
    params(("Idempotency-Key" = Option<HeaderKey>, Header, description = "Sent again with the same one, no second key is made: 409 `api_key_exists` names the first")),
    request_body = ApiKeyRequest,
    responses(
        (status = 201, description = "Made; the secret is shown this once", body = ApiKeyCreated),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    _: NoQuery,
    header: IdempotencyKey,
    Json(request): Json<ApiKeyRequest>,
) -> Result<Response, Failure> {
    caller.require(Role::Admin, None)?;
    let name = text_line("name", request.name)?;
    let first = app.api_keys.is_empty();
    if first && (request.role != Role::Admin || request.org.is_some()) {
        let detail =
            "role: the first API key must have the role 'admin' and no org, or nobody could make another";
        return Err(Problem::new(Code::InvalidField, detail).on_field("role").into());
    }
    let (secret, hash, own_id) = new_secret()?;
    // Named by the header, so that the store has it once.
    let id = header.0.map_or(own_id, |key| id_for(&key));
    let api_key = ApiKey {
        id: id.clone(),
        name,
        hash,
        role: request.role,
        org: request.org,
        created_at: app.engine.clock().now(),
        revoked_at: None,
    };
    let make = SystemCommand::MakeApiKey(api_key);
    match app.engine.submit_system(&caller.actor, make).await? {
        Err(SystemDenial::ApiKeyExists) => return Err(exists(&id)),
        made => made.map_err(system_failure)?,
    };
    let stored = learn(&app, id).await?;
    Ok(json(StatusCode::CREATED, &ApiKeyCreated { secret, item: item(&stored) }))
}

/// A key was made under the same `Idempotency-Key`. Its secret was shown once, to whoever was answered.
fn exists(id: &ApiKeyId) -> Failure {
    let detail = format!(
        "an API key was made under this Idempotency-Key: '{}'; if its secret did not arrive, revoke it and make another",
        id.0
    );
    Problem::new(Code::ApiKeyExists, detail).on_field("Idempotency-Key").into()
}

/// Reads a key back as it is stored, and goes by it from now on.
async fn learn(app: &App, id: ApiKeyId) -> Result<ApiKey, Failure> {
    match app.engine.system(&[RecordKey::ApiKey(id.clone())]).await?.api_key(&id) {
        Some(api_key) => {
            app.api_keys.learn(api_key);
            Ok(api_key.clone())
        }
        None => Err(Problem::new(Code::UnknownApiKey, "there is no such API key").on_field("id").into()),
    }
}

fn item(api_key: &ApiKey) -> ApiKeyItem {
    ApiKeyItem {
        id: api_key.id.0.clone(),
        name: api_key.name.clone(),
        role: api_key.role,
        org: api_key.org.clone().map(Into::into),
        created_at: api_key.created_at.to_string(),
        revoked_at: api_key.revoked_at.map(|at| at.to_string()),
    }
}

/// The API keys, by id, the revoked ones too; never their secrets.
#[utoipa::path(
    get, path = "/v1/api-keys", tag = "API keys", operation_id = "list_api_keys",
    params(Paging),
    responses(
        (status = 200, description = "Some keys", body = ApiKeyList),
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, Failure> {
    caller.require(Role::Admin, None)?;
    let paging = Paging::take(&mut query)?;
    query.end()?;
    let page = paging.read(&app, &Scan::ApiKeys).await?;
    let api_keys = page.rows.iter().filter_map(|row| match row {
        Row::ApiKey(api_key) => Some(item(api_key)),
        _ => None,
    });
    Ok(ok(&ApiKeyList { api_keys: api_keys.collect(), next: page.next }))
}

/// The id in the path.
pub(crate) struct IdPath(pub(crate) ApiKeyId);

impl FromRequestParts<App> for IdPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        path_param(&parts.extensions, "id").map(|id| Self(ApiKeyId(id)))
    }
}

/// Revokes an API key, at once and permanently.
///
/// The last one with the role `admin` and no org stays, unless the server's settings have an admin key.
#[utoipa::path(
    delete, path = "/v1/api-keys/{id}", tag = "API keys", operation_id = "revoke_api_key",
    params(("id" = String, Path, description = "The public id of the key")),
    responses(
        (status = 200, description = "Revoked, now or before", body = ApiKeyItem),
        P404,
        P409,
    )
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    IdPath(id): IdPath,
    _: NoQuery,
) -> Result<Response, Failure> {
    caller.require(Role::Admin, None)?;
    let admin_besides = app.api_keys.has_configured();
    let revoke = RevokeApiKey { id: id.clone(), admin_besides };
    app.engine
        .submit_system(&caller.actor, SystemCommand::RevokeApiKey(revoke))
        .await?
        .map_err(system_failure)?;
    let stored = learn(&app, id).await?;
    Ok(ok(&item(&stored)))
}
