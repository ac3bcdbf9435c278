//! The checker itself: it takes what is linearizable, and notices each way of not being so.

use serde_json::{Value, json};

use super::model::{Answer, Ask, Model, Operation, Rules};

const RULES: Rules = Rules { allowance: 3, each_user: 2, users: 2 };

fn usage(user: usize, quantity: u64, key: &str) -> Ask {
    Ask::Use { user, quantity, key: key.to_owned() }
}

fn done(entry: u64, replayed: bool, used: u64, remaining: u64, by_user: u64) -> Answer {
    Answer::Done { entry, replayed, used: Some(used), remaining: Some(remaining), user_used: Some(by_user) }
}

fn no(code: &str, remaining: u64, counted: u64) -> Answer {
    Answer::No { code: code.to_owned(), remaining: Some(remaining), counted: Some(counted) }
}

fn seen(used: u64) -> Answer {
    Answer::Seen { used, remaining: 3 - used }
}

/// An operation from one time to another; without an answer it has none.
fn operation(ask: Ask, asked: u64, answered: u64, answer: Option<Answer>) -> Operation {
    Operation { ask, asked, answer: answer.map(|answer| (answered, answer)) }
}

fn used(entry: u64, user: usize, quantity: u64, key: &str) -> Value {
    json!({"entry": entry, "kind": "used", "user": format!("u{user}"), "quantity": quantity, "key": key})
}

fn judge(ledger: &[Value], operations: &[Operation]) -> Result<(), String> {
    Model::of(RULES, ledger).and_then(|model| model.check(operations))
}

#[test]
fn what_an_order_explains_is_taken() {
    let ledger = [used(1, 0, 1, "a"), used(2, 1, 1, "b")];
    let one = || operation(usage(0, 1, "a"), 10, 30, Some(done(1, false, 1, 2, 1)));
    let two = || operation(usage(1, 1, "b"), 20, 40, Some(done(2, false, 2, 1, 1)));
    let look = |asked, answered, sees| operation(Ask::Balance, asked, answered, Some(seen(sees)));
    let again = operation(usage(0, 1, "a"), 50, 60, Some(done(1, true, 1, 2, 1)));
    let refused = operation(usage(1, 2, "c"), 50, 60, Some(no("org_limit_reached", 1, 2)));
    for operations in [
        vec![one(), two()],
        // While both are under way, any of the three states may be seen, but never an older one after a newer one.
        vec![one(), two(), look(11, 12, 0), look(13, 14, 1), look(15, 29, 2)],
        vec![one(), two(), look(41, 42, 2), again, refused],
        // The answer was lost; a retry tells it again.
        vec![
            operation(usage(0, 1, "a"), 5, 0, None),
            operation(usage(0, 1, "a"), 10, 30, Some(done(1, true, 1, 2, 1))),
            two(),
        ],
        // Nobody knows whether it was counted, and it was not.
        vec![one(), two(), operation(usage(0, 1, "z"), 5, 0, None)],
    ] {
        assert_eq!(judge(&ledger, &operations), Ok(()), "{operations:#?}");
    }
}

#[test]
fn what_no_order_explains_is_noticed() {
    let ledger = [used(1, 0, 1, "a"), used(2, 1, 1, "b")];
    let one = || operation(usage(0, 1, "a"), 10, 30, Some(done(1, false, 1, 2, 1)));
    let two = || operation(usage(1, 1, "b"), 20, 40, Some(done(2, false, 2, 1, 1)));
    let look = |asked, answered, sees| operation(Ask::Balance, asked, answered, Some(seen(sees)));
    for (what, operations) in [
        ("a stale look", vec![one(), two(), look(41, 42, 1)]),
        ("a look back", vec![one(), two(), look(11, 12, 1), look(13, 14, 0)]),
        ("a look ahead", vec![one(), two(), look(1, 2, 1)]),
        (
            "an order against time",
            vec![one(), operation(usage(1, 1, "b"), 1, 5, Some(done(2, false, 2, 1, 1)))],
        ),
        (
            "a standing of nowhere",
            vec![one(), operation(usage(1, 1, "b"), 20, 40, Some(done(2, false, 1, 2, 1)))],
        ),
        ("a usage nobody asked for", vec![one()]),
        ("one entry for two", vec![one(), two(), one()]),
        (
            "a denial with credit left",
            vec![one(), two(), operation(usage(0, 1, "c"), 50, 60, Some(no("org_limit_reached", 1, 2)))],
        ),
        (
            "a replay before its time",
            vec![one(), two(), operation(usage(1, 1, "b"), 1, 5, Some(done(2, true, 2, 1, 1)))],
        ),
        (
            "a first answer told as a replay",
            vec![operation(usage(0, 1, "a"), 10, 30, Some(done(1, true, 1, 2, 1))), two()],
        ),
        (
            "another content taken",
            vec![one(), two(), operation(usage(0, 2, "a"), 50, 60, Some(done(1, true, 1, 2, 1)))],
        ),
        (
            "an unknown reversal",
            vec![
                one(),
                two(),
                operation(Ask::Reverse { key: "a".into() }, 50, 60, Some(no("unknown_key", 0, 0))),
            ],
        ),
    ] {
        assert!(judge(&ledger, &operations).is_err(), "{what} is not noticed");
    }
    // A lost answer: the caller was told yes, the ledger does not have it.
    assert!(judge(&ledger[..1], &[one(), two()]).is_err());
}

#[test]
fn a_ledger_against_the_rules_is_noticed() {
    for (what, ledger) in [
        ("more than was granted", vec![used(1, 0, 2, "a"), used(2, 1, 2, "b")]),
        ("more than a user may", vec![used(1, 0, 1, "a"), used(2, 0, 2, "b")]),
        ("a key twice", vec![used(1, 0, 1, "a"), used(2, 0, 1, "a")]),
        ("a gap", vec![used(2, 0, 1, "a")]),
    ] {
        assert!(Model::of(RULES, &ledger).is_err(), "{what} is not noticed");
    }
}
