//! A request and a reply of each operation, as they were when a test made the calls: it compares them with what a server
//! answers, and writes them anew where it is told to (see `tests/it/api/samples.rs`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::Modify;
use utoipa::openapi::{OpenApi, RefOr};

use super::shape::operations;

/// What was sent and answered, by operation.
const SAMPLES: &str = include_str!("samples.json");

#[derive(Deserialize)]
struct Sample {
    request: Option<Value>,
    reply: Option<Value>,
}

/// Adds them to the operations.
pub(super) struct Samples;

impl Modify for Samples {
    fn modify(&self, document: &mut OpenApi) {
        let mut samples: BTreeMap<String, Sample> = serde_json::from_str(SAMPLES).unwrap_or_default();
        for (_, operation) in operations(document) {
            let id = operation.operation_id.as_deref().unwrap_or_default();
            let Some(Sample { request, reply }) = samples.remove(id) else { continue };
            if let Some(RefOr::T(body)) = &mut operation.request_body
                && let Some(RefOr::T(content)) = body.content.values_mut().next()
            {
                content.example = request;
            }
            let responses = operation.responses.responses.iter_mut();
            for (_, response) in responses.filter(|(status, _)| status.starts_with('2')) {
                if let RefOr::T(response) = response
                    && let Some(RefOr::T(content)) = response.content.values_mut().next()
                {
                    content.example.clone_from(&reply);
                }
            }
        }
    }
}
