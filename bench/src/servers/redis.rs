//! Redis with the same rules in one Lua script (`peers/usage.lua`).
//!
//! Fairness: `appendfsync always` writes and syncs the append-only file once for each turn of its event loop before the
//! answers of that turn leave, so Redis groups its commits as Tollgate does. Snapshots and rewrites of the append-only file
//! are off, which spares Redis work that a long-lived instance would do. The script is called by its digest. Redis keeps
//! no ledger of single usages beyond the append-only file; Tollgate does, which is to Redis' advantage.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Daemon, free_address, open};
use crate::Result;
use crate::load::{KEY, ORG, Template, USER, org_id};
use crate::wire::resp_len;

const SCRIPT: &str = include_str!("../../peers/usage.lua");
/// 35 days, as long as Tollgate remembers a key.
const KEY_TTL_SECS: &str = "3024000";

pub(crate) fn start(folder: &Path) -> Result<Daemon> {
    let address = free_address()?;
    let mut command = Command::new("redis-server");
    command.args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]);
    command.args(["--maxclients", "12000", "--dir"]).arg(folder);
    Daemon::start(command, folder.join("log"), address, |address| {
        call(address, &["PING"]).is_ok_and(|answer| answer.starts_with("+PONG"))
    })
}

/// Makes the orgs and loads the script; gives the gate call.
pub(crate) fn prepare(address: SocketAddr, orgs: u32) -> Result<Template> {
    let numbers: Vec<u32> = (0..orgs).collect();
    for some in numbers.chunks(1000) {
        let mut stream = open(address)?;
        let mut commands = Vec::new();
        for org in some {
            let org = org_id(*org);
            let (plan, month) = (format!("{{{org}}}"), format!("{{{org}}}:month"));
            let limits = ["allowance", "1000", "user_limit", "1000000000000"];
            commands.extend(command(&[&["HSET", plan.as_str()], limits.as_slice()].concat()));
            commands.extend(command(&["HSET", &month, "top_up", "1000000000000"]));
        }
        stream.write_all(&commands)?;
        for answer in read_answers(&mut stream, some.len() * 2)? {
            if !answer.starts_with(':') {
                return Err(format!("HSET: {answer}").into());
            }
        }
    }
    let digest = call(address, &["SCRIPT", "LOAD", SCRIPT])?;
    let digest = digest.lines().nth(1).ok_or_else(|| format!("SCRIPT LOAD: {digest}"))?;
    // All keys of an org share a hash tag, as they would have to in a cluster; a client names the month's counters
    // itself, as is usual, which spares the script the look at the clock.
    let keys = [format!("{{o{ORG}}}"), format!("{{o{ORG}}}:month"), format!("{{o{ORG}}}:key:{KEY}")];
    let [plan, month, key] = keys.each_ref().map(String::as_str);
    let user = format!("u{USER}");
    Template::new(command(&["EVALSHA", digest, "3", plan, month, key, &user, "1", KEY_TTL_SECS]))
}

/// What the org has used this month.
pub(crate) fn used(address: SocketAddr, org: u32) -> Result<u64> {
    let answer = call(address, &["HGET", &format!("{{{}}}:month", org_id(org)), "used"])?;
    let used = answer.lines().nth(1).ok_or_else(|| format!("HGET: {answer}"))?;
    Ok(used.parse()?)
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

fn call(address: SocketAddr, words: &[&str]) -> Result<String> {
    let mut stream = open(address)?;
    stream.write_all(&command(words))?;
    let answers = read_answers(&mut stream, 1)?;
    Ok(answers.into_iter().next().unwrap_or_default())
}

fn read_answers(stream: &mut impl Read, count: usize) -> Result<Vec<String>> {
    let mut bytes = Vec::new();
    let mut answers = Vec::new();
    let mut part = [0_u8; 4096];
    while answers.len() < count {
        if let Some(len) = resp_len(&bytes) {
            answers.push(String::from_utf8_lossy(bytes.get(..len).unwrap_or_default()).into_owned());
            bytes.drain(..len);
            continue;
        }
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err("redis closed the connection".into());
        }
        bytes.extend_from_slice(part.get(..read).unwrap_or_default());
    }
    Ok(answers)
}
