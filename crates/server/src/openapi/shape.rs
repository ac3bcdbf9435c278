//! What follows from the shape of the document: what a route refuses because of what it is, and how optional members are
//! written.

use std::collections::BTreeMap;

use tollgate_api::{Code, Problem};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{
    AdditionalProperties, AllOfBuilder, ArrayItems, ObjectBuilder, OneOf, Schema, SchemaType, Type,
};
use utoipa::openapi::{Content, ContentBuilder, Object, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, ToSchema};

/// The tags of APIs whose errors have the member `error` beside those of a problem.
const WITH_ERROR: [&str; 2] = ["Reports API", "Billing API"];

/// The tag of the API whose errors have it where a request is wrong.
const WITH_ERROR_OF_REQUEST: &str = "Credits API";

/// The tag of the API whose errors have an object of their own as `error`.
const WITH_OBJECT: &str = "Stripe API";

/// The tag of the API whose errors have a body of their own.
const WITH_BODY: &str = "Lago API";

/// The tag of the API that answers with a text where a request is wrong.
const WITH_WORDS: &str = "Pulses API";

/// The tag of the API that answers whatever is wrong with a verdict.
const WITH_VERDICT: &str = "Portkey";

/// The operations of a document, each with its path.
pub(super) fn operations(document: &mut OpenApi) -> impl Iterator<Item = (&str, &mut Operation)> {
    document.paths.paths.iter_mut().flat_map(|(path, item)| {
        let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        methods.into_iter().flatten().map(move |operation| (path.as_str(), operation))
    })
}

/// Adds to each operation what it may refuse because of what it is, and says how its API words it.
pub(super) struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut OpenApi) {
        for (path, operation) in operations(document) {
            let found = &mut operation.responses.responses;
            let tag = operation.tags.iter().flatten().next().map_or("", String::as_str);
            if tag == WITH_VERDICT {
                found.insert("default".to_owned(), Ref::from_response_name("Problem").into());
                continue;
            }
            let needs_key = operation.security.is_none();
            let tag = operation.tags.iter().flatten().next().map_or("", String::as_str);
            let native = path.starts_with("/v1/") && tag != WITH_OBJECT;
            let has_body = operation.request_body.is_some();
            let reads = native || has_body || operation.parameters.is_some();
            let mut add = |status: &str, holds: bool| {
                if holds && !found.contains_key(status) {
                    let reference = Ref::from_response_name(format!("Problem{status}"));
                    found.insert(status.to_owned(), reference.into());
                }
            };
            add("400", reads);
            add("401", needs_key);
            add("403", needs_key);
            for status in ["408", "413"] {
                // Where a wrong request is told by words, so is one that does not arrive.
                add(status, has_body && tag != WITH_WORDS);
            }
            add("415", has_body);
            add("422", has_body && native);
            if needs_key || native {
                found.insert("default".to_owned(), Ref::from_response_name("Problem").into());
            }
            reword(found, tag);
        }
        let components = document.components.get_or_insert_default();
        components.responses.extend(problems());
        let words = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("What is wrong, in the words of this API."));
        components.schemas.insert("CompatProblem".to_owned(), compat_problem(words));
        let mut object = Ref::from_schema_name("StripeError");
        object.description = "What is wrong, in the words of this API.".to_owned();
        components.schemas.insert("StripeProblem".to_owned(), compat_problem(object));
    }
}

/// Refers to errors as the API of a tag words them.
fn reword(responses: &mut BTreeMap<String, RefOr<Response>>, tag: &str) {
    for (status, response) in responses {
        let RefOr::Ref(reference) = response else { continue };
        let of_request = tag == WITH_ERROR_OF_REQUEST && matches!(status.as_str(), "400" | "415");
        if WITH_ERROR.contains(&tag) || of_request {
            reference.ref_location = reference.ref_location.replace("/Problem", "/CompatProblem");
        } else if tag == WITH_OBJECT {
            reference.ref_location = reference.ref_location.replace("/Problem", "/StripeProblem");
        } else if tag == WITH_BODY {
            reference.ref_location = reference.ref_location.replace("/Problem", "/LagoError");
        } else if tag == WITH_WORDS && matches!(status.as_str(), "400" | "415" | "502") {
            reference.ref_location = reference.ref_location.replace("/Problem", "/Words");
        }
    }
}

/// The error of a compatible API: a problem with the API's own words beside it.
fn compat_problem(error: impl Into<RefOr<Schema>>) -> RefOr<Schema> {
    let own = ObjectBuilder::new().property("error", error).required("error");
    let all = AllOfBuilder::new().item(Ref::from_schema_name(Problem::name())).item(own);
    all.description(Some("An error of a compatible API.")).into()
}

/// The answers that operations refer to, by their names.
fn problems() -> BTreeMap<String, RefOr<Response>> {
    let native = json(Ref::from_schema_name(Problem::name()));
    let compat = json(Ref::from_schema_name("CompatProblem"));
    let lago = json(Ref::from_schema_name("LagoError"));
    let stripe = json(Ref::from_schema_name("StripeProblem"));
    let words = json(ObjectBuilder::new().schema_type(Type::String));
    let mut found = BTreeMap::new();
    let mut add = |kind: &str, status: &str, media: &str, content: &Content| {
        let text = codes(status).unwrap_or_else(|| {
            "Anything else: a host that the server is not asked under (421), too many requests (429), a server that cannot answer (5xx).".to_owned()
        });
        let mut response = ResponseBuilder::new().description(text).content(media, content.clone());
        if matches!(status, "402" | "429") && kind == "Problem" {
            response = response
                .header("RateLimit-Policy", header("The limit, or the credit, that decided."))
                .header("RateLimit", header("What is left of it, and the seconds until it starts afresh."));
        }
        if matches!(status, "" | "429") {
            response = response.header("Retry-After", header("The seconds to wait, with 429 and 503."));
        }
        if status == "401" {
            response = response.header("WWW-Authenticate", header("`Bearer`"));
        }
        found.insert(format!("{kind}{status}"), RefOr::T(response.build()));
    };
    for status in ["", "400", "401", "402", "403", "404", "408", "409", "413", "415", "422", "429", "502"] {
        add("Problem", status, "application/problem+json", &native);
        add("CompatProblem", status, "application/json", &compat);
        add("LagoError", status, "application/json", &lago);
        add("StripeProblem", status, "application/json", &stripe);
        if matches!(status, "400" | "415" | "502") {
            add("Words", status, "application/json", &words);
        }
    }
    found
}

fn json(schema: impl Into<RefOr<Schema>>) -> Content {
    ContentBuilder::new().schema(Some(schema)).build()
}

fn header(description: &str) -> utoipa::openapi::header::Header {
    let text = ObjectBuilder::new().schema_type(Type::String);
    HeaderBuilder::new().schema(Some(text)).description(Some(description)).build()
}

/// The codes of a status in words; none where no code has it.
fn codes(status: &str) -> Option<String> {
    let of = |code: &&Code| status.parse().is_ok_and(|status| code.goes_with(status));
    let codes: Vec<String> =
        Code::ALL.iter().filter(of).map(|code| format!("`{}`: {}", code.text(), code.title())).collect();
    (!codes.is_empty()).then(|| codes.join("; "))
}

/// What need not be given is left out of a query or a header; there is no null to send.
pub(super) struct Parameters;

impl Modify for Parameters {
    fn modify(&self, document: &mut OpenApi) {
        for (_, operation) in operations(document) {
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter
                    && let Some(schema) = &mut parameter.schema
                {
                    without_null(schema);
                }
            }
        }
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(Object { schema_type: SchemaType::Type(Type::Null), .. })))
}

fn without_null(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            if let SchemaType::Array(kinds) = &mut object.schema_type {
                kinds.retain(|kind| *kind != Type::Null);
            }
        }
        RefOr::T(Schema::OneOf(one_of)) => {
            if let Some(item) = one_of.items.iter().find(|item| !is_null(item)).cloned() {
                *schema = item;
            }
        }
        _ => {}
    }
}

/// Where a member is of a type or null, its description stands beside that choice and not within it.
pub(super) struct Descriptions;

impl Modify for Descriptions {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        components.schemas.values_mut().for_each(lift);
    }
}

fn lift(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            object.properties.values_mut().for_each(lift);
            if let Some(AdditionalProperties::RefOr(value)) = object.additional_properties.as_deref_mut() {
                lift(value);
            }
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                lift(items);
            }
        }
        Schema::OneOf(one_of) => lift_from(one_of),
        Schema::AllOf(all_of) => all_of.items.iter_mut().for_each(lift),
        Schema::AnyOf(any_of) => any_of.items.iter_mut().for_each(lift),
        _ => {}
    }
}

fn lift_from(one_of: &mut OneOf) {
    if one_of.items.iter().any(is_null) {
        for item in &mut one_of.items {
            if let RefOr::Ref(reference) = item
                && !reference.description.is_empty()
            {
                one_of.description = Some(std::mem::take(&mut reference.description));
            }
        }
    }
    one_of.items.iter_mut().for_each(lift);
}
