//! Tollgate itself: its release binary, as an operator would start it, with the embedded store.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Daemon, free_address, open, recent_times};
use crate::Result;
use crate::client::{Crew, Next, Pace};
use crate::load::{KEY, ORG, Template, USER, org_id};
use crate::wire::{Wire, http_answer};

/// The meter that the default catalog's plans allow.
pub(crate) const METER: &str = "reports";
/// A top-up and a per-user limit that do not run out in any benchmark.
const PLENTY: u64 = 1_000_000_000_000;

/// Starts the server; its data is in `folder/data`, which may hold data of an earlier run.
pub(crate) fn start(server: &Path, folder: &Path) -> Result<Daemon> {
    let address = free_address()?;
    let store = format!("embedded:{}", folder.join("data").display());
    let mut command = Command::new(server);
    command.args(["serve", "--listen", &address.to_string(), "--store", &store]);
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
fn each(crew: &mut Crew, orgs: u32, what: &str, request: &(dyn Fn(u32) -> Vec<u8> + Sync)) -> Result<()> {
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
    crew.run(streams, Pace::all(1))?.all_yes(what)?;
    Ok(())
}

/// The gate call.
pub(crate) fn template(meter: &str) -> Result<Template> {
    let body = format!(r#"{{"org":"o{ORG}","user":"u{USER}","meter":"{meter}","quantity":1,"key":"{KEY}"}}"#);
    Template::new(request("POST", "/v1/usage", &body))
}

/// Usage that has happened: so many records in a request, a line each, of the last ten minutes.
pub(crate) fn batch_template(usages: usize) -> Result<Template> {
    let mut body = String::new();
    for time in recent_times(usages)? {
        body.push_str(&format!(
            "{{\"org\":\"o{ORG}\",\"user\":\"u{USER}\",\"meter\":\"{METER}\",\"quantity\":1,\"key\":\"{KEY}\",\
             \"time\":\"{time}\"}}\n"
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
    let used = balance.pointer(&format!("/meters/{METER}/used"));
    let text = match used {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(number) => number.to_string(),
        None => return Err(format!("no used amount in the balance: {status} {body}").into()),
    };
    Ok(text.parse()?)
}

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// One request on its own connection.
fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
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
