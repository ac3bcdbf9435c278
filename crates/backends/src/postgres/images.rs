//! Keeping images, and forgetting what is past its time.

use tokio_postgres::types::Type;
use tollgate_storage::check::check_image;
use tollgate_storage::{Image, StoreError};

use super::append::{ledger_of, number};
use super::database::Database;
use super::error::bad_column;
use super::limits::{LONG_ANSWER_TIMEOUT, SWEEP_ROWS};
use super::read::kind_of;
use crate::rows::{Table, counter_end_secs, encode_record, row_key};

/// Keeps images; see [`tollgate_storage::Store::checkpoint`].
pub(crate) async fn checkpoint(database: &Database, images: &[Image]) -> Result<(), StoreError> {
    images.iter().for_each(check_image);
    let mut sorted: Vec<&Image> = images.iter().collect();
    sorted.sort_unstable_by(|a, b| a.partition.cmp(&b.partition).then(b.version.cmp(&a.version)));
    let (mut ledgers, mut versions) = (Vec::new(), Vec::new());
    let (mut places, mut kinds, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ends, mut bodies) = (Vec::new(), Vec::new());
    for (place, image) in (1_i32..).zip(sorted) {
        ledgers.push(ledger_of(&image.partition));
        versions.push(number(image.version)?);
        for (key, record) in &image.records {
            let Some((table, key)) = row_key(key) else { continue };
            places.push(place);
            kinds.push(kind_of(table));
            ends.push(if table == Table::Counters { counter_end_secs(&key) } else { None });
            keys.push(key);
            // Nothing unsent is no row: what is looked through is what there is to send.
            bodies.push((!record.is_nothing()).then(|| encode_record(record)));
        }
    }
    let values: &super::database::Values<'_> = &[
        (&ledgers, Type::TEXT_ARRAY),
        (&versions, Type::INT8_ARRAY),
        (&places, Type::INT4_ARRAY),
        (&kinds, Type::INT2_ARRAY),
        (&keys, Type::BYTEA_ARRAY),
        (&ends, Type::INT8_ARRAY),
        (&bodies, Type::BYTEA_ARRAY),
    ];
    let statement = database.call("checkpoint", values.len());
    database.ask(&statement, values, LONG_ANSWER_TIMEOUT).await.map(drop)
}

/// Forgets some of what is past its time; says whether there is more.
pub(crate) async fn sweep(
    database: &Database,
    key_keep_secs: Option<i64>,
    counter_keep_secs: Option<i64>,
) -> Result<bool, StoreError> {
    let statement = format!(
        "SELECT {0}.sweep(now() - make_interval(secs => $1::bigint::double precision), \
         extract(epoch FROM now())::bigint - $2, $3)",
        database.schema
    );
    let values: &super::database::Values<'_> =
        &[(&key_keep_secs, Type::INT8), (&counter_keep_secs, Type::INT8), (&SWEEP_ROWS, Type::INT4)];
    let rows = database.ask(&statement, values, LONG_ANSWER_TIMEOUT).await?;
    let swept: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(bad_column)?;
    Ok(swept >= i64::from(SWEEP_ROWS))
}
