//! The month a second time: SQLite adds up the lines of the files, in whole billionths.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use chrono::{DateTime, TimeZone};
use rusqlite::{Connection, params};
use serde::Deserialize;
use tollgate_e2e::Result;

use super::world::Org;

/// Billionths of a unit.
pub(super) type Nanos = i64;

/// First moments of months in every zone, and what each usage is counted as.
const SCHEMA: &str = "
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE orgs (id TEXT PRIMARY KEY, zone TEXT NOT NULL);
    CREATE TABLE stretches (org TEXT, stretch INTEGER, from_millis INTEGER, until_millis INTEGER);
    CREATE TABLE months (zone TEXT, month TEXT, from_millis INTEGER, until_millis INTEGER);
    CREATE TABLE lines (org TEXT, user TEXT, meter TEXT, key TEXT, at_millis INTEGER, nanos INTEGER, model TEXT, region TEXT);
    CREATE TABLE sums (org TEXT, month TEXT, stretch INTEGER, meter TEXT, user TEXT, model TEXT, region TEXT, nanos INTEGER);
    CREATE INDEX sums_of_org ON sums (org);";

/// Of each key of an org only the first line counts; calls count 1 each.
const ADD_UP: &str = "
    DELETE FROM sums;
    INSERT INTO sums
    SELECT lines.org, month, stretch, meter, user, model, region, sum(CASE meter WHEN 'calls' THEN 1000000000 ELSE nanos END)
    FROM lines JOIN orgs ON orgs.id = lines.org
    JOIN stretches ON stretches.org = lines.org AND at_millis >= stretches.from_millis AND at_millis < stretches.until_millis
    JOIN months ON months.zone = orgs.zone AND at_millis >= months.from_millis AND at_millis < months.until_millis
    WHERE lines.rowid IN (SELECT min(rowid) FROM lines GROUP BY org, key)
    GROUP BY lines.org, month, stretch, meter, user, model, region;";

const COUNT: &str = "
    SELECT (SELECT count(*) FROM lines), (SELECT count(*) FROM (SELECT DISTINCT org, key FROM lines))";

/// The months that usage may be in.
pub(super) const MONTHS: [&str; 3] = ["2026-09", "2026-10", "2026-11"];

/// A record of a file, as far as it counts.
#[derive(Deserialize)]
struct Line {
    org: String,
    user: Option<String>,
    meter: String,
    key: String,
    time: String,
    quantity: Option<Quantity>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

/// The file has whole numbers, or texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Quantity {
    Whole(u32),
    Text(String),
}

/// One sum of an org.
#[derive(Debug)]
pub(super) struct Sum {
    pub(super) month: String,
    /// Which of the org's plans in time.
    pub(super) stretch: usize,
    pub(super) meter: String,
    pub(super) user: Option<String>,
    pub(super) model: Option<String>,
    pub(super) region: Option<String>,
    pub(super) nanos: Nanos,
}

/// The database.
pub(super) struct Sums(Connection);

impl Sums {
    pub(super) fn new(path: &Path, orgs: &[Org]) -> Result<Self> {
        let mut database = Connection::open(path)?;
        database.execute_batch(SCHEMA)?;
        let writing = database.transaction()?;
        for org in orgs {
            writing.execute("INSERT INTO orgs VALUES (?1, ?2)", params![org.id, org.zone])?;
            for (number, stretch) in (0_i64..).zip(org.stretches()) {
                let values = params![org.id, number, stretch.from_millis, stretch.until_millis];
                writing.execute("INSERT INTO stretches VALUES (?1, ?2, ?3, ?4)", values)?;
            }
        }
        let mut zones: Vec<_> = orgs.iter().map(|org| org.zone).collect();
        zones.sort_unstable();
        zones.dedup();
        for zone in zones {
            for (month, number) in MONTHS.into_iter().zip(9..) {
                let bounds = params![zone, month, month_start(zone, number)?, month_start(zone, number + 1)?];
                writing.execute("INSERT INTO months VALUES (?1, ?2, ?3, ?4)", bounds)?;
            }
        }
        writing.commit()?;
        Ok(Self(database))
    }

    /// Adds the lines of a file, and adds all up anew.
    pub(super) fn take(&mut self, path: &Path) -> Result<()> {
        let writing = self.0.transaction()?;
        let mut insert = writing.prepare("INSERT INTO lines VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        for line in BufReader::new(File::open(path)?).lines() {
            let Line { org, user, meter, key, time, quantity, properties } = serde_json::from_str(&line?)?;
            let at = DateTime::parse_from_rfc3339(&time)?.timestamp_millis();
            let nanos = match quantity {
                None => 1_000_000_000,
                Some(Quantity::Whole(whole)) => i64::from(whole) * 1_000_000_000,
                Some(Quantity::Text(text)) => nanos(&text)?,
            };
            let (model, region) = (properties.get("model"), properties.get("region"));
            insert.execute(params![org, user, meter, key, at, nanos, model, region])?;
        }
        drop(insert);
        writing.execute_batch(ADD_UP)?;
        Ok(writing.commit()?)
    }

    /// All sums of an org.
    pub(super) fn of(&self, org: &str) -> Result<Vec<Sum>> {
        let mut select = self
            .0
            .prepare("SELECT month, stretch, meter, user, model, region, nanos FROM sums WHERE org = ?1")?;
        let sums = select.query_map([org], |row| {
            Ok(Sum {
                month: row.get(0)?,
                stretch: usize::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
                meter: row.get(2)?,
                user: row.get(3)?,
                model: row.get(4)?,
                region: row.get(5)?,
                nanos: row.get(6)?,
            })
        })?;
        Ok(sums.collect::<rusqlite::Result<_>>()?)
    }

    /// Lines, and how many keys there are among them.
    pub(super) fn lines_and_keys(&self) -> Result<(u64, u64)> {
        let count = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let (lines, keys) = self.0.query_row(COUNT, [], count)?;
        Ok((u64::try_from(lines)?, u64::try_from(keys)?))
    }
}

/// A decimal in billionths, by its digits.
pub(super) fn nanos(text: &str) -> Result<Nanos> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 {
        return Err(format!("{text} has more than nine decimals").into());
    }
    Ok(format!("{whole}{fraction:0<9}").parse()?)
}

/// The first moment of a month of 2026, in milliseconds since 1970; no zone here skips that midnight.
fn month_start(zone: &str, month: u32) -> Result<i64> {
    let zone: chrono_tz::Tz = zone.parse().map_err(|error| format!("{zone}: {error}"))?;
    let start =
        zone.with_ymd_and_hms(2026, month, 1, 0, 0, 0).earliest().ok_or("a month without a midnight")?;
    Ok(start.timestamp_millis())
}
