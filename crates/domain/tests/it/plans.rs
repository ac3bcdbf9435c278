//! Plans that change within a month: usage goes by the plan of its own time, fees by days.

use tollgate_domain::{
    Amount, BillError, CloseDenial, ConfigDenial, Currency, EntryKind, Moments, OrgCommand, OrgDecision,
    PlanId, PlanTime, SetPlan, Use, balance, bill,
};

use crate::world::{OCTOBER, World, key, usage};

const CATALOG: &str = r#"
    [[meters]]
    id = "tokens"
    name = "Tokens"
    unit = "token"
    properties = ["model"]
    [[meters]]
    id = "calls"
    name = "Calls"
    unit = "call"
    [[plans]]
    id = "team"
    name = "Team"
    allowances = [{ meter = "tokens", amount = 1000, enforcement = "soft" }]
    prices = [
        { model = "flat", flat_fee = 31 },
        { meter = "tokens", model = "per_unit", unit_price = "0.002", quantity = "overage" },
    ]
    [[plans]]
    id = "big"
    name = "Big"
    allowances = [{ meter = "tokens", amount = 10000, enforcement = "soft" }]
    prices = [
        { model = "flat", flat_fee = 310 },
        { meter = "tokens", model = "per_unit", unit_price = "0.01", quantity = "overage" },
    ]
    [[plans]]
    id = "whole"
    name = "Whole"
    proration = "none"
    prices = [{ model = "flat", flat_fee = 62 }]
    [[plans]]
    id = "bounded"
    name = "Bounded"
    prices = [{ meter = "calls", model = "per_unit", unit_price = 1, minimum = 31, maximum = 62 }]
    [[plans]]
    id = "charged"
    name = "Charged"
    proration = "none"
    prices = [{ meter = "calls", model = "flat", flat_fee = 10 }]
    [[plans]]
    id = "shared"
    name = "Shared"
    prices = [{ meter = "calls", model = "flat", flat_fee = 31 }]
    [[plans]]
    id = "free"
    name = "Free"
    [[plans]]
    id = "yen"
    name = "Yen"
    currency = "JPY"
    prices = [{ model = "flat", flat_fee = 100 }]
    [[plans]]
    id = "trial"
    name = "Trial"
    trial_days = 14
"#;

fn set(plan: Option<&str>, from: PlanTime) -> OrgCommand {
    OrgCommand::SetPlan(SetPlan { plan: plan.map(|plan| PlanId::new(plan).expect("an id")), from })
}

fn changed(decision: OrgDecision) -> Result<bool, ConfigDenial> {
    match decision {
        OrgDecision::Change(result) => result.map(|changed| changed.entry.is_some()),
        other => panic!("{other:?}"),
    }
}

fn record(world: &mut World, at: &str, own: &str, of: &str, amount: &str) {
    let usage = Use { occurred_at: Some(own.parse().expect("a time")), ..usage(key(own), of, amount) };
    let decision = world.tell(at, &OrgCommand::Record(usage));
    assert!(matches!(decision, OrgDecision::Record(Ok(_))), "{decision:?}");
}

/// Amount and calculation of each line of October, closed when it is over.
fn october(world: &mut World) -> Vec<(String, String)> {
    let bill = world.close("2026-11-05T00:00:00Z", OCTOBER).expect("a bill").bill;
    bill.rated.lines.iter().map(|line| (line.amount.number(), line.arithmetic.clone())).collect()
}

fn lines(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    wanted.iter().map(|(amount, how)| ((*amount).to_owned(), (*how).to_owned())).collect()
}

#[test]
fn usage_is_rated_by_the_plan_in_force_when_it_was_used() {
    let mut world = World::new(CATALOG);
    assert!(world.uses("2026-10-02T00:00:00Z", "tokens", "1500", "a"));
    assert_eq!(changed(world.tell("2026-10-10T12:00:00Z", &set(Some("big"), PlanTime::Now))), Ok(true));
    // What was billed as overage burns none of the larger allowance, and the balance adds up.
    let moments = Moments::new("2026-10-11T00:00:00Z".parse().expect("a time"));
    let found = world.ask(|state| balance(state, &world.context(&moments))).expect("a balance");
    let (_, tokens) = &found.meters[0];
    let whole = |amount| Amount::from_whole(amount);
    assert_eq!(
        (tokens.allowance, tokens.used, tokens.remaining),
        (whole(10_000), whole(1_000), Some(whole(9_000)))
    );
    assert_eq!((tokens.overage, tokens.month), (whole(500), whole(1_500)));
    // Late usage of the first plan's time is covered by the first plan's allowance, whatever was burned later.
    assert!(world.uses("2026-10-12T00:00:00Z", "tokens", "9200", "a"));
    record(&mut world, "2026-10-20T00:00:00Z", "2026-10-03T00:00:00Z", "tokens", "7");
    assert_eq!(
        october(&mut world),
        lines(&[
            ("10.00", "Team, 10 of 31 days: 31.00 USD × 10/31 days = 10.00 USD"),
            ("1.01", "507 tokens beyond the credit × 0.002 USD = 1.014 USD; rounded 1.01 USD"),
            ("210.00", "Big, 21 of 31 days: 310.00 USD × 21/31 days = 210.00 USD"),
            ("2.00", "200 tokens beyond the credit × 0.01 USD = 2.00 USD"),
        ])
    );
}

#[test]
fn a_change_in_the_last_minute_erases_no_bill() {
    let mut world = World::new(CATALOG);
    assert!(world.uses("2026-10-02T00:00:00Z", "tokens", "11000", "a"));
    assert_eq!(changed(world.tell("2026-10-31T22:59:00Z", &set(Some("free"), PlanTime::Now))), Ok(true));
    assert_eq!(
        october(&mut world),
        lines(&[
            ("31.00", "Team, a month: a fee of 31.00 USD"),
            ("20.00", "10,000 tokens beyond the credit × 0.002 USD = 20.00 USD"),
        ])
    );
}

#[test]
fn who_leaves_pays_until_the_day_and_can_use_nothing() {
    let mut world = World::new(CATALOG);
    assert_eq!(changed(world.tell("2026-10-05T12:00:00Z", &set(None, PlanTime::Day(20_737)))), Ok(true));
    assert!(world.uses("2026-10-10T21:59:59Z", "tokens", "1", "a"), "still there");
    assert!(!world.uses("2026-10-10T22:00:00Z", "tokens", "1", "a"), "gone with the first moment of the day");
    record(&mut world, "2026-10-12T00:00:00Z", "2026-10-11T00:00:00Z", "calls", "3");
    let bill = world.close("2026-11-05T00:00:00Z", OCTOBER).expect("a bill").bill;
    let [fee] = bill.rated.lines.as_slice() else { panic!("{bill:#?}") };
    assert_eq!(fee.arithmetic, "Team, 10 of 31 days: 31.00 USD × 10/31 days = 10.00 USD");
    let [calls] = bill.rated.unpriced.as_slice() else { panic!("{bill:#?}") };
    assert_eq!((calls.meter.as_str(), calls.quantity), ("calls", Amount::from_whole(3)));
    let november = world.close("2026-12-05T00:00:00Z", OCTOBER + 1);
    assert_eq!(november, Err(CloseDenial::Bill(BillError::NoPlan)), "no fee after it");
    // What comes late is billed all the same.
    record(&mut world, "2026-11-06T00:00:00Z", "2026-10-06T00:00:00Z", "tokens", "1999");
    let november =
        world.close("2026-12-05T00:00:00Z", OCTOBER + 1).expect("there is something to put right").bill;
    assert_eq!((november.rated.lines.len(), november.total.number()), (0, "2.00".to_owned()));
}

#[test]
fn fees_minimums_and_maximums_go_by_days_or_whole() {
    for (plans, wanted) in [
        // Back and forth: each stretch by its days, one fee for a plan that shares none.
        (
            vec![("whole", "2026-10-11T08:00:00Z"), ("team", "2026-10-21T08:00:00Z")],
            vec![
                ("11.00", "Team, 11 of 31 days: 31.00 USD × 11/31 days = 11.00 USD"),
                ("62.00", "Whole, a month: a fee of 62.00 USD"),
                ("10.00", "Team, 10 of 31 days: 31.00 USD × 10/31 days = 10.00 USD"),
            ],
        ),
        (
            vec![
                ("whole", "2026-10-11T08:00:00Z"),
                ("team", "2026-10-12T08:00:00Z"),
                ("whole", "2026-10-13T08:00:00Z"),
            ],
            vec![
                ("11.00", "Team, 11 of 31 days: 31.00 USD × 11/31 days = 11.00 USD"),
                ("62.00", "Whole, a month: a fee of 62.00 USD"),
                ("1.00", "Team, 1 of 31 days: 31.00 USD × 1/31 days = 1.00 USD"),
            ],
        ),
        (
            vec![("bounded", "2026-10-11T08:00:00Z")],
            vec![
                ("11.00", "Team, 11 of 31 days: 31.00 USD × 11/31 days = 11.00 USD"),
                ("20.00", "0 calls = 0.00 USD; at least 31.00 USD × 20/31 days = 20.00 USD"),
            ],
        ),
    ] {
        let mut world = World::new(CATALOG);
        for (plan, at) in plans {
            assert_eq!(changed(world.tell(at, &set(Some(plan), PlanTime::Now))), Ok(true));
        }
        assert_eq!(october(&mut world), lines(&wanted));
    }
    // A cap is shared too; what is used in no day of the plan's own is capped as on one day.
    for (since, capped) in [("2026-10-11T08:00:00Z", "40.00"), ("2026-10-31T08:00:00Z", "2.00")] {
        let mut world = World::new(CATALOG);
        assert_eq!(changed(world.tell(since, &set(Some("bounded"), PlanTime::Now))), Ok(true));
        record(&mut world, "2026-10-31T12:00:00Z", "2026-10-31T12:00:00Z", "calls", "500");
        assert_eq!(october(&mut world)[1].0, capped, "{since}");
    }
}

#[test]
fn a_flat_fee_for_usage_is_owed_where_something_is_used() {
    let set_at = |world: &mut World, plan, at| {
        assert_eq!(changed(world.tell(at, &set(Some(plan), PlanTime::Now))), Ok(true), "{plan} {at}");
    };
    let team = ("6.00", "Team, 6 of 31 days: 31.00 USD × 6/31 days = 6.00 USD");
    let fee = ("10.00", "5 calls: a fee of 10.00 USD");
    let charged = ("0.00", "5 calls: 10.00 USD × 0/31 days = 0.00 USD");
    // Whole and once, with the first stretch of the plan in which something is used.
    for (used, wanted) in [
        (&["2026-10-08T12:00:00Z"][..], &[team, fee][..]),
        (&["2026-10-25T12:00:00Z"], &[team, fee]),
        (&["2026-10-08T12:00:00Z", "2026-10-25T12:00:00Z"], &[team, fee, charged]),
        (&[], &[team]),
    ] {
        let mut world = World::new(CATALOG);
        set_at(&mut world, "charged", "2026-10-06T08:00:00Z");
        set_at(&mut world, "free", "2026-10-11T08:00:00Z");
        set_at(&mut world, "charged", "2026-10-21T08:00:00Z");
        for own in used {
            record(&mut world, "2026-10-26T00:00:00Z", own, "calls", "5");
        }
        assert_eq!(october(&mut world), lines(wanted), "{used:?}");
    }
    // After a change on the last day of the month no day is the plan's own: by days it is owed as of one.
    let team = ("31.00", "Team, a month: a fee of 31.00 USD");
    let one_day = ("1.00", "5 calls: 31.00 USD × 1/31 days = 1.00 USD");
    for (plan, wanted) in [("charged", fee), ("shared", one_day)] {
        let mut world = World::new(CATALOG);
        set_at(&mut world, plan, "2026-10-31T08:00:00Z");
        record(&mut world, "2026-10-31T12:00:00Z", "2026-10-31T12:00:00Z", "calls", "5");
        assert_eq!(october(&mut world), lines(&[team, wanted]));
    }
}

#[test]
fn a_change_is_scheduled_replaced_and_called_off() {
    let mut world = World::new(CATALOG);
    let now = "2026-10-05T12:00:00Z";
    let tell = |world: &mut World, command: &OrgCommand| changed(world.tell(now, command));
    assert_eq!(tell(&mut world, &OrgCommand::CallOffPlan), Ok(false), "nothing is scheduled");
    assert_eq!(tell(&mut world, &set(Some("big"), PlanTime::NextMonth)), Ok(true));
    assert_eq!(tell(&mut world, &set(Some("big"), PlanTime::NextMonth)), Ok(false), "it is scheduled");
    assert_eq!(tell(&mut world, &set(Some("free"), PlanTime::NextMonth)), Ok(true), "it is replaced");
    let plan_at = |world: &World, at: &str| {
        let org = world.state.org().expect("an org");
        org.plans.plan_at(at.parse().expect("a time")).map(ToString::to_string)
    };
    assert_eq!(plan_at(&world, "2026-10-31T22:59:59Z").as_deref(), Some("team"));
    assert_eq!(plan_at(&world, "2026-10-31T23:00:00Z").as_deref(), Some("free"), "the month of Berlin");
    assert_eq!(tell(&mut world, &OrgCommand::CallOffPlan), Ok(true));
    assert_eq!(plan_at(&world, "2026-12-01T00:00:00Z").as_deref(), Some("team"));
    assert_eq!(tell(&mut world, &set(None, PlanTime::NextMonth)), Ok(true));
    assert_eq!(tell(&mut world, &set(Some("team"), PlanTime::Now)), Ok(true), "to stay calls it off");
    assert!(matches!(world.entries.last().map(|entry| &entry.kind), Some(EntryKind::PlanCalledOff)));
    assert_eq!(tell(&mut world, &set(Some("big"), PlanTime::Day(20_000))), Err(ConfigDenial::PlanInPast));
    assert_eq!(tell(&mut world, &set(Some("trial"), PlanTime::NextMonth)), Err(ConfigDenial::TrialScheduled));
    let [usd, jpy] = ["USD", "JPY"].map(|code| Currency::new(code).expect("a currency"));
    let other = Err(ConfigDenial::CurrencyChange { from: usd, to: jpy });
    assert_eq!(tell(&mut world, &set(Some("yen"), PlanTime::Now)), other);
    assert_eq!(tell(&mut world, &set(Some("yen"), PlanTime::NextMonth)), Ok(true), "a month begins with it");
}

#[test]
fn a_month_that_has_not_begun_has_no_bill() {
    let world = World::new(CATALOG);
    let moments = Moments::new("2026-10-31T22:59:59Z".parse().expect("a time"));
    let found = world.ask(|state| bill(state, &world.context(&moments), OCTOBER + 1));
    assert_eq!(found, Err(BillError::NotBegun));
}
