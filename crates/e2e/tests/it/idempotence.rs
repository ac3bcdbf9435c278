//! One key, many callers at once: counted once, answered the same to all; another content under it is a conflict; and
//! all of it still holds after a kill.
//!
//! [`KEYS`] keys with 64 concurrent calls each; `TOLLGATE_KEYS` sets another number.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_e2e::books::{Attempt, Kind, Verdict, compare, read_books};
use tollgate_e2e::flood::{Fleet, Pace, Shot, need_open_files};
use tollgate_e2e::http::{Reply, request};
use tollgate_e2e::load::{METER, make_wide_org};
use tollgate_e2e::{Result, Server, Tollgate};

const KEYS: u64 = 250;

/// Calls of each key under way at once.
const CALLS: u64 = 64;

const ORGS: u64 = 8;

/// Longer than any run takes.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What is asked under a key by one of its callers.
struct Call {
    org: String,
    key: String,
    kind: Kind,
    quantity: u64,
}

/// Of ten keys one is a top-up's; two have callers that do not agree on what it stands for.
fn call(key: u64, caller: u64) -> Call {
    let (kind, quantity) = match key % 10 {
        0 => (Kind::TopUp, 1),
        1 | 2 => (Kind::Usage, 1 + caller % 2),
        _ => (Kind::Usage, 1),
    };
    Call { org: format!("org-{}", key % ORGS), key: format!("key-{key}"), kind, quantity }
}

fn bytes_of(call: &Call) -> Vec<u8> {
    let Call { org, key, kind, quantity } = call;
    match kind {
        Kind::Usage => {
            let body = json!({"org": org, "user": "ann", "meter": METER, "quantity": quantity, "key": key});
            request("POST", "/v1/usage", Some(&body))
        }
        Kind::TopUp => {
            let body = json!({"meter": METER, "amount": quantity, "key": key});
            request("POST", &format!("/v1/orgs/{org}/top-ups"), Some(&body))
        }
    }
}

/// A body without what says whether it is told again: of a top-up also its expiry, which only the first answer tells.
fn told(reply: &Reply) -> Result<(Value, bool)> {
    let mut body = reply.json()?;
    let members = body.as_object_mut().ok_or("an answer that is no object")?;
    let replayed =
        members.remove("replayed").and_then(|value| value.as_bool()).ok_or("no word of a replay")?;
    members.remove("expires_at");
    Ok((body, replayed))
}

/// What all callers of a key were told; the one answer.
fn one_answer(key: u64, shots: &[&Shot]) -> Result<Value> {
    let mut answer: Option<Value> = None;
    let (mut first, mut conflicts) = (0, Vec::new());
    for shot in shots {
        let reply = shot.reply.as_ref().ok_or("a call without an answer")?;
        let quantity = call(key, shot.number % CALLS).quantity;
        if reply.status == 422 && reply.text("code").as_deref() == Some("key_reused") {
            conflicts.push(quantity);
            continue;
        }
        let text = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, 200, "key {key}: {text}");
        let (body, replayed) = told(reply)?;
        first += u32::from(!replayed);
        let told = body.get("quantity").or(body.get("amount")).and_then(Value::as_u64);
        assert_eq!(told, Some(quantity), "key {key}: {body}");
        assert_eq!(*answer.get_or_insert_with(|| body.clone()), body, "key {key} has two answers");
    }
    let answer = answer.ok_or("a key without an answer")?;
    assert_eq!(first, 1, "key {key} was counted {first} times");
    let won = answer.get("quantity").or(answer.get("amount")).and_then(Value::as_u64);
    assert!(conflicts.iter().all(|quantity| Some(*quantity) != won), "key {key}: a conflict with itself");
    let others = (0..CALLS).filter(|caller| Some(call(key, *caller).quantity) != won).count();
    assert_eq!(conflicts.len(), others, "key {key}: every other content is a conflict");
    Ok(answer)
}

fn shots_by_key(shots: &[Shot], calls: u64) -> BTreeMap<u64, Vec<&Shot>> {
    let mut by_key: BTreeMap<u64, Vec<&Shot>> = BTreeMap::new();
    for shot in shots {
        by_key.entry(shot.number / calls).or_default().push(shot);
    }
    by_key
}

fn check_ledger(server: &Server, answers: &BTreeMap<u64, Value>) -> Result<()> {
    let attempts: Vec<Attempt> = (answers.iter())
        .map(|(key, answer)| {
            let Call { org, key, kind, .. } = call(*key, 0);
            let number = |member: &str| answer.get(member).and_then(Value::as_u64);
            let verdict = Verdict::Yes { entry: number("entry").unwrap_or_default(), replayed: false };
            let quantity = number("quantity").or(number("amount")).unwrap_or_default();
            let user = Some("ann".to_owned());
            Attempt { org, user, key, kind, quantity, verdict, sends: 1 }
        })
        .collect();
    super::assert_none(
        &compare(&attempts, &read_books(&mut server.client())?),
        "a key is not in the ledger once",
    );
    Ok(())
}

#[test]
fn sixty_four_calls_with_one_key_are_one_usage_and_one_answer() -> Result<()> {
    let _machine = super::beside_others();
    need_open_files(1_024)?;
    let keys = super::given("TOLLGATE_KEYS").unwrap_or(KEYS);
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
    let store = folder.path().join("data");
    let serve = Tollgate::serve(&store);
    let server = serve.start()?;
    for number in 0..ORGS {
        make_wide_org(&mut server.client(), &format!("org-{number}"))?;
    }
    let started = Instant::now();
    let connections = usize::try_from(CALLS)?;
    let mut fleet = Fleet::connect(server.address(), connections)?;
    let make = |number: u64| bytes_of(&call(number / CALLS, number % CALLS));
    let flood = fleet.run(Pace::Times(keys * CALLS), LONGEST, 0, make)?;
    let lasted = started.elapsed();
    let by_key = shots_by_key(&flood.shots, CALLS);
    assert_eq!(u64::try_from(by_key.len())?, keys);
    let mut answers = BTreeMap::new();
    for (key, shots) in &by_key {
        assert_eq!(shots.len(), connections, "key {key}");
        answers.insert(*key, one_answer(*key, shots)?);
    }
    check_ledger(&server, &answers)?;

    server.kill()?;
    let server = serve.start()?;
    let mut fleet = Fleet::connect(server.address(), connections)?;
    // The content that was counted, once more.
    let again = |key: u64| {
        let won =
            answers.get(&key).and_then(|answer| answer.get("quantity").or(answer.get("amount"))?.as_u64());
        bytes_of(&Call { quantity: won.unwrap_or(1), ..call(key, 0) })
    };
    let flood = fleet.run(Pace::Times(keys), LONGEST, 0, again)?;
    for shot in &flood.shots {
        let reply = shot.reply.as_ref().ok_or("a call without an answer")?;
        let (body, replayed) = told(reply)?;
        assert!(replayed, "key {} was counted again after a kill: {body}", shot.number);
        assert_eq!(
            Some(&body),
            answers.get(&shot.number),
            "key {} has another answer after a kill",
            shot.number
        );
    }
    assert_eq!(u64::try_from(flood.shots.len())?, keys);
    check_ledger(&server, &answers)?;
    println!(
        "{keys} keys with {CALLS} calls each in {:.1} s: each counted once with one answer, other contents are conflicts, \
         and after a kill each is answered the same",
        lasted.as_secs_f64()
    );
    server.stop()?;
    super::assert_verified(&store);
    Ok(())
}
