//! What metering costs, in write units as DynamoDB itself counts them.

use tollgate_backends::dynamo::DynamoStore;
use tollgate_domain::OrgId;
use tollgate_storage::conformance::{append_using, image_after};
use tollgate_storage::{Append, Appended, Store};

use super::{next_table, open};
use crate::support::{key_id, org, run};

/// Keys as clients make them: nothing about them can be foreseen.
fn keys(count: usize) -> Vec<String> {
    (0..count).map(|_| format!("{:032x}", fastrand::u128(..))).collect()
}

/// Appends usages under keys one call after the other, so many in each; gives the appends.
fn append_in_batches(store: &DynamoStore, of: &OrgId, keys: &[String], batch: usize) -> Vec<Append> {
    let mut appends = Vec::new();
    for (call, keys) in (0_u32..).zip(keys.chunks(batch)) {
        let version = u64::from(call) * u64::try_from(batch).expect("small");
        // As the engine does for every turn.
        let ids: Vec<_> = keys.iter().map(|key| key_id(of, key)).collect();
        assert!(run(store.find(&ids)).expect("finds").iter().all(Option::is_none));
        let append = append_using(of, call, version, keys.iter().map(String::as_str));
        let answers = run(store.append(vec![append.clone()])).expect("appends").answers;
        assert_eq!(answers, [Appended::Done]);
        appends.push(append);
    }
    appends
}

#[test]
fn a_single_call_takes_at_most_three_write_units_and_most_take_one() {
    let (store, acme) = (open(&next_table()).expect("opens"), org("acme"));
    let mut before = store.consumed().write_units;
    let mut most: f64 = 0.0;
    for (call, key) in (0_u32..).zip(keys(50)) {
        let append = append_using(&acme, call, u64::from(call), [key.as_str()]);
        run(store.append(vec![append])).expect("appends");
        let now = store.consumed().write_units;
        most = most.max(now - before);
        before = now;
    }
    println!("50 single calls took {before} write units, the dearest {most}");
    assert!((1.0..=3.0).contains(&most), "the dearest took {most}");
    assert!((50.0..=52.0).contains(&before), "all took {before}");
}

#[test]
fn a_thousand_usages_in_batches_of_a_hundred_take_at_most_150_write_units_all_told() {
    let (store, acme) = (open(&next_table()).expect("opens"), org("acme"));
    let appends = append_in_batches(&store, &acme, &keys(1_000), 100);
    let packs = store.consumed().write_units;
    run(store.checkpoint(vec![image_after(&appends)].into(), 0)).expect("an image");
    let all = store.consumed();
    println!("1,000 usages in batches of 100: {packs} write units in packs, {all:?} with their image");
    assert!(packs > 10.0, "they are counted");
    assert!(all.write_units <= 150.0, "{all:?}");
}

#[test]
fn keys_are_written_down_thousands_at_a_time_and_found_by_all() {
    const USAGES: usize = 40_000;
    let (table, acme, keys) = (next_table(), org("acme"), keys(USAGES));
    let store = open(&table).expect("opens");
    append_in_batches(&store, &acme, &keys, 1_000);
    let all = store.consumed();
    println!("{USAGES} usages in batches of 1,000 with the keys written down: {all:?}");
    assert!(all.write_units <= 40.0 * 150.0, "{all:?}");
    // Those written down, those that are not yet, and the ends of both.
    let places = [0, 1, 8_191, 8_192, 12_345, 24_575, 24_576, USAGES - 1];
    let asked = places.map(|place| key_id(&acme, &keys[place]));
    let wanted = places.map(|place| u64::try_from(place).ok().map(|place| place + 1));
    for store in [store, open(&table).expect("opens")] {
        let before = store.consumed();
        let found = run(store.find(&asked)).expect("finds");
        let found: Vec<Option<u64>> = found.into_iter().map(|known| Some(known?.entry)).collect();
        assert_eq!(found, wanted);
        assert_eq!(run(store.find(&[key_id(&acme, "none")])).expect("finds"), [None]);
        let after = store.consumed();
        println!("to find some of them took {} read units", after.read_units - before.read_units);
        assert_eq!(after.write_units, before.write_units, "what is written down is so for all");
    }
}
