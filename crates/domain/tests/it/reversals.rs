//! Taking back: what a maximum is when the highest go.

use tollgate_domain::limits::RANKS_KEPT;
use tollgate_domain::{Amount, OrgCommand, OrgDecision, Period, ReversalDenial, Reverse, Scope};

use crate::world::{OCTOBER, World, key, meter, usage};

const CATALOG: &str = r#"
    [[meters]]
    id = "seats"
    name = "Seats"
    unit = "seat"
    aggregation = "max"
    [[plans]]
    id = "team"
    name = "Team"
    limits = [{ meter = "seats", scope = "org", window = "month", amount = 1000 }]
"#;

#[test]
fn a_maximum_is_not_taken_back_where_what_comes_next_is_not_known() {
    let mut world = World::new(CATALOG);
    let at = "2026-10-02T12:00:00Z";
    let many = RANKS_KEPT + 1;
    for number in 1..=many {
        let used = usage(key(&number.to_string()), "seats", &number.to_string());
        let told = world.tell(at, &OrgCommand::Record(used));
        assert!(matches!(told, OrgDecision::Record(Ok(_))), "{told:?}");
    }
    let mut take_back = |number: usize| {
        let told = world.tell(at, &OrgCommand::Reverse(Reverse { key: key(&number.to_string()) }));
        let OrgDecision::Reverse(told) = told else { panic!("{told:?}") };
        let month = world.state.counter(&meter("seats"), &Scope::Org, Period::month(OCTOBER));
        (told.map(|reversed| reversed.replayed), month.value)
    };
    let whole = |number: usize| Amount::from_whole(i64::try_from(number).expect("a small number"));
    for number in (3..=many).rev() {
        assert_eq!(take_back(number), (Ok(false), whole(number - 1)));
    }
    assert_eq!(take_back(3), (Ok(true), whole(2)), "it was taken back before");
    assert_eq!(
        take_back(2),
        (Err(ReversalDenial::NotReversible), whole(2)),
        "1 is no longer known by its rank"
    );
    assert_eq!(take_back(1), (Ok(false), whole(2)));
    assert_eq!(take_back(2), (Ok(false), whole(0)), "there is none below it any more");
    assert_eq!(take_back(99), (Err(ReversalDenial::UnknownKey), whole(0)));
}
