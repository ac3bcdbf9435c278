//! Engines on one PostgreSQL.

use tollgate_backends::postgres::{PostgresOptions, PostgresStore};
use tollgate_domain::{
    Actor, ApplyCatalog, OrgCommand, OrgDecision, OrgId, PlanId, PutOrg, SetPlan, SignedDuration,
    SystemCommand, SystemDenial, Timestamp,
};
use tollgate_engine::{Clock, Engine, Pace};
use tollgate_peers::{Postgres, Proxy};

use crate::apart::decide_by_clocks_apart;
use crate::keys::{keys_are_known_to_all, options, race_for_keys};
use crate::late::a_late_shipper_ships_nothing_twice;
use crate::shared::{Replicas, count_while_killed, race};

/// Engines, each by way of a proxy of its own.
fn replicas(server: &Postgres, count: usize) -> Replicas<PostgresStore> {
    replicas_by(server, count, &[Clock::System])
}

/// The same by clocks, that of each engine or one for all.
fn replicas_by(server: &Postgres, count: usize, clocks: &[Clock]) -> Replicas<PostgresStore> {
    Replicas::start_by(opened(server, count), clocks)
}

/// Stores, each by way of a proxy of its own.
fn opened(server: &Postgres, count: usize) -> impl Iterator<Item = (PostgresStore, Vec<Proxy>)> {
    (0..count).map(|_| {
        let proxy = Proxy::start(server.port()).expect("a proxy");
        let options = PostgresOptions::from_url(&server.url_by(proxy.port())).expect("a URL");
        (PostgresStore::open(options).expect("opens"), vec![proxy])
    })
}

#[test]
fn of_the_last_credits_exactly_those_that_are_there_are_used() {
    let server = Postgres::start(&["fsync=off", "max_connections=100"]).expect("PostgreSQL starts");
    race(replicas(&server, 3));
}

#[test]
fn of_the_last_credits_exactly_those_that_are_there_are_used_on_the_newest_version() {
    let server = Postgres::start_version(18, &["fsync=off", "max_connections=100"]);
    race(replicas(&server.expect("PostgreSQL starts"), 3));
}

#[test]
fn a_key_that_one_engine_counted_is_known_to_all_though_none_looks_first() {
    let noon: Timestamp = "2026-11-15T12:00:00Z".parse().expect("a time");
    for look_ups in [0, Pace::default().look_ups_after_conflict] {
        let server = Postgres::start(&["fsync=off"]).expect("PostgreSQL starts");
        let clock = Clock::manual(noon);
        let replicas = Replicas::start_with(opened(&server, 2), &[options(&clock, look_ups)]);
        keys_are_known_to_all(replicas, &clock, noon);
    }
}

#[test]
fn a_key_that_is_sent_to_all_engines_at_once_counts_once_while_answers_are_lost() {
    let server = Postgres::start(&["fsync=off", "max_connections=100"]).expect("PostgreSQL starts");
    race_for_keys(Replicas::start_with(opened(&server, 3), &[options(&Clock::System, 0)]));
}

#[test]
fn a_plan_is_retired_before_a_catalog_lacks_it_and_no_engine_gives_it_to_anybody() {
    let server = Postgres::start(&["fsync=off"]).expect("PostgreSQL starts");
    let noon: Timestamp = "2026-11-15T12:00:00Z".parse().expect("a time");
    let clock = Clock::manual(noon);
    let replicas = replicas_by(&server, 2, std::slice::from_ref(&clock));
    let [first, second] = replicas.engines() else { panic!("two engines") };
    let meter = "[[meters]]\nid = \"reports\"\nname = \"R\"\nunit = \"report\"\n[[plans]]\nid = \"new\"\nname = \"New\"\n";
    let old = "[[plans]]\nid = \"old\"\nname = \"Old\"\n";
    let with_old = format!("{meter}{old}");
    let (retired, without_old) = (format!("{with_old}retired = true\n"), meter.to_owned());
    let apply = |text: &str| {
        let apply = SystemCommand::ApplyCatalog(ApplyCatalog::new(text.to_owned()));
        replicas.block_on(first.submit_system(&Actor::Local, apply)).expect("a decision")
    };
    let give = |engine: &Engine<PostgresStore>, org: &OrgId| {
        let plan = OrgCommand::SetPlan(SetPlan::now(PlanId::new("old").expect("an id")));
        let decided = engine.submit(&Actor::Local, org.clone(), plan);
        matches!(replicas.block_on(decided).expect("a decision"), OrgDecision::Change(Ok(_)))
    };
    let new_org = |name: &str| {
        let put = OrgCommand::Put(PutOrg { name: None, zone: None, metadata: None });
        let org = OrgId::new(name).expect("an id");
        replicas.block_on(second.submit(&Actor::Local, org.clone(), put)).expect("a decision");
        org
    };
    let wait = Err(SystemDenial::PlansNotRetired(vec![PlanId::new("old").expect("an id")]));
    assert_eq!(apply(&with_old), Ok(1));
    replicas.block_on(second.follow()).expect("follows");
    assert_eq!(apply(&without_old), wait, "it is not retired");
    assert_eq!(apply(&retired), Ok(2));
    // The second engine does not know it yet, as one that looked a moment ago.
    let (acme, late) = (new_org("acme"), new_org("late"));
    assert!(give(second, &acme));
    assert_eq!(
        apply(&without_old),
        Err(SystemDenial::PlansInUse(vec![(PlanId::new("old").expect("an id"), acme.clone())]))
    );
    let leave = OrgCommand::SetPlan(SetPlan::now(PlanId::new("new").expect("an id")));
    replicas.block_on(second.submit(&Actor::Local, acme, leave)).expect("a decision");
    assert_eq!(apply(&without_old), wait, "it was retired this moment");
    clock.set(noon + SignedDuration::from_secs(61));
    // Nobody told the second one: it looks before it decides.
    assert!(!give(second, &late));
    assert_eq!(apply(&without_old), Ok(3));
    replicas.shut_down();
}

#[test]
fn a_clock_that_is_ahead_by_little_hides_nothing_and_one_far_ahead_drags_nobody_along() {
    let server = Postgres::start(&["fsync=off"]).expect("PostgreSQL starts");
    let noon: Timestamp = "2026-11-15T12:00:00Z".parse().expect("a time");
    let (slow, fast) = (Clock::manual(noon), Clock::manual(noon));
    let clocks = [slow.clone(), fast.clone(), slow.clone()];
    decide_by_clocks_apart(replicas_by(&server, 3, &clocks), &slow, &fast, noon);
}

#[test]
fn a_shipper_that_comes_late_ships_nothing_twice() {
    let server = Postgres::start(&["fsync=off"]).expect("PostgreSQL starts");
    a_late_shipper_ships_nothing_twice(replicas(&server, 2));
}

#[test]
fn nothing_is_lost_or_counted_twice_while_postgres_is_killed() {
    count_while_it_is_killed(Postgres::start(&["max_connections=100"]).expect("PostgreSQL starts"));
}

#[test]
fn nothing_is_lost_or_counted_twice_while_the_newest_version_is_killed() {
    count_while_it_is_killed(
        Postgres::start_version(18, &["max_connections=100"]).expect("PostgreSQL starts"),
    );
}

fn count_while_it_is_killed(mut server: Postgres) {
    let replicas = replicas(&server, 2);
    count_while_killed(replicas, |_| {
        server.kill().expect("it ran");
        server.run().expect("it recovers");
    });
}
