//! A made-up month: organizations in several zones, and their usage as lines of a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use chrono::{Days, NaiveDate, TimeZone};
use fastrand::Rng;
use serde_json::{Map, Value, json};
use tollgate_e2e::{Result, Server};

/// 2026-09-28: the orgs are made and get their plans.
pub(super) const BEGIN_SECS: i64 = 1_790_596_800;
/// 2026-09-30: the earliest usage; October begins on it in the easternmost zone.
const FIRST_SECS: i64 = 1_790_726_400;
/// 2026-11-02: no usage is later; October ended on the day before in the westernmost zone.
const LAST_SECS: i64 = 1_793_577_600;
/// 2026-11-03T12:00Z: the usage is recorded. September's last day is not yet 35 days back.
pub(super) const RECORD_SECS: i64 = 1_793_707_200;

/// Clocks change within October in Berlin and on Lord Howe.
const ZONES: [&str; 7] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
];

/// What is counted and what it costs; `money.rs` says the same a second time.
const CATALOG: &str = r#"
meters = [
    { id = "tokens", name = "Tokens", unit = "token", properties = ["model", "region"] },
    { id = "calls", name = "Calls", unit = "call", aggregation = "count" },
    { id = "storage", name = "Storage", unit = "gigabyte-hour" },
    { id = "reports", name = "Reports", unit = "report" },
]

[[plans]]
id = "team"
name = "Team"
currency = "USD"
allowances = [
    { meter = "tokens", amount = 0, enforcement = "none" },
    { meter = "calls", amount = 0, enforcement = "none" },
    { meter = "storage", amount = 0, enforcement = "none" },
    { meter = "reports", amount = 100, enforcement = "soft" },
]
prices = [
    { model = "flat", flat_fee = 49 },
    { meter = "tokens", where = { model = "large" }, model = "per_unit", unit_price = "0.000015" },
    { meter = "tokens", where = { model = "large", region = "eu" }, model = "per_unit", unit_price = "0.0000185", discount_percent = 10 },
    { meter = "tokens", model = "per_unit", unit_price = "0.0000004", included = 100000 },
    { meter = "calls", model = "volume", tiers = [{ up_to = 100, unit_price = "0.01" }, { up_to = 2000, unit_price = "0.008", flat_fee = 5 }, { unit_price = "0.005" }] },
    { meter = "storage", model = "graduated", included = 10, maximum = 500, tiers = [{ up_to = 100, unit_price = "0.1", flat_fee = 1 }, { unit_price = "0.0700005" }] },
    { meter = "reports", quantity = "overage", model = "package", package_size = 10, package_price = 5 },
]

[[plans]]
id = "plus"
name = "Plus"
currency = "USD"
allowances = [
    { meter = "tokens", amount = 0, enforcement = "none" },
    { meter = "calls", amount = 0, enforcement = "none" },
    { meter = "storage", amount = 0, enforcement = "none" },
]
prices = [
    { model = "flat", flat_fee = 149, discount_percent = 5 },
    { meter = "tokens", model = "per_unit", unit_price = "0.00001" },
    { meter = "calls", model = "package", package_size = 50, package_price = 1, minimum = 6, maximum = 60 },
    { meter = "storage", model = "graduated", tiers = [{ up_to = 50, unit_price = "0.09" }, { unit_price = "0.05" }] },
]

[[plans]]
id = "solo"
name = "Solo"
currency = "JPY"
allowances = [
    { meter = "tokens", amount = 0, enforcement = "none" },
    { meter = "storage", amount = 0, enforcement = "none" },
]
prices = [
    { meter = "tokens", model = "per_unit", unit_price = "0.0031", minimum = 300 },
    { meter = "storage", model = "per_unit", unit_price = "1.5" },
    { meter = "reports", model = "package", package_size = 100, package_price = 1200 },
]
"#;

/// An organization.
#[derive(Clone, Debug)]
pub(super) struct Org {
    pub(super) id: String,
    pub(super) zone: &'static str,
    pub(super) first: Plan,
    pub(super) change: Option<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Team,
    Plus,
    Solo,
}

/// A change of plan that is scheduled when the org is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// To plus, with the first moment of 12 October.
    PlusOnTheTwelfth,
    /// To plus, in the middle of a day.
    PlusAtThree,
    /// Down from plus to team, with the first moment of 2 October.
    TeamOnTheSecond,
    /// To plus, with the next month.
    PlusNextMonth,
    /// Leaves, with the first moment of 20 October.
    LeavesOnTheTwentieth,
}

/// 2026-10-25T15:00Z, the day on which clocks change in Berlin.
const AT_THREE_SECS: i64 = 1_792_940_400;

/// A stretch of time under one plan, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) plan: Option<Plan>,
    pub(super) from_millis: i64,
    pub(super) until_millis: i64,
}

pub(super) fn orgs(count: usize) -> Vec<Org> {
    let changes = [
        None,
        Some(Change::PlusOnTheTwelfth),
        Some(Change::PlusAtThree),
        Some(Change::TeamOnTheSecond),
        Some(Change::PlusNextMonth),
        Some(Change::LeavesOnTheTwentieth),
    ];
    let org = |number: usize| {
        let (first, change) = match number % 3 {
            0 => (Plan::Solo, changes[5].filter(|_| number.is_multiple_of(4))),
            _ => match changes[(number / 3) % changes.len()] {
                Some(Change::TeamOnTheSecond) => (Plan::Plus, Some(Change::TeamOnTheSecond)),
                change => (Plan::Team, change),
            },
        };
        Org { id: format!("org-{number}"), zone: ZONES[number % ZONES.len()], first, change }
    };
    (0..count).map(org).collect()
}

impl Org {
    fn tz(&self) -> chrono_tz::Tz {
        self.zone.parse().expect("a zone")
    }

    /// The first moment of a day, in milliseconds since 1970; no zone here skips that midnight.
    fn starts(&self, date: NaiveDate) -> i64 {
        let midnight = date.and_hms_opt(0, 0, 0).expect("midnight");
        self.tz().from_local_datetime(&midnight).earliest().expect("a midnight").timestamp_millis()
    }

    /// Its plans in time.
    pub(super) fn stretches(&self) -> Vec<Stretch> {
        let day = |month, day| self.starts(NaiveDate::from_ymd_opt(2026, month, day).expect("a day"));
        let begin_millis = BEGIN_SECS * 1_000;
        let change = self.change.map(|change| match change {
            Change::PlusOnTheTwelfth => (Some(Plan::Plus), day(10, 12)),
            Change::PlusAtThree => (Some(Plan::Plus), AT_THREE_SECS * 1_000),
            Change::TeamOnTheSecond => (Some(Plan::Team), day(10, 2)),
            Change::PlusNextMonth => (Some(Plan::Plus), day(10, 1)),
            Change::LeavesOnTheTwentieth => (None, day(10, 20)),
        });
        let until = change.map_or(i64::MAX, |(_, from)| from);
        let first = Stretch { plan: Some(self.first), from_millis: begin_millis, until_millis: until };
        let second = change.map(|(plan, from_millis)| Stretch { plan, from_millis, until_millis: i64::MAX });
        std::iter::once(first).chain(second).collect()
    }

    /// How many days of a month each stretch is charged for, and how many the month has: a day is charged to the first
    /// plan on it.
    pub(super) fn days(&self, month: &str) -> (Vec<i128>, i128) {
        let stretches = self.stretches();
        let (mut days, mut of) = (vec![0; stretches.len()], 0);
        let first: NaiveDate = format!("{month}-01").parse().expect("a month");
        for date in first.iter_days().take_while(|date| date.to_string().starts_with(month)) {
            let (starts, ends) = (self.starts(date), self.starts(date + Days::new(1)));
            let there = |stretch: &&Stretch| {
                stretch.plan.is_some() && stretch.from_millis < ends && stretch.until_millis > starts
            };
            if let Some(place) = stretches.iter().position(|stretch| there(&stretch)) {
                days[place] += 1;
            }
            of += 1;
        }
        (days, of)
    }
}

/// Brings the catalog into force and gives each org its zone and plan.
pub(super) fn make(server: &Server, orgs: &[Org], catalog: &Path) -> Result<()> {
    std::fs::write(catalog, CATALOG)?;
    super::told(server, &["catalog", "apply", &catalog.display().to_string()])?;
    let mut client = server.client();
    for Org { id, zone, first, change } in orgs {
        let plan = match first {
            Plan::Team => "team",
            Plan::Plus => "plus",
            Plan::Solo => "solo",
        };
        let path = format!("/v1/orgs/{id}/plan");
        client.expect_ok("PUT", &format!("/v1/orgs/{id}"), Some(&json!({ "time_zone": zone })))?;
        client.expect_ok("PUT", &path, Some(&json!({ "plan": plan })))?;
        let Some(change) = change else { continue };
        // What is scheduled first is replaced, or called off, before it comes due.
        client.expect_ok("PUT", &path, Some(&json!({ "plan": "solo", "at": "next_month" })))?;
        client.expect_ok("DELETE", &format!("{path}/scheduled"), None)?;
        let at_three = chrono::DateTime::from_timestamp(AT_THREE_SECS, 0).ok_or("a time")?.to_rfc3339();
        let body = match change {
            Change::LeavesOnTheTwentieth => {
                client.expect_ok("DELETE", &format!("{path}?at=2026-10-20"), None)?;
                continue;
            }
            Change::PlusOnTheTwelfth => json!({ "plan": "plus", "at": "2026-10-12" }),
            Change::PlusAtThree => json!({ "plan": "plus", "at": at_three }),
            Change::TeamOnTheSecond => json!({ "plan": "team", "at": "2026-10-02" }),
            Change::PlusNextMonth => json!({ "plan": "plus", "at": "next_month" }),
        };
        client.expect_ok("PUT", &path, Some(&body))?;
    }
    Ok(())
}

/// Makes up usage: few orgs have most of it, the newest comes last but for what is late, and some comes twice.
pub(super) struct Maker<'a> {
    rng: Rng,
    orgs: &'a [Org],
    /// The weights of the orgs, added up: the second has half of the first's, the third a third …
    weights: Vec<u64>,
    /// How many keys each org has given out; all orgs use the same ones.
    keys: Vec<u64>,
    /// Some of what was written lately, to be sent again.
    sent: Vec<Map<String, Value>>,
}

/// Lines of [`Maker::sent`].
const SENT_KEPT: usize = 4_096;

impl<'a> Maker<'a> {
    pub(super) fn new(seed: u64, orgs: &'a [Org]) -> Self {
        let mut sum = 0;
        let weights = (1..).zip(orgs).map(|(rank, _)| {
            sum += 1_000_000_000 / rank;
            sum
        });
        Self {
            rng: Rng::with_seed(seed),
            orgs,
            weights: weights.collect(),
            keys: vec![0; orgs.len()],
            sent: Vec::new(),
        }
    }

    /// Writes a file of so many lines.
    pub(super) fn write(&mut self, path: &Path, lines: u64) -> Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for line in 0..lines {
            let record = self.line(line, lines);
            serde_json::to_writer(&mut file, &record)?;
            file.write_all(b"\n")?;
        }
        Ok(file.flush()?)
    }

    fn line(&mut self, line: u64, lines: u64) -> Map<String, Value> {
        // Three in a hundred are a retry; half of those say that it happened later, which does not count.
        if self.rng.u32(..100) < 3 && !self.sent.is_empty() {
            let place = self.rng.usize(..self.sent.len());
            let mut again = self.sent[place].clone();
            if self.rng.bool() {
                again.insert("time".to_owned(), json!(self.time(line, lines)));
            }
            return again;
        }
        let record = self.usage(line, lines);
        if self.sent.len() < SENT_KEPT {
            self.sent.push(record.clone());
        } else {
            let place = self.rng.usize(..SENT_KEPT);
            self.sent[place] = record.clone();
        }
        record
    }

    fn usage(&mut self, line: u64, lines: u64) -> Map<String, Value> {
        let drawn = self.rng.u64(..self.weights[self.weights.len() - 1]);
        let org = self.weights.partition_point(|weight| *weight <= drawn);
        self.keys[org] += 1;
        let meter = ["tokens", "tokens", "tokens", "tokens", "calls", "calls", "storage", "reports"]
            [self.rng.usize(..8)];
        let mut record = Map::new();
        let mut put = |name: &str, value: Value| record.insert(name.to_owned(), value);
        put("org", json!(self.orgs[org].id));
        put("meter", json!(meter));
        put("key", json!(format!("k{}", self.keys[org])));
        put("time", json!(self.time(line, lines)));
        if let Some(quantity) = self.quantity(meter) {
            put("quantity", quantity);
        }
        if self.rng.u32(..10) > 0 {
            // Of an org's users the first few do the most.
            let most = self.rng.u32(1..=30);
            put("user", json!(format!("user-{}", self.rng.u32(..most))));
        }
        if meter == "tokens" {
            put("properties", self.properties());
        }
        record
    }

    fn properties(&mut self) -> Value {
        let mut properties = Map::new();
        let mut put = |name: &str, value: &str| properties.insert(name.to_owned(), json!(value));
        if self.rng.u32(..20) > 0 {
            put("model", ["large", "small", "mini", "déjà-vu"][self.rng.usize(..4)]);
        }
        if self.rng.bool() {
            put("region", ["eu", "us", "ap"][self.rng.usize(..3)]);
        }
        // Not a property that anything is counted by.
        put("session", &format!("s{}", self.rng.u32(..1_000_000)));
        Value::Object(properties)
    }

    /// A whole number, or one with up to nine decimals; as a number or as text; or nothing, which is 1.
    fn quantity(&mut self, meter: &str) -> Option<Value> {
        let (whole_max, decimals_max) = match meter {
            "tokens" => (4_000, 9 * u32::from(self.rng.u32(..20) == 0)),
            "storage" => (40, 9),
            "reports" => (3, 0),
            _ => (1_000, 3),
        };
        if self.rng.u32(..10) == 0 {
            return None;
        }
        let decimals = self.rng.u32(..=decimals_max);
        let whole = self.rng.u32(1..=whole_max);
        if decimals == 0 {
            return Some(if self.rng.bool() { json!(whole) } else { json!(whole.to_string()) });
        }
        let fraction: String = (0..decimals).map(|_| self.rng.digit(10)).collect();
        Some(json!(format!("{whole}.{fraction}")))
    }

    /// The line's place in the month or up to an hour before; one in twenty is up to three weeks late.
    fn time(&mut self, line: u64, lines: u64) -> String {
        let span = u64::try_from(LAST_SECS - FIRST_SECS).expect("the last is later") * 1_000;
        let due = span * line / lines.max(1);
        let late =
            if self.rng.u32(..20) == 0 { self.rng.u64(..21 * 86_400_000) } else { self.rng.u64(..3_600_000) };
        let millis =
            FIRST_SECS * 1_000 + i64::try_from(due.saturating_sub(late)).expect("a month of milliseconds");
        let time = chrono::DateTime::from_timestamp_millis(millis).expect("a time of 2026");
        // The same moment, as the east writes it.
        if self.rng.u32(..4) == 0 {
            let east = chrono::FixedOffset::east_opt(5 * 3_600 + 1_800).expect("an offset");
            return time.with_timezone(&east).to_rfc3339();
        }
        time.to_rfc3339()
    }
}
