//! Which life of the Redis before this database is the current one, and what is done only while it is.
//!
//! Orgs are in shards. When a Redis may have lost something of a shard, its next incarnation begins here first: from then on
//! nothing of the former one comes in any more, for all that comes in holds the incarnation that it is of.

use tokio_postgres::types::{ToSql, Type};
use tollgate_storage::StoreError;
use uuid::Uuid;

use super::append::number;
use super::database::{Database, Values};
use super::error::{bad_column, unfit};
use super::limits::ANSWER_TIMEOUT;

/// Shards of the orgs, as the schema has them: a Redis Cluster has fewer primaries, and each has some.
pub(crate) const SHARDS: u16 = 128;

/// The incarnation of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Incarnation {
    pub(crate) shard: u16,
    pub(crate) number: u64,
}

/// Incarnations as columns.
#[derive(Debug)]
pub(crate) struct Held {
    shards: Vec<i16>,
    numbers: Vec<i64>,
}

impl Held {
    /// Of some incarnations, in the order given.
    fn in_order(incarnations: &[Incarnation]) -> Result<Self, StoreError> {
        let shards = incarnations.iter().map(|of| i16::try_from(of.shard).unwrap_or_default()).collect();
        let numbers = incarnations.iter().map(|of| number(of.number)).collect::<Result<_, _>>()?;
        Ok(Self { shards, numbers })
    }

    /// Of some incarnations, each once.
    pub(crate) fn of(incarnations: impl IntoIterator<Item = Incarnation>) -> Result<Self, StoreError> {
        let mut each: Vec<Incarnation> = incarnations.into_iter().collect();
        each.sort_unstable();
        each.dedup();
        Self::in_order(&each)
    }

    /// The statement that runs a function of the schema if the incarnations are the current ones, which they then stay until it
    /// is committed: no row otherwise.
    pub(crate) fn call<'v>(
        &'v self,
        database: &Database,
        function: &str,
        values: &mut Vec<(&'v (dyn ToSql + Sync), Type)>,
    ) -> String {
        let places: Vec<String> = (1..=values.len()).map(|place| format!("${place}")).collect();
        let (schema, places, next) = (&database.schema, places.join(", "), values.len() + 1);
        values.push((&self.shards, Type::INT2_ARRAY));
        values.push((&self.numbers, Type::INT8_ARRAY));
        format!(
            "SELECT {schema}.{function}({places}) FROM {schema}.hold(${next}, ${}) AS held WHERE held",
            next + 1
        )
    }
}

/// The current incarnation of every shard.
pub(crate) async fn current(database: &Database) -> Result<Vec<u64>, StoreError> {
    let statement = format!("SELECT number FROM {}.incarnations ORDER BY shard", database.schema);
    let rows = database.ask(&statement, &[], ANSWER_TIMEOUT).await?;
    if rows.len() != usize::from(SHARDS) {
        return Err(unfit(format!("the database has {} shards, not {SHARDS}", rows.len())));
    }
    let number = |row: &tokio_postgres::Row| row.try_get::<_, i64>(0).map(i64::unsigned_abs);
    rows.iter().map(number).collect::<Result<_, _>>().map_err(bad_column)
}

/// Begins the next incarnations after some, where they are still the current ones; gives those that are current then, and
/// whether they are of this maker.
pub(crate) async fn renew(
    database: &Database,
    former: &[Incarnation],
    maker: Uuid,
) -> Result<Vec<(Incarnation, bool)>, StoreError> {
    let held = Held::of(former.iter().copied())?;
    let values: &Values<'_> =
        &[(&held.shards, Type::INT2_ARRAY), (&held.numbers, Type::INT8_ARRAY), (&maker, Type::UUID)];
    let statement = database.call("renew", values.len());
    let rows = database.ask(&statement, values, ANSWER_TIMEOUT).await?;
    let renewed = |row: &tokio_postgres::Row| {
        let (shard, number, mine): (i16, i64, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok((Incarnation { shard: shard.unsigned_abs(), number: number.unsigned_abs() }, mine))
    };
    rows.iter().map(renewed).collect::<Result<_, _>>().map_err(bad_column)
}

/// How far the ledger of an org is here.
#[derive(Clone, Debug)]
pub(crate) struct Cold {
    pub(crate) version: u64,
    /// The bytes of its latest entry; empty before the first.
    pub(crate) latest: Vec<u8>,
}

/// How far ledgers are, each while the incarnation of its shard is the current one; `None`: it is not.
pub(crate) async fn versions_held(
    database: &Database,
    orgs: &[&str],
    incarnations: &[Incarnation],
) -> Result<Vec<Option<Cold>>, StoreError> {
    let held = Held::in_order(incarnations)?;
    let values: &Values<'_> =
        &[(&orgs, Type::TEXT_ARRAY), (&held.shards, Type::INT2_ARRAY), (&held.numbers, Type::INT8_ARRAY)];
    let statement = database.call("versions_held", values.len());
    let rows = database.ask(&statement, values, ANSWER_TIMEOUT).await?;
    let mut found = vec![None; orgs.len()];
    for row in rows {
        let place: i64 = row.try_get(0).map_err(bad_column)?;
        let place = usize::try_from(place).ok().and_then(|place| place.checked_sub(1));
        let Some(found) = place.and_then(|place| found.get_mut(place)) else { continue };
        let (version, latest): (i64, Option<Vec<u8>>) =
            (row.try_get(1).map_err(bad_column)?, row.try_get(2).map_err(bad_column)?);
        *found = Some(Cold { version: version.unsigned_abs(), latest: latest.unwrap_or_default() });
    }
    Ok(found)
}
