//! Reading a JSON body so that an error names its field.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::Code;
use crate::objects::Objects;

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyError {
    /// The problem code.
    pub code: Code,
    /// The field, as a path from the top; `None` when the body as a whole is wrong.
    pub field: Option<String>,
    /// What is wrong and what is allowed.
    pub detail: String,
}

/// Reads a body.
///
/// # Errors
/// [`BodyError`] with the field that is wrong.
pub fn read_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BodyError> {
    if body.trim_ascii_start().first().is_some_and(|byte| *byte == b'[') {
        let detail = "the body must be a JSON object".to_owned();
        return Err(BodyError { code: Code::InvalidField, field: None, detail });
    }
    // The plain reading is the fast one, and faster where it is known that all is UTF-8; only a body that is wrong is read
    // again to find where.
    let read = match std::str::from_utf8(body) {
        Ok(text) => whole(serde_json::Deserializer::from_str(text)),
        Err(_) => whole(serde_json::Deserializer::from_slice(body)),
    };
    read.map_err(|error| explain::<T>(body, &error))
}

/// Reads all that there is as one value.
fn whole<'a, R: serde_json::de::Read<'a>, T: Deserialize<'a>>(
    mut deserializer: serde_json::Deserializer<R>,
) -> serde_json::Result<T> {
    let value = T::deserialize(Objects(&mut deserializer))?;
    deserializer.end()?;
    Ok(value)
}

fn explain<'a, T: Deserialize<'a>>(body: &'a [u8], error: &serde_json::Error) -> BodyError {
    // Serde calls some values of the wrong type a fault of the syntax, and so numbers that no type holds.
    let is_number = without_place(&error.to_string()) == OUT_OF_RANGE;
    if !error.is_data() && !is_number && serde_json::from_slice::<Value>(body).is_err() {
        let detail = if body.trim_ascii().is_empty() {
            "the body is empty".to_owned()
        } else {
            format!("the body is not JSON: {error}")
        };
        return BodyError { code: Code::Unreadable, field: None, detail };
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let (path, text) = match serde_path_to_error::deserialize::<_, T>(Objects(&mut deserializer)) {
        Err(error) => (error.path().to_string(), error.inner().to_string()),
        Ok(_) => (String::new(), error.to_string()),
    };
    let path = Some(path).filter(|path| !path.is_empty() && path != ".");
    let text = without_place(&text);
    let name_after = |prefix: &str| text.strip_prefix(prefix)?.split('`').next();
    if let Some(name) = name_after("missing field `") {
        let field = match &path {
            Some(path) => format!("{}.{name}", path.trim_end_matches(&format!(".{name}"))),
            None => name.to_owned(),
        };
        let detail = format!("the field '{field}' is missing");
        return BodyError { code: Code::MissingField, field: Some(field), detail };
    }
    if let Some(name) = name_after("unknown field `") {
        let allowed = text.rsplit_once("expected ").map(|(_, allowed)| allowed).unwrap_or_default();
        let name = shortened(name);
        let detail = format!("there is no field '{name}'; expected {}", allowed.replace('`', "'"));
        return BodyError { code: Code::UnknownField, field: Some(name), detail };
    }
    let twice = name_after("duplicate field `")
        .map(|name| path.as_ref().map_or_else(|| name.to_owned(), |path| format!("{path}.{name}")));
    let field = twice.or(path).map(|field| shortened(&field));
    let text = shortened(&in_words(text));
    let detail =
        field.as_ref().map_or_else(|| format!("the body {text}"), |field| format!("{field}: {text}"));
    BodyError { code: Code::InvalidField, field, detail }
}

/// Serde's text for a number like 1e400.
const OUT_OF_RANGE: &str = "number out of range";

/// Serde's text without "at line 1 column 2".
fn without_place(text: &str) -> &str {
    text.rsplit_once(" at line ").map_or(text, |(text, _)| text)
}

/// Serde's text in the words of JSON and of this API.
fn in_words(text: &str) -> String {
    if text.starts_with("duplicate field") {
        return "is given twice".to_owned();
    }
    if text == OUT_OF_RANGE {
        return "is a number out of range".to_owned();
    }
    let said = text
        .strip_prefix("invalid type: ")
        .or_else(|| text.strip_prefix("invalid value: "))
        .or_else(|| text.strip_prefix("unknown variant "))
        .and_then(|rest| rest.split_once(", expected "));
    let Some((found, expected)) = said else { return text.to_owned() };
    let found = match found {
        "map" => "an object".to_owned(),
        "sequence" => "an array".to_owned(),
        other => {
            let value = ["integer ", "floating point ", "boolean ", "string ", "character "]
                .into_iter()
                .find_map(|kind| other.strip_prefix(kind));
            value.map_or_else(|| other.replace('`', "'"), |value| value.replace('`', ""))
        }
    };
    let expected = match expected {
        "a map" => "an object".to_owned(),
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" => format!("a whole number from 0 to {}", u64::MAX),
        other if other.starts_with("struct ") => "an object".to_owned(),
        other => other.replace('`', "'"),
    };
    format!("must be {expected}, not {found}")
}

/// Reads a member that may be left out but is read when it is there, null too: whether null says anything is up to `T`.
/// With `#[serde(default)]` a field of `Option<T>` is absent or a value; one of `Option<Option<T>>` is absent, null or a
/// value.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A text without its middle if it is long: an answer need not repeat all that was sent.
#[must_use]
pub fn shortened(text: &str) -> String {
    const KEPT_CHARS: usize = 100;
    let length = text.chars().count();
    if length <= 2 * KEPT_CHARS {
        return text.to_owned();
    }
    let head = text.chars().take(KEPT_CHARS);
    head.chain(['…']).chain(text.chars().skip(length - KEPT_CHARS)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HoldRequest, LimitRequest, UsageRequest};

    #[test]
    fn errors_name_the_field() {
        let long = format!(r#"{{"org":"{}","meter":"m","key":"k"}}"#, "x".repeat(129));
        for (body, code, field) in [
            ("", Code::Unreadable, None),
            ("{", Code::Unreadable, None),
            ("[]", Code::InvalidField, None),
            (r#" ["acme",null,"reports",1,"k",null,null]"#, Code::InvalidField, None),
            ("nonsense", Code::Unreadable, None),
            (r#"{"meter":"m","key":"k"}"#, Code::MissingField, Some("org")),
            (r#"{"org":"o","meter":"m","key":"k","color":1}"#, Code::UnknownField, Some("color")),
            (r#"{"org":7,"meter":"m","key":"k"}"#, Code::InvalidField, Some("org")),
            (r#"{"org":"","meter":"m","key":"k"}"#, Code::InvalidField, Some("org")),
            (&long, Code::InvalidField, Some("org")),
            (r#"{"org":"a\u0000b","meter":"m","key":"k"}"#, Code::InvalidField, Some("org")),
            (r#"{"org":"o","meter":"m","key":"k","quantity":0}"#, Code::InvalidField, Some("quantity")),
            (r#"{"org":"o","meter":"m","key":"k","quantity":-1}"#, Code::InvalidField, Some("quantity")),
            (r#"{"org":"o","meter":"m","key":"k","quantity":NaN}"#, Code::Unreadable, None),
            (r#"{"org":"o","meter":"m","key":"k","quantity":"NaN"}"#, Code::InvalidField, Some("quantity")),
            (r#"{"org":"o","meter":"m","key":"k","quantity":1e400}"#, Code::InvalidField, Some("quantity")),
            (
                r#"{"org":"o","meter":"m","key":"k","quantity":0.0000000001}"#,
                Code::InvalidField,
                Some("quantity"),
            ),
            (
                r#"{"org":"o","meter":"m","key":"k","quantity":1000000000000000}"#,
                Code::InvalidField,
                Some("quantity"),
            ),
            (r#"{"org":"o","meter":"m","key":"k","quantity":true}"#, Code::InvalidField, Some("quantity")),
            (
                r#"{"org":"o","meter":"m","key":"k","properties":{"a":[]}}"#,
                Code::InvalidField,
                Some("properties.a"),
            ),
            (r#"{"org":"o","meter":"m","key":"k","time":"yesterday"}"#, Code::InvalidField, Some("time")),
            (r#"{"org":"o","org":"p","meter":"m","key":"k"}"#, Code::InvalidField, Some("org")),
            (
                r#"{"org":"o","meter":"m","key":"k","properties":{"a":"1","b":"2","a":"3"}}"#,
                Code::InvalidField,
                Some("properties.a"),
            ),
        ] {
            let error = read_body::<UsageRequest>(body.as_bytes()).expect_err(body);
            assert_eq!((error.code, error.field.as_deref()), (code, field), "{body}: {}", error.detail);
        }
        for (field, detail) in [
            (r#""meter":7"#, "meter: must be an id of 1 to 128 characters, not 7"),
            (r#""meter":null"#, "meter: must be an id of 1 to 128 characters, not null"),
            (r#""meter":{}"#, "meter: must be an id of 1 to 128 characters, not an object"),
            (r#""meter":"m","properties":[]"#, "properties: must be an object, not an array"),
            (
                r#""meter":"m","time":"x""#,
                "time: must be a time such as 2026-11-21T00:00:00Z, or with an offset from -23:59 to +23:59",
            ),
            (
                r#""meter":"m","time":"2026-11-21T00:00:00+25:00""#,
                "time: must be a time such as 2026-11-21T00:00:00Z, or with an offset from -23:59 to +23:59",
            ),
            (r#""meter":"m","meter":"m""#, "meter: is given twice"),
        ] {
            let body = format!(r#"{{"org":"o","key":"k",{field}}}"#);
            let error = read_body::<UsageRequest>(body.as_bytes()).expect_err(&body);
            assert_eq!((error.code, error.detail.as_str()), (Code::InvalidField, detail));
        }
        for (field, detail) in [
            (r#""scope":"team""#, "scope: must be one of 'org', 'user', 'path', not 'team'"),
            (r#""scope":5"#, "scope: must be a word, not 5"),
            (r#""scope":{"org":null}"#, "scope: must be a word, not an object"),
            (
                r#""scope":"org","window":"year""#,
                "window: must be one of 'minute', 'hour', 'day', 'week', 'month', 'lifetime', 'plan_month', or such as \
                 'week_from_sunday', 'month_from_15', 'rolling_5h', 'first_use_7d', not 'year'",
            ),
        ] {
            let body = format!(r#"{{"meter":"m",{field}}}"#);
            let error = read_body::<LimitRequest>(body.as_bytes()).expect_err(&body);
            assert_eq!((error.code, error.detail.as_str()), (Code::InvalidField, detail));
        }
        for (expires_in, detail) in [
            ("-1", "must be a whole number from 0 to 4294967295, not -1"),
            ("1.5", "must be a whole number from 0 to 4294967295, not 1.5"),
            ("4294967296", "must be a whole number from 0 to 4294967295, not 4294967296"),
            ("\"9\"", "must be a whole number from 0 to 4294967295, not \"9\""),
            ("1e400", "is a number out of range"),
        ] {
            let body = format!(r#"{{"org":"o","meter":"m","key":"k","expires_in":{expires_in}}}"#);
            let error = read_body::<HoldRequest>(body.as_bytes()).expect_err(&body);
            assert_eq!((error.code, error.field.as_deref()), (Code::InvalidField, Some("expires_in")));
            assert_eq!(error.detail, format!("expires_in: {detail}"));
        }
        for (field, name, detail) in [
            (r#""on_expiry":5"#, "on_expiry", "must be a word, not 5"),
            (r#""on_expiry":{"release":null}"#, "on_expiry", "must be a word, not an object"),
            (r#""on_expiry":"keep""#, "on_expiry", "must be 'release' or 'charge', not 'keep'"),
            (r#""call":{"model":"large","tier":[]}"#, "call.tier", "must be a word, not an array"),
            (r#""call":["large"]"#, "call", "must be an object, not an array"),
            (r#""call":null"#, "call", "must be an object, not null"),
            (r#""call":{"model":7}"#, "call.model", "must be a string, not 7"),
        ] {
            let body = format!(r#"{{"org":"o","meter":"m","key":"k",{field}}}"#);
            let error = read_body::<HoldRequest>(body.as_bytes()).expect_err(&body);
            assert_eq!((error.code, error.field.as_deref()), (Code::InvalidField, Some(name)));
            assert_eq!(error.detail, format!("{name}: {detail}"));
        }
        let body = format!(r#"{{"org":"o","meter":"m","{}":1}}"#, "x".repeat(60_000));
        let error = read_body::<UsageRequest>(body.as_bytes()).expect_err("an unknown field");
        assert!(error.detail.len() < 500, "{}", error.detail);
        for quantity in ["2.5", "\"2.5\"", "25e-1"] {
            let body = format!(r#"{{"org":"o","meter":"m","key":"k","quantity":{quantity}}}"#);
            let usage = read_body::<UsageRequest>(body.as_bytes()).expect("a usage");
            assert_eq!(
                usage.quantity.map(|quantity| quantity.0.amount().to_string()).as_deref(),
                Some("2.5")
            );
        }
    }
}
