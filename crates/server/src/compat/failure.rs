//! Errors of the compatible APIs whose bodies have `error`: its message, and the members of a native problem beside it.

use std::fmt;
use std::marker::PhantomData;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use tollgate_api::{Code, Problem, read_body};
use tollgate_domain::UsageKey;

use crate::app::App;
use crate::extract::{IdempotencyKey, read_json};
use crate::reply::{Failure, compat_response};

/// What distinguishes the errors of one compatible API from another's.
pub(crate) trait Dialect: fmt::Debug {
    /// What a field of the native API is called in this API.
    fn own_name(field: &str) -> &str;
}

/// An error of a compatible API.
#[derive(Debug)]
pub(crate) struct CompatFailure<D> {
    error: String,
    failure: Failure,
    dialect: PhantomData<D>,
}

impl<D: Dialect> From<Failure> for CompatFailure<D> {
    fn from(mut failure: Failure) -> Self {
        let field = failure.problem.field.take();
        failure.problem.field = field.map(|field| D::own_name(&field).to_owned());
        Self { error: failure.problem.detail.clone(), failure, dialect: PhantomData }
    }
}

impl<D: Dialect> IntoResponse for CompatFailure<D> {
    fn into_response(self) -> Response {
        compat_response(self.failure, self.error)
    }
}

impl<D: Dialect> CompatFailure<D> {
    /// An error with the API's own words and status.
    pub(crate) fn told(status: u16, error: &str, mut problem: Problem) -> Self {
        problem.status = status;
        Self { error: error.to_owned(), ..Self::from(Failure::from(problem)) }
    }

    /// A wrong request: 400 here, whatever it is in the native API.
    pub(crate) fn bad(problem: Problem) -> Self {
        let error = problem.detail.clone();
        Self::told(400, &error, problem)
    }

    /// A wrong request, by one of its fields.
    pub(crate) fn bad_field(field: &str, text: &str) -> Self {
        Self::bad(Problem::new(Code::InvalidField, format!("{field}: {text}")).on_field(field))
    }
}

/// The key of a request: of its body, or of the header `Idempotency-Key`; not two that differ.
pub(crate) fn agreed<D: Dialect>(
    header: Result<IdempotencyKey, Failure>,
    body: Option<UsageKey>,
) -> Result<Option<UsageKey>, CompatFailure<D>> {
    header.and_then(|header| header.with(body)).map_err(|failure| CompatFailure::bad(*failure.problem))
}

/// A JSON body.
pub(crate) async fn read<T: serde::de::DeserializeOwned, D: Dialect>(
    app: &App,
    request: Request,
) -> Result<T, CompatFailure<D>> {
    let body = read_json(app, request, app.settings.body_bytes_max).await?;
    read_body(&body).map_err(|error| {
        let mut problem = Problem::new(error.code, error.detail);
        problem.field = error.field;
        CompatFailure::bad(problem)
    })
}
