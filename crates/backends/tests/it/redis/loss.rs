//! A Redis that starts anew, loses what it held, or is emptied: the store goes on from what is left, and nobody decides on what
//! is gone.

use tollgate_backends::redis::{RedisOptions, RedisStore};
use tollgate_domain::{OrgId, Partition};
use tollgate_peers::Redis;
use tollgate_storage::conformance::{append_using, image_after};
use tollgate_storage::{Appended, Store};

use super::{moved, open, options};
use crate::postgres::{next_schema, server};
use crate::shared::{answers, entry, numbers, version};
use crate::support::{org, run};

fn durable(redis: &Redis, schema: &str) -> RedisStore {
    let url = format!("redis+{}?schema={schema}&redis={}&durable=always", server().url(), redis.url());
    RedisStore::open(RedisOptions::from_url(&url).expect("a URL")).expect("opens")
}

fn versions(store: &RedisStore, id: &OrgId) -> u64 {
    run(store.versions(&[Partition::Org(id.clone())])).expect("versions").remove(0)
}

#[test]
fn a_redis_that_writes_to_its_disk_loses_nothing_when_it_is_killed() {
    let (schema, acme) = (next_schema(), org("acme"));
    let mut redis = Redis::start(&["--appendonly yes", "--appendfsync always"]).expect("Redis starts");
    let store = durable(&redis, &schema);
    for round in 0..8_u64 {
        // Some of it is in the database, and some is not.
        let append = append_using(
            &acme,
            1,
            3 * round,
            [0, 1, 2].map(|key| format!("{round} {key}")).iter().map(String::as_str),
        );
        assert_eq!(answers(&store, &append), [Appended::Done], "round {round}");
        if round % 3 == 1 {
            run(store.flush()).expect("moves");
        }
        redis.kill().expect("it ran");
        redis.run().expect("it starts again");
        assert_eq!(version(&store, &acme), 3 * round + 3, "round {round}");
        assert_eq!(entry(&store, &acme, &format!("{round} 2")), Some(3 * round + 3));
    }
    assert_eq!(numbers(&store, &acme), (1..=24).collect::<Vec<u64>>());
    run(store.close()).expect("closes");
    assert_eq!(moved(&schema, &acme), "24|24");
}

#[test]
fn what_is_lost_with_a_redis_is_gone_whole_and_nobody_decides_on_it() {
    let (schema, acme, other) = (next_schema(), org("acme"), org("other"));
    let mut redis = Redis::start(&[]).expect("Redis starts");
    let [store, beside] = [0, 1].map(|_| open(&redis.url(), &schema));
    for id in [&acme, &other] {
        assert_eq!(answers(&store, &append_using(id, 1, 0, ["a", "b"])), [Appended::Done]);
    }
    run(store.flush()).expect("moves");
    // Both have this in memory, and then it is lost.
    assert_eq!(answers(&store, &append_using(&acme, 2, 2, ["c", "d"])), [Appended::Done]);
    assert_eq!(version(&beside, &acme), 4);
    redis.lose().expect("it ran");
    redis.run().expect("it starts again");
    // Others go on from what is there, up to the same version.
    assert_eq!(version(&store, &acme), 2);
    assert_eq!(answers(&store, &append_using(&acme, 3, 2, ["e", "f"])), [Appended::Done]);
    assert_eq!(version(&store, &acme), 4);
    // The other has another fourth entry in memory: it learns that, and what it appends to that is not made.
    assert_ne!(versions(&beside, &acme), 4, "it is not what it was");
    assert_eq!(answers(&beside, &append_using(&acme, 4, 4, ["g"])), [Appended::Conflict]);
    let lost = [append_using(&acme, 1, 0, ["a", "b"]), append_using(&acme, 2, 2, ["c", "d"])];
    run(beside.checkpoint(vec![image_after(&lost)].into(), 0)).expect("nothing is kept");
    let opened = run(Store::open(&beside, &[Partition::Org(acme.clone())])).expect("opens").remove(0);
    assert_eq!((opened.image(), opened.version()), (0, 4), "no image of what is lost");
    assert_eq!(versions(&beside, &acme), 4);
    assert_eq!(answers(&beside, &append_using(&acme, 4, 4, ["g"])), [Appended::Done]);
    for (key, wanted) in [("b", Some(2)), ("c", None), ("d", None), ("e", Some(3)), ("g", Some(5))] {
        assert_eq!(entry(&store, &acme, key), wanted, "{key}");
    }
    assert_eq!(version(&store, &other), 2, "what was moved is there");
    run(store.close()).expect("closes");
    assert_eq!((moved(&schema, &acme), moved(&schema, &other)), ("5|5".to_owned(), "2|2".to_owned()));
}

#[test]
fn a_redis_that_is_emptied_while_it_runs_goes_on_from_the_database() {
    let (schema, acme) = (next_schema(), org("acme"));
    let redis = Redis::start(&[]).expect("Redis starts");
    let store = open(&redis.url(), &schema);
    let mut made = 0;
    for round in 0..5 {
        assert_eq!(version(&store, &acme), made, "round {round}");
        let keys = [0, 1, 2].map(|key| format!("{round} {key}"));
        let append = append_using(&acme, 1, made, keys.iter().map(String::as_str));
        assert_eq!(answers(&store, &append), [Appended::Done]);
        if round % 2 == 0 {
            run(store.flush()).expect("moves");
            made += 3;
        }
        redis.ask(&["FLUSHALL"]).expect("emptied");
        redis.ask(&["FUNCTION", "FLUSH"]).expect("the functions, too");
    }
    assert_eq!(numbers(&store, &acme), (1..=made).collect::<Vec<u64>>());
}

/// A server that starts with what its disk has of some time ago, as one that wrote once a second.
#[test]
fn a_redis_that_went_back_in_time_keeps_what_goes_on_from_the_database() {
    let (schema, acme, other) = (next_schema(), org("acme"), org("other"));
    let mut redis = Redis::start(&[]).expect("Redis starts");
    let store = open(&redis.url(), &schema);
    for id in [&acme, &other] {
        assert_eq!(answers(&store, &append_using(id, 1, 0, ["a", "b"])), [Appended::Done]);
    }
    redis.ask(&["SAVE"]).expect("saved");
    // Of one the database has more than the disk of the Redis, of the other less.
    assert_eq!(answers(&store, &append_using(&acme, 2, 2, ["c"])), [Appended::Done]);
    run(store.flush()).expect("moves");
    assert_eq!(answers(&store, &append_using(&acme, 3, 3, ["d"])), [Appended::Done]);
    assert_eq!(answers(&store, &append_using(&other, 3, 2, ["d"])), [Appended::Done]);
    redis.kill().expect("it ran");
    redis.run().expect("it starts again");
    let beside = open(&redis.url(), &schema);
    for (id, wanted) in [(&acme, 3), (&other, 2)] {
        assert_eq!((version(&store, id), version(&beside, id)), (wanted, wanted), "{id}");
        assert_eq!(answers(&beside, &append_using(id, 4, wanted, ["e"])), [Appended::Done]);
        assert_eq!(entry(&store, id, "d"), None, "{id}");
    }
    run(store.close()).expect("closes");
    assert_eq!((moved(&schema, &acme), moved(&schema, &other)), ("4|4".to_owned(), "3|3".to_owned()));
}

/// The same database as a store by itself, and with its Redis again.
#[test]
fn the_database_is_a_store_by_itself_after_closing() {
    let (schema, acme) = (next_schema(), org("acme"));
    let redis = Redis::start(&[]).expect("Redis starts");
    let store = open(&redis.url(), &schema);
    assert_eq!(answers(&store, &append_using(&acme, 1, 0, ["a"])), [Appended::Done]);
    run(store.close()).expect("closes");
    let alone = crate::postgres::open(&schema).expect("opens");
    let appended = run(alone.append(vec![append_using(&acme, 2, 1, ["b"])])).expect("appends");
    assert_eq!(appended.answers, [Appended::Done]);
    run(alone.close()).expect("closes");
    let store = RedisStore::open(options(&redis.url(), &schema)).expect("opens");
    assert_eq!(version(&store, &acme), 2);
    assert_eq!(answers(&store, &append_using(&acme, 3, 2, ["c"])), [Appended::Done]);
    assert_eq!(["a", "b", "c"].map(|key| entry(&store, &acme, key)), [1, 2, 3].map(Some));
}
