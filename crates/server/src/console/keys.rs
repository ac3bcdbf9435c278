//! API keys.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tollgate_api::{ApiKeyCreated, ApiKeyList, ApiKeyRequest};
use tollgate_console::{Answered, KeysView, Section};
use tollgate_domain::{ApiKeyId, UsageKey};

use super::session::{Sent, Visitor};
use super::{next_page, once, page, refused, request, said, see_other};
use crate::app::App;
use crate::extract::{IdempotencyKey, Json, NoQuery, Query};
use crate::native;
use crate::native::api_keys::IdPath;
use crate::reply::Failure;

/// The API keys; never their secrets.
pub(crate) async fn list(
    State(app): State<App>,
    visitor: Visitor,
    query: Query,
) -> Result<Response, Failure> {
    show(&app, &visitor, query, None, None).await
}

async fn show(
    app: &App,
    visitor: &Visitor,
    mut query: Query,
    made: Option<ApiKeyCreated>,
    sent: Option<Answered>,
) -> Result<Response, Failure> {
    let (word, cursor) = (query.take("done"), query.take("cursor"));
    query.end()?;
    let params = cursor.as_deref().map(|cursor| ("cursor", cursor));
    let keys = native::api_keys::list(State(app.clone()), visitor.caller.clone(), Query::of(params));
    let keys: ApiKeyList = said(keys).await?;
    let status = sent.as_ref().map_or(200, |sent| sent.problem.status);
    let view = KeysView {
        frame: visitor.frame_after(Section::Keys, "API keys", word.as_deref()),
        next: next_page(Section::Keys.path(), &BTreeMap::new(), keys.next.as_deref()),
        keys: keys.api_keys,
        made,
        sent,
        once: once()?,
    };
    page(StatusCode::from_u16(status).unwrap_or_default(), &view)
}

/// Makes a key. Its secret is on the page that answers, and nowhere else.
pub(crate) async fn make(State(app): State<App>, sent: Sent) -> Result<Response, Failure> {
    let made = match request::<ApiKeyRequest>(&sent.values, &["name", "role", "org"]) {
        Ok(request) => {
            let key = IdempotencyKey(UsageKey::new(sent.value("once")).ok());
            let (state, caller) = (State(app.clone()), sent.visitor.caller.clone());
            said(native::api_keys::create(state, caller, NoQuery, key, Json(request))).await
        }
        Err(failure) => Err(failure),
    };
    let (made, answered) = match made {
        Ok(made) => (Some(made), None),
        Err(failure) => (None, Some(refused("key", &sent.values, failure)?)),
    };
    let reader = app.clone();
    let again = async move { show(&reader, &sent.visitor, Query::of([]), made, answered).await };
    app.readers.read(again).await?
}

/// Revokes a key.
pub(crate) async fn revoke(State(app): State<App>, sent: Sent) -> Result<Response, Failure> {
    let id = IdPath(ApiKeyId(sent.value("id").to_owned()));
    let (state, caller) = (State(app.clone()), sent.visitor.caller.clone());
    match native::api_keys::revoke(state, caller, id, NoQuery).await {
        Ok(_) => Ok(see_other("/console/keys?done=revoked")),
        Err(failure) => {
            let answered = refused("revoke", &sent.values, failure)?;
            let reader = app.clone();
            let again =
                async move { show(&reader, &sent.visitor, Query::of([]), None, Some(answered)).await };
            app.readers.read(again).await?
        }
    }
}
