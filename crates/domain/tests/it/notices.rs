//! Notices: what people are told of a usage, and when.

use tollgate_domain::limits::TRIAL_ENDING_SECS;
use tollgate_domain::{
    Amount, BudgetStage, EntryKind, GatewayBudget, NoticeKind, OrgCommand, OrgDecision, Period,
    SignedDuration, TellBudget, Timestamp, TopUpExpiry, Use, UserId,
};

use crate::world::{World, key, top_up, usage};

const CATALOG: &str = r#"
    [[meters]]
    id = "tokens"
    name = "Tokens"
    unit = "token"
    [[meters]]
    id = "calls"
    name = "Calls"
    unit = "call"
    [[meters]]
    id = "jobs"
    name = "Jobs"
    unit = "job"
    [[plans]]
    id = "team"
    name = "Team"
    allowances = [
        { meter = "tokens", amount = 100 },
        { meter = "jobs", amount = 100, enforcement = "none" },
    ]
"#;

const TRIAL: &str = r#"
    [[meters]]
    id = "tokens"
    name = "Tokens"
    unit = "token"
    [[plans]]
    id = "team"
    name = "Team"
    trial_days = 14
    allowances = [{ meter = "tokens", amount = 100 }]
"#;

/// Uses or records some, under a key of its own; what people are told.
fn told(
    world: &mut World,
    at: &str,
    command: impl FnOnce(Use) -> OrgCommand,
    of: &str,
    amount: &str,
) -> Vec<NoticeKind> {
    let entries = world.entries.len();
    let answer = world.tell(at, &command(usage(key(&format!("{at} {entries}")), of, amount)));
    let took = matches!(answer, OrgDecision::Use(Ok(_)) | OrgDecision::Record(Ok(_)));
    assert!(took, "{answer:?}");
    let entry = world.entries.last().expect("it made one");
    entry.notices.iter().map(|notice| notice.kind.clone()).collect()
}

fn is_on_track(kind: &NoticeKind) -> bool {
    matches!(kind, NoticeKind::OnTrackToRunOut { .. })
}

/// Three of the 31 days are over in Berlin: the pace of 20 comes to more than 200.
const THREE_DAYS: &str = "2026-10-03T22:00:00Z";

#[test]
fn the_forecast_speaks_once_a_fifth_is_used_and_again_when_there_is_more_credit() {
    let mut world = World::new(CATALOG);
    let mut uses = |at: &str, amount: &str| told(&mut world, at, OrgCommand::Use, "tokens", amount);
    assert_eq!(uses(THREE_DAYS, "19.999999999"), []);
    let first = uses(THREE_DAYS, "0.000000001");
    let [NoticeKind::OnTrackToRunOut { used, projected, limit, day }] = first.as_slice() else {
        panic!("{first:?}")
    };
    assert_eq!((*used, *limit), (Amount::from_whole(20), Amount::from_whole(100)));
    assert!(*projected > Amount::from_whole(206) && *projected < Amount::from_whole(208), "{projected}");
    assert_eq!(*day, Period::parse_day("2026-10-16").expect("a day").number, "five times three days");
    assert_eq!(uses(THREE_DAYS, "1"), [], "it was told");
    world.tell(THREE_DAYS, &top_up("20", TopUpExpiry::Never));
    let again = told(&mut world, THREE_DAYS, OrgCommand::Use, "tokens", "3");
    assert!(matches!(again.as_slice(), [NoticeKind::OnTrackToRunOut { .. }]), "{again:?}");
}

#[test]
fn the_forecast_is_silent_where_credit_lasts_or_is_gone() {
    for (at, amount, on_track) in [
        (THREE_DAYS, "99.999999999", true),
        (THREE_DAYS, "100", false),
        ("2026-10-30T23:00:00Z", "96", false),
        ("2026-10-30T23:00:00Z", "97", true),
    ] {
        let mut world = World::new(CATALOG);
        let kinds = told(&mut world, at, OrgCommand::Use, "tokens", amount);
        assert_eq!(kinds.iter().any(is_on_track), on_track, "{amount} at {at}: {kinds:?}");
    }
}

#[test]
fn nothing_is_forecast_of_a_month_that_is_over() {
    for (at, on_track) in [("2026-10-04T22:00:00Z", true), ("2026-11-01T23:00:00Z", false)] {
        let mut world = World::new(CATALOG);
        let occurred_at: Option<Timestamp> = Some(THREE_DAYS.parse().expect("a time"));
        let late = |usage: Use| OrgCommand::Record(Use { occurred_at, ..usage });
        let kinds = told(&mut world, at, late, "tokens", "30");
        assert_eq!(kinds.iter().any(is_on_track), on_track, "{at}: {kinds:?}");
    }
}

#[test]
fn thresholds_are_shares_of_credit_that_is_asked() {
    let mut world = World::new(CATALOG);
    assert_eq!(told(&mut world, THREE_DAYS, OrgCommand::Record, "calls", "5"), [], "there is no credit");
    assert_eq!(told(&mut world, THREE_DAYS, OrgCommand::Use, "jobs", "500"), [], "it is not asked");
    let kinds = told(&mut world, THREE_DAYS, OrgCommand::Use, "tokens", "100");
    let names: Vec<&str> = kinds.iter().map(NoticeKind::name).collect();
    assert_eq!(names.last(), Some(&"limit_reached"), "{names:?}");
    assert!(names.contains(&"threshold_crossed"), "{names:?}");
}

/// The shares that were crossed.
fn crossed(kinds: &[NoticeKind]) -> Vec<u8> {
    let percent = |kind: &NoticeKind| match kind {
        NoticeKind::ThresholdCrossed { percent, .. } => Some(*percent),
        _ => None,
    };
    kinds.iter().filter_map(percent).collect()
}

#[test]
fn the_thresholds_of_an_org_take_the_place_of_those_of_its_plan_and_those_of_the_catalogs() {
    let plan = |notices: &str| CATALOG.replace("name = \"Team\"", &format!("name = \"Team\"\n{notices}"));
    let of_all = |text: &str| format!("[notices]\nthresholds = [70, 70, 20]\n{text}");
    let own = |set: Option<&[u8]>| OrgCommand::SetThresholds(set.map(<[u8]>::to_vec));
    for (catalog, set, wanted) in [
        (CATALOG.to_owned(), None, vec![80, 100]),
        (of_all(CATALOG), None, vec![20, 70]),
        (of_all(&plan("notices = { thresholds = [90, 30] }")), None, vec![30, 90]),
        (of_all(&plan("notices = { thresholds = [] }")), None, vec![]),
        (of_all(&plan("notices = { thresholds = [90] }")), Some(&[10_u8, 55][..]), vec![10, 55]),
        (CATALOG.to_owned(), Some(&[]), vec![]),
    ] {
        let mut world = World::new(&catalog);
        if set.is_some() {
            world.tell(THREE_DAYS, &own(set));
        }
        let kinds = told(&mut world, THREE_DAYS, OrgCommand::Use, "tokens", "100");
        assert_eq!(crossed(&kinds), wanted, "{catalog} {set:?}");
    }
}

/// Each once for a crossing, whoever changes them meanwhile; again when there is more credit; and as the plan says when the org
/// no longer does.
#[test]
fn thresholds_that_change_are_told_once_and_again_with_more_credit() {
    const LATE: &str = "2026-10-30T23:00:00Z";
    let mut world = World::new(CATALOG);
    let own = |set: &[u8]| OrgCommand::SetThresholds(Some(set.to_vec()));
    let uses =
        |world: &mut World, amount: &str| crossed(&told(world, LATE, OrgCommand::Use, "tokens", amount));
    let changed = world.tell(LATE, &own(&[25, 60]));
    assert!(matches!(&changed, OrgDecision::Change(Ok(changed)) if changed.entry.is_some()), "{changed:?}");
    let again = world.tell(LATE, &own(&[25, 60]));
    assert!(matches!(&again, OrgDecision::Change(Ok(changed)) if changed.entry.is_none()), "{again:?}");
    assert_eq!(uses(&mut world, "30"), [25]);
    assert_eq!(uses(&mut world, "5"), []);
    world.tell(LATE, &own(&[20, 40, 60]));
    assert_eq!(uses(&mut world, "10"), [40], "20 is less than what was told");
    world.tell(LATE, &own(&[60, 62]));
    assert_eq!(uses(&mut world, "17"), [60, 62]);
    world.tell(LATE, &top_up("100", TopUpExpiry::Never));
    assert_eq!(uses(&mut world, "58"), [60], "120 of 200");
    world.tell(LATE, &OrgCommand::SetThresholds(None));
    assert_eq!(uses(&mut world, "80"), [80, 100], "as the catalog says");
}

/// A trial of 100 that ends at the moment given with it.
fn trial() -> (World, Timestamp) {
    let world = World::new(TRIAL);
    let org = world.state.org().expect("it is known");
    let ends_at = org.trial.as_ref().expect("it is on a trial").ends_at;
    (world, ends_at)
}

fn trial_kinds(kinds: Vec<NoticeKind>) -> Vec<NoticeKind> {
    let of_trial =
        |kind: &NoticeKind| matches!(kind, NoticeKind::TrialEnding { .. } | NoticeKind::TrialEnded { .. });
    kinds.into_iter().filter(of_trial).collect()
}

#[test]
fn a_trial_is_about_to_end_in_its_last_days_and_that_is_told_once() {
    let (mut world, ends_at) = trial();
    let mut uses = |before_secs: i64| {
        let at = (ends_at - SignedDuration::from_secs(before_secs)).to_string();
        trial_kinds(told(&mut world, &at, OrgCommand::Use, "tokens", "1"))
    };
    assert_eq!(uses(TRIAL_ENDING_SECS + 1), []);
    let remaining = Amount::from_whole(98);
    assert_eq!(uses(TRIAL_ENDING_SECS), [NoticeKind::TrialEnding { ends_at, remaining }]);
    assert_eq!(uses(TRIAL_ENDING_SECS - 1), []);
}

#[test]
fn a_trial_is_about_to_end_when_a_fifth_is_left_and_has_ended_when_nothing_is() {
    let (mut world, ends_at) = trial();
    let mut uses = |amount: &str| {
        trial_kinds(told(&mut world, "2026-10-02T00:00:00Z", OrgCommand::Use, "tokens", amount))
    };
    let whole = Amount::from_whole;
    assert_eq!(uses("79.999999999"), []);
    assert_eq!(uses("0.000000001"), [NoticeKind::TrialEnding { ends_at, remaining: whole(20) }]);
    assert_eq!(uses("5"), []);
    assert_eq!(uses("15"), [NoticeKind::TrialEnded { used: whole(100) }]);
}

#[test]
fn a_trial_that_ends_at_once_was_not_about_to() {
    let (mut world, ends_at) = trial();
    let kinds = trial_kinds(told(&mut world, "2026-10-02T00:00:00Z", OrgCommand::Use, "tokens", "100"));
    assert_eq!(kinds, [NoticeKind::TrialEnded { used: Amount::from_whole(100) }]);
    let at = ends_at.to_string();
    assert_eq!(trial_kinds(told(&mut world, &at, OrgCommand::Record, "tokens", "1")), [], "it was told");
}

#[test]
fn usage_recorded_when_the_trial_is_over_says_so_unless_it_is_late() {
    let (mut world, ends_at) = trial();
    let at = (ends_at + SignedDuration::from_hours(1)).to_string();
    let occurred_at = Some(ends_at - SignedDuration::from_hours(1));
    let late = |usage: Use| OrgCommand::Record(Use { occurred_at, ..usage });
    assert_eq!(trial_kinds(told(&mut world, &at, late, "tokens", "1")), []);
    let kinds = trial_kinds(told(&mut world, &at, OrgCommand::Record, "tokens", "1"));
    assert!(matches!(kinds.as_slice(), [NoticeKind::TrialEnded { .. }]), "{kinds:?}");
}

/// A use that is refused; what people are told of that.
fn refused(world: &mut World, at: &str, amount: &str) -> Vec<&'static str> {
    let entries = world.entries.len();
    let answer = world.tell(at, &OrgCommand::Use(usage(key(&format!("{at} {entries}")), "tokens", amount)));
    assert!(matches!(answer, OrgDecision::Use(Err(_))), "{answer:?}");
    world
        .entries
        .iter()
        .skip(entries)
        .flat_map(|entry| &entry.notices)
        .map(|notice| notice.kind.name())
        .collect()
}

#[test]
fn the_first_refusal_is_told_and_that_the_trial_has_ended_once() {
    let (mut world, ends_at) = trial();
    assert_eq!(refused(&mut world, "2026-10-02T00:00:00Z", "101"), ["first_denial"], "the trial goes on");
    assert_eq!(refused(&mut world, "2026-10-02T00:00:00Z", "102"), [""; 0]);
    let at = ends_at.to_string();
    assert_eq!(refused(&mut world, &at, "1"), ["trial_ended"]);
    assert_eq!(refused(&mut world, &at, "2"), [""; 0]);
}

#[test]
fn what_a_gateway_says_of_a_budget_is_told_once_a_day_of_the_org() {
    let mut world = World::new(CATALOG);
    let said = |of: &str, spent: i64| {
        let budget = GatewayBudget {
            gateway: "LiteLLM".to_owned(),
            whose: "team research".to_owned(),
            stage: BudgetStage::Reached,
            spent: Amount::from_whole(spent),
            limit: Amount::from_whole(10),
            projected: None,
        };
        let user = Some(UserId::new("ada").expect("an id"));
        OrgCommand::TellBudget(Box::new(TellBudget { key: key(of), user, budget }))
    };
    // It is October 5 in Berlin until 22:00 UTC.
    for (at, of, spent, told) in [
        ("2026-10-04T22:00:00Z", "a", 10, true),
        ("2026-10-05T21:59:59Z", "a", 12, false),
        ("2026-10-05T21:59:59Z", "b", 12, true),
        ("2026-10-05T22:00:00Z", "a", 12, true),
        ("2026-10-05T22:00:00Z", "a", 13, false),
        ("2027-10-05T22:00:00Z", "a", 13, true),
    ] {
        let count = world.entries.len();
        let answer = world.tell(at, &said(of, spent));
        let OrgDecision::Change(Ok(changed)) = answer else { panic!("{answer:?}") };
        assert_eq!((changed.entry.is_some(), world.entries.len() > count), (told, told), "{of} at {at}");
        if told {
            let entry = world.entries.last().expect("it made one");
            assert!(matches!(entry.kind, EntryKind::BudgetTold { .. }), "{entry:?}");
            let [notice] = entry.notices.as_slice() else { panic!("{entry:?}") };
            let NoticeKind::GatewayBudget(budget) = &notice.kind else { panic!("{notice:?}") };
            assert_eq!(budget.spent, Amount::from_whole(spent));
            assert_eq!(notice.user.as_ref().map(UserId::as_str), Some("ada"));
            assert!(notice.meter.is_none(), "it is of no meter");
        }
    }
    let [day, ..] = world.entries.last().expect("entries").notices.as_slice() else { panic!("no notice") };
    assert_eq!(day.period, Period::parse_day("2027-10-06"));
    // It is told, and changes nothing that anybody decides on.
    let usage = OrgCommand::Use(usage(key("use"), "tokens", "100"));
    assert!(matches!(world.tell("2027-10-05T22:00:00Z", &usage), OrgDecision::Use(Ok(_))));
}
