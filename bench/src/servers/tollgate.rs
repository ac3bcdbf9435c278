//! Tollgate itself: its release binary, as an operator would start it, with the embedded store.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Ask, Daemon, free_address, open, times_from_now};
use crate::Result;
use crate::client::{Crew, Next};
use crate::load::{GROUP, KEY, ORG, Template, USER, org_id};
use crate::pace::Pace;
use crate::wire::{Wire, http_answer};

/// The meter that the default catalog's plans allow.
pub(crate) const METER: &str = "reports";
/// The same meter and plan, counted by a property besides.
pub(crate) const CATALOG_OF_GROUPS: &str = r#"
[[meters]]
id = "reports"
name = "Reports"
unit = "report"
properties = ["model"]

[[plans]]
id = "ultimate"
name = "Ultimate"
allowances = [{ meter = "reports", amount = 1000 }]
"#;
/// A top-up and a per-user limit that do not run out in any benchmark.
const PLENTY: u64 = 1_000_000_000_000;

/// Starts the server, with a catalog if it is not the default; its data is in `folder/data`, which may hold data of an
/// earlier run.
pub(crate) fn start(server: &Path, folder: &Path, catalog: Option<&str>) -> Result<Daemon> {
    start_on(server, folder, &format!("embedded:{}", folder.join("data").display()), catalog)
}

/// Starts the server on a store, by its URL.
pub(crate) fn start_on(server: &Path, folder: &Path, store: &str, catalog: Option<&str>) -> Result<Daemon> {
    let address = free_address()?;
    let mut command = Command::new(server);
    command.args(["serve", "--listen", &address.to_string(), "--store", store]);
    if let Some(text) = catalog {
        let file = folder.join("catalog.toml");
        fs::write(&file, text)?;
        command.arg("--catalog").arg(file);
    }
    // A key in the environment would ask for credentials that the peers do not ask for either.
    command.env_remove("TOLLGATE_API_KEY");
    Daemon::start(command, folder.join("log"), address, |address| {
        call(address, "GET", "/ready", "").is_ok_and(|(status, _)| status == 200)
    })
}

/// Gives orgs `0..orgs` a plan and, if `plenty`, a top-up and a per-user limit that are never reached.
pub(crate) fn make_orgs(address: SocketAddr, orgs: u32, plenty: bool) -> Result<()> {
    let mut crew = Crew::connect(address, Wire::HttpSetup, 64, |_| Ok(()))?;
    each(&mut crew, orgs, "plan", &|org| {
        request("PUT", &format!("/v1/orgs/{}/plan", org_id(org)), r#"{"plan":"ultimate"}"#)
    })?;
    if plenty {
        let limit = format!(r#"{{"meter":"{METER}","scope":"user","window":"month","amount":{PLENTY}}}"#);
        each(&mut crew, orgs, "limit", &|org| {
            request("PUT", &format!("/v1/orgs/{}/limits", org_id(org)), &limit)
        })?;
        let top_up = format!(r#"{{"meter":"{METER}","amount":{PLENTY}}}"#);
        each(&mut crew, orgs, "top-up", &|org| {
            request("POST", &format!("/v1/orgs/{}/top-ups", org_id(org)), &top_up)
        })?;
    }
    Ok(())
}

/// Sends one request for each org.
pub(crate) fn each(
    crew: &mut Crew,
    orgs: u32,
    what: &str,
    request: &(dyn Fn(u32) -> Vec<u8> + Sync),
) -> Result<()> {
    let threads = u32::try_from(crew.threads())?;
    let streams = (0..threads).map(|thread| {
        let mut mine = (thread..orgs).step_by(crew.threads());
        let next: Next<'_> = Box::new(move |out| match mine.next() {
            Some(org) => {
                out.extend_from_slice(&request(org));
                true
            }
            None => false,
        });
        next
    });
    let streams = streams.collect();
    crew.run(streams, Pace::All { depth: 1 })?.all_yes(what)?;
    Ok(())
}

/// The gate call, or usage that has happened, so many records in a request.
pub(crate) fn template(ask: Ask) -> Result<Template> {
    match ask {
        Ask::Gate => {
            let body = format!(
                r#"{{"org":"o{ORG}","user":"u{USER}","meter":"{METER}","quantity":1,"key":"{KEY}"}}"#
            );
            Template::new(request("POST", "/v1/usage", &body))
        }
        Ask::Keep(usages) | Ask::Count(usages) => batch_template(usages, ""),
        Ask::CountGroups(usages) => {
            batch_template(usages, &format!(r#","properties":{{"model":"m{GROUP}"}}"#))
        }
    }
}

/// Records that have a line each.
fn batch_template(usages: usize, properties: &str) -> Result<Template> {
    let mut body = String::new();
    for time in times_from_now(usages)? {
        body.push_str(&format!(
            "{{\"org\":\"o{ORG}\",\"user\":\"u{USER}\",\"meter\":\"{METER}\",\"quantity\":1,\"key\":\"{KEY}\",\
             \"time\":\"{time}\"{properties}}}\n"
        ));
    }
    let length = body.len();
    let head = format!(
        "POST /v1/usage/batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n\
         content-length: {length}\r\n\r\n"
    );
    Template::of_many((head + &body).into_bytes(), usages)
}

/// What the org has used this month, by its balance.
pub(crate) fn used(address: SocketAddr, org: u32) -> Result<u64> {
    let (status, body) = call(address, "GET", &format!("/v1/orgs/{}/balance", org_id(org)), "")?;
    let balance: serde_json::Value = serde_json::from_str(&body)?;
    // Of credit and beyond it.
    let used = balance.pointer(&format!("/meters/{METER}/month"));
    let text = match used {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(number) => number.to_string(),
        None => return Err(format!("no used amount in the balance: {status} {body}").into()),
    };
    Ok(text.parse()?)
}

/// The number of the latest entry of an org.
pub(crate) fn last_entry(address: SocketAddr, org: u32) -> Result<u64> {
    let (status, body) = call(address, "GET", &format!("/v1/orgs/{}/ledger?limit=1", org_id(org)), "")?;
    let page: serde_json::Value = serde_json::from_str(&body)?;
    let entry = page.pointer("/entries/0/entry").and_then(serde_json::Value::as_u64);
    entry.ok_or_else(|| format!("no entry in the ledger: {status} {body}").into())
}

/// What the server has done so far besides answering.
#[derive(Debug, Default)]
pub(crate) struct Background {
    checkpoints: u64,
    segments: BTreeSet<PathBuf>,
    tables: BTreeSet<PathBuf>,
}

/// What it did between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    checkpoints: u64,
    segments_begun: u64,
    tables_written: u64,
    tables_gone: u64,
}

impl Background {
    /// Files that came and went between the two looks are not counted.
    pub(crate) fn since(&self, before: &Self) -> Work {
        let new = |now: &BTreeSet<PathBuf>, then| now.difference(then).map(|_| 1).sum();
        Work {
            checkpoints: self.checkpoints.saturating_sub(before.checkpoints),
            segments_begun: new(&self.segments, &before.segments),
            tables_written: new(&self.tables, &before.tables),
            tables_gone: new(&before.tables, &self.tables),
        }
    }
}

impl Work {
    /// How often what was done least often was done.
    pub(crate) fn least(self) -> u64 {
        self.checkpoints.min(self.segments_begun).min(self.tables_written).min(self.tables_gone)
    }

    /// So much of each.
    #[cfg(test)]
    pub(crate) const fn of_each(number: u64) -> Self {
        Self { checkpoints: number, segments_begun: number, tables_written: number, tables_gone: number }
    }
}

impl Display for Work {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { checkpoints, segments_begun, tables_written, tables_gone } = self;
        write!(
            f,
            "{checkpoints} checkpoints, {segments_begun} segments begun, {tables_written} table files "
        )?;
        write!(f, "written and {tables_gone} compacted away")
    }
}

/// Looks at the server's metrics and at the files of its store.
pub(crate) fn background(address: SocketAddr, folder: &Path) -> Result<Background> {
    let (_, metrics) = call(address, "GET", "/metrics", "")?;
    let name = "tollgate_store_checkpoint_seconds_count ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(name));
    let checkpoints = count.ok_or_else(|| format!("no {name}in the metrics"))?.trim().parse()?;
    let mut files = BTreeSet::new();
    add_files(&folder.join("data"), &mut files)?;
    let is_segment = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    // `tables/keyspaces/N/tables/M`; what else lies in the folder is the table engine's own bookkeeping.
    let is_table = |path: &&PathBuf| {
        let parts: Vec<_> = path.iter().rev().take(4).collect();
        matches!(parts.as_slice(), [_, tables, _, keyspaces] if *tables == "tables" && *keyspaces == "keyspaces")
    };
    let all = |is: &dyn Fn(&&PathBuf) -> bool| files.iter().filter(is).cloned().collect();
    Ok(Background { checkpoints, segments: all(&is_segment), tables: all(&is_table) })
}

fn add_files(folder: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            add_files(&entry.path(), found)?;
        } else {
            found.insert(entry.path());
        }
    }
    Ok(())
}

/// A request as it goes over the wire.
fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// One request on its own connection.
pub(crate) fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = open(address)?;
    stream.write_all(&request(method, path, body))?;
    let mut answer = Vec::new();
    let mut part = [0_u8; 4096];
    loop {
        if let Some(found) = http_answer(&answer)? {
            return Ok((found.status, String::from_utf8_lossy(found.body).into_owned()));
        }
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err(format!("{method} {path}: the server closed the connection").into());
        }
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_came_and_went_are_told_apart() {
        let set = |names: &[&str]| names.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
        let before = Background { checkpoints: 3, segments: set(&["1", "2"]), tables: set(&["a", "b"]) };
        let after = Background { checkpoints: 9, segments: set(&["2", "3"]), tables: set(&["b", "c", "d"]) };
        let work = Work { checkpoints: 6, segments_begun: 1, tables_written: 2, tables_gone: 1 };
        assert_eq!(after.since(&before), work);
        assert_eq!(work.least(), 1);
    }

    #[test]
    fn records_of_a_metered_property_have_a_group_each() {
        for ask in [Ask::Gate, Ask::Count(3), Ask::CountGroups(3)] {
            template(ask).unwrap();
        }
    }
}
