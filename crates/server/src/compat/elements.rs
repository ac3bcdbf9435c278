//! The answer to many elements of one request, in APIs whose clients read one verdict: nothing, or the first that was refused.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tollgate_api::{Code, Problem, counted};

use crate::native::batch::Recorded;
use crate::reply::Failure;

/// How an API speaks of the elements that it takes.
pub(super) struct Elements {
    /// What an element is called.
    pub(super) element: &'static str,
    /// What is counted, in the singular.
    pub(super) counted: &'static str,
    /// Whether such a refusal says that the element is known already, and so taken.
    pub(super) is_known: fn(Code) -> bool,
    /// What a field of the native API is called in an element.
    pub(super) own_name: fn(&str) -> &str,
}

impl Elements {
    /// What is answered, with the place in the request of each outcome.
    pub(super) fn on(&self, places: &[usize], outcomes: Vec<Recorded>) -> Result<Response, Failure> {
        let all = outcomes.len();
        let refused = |problem: &Problem| !(self.is_known)(problem.code);
        let refused = places.iter().zip(outcomes).filter_map(|(place, outcome)| {
            let problem = outcome.err().filter(|problem| refused(problem))?;
            Some((*place, problem))
        });
        let refused: Vec<_> = refused.collect();
        let count = refused.len();
        let Some((place, problem)) = refused.into_iter().next() else {
            return Ok(StatusCode::NO_CONTENT.into_response());
        };
        let Self { element, counted: what, .. } = self;
        let taken = all - count;
        let detail = format!(
            "{element} {place}: {}; {} {} refused, {taken} {} counted",
            problem.detail,
            counted(count, what),
            were(count),
            were(taken),
        );
        Err(self.wrong(place, Problem { detail, ..*problem }))
    }

    /// A wrong element: 400 here, whatever it is in the native API.
    pub(super) fn wrong(&self, place: usize, mut problem: Problem) -> Failure {
        if problem.code != Code::Forbidden {
            problem.status = 400;
        }
        problem.field = problem.field.map(|field| format!("[{place}].{}", (self.own_name)(&field)));
        problem.into()
    }
}

/// The verb of so many.
pub(super) const fn were(count: usize) -> &'static str {
    if count == 1 { "was" } else { "were" }
}
