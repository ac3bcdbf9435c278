//! Limits by windows that go by usage, and by weeks and months from a day on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use tollgate_domain::{
    Amount, Capture, Denial, EntryKind, LimitScope, Notice, NoticeKind, OnExpiry, OrgCommand, OrgDecision,
    PlanId, PutOrg, ReachedLimit, Reverse, SetLimit, SetPlan, SignedDuration, Standing, TakeHold, Timestamp,
    UsageKey, Use, UserId, Window, Zone,
};

use crate::world::{World, key, meter, usage};

const CATALOG: &str = r#"
    [[meters]]
    id = "calls"
    name = "Calls"
    unit = "call"
    [[plans]]
    id = "team"
    name = "Team"
    allowances = [{ meter = "calls", amount = 0, enforcement = "none" }]
"#;

fn world(scope: LimitScope, window: &str) -> World {
    let mut world = World::new(CATALOG);
    limit(&mut world, scope, window);
    world
}

/// At most ten calls.
fn limit(world: &mut World, scope: LimitScope, window: &str) {
    let window: Window = window.parse().expect("a window");
    let set = SetLimit { meter: meter("calls"), scope, window, amount: Some(Amount::from_whole(10)) };
    let set = world.tell("2026-10-01T00:00:00Z", &OrgCommand::SetLimit(set));
    assert!(matches!(set, OrgDecision::Change(Ok(_))), "{set:?}");
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn calls(world: &World, quantity: &str) -> Use {
    usage(key(&format!("k{}", world.entries.len())), "calls", quantity)
}

fn refused(decision: OrgDecision) -> Option<ReachedLimit> {
    match decision {
        OrgDecision::Use(Ok(_)) => None,
        OrgDecision::Use(Err(denied)) => match denied.denial {
            Denial::OrgLimitReached(limit) | Denial::UserLimitReached(limit) => Some(limit),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Uses calls; when they would pass instead, if they do not.
fn used(world: &mut World, now: &str, quantity: &str) -> Result<(), Option<Timestamp>> {
    let calls = calls(world, quantity);
    refused(world.tell(now, &OrgCommand::Use(calls))).map_or(Ok(()), |limit| Err(limit.resets_at))
}

fn recorded(world: &mut World, now: &str, happened: &str, quantity: &str) {
    let calls = Use { occurred_at: Some(at(happened)), ..calls(world, quantity) };
    let recorded = world.tell(now, &OrgCommand::Record(calls));
    assert!(matches!(recorded, OrgDecision::Record(Ok(_))), "{recorded:?}");
}

fn take_back(world: &mut World, now: &str, key: &str) {
    let key = UsageKey::new(key).expect("an id");
    let reversed = world.tell(now, &OrgCommand::Reverse(Reverse { key }));
    assert!(matches!(reversed, OrgDecision::Reverse(Ok(_))), "{reversed:?}");
}

/// What the balance says is used of the first limit, and when it resets.
fn line(world: &World, now: &str) -> (Amount, Option<Timestamp>) {
    let balance = world.balance(now);
    let line = balance.meters[0].1.limits[0].clone();
    (line.used.expect("an amount"), line.resets_at)
}

#[test]
fn a_rolling_window_lets_go_of_usage_slot_by_slot() {
    let mut world = world(LimitScope::Org, "rolling_5h");
    assert_eq!(line(&world, "2026-10-05T12:00:00Z"), (Amount::ZERO, None));
    assert_eq!(used(&mut world, "2026-10-05T12:04:59Z", "6"), Ok(()));
    assert_eq!(used(&mut world, "2026-10-05T13:00:00Z", "4"), Ok(()));
    // A slot is five minutes: the first leaves after five hours and what is left of it.
    let first = at("2026-10-05T17:05:00Z");
    assert_eq!(used(&mut world, "2026-10-05T13:01:00Z", "1"), Err(Some(first)));
    assert_eq!(used(&mut world, "2026-10-05T17:04:59.999999999Z", "1"), Err(Some(first)));
    let ten = (Amount::from_whole(10), Some(at("2026-10-05T18:05:00Z")));
    assert_eq!(line(&world, "2026-10-05T17:04:59.999999999Z"), ten);
    assert_eq!(line(&world, "2026-10-05T17:05:00Z"), (Amount::from_whole(4), ten.1));
    assert_eq!(used(&mut world, "2026-10-05T17:05:00Z", "1"), Ok(()));
    // What needs more than the oldest slot to leave waits for the next; what never fits, until all have.
    let waits =
        [("6", "2026-10-05T18:05:00Z"), ("10", "2026-10-05T22:10:00Z"), ("11", "2026-10-05T22:10:00Z")];
    for (quantity, until) in waits {
        assert_eq!(used(&mut world, "2026-10-05T17:06:00Z", quantity), Err(Some(at(until))), "{quantity}");
    }
    assert_eq!(line(&world, "2026-10-05T22:10:00Z"), (Amount::ZERO, None));
    assert_eq!(used(&mut world, "2026-10-05T22:10:00Z", "10"), Ok(()));
}

#[test]
fn no_stretch_of_a_rolling_window_s_length_has_more_than_the_limit() {
    let mut world = world(LimitScope::Org, "rolling_1h");
    let mut passed = Vec::new();
    let start = at("2026-10-24T20:00:00Z").as_second();
    // Over the night in which the clocks go back, at odd seconds.
    for step in 0..1_500 {
        let now = start + step * 37;
        let text = Timestamp::from_second(now).expect("a time").to_string();
        if used(&mut world, &text, "1").is_ok() {
            passed.push(now);
        }
    }
    let most = passed
        .iter()
        .map(|from| passed.iter().filter(|at| (*from..from + 3_600).contains(*at)).count())
        .max();
    assert_eq!(most, Some(10));
    assert!(passed.len() >= 10 * 15, "hardly a slot is lost: {}", passed.len());
}

#[test]
fn a_window_from_the_first_use_begins_with_the_usage_after_it() {
    let mut world = world(LimitScope::Org, "first_use_5h");
    assert_eq!(line(&world, "2026-10-24T21:00:00Z"), (Amount::ZERO, None), "it has not begun");
    assert_eq!(used(&mut world, "2026-10-24T21:00:30Z", "11"), Err(None), "that begins none");
    // The clocks go back in between: five hours are five hours.
    assert_eq!(used(&mut world, "2026-10-24T21:00:45Z", "10"), Ok(()));
    let end = at("2026-10-25T02:00:00Z");
    assert_eq!(line(&world, "2026-10-24T22:00:00Z"), (Amount::from_whole(10), Some(end)));
    assert_eq!(used(&mut world, "2026-10-25T01:59:59.999999999Z", "1"), Err(Some(end)));
    assert_eq!(line(&world, "2026-10-25T02:00:00Z"), (Amount::ZERO, None));
    assert_eq!(used(&mut world, "2026-10-25T09:30:00Z", "10"), Ok(()));
    assert_eq!(used(&mut world, "2026-10-25T12:00:00Z", "1"), Err(Some(at("2026-10-25T14:30:00Z"))));
}

#[test]
fn a_clock_that_steps_back_opens_no_window_twice() {
    for window in ["rolling_5h", "first_use_5h", "rolling_7d", "first_use_7d"] {
        let mut world = world(LimitScope::Org, window);
        assert_eq!(used(&mut world, "2026-10-05T12:00:00Z", "10"), Ok(()), "{window}");
        for now in ["2026-10-05T11:59:00Z", "2026-10-05T05:00:00Z", "2026-10-02T00:00:00Z"] {
            let resets_at =
                used(&mut world, now, "1").expect_err("there is nothing left").expect("it resets");
            assert!(resets_at >= at("2026-10-05T17:00:00Z"), "{window}: {resets_at}");
        }
    }
}

#[test]
fn late_usage_counts_in_the_window_of_its_own_time_if_it_still_runs() {
    let mut first = world(LimitScope::Org, "first_use_5h");
    assert_eq!(used(&mut first, "2026-10-05T12:00:00Z", "4"), Ok(()));
    recorded(&mut first, "2026-10-05T12:10:00Z", "2026-10-05T11:00:00Z", "3");
    assert_eq!(line(&first, "2026-10-05T12:10:00Z").0, Amount::from_whole(4), "it was before the window");
    recorded(&mut first, "2026-10-05T18:00:00Z", "2026-10-05T16:59:00Z", "5");
    assert_eq!(line(&first, "2026-10-05T16:59:59Z").0, Amount::from_whole(9));
    assert_eq!(
        used(&mut first, "2026-10-05T18:00:00Z", "10"),
        Ok(()),
        "the window of the late usage is over"
    );
    recorded(&mut first, "2026-10-05T18:01:00Z", "2026-10-05T18:05:00Z", "1");
    let end = Some(at("2026-10-05T23:00:00Z"));
    assert_eq!(line(&first, "2026-10-05T18:01:00Z"), (Amount::from_whole(11), end), "ahead is now");

    let mut rolling = world(LimitScope::Org, "rolling_5h");
    recorded(&mut rolling, "2026-10-05T18:00:00Z", "2026-10-05T14:00:00Z", "4");
    recorded(&mut rolling, "2026-10-05T18:00:00Z", "2026-10-05T11:00:00Z", "3");
    recorded(&mut rolling, "2026-10-05T18:00:00Z", "2026-10-05T18:20:00Z", "1");
    assert_eq!(
        line(&rolling, "2026-10-05T18:00:00Z").0,
        Amount::from_whole(5),
        "of now, and of four hours ago"
    );
    assert_eq!(line(&rolling, "2026-10-05T19:05:00Z").0, Amount::from_whole(1));
}

#[test]
fn what_is_taken_back_leaves_the_window_it_was_counted_in() {
    for window in ["rolling_5h", "first_use_5h"] {
        let mut world = world(LimitScope::Org, window);
        for (now, key) in [("2026-10-05T12:00:00Z", "first"), ("2026-10-05T13:00:00Z", "second")] {
            world.tell(now, &OrgCommand::Use(usage(UsageKey::new(key).expect("an id"), "calls", "5")));
        }
        take_back(&mut world, "2026-10-05T13:30:00Z", "second");
        assert_eq!(line(&world, "2026-10-05T13:30:00Z").0, Amount::from_whole(5), "{window}");
        assert_eq!(used(&mut world, "2026-10-05T18:30:00Z", "10"), Ok(()), "{window}");
        take_back(&mut world, "2026-10-05T18:31:00Z", "first");
        assert_eq!(line(&world, "2026-10-05T18:31:00Z").0, Amount::from_whole(10), "it was gone: {window}");
    }
}

#[test]
fn each_user_has_windows_of_its_own() {
    let mut world = world(LimitScope::EachUser, "first_use_5h");
    let used_by = |world: &mut World, now: &str, user: &str, quantity: &str| {
        let user = Some(UserId::new(user).expect("an id"));
        let calls = Use { user, ..calls(world, quantity) };
        refused(world.tell(now, &OrgCommand::Use(calls)))
    };
    let until = |limit: Option<ReachedLimit>| limit.and_then(|limit| limit.resets_at);
    assert_eq!(used_by(&mut world, "2026-10-05T12:00:00Z", "ann", "10"), None);
    assert_eq!(used_by(&mut world, "2026-10-05T14:00:00Z", "bob", "10"), None);
    let of_ann = until(used_by(&mut world, "2026-10-05T16:59:00Z", "ann", "1"));
    assert_eq!(of_ann, Some(at("2026-10-05T17:00:00Z")));
    assert_eq!(used_by(&mut world, "2026-10-05T17:00:00Z", "ann", "10"), None);
    let of_bob = until(used_by(&mut world, "2026-10-05T17:00:00Z", "bob", "1"));
    assert_eq!(of_bob, Some(at("2026-10-05T19:00:00Z")));
    // The org's is checked first; it has counted since it was set.
    limit(&mut world, LimitScope::Org, "rolling_1d");
    assert_eq!(used_by(&mut world, "2026-10-05T19:00:00Z", "bob", "10"), None);
    let of_org = used_by(&mut world, "2026-10-05T19:01:00Z", "bob", "1").expect("both are used up");
    assert_eq!((of_org.user, of_org.window), (None, "rolling_1d".parse().ok()));
    assert_eq!(of_org.resets_at, Some(at("2026-10-06T19:12:00Z")));
}

#[test]
fn a_hold_takes_room_in_the_window_that_runs_and_counts_when_it_is_captured() {
    for window in ["rolling_5h", "first_use_5h"] {
        let mut world = world(LimitScope::Org, window);
        let hold = TakeHold {
            usage: calls(&world, "8"),
            within: None,
            secs: 80_000,
            overrun: Amount::ZERO,
            on_expiry: OnExpiry::Release,
        };
        let held = world.tell("2026-10-05T10:00:00Z", &OrgCommand::Hold(hold));
        let OrgDecision::Hold(Ok(held)) = held else { panic!("{held:?}") };
        assert_eq!(line(&world, "2026-10-05T10:00:00Z").0, Amount::ZERO, "{window}: it burns nothing");
        assert_eq!(used(&mut world, "2026-10-05T10:01:00Z", "2"), Ok(()), "{window}");
        assert!(used(&mut world, "2026-10-05T10:01:00Z", "1").is_err(), "{window}");
        // Six hours later the usage has left, and the hold has not.
        assert!(used(&mut world, "2026-10-05T16:00:00Z", "3").is_err(), "{window}");
        let capture = Capture { hold: held.hold.number, quantity: Some(Amount::from_whole(6)), part: None };
        let captured = world.tell("2026-10-05T16:00:00Z", &OrgCommand::Capture(capture));
        assert!(matches!(captured, OrgDecision::Capture(Ok(_))), "{captured:?}");
        assert_eq!(line(&world, "2026-10-05T16:00:00Z").0, Amount::from_whole(6), "{window}");
        assert_eq!(used(&mut world, "2026-10-05T20:59:00Z", "4"), Ok(()), "{window}");
        assert!(used(&mut world, "2026-10-05T20:59:00Z", "1").is_err(), "{window}");
    }
}

/// It counts where the hold reserved its room, which is another month than the org has now.
#[test]
fn a_capture_tells_of_the_month_as_it_is_after_the_zone_of_the_org_changed() {
    let mut world = World::new(CATALOG);
    let ann = UserId::new("ann").expect("an id");
    // In Berlin it is November already.
    let (usage, secs) = (Use { user: Some(ann), ..calls(&world, "8") }, 80_000);
    let (overrun, on_expiry) = (Amount::ZERO, OnExpiry::Release);
    let hold = TakeHold { usage, within: None, secs, overrun, on_expiry };
    let held = world.tell("2026-10-31T23:10:00Z", &OrgCommand::Hold(hold));
    let OrgDecision::Hold(Ok(held)) = held else { panic!("{held:?}") };
    let zone = Some(Zone::UTC);
    world.tell("2026-10-31T23:20:00Z", &OrgCommand::Put(PutOrg { name: None, zone, metadata: None }));
    let capture = Capture { hold: held.hold.number, quantity: Some(Amount::from_whole(6)), part: None };
    let captured = world.tell("2026-10-31T23:30:00Z", &OrgCommand::Capture(capture));
    let OrgDecision::Capture(Ok(captured)) = captured else { panic!("{captured:?}") };
    let Standing { used, held, user_used, .. } = captured.standing;
    assert_eq!((used, held, user_used), (Amount::ZERO, Amount::ZERO, Some(Amount::ZERO)), "October");
}

#[test]
fn months_go_by_the_day_the_plan_began_in_the_zone_of_the_org() {
    let mut world = world(LimitScope::Org, "plan_month");
    let set = |plan: Option<&str>| {
        let plan = plan.map(|plan| PlanId::new(plan).expect("an id"));
        OrgCommand::SetPlan(SetPlan { plan, from: tollgate_domain::PlanTime::Now })
    };
    // In Berlin it is the 31st already.
    world.tell("2026-12-05T00:00:00Z", &set(None));
    world.tell("2027-01-30T23:00:00Z", &set(Some("team")));
    assert_eq!(used(&mut world, "2027-01-30T23:30:00Z", "10"), Ok(()));
    // February has 28 days; in March the clocks have gone forward.
    for (now, end) in [
        ("2027-02-27T22:59:59Z", "2027-02-27T23:00:00Z"),
        ("2027-03-30T21:59:59Z", "2027-03-30T22:00:00Z"),
        ("2027-04-29T21:59:59Z", "2027-04-29T22:00:00Z"),
    ] {
        assert_eq!(used(&mut world, now, "1"), Err(Some(at(end))), "{now}");
        assert_eq!(line(&world, now), (Amount::from_whole(10), Some(at(end))));
        assert_eq!(used(&mut world, end, "10"), Ok(()), "{end}");
    }
    // Usage that is told late counts in the month of its own time.
    recorded(&mut world, "2027-04-30T00:00:00Z", "2027-04-29T20:00:00Z", "1");
    let Some(EntryKind::Used(late)) = world.entries.last().map(|entry| &entry.kind) else { panic!("none") };
    let labels: BTreeMap<_, _> = late.periods.iter().map(|period| (period.window, period.label())).collect();
    assert_eq!(
        labels.get(&"month_from_31".parse().expect("a window")).map(String::as_str),
        Some("2027-03-31")
    );
}

/// The limits that were told of as reached: of which window instance, and of how much.
fn told(world: &World) -> Vec<(String, Amount)> {
    let reached = |notice: &Notice| match (notice.period, &notice.kind) {
        (Some(period), NoticeKind::LimitReached { limit, credit: false, .. }) => {
            Some((period.label(), *limit))
        }
        _ => None,
    };
    world.entries.iter().flat_map(|entry| &entry.notices).filter_map(reached).collect()
}

/// The label of the month from a day on that holds a moment.
fn month_from(day: i8, zone: &TimeZone, at: Timestamp) -> String {
    let date = zone.to_datetime(at).date();
    let first_of = |month: Date| month.with().day(day.min(month.days_in_month())).build().expect("a date");
    let this = first_of(date.first_of_month());
    let first = if date >= this {
        this
    } else {
        first_of(date.first_of_month().yesterday().expect("a date").first_of_month())
    };
    first.to_string()
}

/// Over the ends of short months, in leap years and others, while the org moves between zones: each month is told of once, in
/// whatever order usage comes.
#[test]
fn a_limit_of_a_month_from_a_day_is_told_once_in_each() {
    let zones = ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "America/New_York", "Africa/Cairo"];
    for (day, from, until) in (28..=31_i8).flat_map(|day| {
        let years =
            [("2026-12-25", "2027-05-05"), ("2027-12-25", "2028-05-05"), ("2028-07-25", "2028-12-05")];
        years.map(|(from, until)| (day, from, until))
    }) {
        for stays in [true, false] {
            let mut world = world(LimitScope::Org, &format!("month_from_{day}"));
            let mut wanted = BTreeSet::new();
            let (mut at, end) = (at(&format!("{from}T00:00:00Z")), at(&format!("{until}T00:00:00Z")));
            let mut moments = Vec::new();
            while at < end {
                // Midnight is a moment of each of the zones on some step, and so is the moment before it.
                moments.extend([at - SignedDuration::from_nanos(1), at]);
                let is_near = !(4..27).contains(&at.to_zoned(TimeZone::UTC).day());
                at += SignedDuration::from_hours(if is_near { 1 } else { 24 });
            }
            for (step, now) in moments.iter().enumerate() {
                let zone =
                    zones[if stays { usize::from(day.unsigned_abs()) } else { step / 100 } % zones.len()];
                if step % 100 == 0 {
                    let zone = Some(Zone::new(zone).expect("a zone"));
                    let put = PutOrg { name: None, zone, metadata: None };
                    world.tell(&now.to_string(), &OrgCommand::Put(put));
                }
                let zone = TimeZone::get(zone).expect("a zone");
                wanted.insert(month_from(day, &zone, *now));
                recorded(&mut world, &now.to_string(), &now.to_string(), "11");
                // Of what happened earlier, nothing is told again.
                if step % 37 == 0 {
                    let earlier = moments[step / 2];
                    wanted.insert(month_from(day, &zone, earlier));
                    recorded(&mut world, &now.to_string(), &earlier.to_string(), "11");
                }
            }
            let told = told(&world);
            let periods: BTreeSet<String> = told.iter().map(|(period, _)| period.clone()).collect();
            assert_eq!(told.len(), periods.len(), "month_from_{day} from {from}, {stays}: {told:?}");
            assert_eq!(periods, wanted, "month_from_{day} from {from}, {stays}");
        }
    }
}

/// A plan that began on the 31st has months from the 31st on, so its limit goes by the counter of the org's own limit.
#[test]
fn limits_that_go_by_one_counter_are_told_once_each() {
    for (of_plan, own) in [(5, 9), (9, 5), (7, 7)] {
        for step in [1, 3, 20] {
            let limits = format!(
                "limits = [{{ meter = \"calls\", scope = \"org\", window = \"plan_month\", amount = {of_plan} }}]"
            );
            let mut world = World::new(&format!("{CATALOG}\n{limits}"));
            let team = || Some(PlanId::new("team").expect("an id"));
            for (now, plan) in [("2026-12-05T00:00:00Z", None), ("2027-01-30T23:00:00Z", team())] {
                let set = SetPlan { plan, from: tollgate_domain::PlanTime::Now };
                world.tell(now, &OrgCommand::SetPlan(set));
            }
            let set = SetLimit {
                meter: meter("calls"),
                scope: LimitScope::Org,
                window: "month_from_31".parse().expect("a window"),
                amount: Some(Amount::from_whole(own)),
            };
            world.tell("2027-02-01T00:00:00Z", &OrgCommand::SetLimit(set));
            for (day, minutes) in [("2027-02-10", 0..40), ("2027-03-10", 0..40)] {
                for minute in minutes {
                    let now = format!("{day}T00:{minute:02}:00Z");
                    recorded(&mut world, &now, &now, &step.to_string());
                }
            }
            let amounts: BTreeSet<i64> = [of_plan, own].into();
            let each = |period: &str| {
                amounts
                    .iter()
                    .map(|amount| (period.to_owned(), Amount::from_whole(*amount)))
                    .collect::<Vec<_>>()
            };
            let wanted = [each("2027-01-31"), each("2027-02-28")].concat();
            assert_eq!(told(&world), wanted, "{of_plan} and {own}, {step} at a time");
        }
    }
}

#[test]
fn weeks_go_from_their_day_in_the_zone_of_the_org() {
    let mut world = world(LimitScope::Org, "week_from_sunday");
    assert_eq!(used(&mut world, "2026-10-18T10:00:00Z", "10"), Ok(()));
    // In Berlin; the clocks go back on the second Sunday.
    for (now, end) in
        [("2026-10-24T21:59:59Z", "2026-10-24T22:00:00Z"), ("2026-10-31T22:59:59Z", "2026-10-31T23:00:00Z")]
    {
        assert_eq!(used(&mut world, now, "1"), Err(Some(at(end))), "{now}");
        assert_eq!(line(&world, now), (Amount::from_whole(10), Some(at(end))));
        assert_eq!(used(&mut world, end, "10"), Ok(()), "{end}");
    }
    // In New York it is Saturday again, and the week that begins there is the one that began in Berlin.
    let zone = Some(Zone::new("America/New_York").expect("a zone"));
    world.tell("2026-10-31T23:01:00Z", &OrgCommand::Put(PutOrg { name: None, zone, metadata: None }));
    for (now, end) in
        [("2026-10-31T23:01:00Z", "2026-11-01T04:00:00Z"), ("2026-11-01T04:00:00Z", "2026-11-08T05:00:00Z")]
    {
        assert_eq!(used(&mut world, now, "1"), Err(Some(at(end))), "{now}");
    }
    // Usage that is told late counts in the week of its own time.
    recorded(&mut world, "2026-11-01T05:00:00Z", "2026-10-24T23:00:00Z", "1");
    let Some(EntryKind::Used(late)) = world.entries.last().map(|entry| &entry.kind) else { panic!("none") };
    let sunday = "week_from_sunday".parse().expect("a window");
    let week = late.periods.iter().find(|period| period.window == sunday).map(|period| period.label());
    assert_eq!(week.as_deref(), Some("2026-10-18"));
}

#[test]
fn only_what_adds_up_is_limited_by_windows_that_go_by_usage() {
    let peaks = CATALOG.replace("unit = \"call\"", "unit = \"call\"\naggregation = \"max\"");
    let mut world = World::new(&peaks);
    for (window, refused) in
        [("rolling_5h", true), ("first_use_7d", true), ("month_from_15", false), ("week_from_sunday", false)]
    {
        let set = |amount| {
            let window = window.parse().expect("a window");
            OrgCommand::SetLimit(SetLimit { meter: meter("calls"), scope: LimitScope::Org, window, amount })
        };
        let decided = world.tell("2026-10-01T00:00:00Z", &set(Some(Amount::from_whole(10))));
        let is_refused =
            matches!(decided, OrgDecision::Change(Err(tollgate_domain::ConfigDenial::MeterWithoutSum)));
        assert_eq!(is_refused, refused, "{window}: {decided:?}");
        let removed = world.tell("2026-10-01T00:00:00Z", &set(None));
        assert!(matches!(removed, OrgDecision::Change(Ok(_))), "{window}: {removed:?}");
    }
    let limited = "limits = [{ meter = \"calls\", scope = \"org\", window = \"rolling_5h\", amount = 5 }]";
    let faults = tollgate_domain::Catalog::from_toml(&format!("{peaks}{limited}")).expect_err("a fault");
    assert!(faults.to_string().contains("cannot go by 'rolling_5h'"), "{faults}");
}
