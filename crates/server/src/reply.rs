//! Answers: JSON, and problems.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tollgate_api::{Code, Problem};
use tollgate_engine::EngineError;
use tollgate_storage::StoreErrorKind;

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
                let problem = Problem::new(Code::InvalidCursor, "cursor: is not one of this list");
                return problem.on_field("cursor").into();
            }
            EngineError::Overloaded => {
                (Code::Overloaded, "too many requests are waiting; nothing was counted")
            }
            EngineError::ShuttingDown => {
                (Code::ShuttingDown, "the server is shutting down; nothing was counted")
            }
            EngineError::Contended => (Code::Contended, "other writers were faster; nothing was counted"),
            EngineError::Full(_) => (Code::StoreFull, "the disk of the store is full; nothing was counted"),
            EngineError::Store(_) => {
                (Code::StoreFailed, "the store cannot read what this needs; nothing was counted")
            }
            EngineError::Stopped(_) => (
                Code::StoreFailed,
                "a write failed and the server stopped; send it again with the same key when it is back",
            ),
        };
        let failure = Self::from(Problem::new(code, detail));
        match error {
            EngineError::Full(store) | EngineError::Store(store) | EngineError::Stopped(store) => {
                failure.caused_by(store.to_string())
            }
            _ => failure,
        }
    }
}

/// The code of a problem, for the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProblemCode(pub(crate) Code);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if let Some(internal) = &self.internal {
            tracing::warn!(code = self.problem.code.text(), error = internal.as_str(), "a request failed");
        }
        problem_response(&self.problem)
    }
}

/// A problem as a response.
pub(crate) fn problem_response(problem: &Problem) -> Response {
    let mut response = json(status(problem.status), problem);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if matches!(problem.status, 429 | 503) {
        headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
    }
    if problem.status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response.extensions_mut().insert(ProblemCode(problem.code));
    response
}

pub(crate) fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A value as JSON.
pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => {
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
