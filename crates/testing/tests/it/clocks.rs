//! Clocks that jump: frozen, or off by a second, an hour or a day either way, around month ends and changes of the
//! clocks of every zone. Nothing is granted twice, no limit of a period is exceeded, and nothing is lost.
//!
//! Every answer is compared with the oracle's. Beside it the ledger alone is audited, by a second calendar library:
//! what was burned of each month's allowance and counted in each period, by the time in each entry.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use chrono::Datelike;
use chrono_tz::Tz;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use tollgate_domain::{
    Amount, Burn, Check, Entry, EntryKind, Grant, LimitScope, OrgCommand, OrgDecision, OrgId, Period, PlanId,
    PutOrg, Quantity, Reverse, SetLimit, SetPlan, Source, TopUp, TopUpExpiry, TopUpStart, UsageKey, Use,
    UsedEntry, UserId, Window, Zone,
};
use tollgate_testing::hold;

use crate::months::reports;
use crate::world::{Tally, World};
use crate::zones::{SUNDAY, TABLES_DIFFER, changes, day_of, zones};

/// Schedules that are run; `TOLLGATE_SCHEDULES` sets another number, `TOLLGATE_SEED` the first seed.
const SCHEDULES: u64 = 1_000;

const COMMANDS: usize = 48;

const ALLOWANCE: i64 = 20;

const CATALOG: &str = r#"
[[meters]]
id = "reports"
name = "Reports"
unit = "report"
[[plans]]
id = "basic"
name = "Basic"
[[plans.allowances]]
meter = "reports"
amount = 20
"#;

/// Limits that an org may have: whose, over which stretch, how much.
const LIMITS: [(LimitScope, Window, i64); 8] = [
    (LimitScope::Org, Window::Minute, 6),
    (LimitScope::Org, Window::Hour, 9),
    (LimitScope::Org, Window::Day, 14),
    (LimitScope::Org, Window::Week, 23),
    (LimitScope::Org, Window::WeekFrom(SUNDAY), 21),
    (LimitScope::Org, Window::Month, 32),
    (LimitScope::EachUser, Window::Day, 8),
    (LimitScope::EachUser, Window::Month, 13),
];

/// How far from its edge the clock goes.
const STRAY_SECS_MAX: i64 = 4 * 86_400;

/// One schedule: an org around one moment at which its calendar does something, under a clock that jumps.
struct Schedule {
    rng: Rng,
    world: World,
    org: OrgId,
    zone: Zone,
    tz: Tz,
    /// A month end or a change of the clocks.
    edge: Timestamp,
    at: Timestamp,
    /// Jumps of this schedule, in nanoseconds; zero is a frozen clock.
    jumps: Vec<i64>,
    limits: Vec<(LimitScope, Window, i64)>,
    uses: Vec<Use>,
}

fn quantity(billionths: i64) -> Quantity {
    let amount = Amount::from_billionths(i128::from(billionths));
    Quantity::parse(&amount.to_string()).expect("a quantity")
}

impl Schedule {
    fn new(seed: u64, zones: &[(Zone, Tz)]) -> Result<Self, String> {
        let mut rng = Rng::with_seed(seed);
        // Every zone has its turn.
        let (zone, tz) =
            zones[usize::try_from(seed).map_err(|error| error.to_string())? % zones.len()].clone();
        let changes = changes(&zone);
        let edge = if !changes.is_empty() && rng.bool() {
            changes[rng.usize(..changes.len())]
        } else {
            let number = rng.i32(2024 * 12..2041 * 12);
            let month = tollgate_domain::Period::month(number);
            zone.bounds(month).0.ok_or("a month begins")?
        };
        let (second, hour, day) = (1_000_000_000, 3_600_000_000_000, 86_400_000_000_000);
        let all = [0, 1, -1, second, -second, hour, -hour, day, -day];
        // Few kinds of jumps in one schedule go deeper than all of them in each.
        let jumps = (0..rng.usize(1..=all.len())).map(|_| all[rng.usize(..all.len())]).collect();
        let limits = LIMITS.iter().filter(|_| rng.bool()).cloned().collect();
        let at = edge - SignedDuration::from_hours(rng.i64(1..60));
        let org = OrgId::new("acme").map_err(|error| error.to_string())?;
        let world = World::with_catalog(CATALOG);
        Ok(Self { rng, world, org, zone, tz, edge, at, jumps, limits, uses: Vec::new() })
    }

    fn tell(&mut self, command: &OrgCommand) -> Result<OrgDecision, String> {
        self.world
            .command(self.at, &self.org, command)
            .map_err(|error| format!("{}: {command:?}\n{error}", self.at))
    }

    fn run(mut self) -> Result<(World, usize), String> {
        let zone = Some(self.zone.clone());
        self.tell(&OrgCommand::Put(PutOrg { name: None, zone, metadata: None }))?;
        let plan = PlanId::new("basic").map_err(|error| error.to_string())?;
        self.tell(&OrgCommand::SetPlan(SetPlan::now(plan)))?;
        self.set_limits(true)?;
        for _ in 0..COMMANDS {
            self.jump();
            self.some_command()?;
        }
        self.set_limits(false)?;
        self.audit()?;
        let probes = self.nothing_is_lost()?;
        self.audit()?;
        Ok((self.world, probes))
    }

    fn set_limits(&mut self, on: bool) -> Result<(), String> {
        for (scope, window, amount) in self.limits.clone() {
            let amount = on.then(|| Amount::from_whole(amount));
            self.tell(&OrgCommand::SetLimit(SetLimit { meter: reports(), scope, window, amount }))?;
        }
        Ok(())
    }

    fn jump(&mut self) {
        self.at = match self.rng.u8(..10) {
            // Onto the edge, a nanosecond before it, or one after it.
            0..=2 => self.edge + SignedDuration::from_nanos(self.rng.i64(-1..=1)),
            3 => self.at + SignedDuration::from_millis(self.rng.i64(0..20_000)),
            _ => self.at + SignedDuration::from_nanos(self.jumps[self.rng.usize(..self.jumps.len())]),
        };
        if (self.at.as_second() - self.edge.as_second()).abs() > STRAY_SECS_MAX {
            self.at = self.edge;
        }
    }

    fn some_command(&mut self) -> Result<(), String> {
        match self.rng.u8(..20) {
            0..=1 if !self.uses.is_empty() => {
                let again = self.uses[self.rng.usize(..self.uses.len())].clone();
                self.tell(&OrgCommand::Use(again)).map(drop)
            }
            2..=3 if !self.uses.is_empty() => {
                let key = self.uses[self.rng.usize(..self.uses.len())].key.clone();
                self.tell(&OrgCommand::Reverse(Reverse { key })).map(drop)
            }
            4 => {
                let expiry = match self.rng.u8(..4) {
                    0 => TopUpExpiry::Never,
                    1 => TopUpExpiry::At(self.edge + SignedDuration::from_nanos(self.rng.i64(-1..=1))),
                    _ => TopUpExpiry::EndOfMonth,
                };
                let amount = quantity(self.rng.i64(1..8) * 1_000_000_000);
                let (key, start, reason) = (None, TopUpStart::Now, None);
                let top_up = TopUp {
                    meter: reports(),
                    amount,
                    key,
                    expiry,
                    start,
                    priority: 100,
                    reason,
                    metadata: BTreeMap::new(),
                };
                self.tell(&OrgCommand::TopUp(top_up)).map(drop)
            }
            _ => {
                let user = UserId::new(["ann", "bob", "cid"][self.rng.usize(..3)]).expect("an id");
                let usage = Use {
                    user: Some(user),
                    path: None,
                    meter: reports(),
                    quantity: quantity(self.rng.i64(1..7) * 500_000_000),
                    key: UsageKey::new(&format!("key-{}", self.uses.len())).expect("an id"),
                    occurred_at: None,
                    properties: BTreeMap::new(),
                };
                self.uses.push(usage.clone());
                self.tell(&OrgCommand::Use(usage)).map(drop)
            }
        }
    }

    fn entries(&self) -> &[Entry] {
        self.world.ledgers.get(&self.org).map_or(&[][..], Vec::as_slice)
    }

    /// The month of a moment by the second library, numbered as periods are.
    fn month_of(&self, at: Timestamp) -> i32 {
        let date = day_of(self.tz, at);
        date.year() * 12 + i32::try_from(date.month0()).expect("a month")
    }

    /// What a period of a window is called, by the second library.
    fn label(&self, window: Window, at: Timestamp) -> String {
        let date = || day_of(self.tz, at);
        match window {
            Window::Minute => at.as_second().div_euclid(60).to_string(),
            Window::Hour => at.as_second().div_euclid(3_600).to_string(),
            Window::Day => date().to_string(),
            Window::Week => {
                let week = date().iso_week();
                format!("{}-{}", week.year(), week.week())
            }
            Window::WeekFrom(SUNDAY) => date().week(chrono::Weekday::Sun).first_day().to_string(),
            Window::Month => self.month_of(at).to_string(),
            // None of its limits goes by another.
            _ => String::new(),
        }
    }

    /// The ledger by itself: at none of its entries is more counted in a period than its limit, or burned of a month's
    /// allowance than it has; no grant is burned outside its time or beyond its amount; no key counts twice.
    fn audit(&self) -> Result<(), String> {
        let mut books = Books::of(self.entries());
        let mut sums: BTreeMap<String, Amount> = BTreeMap::new();
        let mut limits_on = true;
        for entry in self.entries() {
            if matches!(&entry.kind, EntryKind::LimitSet { amount: None, .. }) {
                limits_on = false;
            }
            let (used, sign, at) = match &entry.kind {
                EntryKind::Used(used) => (used, 1, entry.at),
                EntryKind::Reversed { entry, used } => {
                    let place = usize::try_from(*entry - 1).expect("a place");
                    (used, -1, self.entries()[place].at)
                }
                _ => continue,
            };
            hold!(books.key_counts_once(used, sign), "{}: entry {} counts twice", used.key, entry.number);
            for burn in &used.burns {
                books
                    .burn(burn, sign, at, self.month_of(at))
                    .map_err(|error| format!("entry {}: {error}", entry.number))?;
            }
            for (scope, window, most) in &self.limits {
                let whose = if *scope == LimitScope::Org { None } else { used.user.clone() };
                let name = format!("{whose:?} {window} {}", self.label(*window, at));
                let sum = sums.entry(name.clone()).or_default();
                *sum += Amount::from_billionths(used.quantity.amount().billionths() * sign);
                let within = *sum <= Amount::from_whole(*most) || !limits_on;
                hold!(within, "entry {}: {sum} counted in {name}, the limit is {most}", entry.number);
            }
        }
        Ok(())
    }

    /// At moments around the edge: what remains is what was granted, less what was burned, less what expired, by the
    /// ledger; all of it can be used, and nothing more.
    fn nothing_is_lost(&mut self) -> Result<usize, String> {
        let day = SignedDuration::from_hours(24);
        let nudge = SignedDuration::from_nanos(1);
        let mut moments =
            vec![self.edge - nudge, self.edge, self.edge + nudge, self.edge - day, self.edge + day];
        self.rng.shuffle(&mut moments);
        for (number, at) in moments.iter().enumerate() {
            self.at = *at;
            let wanted = self.remaining_by_the_ledger(*at)?;
            let found = self.remaining()?;
            hold!(found == wanted, "{at}: {found} remain, the ledger says {wanted}");
            if wanted > Amount::ZERO {
                let all = Use {
                    user: None,
                    path: None,
                    meter: reports(),
                    quantity: Quantity::parse(&wanted.to_string()).expect("a quantity"),
                    key: UsageKey::new(&format!("last-{number}")).expect("an id"),
                    occurred_at: None,
                    properties: BTreeMap::new(),
                };
                let answer = self.tell(&OrgCommand::Use(all))?;
                hold!(
                    matches!(answer, OrgDecision::Use(Ok(_))),
                    "{at}: {wanted} remain and are denied: {answer:?}"
                );
            }
            hold!(self.remaining()? == Amount::ZERO, "{at}: something remains of nothing");
        }
        Ok(moments.len())
    }

    fn remaining_by_the_ledger(&self, at: Timestamp) -> Result<Amount, String> {
        let mut books = Books::of(self.entries());
        for entry in self.entries() {
            let (used, sign, when) = match &entry.kind {
                EntryKind::Used(used) => (used, 1, entry.at),
                EntryKind::Reversed { entry, used } => {
                    (used, -1, self.entries()[usize::try_from(*entry - 1).expect("a place")].at)
                }
                _ => continue,
            };
            for burn in &used.burns {
                books.burn(burn, sign, when, self.month_of(when))?;
            }
        }
        let of_month = books.months.get(&self.month_of(at)).copied().unwrap_or_default();
        let in_force = |grant: &&(Grant, Amount)| {
            grant.0.effective_at <= at && grant.0.expires_at.is_none_or(|expires_at| at < expires_at)
        };
        let of_grants: Amount =
            books.grants.values().filter(in_force).map(|(grant, burned)| grant.amount - *burned).sum();
        Ok(Amount::from_whole(ALLOWANCE) - of_month + of_grants)
    }

    /// What remains, as a check tells it.
    fn remaining(&mut self) -> Result<Amount, String> {
        let least = quantity(1);
        let check =
            Check { user: None, path: None, meter: reports(), quantity: least, properties: BTreeMap::new() };
        let OrgDecision::Check(checked) = self.tell(&OrgCommand::Check(check))? else {
            return Err("not an answer to a check".to_owned());
        };
        match checked.result {
            Ok(allowed) => {
                let after = allowed.standing.remaining.ok_or("credit is asked")?;
                Ok(after + least.amount())
            }
            Err(denied) => {
                denied.standing.and_then(|standing| standing.remaining).ok_or(format!("{denied:?}"))
            }
        }
    }
}

/// What a ledger granted and burned.
struct Books {
    months: BTreeMap<i32, Amount>,
    grants: BTreeMap<u64, (Grant, Amount)>,
    keys: BTreeMap<UsageKey, i128>,
}

impl Books {
    fn of(entries: &[Entry]) -> Self {
        let grants = entries.iter().filter_map(|entry| match &entry.kind {
            EntryKind::ToppedUp(made) => Some((entry.number, (made.grant.clone(), Amount::ZERO))),
            _ => None,
        });
        Self { months: BTreeMap::new(), grants: grants.collect(), keys: BTreeMap::new() }
    }

    /// Keys are kept for longer than any schedule: each counts once, even after it was taken back.
    fn key_counts_once(&mut self, used: &UsedEntry, sign: i128) -> bool {
        if sign < 0 {
            return self.keys.contains_key(&used.key);
        }
        self.keys.insert(used.key.clone(), sign).is_none()
    }

    fn burn(&mut self, burn: &Burn, sign: i128, at: Timestamp, month: i32) -> Result<(), String> {
        let amount = Amount::from_billionths(burn.amount.billionths() * sign);
        match burn.source {
            Source::Allowance(segment) => {
                let of = Period::month_of_segment(segment).number;
                hold!(of == month, "the allowance of month {of} was burned at {at}, in month {month}");
                let sum = self.months.entry(of).or_default();
                *sum += amount;
                hold!(*sum <= Amount::from_whole(ALLOWANCE), "{sum} burned of the allowance of month {of}");
                hold!(*sum >= Amount::ZERO, "{sum} burned of the allowance of month {of}");
            }
            Source::Grant(entry) => {
                let (grant, burned) = self.grants.get_mut(&entry).ok_or("a grant that nobody made")?;
                *burned += amount;
                hold!(*burned <= grant.amount && *burned >= Amount::ZERO, "{burned} burned of {grant:?}");
                let in_time = grant.effective_at <= at && grant.expires_at.is_none_or(|expires| at < expires);
                hold!(in_time, "burned at {at}: {grant:?}");
            }
            other => return Err(format!("burned from {other:?}, where all is hard")),
        }
        Ok(())
    }
}

#[test]
fn a_clock_that_jumps_or_stands_grants_nothing_twice_and_loses_nothing() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let (first, schedules): (u64, u64) =
        (number("TOLLGATE_SEED", 1), number("TOLLGATE_SCHEDULES", SCHEDULES));
    let started = Instant::now();
    let zones: Vec<_> =
        zones().into_iter().filter(|(zone, _)| !TABLES_DIFFER.contains(&zone.name())).collect();
    let next = AtomicU64::new(first);
    let run = || {
        let (mut tally, mut probes) = (Tally::default(), 0);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + schedules {
                return (tally, probes);
            }
            let schedule = Schedule::new(seed, &zones).expect("a schedule");
            let (zone, edge) = (schedule.zone.name().to_owned(), schedule.edge);
            let about = format!("seed {seed}: {zone} around {edge}, jumps of {:?} ns", schedule.jumps);
            let (world, probed) = schedule.run().unwrap_or_else(|error| panic!("{about}\n{error}"));
            tally += world.tally;
            probes += probed;
        }
    };
    let (mut tally, probes) = std::thread::scope(|scope| {
        let other = scope.spawn(run);
        let (tally, probes) = run();
        let (mut both, more) = other.join().expect("no schedule fails");
        both += tally;
        (both, probes + more)
    });
    tally.commands = tally.allowed + tally.denied + tally.replayed + tally.reversed + tally.topped_up;
    println!(
        "seeds {first} to {}: {schedules} schedules, {tally:?}, {probes} balances against the ledger, in {:?}",
        first + schedules - 1,
        started.elapsed()
    );
    assert!(tally.replayed > 0 && tally.reversed > 0 && tally.topped_up > 0, "{tally:?}");
    assert!(tally.allowed > 10 && tally.denied > 10, "{tally:?}");
}
