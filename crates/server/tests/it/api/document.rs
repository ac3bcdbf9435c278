//! Rules that the OpenAPI document keeps, whoever adds an operation.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::server::TestServer;

fn document() -> Value {
    serde_json::from_str(&tollgate_server::openapi_json()).expect("JSON")
}

/// Every operation with its method and path.
pub(super) fn operations(document: &Value) -> Vec<(String, &str, &Value)> {
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            found.push((method.to_uppercase(), path.as_str(), operation));
        }
    }
    found
}

/// A part of the document that another refers to, or itself.
pub(super) fn resolved<'a>(document: &'a Value, part: &'a Value) -> &'a Value {
    let reference = part["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    reference.map_or(part, |place| document.pointer(place).expect("it is there"))
}

/// The places where a body is not as its schema says: a member that the schema does not know, one that is missing, a value of
/// another type.
pub(super) fn differences(
    document: &Value,
    schema: &Value,
    body: &Value,
    place: &str,
    found: &mut Vec<String>,
) {
    let schema = resolved(document, schema);
    let choices = ["oneOf", "anyOf"].into_iter().filter_map(|kind| schema[kind].as_array()).flatten();
    let choices: Vec<&Value> = choices.collect();
    let fits = |choice: &&Value| {
        let mut found = Vec::new();
        differences(document, choice, body, place, &mut found);
        found.is_empty()
    };
    if !choices.is_empty() {
        if !choices.iter().any(fits) {
            found.push(format!("{place}: {body} is none of the choices"));
        }
        return;
    }
    let kind = match body {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |name: &Value| name == kind || (name == "integer" && (body.is_i64() || body.is_u64()));
    let fits = schema["type"].as_array().map_or_else(|| is(&schema["type"]), |kinds| kinds.iter().any(is));
    let whole = whole(document, schema);
    if !fits && whole.len() == 1 && !schema["type"].is_null() {
        found.push(format!("{place}: {body} is not {}", schema["type"]));
    }
    match body {
        Value::Object(members) => {
            for part in &whole {
                let needed = part["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let missing = needed.filter(|name| !members.contains_key(*name));
                found.extend(missing.map(|name| format!("{place}.{name} is missing")));
            }
            for (name, value) in members {
                let place = format!("{place}.{name}");
                let known =
                    whole.iter().map(|part| &part["properties"][name]).find(|known| known.is_object());
                let free =
                    || whole.iter().map(|part| &part["additionalProperties"]).find(|known| known.is_object());
                match known.or_else(free) {
                    Some(known) => differences(document, known, value, &place, found),
                    None if whole.iter().any(|part| !part["properties"].is_null()) => {
                        found.push(format!("{place} is not known"));
                    }
                    None => {}
                }
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| differences(document, &schema["items"], item, place, found));
        }
        _ => {}
    }
}

/// A schema and all that it is put together of.
fn whole<'a>(document: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let schema = resolved(document, schema);
    let parts = schema["allOf"].as_array().into_iter().flatten();
    std::iter::once(schema).chain(parts.flat_map(|part| whole(document, part))).collect()
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

/// The names of all schemas that a part leads to.
fn reached(document: &Value, part: &Value, found: &mut BTreeSet<String>) {
    match part {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                let name = reference.rsplit('/').next().unwrap_or_default().to_owned();
                if !reference.contains("/schemas/") || found.insert(name) {
                    reached(document, resolved(document, part), found);
                }
            }
            members.values().for_each(|member| reached(document, member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| reached(document, item, found)),
        _ => {}
    }
}

#[test]
fn it_is_served_as_it_is_kept() {
    let server = TestServer::start();
    let text = server.client().get("/openapi.json").text();
    assert_eq!(text, tollgate_server::openapi_json());
    assert!(document()["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")));
}

#[test]
fn every_operation_is_described_and_has_a_sample() {
    let document = document();
    let tags: Vec<&str> =
        document["tags"].as_array().expect("tags").iter().filter_map(|tag| tag["name"].as_str()).collect();
    assert_eq!(tags[0], "Usage", "what most callers look for comes first");
    let (mut ids, mut used, mut wrong) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (method, path, operation) in operations(&document) {
        let mut check = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{method} {path}: {what}"));
            }
        };
        check(is_text(&operation["summary"]), "no summary");
        check(ids.insert(operation["operationId"].to_string()), "its id is taken");
        let own = operation["tags"].as_array().map_or(&[][..], Vec::as_slice);
        let tag = own.first().and_then(Value::as_str).unwrap_or_default();
        check(own.len() == 1 && tags.contains(&tag), "not of one tag of the document");
        used.insert(tag);
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            check(is_text(&parameter["description"]), &format!("{} is not described", parameter["name"]));
        }
        if let Some(content) = operation["requestBody"]["content"].as_object() {
            let samples = content.values().filter(|content| !content["example"].is_null()).count();
            check(samples > 0, "no sample of a request");
        }
        let responses = operation["responses"].as_object().expect("responses");
        check(responses.keys().any(|status| status.starts_with('2')), "no success");
        for (status, response) in responses {
            let response = resolved(&document, response);
            check(is_text(&response["description"]), &format!("{status} is not described"));
            let json = &response["content"]["application/json"];
            let needs_sample = status.starts_with('2') && !json.is_null();
            check(!needs_sample || !json["example"].is_null(), "no sample of a reply");
            check(status != "500", "a defect is no promise");
        }
    }
    for tag in tags {
        assert!(used.contains(tag), "no operation has the tag {tag}");
    }
    assert_eq!(wrong, Vec::<String>::new(), "src/openapi tells how to satisfy these");
}

#[test]
fn every_member_of_a_schema_is_described_beside_its_type() {
    let document = document();
    let mut wrong = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        let whole = schema["allOf"].as_array().map_or_else(|| vec![schema], |parts| parts.iter().collect());
        for (member, of) in whole.iter().filter_map(|part| part["properties"].as_object()).flatten() {
            if !is_text(&of["description"]) {
                wrong.push(format!("{name}.{member} is not described"));
            }
            let parts = of["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
            if parts.iter().any(|part| is_text(&part["description"])) {
                wrong.push(format!("{name}.{member} is described within a choice"));
            }
            let nested = [of, &of["items"], &of["additionalProperties"]];
            if nested.iter().any(|part| part["properties"].is_object()) {
                wrong.push(format!("{name}.{member} has a type without a name"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn quantities_of_replies_are_plain_numbers() {
    let document = document();
    let mut in_replies = BTreeSet::new();
    for (_, _, operation) in operations(&document) {
        reached(&document, &operation["responses"], &mut in_replies);
    }
    assert!(in_replies.contains("Decimal") && !in_replies.contains("PositiveDecimal"), "{in_replies:?}");
    assert_eq!(document["components"]["schemas"]["Decimal"]["type"], "number");
}

#[test]
fn headers_are_described_where_they_are_sent() {
    let document = document();
    for path in ["/v1/usage", "/v1/usage/check"] {
        let headers = &document["paths"][path]["post"]["responses"]["200"]["headers"];
        for name in ["RateLimit-Policy", "RateLimit"] {
            assert!(is_text(&headers[name]["description"]), "{path}: {name}");
        }
    }
    let responses = &document["components"]["responses"];
    assert!(is_text(&responses["Problem"]["headers"]["Retry-After"]["description"]));
    assert!(is_text(&responses["Problem401"]["headers"]["WWW-Authenticate"]["description"]));
}
