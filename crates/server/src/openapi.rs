//! The OpenAPI document, generated from the handlers and the types of the wire.

use utoipa::OpenApi;

use crate::native;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tollgate",
        description = "Stands at the gate of a paid service: says yes or no before work is done and counts in the same durable step.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        native::usage::use_, native::usage::check, native::usage::reverse,
        native::orgs::list, native::orgs::show, native::orgs::put, native::orgs::put_plan, native::orgs::put_limit,
        native::orgs::delete_limit, native::orgs::top_up,
        native::balance::show, native::balance::users, native::balance::series,
        native::ledger::list, native::ledger::show, native::ledger::notices,
        native::catalog::show, native::catalog::put, native::catalog::versions, native::catalog::version,
        native::api_keys::list, native::api_keys::create, native::api_keys::revoke,
        native::system::health, native::system::ready, native::system::metrics,
    ),
    modifiers(&Security),
    security(("bearer" = []), ("api_key" = [])),
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let header = ApiKey::Header(ApiKeyValue::new("X-API-Key"));
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(header));
    }
}

/// The OpenAPI document as JSON, with a line break at its end.
#[must_use]
pub fn openapi_json() -> String {
    Document::openapi().to_pretty_json().map(|text| text + "\n").unwrap_or_default()
}
