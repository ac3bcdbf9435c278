//! The schema of the store: made and brought up to date by migrations, each applied once, one process at a time.

use deadpool_postgres::Object;
use tollgate_storage::{ADVICE_ON_NEWER, StoreError};

use super::database::Database;
use super::error::{Failure, bad_column, unfit};
use super::limits::{ANSWER_TIMEOUT, SERVER_VERSION_MIN};

/// The migrations, in order; the first is number 1.
const MIGRATIONS: &[(&str, &str)] = &[
    ("ledgers", include_str!("migrations/0001_ledgers.sql")),
    ("views", include_str!("migrations/0002_views.sql")),
];

/// Refuses a server that would not keep what the store promises.
pub(crate) async fn check_server(database: &Database) -> Result<(), StoreError> {
    let statement = "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), \
                     current_setting('default_transaction_isolation')";
    let rows = database.ask(statement, &[], ANSWER_TIMEOUT).await?;
    let Some(row) = rows.first() else { return Err(unfit("the database does not say what it is")) };
    let version: i32 = row.try_get(0).map_err(bad_column)?;
    let (encoding, isolation): (&str, &str) =
        (row.try_get(1).map_err(bad_column)?, row.try_get(2).map_err(bad_column)?);
    if version < SERVER_VERSION_MIN {
        return Err(unfit(format!(
            "the server is PostgreSQL {}; {} or newer is needed",
            version / 10_000,
            SERVER_VERSION_MIN / 10_000
        )));
    }
    if encoding != "UTF8" {
        return Err(unfit(format!("the database is in {encoding}; it must be in UTF8")));
    }
    if isolation != "read committed" {
        let text = format!(
            "default_transaction_isolation is {isolation}; for the user of the store it must be read committed"
        );
        return Err(unfit(text));
    }
    Ok(())
}

/// Brings the schema up to date, or refuses one that is not.
pub(crate) async fn bring_up(database: &Database, migrate: bool) -> Result<(), StoreError> {
    let latest = MIGRATIONS.len();
    let found = version(database).await?;
    if found == latest {
        return Ok(());
    }
    if found > latest {
        return Err(newer(found));
    }
    if !migrate {
        let text = format!(
            "the schema is at migration {found} of {latest} and `migrate=off` was given; run `tollgate migrate`"
        );
        return Err(unfit(text));
    }
    let mut client = database.pool.get().await.map_err(|error| Failure::not_sent(error).error)?;
    let applied = apply(&mut client, &database.schema).await;
    if applied.is_err() {
        drop(Object::take(client));
    }
    applied
}

/// Ends the lives of a Redis that was before this database: what it holds is settled anew with what is here when it comes back.
pub(crate) async fn end_incarnations(database: &Database) -> Result<(), StoreError> {
    let statement =
        format!("UPDATE {}.incarnations SET number = number + 1 WHERE number > 0", database.schema);
    database.ask(&statement, &[], ANSWER_TIMEOUT).await.map(drop)
}

/// How many migrations were applied.
async fn version(database: &Database) -> Result<usize, StoreError> {
    let table = format!("{}.migrations", database.schema);
    let rows = database
        .ask(
            "SELECT to_regclass($1) IS NOT NULL",
            &[(&table, tokio_postgres::types::Type::TEXT)],
            ANSWER_TIMEOUT,
        )
        .await?;
    if !rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) {
        return Ok(0);
    }
    let rows = database.ask(&format!("SELECT count(*) FROM {table}"), &[], ANSWER_TIMEOUT).await?;
    let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(bad_column)?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Applies what is lacking, all or nothing, while no other process does.
async fn apply(client: &mut Object, schema: &str) -> Result<(), StoreError> {
    let failed = |error| Failure::answered(error).error;
    let transaction = client.transaction().await.map_err(failed)?;
    let lock = format!("SELECT pg_advisory_xact_lock(hashtextextended('tollgate {schema}', 0))");
    transaction.batch_execute(&lock).await.map_err(failed)?;
    // Who may not make schemas may use one that was made for it.
    let ready = format!(
        "DO $$ BEGIN IF to_regnamespace('{schema}') IS NULL THEN CREATE SCHEMA {schema}; END IF; END $$;
         SET LOCAL search_path TO {schema}, pg_temp;
         CREATE TABLE IF NOT EXISTS migrations (
             number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    );
    transaction.batch_execute(&ready).await.map_err(failed)?;
    let rows = transaction.query_typed("SELECT count(*) FROM migrations", &[]).await.map_err(failed)?;
    let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(bad_column)?;
    let applied = usize::try_from(count).unwrap_or(usize::MAX);
    if applied > MIGRATIONS.len() {
        return Err(newer(applied));
    }
    for (number, (name, statements)) in (1_usize..).zip(MIGRATIONS).skip(applied) {
        transaction.batch_execute(statements).await.map_err(failed)?;
        let note = format!("INSERT INTO migrations (number, name) VALUES ({number}, '{name}')");
        transaction.batch_execute(&note).await.map_err(failed)?;
        tracing::info!(number, name, schema, "a migration was applied");
    }
    transaction.commit().await.map_err(failed)
}

fn newer(found: usize) -> StoreError {
    let text = format!(
        "the schema is at migration {found}; this version of Tollgate knows {}: a newer one made it; {ADVICE_ON_NEWER}",
        MIGRATIONS.len()
    );
    unfit(text)
}
