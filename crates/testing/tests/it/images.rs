//! Images as an engine keeps them on the embedded store, after crashes and beside damage.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore};
use tollgate_domain::{
    Actor, ApplyCatalog, MeterId, OrgCommand, OrgDecision, OrgId, Partition, PlanId, Quantity, SetPlan,
    SystemCommand, UsageKey, Use,
};
use tollgate_engine::{Engine, EngineOptions, Pace};
use tollgate_storage::{Scan, Store};

/// More than are saved together.
const ORGS: usize = 100;

fn org(number: usize) -> OrgId {
    OrgId::new(&format!("org-{number:03}")).expect("an id")
}

fn plan() -> OrgCommand {
    OrgCommand::SetPlan(SetPlan::now(PlanId::new("basic").expect("an id")))
}

fn usage() -> OrgCommand {
    usage_of("reports")
}

fn usage_of(meter: &str) -> OrgCommand {
    OrgCommand::Use(Use {
        user: None,
        path: None,
        meter: MeterId::new(meter).expect("an id"),
        quantity: Quantity::ONE,
        key: UsageKey::new("key").expect("an id"),
        occurred_at: None,
        properties: BTreeMap::new(),
    })
}

/// Of small segments: what is in the last one is read again at every start.
fn open(folder: &Path) -> Arc<EmbeddedStore> {
    let options = EmbeddedOptions { segment_bytes: 4 * 1024, ..EmbeddedOptions::default() };
    Arc::new(EmbeddedStore::open(folder, options).expect("opens"))
}

/// Appends entries for each org; then the process ends. That an org got a plan is in its image soon, what it used is not.
fn append_and_crash(runtime: &Runtime, folder: &Path) {
    let (engine, writer) =
        runtime.block_on(Engine::prepare(open(folder), EngineOptions::default())).expect("starts");
    let append = async {
        for number in 0..2 * ORGS {
            let command = if number < ORGS { plan() } else { usage() };
            let decided = engine.submit(&Actor::Local, org(number % ORGS), command).await;
            assert!(
                matches!(decided, Ok(OrgDecision::Change(Ok(_)) | OrgDecision::Use(Ok(_)))),
                "{decided:?}"
            );
        }
    };
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = append => {}
            () = writer.run() => panic!("the writer goes on"),
        }
    });
}

/// An engine that starts and is shut down, and so saves all that lags behind.
fn start_and_shut_down(runtime: &Runtime, store: &Arc<EmbeddedStore>) {
    let engine = Engine::start(Arc::clone(store), EngineOptions::default());
    let engine = runtime.block_on(engine).expect("starts");
    runtime.block_on(engine.shutdown()).expect("shuts down");
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

#[test]
fn after_a_crash_images_become_whole_without_a_further_append() {
    let (runtime, folder) = (runtime(), tempfile::tempdir().expect("a folder"));
    append_and_crash(&runtime, folder.path());
    let store = open(folder.path());
    let after_the_crash = store.metrics().opening_frames.get();
    start_and_shut_down(&runtime, &store);
    drop(store);
    let after_the_end = open(folder.path()).metrics().opening_frames.get();
    assert!(
        after_the_end < after_the_crash / 2,
        "{after_the_end} frames are read again, {after_the_crash} were"
    );
}

/// The segment, and where the last id of an org stands in it.
fn place_of(folder: &Path, org: &OrgId) -> (PathBuf, usize) {
    let ledger = fs::read_dir(folder.join("ledger")).expect("the ledger").flatten();
    let mut segments: Vec<PathBuf> = ledger.map(|file| file.path()).collect();
    segments.sort();
    let found = segments.into_iter().rev().find_map(|path| {
        let bytes = fs::read(&path).expect("a segment");
        let at = bytes.windows(org.as_str().len()).rposition(|window| window == org.as_str().as_bytes());
        Some((path, at?))
    });
    found.expect("an entry of the org")
}

fn flip(path: &Path, at: usize) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().read(true).write(true).open(path).expect("a segment");
    let mut byte = [0];
    file.read_exact_at(&mut byte, u64::try_from(at).expect("an offset")).expect("a byte");
    file.write_all_at(&[byte[0] ^ 1], u64::try_from(at).expect("an offset")).expect("writes");
}

#[test]
fn an_org_that_cannot_be_opened_holds_up_no_other() {
    let (runtime, folder) = (runtime(), tempfile::tempdir().expect("a folder"));
    append_and_crash(&runtime, folder.path());
    // Damaged when the ledger has been checked, so that nobody knows before it is read.
    let store = open(folder.path());
    let (path, at) = place_of(folder.path(), &org(77));
    flip(&path, at);
    start_and_shut_down(&runtime, &store);
    let lacking = runtime.block_on(store.behind()).expect("it is known");
    assert_eq!(lacking, [Partition::Org(org(77))]);
    drop(store);
    flip(&path, at);
    let store = open(folder.path());
    assert_eq!(
        runtime.block_on(store.behind()).expect("it is known"),
        lacking,
        "it is behind, and not forgotten"
    );
    start_and_shut_down(&runtime, &store);
    assert_eq!(runtime.block_on(store.behind()).expect("it is known"), []);
}

/// Of the meters one is sent to a processor.
const TWO_METERS: &str = r#"
[[meters]]
id = "reports"
name = "Reports"
unit = "report"

[[meters]]
id = "seats"
name = "Seats"
unit = "seat"
sink = { product = "seat", unit = "day" }

[[plans]]
id = "basic"
name = "Basic"
allowances = [{ meter = "reports", amount = 9 }, { meter = "seats", amount = 9 }]
"#;

#[test]
fn whoever_reads_what_is_unsent_waits_for_the_images_of_no_other_org() {
    let (runtime, folder) = (runtime(), tempfile::tempdir().expect("a folder"));
    let (engine, writer) =
        runtime.block_on(Engine::prepare(open(folder.path()), EngineOptions::default())).expect("starts");
    let used = async {
        let apply = SystemCommand::ApplyCatalog(ApplyCatalog::new(TWO_METERS.to_owned()));
        engine.submit_system(&Actor::Local, apply).await.expect("a decision").expect("a catalog");
        let submit = async |number: usize, command| {
            let decided = engine.submit(&Actor::Local, org(number), command).await;
            assert!(
                matches!(decided, Ok(OrgDecision::Change(Ok(_)) | OrgDecision::Use(Ok(_)))),
                "{decided:?}"
            );
        };
        for number in 0..ORGS {
            submit(number, plan()).await;
        }
        // They are saved, too, for this lists all orgs.
        engine.list(&Scan::Orgs, None, 1).await.expect("a list");
        for number in 0..ORGS {
            submit(number, usage_of(if number % 10 == 0 { "seats" } else { "reports" })).await;
        }
        let (unsent, _) = engine.unsent(None, &(i32::MIN..=i32::MAX), None).await.expect("a look");
        let orgs: Vec<OrgId> = unsent.into_iter().map(|row| row.org).collect();
        assert_eq!(orgs, (0..ORGS).step_by(10).map(org).collect::<Vec<_>>(), "all that is unsent is shown");
    };
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = used => {}
            () = writer.run() => panic!("the writer goes on"),
        }
    });
    drop(engine);
    let lagging = runtime.block_on(open(folder.path()).behind()).expect("it is known");
    let others = (0..ORGS).filter(|number| number % 10 != 0).map(|number| Partition::Org(org(number)));
    assert_eq!(lagging, others.collect::<Vec<_>>(), "the images of the others lack their usage");
}

const BATCHES: usize = 20;
const BATCH: usize = 500;

/// Has batches decided, of which one always waits, with a command for each of their orgs; then the process ends.
fn append_batches_and_crash(runtime: &Runtime, folder: &Path, pace: Pace, command: fn() -> OrgCommand) {
    let store = EmbeddedStore::open(folder, EmbeddedOptions::default()).expect("opens");
    let options = EngineOptions { pace, ..EngineOptions::default() };
    let (engine, writer) = runtime.block_on(Engine::prepare(Arc::new(store), options)).expect("starts");
    let engine = Arc::new(engine);
    runtime.block_on(async {
        let mut batches = JoinSet::new();
        for batch in 0..BATCHES {
            let engine = Arc::clone(&engine);
            batches.spawn(async move {
                let commands = (0..BATCH).map(|number| (org(batch * BATCH + number), command()));
                let decided = engine.submit_batch(&Actor::Local, commands.collect()).await;
                assert_eq!(decided.expect("is decided").len(), BATCH);
            });
        }
        tokio::select! {
            biased;
            _ = batches.join_all() => {}
            () = writer.run() => panic!("the writer goes on"),
        }
    });
}

/// Otherwise they grow in memory, and whoever waits for images to be whole holds up the gate until all are written.
#[test]
fn however_much_comes_in_images_lag_behind_by_little_more_than_two_turns() {
    let (runtime, folder) = (runtime(), tempfile::tempdir().expect("a folder"));
    let unsaved_orgs_max = 20;
    let pace = Pace { unsaved_orgs_max, flight_entries_min: 1, ..Pace::default() };
    // What lists of orgs show goes first, and what they do not show is kept back just as well.
    let plan: fn() -> OrgCommand = plan;
    for (what, command) in [("plans", plan), ("usage", usage)] {
        append_batches_and_crash(&runtime, folder.path(), pace, command);
        let store = Arc::new(EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).expect("opens"));
        let behind = runtime.block_on(store.behind()).expect("it is known").len();
        // A turn takes up to three of the batches, and images of one are written beside the next.
        let most = 2 * unsaved_orgs_max + 2 * 3 * BATCH;
        assert!(behind <= most, "{what}: {behind} of {} lag behind", BATCHES * BATCH);
        start_and_shut_down(&runtime, &store);
        assert_eq!(runtime.block_on(store.behind()).expect("it is known"), []);
    }
}
