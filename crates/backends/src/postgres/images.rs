//! Keeping images, and forgetting what is past its time.

use tokio_postgres::types::{ToSql, Type};
use tollgate_storage::check::check_image;
use tollgate_storage::{Image, StoreError};

use super::append::{ledger_of, number};
use super::database::Database;
use super::error::bad_column;
#[cfg(feature = "redis")]
use super::incarnations::Held;
use super::limits::{LONG_ANSWER_TIMEOUT, SWEEP_ROWS};
use super::read::kind_of;
use crate::Keeping;
use crate::rows::{Table, counter_end_secs, encode_record, row_key};

/// Images as columns.
#[derive(Default)]
struct Kept<'a> {
    ledgers: Vec<&'a str>,
    versions: Vec<i64>,
    places: Vec<i32>,
    kinds: Vec<i16>,
    keys: Vec<Vec<u8>>,
    ends: Vec<Option<i64>>,
    bodies: Vec<Option<Vec<u8>>>,
}

impl<'a> Kept<'a> {
    fn of(images: &'a [Image]) -> Result<Self, StoreError> {
        images.iter().for_each(check_image);
        let mut sorted: Vec<&Image> = images.iter().collect();
        sorted.sort_unstable_by(|a, b| a.partition.cmp(&b.partition).then(b.version.cmp(&a.version)));
        let mut kept = Self::default();
        for (place, image) in (1_i32..).zip(sorted) {
            kept.ledgers.push(ledger_of(&image.partition));
            kept.versions.push(number(image.version)?);
            for (key, record) in &image.records {
                let Some((table, key)) = row_key(key) else { continue };
                kept.places.push(place);
                kept.kinds.push(kind_of(table));
                kept.ends.push(if table == Table::Counters { counter_end_secs(&key) } else { None });
                kept.keys.push(key);
                // Nothing unsent is no row: what is looked through is what there is to send.
                kept.bodies.push((!record.is_nothing()).then(|| encode_record(record)));
            }
        }
        Ok(kept)
    }

    fn values(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        vec![
            (&self.ledgers, Type::TEXT_ARRAY),
            (&self.versions, Type::INT8_ARRAY),
            (&self.places, Type::INT4_ARRAY),
            (&self.kinds, Type::INT2_ARRAY),
            (&self.keys, Type::BYTEA_ARRAY),
            (&self.ends, Type::INT8_ARRAY),
            (&self.bodies, Type::BYTEA_ARRAY),
        ]
    }
}

/// Keeps images; see [`tollgate_storage::Store::checkpoint`].
pub(crate) async fn checkpoint(database: &Database, images: &[Image]) -> Result<(), StoreError> {
    let kept = Kept::of(images)?;
    let values = kept.values();
    let statement = database.call("checkpoint", values.len());
    database.ask(&statement, &values, LONG_ANSWER_TIMEOUT).await.map(drop)
}

/// Keeps images, while some [incarnations](super::incarnations) hold; whether they did.
#[cfg(feature = "redis")]
pub(crate) async fn checkpoint_held(
    database: &Database,
    images: &[Image],
    held: &Held,
) -> Result<bool, StoreError> {
    let kept = Kept::of(images)?;
    let mut values = kept.values();
    let statement = held.call(database, "checkpoint", &mut values);
    let rows = database.ask(&statement, &values, LONG_ANSWER_TIMEOUT).await?;
    Ok(!rows.is_empty())
}

/// Forgets some of what is past its time; says whether there is more.
pub(crate) async fn sweep(database: &Database, keeping: Keeping) -> Result<bool, StoreError> {
    let statement = format!(
        "SELECT {0}.sweep(now() - make_interval(secs => $1::bigint::double precision), \
         extract(epoch FROM now())::bigint - $2, $3)",
        database.schema
    );
    let values: &super::database::Values<'_> =
        &[(&keeping.key_secs, Type::INT8), (&keeping.counter_secs, Type::INT8), (&SWEEP_ROWS, Type::INT4)];
    let rows = database.ask(&statement, values, LONG_ANSWER_TIMEOUT).await?;
    let swept: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(bad_column)?;
    Ok(swept >= i64::from(SWEEP_ROWS))
}
