//! DynamoDB Local with the naive way: an item for each org, whose credit a conditional update takes down.
//!
//! Fairness: an update keeps the last user and key and no ledger, knows no key again, and asks one rule; Tollgate asks all of them.
//! The server keeps everything in memory, for Tollgate too, so that the disk counts for neither. It checks no signature, so the
//! load generator makes none; the store's requests are signed. The ratio is one of requests: what DynamoDB itself takes is
//! milliseconds, and paid by the write unit.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tollgate::each;
use super::{Daemon, free_address, open};
use crate::Result;
use crate::args::Options;
use crate::client::Crew;
use crate::load::{KEY, ORG, Template, USER, org_id};
use crate::wire::{Wire, http_answer};

/// Where `cargo xtask test` puts it, behind the folder that cargo builds in.
const TOOLS: &str = "tools/dynamodb-local/package/emulator";
const TABLE: &str = "by-hand";
const PLENTY: u64 = 1_000_000_000_000;

pub(crate) fn start(options: &Options, folder: &Path) -> Result<Daemon> {
    let named = std::env::var_os("TOLLGATE_DYNAMODB").map(PathBuf::from);
    let program = named.unwrap_or_else(|| options.folder.join(TOOLS));
    if !program.join("DynamoDBLocal.jar").exists() {
        let place = program.display();
        return Err(format!("no DynamoDB Local at {place}: `cargo xtask bench stores` fetches it").into());
    }
    let address = free_address()?;
    let mut command = Command::new("java");
    command.args(["-Xmx1g", "-XX:+UseSerialGC", "-Djava.library.path=DynamoDBLocal_lib", "-jar"]);
    command.args(["DynamoDBLocal.jar", "-inMemory", "-sharedDb", "-port", &address.port().to_string()]);
    command.current_dir(program);
    Daemon::start(command, folder.join("log"), address, |address| TcpStream::connect(address).is_ok())
}

/// Makes the table and the orgs; gives the update.
pub(crate) fn prepare(address: SocketAddr, orgs: u32) -> Result<Template> {
    let table = format!(
        r#"{{"TableName":"{TABLE}","BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{{"AttributeName":"org","AttributeType":"S"}}],"KeySchema":[{{"AttributeName":"org","KeyType":"HASH"}}]}}"#
    );
    call(address, "CreateTable", &table)?;
    let mut crew = Crew::connect(address, Wire::HttpSetup, 64, |_| Ok(()))?;
    each(&mut crew, orgs, "item", &|org| {
        let org = org_id(org);
        let item = format!(
            r#"{{"TableName":"{TABLE}","Item":{{"org":{{"S":"{org}"}},"spent":{{"N":"0"}},"credit":{{"N":"{PLENTY}"}}}}}}"#
        );
        request("PutItem", &item)
    })?;
    let update = format!(
        r#"{{"TableName":"{TABLE}","Key":{{"org":{{"S":"o{ORG}"}}}},"UpdateExpression":"SET spent = spent + :one, credit = credit - :one, last_user = :by, last_key = :key","ConditionExpression":"credit >= :one","ExpressionAttributeValues":{{":one":{{"N":"1"}},":by":{{"S":"u{USER}"}},":key":{{"S":"{KEY}"}}}}}}"#
    );
    Template::new(request("UpdateItem", &update))
}

/// What the org has used.
pub(crate) fn used(address: SocketAddr, org: u32) -> Result<u64> {
    let org = org_id(org);
    let get = format!(r#"{{"TableName":"{TABLE}","ConsistentRead":true,"Key":{{"org":{{"S":"{org}"}}}}}}"#);
    let body = call(address, "GetItem", &get)?;
    let item: serde_json::Value = serde_json::from_str(&body)?;
    let spent = item.pointer("/Item/spent/N").and_then(serde_json::Value::as_str);
    Ok(spent.ok_or_else(|| format!("no item: {body}"))?.parse()?)
}

fn request(operation: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-amz-json-1.0\r\n\
         x-amz-target: DynamoDB_20120810.{operation}\r\nx-amz-date: 20260101T000000Z\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/dynamodb/aws4_request, \
         SignedHeaders=host;x-amz-date;x-amz-target, Signature=00\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn call(address: SocketAddr, operation: &str, body: &str) -> Result<String> {
    let mut stream = open(address)?;
    stream.write_all(&request(operation, body))?;
    let mut answer = Vec::new();
    let mut part = [0_u8; 4096];
    loop {
        if let Some(found) = http_answer(&answer)? {
            let text = String::from_utf8_lossy(found.body).into_owned();
            let is_well = found.status == 200;
            return if is_well {
                Ok(text)
            } else {
                Err(format!("{operation}: {} {text}", found.status).into())
            };
        }
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err(format!("{operation}: the server closed the connection").into());
        }
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
    }
}
