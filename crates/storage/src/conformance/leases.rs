//! Leases of work that one holder should do at a time.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::Subject;
use super::harness::Harness;

/// Longer than a case takes.
const LONG: Duration = Duration::from_mins(10);

/// A case waits for its end.
const SHORT: Duration = Duration::from_millis(200);

const HOLDERS: u64 = 8;

pub(super) fn one_holder_has_a_lease_until_it_ends<S: Subject>(mut harness: Harness<'_, S>) {
    let first = harness.claim("closing", 1, LONG).expect("nobody has it");
    assert_eq!(harness.claim("closing", 1, LONG), Some(first), "who has it keeps it");
    harness.turn();
    assert_eq!(harness.claim("closing", u64::MAX, LONG), None, "another one has it");
    assert_eq!(harness.claim("closing", u64::MAX, Duration::ZERO), None, "and nobody else gives it back");
    assert!(harness.claim("sweeping", u64::MAX, LONG).is_some(), "leases are apart");
    assert_eq!(harness.claim("closing", 1, LONG), Some(first), "whatever the store object");
    harness.claim("closing", 1, Duration::ZERO).expect("it has it");
    let second = harness.claim("closing", u64::MAX, SHORT).expect("it was given back");
    assert!(second > first, "{second} is another holder's, after {first}");
    harness.turn();
    let third = loop {
        match harness.claim("closing", 1, LONG) {
            Some(third) => break third,
            None => thread::yield_now(),
        }
    };
    assert!(third > second, "{third} is another holder's, after {second}");
    harness.turn();
    assert_eq!(harness.claim("closing", u64::MAX, LONG), None, "it was lost");
    harness.finish();
}

pub(super) fn of_many_who_claim_one_gets_it<S: Subject>(harness: Harness<'_, S>) {
    for round in 0..20 {
        let (lease, got) = (format!("work {round}"), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for holder in 1..=HOLDERS {
                let (harness, lease, got) = (&harness, &lease, &got);
                scope.spawn(move || {
                    let claimed = harness.claim(lease, holder, LONG);
                    got.lock().expect("no panic").extend(claimed.map(|_| holder));
                });
            }
        });
        let got = got.into_inner().expect("no panic");
        assert_eq!(got.len(), 1, "{got:?} have {lease}");
    }
    harness.finish();
}
