//! MongoDB with the naive way: a document for each org, whose credit a conditional update takes down.
//!
//! Fairness: a replica set of one member, on the same disk for both, whose journal is synced every millisecond: who reads linearizably
//! waits for it, and who writes may, too. Every update is acknowledged by the majority and journaled, as Tollgate's writes are. It keeps the last user and key and no ledger, knows no key again, and asks
//! one rule; Tollgate asks all of them. It comes over the event loop of the others, as a command that was built beforehand.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use tollgate_peers::mongo::{self, Bson, ask, message};

use super::{Daemon, START_MAX, breathe, free_address};
use crate::Result;
use crate::load::{KEY, ORG, Template, USER, org_id};

const DATABASE: &str = "by_hand";
const PLENTY: i64 = 1_000_000_000_000;

pub(crate) fn start(folder: &Path) -> Result<Daemon> {
    let address = free_address()?;
    let data = folder.join("data");
    fs::create_dir(&data)?;
    let mut command = Command::new(mongo::program()?);
    command.args(["--replSet", mongo::SET, "--bind_ip", "127.0.0.1", "--port", &address.port().to_string()]);
    command.args(["--journalCommitInterval", "1", "--wiredTigerCacheSizeGB", "1", "--nounixsocket"]);
    command.arg("--dbpath").arg(data);
    let is_ready = |address| TcpStream::connect(address).is_ok();
    let daemon = Daemon::start(command, folder.join("log"), address, is_ready)?;
    mongo::initiate(&[address.port()])?;
    let deadline = Instant::now() + START_MAX;
    while !mongo::is_primary(address.port()) {
        if Instant::now() > deadline {
            return Err("the replica set has no primary".into());
        }
        breathe();
    }
    Ok(daemon)
}

/// Makes the orgs; gives the update.
pub(crate) fn prepare(address: SocketAddr, orgs: u32) -> Result<Template> {
    let numbers: Vec<u32> = (0..orgs).collect();
    for some in numbers.chunks(1_000) {
        let documents = some.iter().zip(0_u32..).fold(Bson::default(), |documents, (org, place)| {
            let document = Bson::default().text("_id", &org_id(*org)).long("credit", PLENTY).long("spent", 0);
            documents.document(&place.to_string(), document)
        });
        let insert = Bson::default().text("insert", "orgs").array("documents", documents);
        ask(address.port(), DATABASE, insert.document("writeConcern", concern()))?;
    }
    let query =
        Bson::default().text("_id", &format!("o{ORG}")).document("credit", Bson::default().long("$gte", 1));
    let last = Bson::default().text("last_user", &format!("u{USER}")).text("last_key", KEY);
    let change = Bson::default()
        .document("$inc", Bson::default().long("credit", -1).long("spent", 1))
        .document("$set", last);
    let update = Bson::default().document("q", query).document("u", change);
    let updates = Bson::default().document("0", update);
    let command = Bson::default().text("update", "orgs").array("updates", updates);
    Template::new(message(DATABASE, command.document("writeConcern", concern())))
}

/// What the org has used.
pub(crate) fn used(address: SocketAddr, org: u32) -> Result<u64> {
    let filter = Bson::default().text("_id", &org_id(org));
    let answer =
        ask(address.port(), DATABASE, Bson::default().text("find", "orgs").document("filter", filter))?;
    let name = b"\x12spent\0";
    let at = answer.windows(name.len()).position(|window| window == name).ok_or("no such document")?;
    let value = answer.get(at + name.len()..).and_then(|rest| rest.first_chunk::<8>());
    Ok(u64::from_le_bytes(*value.ok_or("half a document")?))
}

/// Of the majority, and in its journal.
fn concern() -> Bson {
    Bson::default().text("w", "majority").flag("j", true)
}
