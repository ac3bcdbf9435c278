//! The tools that an agent is offered: what each is called, what it takes, and which request of the API it is.
//!
//! What an agent sends is not read here: it is the body of the request, and the server says what is wrong with it.

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::client::Route;

/// A request of the API, and what is sent along.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) route: Route,
    pub(super) body: Option<Value>,
}

impl Call {
    fn post(segments: &[&str], body: JsonObject) -> Self {
        Self { method: Method::POST, route: Route::v1(segments), body: Some(Value::Object(body)) }
    }
}

/// A tool.
pub(super) struct Offer {
    pub(super) name: &'static str,
    title: &'static str,
    description: &'static str,
    /// Whether it changes nothing.
    reads: bool,
    /// What it takes.
    members: fn() -> Value,
    /// What must be given.
    needed: &'static [&'static str],
    call: fn(JsonObject) -> Result<Call, String>,
}

/// Everything that is offered.
pub(super) static OFFERS: &[Offer] = &[
    Offer {
        name: "balance",
        title: "What is left",
        description: "What an organization has, has used, holds and has left, by meter, with its limits and when they start afresh",
        reads: true,
        members: || json!({"org": org(), "users": whole("Most users to list for each meter; none unless given", 0, 1_000)}),
        needed: &["org"],
        call: |mut arguments| {
            let org = text(&mut arguments, "org")?;
            let users = arguments.remove("users").unwrap_or_else(|| json!(0));
            none_left(&arguments)?;
            let route = Route::v1(&["orgs", &org, "balance"]).with("users_limit", Some(&plain(&users)));
            Ok(Call { method: Method::GET, route, body: None })
        },
    },
    Offer {
        name: "explain",
        title: "Explain a decision",
        description: "Whether a usage would be allowed now, and why: each credit and limit that was looked at, which one \
                      denies it, what is left of it and when it starts afresh. Counts nothing. Ask it after a denial",
        reads: true,
        members: usage,
        needed: &["org", "meter"],
        call: |arguments| Ok(Call::post(&["usage", "check"], arguments)),
    },
    Offer {
        name: "use",
        title: "Use",
        description: "Checks a usage against credit and limits and counts it, in one step. Denied usage counts nothing",
        reads: false,
        members: || with(usage(), &[("key", key("usage"))]),
        needed: &["org", "meter", "key"],
        call: |arguments| Ok(Call::post(&["usage"], arguments)),
    },
    Offer {
        name: "hold",
        title: "Hold",
        description: "Reserves what a call may cost before it is made, so that calls at the same time cannot overspend \
                      together. Capture what it did cost, or release it; left alone, it is given back when it expires",
        reads: false,
        members: || {
            let more = [
                ("key", key("hold")),
                ("expires_in", whole("Seconds until it expires; 600 unless given", 1, 86_400)),
                ("overrun", quantity("How much more than is held may be captured; nothing unless given")),
                ("within", string("The hold to take it out of, such as the budget of a run")),
            ];
            with(usage(), &more)
        },
        needed: &["org", "meter", "key"],
        call: |arguments| Ok(Call::post(&["holds"], arguments)),
    },
    Offer {
        name: "capture",
        title: "Capture",
        description: "Counts what was used of a hold and gives back the rest, which ends the hold. With 'final' false it \
                      counts a part, under a 'key', and the hold stays open",
        reads: false,
        members: || {
            json!({
                "hold": string("The hold, such as 17-acme"),
                "quantity": quantity("How much was used; all that is held unless given, zero for nothing"),
                "final": {"type": "boolean", "description": "Whether the hold ends; it does unless this is false"},
                "key": key("part"),
            })
        },
        needed: &["hold"],
        call: |mut arguments| {
            let hold = text(&mut arguments, "hold")?;
            Ok(Call::post(&["holds", &hold, "capture"], arguments))
        },
    },
    Offer {
        name: "release",
        title: "Release",
        description: "Gives back what is held, and ends the hold. What was captured of it stays counted",
        reads: false,
        members: || json!({"hold": string("The hold, such as 17-acme")}),
        needed: &["hold"],
        call: |mut arguments| {
            let hold = text(&mut arguments, "hold")?;
            none_left(&arguments)?;
            let route = Route::v1(&["holds", &hold, "release"]);
            Ok(Call { method: Method::POST, route, body: None })
        },
    },
];

impl Offer {
    /// The request that some arguments are; `Err` says what is wrong with them.
    pub(super) fn call(&self, arguments: JsonObject) -> Result<Call, String> {
        (self.call)(arguments)
    }

    /// As agents read it.
    pub(super) fn tool(&self) -> Tool {
        let schema = json!({
            "type": "object", "properties": (self.members)(), "required": self.needed, "additionalProperties": false,
        });
        let schema = schema.as_object().cloned().unwrap_or_default();
        // Each counts once under its key or hold, and none takes anything away that a person has made.
        let hints = ToolAnnotations::with_title(self.title)
            .read_only(self.reads)
            .destructive(false)
            .idempotent(true)
            .open_world(false);
        Tool::new(self.name, self.description, Arc::new(schema)).with_annotations(hints)
    }
}

/// What is used by whom.
fn usage() -> Value {
    json!({
        "org": org(),
        "meter": string("What is used, such as tokens"),
        "quantity": quantity("How much; 1 unless given"),
        "user": string("A person or key of the organization; needed where each user has a limit"),
        "path": string("Where below the organization it is used, such as research/agent-7/run-42; limits on each of these paths go by it"),
        "properties": {
            "type": "object",
            "description": "What should be known of it, such as {\"model\": \"large\"}",
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        },
    })
}

fn org() -> Value {
    string("The paying organization, such as acme")
}

fn key(what: &str) -> Value {
    string(&format!(
        "Your id for this {what}: it counts once, however often you send it. Make one up, and send a retry under the same"
    ))
}

fn string(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// As a text, a number keeps all its digits.
fn quantity(description: &str) -> Value {
    json!({"type": ["number", "string"], "description": description})
}

fn whole(description: &str, minimum: u32, maximum: u32) -> Value {
    json!({"type": "integer", "minimum": minimum, "maximum": maximum, "description": description})
}

fn with(mut members: Value, more: &[(&str, Value)]) -> Value {
    if let Some(members) = members.as_object_mut() {
        members.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    }
    members
}

/// Takes an argument that is part of a path.
fn text(arguments: &mut JsonObject, name: &str) -> Result<String, String> {
    match arguments.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(format!("{name}: must be a text that is not empty")),
        None => Err(format!("{name}: must be given")),
    }
}

/// What a request without a body does not take.
fn none_left(arguments: &JsonObject) -> Result<(), String> {
    match arguments.keys().next() {
        Some(name) => Err(format!("{name}: is not an argument of this tool")),
        None => Ok(()),
    }
}

/// A value as a parameter of a query.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments: Value) -> Result<(String, String, Option<Value>), String> {
        let offer = OFFERS.iter().find(|offer| offer.name == name).expect("a tool");
        let Value::Object(arguments) = arguments else { panic!("not an object: {arguments}") };
        offer.call(arguments).map(|call| (call.method.to_string(), call.route.text().to_owned(), call.body))
    }

    #[test]
    fn a_call_is_a_request_of_the_api() {
        let told =
            |method: &str, route: &str, body: Option<Value>| Ok((method.to_owned(), route.to_owned(), body));
        for (name, arguments, wanted) in [
            ("balance", json!({"org": "a/b"}), told("GET", "/v1/orgs/a%2Fb/balance?users_limit=0", None)),
            (
                "balance",
                json!({"org": "a", "users": 9}),
                told("GET", "/v1/orgs/a/balance?users_limit=9", None),
            ),
            ("explain", json!({"org": "a"}), told("POST", "/v1/usage/check", Some(json!({"org": "a"})))),
            ("use", json!({"key": "k"}), told("POST", "/v1/usage", Some(json!({"key": "k"})))),
            ("hold", json!({"x": 1}), told("POST", "/v1/holds", Some(json!({"x": 1})))),
            (
                "capture",
                json!({"hold": "1-a", "quantity": "0.1"}),
                told("POST", "/v1/holds/1-a/capture", Some(json!({"quantity": "0.1"}))),
            ),
            ("release", json!({"hold": "../x"}), told("POST", "/v1/holds/..%2Fx/release", None)),
            ("balance", json!({}), Err("org: must be given".to_owned())),
            ("release", json!({"hold": 1}), Err("hold: must be a text that is not empty".to_owned())),
            ("release", json!({"hold": "1-a", "x": 1}), Err("x: is not an argument of this tool".to_owned())),
        ] {
            assert_eq!(call(name, arguments), wanted, "{name}");
        }
    }

    #[test]
    fn every_tool_says_what_it_takes_and_what_it_changes() {
        for offer in OFFERS {
            let tool = offer.tool();
            let members = tool.input_schema["properties"].as_object().expect("members");
            assert!(offer.needed.iter().all(|name| members.contains_key(*name)), "{}", offer.name);
            assert!(members.values().all(|member| member["description"].is_string()), "{}", offer.name);
            let hints = tool.annotations.expect("hints");
            assert_eq!(
                hints.read_only_hint,
                Some(["balance", "explain"].contains(&offer.name)),
                "{}",
                offer.name
            );
        }
    }
}
