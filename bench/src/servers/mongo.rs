//! MongoDB with the naive way: a document for each org, whose credit a conditional update takes down.
//!
//! Fairness: a replica set of one member, on the same disk for both, whose journal is synced every millisecond: who reads linearizably
//! waits for it, and who writes may, too. Every update is acknowledged by the majority and journaled, as Tollgate's writes are. It keeps the last user and key and no ledger, knows no key again, and asks
//! one rule; Tollgate asks all of them. It comes over the event loop of the others, as a command that was built beforehand.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::{Daemon, START_MAX, breathe, free_address, open};
use crate::Result;
use crate::args::Options;
use crate::load::{KEY, ORG, Template, USER, org_id};
use crate::wire::mongo_message;

/// Where `cargo xtask test` puts it, behind the folder that cargo builds in; the name of Python's version lies between.
const TOOLS: &str = "tools/mongod/lib";
const PROGRAM: &str = "site-packages/fiftyone/db/bin/mongod";

/// The name of the replica set.
pub(crate) const SET: &str = "rs0";

const DATABASE: &str = "by_hand";
const PLENTY: i64 = 1_000_000_000_000;

/// Finds the server's program.
pub(crate) fn program(options: &Options) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("TOLLGATE_MONGOD") {
        return Ok(named.into());
    }
    let pythons = fs::read_dir(options.folder.join(TOOLS)).into_iter().flatten().flatten();
    let found = pythons.map(|python| python.path().join(PROGRAM)).find(|program| program.is_file());
    let found = found.ok_or("mongod not found: `cargo xtask bench stores` fetches it")?;
    Ok(found.canonicalize()?)
}

pub(crate) fn start(options: &Options, folder: &Path) -> Result<Daemon> {
    let address = free_address()?;
    let data = folder.join("data");
    fs::create_dir(&data)?;
    let mut command = Command::new(program(options)?);
    command.args(["--replSet", SET, "--bind_ip", "127.0.0.1", "--port", &address.port().to_string()]);
    command.args(["--journalCommitInterval", "1", "--wiredTigerCacheSizeGB", "1", "--nounixsocket"]);
    command.arg("--dbpath").arg(data);
    let is_ready = |address| TcpStream::connect(address).is_ok();
    let daemon = Daemon::start(command, folder.join("log"), address, is_ready)?;
    let member = Bson::default().int("_id", 0).text("host", &address.to_string());
    let members = Bson::default().document("0", member);
    let set = Bson::default().text("_id", SET).array("members", members);
    ask(address, "admin", Bson::default().document("replSetInitiate", set))?;
    let deadline = Instant::now() + START_MAX;
    while !holds(&ask(address, "admin", Bson::default().int("hello", 1))?, b"\x08isWritablePrimary\0\x01") {
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
        ask(address, DATABASE, insert.document("writeConcern", concern()))?;
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
    Template::new(message(DATABASE, command.document("writeConcern", concern()))?)
}

/// What the org has used.
pub(crate) fn used(address: SocketAddr, org: u32) -> Result<u64> {
    let filter = Bson::default().text("_id", &org_id(org));
    let answer = ask(address, DATABASE, Bson::default().text("find", "orgs").document("filter", filter))?;
    let name = b"\x12spent\0";
    let at = answer.windows(name.len()).position(|window| window == name).ok_or("no such document")?;
    let value = answer.get(at + name.len()..).and_then(|rest| rest.first_chunk::<8>());
    Ok(u64::from_le_bytes(*value.ok_or("half a document")?))
}

/// Of the majority, and in its journal.
fn concern() -> Bson {
    Bson::default().text("w", "majority").flag("j", true)
}

/// A document as MongoDB writes it, as far as these commands need it.
#[derive(Debug, Default)]
struct Bson(Vec<u8>);

impl Bson {
    fn element(mut self, kind: u8, name: &str, value: &[u8]) -> Self {
        self.0.push(kind);
        self.0.extend([name.as_bytes(), b"\0", value].concat());
        self
    }

    fn int(self, name: &str, value: i32) -> Self {
        self.element(0x10, name, &value.to_le_bytes())
    }

    fn long(self, name: &str, value: i64) -> Self {
        self.element(0x12, name, &value.to_le_bytes())
    }

    fn flag(self, name: &str, value: bool) -> Self {
        self.element(0x08, name, &[u8::from(value)])
    }

    fn text(self, name: &str, value: &str) -> Self {
        let length = i32::try_from(value.len() + 1).unwrap_or(i32::MAX);
        self.element(0x02, name, &[&length.to_le_bytes(), value.as_bytes(), b"\0"].concat())
    }

    fn document(self, name: &str, value: Self) -> Self {
        self.element(0x03, name, &value.bytes())
    }

    fn array(self, name: &str, value: Self) -> Self {
        self.element(0x04, name, &value.bytes())
    }

    fn bytes(self) -> Vec<u8> {
        let length = i32::try_from(self.0.len() + 5).unwrap_or(i32::MAX);
        [&length.to_le_bytes(), self.0.as_slice(), b"\0"].concat()
    }
}

/// A command as it goes over the wire.
fn message(database: &str, command: Bson) -> Result<Vec<u8>> {
    const MESSAGE: i32 = 2_013;
    const HEAD_BYTES: usize = 16;
    // No flags, and a section of one document.
    let body = [&[0; 5], command.text("$db", database).bytes().as_slice()].concat();
    let length = i32::try_from(HEAD_BYTES + body.len())?;
    let head: Vec<u8> = [length, 1, 0, MESSAGE].iter().flat_map(|number| number.to_le_bytes()).collect();
    Ok([head, body].concat())
}

/// What the server answers to a command; it must have done it.
fn ask(address: SocketAddr, database: &str, command: Bson) -> Result<Vec<u8>> {
    let mut stream = open(address)?;
    stream.write_all(&message(database, command)?)?;
    let mut answer = Vec::new();
    let mut part = [0_u8; 4096];
    while mongo_message(&answer).is_none() {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err("mongod closed the connection".into());
        }
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
    }
    if holds(&answer, b"\x01ok\0\0\0\0\0\0\0\xf0\x3f") && !holds(&answer, b"\x04writeErrors\0") {
        return Ok(answer);
    }
    Err(format!("mongod: {}", String::from_utf8_lossy(&answer)).into())
}

fn holds(answer: &[u8], wanted: &[u8]) -> bool {
    answer.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_written_as_the_specification_says() {
        assert_eq!(
            Bson::default().text("hello", "world").bytes(),
            b"\x16\0\0\0\x02hello\0\x06\0\0\0world\0\0"
        );
        assert_eq!(
            Bson::default().int("a", 1).flag("b", true).bytes(),
            b"\x10\0\0\0\x10a\0\x01\0\0\0\x08b\0\x01\0"
        );
    }
}
