//! What the routes may answer instead of what they are asked for, for the OpenAPI document.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_api::{Code, Problem};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// Of a route that anybody may call.
pub(crate) enum PublicProblems {}

/// Of a route that needs an API key.
pub(crate) enum Problems {}

/// Of a route that shows a bill: it may be that there is none to show.
pub(crate) enum BillProblems {}

/// Of a route that needs an API key and reads a body.
pub(crate) enum BodyProblems {}

/// The same, where credit is used or added: buying may help.
pub(crate) enum GateProblems {}

impl IntoResponses for PublicProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        described(&[403, 421, 429, 500])
    }
}

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        described(&[400, 401, 403, 404, 421, 429, 500, 503])
    }
}

impl IntoResponses for BillProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = Problems::responses();
        responses.extend(described(&[409]));
        responses
    }
}

impl IntoResponses for BodyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        described(&[400, 401, 403, 404, 408, 409, 413, 415, 421, 422, 429, 500, 503])
    }
}

impl IntoResponses for GateProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = BodyProblems::responses();
        responses.extend(described(&[402]));
        responses
    }
}

/// A problem of each status, by reference.
fn described(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let responses =
        statuses.iter().map(|status| (status.to_string(), Ref::from_response_name(name(*status)).into()));
    responses.collect()
}

fn name(status: u16) -> String {
    format!("Problem{status}")
}

/// Every problem of a status, by its name in the document; the description lists the codes.
pub(crate) fn all() -> BTreeMap<String, RefOr<Response>> {
    let statuses: BTreeSet<u16> = Code::ALL.iter().map(|code| code.status()).collect();
    let responses = statuses.into_iter().map(|status| {
        let codes = Code::ALL.iter().filter(|code| code.status() == status);
        let codes: Vec<String> = codes.map(|code| format!("`{}`: {}", code.text(), code.title())).collect();
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
        let response =
            ResponseBuilder::new().description(codes.join("; ")).content("application/problem+json", content);
        (name(status), RefOr::T(response.build()))
    });
    responses.collect()
}
