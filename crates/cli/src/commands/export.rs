//! `tollgate export`: the usage of ledgers as records that `tollgate import` takes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use clap::Args;
use serde::Serialize;
use tollgate_api::{Decimal, EntryItem, LedgerPage};
use tollgate_domain::{PRICED_AS, PRICED_BY};
use ureq::http::Method;

use super::Session;
use super::import::Format;
use crate::client::{Route, Sent};
use crate::failure::Failure;
use crate::output::read_reply;

/// Rows of a page: as many as the server gives.
const PAGE_ROWS: &str = "1000";

/// `tollgate export`
///
/// Reversed usage is left out, and so is which prices a call of a model was priced by: its quantity is what was charged.
/// Each organization in turn, newest first.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The organization.
    #[arg(long, required_unless_present = "all", conflicts_with = "all")]
    org: Option<String>,
    /// All organizations.
    #[arg(long)]
    all: bool,
    /// Output format; in CSV, properties are JSON in one column.
    #[arg(long, default_value = "ndjson")]
    format: Format,
}

/// A usage as `tollgate import` takes it.
#[derive(Serialize)]
struct Record<'a> {
    org: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    meter: &'a str,
    quantity: Decimal,
    key: &'a str,
    time: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<&'a str, &'a str>,
}

/// Runs `tollgate export`.
pub(crate) fn export(session: &mut Session, args: &ExportArgs) -> Result<(), Failure> {
    if args.format == Format::Csv {
        session.output.text("org,user,path,meter,quantity,key,time,properties")?;
    }
    if let Some(org) = &args.org {
        return export_org(session, org, args.format);
    }
    session.each_org(|session, org| export_org(session, org, args.format))
}

fn export_org(session: &mut Session, org: &str, format: Format) -> Result<(), Failure> {
    // Newest first: a reversal is met before what it took back.
    let mut taken_back = BTreeSet::new();
    let mut cursor: Option<String> = None;
    loop {
        let route = Route::v1(&["orgs", org, "ledger"])
            .with("limit", Some(PAGE_ROWS))
            .with("cursor", cursor.as_deref());
        let page: LedgerPage = read_reply(&session.ask(Method::GET, &route, &Sent::Nothing)?)?;
        let mut text = String::new();
        for entry in &page.entries {
            taken_back.extend(entry.reverses);
            if entry.kind == "used"
                && !taken_back.remove(&entry.entry)
                && let Some(record) = record(org, entry)
            {
                write_record(&mut text, &record, format)?;
            }
        }
        if !text.is_empty() {
            session.output.text(&text)?;
        }
        if page.next.is_none() {
            return Ok(());
        }
        cursor = page.next;
    }
}

fn record<'a>(org: &'a str, entry: &'a EntryItem) -> Option<Record<'a>> {
    // The server alone writes those: it takes them from nobody.
    let is_given = |name: &str| ![PRICED_BY, PRICED_AS].contains(&name);
    let properties = entry.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Some(Record {
        org,
        user: entry.user.as_deref(),
        path: entry.path.as_deref(),
        meter: entry.meter.as_deref()?,
        quantity: entry.quantity?,
        key: entry.key.as_deref()?,
        // At the gate the server's time counted, of what was recorded its own.
        time: entry.time.as_deref().filter(|_| entry.recorded).unwrap_or(&entry.at),
        properties: properties.filter(|(name, _)| is_given(name)).collect(),
    })
}

fn write_record(text: &mut String, record: &Record<'_>, format: Format) -> Result<(), Failure> {
    let json = |error: serde_json::Error| Failure::Other(error.to_string());
    match format {
        Format::Ndjson => text.push_str(&serde_json::to_string(record).map_err(json)?),
        Format::Csv => {
            let properties = if record.properties.is_empty() {
                String::new()
            } else {
                serde_json::to_string(&record.properties).map_err(json)?
            };
            let Decimal(quantity) = record.quantity;
            let mut writer =
                csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
            let fields = [
                record.org,
                record.user.unwrap_or_default(),
                record.path.unwrap_or_default(),
                record.meter,
                &quantity.to_string(),
                record.key,
                record.time,
                &properties,
            ];
            let written = writer.write_record(fields).map_err(io::Error::other);
            let row = written.and_then(|()| writer.into_inner().map_err(csv::IntoInnerError::into_error))?;
            text.push_str(String::from_utf8_lossy(&row).trim_end_matches('\n'));
        }
    }
    text.push('\n');
    Ok(())
}
