//! What callers were told, what the ledger says, and how the two differ.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use crate::Result;
use crate::http::{Client, Reply};
use crate::load::METER;

/// Differences that are put into words; there may be more.
const DIFFERENCES_SHOWN_MAX: usize = 20;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A usage.
    Usage,
    /// A top-up.
    TopUp,
}

/// What a caller was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed and counted.
    Yes {
        /// The ledger entry that counted it.
        entry: u64,
        /// Whether it had been counted at an earlier sending.
        replayed: bool,
    },
    /// Not counted, with the code.
    No(String),
    /// Nothing, or that nobody knows.
    Unknown,
}

impl Verdict {
    /// What an answer says.
    pub fn of(reply: &Reply) -> Self {
        if reply.status == 200 {
            let body = reply.json().unwrap_or_default();
            let entry = body.get("entry").and_then(Value::as_u64).unwrap_or_default();
            let replayed = body.get("replayed").and_then(Value::as_bool).unwrap_or_default();
            return Self::Yes { entry, replayed };
        }
        match reply.text("code") {
            // The one refusal after which something may have been written.
            Some(code) if code == "store_failed" => Self::Unknown,
            Some(code) => Self::No(code),
            None => Self::No(format!("status {}", reply.status)),
        }
    }
}

/// One request of a caller, however often it was sent.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Which organization.
    pub org: String,
    /// Which of its users.
    pub user: Option<String>,
    /// Its key.
    pub key: String,
    /// What it asked.
    pub kind: Kind,
    /// How much.
    pub quantity: u64,
    /// What the caller was told in the end.
    pub verdict: Verdict,
    /// How often it was sent.
    pub sends: u32,
}

/// An entry of a ledger, as far as it is compared.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// Its number.
    pub entry: u64,
    /// What it is.
    pub kind: String,
    /// The caller's id.
    pub key: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// How much.
    pub quantity: Option<u64>,
    /// What was left after it.
    pub remaining: Option<u64>,
}

/// Every organization's ledger, oldest entry first.
pub type Books = BTreeMap<String, Vec<Entry>>;

/// Reads a list to its end, page by page.
///
/// # Errors
/// When a page is not there.
pub fn read_list(client: &mut Client, path: &str, member: &str) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let from = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let mut page = client.get(&format!("{path}{mark}limit=1000{from}"))?;
        match page.get_mut(member).map(Value::take) {
            Some(Value::Array(more)) => items.extend(more),
            _ => return Err(format!("{path}: a page without {member}").into()),
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(items),
        }
    }
}

/// Reads the ledger of an organization.
///
/// # Errors
/// When it cannot be read.
pub fn read_ledger(client: &mut Client, org: &str) -> Result<Vec<Entry>> {
    let items = read_list(client, &format!("/v1/orgs/{org}/ledger?order=oldest"), "entries")?;
    items.into_iter().map(|item| Ok(serde_json::from_value(item)?)).collect()
}

/// Reads the ledgers of all organizations.
///
/// # Errors
/// When they cannot be read.
pub fn read_books(client: &mut Client) -> Result<Books> {
    let orgs = read_list(client, "/v1/orgs", "orgs")?;
    let mut books = Books::new();
    for org in orgs {
        let id = org.get("org").and_then(Value::as_str).ok_or("an organization without an id")?;
        books.insert(id.to_owned(), read_ledger(client, id)?);
    }
    Ok(books)
}

/// Compares what callers were told with the ledgers: every yes is there exactly once and is that entry, no `no` is
/// there, what nobody knows is there at most once, and nothing is there that was not asked. Returns the differences.
pub fn compare(attempts: &[Attempt], books: &Books) -> Vec<String> {
    let mut differences = Vec::new();
    let mut counted: HashMap<(&str, &str), Vec<&Entry>> = HashMap::new();
    for (org, ledger) in books {
        for (entry, number) in ledger.iter().zip(1..) {
            if entry.entry != number {
                differences.push(format!("{org}: entry {} stands where {number} belongs", entry.entry));
            }
            if let ("used" | "topped_up", Some(key)) = (entry.kind.as_str(), &entry.key) {
                counted.entry((org, key)).or_default().push(entry);
            }
        }
    }
    for attempt in attempts {
        let found = counted.remove(&(attempt.org.as_str(), attempt.key.as_str())).unwrap_or_default();
        let right = match &attempt.verdict {
            Verdict::Yes { entry, .. } => found.len() == 1 && found.iter().all(|found| found.entry == *entry),
            Verdict::No(_) => found.is_empty(),
            Verdict::Unknown => found.len() <= 1,
        };
        let same = found.iter().all(|found| is_of(attempt, found));
        if !right || !same {
            differences.push(format!("{attempt:?} but the ledger has {found:?}"));
        }
    }
    // Set up by the test itself, not by a caller.
    counted.retain(|(_, key), _| *key != "wide");
    differences.extend(counted.iter().map(|(place, found)| format!("{place:?}: nobody asked for {found:?}")));
    let count = differences.len();
    differences.truncate(DIFFERENCES_SHOWN_MAX);
    if count > DIFFERENCES_SHOWN_MAX {
        differences.push(format!("… {count} in all"));
    }
    differences
}

fn is_of(attempt: &Attempt, entry: &Entry) -> bool {
    let kind = match attempt.kind {
        Kind::Usage => "used",
        Kind::TopUp => "topped_up",
    };
    let user = attempt.kind == Kind::TopUp || entry.user == attempt.user;
    entry.kind == kind && user && entry.quantity == Some(attempt.quantity)
}

/// The rules that a tight organization was given.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What its plan allows a month.
    pub allowance: u64,
    /// What each user may use a month, if limited.
    pub each_user: Option<u64>,
    /// Whether one clock decided. Of several servers one may stamp a usage a moment before a top-up that another one has
    /// appended already: it is not in force for it yet.
    pub one_clock: bool,
}

/// Goes through a ledger: at no entry may more have been used than was granted up to there, by the organization or by
/// one of its users. Returns what was broken.
pub fn overshoot(org: &str, ledger: &[Entry], rules: Rules) -> Vec<String> {
    let (mut granted, mut used, mut broken) = (rules.allowance, 0, Vec::new());
    let mut by_user: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in ledger {
        let quantity = entry.quantity.unwrap_or_default();
        match entry.kind.as_str() {
            "topped_up" => granted += quantity,
            "used" => {
                used += quantity;
                let of_user = by_user.entry(entry.user.as_deref().unwrap_or_default()).or_default();
                *of_user += quantity;
                if used > granted || rules.each_user.is_some_and(|most| *of_user > most) {
                    broken.push(format!(
                        "{org}: entry {} is more than {rules:?} allow: {entry:?}",
                        entry.entry
                    ));
                }
                let left = granted.checked_sub(used);
                let is_right =
                    if rules.one_clock { entry.remaining == left } else { entry.remaining <= left };
                if !is_right {
                    broken.push(format!("{org}: {granted} granted, {used} used, but {entry:?}"));
                }
            }
            _ => {}
        }
    }
    broken
}

/// Whether the balance of an organization and its users' counters are the sums of its ledger. Returns what is not.
///
/// # Errors
/// When they cannot be read.
pub fn unbalanced(client: &mut Client, org: &str, ledger: &[Entry], allowance: u64) -> Result<Vec<String>> {
    let sum = |kind: &str| -> u64 {
        ledger.iter().filter(|entry| entry.kind == kind).filter_map(|entry| entry.quantity).sum()
    };
    let (used, topped_up) = (sum("used"), sum("topped_up"));
    let balance = client.get(&format!("/v1/orgs/{org}/balance"))?;
    let line = balance.pointer(&format!("/meters/{METER}")).ok_or("a balance without the meter")?;
    let wanted = [
        ("used", used),
        ("month", used),
        ("lifetime", used),
        ("topped_up", topped_up),
        ("allowance", allowance),
        ("remaining", (allowance + topped_up).saturating_sub(used)),
    ];
    let mut broken = Vec::new();
    for (member, wanted) in wanted {
        if line.get(member).and_then(Value::as_u64) != Some(wanted) {
            broken.push(format!("{org}: {member} should be {wanted}: {line}"));
        }
    }
    let mut by_user: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in ledger.iter().filter(|entry| entry.kind == "used") {
        if let Some(user) = &entry.user {
            *by_user.entry(user).or_default() += entry.quantity.unwrap_or_default();
        }
    }
    let users = read_list(client, &format!("/v1/orgs/{org}/users?meter={METER}"), "users")?;
    let told: BTreeMap<&str, u64> = (users.iter())
        .filter_map(|item| Some((item.get("user")?.as_str()?, item.get("used")?.as_u64()?)))
        .filter(|(_, used)| *used > 0)
        .collect();
    if told != by_user {
        broken.push(format!("{org}: the users' counters {told:?} are not what the ledger says {by_user:?}"));
    }
    Ok(broken)
}

/// How many of the attempts were told what.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Allowed and counted.
    pub yes: usize,
    /// Of these: counted at a sending whose answer was lost, and answered the same again.
    pub replayed: usize,
    /// Never answered.
    pub unknown: usize,
    /// Not counted, by code.
    pub no: BTreeMap<String, usize>,
}

impl Tally {
    /// Counts.
    pub fn of(attempts: &[Attempt]) -> Self {
        let mut tally = Self::default();
        for attempt in attempts {
            match &attempt.verdict {
                Verdict::Yes { replayed, .. } => {
                    tally.yes += 1;
                    tally.replayed += usize::from(*replayed);
                }
                Verdict::No(code) => *tally.no.entry(code.clone()).or_default() += 1,
                Verdict::Unknown => tally.unknown += 1,
            }
        }
        tally
    }

    /// How many were refused with a code.
    pub fn refused(&self, code: &str) -> usize {
        self.no.get(code).copied().unwrap_or_default()
    }
}
