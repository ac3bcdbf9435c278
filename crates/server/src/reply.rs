//! Answers: JSON, and problems.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tollgate_api::{Code, Problem};
use tollgate_console::{Page, ProblemView};
use tollgate_engine::EngineError;
use tollgate_storage::StoreErrorKind;

use crate::console::style_name;
use crate::limits::RETRY_AFTER_SECS;

/// What a handler answers when it cannot do what it is asked: what the caller is told, and what only the log is.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) problem: Box<Problem>,
    internal: Option<String>,
}

impl Failure {
    /// With a cause that only the log tells.
    pub(crate) fn caused_by(mut self, internal: String) -> Self {
        self.internal = Some(internal);
        self
    }

    pub(crate) fn log(&self) {
        if let Some(internal) = &self.internal {
            tracing::warn!(code = self.problem.code.text(), error = internal.as_str(), "a request failed");
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), internal: None }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let (code, detail) = match &error {
            EngineError::Store(store) if store.kind() == StoreErrorKind::BadCursor => {
                return crate::paging::invalid_cursor();
            }
            EngineError::Overloaded => {
                (Code::Overloaded, "too many requests are waiting; nothing was counted")
            }
            EngineError::ShuttingDown => {
                (Code::ShuttingDown, "the server is shutting down; nothing was counted")
            }
            EngineError::Contended => (Code::Contended, "other writers were faster; nothing was counted"),
            EngineError::Full(_) => (Code::StoreFull, "the disk of the store is full; nothing was counted"),
            EngineError::Store(store) if store.kind() == StoreErrorKind::Unavailable => {
                (Code::StoreFailed, "the store cannot be reached; nothing was counted")
            }
            EngineError::Store(_) => {
                (Code::StoreFailed, "the store cannot read what this needs; nothing was counted")
            }
            EngineError::Unknown(_) => (
                Code::StoreFailed,
                "the store was lost in a write, which may have been made; send it again with the same key",
            ),
            EngineError::Stopped(_) => (
                Code::StoreFailed,
                "a write failed and the server stopped; send it again with the same key when it is back",
            ),
        };
        let failure = Self::from(Problem::new(code, detail));
        match error {
            EngineError::Full(store)
            | EngineError::Store(store)
            | EngineError::Unknown(store)
            | EngineError::Stopped(store) => failure.caused_by(store.to_string()),
            _ => failure,
        }
    }
}

/// A problem on its way out, in the extensions of its response: it is written once the id of its request is known.
#[derive(Clone, Debug)]
pub(crate) struct Unwritten {
    problem: Problem,
    words: Words,
}

/// How the API that a problem leaves through words it.
#[derive(Clone, Debug)]
enum Words {
    /// Nothing but the problem.
    None,
    /// A text, or what another system answered, as the member `error` beside those of the problem.
    Beside(serde_json::Value),
    /// A text, or what another system answered, and nothing else.
    Only(serde_json::Value),
    /// A body of a compatible API's own that the problem is in.
    Around(fn(Problem) -> serde_json::Value),
    /// A page that says it.
    Page,
}

/// The body of a compatible API's error.
#[derive(Serialize)]
struct CompatError<'a> {
    error: &'a serde_json::Value,
    #[serde(flatten)]
    problem: &'a Problem,
}

/// Writes the body of a response that is a problem, naming the request; gives the code, for the log.
pub(crate) fn write_problem(response: &mut Response, request_id: &str) -> Option<Code> {
    let Unwritten { mut problem, words } = response.extensions_mut().remove()?;
    problem.request_id = Some(request_id.to_owned());
    let code = problem.code;
    let written = match &words {
        Words::Page => Response::new(problem_page(problem.clone()).into()),
        Words::None => json(StatusCode::OK, &problem),
        Words::Beside(error) => json(StatusCode::OK, &CompatError { error, problem: &problem }),
        Words::Only(words) => json(StatusCode::OK, words),
        Words::Around(body) => json(StatusCode::OK, &body(problem)),
    };
    *response.body_mut() = written.into_body();
    Some(code)
}

/// Has a problem leave as a page.
pub(crate) fn as_page(response: &mut Response) {
    if let Some(unwritten) = response.extensions_mut().get_mut::<Unwritten>() {
        unwritten.words = Words::Page;
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, html);
    }
}

fn problem_page(problem: Problem) -> String {
    let view = ProblemView { style: style_name(), problem };
    view.render().unwrap_or_else(|_| "the server failed".to_owned())
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.log();
        problem_response(*self.problem)
    }
}

/// A problem as a response; [`write_problem`] gives it its body.
pub(crate) fn problem_response(problem: Problem) -> Response {
    leaving(problem, Words::None, "application/problem+json")
}

/// A problem in a compatible API's shape: plain JSON, with that API's words in `error`.
pub(crate) fn compat_response(failure: Failure, error: impl Into<serde_json::Value>) -> Response {
    failure.log();
    leaving(*failure.problem, Words::Beside(error.into()), "application/json")
}

/// A problem for a compatible API that answers with text: a JSON string; the detail is in a header.
pub(crate) fn words_response(failure: Failure, words: &'static str) -> Response {
    failure.log();
    let detail: String = failure.problem.detail.chars().filter(char::is_ascii).collect();
    let mut response = leaving(*failure.problem, Words::Only(words.into()), "application/json");
    if let Ok(detail) = HeaderValue::from_str(&detail) {
        response.headers_mut().insert("x-problem-detail", detail);
    }
    response
}

/// A problem within the answer of a compatible API whose clients look at the body alone.
pub(crate) fn answer_around(failure: Failure, body: fn(Problem) -> serde_json::Value) -> Response {
    failure.log();
    let mut response = leaving(*failure.problem, Words::Around(body), "application/json");
    *response.status_mut() = StatusCode::OK;
    response
}

/// A problem for a compatible API whose errors have a body of their own.
pub(crate) fn own_response(failure: Failure, body: serde_json::Value) -> Response {
    failure.log();
    leaving(*failure.problem, Words::Only(body), "application/json")
}

fn leaving(problem: Problem, words: Words, content_type: &'static str) -> Response {
    let mut response = status(problem.status).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if matches!(problem.status, 429 | 503) {
        headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
    }
    if problem.status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response.extensions_mut().insert(Unwritten { problem, words });
    response
}

pub(crate) fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A value as JSON, with a line break at its end.
pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    // Room for what the gate answers.
    let mut body = Vec::with_capacity(512);
    match serde_json::to_writer(&mut body, value) {
        Ok(()) => {
            body.push(b'\n');
            let mut response = Response::new(body.into());
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A value as JSON with status 200.
pub(crate) fn ok<T: Serialize + ?Sized>(value: &T) -> Response {
    json(StatusCode::OK, value)
}
