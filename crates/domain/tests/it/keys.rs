//! Keys: one counts once for as long as it is remembered, to the second.

use tollgate_domain::{Entry, OrgCommand, OrgDecision, OrgState, SignedDuration, Timestamp};

use crate::world::{KEY_KEEP_SECS, World, key, usage};

const CATALOG: &str = r#"
    [[meters]]
    id = "tokens"
    name = "Tokens"
    unit = "token"
    [[plans]]
    id = "team"
    name = "Team"
    allowances = [{ meter = "tokens", amount = 10 }]
"#;

#[test]
fn a_key_is_remembered_for_as_long_as_is_said_and_then_stands_for_another_usage() {
    let first: Timestamp = "2026-10-02T12:00:00Z".parse().expect("a time");
    let mut world = World::new(CATALOG);
    let mut entry_and_replayed = |after_secs: i64| {
        let at = (first + SignedDuration::from_secs(after_secs)).to_string();
        match world.tell(&at, &OrgCommand::Use(usage(key("k"), "tokens", "1"))) {
            OrgDecision::Use(Ok(allowed)) => (allowed.entry, allowed.replayed),
            other => panic!("{other:?}"),
        }
    };
    let (entry, replayed) = entry_and_replayed(0);
    assert!(!replayed);
    assert_eq!(entry_and_replayed(KEY_KEEP_SECS - 1), (entry, true));
    assert_eq!(entry_and_replayed(KEY_KEEP_SECS), (entry + 1, false));
    assert_eq!(entry_and_replayed(KEY_KEEP_SECS + 1), (entry + 1, true));
}

#[test]
fn a_key_that_was_taken_for_new_is_what_a_store_says_of_it_and_stays_so() {
    let mut world = World::new(CATALOG);
    world.tell("2026-10-02T12:00:00Z", &OrgCommand::Use(usage(key("k"), "tokens", "1")));
    let (space, key, record) = world.entries.last().and_then(Entry::made_key).expect("a key");
    let mut state = OrgState::new(world.state.id().clone(), None);
    assert!(!state.is_new_key(space, key), "nobody looked it up");
    state.put_key(space, key.clone(), None);
    assert!(state.is_new_key(space, key));
    for found in [Some(record.clone()), None] {
        state.put_key(space, key.clone(), found);
        assert!(!state.is_new_key(space, key));
        assert_eq!(state.key(space, key), Some(&record));
    }
}
