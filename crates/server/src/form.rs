//! In which form an answer is asked for: JSON, a table of comma-separated values, a page.

use axum::response::Response;
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Csv,
    Html,
}

impl Form {
    /// A text in this form, as a response.
    pub(crate) fn response(self, text: String) -> Response {
        let kind = match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
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
        let form = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/json" | "application/*" | "*/*" => Form::Json,
            "text/csv" => Form::Csv,
            "text/html" | "text/*" => Form::Html,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
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
        ] {
            let offered = [Form::Json, Form::Csv, Form::Html];
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(form_of(&headers, &offered), wanted, "{accept:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/html, text/csv;q=0.5"));
        assert_eq!(form_of(&headers, &[Form::Json, Form::Csv]), Form::Csv, "a page is not offered");
    }
}
