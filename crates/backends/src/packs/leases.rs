//! Leases of work that one process should do at a time.
//!
//! A lease is an item with a count of its changes: whoever read it changes it only if nobody did in between. When it ends is told by the
//! clocks of the machines, for the database tells no time.

use std::time::Duration;

use tollgate_storage::StoreError;

use super::limits::CLAIM_ROUNDS_MAX;
use super::places::{LEASES, in_list};
use super::table::{Change, Table, Value};
use super::{Core, now_nanos};

/// How often it was changed.
const CHANGES: &str = "changes";
const HOLDER: &str = "holder";
/// Higher for each new holder.
const NUMBER: &str = "number";
/// When it ends, in nanoseconds since 1970.
const UNTIL: &str = "until";

/// Claims a lease, or keeps it; see [`tollgate_storage::Store::claim`].
pub(crate) async fn claim<T: Table>(
    core: &Core<T>,
    lease: &str,
    holder: u64,
    time: Duration,
) -> Result<Option<u64>, StoreError> {
    let (place, ours) = (in_list(LEASES, lease), holder.to_be_bytes());
    for _ in 0..CLAIM_ROUNDS_MAX {
        let found = core.table.get_one(&place).await?.unwrap_or_default();
        let (number, now) = (|name| found.number(name).unwrap_or(0), now_nanos());
        let is_ours = found.bytes(HOLDER) == Some(&ours);
        if !is_ours && number(UNTIL) > now {
            return Ok(None);
        }
        let given = number(NUMBER) + u64::from(!is_ours);
        let until = now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let changes = number(CHANGES) + 1;
        let set = [
            (CHANGES, Value::Number(changes)),
            (HOLDER, Value::Bytes(ours.to_vec())),
            (NUMBER, Value::Number(given)),
            (UNTIL, Value::Number(until)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let change = Change { set, remove: Vec::new(), below: Some((CHANGES, changes)) };
        // One whose answer was lost is seen to be ours in the next round.
        if core.table.change_one(place.clone(), change).await? {
            return Ok(Some(given));
        }
    }
    Ok(None)
}
