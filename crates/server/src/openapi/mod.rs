//! The OpenAPI document, generated from the handlers and the types of the wire.

use tollgate_api::{BillFormat, HeaderKey, Month, OrderName, Problem, ResultsName, SeriesWindow};
use utoipa::OpenApi;

use crate::openapi::samples::Samples;
use crate::openapi::shape::{Descriptions, Parameters, Refusals};
use crate::{compat, docs, native};

mod samples;
mod shape;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tollgate",
        description = "Stands at the gate of a paid service: says yes or no before work is done and counts in the same durable step.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        native::usage::use_, native::usage::check, native::batch::record, native::usage::reverse,
        native::holds::hold, native::holds::show, native::holds::capture, native::holds::release, native::holds::list,
        native::orgs::list, native::orgs::show, native::orgs::put, native::plans::show, native::plans::set,
        native::plans::leave, native::plans::call_off, native::orgs::show_limits, native::orgs::put_limit,
        native::orgs::delete_limit, native::org_notices::show, native::org_notices::put, crate::console::portal::link, native::top_ups::top_up, native::top_ups::list, native::top_ups::void,
        native::top_ups::void_by_key,
        native::balance::show, native::balance::users, native::balance::paths, native::series::series,
        native::bill_list::list, native::bills::show, native::bills::close, native::bills::what_if,
        native::ledger::list, native::ledger::show, native::ledger::notices,
        native::stream::stream,
        native::channels::list, native::channels::create, native::channels::show, native::channels::put,
        native::channels::remove, native::channels::test, native::channels::rotate, native::channels::replay,
        native::channels::deliveries,
        native::catalog::show, native::catalog::put, native::catalog::versions, native::catalog::version,
        native::api_keys::list, native::api_keys::create, native::api_keys::revoke,
        native::system::health, native::system::ready, native::system::metrics, docs::root,
        compat::reports::plan, compat::reports::limit, compat::reports::use_, compat::reports::top_up,
        compat::events::take,
        compat::openmeter::subject_value, compat::openmeter::value, compat::openmeter::value_v2,
        compat::openmeter::access, compat::openmeter::query, compat::openmeter::query_by_body,
        compat::billing::record, compat::billing::list, compat::billing::bill,
        compat::credits::take,
        compat::litellm::take, compat::litellm::budgets::take,
        compat::portkey::take,
        compat::lago::take, compat::lago::take_many, compat::lago::show,
        compat::stripe::take, compat::stripe::adjust,
        compat::pulses::take, compat::pulses::list, compat::pulses::commit,
    ),
    tags(
        (name = "Usage", description = "Check and consume in one durable step, ask beforehand, record afterwards, take back."),
        (name = "Holds", description = "Reserve before it is used, capture what was used, give back the rest."),
        (name = "Organizations", description = "Who may use what: names, plans, limits, top-ups, balances."),
        (name = "Bills", description = "What usage comes to."),
        (name = "Ledger", description = "Every decision and change of an organization, and the notices they led to."),
        (name = "Channels", description = "Where notices go: webhooks, Slack, e-mail, the log."),
        (name = "Catalog", description = "Meters, plans and prices, in versions."),
        (name = "API keys", description = "Who may call, and what."),
        (name = "System", description = "How the server is."),
        (name = "Reports API", description = "A compatible API: counts reports, as older gates did."),
        (name = "Events API", description = "A compatible API: takes CloudEvents and tells access and usage, as OpenMeter does."),
        (name = "Billing API", description = "A compatible API: records usage and estimates bills, as an older billing engine did."),
        (name = "Credits API", description = "A compatible API: charges calls of language models to prepaid credit."),
        (name = "LiteLLM", description = "A compatible API: records what LiteLLM logs of calls of language models."),
        (name = "Portkey", description = "A compatible API: holds and charges credit as a guardrail of Portkey's gateway."),
        (name = "Lago API", description = "A compatible API: takes events, as Lago's clients send them."),
        (name = "Stripe API", description = "A compatible API: takes meter events, as Stripe's clients send them."),
        (name = "Pulses API", description = "A compatible API: takes pulses and commits what they add up to."),
    ),
    // What only parameters and problems name is not found by itself.
    components(schemas(Problem, OrderName, ResultsName, SeriesWindow, HeaderKey, Month, BillFormat, compat::stripe::ErrorItem, compat::lago::ErrorBody)),
    modifiers(&Security, &Refusals, &Parameters, &Descriptions, &Samples),
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
        for path in ["/", "/health", "/ready"] {
            if let Some(operation) = document.paths.paths.get_mut(path).and_then(|item| item.get.as_mut()) {
                operation.security = Some(Vec::new());
            }
        }
    }
}

/// The OpenAPI document as JSON, with a line break at its end.
#[must_use]
pub fn openapi_json() -> String {
    Document::openapi().to_pretty_json().map(|text| text + "\n").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn codes_are_named_as_they_are_sent() {
        let document: Value = serde_json::from_str(&openapi_json()).expect("the document is JSON");
        let named = document["components"]["schemas"]["Code"]["enum"].clone();
        let sent = serde_json::to_value(tollgate_api::Code::ALL).expect("codes are texts");
        assert_eq!(named, sent);
    }

    #[test]
    fn the_pages_list_every_code_by_its_status_and_every_kind_of_entry() {
        let gate = include_str!("../../../../docs/gate.md");
        for code in tollgate_api::Code::ALL {
            let row = format!("| {} |", code.status());
            let listed = gate
                .lines()
                .filter(|line| line.starts_with(&row))
                .any(|line| line.contains(&format!("`{}`", code.text())));
            assert!(listed, "docs/gate.md lacks `{}` at {}", code.text(), code.status());
        }
        let ledger = include_str!("../../../../docs/ledger.md");
        let document: Value = serde_json::from_str(&openapi_json()).expect("the document is JSON");
        let described = document
            .pointer("/components/schemas/EntryItem/properties/kind/description")
            .and_then(Value::as_str);
        for kind in tollgate_domain::EntryKind::NAMES {
            assert!(ledger.contains(&format!("| `{kind}` |")), "docs/ledger.md lacks `{kind}`");
            assert!(
                described.is_some_and(|text| text.contains(&format!("`{kind}`"))),
                "the API's description lacks `{kind}`"
            );
        }
    }

    #[test]
    fn everything_that_is_referred_to_is_there() {
        let document: Value = serde_json::from_str(&openapi_json()).expect("the document is JSON");
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100, "{}", found.len());
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
