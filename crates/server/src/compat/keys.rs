//! Keys of usage that came without one.

use tollgate_api::{Code, Problem};
use tollgate_domain::UsageKey;
use uuid::Builder;

use crate::reply::Failure;

/// A key that no other usage has: a random UUID.
pub(super) fn new_key() -> Result<UsageKey, Failure> {
    let failed = |error: String| {
        Failure::from(Problem::new(Code::Internal, "no id can be made; send one")).caused_by(error)
    };
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| failed(error.to_string()))?;
    let uuid = Builder::from_random_bytes(bytes).into_uuid();
    UsageKey::new(&uuid.to_string()).map_err(|error| failed(error.to_string()))
}
