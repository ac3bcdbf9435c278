//! Debt: what an overdraft took is settled by the next credit, whatever becomes of that credit afterwards.

use tollgate_domain::{
    Amount, Burn, Capture, Denial, OnExpiry, OrgCommand, OrgDecision, PlanId, Reverse, SetPlan, Source,
    TakeHold, Timestamp, TopUp, TopUpExpiry, TopUpStart,
};

use crate::world::{World, key, meter, top_up, usage};

const CATALOG: &str = r#"
    [[meters]]
    id = "tokens"
    name = "Tokens"
    unit = "token"
    [[plans]]
    id = "team"
    name = "Team"
    allowances = [{ meter = "tokens", amount = 5, enforcement = "overdraft" }]
    [[plans]]
    id = "larger"
    name = "Larger"
    allowances = [{ meter = "tokens", amount = 12, enforcement = "overdraft" }]
    [[plans]]
    id = "trial"
    name = "Trial"
    trial_days = 14
    allowances = [{ meter = "tokens", amount = 7 }]
"#;

impl World {
    /// Uses tokens under a key; what remains, or why not.
    fn takes(&mut self, at: &str, named: &str, amount: &str) -> Result<i64, Denial> {
        match self.tell(at, &OrgCommand::Use(usage(key(named), "tokens", amount))) {
            OrgDecision::Use(Ok(allowed)) => {
                Ok(allowed.standing.remaining.and_then(Amount::as_whole).expect("credit is asked"))
            }
            OrgDecision::Use(Err(denied)) => Err(denied.denial),
            other => panic!("{other:?}"),
        }
    }

    /// Adds credit; what remains.
    fn adds(&mut self, at: &str, command: &OrgCommand) -> i64 {
        match self.tell(at, command) {
            OrgDecision::TopUp(Ok(topped_up)) => {
                topped_up.standing.remaining.and_then(Amount::as_whole).expect("credit is asked")
            }
            other => panic!("{other:?}"),
        }
    }

    fn remaining(&self, at: &str) -> i64 {
        let remaining = self.balance(at).meters.first().and_then(|(_, tokens)| tokens.remaining);
        remaining.and_then(Amount::as_whole).expect("credit is asked")
    }

    fn settled_by_last(&self) -> &[Burn] {
        &self.entries.last().expect("there are entries").settled
    }
}

fn burns(all: &[(Source, i64)]) -> Vec<Burn> {
    all.iter().map(|(source, amount)| Burn { source: *source, amount: Amount::from_whole(*amount) }).collect()
}

fn until(text: &str) -> TopUpExpiry {
    TopUpExpiry::At(text.parse().expect("a time"))
}

#[test]
fn a_top_up_pays_the_debt_and_may_expire_afterwards() {
    let mut world = World::new(CATALOG);
    assert_eq!(world.takes("2026-10-05T00:00:00Z", "a", "15"), Ok(-10));
    let top_up = top_up("10", until("2026-10-07T00:00:00Z"));
    assert_eq!(world.adds("2026-10-06T00:00:00Z", &top_up), 0);
    let grant = world.entries.last().expect("the top-up").number;
    assert_eq!(world.settled_by_last(), burns(&[(Source::Grant(grant), 10), (Source::Overdraft, -10)]));
    assert_eq!(world.remaining("2026-10-08T00:00:00Z"), 0, "it burned, so it did not expire");
    assert_eq!(world.remaining("2026-11-05T00:00:00Z"), 5);
    assert_eq!(world.takes("2026-11-05T00:00:00Z", "b", "2"), Ok(3));
}

#[test]
fn each_month_pays_with_its_allowance_whether_anybody_asks_in_it_or_not() {
    let debts = [
        ("2026-10-31T12:00:00Z", -10),
        ("2026-11-15T00:00:00Z", -5),
        ("2026-12-15T00:00:00Z", 0),
        ("2027-01-15T00:00:00Z", 5),
        ("2027-02-15T00:00:00Z", 5),
    ];
    for asks_in_each in [false, true] {
        let mut world = World::new(CATALOG);
        assert_eq!(world.takes("2026-10-05T00:00:00Z", "a", "15"), Ok(-10));
        for (at, left) in debts {
            assert_eq!(world.remaining(at), left, "{at}");
            if asks_in_each && left <= 0 {
                assert!(matches!(world.takes(at, at, "1"), Err(Denial::OutOfCredit(_))), "{at}");
                assert_eq!(world.remaining(at), left, "a refusal settles and takes nothing: {at}");
            }
        }
        assert_eq!(world.takes("2027-02-20T00:00:00Z", "z", "1"), Ok(4));
    }
}

#[test]
fn a_refusal_that_settles_is_written_down() {
    let mut world = World::new(CATALOG);
    world.takes("2026-10-05T00:00:00Z", "a", "15").expect("it may go below zero once");
    world.takes("2026-10-06T00:00:00Z", "b", "1").expect_err("it is out of credit");
    world.takes("2026-11-06T00:00:00Z", "c", "1").expect_err("it is out of credit");
    let settled = world.settled_by_last();
    assert!(matches!(
        settled,
        [Burn { source: Source::Allowance(_), .. }, Burn { source: Source::Overdraft, .. }]
    ));
    assert_eq!(settled.iter().map(|burn| burn.amount).sum::<Amount>(), Amount::ZERO);
    let before = world.entries.len();
    world.takes("2026-11-07T00:00:00Z", "d", "1").expect_err("it is out of credit");
    assert_eq!(world.entries.len(), before, "nothing is left to settle, and nobody needs to know twice");
}

#[test]
fn credit_that_comes_later_settles_when_it_comes() {
    let mut world = World::new(CATALOG);
    world.takes("2026-10-05T00:00:00Z", "a", "15").expect("it may go below zero once");
    let OrgCommand::TopUp(later) = top_up("8", until("2026-10-12T00:00:00Z")) else { unreachable!() };
    let at: Timestamp = "2026-10-10T00:00:00Z".parse().expect("a time");
    let start = TopUpStart::At { at, written_month: 0 };
    assert_eq!(world.adds("2026-10-06T00:00:00Z", &OrgCommand::TopUp(TopUp { start, ..later })), -10);
    assert_eq!(world.remaining("2026-10-09T00:00:00Z"), -10);
    assert_eq!(world.remaining("2026-10-11T00:00:00Z"), -2);
    // It expired unasked in the meantime, and has paid all the same.
    assert_eq!(world.remaining("2026-10-20T00:00:00Z"), -2);
    assert_eq!(world.remaining("2026-11-20T00:00:00Z"), 3);
}

/// A hold within another, and what ends one, are entries like all others.
#[test]
fn credit_that_is_over_when_a_hold_ends_has_settled_all_the_same() {
    let take = |named: &str, within: Option<u64>| {
        let usage = usage(key(named), "tokens", "1");
        let (secs, overrun, on_expiry) = (30 * 86_400, Amount::ZERO, OnExpiry::Release);
        OrgCommand::Hold(TakeHold { usage, within, secs, overrun, on_expiry })
    };
    let capture = |quantity| Capture { hold: 3, quantity: Some(Amount::from_whole(quantity)), part: None };
    for (last, left) in [
        (OrgCommand::Release(3), -2),
        (OrgCommand::Capture(capture(0)), -2),
        (OrgCommand::Capture(capture(1)), -3),
        (take("b", Some(3)), -3),
    ] {
        let mut world = World::new(CATALOG);
        let taken = world.tell("2026-10-05T00:00:00Z", &take("a", None));
        assert!(matches!(&taken, OrgDecision::Hold(Ok(taken)) if taken.hold.number == 3), "{taken:?}");
        assert_eq!(world.takes("2026-10-05T00:00:00Z", "c", "15"), Ok(-11));
        let OrgCommand::TopUp(later) = top_up("8", until("2026-10-12T00:00:00Z")) else { unreachable!() };
        let at: Timestamp = "2026-10-10T00:00:00Z".parse().expect("a time");
        let start = TopUpStart::At { at, written_month: 0 };
        world.adds("2026-10-06T00:00:00Z", &OrgCommand::TopUp(TopUp { start, ..later }));
        assert_eq!(world.remaining("2026-10-20T00:00:00Z"), -3);
        let decided = world.tell("2026-10-20T00:00:00Z", &last);
        let is_done = matches!(
            decided,
            OrgDecision::Release(Ok(_)) | OrgDecision::Capture(Ok(_)) | OrgDecision::Hold(Ok(_))
        );
        assert!(is_done, "{decided:?}");
        assert_eq!(world.remaining("2026-10-20T00:00:00Z"), left, "{last:?}");
    }
}

/// The hold reserved under the plan before; what it gives counts in the month all the same.
#[test]
fn a_capture_tells_what_it_took_though_another_plan_came_at_the_moment_of_its_hold() {
    let mut world = World::new(CATALOG);
    let now = "2026-10-05T00:00:00Z";
    let usage = usage(key("a"), "tokens", "3");
    let (secs, overrun, on_expiry) = (600, Amount::ZERO, OnExpiry::Release);
    world.tell(now, &OrgCommand::Hold(TakeHold { usage, within: None, secs, overrun, on_expiry }));
    world.tell(now, &OrgCommand::SetPlan(SetPlan::now(PlanId::new("larger").expect("an id"))));
    let part = Capture { hold: 3, quantity: Some(Amount::from_whole(2)), part: Some(key("b")) };
    let captured = world.tell(now, &OrgCommand::Capture(part));
    let OrgDecision::Capture(Ok(captured)) = captured else { panic!("{captured:?}") };
    let standing = captured.standing;
    let told = [standing.granted, standing.used, standing.held].map(Amount::as_whole);
    assert_eq!(told, [12, 2, 1].map(Some), "{standing:?}");
    assert_eq!(standing.remaining.and_then(Amount::as_whole), Some(9));
    assert_eq!(world.remaining(now), 9);
}

#[test]
fn a_plan_set_at_the_moment_of_the_last_entry_settles_though_its_credit_is_over() {
    // Unasked, the rest of October's 12 and then November's; the trial's 7, and nothing after it.
    for (plan, november) in [("larger", 9), ("trial", -3)] {
        let mut world = World::new(CATALOG);
        let at = "2026-10-05T00:00:00Z";
        assert_eq!(world.takes(at, "a", "15"), Ok(-10));
        let plan = PlanId::new(plan).expect("an id");
        world.tell(at, &OrgCommand::SetPlan(SetPlan::now(plan.clone())));
        assert_eq!(world.remaining(at), -3, "{plan}");
        assert_eq!(world.remaining("2026-10-06T00:00:00Z"), -3, "{plan}");
        assert_eq!(world.remaining("2026-11-05T00:00:00Z"), november, "{plan}");
    }
}

#[test]
fn usage_that_is_taken_back_gives_back_what_paid_for_it() {
    let mut world = World::new(CATALOG);
    let reverse = |named| OrgCommand::Reverse(Reverse { key: key(named) });
    // Before anything was paid: what was owed is owed no longer.
    world.takes("2026-10-05T00:00:00Z", "a", "15").expect("it may go below zero once");
    world.tell("2026-10-05T01:00:00Z", &reverse("a"));
    assert_eq!(world.remaining("2026-10-05T02:00:00Z"), 5);
    // A part was paid by a top-up that still runs.
    world.takes("2026-10-06T00:00:00Z", "b", "15").expect("it may go below zero once");
    assert_eq!(world.adds("2026-10-07T00:00:00Z", &top_up("7", TopUpExpiry::Never)), -3);
    let grant = world.entries.last().expect("the top-up").number;
    world.tell("2026-10-08T00:00:00Z", &reverse("b"));
    assert_eq!(world.settled_by_last(), burns(&[(Source::Grant(grant), -7), (Source::Overdraft, 7)]));
    assert_eq!(world.remaining("2026-10-09T00:00:00Z"), 12, "the month's 5 and the 7");
    let account = world.state.account(&meter("tokens")).expect("an account");
    assert_eq!(account.overdrafts, []);
}

#[test]
fn credit_that_paid_and_expired_does_not_come_back() {
    let mut world = World::new(CATALOG);
    world.takes("2026-10-05T00:00:00Z", "a", "15").expect("it may go below zero once");
    world.adds("2026-10-06T00:00:00Z", &top_up("10", until("2026-10-07T00:00:00Z")));
    world.tell("2026-10-08T00:00:00Z", &OrgCommand::Reverse(Reverse { key: key("a") }));
    assert_eq!(world.remaining("2026-10-09T00:00:00Z"), 5, "the month's own");
}

#[test]
fn each_usage_gives_back_what_paid_for_itself() {
    let mut world = World::new(CATALOG);
    let reverse = |named| OrgCommand::Reverse(Reverse { key: key(named) });
    world.takes("2026-10-05T00:00:00Z", "a", "15").expect("it may go below zero once");
    world.adds("2026-10-06T00:00:00Z", &top_up("10", until("2026-10-07T00:00:00Z")));
    assert_eq!(world.takes("2026-11-05T00:00:00Z", "b", "12"), Ok(-7));
    world.tell("2026-11-06T00:00:00Z", &reverse("a"));
    assert_eq!(world.remaining("2026-11-07T00:00:00Z"), -7, "what paid for October has expired");
    world.tell("2026-11-08T00:00:00Z", &reverse("b"));
    assert_eq!(world.remaining("2026-11-09T00:00:00Z"), 5);
}

#[test]
fn credit_that_comes_back_settles_what_is_owed() {
    let mut world = World::new(CATALOG);
    world.takes("2026-10-05T00:00:00Z", "a", "3").expect("there is credit");
    assert_eq!(world.takes("2026-10-06T00:00:00Z", "b", "12"), Ok(-10));
    world.tell("2026-10-07T00:00:00Z", &OrgCommand::Reverse(Reverse { key: key("a") }));
    assert_eq!(world.remaining("2026-10-08T00:00:00Z"), -7);
    assert_eq!(world.remaining("2026-11-08T00:00:00Z"), -2);
}
