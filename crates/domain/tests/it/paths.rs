//! Limits on paths below an org: which apply, where usage and holds count, and what a denial says.

use tollgate_domain::catalog::PlanLimitScope;
use tollgate_domain::{
    Amount, Capture, Catalog, Check, Denial, EntryKind, HoldRefused, LimitPath, LimitScope, NoticeKind,
    OnExpiry, OrgCommand, OrgDecision, Reverse, Scope, ScopePath, SetLimit, TakeHold, Timestamp, Use, Window,
};

use crate::world::{World, key, meter, usage};

const CATALOG: &str = r#"
    [[meters]]
    id = "calls"
    name = "Calls"
    unit = "call"
    [[meters]]
    id = "peaks"
    name = "Peaks"
    unit = "call"
    aggregation = "max"
    [[plans]]
    id = "team"
    name = "Team"
    allowances = [{ meter = "calls", amount = 0, enforcement = "none" }]
    limits = [{ meter = "calls", scope = "path", path = "*", window = "day", amount = 100 }]
"#;

const NOW: &str = "2026-10-05T12:00:00Z";

fn path(text: &str) -> ScopePath {
    ScopePath::new(text).expect("a path")
}

fn on(text: &str) -> LimitScope {
    LimitScope::Path(LimitPath::new(text).expect("a path"))
}

fn amount(whole: i64) -> Amount {
    Amount::from_whole(whole)
}

fn limit(world: &mut World, scope: LimitScope, window: &str, amount: Option<i64>) {
    let window: Window = window.parse().expect("a window");
    let amount = amount.map(Amount::from_whole);
    let set = SetLimit { meter: meter("calls"), scope, window, amount };
    let set = world.tell(NOW, &OrgCommand::SetLimit(set));
    assert!(matches!(set, OrgDecision::Change(Ok(_))), "{set:?}");
}

fn calls(world: &World, at: &str, quantity: &str) -> Use {
    let path = (!at.is_empty()).then(|| path(at));
    Use { path, ..usage(key(&format!("k{}", world.entries.len())), "calls", quantity) }
}

/// Uses calls at a path; if they are refused: by which path, in which window, and how much is left.
fn used_at(
    world: &mut World,
    now: &str,
    at: &str,
    quantity: &str,
) -> Result<(), (String, Window, Amount, Option<Timestamp>)> {
    let calls = calls(world, at, quantity);
    match world.tell(now, &OrgCommand::Use(calls)) {
        OrgDecision::Use(Ok(_)) => Ok(()),
        OrgDecision::Use(Err(denied)) => {
            let Denial::PathLimitReached(limit) = &denied.denial else { panic!("{denied:?}") };
            assert_eq!(denied.denial.code(), "path_limit_reached");
            let path = limit.path.clone().expect("a path").to_string();
            Err((path, limit.window.expect("a window"), limit.remaining(), limit.resets_at))
        }
        other => panic!("{other:?}"),
    }
}

/// Who refuses, if anybody.
fn refused_by(world: &mut World, at: &str, quantity: &str) -> Option<String> {
    used_at(world, NOW, at, quantity).err().map(|(path, ..)| path)
}

/// What was counted at a path in a day.
fn counted(world: &World, at: &str) -> Amount {
    let zone = world.state.org().expect("the org").zone.clone();
    let day = zone.period_at(Window::Day, NOW.parse().expect("a time"));
    world.ask(|state| state.counter(&meter("calls"), &Scope::Path(path(at)), day).value)
}

#[test]
fn one_decision_asks_every_limit_along_the_path() {
    let mut world = World::new(CATALOG);
    limit(&mut world, on("research"), "day", Some(20));
    limit(&mut world, on("research/*"), "day", Some(10));
    limit(&mut world, on("research/a/*"), "day", Some(5));
    assert_eq!(used_at(&mut world, NOW, "research/a/1", "5"), Ok(()));
    let midnight: Option<Timestamp> = Some("2026-10-05T22:00:00Z".parse().expect("a time"));
    let refused = Err(("research/a/1".to_owned(), Window::Day, Amount::ZERO, midnight));
    assert_eq!(used_at(&mut world, NOW, "research/a/1", "1"), refused);
    assert_eq!(refused_by(&mut world, "research/a/1/deeper", "1"), Some("research/a/1".to_owned()));
    assert_eq!(used_at(&mut world, NOW, "research/a/2", "4"), Ok(()));
    // Where more than one is full, the outer is named.
    assert_eq!(refused_by(&mut world, "research/a/2", "2"), Some("research/a".to_owned()));
    assert_eq!(used_at(&mut world, NOW, "research/b", "10"), Ok(()));
    assert_eq!(refused_by(&mut world, "research/a/2", "2"), Some("research".to_owned()));
    assert_eq!(used_at(&mut world, NOW, "research", "1"), Ok(()));
    assert_eq!(refused_by(&mut world, "research", "1"), Some("research".to_owned()));
    // Others have room, and what names no path goes by none.
    assert_eq!(refused_by(&mut world, "sales/a/1", "50"), None);
    assert_eq!(used_at(&mut world, NOW, "", "1000"), Ok(()));
    let sums = ["research", "research/a", "research/a/1", "sales"].map(|at| counted(&world, at));
    assert_eq!(sums, [20, 9, 5, 50].map(amount));
}

#[test]
fn a_named_path_takes_the_place_of_each_on_the_same_window_only() {
    let mut world = World::new(CATALOG);
    // Its plan gives each of the first names 100 a day.
    assert_eq!(refused_by(&mut world, "sales", "101"), Some("sales".to_owned()));
    limit(&mut world, on("research"), "day", Some(150));
    assert_eq!(refused_by(&mut world, "research", "150"), None);
    limit(&mut world, on("*"), "hour", Some(7));
    assert_eq!(refused_by(&mut world, "research/a", "8"), Some("research".to_owned()));
    assert_eq!(refused_by(&mut world, "sales", "8"), Some("sales".to_owned()));
    // The org's own number for each takes the place of its plan's.
    limit(&mut world, on("*"), "hour", None);
    limit(&mut world, on("*"), "day", Some(3));
    assert_eq!(refused_by(&mut world, "sales", "4"), Some("sales".to_owned()));
    assert_eq!(refused_by(&mut world, "sales", "3"), None);
    limit(&mut world, on("research"), "day", None);
    assert_eq!(refused_by(&mut world, "research", "1"), Some("research".to_owned()), "150 are used of the 3");
}

#[test]
fn limits_of_the_org_come_before_those_of_paths_and_those_before_the_ones_of_users() {
    let mut world = World::new(CATALOG);
    for (scope, window) in [
        (LimitScope::EachUser, "month"),
        (on("a/b"), "month"),
        (on("a"), "minute"),
        (on("a"), "month"),
        (LimitScope::Org, "minute"),
    ] {
        limit(&mut world, scope, window, Some(1));
    }
    let mut told = Vec::new();
    for (scope, window) in [
        (LimitScope::Org, "minute"),
        (on("a"), "month"),
        (on("a"), "minute"),
        (on("a/b"), "month"),
        (LimitScope::EachUser, "month"),
    ] {
        let user = Some(tollgate_domain::UserId::new("ann").expect("an id"));
        let calls = Use { user, ..calls(&world, "a/b/c", "2") };
        let OrgDecision::Use(Err(denied)) = world.tell(NOW, &OrgCommand::Use(calls)) else {
            panic!("it is refused")
        };
        let limit_of = denied.denial.limit().expect("a limit").clone();
        told.push((denied.denial.code(), limit_of.path.map(String::from), limit_of.window));
        limit(&mut world, scope, window, None);
    }
    let a = || Some("a".to_owned());
    assert_eq!(
        told,
        [
            ("org_limit_reached", None, Some(Window::Minute)),
            ("path_limit_reached", a(), Some(Window::Month)),
            ("path_limit_reached", a(), Some(Window::Minute)),
            ("path_limit_reached", Some("a/b".to_owned()), Some(Window::Month)),
            ("user_limit_reached", None, Some(Window::Month)),
        ]
    );
}

#[test]
fn only_what_a_limit_goes_by_is_counted_along_a_path() {
    let mut world = World::new(CATALOG);
    limit(&mut world, on("a/b"), "rolling_5h", Some(10));
    let counted = |world: &World| {
        let Some(EntryKind::Used(used)) = world.entries.last().map(|entry| &entry.kind) else {
            panic!("it was used")
        };
        let along = used.path.clone().expect("a path");
        let counted: Vec<_> = along.counted.iter().map(|(depth, period)| (*depth, period.window)).collect();
        (along.path.to_string(), counted)
    };
    assert_eq!(used_at(&mut world, NOW, "a/b/c/d", "1"), Ok(()));
    let rolling: Window = "rolling_5h".parse().expect("a window");
    assert_eq!(counted(&world), ("a/b/c/d".to_owned(), vec![(1, Window::Day), (2, rolling)]));
    // The plan's limit is on each first name; nothing is on those below.
    assert_eq!(used_at(&mut world, NOW, "x/y", "1"), Ok(()));
    assert_eq!(counted(&world), ("x/y".to_owned(), vec![(1, Window::Day)]));
    let peak = Use { path: Some(path("x/y")), ..usage(key("peak"), "peaks", "3") };
    world.tell(NOW, &OrgCommand::Record(peak));
    assert_eq!(counted(&world), ("x/y".to_owned(), Vec::new()));
    // Usage of the org moves no more windows because a path has a limit on them.
    let Some(EntryKind::Used(used)) = world.entries.get(4).map(|entry| &entry.kind) else { panic!("used") };
    assert!(used.periods.iter().all(|period| period.window != rolling), "{:?}", used.periods);
}

#[test]
fn what_is_taken_back_or_recorded_is_counted_along_the_path() {
    let mut world = World::new(CATALOG);
    limit(&mut world, on("a/*"), "day", Some(10));
    assert_eq!(used_at(&mut world, NOW, "a/b/c", "4"), Ok(()));
    let late = Use { path: Some(path("a/b")), ..usage(key("late"), "calls", "9") };
    let late = Use { occurred_at: Some("2026-10-05T08:00:00Z".parse().expect("a time")), ..late };
    world.tell(NOW, &OrgCommand::Record(late));
    assert_eq!(["a", "a/b", "a/b/c"].map(|at| counted(&world, at)), [13, 13, 0].map(amount));
    assert_eq!(refused_by(&mut world, "a/b", "1"), Some("a/b".to_owned()));
    world.tell(NOW, &OrgCommand::Reverse(Reverse { key: key("late") }));
    assert_eq!(["a", "a/b"].map(|at| counted(&world, at)), [4, 4].map(amount));
    assert_eq!(refused_by(&mut world, "a/b", "6"), None);
}

#[test]
fn a_key_stands_for_its_path_too() {
    let mut world = World::new(CATALOG);
    let at = |at: Option<&str>| OrgCommand::Use(Use { path: at.map(path), ..usage(key("k"), "calls", "1") });
    let replayed = |decision: OrgDecision| match decision {
        OrgDecision::Use(Ok(allowed)) => Some(allowed.replayed),
        OrgDecision::Use(Err(denied)) => {
            assert_eq!(denied.denial, Denial::KeyReused);
            None
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(replayed(world.tell(NOW, &at(Some("a/b")))), Some(false));
    assert_eq!(replayed(world.tell(NOW, &at(Some("a/b")))), Some(true));
    for other in [Some("a"), Some("a/c"), None] {
        assert_eq!(replayed(world.tell(NOW, &at(other))), None, "{other:?}");
    }
}

#[test]
fn that_the_limit_of_a_path_is_reached_is_told_once() {
    let mut world = World::new(CATALOG);
    limit(&mut world, on("a"), "day", Some(5));
    assert_eq!(used_at(&mut world, NOW, "a/b", "5"), Ok(()));
    let notice = &world.entries.last().expect("an entry").notices[0];
    assert!(matches!(notice.kind, NoticeKind::LimitReached { credit: false, .. }), "{notice:?}");
    assert_eq!((notice.path.clone(), notice.user.clone()), (Some(path("a")), None));
    let late = Use { path: Some(path("a")), ..usage(key("late"), "calls", "9") };
    world.tell(NOW, &OrgCommand::Record(late));
    assert_eq!(world.entries.last().expect("an entry").notices, []);
}

fn hold(world: &mut World, at: &str, quantity: &str, within: Option<u64>) -> Result<u64, Option<String>> {
    let usage = calls(world, at, quantity);
    let (overrun, on_expiry) = (Amount::from_whole(5), OnExpiry::Release);
    let take = TakeHold { usage, within, secs: 600, overrun, on_expiry };
    match world.tell(NOW, &OrgCommand::Hold(take)) {
        OrgDecision::Hold(Ok(taken)) => Ok(taken.hold.number),
        OrgDecision::Hold(Err(HoldRefused::Gate(denied))) => {
            Err(denied.denial.limit().and_then(|limit| limit.path.clone()).map(String::from))
        }
        OrgDecision::Hold(Err(_)) => Err(None),
        other => panic!("{other:?}"),
    }
}

fn capture(world: &mut World, hold: u64, quantity: i64) {
    let capture = Capture { hold, quantity: Some(amount(quantity)), part: None };
    let captured = world.tell(NOW, &OrgCommand::Capture(capture));
    assert!(matches!(captured, OrgDecision::Capture(Ok(_))), "{captured:?}");
}

#[test]
fn a_hold_reserves_room_at_every_path_and_gives_it_back() {
    let mut world = World::new(CATALOG);
    limit(&mut world, on("a"), "day", Some(20));
    limit(&mut world, on("a/*"), "rolling_5h", Some(10));
    let first = hold(&mut world, "a/b/c", "10", None).expect("room");
    assert_eq!(refused_by(&mut world, "a/b", "1"), Some("a/b".to_owned()));
    assert_eq!(hold(&mut world, "a/c", "11", None), Err(Some("a".to_owned())), "10 of the 20 are held");
    let second = hold(&mut world, "a/c", "10", None).expect("room");
    assert_eq!(refused_by(&mut world, "a", "1"), Some("a".to_owned()));
    capture(&mut world, first, 4);
    assert_eq!(counted(&world, "a"), amount(4));
    assert_eq!(refused_by(&mut world, "a/b", "7"), Some("a".to_owned()));
    assert_eq!(refused_by(&mut world, "a/b", "6"), None);
    world.tell(NOW, &OrgCommand::Release(second));
    assert_eq!(refused_by(&mut world, "a/c", "10"), None);
    assert_eq!(counted(&world, "a"), amount(20));
}

#[test]
fn a_limit_that_is_set_after_a_hold_does_not_know_what_it_captures() {
    let mut world = World::new(CATALOG);
    let held = hold(&mut world, "a", "10", None).expect("room");
    limit(&mut world, on("a"), "hour", Some(10));
    capture(&mut world, held, 10);
    assert_eq!(world.entries.last().expect("an entry").notices, []);
    assert_eq!(refused_by(&mut world, "a", "10"), None);
}

#[test]
fn a_sub_run_has_its_budget_out_of_the_run_and_a_limit_of_its_own() {
    let mut world = World::new(CATALOG);
    limit(&mut world, on("agent/*"), "day", Some(50));
    limit(&mut world, on("agent/run-1/*"), "day", Some(20));
    let run = hold(&mut world, "agent/run-1", "40", None).expect("room");
    // A hold within another lies at or below its path.
    assert_eq!(hold(&mut world, "agent/run-2", "1", Some(run)), Err(None));
    assert_eq!(hold(&mut world, "agent", "1", Some(run)), Err(None));
    assert_eq!(
        hold(&mut world, "agent/run-1/search", "21", Some(run)),
        Err(Some("agent/run-1/search".to_owned()))
    );
    let search = hold(&mut world, "agent/run-1/search", "15", Some(run)).expect("room");
    let more = hold(&mut world, "agent/run-1/search", "6", Some(run));
    assert_eq!(more, Err(Some("agent/run-1/search".to_owned())), "15 of the 20 are held");
    // What the run reserved is reserved once.
    assert_eq!(refused_by(&mut world, "agent/run-1", "11"), Some("agent/run-1".to_owned()));
    capture(&mut world, search, 12);
    assert_eq!(hold(&mut world, "agent/run-1/search", "8", Some(run)).map(|_| ()), Ok(()));
    let sums = ["agent", "agent/run-1", "agent/run-1/search"].map(|at| counted(&world, at));
    assert_eq!(sums, [12, 12, 12].map(amount));
    capture(&mut world, run, 20);
    assert_eq!(
        refused_by(&mut world, "agent/run-1", "11"),
        Some("agent/run-1".to_owned()),
        "8 are still held"
    );
    assert_eq!(refused_by(&mut world, "agent/run-1", "10"), None);
}

#[test]
fn a_check_and_the_balance_say_how_paths_stand() {
    let mut world = World::new(CATALOG);
    limit(&mut world, on("a/b"), "day", Some(10));
    assert_eq!(used_at(&mut world, NOW, "a/b/c", "4"), Ok(()));
    let check = Check {
        user: None,
        path: Some(path("a/b")),
        meter: meter("calls"),
        quantity: usage(key("k"), "calls", "7").quantity,
        properties: std::collections::BTreeMap::new(),
    };
    let OrgDecision::Check(checked) = world.tell(NOW, &OrgCommand::Check(check)) else { panic!("a check") };
    let steps: Vec<_> = checked.steps.iter().filter(|step| step.check == "limit").collect();
    let told: Vec<_> = steps.iter().map(|step| (step.passed, step.detail.as_str())).collect();
    assert_eq!(
        told,
        [
            (true, "path 'a' a day: 4 of 100 used, 7 asked"),
            (false, "path 'a/b' a day: 4 of 10 used, 7 asked"),
        ]
    );
    let balance = world.balance(NOW);
    let lines = &balance.meters[0].1.limits;
    let lines: Vec<_> = lines.iter().map(|line| (line.scope.clone(), line.amount, line.used)).collect();
    assert_eq!(lines, [(on("*"), amount(100), None), (on("a/b"), amount(10), Some(amount(4)))]);
}

#[test]
fn a_plan_s_limit_on_paths_names_them() {
    let catalog = Catalog::from_toml(CATALOG).expect("a catalog");
    let limit = &catalog.plans.first().expect("a plan").limits[0];
    assert_eq!(limit.scope, PlanLimitScope::Path);
    assert_eq!(limit.path, Some(LimitPath::Each(None)));
    for (from, to) in
        [(", path = \"*\"", ""), ("scope = \"path\"", "scope = \"user\""), ("\"*\"", "\"a//b\"")]
    {
        let wrong = CATALOG.replace(from, to);
        assert_ne!(wrong, CATALOG);
        let refused = Catalog::from_toml(&wrong).expect_err("it is wrong").0;
        assert!(
            refused.contains("such as \"research\"") || refused.contains("such as research"),
            "{refused}"
        );
    }
}
