//! What a failed request says of what became of it.

use std::error::Error;
use std::io::ErrorKind;

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use tollgate_storage::StoreErrorKind;

use crate::asking::Outcome;
use crate::packs::table::Failure;

/// Whether DynamoDB answered with this error.
pub(crate) fn says<E: ProvideErrorMetadata>(error: &SdkError<E>, code: &str) -> bool {
    error.as_service_error().and_then(ProvideErrorMetadata::code) == Some(code)
}

/// The failure of a request.
#[expect(clippy::needless_pass_by_value, reason = "as a failed request gives it")]
pub(crate) fn failure<E>(error: SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let said = format!("{}", DisplayErrorContext(&error));
    match &error {
        SdkError::ServiceError(answered) => {
            let status = answered.raw().status().as_u16();
            refusal(
                answered.err().code().unwrap_or_default(),
                status,
                answered.err().message().unwrap_or_default(),
            )
        }
        SdkError::ConstructionFailure(_) => {
            let text = format!("DynamoDB cannot be asked: {said}");
            Failure::new(Outcome::Refused, StoreErrorKind::Unavailable, text)
        }
        SdkError::DispatchFailure(_) if was_refused(&error) => {
            let text = "DynamoDB cannot be reached";
            Failure::new(Outcome::Passing, StoreErrorKind::Unavailable, text).caused_by(said)
        }
        _ => {
            let text = "DynamoDB did not answer";
            Failure::new(Outcome::Unknown, StoreErrorKind::Io, text).caused_by(said)
        }
    }
}

/// Whether nobody took the connection, so that nothing was asked.
fn was_refused(error: &(dyn Error + 'static)) -> bool {
    let mut source = Some(error);
    while let Some(error) = source {
        if error.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == ErrorKind::ConnectionRefused)
        {
            return true;
        }
        source = error.source();
    }
    false
}

fn refusal(code: &str, status: u16, message: &str) -> Failure {
    use StoreErrorKind::{Format, Full, Io, TooLarge, Unavailable};
    let (outcome, kind, text) = match code {
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "ResourceInUseException"
        | "TransactionConflictException"
        | "ReplicatedWriteConflictException" => {
            (Outcome::Passing, Unavailable, "DynamoDB does not take more now; nothing was changed")
        }
        "ResourceNotFoundException" => {
            (Outcome::Refused, Format, "the table is not there; run `tollgate migrate`")
        }
        "ItemCollectionSizeLimitExceededException" => {
            (Outcome::Refused, Full, "the table has no room for an org")
        }
        "ValidationException" if message.contains("size") => {
            (Outcome::Refused, TooLarge, "an item is too large; nothing was changed")
        }
        _ if status >= 500 => (Outcome::Unknown, Io, "DynamoDB failed"),
        _ => (Outcome::Refused, Unavailable, "DynamoDB refused; nothing was changed"),
    };
    Failure::new(outcome, kind, text).caused_by(format!("{code}: {message}"))
}
