//! Credit: how much of it may be open, and what the forecast remembers of the days.

use tollgate_domain::limits::OPEN_GRANTS_MAX;
use tollgate_domain::{
    Amount, ConfigDenial, DayUse, OrgCommand, OrgDecision, Period, Reverse, TopUpExpiry, ToppedUp, Use,
};

use crate::world::{World, key, meter, top_up, usage};

const CATALOG: &str = r#"
    [[meters]]
    id = "tokens"
    name = "Tokens"
    unit = "token"
    [[meters]]
    id = "seats"
    name = "Seats"
    unit = "seat"
    aggregation = "max"
    [[plans]]
    id = "team"
    name = "Team"
    allowances = [{ meter = "tokens", amount = 1000 }]
"#;

fn tops_up(world: &mut World, at: &str, expiry: TopUpExpiry) -> Result<ToppedUp, ConfigDenial> {
    match world.tell(at, &top_up("1", expiry)) {
        OrgDecision::TopUp(result) => result.map(|topped_up| *topped_up),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_so_many_grants_are_open_and_those_that_expired_make_room() {
    let mut world = World::new(CATALOG);
    let expiry = TopUpExpiry::At("2026-10-20T00:00:00Z".parse().expect("a time"));
    for _ in 0..OPEN_GRANTS_MAX {
        tops_up(&mut world, "2026-10-10T00:00:00Z", expiry).expect("there is room");
    }
    let last = "2026-10-19T23:59:59.999999999Z";
    assert_eq!(tops_up(&mut world, last, TopUpExpiry::Never), Err(ConfigDenial::TooMany));
    tops_up(&mut world, "2026-10-20T00:00:00Z", TopUpExpiry::Never).expect("all the others have expired");
}

fn days(world: &World, of: &str) -> Vec<DayUse> {
    world.state.account(&meter(of)).map(|account| account.days.clone()).unwrap_or_default()
}

fn day(label: &str, amount: i64) -> DayUse {
    DayUse { day: Period::parse_day(label).expect("a day").number, amount: Amount::from_whole(amount) }
}

#[test]
fn the_forecast_remembers_the_days_on_which_usage_happened_in_the_zone_of_the_org() {
    let mut world = World::new(CATALOG);
    let mut record = |key_text: &str, occurred_at: &str, amount: &str| {
        let occurred_at = Some(occurred_at.parse().expect("a time"));
        let record = OrgCommand::Record(Use { occurred_at, ..usage(key(key_text), "tokens", amount) });
        let told = world.tell("2026-10-12T00:00:00Z", &record);
        assert!(matches!(told, OrgDecision::Record(Ok(_))), "{told:?}");
    };
    record("a", "2026-10-10T21:59:59Z", "5");
    record("b", "2026-10-10T22:00:00Z", "7");
    record("c", "2026-10-08T12:00:00Z", "2");
    record("d", "2026-10-11T12:00:00Z", "3");
    assert_eq!(days(&world, "tokens"), [day("2026-10-08", 2), day("2026-10-10", 5), day("2026-10-11", 10)]);
    world.tell("2026-10-13T00:00:00Z", &OrgCommand::Reverse(Reverse { key: key("b") }));
    assert_eq!(days(&world, "tokens"), [day("2026-10-08", 2), day("2026-10-10", 5), day("2026-10-11", 3)]);
}

#[test]
fn what_does_not_add_up_has_no_days() {
    let mut world = World::new(CATALOG);
    let told = world.tell("2026-10-12T00:00:00Z", &OrgCommand::Record(usage(key("a"), "seats", "5")));
    assert!(matches!(told, OrgDecision::Record(Ok(_))), "{told:?}");
    assert_eq!(days(&world, "seats"), []);
}

#[test]
fn only_credit_that_is_asked_and_left_runs_out() {
    for (enforcement, used, runs_out) in [
        ("hard", "600", true),
        ("overdraft", "600", true),
        ("hard", "1000", false),
        ("soft", "600", false),
        ("none", "600", false),
    ] {
        let asked = format!("amount = 1000, enforcement = \"{enforcement}\" }}");
        let mut world = World::new(&CATALOG.replace("amount = 1000 }", &asked));
        let at = "2026-10-10T00:00:00Z";
        world.tell(at, &OrgCommand::Use(usage(key("a"), "tokens", used)));
        let balance = world.balance(at);
        let pace = balance.meters.first().and_then(|(_, tokens)| tokens.pace).expect("a forecast");
        assert!(pace.projected > Amount::from_whole(1000), "{enforcement} {used}");
        assert_eq!(pace.runs_out_on.is_some(), runs_out, "{enforcement} {used}");
    }
}
