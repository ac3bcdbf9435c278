//! What the usage of a month comes to, and what a closed bill is.

use std::collections::BTreeMap;

use tollgate_domain::{
    Amount, BillError, Check, CloseDenial, Counter, Group, OrgCommand, OrgDecision, Period, Reverse, Scope,
};

use crate::world::{OCTOBER, World, key, meter, quantity};

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
    aggregation = "count"
    [[plans]]
    id = "team"
    name = "Team"
    allowances = [
        { meter = "tokens", amount = 5, enforcement = "soft" },
        { meter = "calls", amount = 2 },
    ]
    [[plans.prices]]
    meter = "tokens"
    model = "per_unit"
    quantity = "overage"
    unit_price = 1
    [[plans.prices]]
    meter = "calls"
    model = "per_unit"
    unit_price = 10
"#;

#[test]
fn a_group_holds_its_own_overage_and_gives_it_back() {
    let mut world = World::new(CATALOG);
    let tokens = meter("tokens");
    assert!(world.uses("2026-10-02T00:00:00Z", "tokens", "4", "a"));
    assert!(world.uses("2026-10-02T00:00:01Z", "tokens", "3", "b"));
    let held = |world: &World| -> Vec<(Option<String>, Amount, Amount)> {
        let groups = world.state.groups(&tokens, Period::month(OCTOBER)).expect("groups");
        let held = |(group, counter): (&Group, &Counter)| {
            (group.to_map().remove("model"), counter.value, counter.extras().overage)
        };
        groups.iter().map(held).collect()
    };
    let whole = Amount::from_whole;
    let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
    assert_eq!(held(&world), [(a.clone(), whole(4), whole(0)), (b.clone(), whole(3), whole(2))]);
    let key = key("2026-10-02T00:00:01Z tokens 3 b");
    world.tell("2026-11-09T00:00:00Z", &OrgCommand::Reverse(Reverse { key }));
    assert_eq!(held(&world), [(a, whole(4), whole(0)), (b, whole(0), whole(0))]);
}

#[test]
fn a_counting_meter_counts_one_whatever_the_quantity() {
    let mut world = World::new(CATALOG);
    assert!(world.uses("2026-10-02T00:00:00Z", "calls", "500", "a"));
    let meter = meter("calls");
    let check = Check {
        user: None,
        path: None,
        meter: meter.clone(),
        quantity: quantity("70"),
        properties: BTreeMap::new(),
    };
    let asked = world.tell("2026-10-02T00:00:00Z", &OrgCommand::Check(check));
    assert!(matches!(asked, OrgDecision::Check(checked) if checked.result.is_ok()));
    assert!(world.uses("2026-10-02T00:00:01Z", "calls", "0.25", "a"));
    assert!(!world.uses("2026-10-02T00:00:02Z", "calls", "1", "a"), "two are all");
    let month = world.state.counter(&meter, &Scope::Org, Period::month(OCTOBER));
    assert_eq!(month.value, Amount::from_whole(2));
    assert!(world.state.groups(&meter, Period::month(OCTOBER)).is_none(), "it declares no properties");
}

#[test]
fn a_month_is_closed_once_when_it_is_over_in_the_zone_of_the_org() {
    let mut world = World::new(CATALOG);
    assert!(world.uses("2026-10-02T00:00:00Z", "tokens", "9", "a"));
    assert_eq!(world.close("2026-10-31T22:59:59Z", OCTOBER), Err(CloseDenial::MonthRuns));
    let closed = world.close("2026-10-31T23:00:00Z", OCTOBER).expect("it is over");
    assert_eq!((closed.bill.number, closed.bill.total.number()), (Some(1), "4.00".to_owned()));
    assert!(closed.entry.is_some());
    let again = world.close("2026-12-01T00:00:00Z", OCTOBER).expect("it is closed");
    assert_eq!((again.entry, &again.bill), (None, &closed.bill));
    assert_eq!(world.close("2026-12-01T00:00:00Z", OCTOBER - 1), Err(CloseDenial::LaterClosed));
}

#[test]
fn months_close_in_order() {
    let mut world = World::new(CATALOG);
    assert!(world.uses("2026-10-02T00:00:00Z", "tokens", "9", "a"));
    assert!(world.uses("2026-11-02T00:00:00Z", "tokens", "8", "a"));
    let now = "2027-02-01T00:00:00Z";
    let open = |month| Err(CloseDenial::EarlierOpen(Period::month(month)));
    assert_eq!(world.close(now, OCTOBER + 2), open(OCTOBER));
    assert_eq!(world.close(now, OCTOBER - 1), Err(CloseDenial::Bill(BillError::NoPlan)), "it had no plan");
    assert_eq!(world.close(now, OCTOBER + 4), Err(CloseDenial::MonthRuns));
    assert_eq!(world.close(now, OCTOBER + 5), Err(CloseDenial::Bill(BillError::NotBegun)));
    for (number, month) in (1..).zip(OCTOBER..OCTOBER + 3) {
        assert_eq!(world.close(now, month).expect("it is its turn").bill.number, Some(number));
        assert_eq!(world.close(now, month + 2).is_ok(), month + 2 <= OCTOBER, "{month}");
    }
}
