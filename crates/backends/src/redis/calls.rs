//! The functions as they are called, and what they answer.

use redis::Value;
use tollgate_domain::{Entry, OrgId};
use tollgate_storage::StoreError;
use tollgate_storage::codec::decode;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::error::bad_answer;
use super::link::VERSION;
use super::servers::{Answer, Request, Servers};
use crate::postgres::SHARDS;
use crate::postgres::append::{KeyNote, Origin};
use crate::postgres::incarnations::{Cold, Incarnation};

/// The shard of an org.
pub(crate) fn shard_of(org: &OrgId) -> u16 {
    u16::try_from(xxh3_64(org.as_str().as_bytes()) % u64::from(SHARDS)).unwrap_or_default()
}

/// What is known of an org, or of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Another incarnation lives there, or none.
    Lost,
    /// Nothing.
    Absent,
    /// It is as a former incarnation left it.
    Former,
    /// It is as it should be.
    Known,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Done,
    Conflict,
    /// The database knows.
    Earlier,
    /// The org is not as it should be.
    Not(Found),
}

/// What became of settling an org.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    Known,
    Lost,
    /// The database lacks what it had.
    Behind,
}

/// An entry as it is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) origin: Origin,
    pub(crate) body: Vec<u8>,
}

impl Kept {
    pub(crate) fn entry(&self) -> Result<Entry, StoreError> {
        let damaged = |error: tollgate_storage::codec::DecodeError| {
            StoreError::new(error.kind(), format!("entry {} in Redis: {error}", self.number))
        };
        decode(&self.body).map_err(damaged)
    }
}

/// An org as it is there.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Up to which entry the database has all.
    pub(crate) base: u64,
    pub(crate) version: u64,
    /// The entries that were asked for.
    pub(crate) entries: Vec<Kept>,
}

/// What is known of a key: the entry that it made, and the number of the one that took it back.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyFound {
    pub(crate) made: Option<Vec<u8>>,
    pub(crate) reversed_by: Option<u64>,
}

/// Which entries are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) most: usize,
    pub(crate) is_newest_first: bool,
}

impl Span {
    pub(crate) const NOTHING: Self = Self { from: 0, until: 0, most: 0, is_newest_first: false };
    pub(crate) const ALL: Self = Self { most: usize::MAX, ..Self::oldest(0, usize::MAX) };

    pub(crate) const fn oldest(from: u64, most: usize) -> Self {
        Self { from, until: u64::MAX, most, is_newest_first: false }
    }

    pub(crate) const fn newest(until: u64, most: usize) -> Self {
        Self { from: 0, until, most, is_newest_first: true }
    }

    pub(crate) const fn one(number: u64) -> Self {
        Self { from: number, until: number, most: 1, is_newest_first: false }
    }
}

/// An append to an org.
#[derive(Debug)]
pub(crate) struct OrgAppend<'a> {
    pub(crate) org: &'a OrgId,
    pub(crate) call: Uuid,
    pub(crate) expected: u64,
    pub(crate) is_noticed: bool,
    pub(crate) keys: Vec<KeyNote>,
    pub(crate) bodies: Vec<Vec<u8>>,
}

impl Servers {
    fn request(&self, function: &str, shard: u16, org: Option<&OrgId>, number: u64) -> Request {
        let key = self.shard_key(shard);
        let mut command = redis::cmd("FCALL");
        command.arg(format!("tollgate_{function}_{}", *VERSION));
        match org {
            Some(org) => {
                command.arg(6).arg(&key).arg(format!("{key}:moving")).arg(format!("{key}:noticed"));
                for part in ["org", "tail", "keys"] {
                    command.arg(format!("{key}:{part}:{org}"));
                }
            }
            None => {
                command.arg(1).arg(&key);
            }
        }
        command.arg(number);
        Request { shard, command }
    }

    fn of_org(&self, function: &str, org: &OrgId, number: u64) -> Request {
        self.request(function, shard_of(org), Some(org), number)
    }

    /// Begins an incarnation.
    pub(crate) fn begin(&self, of: Incarnation) -> Request {
        self.request("begin", of.shard, None, of.number)
    }

    /// Whether an incarnation lives there.
    pub(crate) fn check(&self, of: Incarnation) -> Request {
        self.request("check", of.shard, None, of.number)
    }

    /// Takes an org into an incarnation.
    pub(crate) fn settle(&self, org: &OrgId, number: u64, cold: &Cold) -> Request {
        let mut request = self.of_org("settle", org, number);
        request.command.arg(org.as_str()).arg(cold.version).arg(&cold.latest);
        request
    }

    pub(crate) fn append(&self, number: u64, append: &OrgAppend<'_>) -> Request {
        let mut request = self.of_org("append", append.org, number);
        let command = request.command.arg(append.call.as_bytes()).arg(append.expected);
        command.arg(append.org.as_str()).arg(u8::from(append.is_noticed));
        command.arg(append.keys.len());
        for key in &append.keys {
            let text = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
            command
                .arg(key.hash.as_bytes())
                .arg(text(key.made.map(|(number, _)| number)))
                .arg(text(key.reversed_by));
        }
        for body in &append.bodies {
            command.arg(body);
        }
        request
    }

    /// What became of an append.
    pub(crate) fn ask_fate(&self, number: u64, append: &OrgAppend<'_>) -> Request {
        let mut request = self.of_org("ask", append.org, number);
        request.command.arg(append.call.as_bytes()).arg(append.expected);
        request
    }

    pub(crate) fn read(&self, org: &OrgId, number: u64, span: Span) -> Request {
        let mut request = self.of_org("read", org, number);
        let until = if span.until == u64::MAX { "+".to_owned() } else { span.until.to_string() };
        let order = if span.is_newest_first { "newest" } else { "oldest" };
        let most = span.most.min(usize::try_from(u32::MAX).unwrap_or(usize::MAX));
        request.command.arg(span.from).arg(until).arg(most).arg(order);
        request
    }

    pub(crate) fn find_keys(&self, org: &OrgId, number: u64, hashes: &[Uuid]) -> Request {
        let mut request = self.of_org("find", org, number);
        for hash in hashes {
            request.command.arg(hash.as_bytes());
        }
        request
    }

    /// Forgets entries that the database has.
    pub(crate) fn trim(&self, org: &OrgId, number: u64, until: u64, hashes: &[Uuid]) -> Request {
        let mut request = self.of_org("trim", org, number);
        request.command.arg(org.as_str()).arg(until);
        for hash in hashes {
            request.command.arg(hash.as_bytes());
        }
        request
    }

    /// Some of the orgs of a shard that have entries, or notices, that are only there; and where to go on.
    pub(crate) fn moving(&self, shard: u16, only_noticed: bool, cursor: u64) -> Request {
        let set = if only_noticed { "noticed" } else { "moving" };
        let mut command = redis::cmd("SSCAN");
        command.arg(format!("{}:{set}", self.shard_key(shard))).arg(cursor).arg("COUNT").arg(500);
        Request { shard, command }
    }
}

/// The word that an answer begins with.
fn word(value: &Value) -> &str {
    match value {
        Value::SimpleString(word) => word,
        Value::BulkString(word) => str::from_utf8(word).unwrap_or_default(),
        _ => "",
    }
}

fn found(value: &Value) -> Result<Found, StoreError> {
    match word(value) {
        "LOST" => Ok(Found::Lost),
        "ABSENT" => Ok(Found::Absent),
        "FORMER" => Ok(Found::Former),
        "KNOWN" => Ok(Found::Known),
        _ => Err(bad_answer()),
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(text) => str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

impl Answer {
    /// Of `check`.
    pub(crate) fn lives(&self) -> Result<bool, StoreError> {
        Ok(found(&self.value)? == Found::Known)
    }

    pub(crate) fn settled(&self) -> Result<Settled, StoreError> {
        match word(&self.value) {
            "KNOWN" => Ok(Settled::Known),
            "LOST" => Ok(Settled::Lost),
            "BEHIND" => Ok(Settled::Behind),
            _ => Err(bad_answer()),
        }
    }

    pub(crate) fn fate(&self) -> Result<Fate, StoreError> {
        match word(&self.value) {
            "DONE" => Ok(Fate::Done),
            "CONFLICT" => Ok(Fate::Conflict),
            "EARLIER" => Ok(Fate::Earlier),
            _ => found(&self.value).map(Fate::Not),
        }
    }

    /// The word, and what is behind it.
    fn parts(&self) -> Result<(Found, &[Value]), StoreError> {
        let Value::Array(parts) = &self.value else { return Err(bad_answer()) };
        let (first, rest) = parts.split_first().ok_or_else(bad_answer)?;
        Ok((found(first)?, rest))
    }

    /// What is known of the org or shard, whatever else is answered.
    pub(crate) fn found(&self) -> Result<Found, StoreError> {
        if let Value::Array(_) = self.value {
            self.parts().map(|(found, _)| found)
        } else {
            found(&self.value)
        }
    }

    /// Of `read`; `None`: the org is absent.
    pub(crate) fn tail(self) -> Result<Option<Tail>, StoreError> {
        let (found, parts) = self.parts()?;
        if found != Found::Known {
            return Ok(None);
        }
        let [base, version, entries @ ..] = parts else { return Err(bad_answer()) };
        let (base, version) = number(base).zip(number(version)).ok_or_else(bad_answer)?;
        let entries = entries.chunks(4).map(kept).collect::<Option<_>>().ok_or_else(bad_answer)?;
        Ok(Some(Tail { base, version, entries }))
    }

    /// Of `find`: as many as were asked for; none, where the org is absent.
    pub(crate) fn keys(self) -> Result<Vec<KeyFound>, StoreError> {
        let (_, parts) = self.parts()?;
        let key = |pair: &[Value]| {
            let [Value::BulkString(made), reversed_by] = pair else { return None };
            let made = (!made.is_empty()).then(|| made.clone());
            Some(KeyFound { made, reversed_by: number(reversed_by) })
        };
        parts.chunks(2).map(key).collect::<Option<_>>().ok_or_else(bad_answer)
    }

    /// Of a scan of a set: where it goes on, zero at the end, and orgs.
    pub(crate) fn orgs(self) -> Result<(u64, Vec<OrgId>), StoreError> {
        let (cursor, names): (u64, Vec<String>) =
            redis::from_redis_value(self.value).map_err(|_| bad_answer())?;
        let orgs =
            names.iter().map(|name| OrgId::new(name)).collect::<Result<_, _>>().map_err(|_| bad_answer())?;
        Ok((cursor, orgs))
    }
}

fn kept(parts: &[Value]) -> Option<Kept> {
    let [of, Value::BulkString(call), order, Value::BulkString(body)] = parts else { return None };
    let call = (!call.is_empty()).then(|| Uuid::from_slice(call).ok()).flatten();
    let order = i64::try_from(number(order)?).ok()?;
    Some(Kept { number: number(of)?, origin: Origin { call, order }, body: body.clone() })
}
