//! Reading a JSON body so that an error names its field.

use serde::Deserialize;

use crate::Code;

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
        // Serde would take the elements of an array for the fields of a struct.
        let detail = "the body must be a JSON object".to_owned();
        return Err(BodyError { code: Code::InvalidField, field: None, detail });
    }
    // The plain reading is the fast one; only a body that is wrong is read again to find where.
    serde_json::from_slice(body).map_err(|error| explain::<T>(body, &error))
}

fn explain<'a, T: Deserialize<'a>>(body: &'a [u8], error: &serde_json::Error) -> BodyError {
    if !error.is_data() {
        let detail = if body.is_empty() {
            "the body is empty".to_owned()
        } else {
            format!("the body is not JSON: {error}")
        };
        return BodyError { code: Code::Unreadable, field: None, detail };
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let (path, text) = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => (error.path().to_string(), error.inner().to_string()),
        Ok(_) => (String::new(), error.to_string()),
    };
    let text = without_place(&text);
    let named = |prefix: &str| {
        let rest = text.strip_prefix(prefix)?;
        let name = rest.split('`').next()?;
        Some(if path.is_empty() || path == "." {
            name.to_owned()
        } else {
            format!("{}.{name}", path.trim_end_matches(&format!(".{name}")))
        })
    };
    if let Some(field) = named("missing field `") {
        let detail = format!("the field '{field}' is missing");
        return BodyError { code: Code::MissingField, field: Some(field), detail };
    }
    if let Some(name) = text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
        let allowed = text.split_once("expected ").map(|(_, allowed)| allowed).unwrap_or_default();
        let detail = format!("there is no field '{name}'; expected {}", allowed.replace('`', "'"));
        return BodyError { code: Code::UnknownField, field: Some(name.to_owned()), detail };
    }
    let twice = text.strip_prefix("duplicate field `").and_then(|rest| rest.split('`').next());
    let field = match twice {
        Some(name) => Some(name.to_owned()),
        None => (!path.is_empty() && path != ".").then_some(path),
    };
    let detail = field.as_ref().map_or_else(|| text.to_owned(), |field| format!("{field}: {text}"));
    BodyError { code: Code::InvalidField, field, detail }
}

/// Serde's text without "at line 1 column 2".
fn without_place(text: &str) -> &str {
    text.rsplit_once(" at line ").map_or(text, |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UsageRequest;

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
            (r#"{"org":"o","meter":"m","key":"k","colour":1}"#, Code::UnknownField, Some("colour")),
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
        ] {
            let error = read_body::<UsageRequest>(body.as_bytes()).expect_err(body);
            assert_eq!((error.code, error.field.as_deref()), (code, field), "{body}: {}", error.detail);
        }
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
