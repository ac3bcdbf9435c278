//! In which form an answer is asked for: JSON, a table of comma-separated values, a page, rows of FOCUS, TOML.

use axum::response::Response;
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use tollgate_api::BillFormat;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Csv,
    Html,
    Focus,
    Toml,
}

impl From<BillFormat> for Form {
    fn from(format: BillFormat) -> Self {
        match format {
            BillFormat::Json => Self::Json,
            BillFormat::Csv => Self::Csv,
            BillFormat::Html => Self::Html,
            BillFormat::Focus => Self::Focus,
        }
    }
}

impl Form {
    /// Those of a bill.
    pub(crate) const ALL: [Self; 4] = [Self::Json, Self::Csv, Self::Html, Self::Focus];

    /// A text in this form, as a response.
    pub(crate) fn response(self, text: String) -> Response {
        let kind = match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Focus => "text/csv; charset=utf-8; profile=focus",
            Self::Toml => "application/toml",
        };
        let mut response = Response::new(text.into());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
        varying(response)
    }
}

/// A response that another `Accept` would make another of.
pub(crate) fn varying(mut response: Response) -> Response {
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// The form a caller likes best of those offered; of equals the one named first, and JSON where none is named.
pub(crate) fn form_of(headers: &HeaderMap, offered: &[Form]) -> Form {
    let mut best = (0.0, Form::Json);
    for range in
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','))
    {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameter = |name: &str| {
            let value = parts.clone().find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            value.map(|value| value.trim_matches('"'))
        };
        let form = match (kind.as_str(), parameter("profile")) {
            ("application/json" | "application/*" | "*/*", _) => Form::Json,
            ("application/toml", _) => Form::Toml,
            ("text/csv", Some("focus")) => Form::Focus,
            ("text/csv", _) => Form::Csv,
            ("text/html" | "text/*", _) => Form::Html,
            _ => continue,
        };
        let weight = parameter("q").and_then(|weight| weight.parse::<f32>().ok()).unwrap_or(1.0);
        if weight > best.0 && offered.contains(&form) {
            best = (weight, form);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_gets_the_form_it_likes_best() {
        for (accept, wanted) in [
            (None, Form::Json),
            (Some("*/*"), Form::Json),
            (Some("application/json"), Form::Json),
            (Some("text/csv"), Form::Csv),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), Form::Html),
            (Some("text/html;q=0.5, text/csv;q=0.7"), Form::Csv),
            (Some("image/png"), Form::Json),
            (Some("text/csv;q=0, application/json"), Form::Json),
            (Some("text/csv; profile=focus"), Form::Focus),
            (Some("text/csv;q=0.4, text/csv; profile=\"focus\"; q=0.5"), Form::Focus),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(form_of(&headers, &Form::ALL), wanted, "{accept:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/html, text/csv;q=0.5"));
        assert_eq!(form_of(&headers, &[Form::Json, Form::Csv]), Form::Csv, "a page is not offered");
    }
}
