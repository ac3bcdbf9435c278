//! Keys: one counts once for as long as it is remembered, to the second.

use tollgate_domain::{OrgCommand, OrgDecision, SignedDuration, Timestamp};

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
