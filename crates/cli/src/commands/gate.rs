//! The gate: use, check, reverse.

use std::fmt::Write as _;

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tollgate_api::{CheckReply, ReversalReply, UsageReply};
use ureq::http::Method;

use super::{MeterArg, Session};
use crate::client::{Route, Sent, given};
use crate::failure::{Exit, Failure};
use crate::limits::MADE_KEY_BYTES;
use crate::output::read_reply;
use crate::table::{Field, pairs, parts, rows};

/// `tollgate use`
#[derive(Debug, Args)]
pub(crate) struct UseArgs {
    #[command(flatten)]
    what: WhatArgs,
    /// Your id for this usage, which makes retries safe: it counts once [default: a random key]
    #[arg(long)]
    key: Option<String>,
    /// When it happened (RFC 3339), recorded with the entry.
    #[arg(long)]
    time: Option<String>,
    /// A property of the usage, such as model=large; may be repeated.
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
}

/// `tollgate check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    what: WhatArgs,
}

/// Who uses how much of what.
#[derive(Debug, Args)]
pub(crate) struct WhatArgs {
    /// The organization.
    pub(crate) org: String,
    #[command(flatten)]
    pub(crate) meter: MeterArg,
    /// The user; required while a per-user limit is in force.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Where below the organization, such as research/agent-7/run-42.
    #[arg(long)]
    pub(crate) path: Option<String>,
    /// How much [default: 1]
    #[arg(long, value_name = "Q", allow_negative_numbers = true)]
    pub(crate) quantity: Option<String>,
}

/// `tollgate reverse`
#[derive(Debug, Args)]
pub(crate) struct ReverseArgs {
    /// The organization.
    org: String,
    /// The key of the usage.
    key: String,
}

pub(crate) fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Runs `tollgate use`.
pub(crate) fn use_(session: &mut Session, args: &UseArgs) -> Result<(), Failure> {
    let key = Key::given_or_made(args.key.as_ref())?;
    let what = &args.what;
    let body = given(json!({
        "org": what.org, "meter": what.meter.meter, "user": what.user, "path": what.path,
        "quantity": what.quantity, "key": key.text, "time": args.time, "properties": told(&args.properties),
    }));
    let answer = session.show(Method::POST, &Route::v1(&["usage"]), &Sent::Json(body), usage_text);
    key.hint(answer, "counting")
}

/// Properties as a request has them: null where there are none.
pub(crate) fn told(properties: &[(String, String)]) -> Value {
    let properties: Map<String, Value> =
        properties.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    if properties.is_empty() { Value::Null } else { Value::Object(properties) }
}

/// The key of a request.
pub(crate) struct Key {
    pub(crate) text: String,
    /// Whether it was made here, so that the caller does not know it.
    made: bool,
}

impl Key {
    pub(crate) fn given_or_made(given: Option<&String>) -> Result<Self, Failure> {
        Ok(match given {
            Some(key) => Self { text: key.clone(), made: false },
            None => Self { text: made_key()?, made: true },
        })
    }

    /// Tells a caller who got no answer, or one that the server failed, the key: it may have been done all the same, and with the
    /// key the question can be asked again without `doing` it twice.
    pub(crate) fn hint(self, answer: Result<(), Failure>, doing: &str) -> Result<(), Failure> {
        answer.map_err(|mut failure| {
            let hints = match &mut failure {
                Failure::Unreachable { hints, .. } => Some(hints),
                Failure::Problem(problem) if problem.status >= 500 => Some(&mut problem.hints),
                _ => None,
            };
            if let Some(hints) = hints.filter(|_| self.made) {
                hints.push(format!("--key {} asks again without {doing} twice", self.text));
            }
            failure
        })
    }
}

fn made_key() -> Result<String, Failure> {
    let mut bytes = [0_u8; MADE_KEY_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Other(format!("no randomness for a key: {error}; give one with --key")))?;
    Ok(bytes.iter().fold(String::from("cli-"), |mut key, byte| {
        // Writing to a string cannot fail.
        let _ = write!(key, "{byte:02x}");
        key
    }))
}

/// Runs `tollgate check`; a "no" is exit code 1, as it is for a use.
pub(crate) fn check(session: &mut Session, args: &CheckArgs) -> Result<(), Failure> {
    let what = &args.what;
    let body = given(json!({
        "org": what.org, "meter": what.meter.meter, "user": what.user, "path": what.path,
        "quantity": what.quantity,
    }));
    let reply = session.ask(Method::POST, &Route::v1(&["usage", "check"]), &Sent::Json(body))?;
    session.output.reply(&reply, check_text)?;
    let decision: Decision = read_reply(&reply)?;
    if decision.allowed { Ok(()) } else { Err(Failure::Said(Exit::No)) }
}

/// What the exit code of a check goes by.
#[derive(Deserialize)]
struct Decision {
    allowed: bool,
}

/// Runs `tollgate reverse`.
pub(crate) fn reverse(session: &mut Session, args: &ReverseArgs) -> Result<(), Failure> {
    let body = json!({"org": args.org, "key": args.key});
    let route = Route::v1(&["usage", "reversals"]);
    session.show(Method::POST, &route, &Sent::Json(body), |reply: &ReversalReply| {
        pairs(vec![
            ("org", (&reply.org).into()),
            ("key", (&reply.key).into()),
            ("replayed", reply.replayed.into()),
            ("entry", reply.entry.into()),
            ("reverses entry", reply.reversed_entry.into()),
        ])
    })
}

fn usage_text(reply: &UsageReply) -> String {
    let mut lines = vec![
        ("allowed", Field::from(reply.allowed)),
        ("replayed", reply.replayed.into()),
        ("key", reply.key.as_str().into()),
        ("org", reply.org.as_str().into()),
        ("meter", reply.meter.as_str().into()),
        ("quantity", reply.quantity.into()),
        ("used", reply.used.into()),
        ("remaining", reply.remaining.into()),
        ("total", reply.total.into()),
    ];
    if let Some(user) = &reply.user {
        lines.push(("user", user.as_str().into()));
        lines.push(("used by the user", reply.user_used.into()));
    }
    if let Some(path) = &reply.path {
        lines.push(("path", path.as_str().into()));
    }
    lines.push(("entry", reply.entry.into()));
    pairs(lines)
}

fn check_text(reply: &CheckReply) -> String {
    let answer = match (&reply.code, reply.allowed) {
        (_, true) => "allowed".to_owned(),
        (Some(code), false) => format!("denied ({code})"),
        (None, false) => "denied".to_owned(),
    };
    let about = pairs(vec![
        ("answer", answer.into()),
        ("org", (&reply.org).into()),
        ("meter", (&reply.meter).into()),
        ("quantity", reply.quantity.into()),
        ("used", reply.used.into()),
        ("remaining", reply.remaining.into()),
    ]);
    let steps = reply.steps.iter().map(|step| {
        let passed = if step.passed { "pass" } else { "FAIL" };
        vec![Field::from(&step.check), passed.into(), (&step.detail).into()]
    });
    parts(vec![about, rows(&["check", "result", "by"], steps.collect(), "no checks")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_keys_differ_and_are_ids() {
        let (one, other) = (made_key().expect("randomness"), made_key().expect("randomness"));
        assert_ne!(one, other);
        assert!(tollgate_domain::UsageKey::new(&one).is_ok(), "{one}");
    }

    #[test]
    fn a_made_key_is_told_where_it_may_have_been_counted() {
        for (status, made, told) in [(503, true, true), (503, false, false), (403, true, false)] {
            let problem = format!(r#"{{"status":{status},"detail":"d","code":"c"}}"#);
            let problem = Failure::Problem(serde_json::from_str(&problem).expect("a problem"));
            let key = Key { text: "cli-1".to_owned(), made };
            let failure = key.hint(Err(problem), "counting").expect_err("a failure").to_string();
            let hint = "\n  hint: --key cli-1 asks again without counting twice";
            assert_eq!(failure.ends_with(hint), told, "{failure}");
        }
    }

    #[test]
    fn a_check_shows_its_steps() {
        let reply = r#"{"allowed":false,"code":"org_limit_reached","org":"acme","meter":"reports","quantity":1,
            "remaining":0,"used":100,"steps":[{"check":"org","passed":true,"detail":"'acme'"},
            {"check":"credit","passed":false,"detail":"0 left, 1 asked"}]}"#;
        assert_eq!(
            check_text(&serde_json::from_str(reply).expect("a reply")),
            "answer     denied (org_limit_reached)\norg        acme\nmeter      reports\nquantity   1\nused       100\n\
             remaining  0\n\nCHECK   RESULT  BY\norg     pass    'acme'\ncredit  FAIL    0 left, 1 asked\n"
        );
    }

    #[test]
    fn properties_are_names_and_values() {
        assert_eq!(property("model=a=b"), Ok(("model".to_owned(), "a=b".to_owned())));
        assert!(property("model").is_err() && property("=x").is_err());
    }
}
