//! SIGTERM under load: every request is answered, or its connection is closed before it was read; the process ends with
//! status 0, and a restarted server has exactly what was answered yes.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tollgate_e2e::books::{Attempt, Kind, Verdict, compare, read_books};
use tollgate_e2e::flood::{Fleet, Flood, Pace, Shot, need_open_files};
use tollgate_e2e::load::{Ask, make_wide_org, usage};
use tollgate_e2e::trace::slow_disk;
use tollgate_e2e::{Result, Tollgate, http, pause};

const CONNECTIONS: usize = 256;

/// Requests a second; more than either disk takes here, so that requests wait when the signal comes.
const RATE: f64 = 3_000.0;

/// When the signal comes.
const SIGNAL_AFTER: Duration = Duration::from_millis(1_500);

/// How long the load would go on if the server did not end.
const LOAD_LASTS: Duration = Duration::from_secs(20);

pub(crate) fn ask(number: u64) -> Ask {
    let org = format!("org-{}", number % 8);
    Ask { org, user: None, kind: Kind::Usage, quantity: 1, properties: Value::Null }
}

pub(crate) fn request(number: u64) -> Vec<u8> {
    http::request("POST", "/v1/usage", Some(&usage(&ask(number), &format!("n{number}"))))
}

pub(crate) fn make_orgs(server: &tollgate_e2e::Server) -> Result<()> {
    let mut client = server.client();
    (0..8).try_for_each(|number| make_wide_org(&mut client, &format!("org-{number}")))
}

/// What each request was told. One without an answer must not have been counted.
pub(crate) fn attempts(shots: &[Shot]) -> Vec<Attempt> {
    let attempts = shots.iter().map(|shot| {
        let Ask { org, user, kind, quantity, .. } = ask(shot.number);
        let closed = || Verdict::No("closed without an answer".to_owned());
        let verdict = shot.reply.as_ref().map_or_else(closed, Verdict::of);
        Attempt { org, user, key: format!("n{}", shot.number), kind, quantity, verdict, sends: 1 }
    });
    attempts.collect()
}

fn ends_clean(serve: &Tollgate, store: &Path, what: &str) -> Result<()> {
    let server = serve.start()?;
    make_orgs(&server)?;
    let mut fleet = Fleet::connect(server.address(), CONNECTIONS)?;
    let flood: thread::JoinHandle<Result<Flood>> =
        thread::spawn(move || fleet.run(Pace::Open(RATE), LOAD_LASTS, 0, request));
    pause(SIGNAL_AFTER);
    let signalled = Instant::now();
    server.terminate()?;
    let status = server.wait(Duration::from_secs(60))?;
    let ended = signalled.elapsed();
    let flood = flood.join().expect("the load does not panic")?;
    assert!(status.success(), "{what}: the server ended with {status}");
    assert!(flood.lasted < LOAD_LASTS, "{what}: the connections outlived the server");

    let told = attempts(&flood.shots);
    let yes = told.iter().filter(|attempt| matches!(attempt.verdict, Verdict::Yes { .. })).count();
    let closed = flood.shots.iter().filter(|shot| shot.reply.is_none()).count();
    let refused: Vec<_> = told
        .iter()
        .filter_map(|attempt| match &attempt.verdict {
            Verdict::No(code) if code != "closed without an answer" => Some(code.as_str()),
            _ => None,
        })
        .collect();
    assert!(
        refused.iter().all(|code| *code == "shutting_down"),
        "{what}: refused with {:?}",
        refused.first()
    );
    assert!(yes > 0, "{what}: nothing was answered");
    let restarted = Tollgate::serve(store).start()?;
    let books = read_books(&mut restarted.client())?;
    super::assert_none(&compare(&told, &books), what);
    restarted.stop()?;
    super::assert_verified(store);
    println!(
        "SIGTERM, {what}: ended with 0 after {} ms; of {} requests {yes} answered yes and all of them there, {} refused, \
         {closed} connections closed before their request was read, none of those counted",
        ended.as_millis(),
        flood.shots.len(),
        refused.len(),
    );
    Ok(())
}

#[test]
fn a_terminated_server_answers_what_it_took_and_keeps_what_it_answered() -> Result<()> {
    let _machine = super::beside_others();
    need_open_files(2_048)?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("data");
    ends_clean(&Tollgate::serve(&store), &store, "a fast disk")
}

#[test]
fn a_terminated_server_answers_what_waits_for_a_slow_disk() -> Result<()> {
    let _machine = super::beside_others();
    need_open_files(2_048)?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("data");
    let slow = slow_disk(50_000)?;
    let words: Vec<&str> = slow.iter().map(String::as_str).collect();
    ends_clean(&Tollgate::serve(&store).under(&words), &store, "50 ms a sync")
}
