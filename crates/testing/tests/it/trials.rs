//! Trials, and changes of plan.

use jiff::SignedDuration;
use tollgate_domain::{Denial, TopUpExpiry, catalog};

use crate::months::{Org, at, before};

const START: &str = "2028-02-20T09:30:00Z";

/// Fourteen days of 24 hours later, over a leap day.
const END: &str = "2028-03-05T09:30:00Z";

#[test]
fn a_trial_ends_with_its_fourteenth_day() {
    for zone in ["UTC", "Europe/Berlin", "Pacific/Kiritimati"] {
        let mut org = Org::new();
        org.zone(at(START), zone);
        org.plan(at(START), "trial").expect("a first trial");
        org.left_after_one(at(START), "9");
        // The trial's credit is given once, not each month.
        org.left_after_one(at("2028-03-01T12:00:00Z"), "8");
        org.left_after_one(before(at(END)), "7");
        assert_eq!(org.consume(at(END), "1"), Err(Denial::TrialEnded));
        assert_eq!(org.consume(at("2029-01-01T00:00:00Z"), "1"), Err(Denial::TrialEnded));
        assert_eq!(org.top_up(at(END), "5", TopUpExpiry::Never), Err("TrialEnded".to_owned()));
        assert_eq!(org.plan(at(END), "trial"), Ok(()), "it is the org's plan already: nothing changes");
        assert_eq!(org.consume(at(END), "1"), Err(Denial::TrialEnded));
    }
}

#[test]
fn a_trial_ends_with_its_tenth_report() {
    let mut org = Org::new();
    let mut now = at(START);
    org.plan(now, "trial").expect("a first trial");
    for left in ["9", "8", "7", "6", "5", "4", "3", "2", "1", "0"] {
        now += SignedDuration::from_hours(1);
        org.left_after_one(now, left);
    }
    assert_eq!(org.consume(now, "1"), Err(Denial::TrialEnded));
    org.top_up(now, "5", TopUpExpiry::Never).expect("credit may be added as long as the trial's time runs");
    assert_eq!(org.consume(now, "5").as_deref(), Ok("0"));
    assert_eq!(org.consume(now, "1"), Err(Denial::TrialEnded));
}

#[test]
fn more_than_a_trial_has_left_is_refused_and_the_rest_stays() {
    let mut org = Org::new();
    let now = at(START);
    org.plan(now, "trial").expect("a first trial");
    assert_eq!(org.consume(now, "8").as_deref(), Ok("2"));
    assert!(matches!(org.consume(now, "3"), Err(Denial::OutOfCredit(_))));
    assert_eq!(org.consume(now, "2").as_deref(), Ok("0"));
}

#[test]
fn a_trial_that_runs_can_be_topped_up() {
    let mut org = Org::new();
    let now = at(START);
    org.plan(now, "trial").expect("a first trial");
    assert_eq!(org.consume(now, "9").as_deref(), Ok("1"));
    org.top_up(now, "5", TopUpExpiry::Never).expect("the trial runs");
    assert_eq!(org.consume(now, "6").as_deref(), Ok("0"));
    assert_eq!(org.consume(now, "1"), Err(Denial::TrialEnded));
}

#[test]
fn an_org_has_one_trial_and_its_usage_does_not_count_against_a_plan() {
    let mut org = Org::new();
    let now = at(START);
    org.plan(now, "trial").expect("a first trial");
    assert_eq!(org.consume(now, "10").as_deref(), Ok("0"));
    org.plan(now, "lite").expect("a plan ends the trial");
    assert_eq!(org.consume(now, "1").as_deref(), Ok("19"));
    assert_eq!(org.plan(now, "trial"), Err("TrialUsed".to_owned()));
    assert_eq!(org.consume(now, "1").as_deref(), Ok("18"));
}

#[test]
fn a_trial_in_the_middle_of_a_month_leaves_the_plan_what_it_had() {
    let mut org = Org::new();
    let now = at(START);
    org.plan(now, "lite").expect("the plan is offered");
    assert_eq!(org.consume(now, "16").as_deref(), Ok("4"));
    org.plan(now, "trial").expect("a first trial");
    assert_eq!(org.consume(now, "8").as_deref(), Ok("2"));
    org.plan(now, "lite").expect("the plan is offered");
    assert_eq!(org.consume(now, "1").as_deref(), Ok("3"));
}

#[test]
fn a_change_of_plan_keeps_what_was_used() {
    let mut org = Org::new();
    let now = at("2026-11-10T00:00:00Z");
    assert_eq!(org.consume(now, "1"), Err(Denial::UnknownOrg));
    org.zone(now, "UTC");
    assert_eq!(org.consume(now, "1"), Err(Denial::NoPlan));
    assert_eq!(org.top_up(now, "1", TopUpExpiry::Never), Err("NoPlan".to_owned()));
    org.plan(now, "basic").expect("the plan is offered");
    assert_eq!(org.consume(now, "60").as_deref(), Ok("40"));
    org.plan(now, "enterprise").expect("the plan is offered");
    assert_eq!(org.consume(now, "10").as_deref(), Ok("430"));
    // Smaller than what was used: nothing is left, and never less than nothing.
    org.plan(now, "lite").expect("the plan is offered");
    org.is_out(now);
    org.top_up(now, "5", TopUpExpiry::EndOfMonth).expect("an org that is out may be topped up");
    assert_eq!(org.consume(now, "2").as_deref(), Ok("3"));
    org.plan(now, "basic").expect("the plan is offered");
    assert_eq!(org.consume(now, "1").as_deref(), Ok("32"));
    assert_eq!(org.consume(at("2026-12-01T00:00:00Z"), "1").as_deref(), Ok("99"));
}

#[test]
fn a_retired_plan_stays_with_those_who_have_it() {
    let now = at("2026-11-10T00:00:00Z");
    let retired = catalog::DEFAULT.replace("deprecated = true", "retired = true");
    assert_ne!(retired, catalog::DEFAULT, "the default catalog marks one plan as deprecated");
    let mut org = Org::new();
    org.plan(now, "lite").expect("deprecated is still offered");
    org.apply_catalog(now, &retired);
    assert_eq!(org.consume(now, "1").as_deref(), Ok("19"));
    assert_eq!(org.plan(now, "lite"), Ok(()), "setting the same plan again changes nothing");
    org.plan(now, "basic").expect("the plan is offered");
    assert!(org.plan(now, "lite").expect_err("it is retired").starts_with("PlanRetired"));
    assert!(
        Org::in_catalog(&retired).plan(now, "lite").expect_err("it is retired").starts_with("PlanRetired")
    );
    assert!(org.plan(now, "gold").expect_err("there is no such plan").starts_with("UnknownPlan"));
}

#[test]
fn an_overdraft_is_settled_by_the_next_credit() {
    let overdraft = catalog::DEFAULT.replace(
        "id = \"lite\"\nname = \"Lite\"\ndeprecated = true # on its way out; set `retired = true` to refuse it to organizations that do not have it\n\
         allowances = [{ meter = \"reports\", amount = 20 }]",
        "id = \"lite\"\nname = \"Lite\"\nallowances = [{ meter = \"reports\", amount = 20, enforcement = \"overdraft\" }]",
    );
    assert_ne!(overdraft, catalog::DEFAULT, "the default catalog has the plan as written here");
    let mut org = Org::in_catalog(&overdraft);
    let now = at("2026-11-10T00:00:00Z");
    org.plan(now, "lite").expect("the plan is offered");
    assert_eq!(org.consume(now, "18").as_deref(), Ok("2"));
    assert_eq!(org.consume(now, "7").as_deref(), Ok("-5"), "the last usage may go below zero");
    assert!(matches!(org.consume(now, "1"), Err(Denial::OutOfCredit(_))), "once");
    let december = at("2026-12-01T00:00:00Z");
    assert!(matches!(org.consume(before(december), "1"), Err(Denial::OutOfCredit(_))));
    assert_eq!(org.consume(december, "1").as_deref(), Ok("14"), "20, less the debt of 5, less 1");
}
