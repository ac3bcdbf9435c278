//! Months and days in the org's zone: afresh at the first instant, not a nanosecond before.

use jiff::Timestamp;
use tollgate_domain::{
    Amount, Denial, LimitScope, MeterId, OrgCommand, OrgDecision, OrgId, PlanId, PutOrg, Quantity, SetLimit,
    SetPlan, TopUp, TopUpExpiry, TopUpStart, UsageKey, Use, Window, Zone, catalog,
};

use crate::world::World;

/// One org with a plan of the default catalog, its answers compared with the oracle's as it goes.
pub(crate) struct Org {
    world: World,
    id: OrgId,
    keys: u32,
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

pub(crate) fn before(at: Timestamp) -> Timestamp {
    at - jiff::SignedDuration::from_nanos(1)
}

pub(crate) fn reports() -> MeterId {
    MeterId::new("reports").expect("an id")
}

impl Org {
    pub(crate) fn new() -> Self {
        Self::in_catalog(catalog::DEFAULT)
    }

    pub(crate) fn in_catalog(catalog: &str) -> Self {
        Self { world: World::with_catalog(catalog), id: OrgId::new("acme").expect("an id"), keys: 0 }
    }

    pub(crate) fn tell(&mut self, at: Timestamp, command: &OrgCommand) -> OrgDecision {
        self.world.command(at, &self.id, command).unwrap_or_else(|error| panic!("{at}: {command:?}\n{error}"))
    }

    pub(crate) fn apply_catalog(&mut self, at: Timestamp, text: &str) {
        self.world.apply_catalog(at, text).expect("a catalog");
    }

    pub(crate) fn zone(&mut self, at: Timestamp, zone: &str) {
        let zone = Some(Zone::new(zone).expect("a zone"));
        let decision = self.tell(at, &OrgCommand::Put(PutOrg { name: None, zone, metadata: None }));
        assert!(matches!(decision, OrgDecision::Change(Ok(_))), "{decision:?}");
    }

    /// Sets a plan; the code of the denial if it is refused.
    pub(crate) fn plan(&mut self, at: Timestamp, plan: &str) -> Result<(), String> {
        let plan = PlanId::new(plan).expect("an id");
        match self.tell(at, &OrgCommand::SetPlan(SetPlan::now(plan))) {
            OrgDecision::Change(Ok(_)) => Ok(()),
            OrgDecision::Change(Err(denial)) => Err(format!("{denial:?}")),
            other => panic!("not an answer to a plan: {other:?}"),
        }
    }

    pub(crate) fn limit(&mut self, at: Timestamp, window: Window, amount: i64) {
        let (meter, scope, amount) = (reports(), LimitScope::Org, Some(Amount::from_whole(amount)));
        let decision = self.tell(at, &OrgCommand::SetLimit(SetLimit { meter, scope, window, amount }));
        assert!(matches!(decision, OrgDecision::Change(Ok(_))), "{decision:?}");
    }

    pub(crate) fn top_up(&mut self, at: Timestamp, amount: &str, expiry: TopUpExpiry) -> Result<(), String> {
        let top_up = TopUp {
            meter: reports(),
            amount: Quantity::parse(amount).expect("a quantity"),
            key: None,
            expiry,
            start: TopUpStart::Now,
            priority: catalog::PRIORITY_DEFAULT,
            reason: None,
            metadata: std::collections::BTreeMap::new(),
        };
        match self.tell(at, &OrgCommand::TopUp(top_up)) {
            OrgDecision::TopUp(result) => result.map(drop).map_err(|denial| format!("{denial:?}")),
            other => panic!("not an answer to a top-up: {other:?}"),
        }
    }

    /// Uses some; what remains, or why not.
    pub(crate) fn consume(&mut self, at: Timestamp, quantity: &str) -> Result<String, Denial> {
        self.keys += 1;
        let usage = Use {
            user: None,
            path: None,
            meter: reports(),
            quantity: Quantity::parse(quantity).expect("a quantity"),
            key: UsageKey::new(&format!("key-{}", self.keys)).expect("an id"),
            occurred_at: None,
            properties: std::collections::BTreeMap::new(),
        };
        match self.tell(at, &OrgCommand::Use(usage)) {
            OrgDecision::Use(Ok(allowed)) => {
                Ok(allowed.standing.remaining.map_or_else(|| "no end".to_owned(), |left| left.to_string()))
            }
            OrgDecision::Use(Err(denied)) => Err(denied.denial),
            other => panic!("not an answer to a use: {other:?}"),
        }
    }

    pub(crate) fn is_out(&mut self, at: Timestamp) {
        let answer = self.consume(at, "0.000000001");
        assert!(matches!(answer, Err(Denial::OutOfCredit(_))), "{at}: {answer:?}");
    }

    pub(crate) fn left_after_one(&mut self, at: Timestamp, left: &str) {
        assert_eq!(self.consume(at, "1").as_deref(), Ok(left), "{at}");
    }
}

#[test]
fn the_allowance_starts_afresh_at_the_first_instant_of_the_month() {
    for (zone, first_instant) in [
        ("UTC", "2028-03-01T00:00:00Z"),
        ("UTC", "2027-03-01T00:00:00Z"),
        ("UTC", "2029-01-01T00:00:00Z"),
        ("Pacific/Kiritimati", "2028-02-29T10:00:00Z"),
        ("Pacific/Kiritimati", "2028-12-31T10:00:00Z"),
        ("Pacific/Pago_Pago", "2028-03-01T11:00:00Z"),
        ("Pacific/Pago_Pago", "2029-01-01T11:00:00Z"),
        ("Asia/Kathmandu", "2028-02-29T18:15:00Z"),
        ("Asia/Kathmandu", "2028-01-31T18:15:00Z"),
        ("Australia/Lord_Howe", "2028-02-29T13:00:00Z"),
        ("Australia/Lord_Howe", "2028-04-30T13:30:00Z"),
        // The clocks go forward at 02:00 on this very first of the month.
        ("Australia/Lord_Howe", "2028-09-30T13:30:00Z"),
        ("Australia/Lord_Howe", "2028-10-31T13:00:00Z"),
        ("America/St_Johns", "2028-03-01T03:30:00Z"),
        ("America/St_Johns", "2028-04-01T02:30:00Z"),
        // The clocks go back at 02:00 on this very first of the month.
        ("America/St_Johns", "2026-11-01T02:30:00Z"),
        ("America/St_Johns", "2026-12-01T03:30:00Z"),
        ("America/Sao_Paulo", "2028-03-01T03:00:00Z"),
        ("America/Sao_Paulo", "2028-11-01T03:00:00Z"),
        ("Europe/Berlin", "2028-02-29T23:00:00Z"),
        ("Europe/Berlin", "2028-03-31T22:00:00Z"),
        ("Europe/Berlin", "2028-10-31T23:00:00Z"),
        ("Africa/Casablanca", "2025-03-01T00:00:00Z"),
        ("Africa/Casablanca", "2025-04-30T23:00:00Z"),
        ("Asia/Tokyo", "2028-02-29T15:00:00Z"),
        ("Asia/Tokyo", "2028-12-31T15:00:00Z"),
    ] {
        let month = at(first_instant);
        let long_before = month - jiff::SignedDuration::from_hours(20 * 24);
        let mut org = Org::new();
        org.zone(long_before, zone);
        org.plan(long_before, "lite").expect("the plan is offered");
        assert_eq!(org.consume(long_before, "20").as_deref(), Ok("0"), "{zone}");
        org.is_out(before(month));
        org.left_after_one(month, "19");
        // The clock steps back by a nanosecond: that month stays used up.
        org.is_out(before(month));
        org.left_after_one(month, "18");
    }
}

#[test]
fn what_is_left_of_a_month_ends_with_it() {
    let mut org = Org::new();
    let march = at("2028-03-01T00:00:00Z");
    org.plan(at("2028-02-29T00:00:00Z"), "lite").expect("the plan is offered");
    org.left_after_one(before(march), "19");
    org.left_after_one(march, "19");
}

#[test]
fn days_of_23_and_25_hours_are_days() {
    for (zone, start, end, hours) in [
        ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", 23.0),
        ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", 25.0),
        ("Australia/Lord_Howe", "2028-09-30T13:30:00Z", "2028-10-01T13:00:00Z", 23.5),
        ("Australia/Lord_Howe", "2028-04-01T13:00:00Z", "2028-04-02T13:30:00Z", 24.5),
        ("America/St_Johns", "2028-03-12T03:30:00Z", "2028-03-13T02:30:00Z", 23.0),
        ("America/St_Johns", "2026-11-01T02:30:00Z", "2026-11-02T03:30:00Z", 25.0),
        ("Asia/Kathmandu", "2028-02-28T18:15:00Z", "2028-02-29T18:15:00Z", 24.0),
        ("Asia/Tokyo", "2028-02-29T15:00:00Z", "2028-03-01T15:00:00Z", 24.0),
        ("UTC", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z", 24.0),
    ] {
        let (start, end) = (at(start), at(end));
        assert_eq!((end - start).total(jiff::Unit::Hour).expect("hours"), hours, "{zone} {start}");
        let mut org = Org::new();
        let long_before = start - jiff::SignedDuration::from_hours(50);
        org.zone(long_before, zone);
        org.plan(long_before, "ultimate").expect("the plan is offered");
        org.limit(long_before, Window::Day, 5);
        let limited = |answer| matches!(answer, Err(Denial::OrgLimitReached(limit)) if limit.window == Some(Window::Day));
        assert!(org.consume(before(start), "5").is_ok(), "{zone} {start}");
        assert!(limited(org.consume(before(start), "1")), "{zone} {start}");
        assert!(org.consume(start, "4").is_ok(), "{zone} {start}");
        assert!(org.consume(before(end), "1").is_ok(), "{zone} {start}");
        assert!(limited(org.consume(before(end), "1")), "{zone} {start}");
        assert!(org.consume(end, "5").is_ok(), "{zone} {start}");
    }
}

#[test]
fn a_day_of_25_hours_has_25_full_hours() {
    // The hour from 02:00 to 03:00 is there twice in Berlin; hours are those of UTC, so each has its own counter.
    let mut org = Org::new();
    let start = at("2026-10-25T00:00:00Z");
    org.zone(start, "Europe/Berlin");
    org.plan(start, "ultimate").expect("the plan is offered");
    org.limit(start, Window::Hour, 3);
    for hour in 0..3 {
        let from = start + jiff::SignedDuration::from_hours(hour);
        let until = start + jiff::SignedDuration::from_hours(hour + 1);
        assert!(org.consume(from, "2").is_ok());
        assert!(org.consume(before(until), "1").is_ok());
        assert!(matches!(org.consume(before(until), "1"), Err(Denial::OrgLimitReached(_))));
    }
}

#[test]
fn a_top_up_expires_with_the_month_in_the_zone_of_the_org() {
    for (zone, next_month) in [
        ("UTC", "2028-03-01T00:00:00Z"),
        ("Pacific/Kiritimati", "2028-02-29T10:00:00Z"),
        ("Pacific/Pago_Pago", "2028-03-01T11:00:00Z"),
        ("Australia/Lord_Howe", "2028-04-30T13:30:00Z"),
        ("Europe/Berlin", "2028-03-31T22:00:00Z"),
    ] {
        let next_month = at(next_month);
        let early = next_month - jiff::SignedDuration::from_hours(24 * 20);
        let mut org = Org::new();
        org.zone(early, zone);
        org.plan(early, "lite").expect("the plan is offered");
        assert_eq!(org.consume(early, "20").as_deref(), Ok("0"), "{zone}");
        org.is_out(early);
        org.top_up(early, "5", TopUpExpiry::EndOfMonth).expect("an org that is out may be topped up");
        org.left_after_one(early, "4");
        org.left_after_one(before(next_month), "3");
        // The three that are left are gone; the allowance is there again.
        org.left_after_one(next_month, "19");
        // Moving the org to another zone does not move the expiry.
        org.top_up(next_month, "5", TopUpExpiry::At(next_month + jiff::SignedDuration::from_nanos(2)))
            .expect("it expires later");
        org.left_after_one(next_month + jiff::SignedDuration::from_nanos(1), "23");
        org.left_after_one(next_month + jiff::SignedDuration::from_nanos(2), "18");
    }
}

#[test]
fn a_top_up_must_expire_later_than_it_begins() {
    let mut org = Org::new();
    let now = at("2026-11-21T12:00:00Z");
    org.plan(now, "lite").expect("the plan is offered");
    for (expiry, wanted) in [
        (TopUpExpiry::At(now), Err("ExpiryPassed".to_owned())),
        (TopUpExpiry::At(before(now)), Err("ExpiryPassed".to_owned())),
        (TopUpExpiry::At(now + jiff::SignedDuration::from_nanos(1)), Ok(())),
        (TopUpExpiry::Never, Ok(())),
        (TopUpExpiry::EndOfMonth, Ok(())),
    ] {
        assert_eq!(org.top_up(now, "1", expiry), wanted, "{expiry:?}");
    }
}

#[test]
fn a_change_of_zone_at_the_end_of_a_month_grants_nothing_twice() {
    let mut org = Org::new();
    let last_day = at("2026-10-31T12:00:00Z");
    org.plan(last_day, "lite").expect("the plan is offered");
    assert_eq!(org.consume(last_day, "20").as_deref(), Ok("0"));
    // November has begun on Kiritimati: its allowance, once.
    org.zone(last_day, "Pacific/Kiritimati");
    assert_eq!(org.consume(last_day, "20").as_deref(), Ok("0"));
    org.is_out(last_day);
    for zone in ["UTC", "Pacific/Pago_Pago", "Pacific/Kiritimati", "Europe/Berlin", "Asia/Tokyo"] {
        org.zone(last_day, zone);
        org.is_out(last_day);
    }
    org.zone(last_day, "UTC");
    for time in ["2026-11-01T00:00:00Z", "2026-11-15T00:00:00Z", "2026-11-30T23:59:59.999999999Z"] {
        org.is_out(at(time));
    }
    org.left_after_one(at("2026-12-01T00:00:00Z"), "19");
}

#[test]
fn limits_of_all_windows_hold_together_each_by_its_own_calendar() {
    let mut org = Org::new();
    let start = at("2026-11-21T12:00:00Z");
    org.zone(start, "Asia/Kathmandu");
    org.plan(start, "ultimate").expect("the plan is offered");
    for (window, amount) in
        [(Window::Minute, 2), (Window::Hour, 3), (Window::Day, 5), (Window::Week, 8), (Window::Month, 9)]
    {
        org.limit(start, window, amount);
    }
    for (time, quantity, reached) in [
        ("2026-11-21T12:00:00Z", "2", None),
        ("2026-11-21T12:00:59.999999999Z", "1", Some(Window::Minute)),
        ("2026-11-21T12:01:00Z", "2", Some(Window::Hour)),
        ("2026-11-21T12:01:00Z", "1", None),
        ("2026-11-21T12:59:59.999999999Z", "1", Some(Window::Hour)),
        ("2026-11-21T13:00:00Z", "2", None),
        // The day ends at 18:15 UTC in Kathmandu.
        ("2026-11-21T18:14:59.999999999Z", "1", Some(Window::Day)),
        ("2026-11-21T18:15:00Z", "2", None),
        // The first of these is a Saturday. The week ends in the night from Sunday to Monday, at 18:15 UTC as well.
        ("2026-11-22T10:00:00Z", "1", None),
        ("2026-11-22T11:00:00Z", "1", Some(Window::Week)),
        ("2026-11-22T18:14:59.999999999Z", "1", Some(Window::Week)),
        ("2026-11-22T18:15:00Z", "1", None),
        ("2026-11-22T18:15:00Z", "1", Some(Window::Month)),
        ("2026-11-30T18:15:00Z", "1", None),
    ] {
        let found = match org.consume(at(time), quantity) {
            Ok(_) => None,
            Err(Denial::OrgLimitReached(limit)) => limit.window,
            Err(other) => panic!("{time}: {other:?}"),
        };
        assert_eq!(found, reached, "{time}");
    }
}
