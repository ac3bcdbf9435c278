//! Leases of work that one process should do at a time.

use std::time::Duration;

use tokio_postgres::types::Type;
use tollgate_storage::StoreError;

use super::database::{Database, Values};
use super::error::bad_column;
use super::limits::ANSWER_TIMEOUT;

/// Claims a lease, or keeps it; see [`tollgate_storage::Store::claim`].
pub(crate) async fn claim(
    database: &Database,
    lease: &str,
    holder: u64,
    time: Duration,
) -> Result<Option<u64>, StoreError> {
    let holder = holder.cast_signed();
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let values: &Values<'_> = &[(&lease, Type::TEXT), (&holder, Type::INT8), (&millis, Type::INT8)];
    let rows = database.ask(&database.call("claim", values.len()), values, ANSWER_TIMEOUT).await?;
    let number: Option<i64> = rows.first().map_or(Ok(None), |row| row.try_get(0)).map_err(bad_column)?;
    Ok(number.map(i64::cast_unsigned))
}
