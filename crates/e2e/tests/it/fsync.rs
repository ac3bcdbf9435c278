//! Seen from outside: no answer leaves before the ledger with its usage is on the disk.

use std::sync::Arc;

use fastrand::Rng;
use serde_json::Value;
use tollgate_e2e::books::{Kind, Verdict};
use tollgate_e2e::load::{Ask, Draw, Load, make_wide_org};
use tollgate_e2e::trace::{Call, read, writes_and_syncs};
use tollgate_e2e::{Result, Tollgate, until};

/// Callers at a time: one after the other, and several whose usages share a commit.
const CALLERS: [u64; 2] = [1, 16];

/// Usages of each run.
const USAGES: u64 = 200;

fn is_sync_of(call: &Call, file: &str) -> bool {
    matches!(call.name.as_str(), "fdatasync" | "fsync") && call.returned == 0 && call.args.contains(file)
}

/// The path in `7</folder/1.seg>, "…", 300, 64`.
fn path_of(call: &Call) -> &str {
    let (_, rest) = call.args.split_once('<').unwrap_or_default();
    rest.split_once('>').map_or("", |(path, _)| path)
}

/// What must be true of one usage that was answered yes: a write of it to a segment, then a whole sync of that segment,
/// then the answer.
fn check(calls: &[Call], key: &str) -> Result<()> {
    let named = |call: &&Call| {
        let after = call.args.split(key).skip(1);
        // `c1-2` is not `c1-22`.
        after.into_iter().any(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    };
    let written = calls.iter().filter(named).find(|call| path_of(call).ends_with(".seg"));
    let written = written.ok_or_else(|| format!("{key} was written to no segment"))?;
    let answer = calls.iter().filter(named).find(|call| call.args.contains("HTTP/1.1 200"));
    let answer = answer.ok_or_else(|| format!("the answer of {key} is not in the trace"))?;
    let synced = calls.iter().find(|call| call.began >= written.ended && is_sync_of(call, path_of(written)));
    let synced = synced.ok_or_else(|| format!("{key} was never synced"))?;
    if synced.ended < answer.began {
        return Ok(());
    }
    Err(format!("{key} was answered before it was durable:\n{written:?}\n{synced:?}\n{answer:?}").into())
}

#[test]
fn every_answer_leaves_after_the_sync_of_its_commit() -> Result<()> {
    let _machine = super::alone();
    for callers in CALLERS {
        let folder = tempfile::tempdir()?;
        let store = folder.path().join("data");
        let trace = folder.path().join("trace");
        let words = writes_and_syncs(&trace)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let server = Tollgate::serve_small(&store, 1024 * 1024).under(&words).start()?;
        make_wide_org(&mut server.client(), "org")?;
        let draw: Arc<Draw> = Arc::new(|_: &mut Rng| Ask {
            org: "org".to_owned(),
            user: None,
            kind: Kind::Usage,
            quantity: 1,
            properties: Value::Null,
        });
        let load = Load::start(&[server.address()], callers, 0, &draw);
        until("the usages", std::time::Duration::from_secs(60), || {
            Ok((load.answers() >= USAGES).then_some(()))
        })?;
        let attempts = load.finish()?;
        server.stop()?;

        let calls = read(&std::fs::read_to_string(&trace)?);
        let yes = attempts.iter().filter(|attempt| matches!(attempt.verdict, Verdict::Yes { .. }));
        let mut checked = 0;
        for attempt in yes {
            check(&calls, &attempt.key)?;
            checked += 1;
        }
        let syncs = calls.iter().filter(|call| is_sync_of(call, ".seg")).count();
        println!(
            "{callers} callers: {checked} answers, each after the sync of its commit; {syncs} syncs of the ledger"
        );
        assert!(checked >= USAGES, "only {checked} usages were answered yes");
    }
    Ok(())
}
