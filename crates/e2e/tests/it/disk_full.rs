//! A disk that is full: the gate refuses and says so, the server is not ready, reads go on, nothing accepted is lost, and service comes back when
//! there is room again.
//!
//! The store lies in a file system in memory of [`DISK_BYTES`], mounted for the test (as root, or with sudo); ballast
//! takes what is left of it while the load goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use tollgate_e2e::books::{Kind, Tally, compare, read_books, read_list, unbalanced};
use tollgate_e2e::disk::SmallDisk;
use tollgate_e2e::http::Client;
use tollgate_e2e::load::{Ask, Draw, Load, make_wide_org, usage};
use tollgate_e2e::{Result, Server, Tollgate, until};

const DISK_BYTES: u64 = 48 * 1024 * 1024;

const SEGMENT_BYTES: u64 = 1024 * 1024;

const ORGS: usize = 4;

const CALLERS: u64 = 8;

/// Refusals that must be seen before the ballast goes.
const REFUSALS: u64 = 200;

/// Service must be back so soon after there is room.
const BACK_WITHIN: Duration = Duration::from_secs(15);

/// What the server says of itself meanwhile.
const NOT_READY: &str = "the disk of the store is full; no usage is taken until it has room";

fn draw(rng: &mut Rng) -> Ask {
    // Two kilobytes each, so that the two files of the ledger that are there already are full soon.
    let properties: serde_json::Map<String, Value> =
        (0..8).map(|number| (format!("p{number}"), json!("x".repeat(250)))).collect();
    let org = format!("org-{}", rng.usize(..ORGS));
    Ask { org, user: None, kind: Kind::Usage, quantity: 1, properties: Value::Object(properties) }
}

/// A server with a store of small segments, whose organizations are made.
fn serve_orgs(store: &Path) -> Result<(Server, Client)> {
    let server = Tollgate::serve_small(store, SEGMENT_BYTES).start()?;
    let mut client = server.client();
    for number in 0..ORGS {
        make_wide_org(&mut client, &format!("org-{number}"))?;
    }
    Ok((server, client))
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers() -> Result<()> {
    let _machine = super::beside_others();
    let disk = SmallDisk::mount(DISK_BYTES)?;
    let store = disk.path().join("data");
    let (server, mut client) = serve_orgs(&store)?;
    let draw: Arc<Draw> = Arc::new(draw);
    let load = Load::start(&[server.address()], CALLERS, super::seed(), &draw);
    until("the first answers", Duration::from_secs(30), || Ok((load.answers() > 100).then_some(())))?;
    let ballast = disk.fill()?;
    until("refusals", Duration::from_secs(60), || Ok((load.full_answers() >= REFUSALS).then_some(())))?;
    let refusal = load.last_full().ok_or("no refusal was kept")?;
    let detail = refusal.text("detail").unwrap_or_default();
    assert_eq!(refusal.status, 503);
    assert!(refusal.header("retry-after").is_some(), "{:?}", refusal.headers);
    assert!(
        !detail.is_empty() && !detail.contains('/') && !detail.contains("os error"),
        "not plain: {detail}"
    );

    // Reads go on while writes are refused.
    let refused_before = load.full_answers();
    assert_eq!(read_list(&mut client, "/v1/orgs", "orgs")?.len(), ORGS);
    for number in 0..ORGS {
        client.get(&format!("/v1/orgs/org-{number}/balance"))?;
        client.get(&format!("/v1/orgs/org-{number}/ledger?limit=50"))?;
    }
    client.get("/health")?;
    until("writes to be refused beside the reads", Duration::from_secs(20), || {
        Ok((load.full_answers() > refused_before).then_some(()))
    })?;

    let answers = load.answers();
    disk.empty()?;
    let emptied = Instant::now();
    // As many as need new files of the ledger, not only the rest of one.
    let back = until("service to come back", BACK_WITHIN, || {
        Ok((load.answers() > answers).then(|| emptied.elapsed()))
    });
    let back = back.map_err(|error| format!("{error}; the server's log:\n{}", server.log()))?;
    until("many answers", Duration::from_secs(30), || Ok((load.answers() > answers + 1_000).then_some(())))?;
    let attempts = load.finish()?;

    let tally = Tally::of(&attempts);
    let books = read_books(&mut client)?;
    super::assert_none(&compare(&attempts, &books), "what callers were told is not what the ledger says");
    for (org, ledger) in &books {
        super::assert_none(
            &unbalanced(&mut client, org, ledger, 1_000)?,
            "a balance is not its ledger's sum",
        );
    }
    // In the same process, without a restart; and after one.
    client.expect_ok("GET", "/ready", None)?;
    server.stop()?;
    let server = Tollgate::serve_small(&store, SEGMENT_BYTES).start()?;
    super::assert_none(&compare(&attempts, &read_books(&mut server.client())?), "after a restart");
    server.stop()?;
    super::assert_verified(&store);
    println!(
        "disk of {} MB, {} MB of it ballast: {} accepted, {} refused with 503 store_full ({detail}), {} unknown, reads went \
         on, 0 lost; service back {} ms after there was room, without a restart",
        DISK_BYTES / 1024 / 1024,
        ballast / 1024 / 1024,
        tally.yes,
        tally.refused("store_full"),
        tally.unknown,
        back.as_millis(),
    );
    Ok(())
}

#[test]
fn a_server_is_not_ready_until_its_full_disk_has_room() -> Result<()> {
    let _machine = super::beside_others();
    let disk = SmallDisk::mount(DISK_BYTES)?;
    let (server, mut client) = serve_orgs(&disk.path().join("data"))?;
    let mut rng = Rng::with_seed(super::seed());
    let mut numbers = 0..;
    let mut use_some = |client: &mut Client| {
        let key = format!("u-{:?}", numbers.next());
        client.call("POST", "/v1/usage", Some(&usage(&draw(&mut rng), &key)))
    };
    assert_eq!(use_some(&mut client)?.status, 200);
    client.expect_ok("GET", "/ready", None)?;
    disk.fill()?;
    // What is left of the files that are there already is used up first.
    let refusal = loop {
        let reply = use_some(&mut client)?;
        if reply.status != 200 {
            break reply;
        }
    };
    assert_eq!((refusal.status, refusal.text("code").as_deref()), (503, Some("store_full")));
    let unready = client.call("GET", "/ready", None)?;
    assert_eq!((unready.status, unready.text("reason")), (503, Some(NOT_READY.to_owned())));
    client.expect_ok("GET", "/health", None)?;

    disk.empty()?;
    // Nobody sends usage to a server that is not ready.
    until("the server to be ready", BACK_WITHIN, || {
        Ok((client.call("GET", "/ready", None)?.status == 200).then_some(()))
    })?;
    assert_eq!(use_some(&mut client)?.status, 200);
    server.stop()
}

#[test]
fn a_server_on_a_full_disk_ends_when_it_is_told_to() -> Result<()> {
    let _machine = super::beside_others();
    let disk = SmallDisk::mount(DISK_BYTES)?;
    let store = disk.path().join("data");
    let (server, mut client) = serve_orgs(&store)?;
    // From now on the tables hold in memory what they would write out at the end.
    until("an image in the tables", Duration::from_secs(30), || {
        let metrics = client.call("GET", "/metrics", None)?.body;
        let counts = String::from_utf8_lossy(&metrics).into_owned();
        let images =
            counts.lines().find_map(|line| line.strip_prefix("tollgate_store_checkpoint_seconds_count "));
        Ok(images.is_some_and(|count| count.trim() != "0").then_some(()))
    })?;
    let orgs = read_list(&mut client, "/v1/orgs", "orgs")?;
    disk.fill()?;
    server.stop()?;

    let server = Tollgate::serve_small(&store, SEGMENT_BYTES).start()?;
    assert_eq!(read_list(&mut server.client(), "/v1/orgs", "orgs")?, orgs, "read while the disk is full");
    server.stop()?;
    disk.empty()?;
    let server = Tollgate::serve_small(&store, SEGMENT_BYTES).start()?;
    assert_eq!(read_list(&mut server.client(), "/v1/orgs", "orgs")?, orgs, "after there is room again");
    server.stop()?;
    super::assert_verified(&store);
    Ok(())
}
