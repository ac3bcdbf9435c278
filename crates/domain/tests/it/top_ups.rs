//! Top-ups: from when until when they count, and how they are taken back.

use tollgate_domain::{
    Amount, ConfigDenial, OrgCommand, OrgDecision, Period, PlanId, SetPlan, Timestamp, TopUp, TopUpExpiry,
    TopUpStart, ToppedUp, Void, VoidTarget, Voided,
};

use crate::world::{World, key, meter, quantity, top_up, usage};

const CATALOG: &str = r#"
    [[meters]]
    id = "tokens"
    name = "Tokens"
    unit = "token"
    [[plans]]
    id = "team"
    name = "Team"
    allowances = [{ meter = "tokens", amount = 5 }]
    [[plans]]
    id = "trial"
    name = "Trial"
    trial_days = 14
    allowances = [{ meter = "tokens", amount = 10 }]
"#;

const NOW: &str = "2026-10-10T00:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn day(label: &str) -> i32 {
    Period::parse_day(label).expect("a day").number
}

fn month(label: &str) -> i32 {
    Period::parse_month(label).expect("a month").number
}

fn written(text: &str, label: &str) -> TopUpStart {
    TopUpStart::At { at: time(text), written_month: month(label) }
}

impl World {
    fn tops_up(&mut self, at: &str, change: impl FnOnce(&mut TopUp)) -> Result<ToppedUp, ConfigDenial> {
        let OrgCommand::TopUp(mut command) = top_up("10", TopUpExpiry::EndOfMonth) else { unreachable!() };
        change(&mut command);
        match self.tell(at, &OrgCommand::TopUp(command)) {
            OrgDecision::TopUp(result) => result.map(|topped_up| *topped_up),
            other => panic!("{other:?}"),
        }
    }

    fn voids(
        &mut self,
        at: &str,
        target: VoidTarget,
        amount: Option<&str>,
        named: Option<&str>,
    ) -> Result<Voided, ConfigDenial> {
        let amount = amount.map(quantity);
        let void = Void { target, amount, key: named.map(key), reason: Some("by mistake".to_owned()) };
        match self.tell(at, &OrgCommand::Void(void)) {
            OrgDecision::Void(result) => result.map(|voided| *voided),
            other => panic!("{other:?}"),
        }
    }

    fn left(&self, at: &str) -> Amount {
        self.balance(at).meters.first().and_then(|(_, tokens)| tokens.remaining).expect("credit is asked")
    }

    fn allows(&mut self, at: &str, named: &str, amount: &str) -> bool {
        let told = self.tell(at, &OrgCommand::Use(usage(key(named), "tokens", amount)));
        matches!(told, OrgDecision::Use(Ok(_)))
    }
}

#[test]
fn credit_expires_with_the_month_it_begins_in_in_the_zone_of_the_org() {
    // Berlin is an hour or two ahead of UTC: the caller's first of December is there already.
    for (start, expires_at) in [
        (TopUpStart::Now, "2026-10-31T23:00:00Z"),
        (TopUpStart::Day(day("2026-12-01")), "2026-12-31T23:00:00Z"),
        (TopUpStart::Day(day("2026-11-30")), "2026-11-30T23:00:00Z"),
        (written("2026-12-01T00:00:00Z", "2026-12"), "2026-12-31T23:00:00Z"),
        // The first of December in Auckland, and still November in Berlin: December is meant.
        (written("2026-11-30T11:00:00Z", "2026-12"), "2026-12-31T23:00:00Z"),
        // The last of November in New York, and December in Berlin.
        (written("2026-12-01T01:00:00Z", "2026-11"), "2026-12-31T23:00:00Z"),
        // What has passed is now, whatever was written.
        (written("2026-09-01T00:00:00Z", "2026-12"), "2026-10-31T23:00:00Z"),
    ] {
        let topped_up = World::new(CATALOG).tops_up(NOW, |top_up| top_up.start = start).expect("it is taken");
        assert_eq!(topped_up.expires_at, Some(time(expires_at)), "{start:?}");
    }
}

#[test]
fn a_day_to_expire_on_is_the_last_day_of_the_credit() {
    let mut world = World::new(CATALOG);
    let expiry = TopUpExpiry::Day(day("2026-10-20"));
    let topped_up = world.tops_up(NOW, |top_up| top_up.expiry = expiry).expect("it is taken");
    assert_eq!(topped_up.expires_at, Some(time("2026-10-20T22:00:00Z")));
    let passed = TopUpExpiry::Day(day("2026-10-09"));
    assert_eq!(world.tops_up(NOW, |top_up| top_up.expiry = passed), Err(ConfigDenial::ExpiryPassed));
}

#[test]
fn a_replay_says_when_the_credit_expires() {
    let mut world = World::new(CATALOG);
    let first = world.tops_up(NOW, |top_up| top_up.key = Some(key("t"))).expect("it is taken");
    let again =
        world.tops_up("2026-11-05T00:00:00Z", |top_up| top_up.key = Some(key("t"))).expect("it was taken");
    assert_eq!(again, ToppedUp { replayed: true, ..first });
}

#[test]
fn credit_of_later_is_shown_apart() {
    let mut world = World::new(CATALOG);
    world.tops_up(NOW, |top_up| top_up.start = TopUpStart::Day(day("2026-11-15"))).expect("it is taken");
    let tokens =
        |at| world.balance(at).meters.into_iter().next().map(|(_, tokens)| tokens).expect("the meter");
    let (before, after) = (tokens(NOW), tokens("2026-11-15T00:00:00Z"));
    assert_eq!(before.remaining, Some(Amount::from_whole(5)));
    let future: Vec<_> = before.future.iter().map(|line| (line.granted, line.effective_at)).collect();
    assert_eq!(future, [(Amount::from_whole(10), Some(time("2026-11-14T23:00:00Z")))]);
    assert_eq!((after.remaining, after.future.len()), (Some(Amount::from_whole(15)), 0));
}

#[test]
fn what_is_unused_of_a_top_up_is_taken_back_once() {
    for by_key in [false, true] {
        let mut world = World::new(CATALOG);
        let added = world.tops_up(NOW, |top_up| top_up.key = Some(key("t"))).expect("it is taken");
        assert!(world.allows(NOW, "a", "8"), "8 of the top-up, which has the lower priority number");
        let target = if by_key { VoidTarget::Key(key("t")) } else { VoidTarget::Entry(added.entry) };
        let voided = world.voids(NOW, target.clone(), None, None).expect("it is there");
        assert_eq!((voided.amount, voided.replayed), (Amount::from_whole(2), false));
        assert_eq!(voided.standing.remaining, Some(Amount::from_whole(5)));
        assert_eq!(world.left(NOW), Amount::from_whole(5), "what was burned stays burned");
        let again = world.voids(NOW, target, None, None).expect("it was there");
        assert_eq!((again.amount, again.replayed, again.entry), (Amount::ZERO, true, None));
    }
    let mut world = World::new(CATALOG);
    assert_eq!(world.voids(NOW, VoidTarget::Entry(1), None, None), Err(ConfigDenial::UnknownTopUp));
    assert_eq!(world.voids(NOW, VoidTarget::Entry(99), None, None), Err(ConfigDenial::UnknownTopUp));
    assert_eq!(world.voids(NOW, VoidTarget::Key(key("x")), None, None), Err(ConfigDenial::UnknownTopUp));
}

#[test]
fn a_correction_takes_what_would_burn_last_and_never_more_than_is_unused() {
    let mut world = World::new(CATALOG);
    let first = world.tops_up(NOW, |_| {}).expect("it is taken").entry;
    let last = world.tops_up(NOW, |top_up| top_up.expiry = TopUpExpiry::Never).expect("it is taken").entry;
    let correct = |world: &mut World, amount, named| {
        world.voids(NOW, VoidTarget::Meter(meter("tokens")), Some(amount), named)
    };
    let most = Amount::from_whole(20);
    assert_eq!(correct(&mut world, "21", None), Err(ConfigDenial::MoreThanUnused { unused: most }));
    let taken = correct(&mut world, "12", Some("c")).expect("so much is unused");
    assert_eq!(correct(&mut world, "12", Some("c")), Ok(Voided { replayed: true, ..taken }));
    assert_eq!(correct(&mut world, "11", Some("c")), Err(ConfigDenial::KeyReused));
    let account = world.state.account(&meter("tokens")).expect("an account");
    let voided: Vec<_> = account.grants.iter().map(|grant| (grant.entry, grant.corrected)).collect();
    assert_eq!(voided, [(first, Amount::from_whole(2)), (last, Amount::from_whole(10))]);
    assert_eq!(world.left(NOW), Amount::from_whole(13), "the allowance is no top-up");
}

#[test]
fn a_trial_that_is_used_up_can_be_topped_up_until_its_time_is_over() {
    let mut world = World::new(CATALOG);
    world.tell(NOW, &OrgCommand::SetPlan(SetPlan::now(PlanId::new("trial").expect("an id"))));
    assert!(world.allows(NOW, "a", "10"));
    assert!(!world.allows(NOW, "b", "1"), "it is used up");
    world.tops_up(NOW, |top_up| top_up.amount = quantity("2")).expect("at any time of the trial");
    assert!(world.allows(NOW, "c", "2"));
    assert!(!world.allows(NOW, "d", "1"));
    assert_eq!(world.tops_up("2026-10-24T00:00:00Z", |_| {}), Err(ConfigDenial::TrialEnded));
}

#[test]
fn what_comes_back_to_a_voided_top_up_is_void() {
    let mut world = World::new(CATALOG);
    let entry = world.tops_up(NOW, |_| {}).expect("it is taken").entry;
    assert!(world.allows(NOW, "a", "10"), "all of the top-up, which has the lower priority number");
    let voided = world.voids(NOW, VoidTarget::Entry(entry), None, None).expect("it is there");
    assert_eq!((voided.amount, voided.replayed), (Amount::ZERO, false), "nothing was unused");
    world.tell(NOW, &OrgCommand::Reverse(tollgate_domain::Reverse { key: key("a") }));
    assert_eq!(world.left(NOW), Amount::from_whole(5), "the month's own");
}
