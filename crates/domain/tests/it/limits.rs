//! Limits: in which windows usage is counted for them.

use tollgate_domain::{Amount, Entry, EntryKind, LimitScope, OrgCommand, SetLimit, Window};

use crate::world::{World, key, meter, usage};

const CATALOG: &str = r#"
    [[meters]]
    id = "calls"
    name = "Calls"
    unit = "call"
    [[meters]]
    id = "tokens"
    name = "Tokens"
    unit = "token"
    [[meters]]
    id = "jobs"
    name = "Jobs"
    unit = "job"
    windows = ["hour"]
    [[plans]]
    id = "team"
    name = "Team"
    limits = [
        { meter = "calls", scope = "org", window = "minute", amount = 10 },
        { meter = "tokens", scope = "org", window = "day", amount = 10 },
    ]
"#;

#[test]
fn minutes_and_hours_are_counted_only_where_a_limit_or_the_meter_asks() {
    let mut world = World::new(CATALOG);
    let own = SetLimit {
        meter: meter("jobs"),
        scope: LimitScope::Org,
        window: Window::Minute,
        amount: Some(Amount::from_whole(10)),
    };
    world.tell("2026-10-02T11:00:00Z", &OrgCommand::SetLimit(own));
    let always = [Window::Day, Window::Month, Window::Lifetime, Window::Segment];
    for (of, more) in
        [("calls", [Window::Minute].as_slice()), ("tokens", &[]), ("jobs", &[Window::Minute, Window::Hour])]
    {
        world.tell("2026-10-02T12:00:00Z", &OrgCommand::Record(usage(key(of), of, "1")));
        let Some(Entry { kind: EntryKind::Used(used), .. }) = world.entries.last() else { panic!("none") };
        let mut windows: Vec<Window> = used.periods.iter().map(|period| period.window).collect();
        windows.sort();
        let mut wanted: Vec<Window> = always.iter().chain(more).copied().collect();
        wanted.sort();
        assert_eq!(windows, wanted, "{of}");
    }
}
