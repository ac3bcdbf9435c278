//! Stores copied into one another: everything that random scenarios make goes round all kinds of stores and is the same in each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Runtime;
use tollgate_backends::dynamo::{DynamoOptions, DynamoStore};
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore};
use tollgate_backends::mongo::{MongoOptions, MongoStore};
use tollgate_backends::postgres::{PostgresOptions, PostgresStore};
use tollgate_backends::redis::{RedisOptions, RedisStore};
use tollgate_domain::{
    Actor, ApiKey, ApiKeyId, ApplyCatalog, ChangeChannel, ChannelChange, ChannelId, ChannelSetup, Filter,
    KeyId, KeyRecord, NoticeRef, OrgCommand, OrgDecision, OrgId, Partition, PutOrg, ReadTo, Role, Round,
    SystemCommand, SystemEntry, SystemEntryKind, Target, Timestamp, UsageKey, catalog,
};
use tollgate_engine::limits::SERVING;
use tollgate_engine::{
    Clock, Copied, CopyError, CopyOptions, CopyStep, Digest, Engine, EngineOptions, Progress, Side, copy,
    digest,
};
use tollgate_peers::{Dynamo, Mongo, Postgres, Redis};
use tollgate_storage::{Append, Appended, Cursor, EntryChange, MemoryStore, Order, Row, Scan, Store};
use tollgate_testing::generate::{Action, scenario, with_number};

const ONCE: CopyOptions = CopyOptions { live: false, holder: 7 };

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Small segments, so that there are many, in which nothing is forgotten: scenarios go on for years.
fn options() -> EmbeddedOptions {
    const CENTURY_SECS: i64 = 100 * 366 * 86_400;
    EmbeddedOptions {
        segment_bytes: 64 * 1024,
        key_keep_secs: CENTURY_SECS,
        counter_keep_secs: CENTURY_SECS,
        ..EmbeddedOptions::default()
    }
}

fn embedded(folder: &Path) -> Arc<EmbeddedStore> {
    Arc::new(EmbeddedStore::open(folder, options()).expect("opens"))
}

fn channel(name: &str) -> ChannelId {
    ChannelId(name.to_owned())
}

/// The rows of a scan.
async fn rows<S: Store>(store: &S, scan: &Scan) -> Vec<Row> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.scan(scan, cursor.as_ref(), 100).await.expect("rows");
        all.extend(page.rows);
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
}

async fn orgs<S: Store>(store: &S) -> Vec<OrgId> {
    let id = |row| if let Row::Org(org) = row { Some(org.id) } else { None };
    rows(store, &Scan::Orgs).await.into_iter().filter_map(id).collect()
}

fn names(rows: &[Row]) -> Vec<NoticeRef> {
    let name = |row: &Row| match row {
        Row::Notice(row) => NoticeRef { org: row.org.clone(), entry: row.entry, index: row.index },
        other => panic!("not a notice: {other:?}"),
    };
    rows.iter().map(name).collect()
}

/// Does what scenarios of these seeds say, and makes keys and channels beside it.
async fn fill<S: Store>(store: &Arc<S>, seeds: std::ops::Range<u64>, commands: usize) {
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let options = EngineOptions { clock: clock.clone(), ..EngineOptions::default() };
    let engine = Engine::start(Arc::clone(store), options).await.expect("starts");
    for seed in seeds {
        let scenario = scenario(seed, commands);
        let first = std::iter::once(&scenario.catalog);
        for text in first {
            apply(&engine, text).await;
        }
        let mut holds: BTreeMap<(OrgId, UsageKey), u64> = BTreeMap::new();
        for step in scenario.steps {
            clock.set(step.at);
            match step.action {
                Action::Catalog(text) => apply(&engine, &text).await,
                Action::Org(org, command) => {
                    let org = OrgId::new(&format!("{org} of {seed}")).expect("an id");
                    let command =
                        with_number(&command, |key| holds.get(&(org.clone(), key.clone())).copied(), None);
                    let decided =
                        engine.submit(&Actor::Local, org.clone(), command).await.expect("a decision");
                    if let OrgDecision::Hold(Ok(taken)) = decided {
                        holds.insert((org, taken.hold.key.clone()), taken.hold.number);
                    }
                }
            }
        }
        let key = ApiKey {
            id: ApiKeyId(format!("{seed:016x}")),
            name: format!("key {seed}"),
            role: Role::Read,
            org: None,
            created_at: clock.now(),
            hash: [7; 32],
            revoked_at: None,
        };
        let made = engine.submit_system(&Actor::Local, SystemCommand::MakeApiKey(key)).await;
        made.expect("a decision").expect("a key");
    }
    read_with_channels(&engine).await;
    engine.shutdown().await.expect("shuts down");
}

/// A catalog that cannot come into force, for orgs have plans that it lacks, is left.
async fn apply<S: Store>(engine: &Engine<S>, text: &str) {
    let apply = SystemCommand::ApplyCatalog(ApplyCatalog::new(text.to_owned()));
    drop(engine.submit_system(&Actor::Local, apply).await.expect("a decision"));
}

/// Makes channels that have read nothing, about a third, and everything.
async fn read_with_channels<S: Store>(engine: &Engine<S>) {
    let all = names(&rows(engine.store().as_ref(), &Scan::Notices).await);
    assert!(all.len() > 30, "there are notices to read: {}", all.len());
    for (name, until) in [("none", 0), ("some", all.len() / 3), ("all", all.len())] {
        let setup = ChannelSetup {
            name: name.to_owned(),
            target: Target::Log,
            filter: Filter::default(),
            enabled: true,
            hours: None,
        };
        let read = ReadTo::default();
        let change = ChannelChange::Make { setup, secret: None, read };
        let change = ChangeChannel { id: channel(name), change };
        let made = engine.submit_system(&Actor::Local, SystemCommand::ChangeChannel(Box::new(change))).await;
        made.expect("a decision").expect("a channel");
        if until == 0 {
            continue;
        }
        let page = engine.scan(&Scan::Notices, None, until).await.expect("notices");
        let read = match page.next {
            Some(Cursor(cursor)) => ReadTo { cursor: Some(cursor), ..ReadTo::default() },
            None => ReadTo { seen: u32::try_from(until).expect("few"), ..ReadTo::default() },
        };
        let read = Some((read, all[..until].to_vec()));
        let round = Round { channel: channel(name), round: 0, read, attempts: Vec::new(), told: Vec::new() };
        let told = engine.submit_system(&Actor::Local, SystemCommand::Deliver(Box::new(round))).await;
        told.expect("a decision").expect("it is written down");
    }
}

/// What a store holds, by means that are the same for all stores.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    orgs: BTreeMap<OrgId, Digest>,
    /// Of each caller's key.
    keys: BTreeMap<KeyId, Option<KeyRecord>>,
    /// Of each org, in order.
    notices: BTreeMap<OrgId, Vec<NoticeRef>>,
    /// What each channel has not read.
    unread: BTreeMap<ChannelId, BTreeSet<NoticeRef>>,
    api_keys: Vec<Row>,
    catalogs: Vec<Row>,
}

async fn held<S: Store>(store: &Arc<S>) -> Held {
    // Nobody drives its writer: what is asked of it is read from the store, which stays open.
    let (engine, _writer) =
        Engine::prepare(Arc::clone(store), EngineOptions::default()).await.expect("starts");
    let mut held = Held {
        orgs: BTreeMap::new(),
        keys: BTreeMap::new(),
        notices: BTreeMap::new(),
        unread: BTreeMap::new(),
        api_keys: rows(store.as_ref(), &Scan::ApiKeys).await,
        catalogs: rows(store.as_ref(), &Scan::Catalogs).await,
    };
    for org in orgs(store.as_ref()).await {
        let hashes = digest(store.as_ref(), &org, u64::MAX).await.expect("it can be read");
        assert!(hashes.rows.is_some(), "the image of {org} is whole");
        let mut keys = Vec::new();
        for row in rows(store.as_ref(), &Scan::Entries { org: org.clone(), order: Order::Oldest }).await {
            let Row::Entry(entry) = row else { panic!("an entry") };
            let named = entry.named_key().map(|(space, key)| (space, key.clone()));
            keys.extend(named.map(|(space, key)| KeyId { org: org.clone(), space, key }));
        }
        let found = store.find(&keys).await.expect("keys");
        held.keys.extend(keys.into_iter().zip(found));
        held.orgs.insert(org, hashes);
    }
    for name in names(&rows(store.as_ref(), &Scan::Notices).await) {
        held.notices.entry(name.org.clone()).or_default().push(name);
    }
    let (channels, _) = engine.channels().await.expect("channels");
    for channel in channels {
        let ReadTo { cursor, seen, .. } = channel.progress.read;
        let (mut left, mut from) = (Vec::new(), cursor.map(Cursor));
        loop {
            let page = engine.scan(&Scan::Notices, from.as_ref(), 10_000).await.expect("notices");
            left.extend(names(&page.rows));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let seen = usize::try_from(seen).expect("few");
        held.unread.insert(channel.id, left.into_iter().skip(seen).collect());
    }
    held
}

/// Names what is not the same.
fn same(what: &str, found: &Held, wanted: &Held) {
    of_each(what, &found.orgs, &wanted.orgs);
    of_each(what, &found.keys, &wanted.keys);
    of_each(what, &found.notices, &wanted.notices);
    of_each(what, &found.unread, &wanted.unread);
    assert_eq!(found, wanted, "{what}");
}

fn of_each<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
) {
    assert!(found.keys().eq(wanted.keys()), "{what}: {:?}, not {:?}", found.keys(), wanted.keys());
    for ((key, found), wanted) in found.iter().zip(wanted.values()) {
        assert_eq!(found, wanted, "{what}: {key:?}");
    }
}

async fn copied<A: Store, B: Store>(from: &Arc<A>, to: &Arc<B>) -> Copied {
    let copied = copy(from.as_ref(), to.as_ref(), ONCE, &mut |_| {}).await.expect("copies");
    assert_eq!((copied.differences.as_slice(), copied.moved), ([].as_slice(), 0), "{copied:?}");
    copied
}

#[test]
fn everything_goes_round_all_stores_and_is_the_same_in_each() {
    let runtime = runtime();
    let folders = [0, 1].map(|_| tempfile::tempdir().expect("a folder"));
    let (postgres, second) =
        (Postgres::start(&["fsync=off"]).expect("starts"), Postgres::start(&["fsync=off"]).expect("starts"));
    let (redis, mongo) = (Redis::start(&[]).expect("starts"), Mongo::start(1).expect("starts"));
    let dynamo = Dynamo::start().expect("starts");
    runtime.block_on(async {
        fill(&embedded(folders[0].path()), 0..6, 400).await;
        let first = embedded(folders[0].path());
        let wanted = held(&first).await;
        assert!(wanted.orgs.len() > 6 && wanted.catalogs.len() > 3, "{}", wanted.orgs.len());
        let unread = |name: &str| wanted.unread[&channel(name)].len();
        assert!(unread("all") == 0 && unread("some") < unread("none"), "channels have read");

        let options = PostgresOptions::from_url(&postgres.url()).expect("a URL");
        let next = Arc::new(PostgresStore::open(options).expect("opens"));
        let sum = copied(&first, &next).await;
        assert!(sum.entries > 500 && sum.orgs == wanted.orgs.len(), "{sum:?}");
        same("in PostgreSQL", &held(&next).await, &wanted);
        assert_eq!(copied(&first, &next).await.entries, 0, "there is nothing left to copy");
        in_use(&first, &next).await;

        let url = format!("redis+{}?redis={}", second.url(), redis.url());
        let options = RedisOptions::from_url(&url).expect("a URL");
        let last = Arc::new(RedisStore::open(options).expect("opens"));
        copied(&next, &last).await;
        same("in Redis before PostgreSQL", &held(&last).await, &wanted);

        let options = MongoOptions::from_url(&mongo.url("metering")).expect("a URL");
        let next = Arc::new(MongoStore::open(options).expect("opens"));
        copied(&last, &next).await;
        same("in MongoDB", &held(&next).await, &wanted);

        let options = DynamoOptions::from_url(&dynamo.url("metering")).expect("a URL");
        let last = Arc::new(DynamoStore::open(options).expect("opens"));
        copied(&next, &last).await;
        same("in DynamoDB", &held(&last).await, &wanted);

        let next = embedded(folders[1].path());
        copied(&last, &next).await;
        same("in a folder again", &held(&next).await, &wanted);
        next.close().await.expect("closes");
    });
    let folder = folders[1].path();
    let report = EmbeddedStore::verify(folder, &options()).expect("it can be checked");
    assert!(report.is_clean(), "{:?}", report.differences);
}

/// While somebody serves on a store nothing is copied from it, unless that is asked for, and nothing to it.
async fn in_use<A: Store, B: Store>(unused: &Arc<A>, used: &Arc<B>) {
    let minute = std::time::Duration::from_secs(60);
    used.claim(SERVING, 1, minute).await.expect("it can be asked").expect("nobody has it");
    let (none, mut tell) = (MemoryStore::new(), |_| {});
    let copied = copy(used.as_ref(), &none, ONCE, &mut tell).await;
    assert!(matches!(copied, Err(CopyError::InUse(Side::Source))), "{copied:?}");
    assert_eq!(none.position(), 0, "nothing was copied");
    let copied = copy(unused.as_ref(), used.as_ref(), ONCE, &mut tell).await;
    assert!(matches!(copied, Err(CopyError::InUse(Side::Target))), "{copied:?}");
    let live = CopyOptions { live: true, ..ONCE };
    let copied = copy(used.as_ref(), &none, live, &mut tell).await.expect("copies");
    assert!(copied.differences.is_empty(), "{copied:?}");
    used.claim(SERVING, 1, std::time::Duration::ZERO).await.expect("it can be asked").expect("it is ours");
}

/// A few appends of an org and of the system, which is named `acme`, to be made in order.
async fn some_appends(renamed: &str) -> Vec<Append> {
    let store = Arc::new(MemoryStore::new());
    let engine = Engine::start(Arc::clone(&store), EngineOptions::default()).await.expect("starts");
    let acme = OrgId::new("acme").expect("an id");
    for name in ["one", renamed, "three", "four", "five"] {
        let put = OrgCommand::Put(PutOrg { name: Some(Some(name.to_owned())), zone: None, metadata: None });
        engine.submit(&Actor::Local, acme.clone(), put).await.expect("a decision");
    }
    engine.shutdown().await.expect("shuts down");
    let entries = rows(store.as_ref(), &Scan::Entries { org: acme.clone(), order: Order::Oldest }).await;
    let append = |row| {
        let Row::Entry(mut entry) = row else { panic!("an entry") };
        entry.at = Timestamp::from_second(i64::try_from(entry.number).expect("few")).expect("a time");
        let expected_version = entry.number - 1;
        let partition = Partition::Org(acme.clone());
        Append { partition, expected_version, entries: vec![EntryChange::Org(entry)] }
    };
    entries.into_iter().map(append).collect()
}

async fn store_of(appends: &[Append]) -> MemoryStore {
    let store = MemoryStore::new();
    for append in appends {
        let made = store.append(vec![append.clone()]).await.expect("appends");
        assert_eq!(made.answers, [Appended::Done]);
    }
    store
}

#[test]
fn a_target_that_has_something_else_is_refused_and_left() {
    runtime().block_on(async {
        let (appends, others) = (some_appends("two").await, some_appends("another").await);
        let from = store_of(&appends[..4]).await;
        let key = SystemEntry {
            number: 1,
            at: Timestamp::UNIX_EPOCH,
            actor: Actor::Local,
            kind: SystemEntryKind::CatalogApplied { version: 1, text: catalog::DEFAULT.to_owned() },
        };
        let system = Append {
            partition: Partition::System,
            expected_version: 0,
            entries: vec![EntryChange::System(key)],
        };
        let mut of_another = appends[0].clone();
        of_another.partition = Partition::Org(OrgId::new("other").expect("an id"));
        for (what, wrong) in [
            ("another entry in the middle", &others[..2]),
            ("another last entry", &[appends[0].clone(), others[1].clone()]),
            ("more than there is", &appends[..]),
            ("another org", &[of_another]),
            ("a catalog", &[system]),
        ] {
            let to = store_of(wrong).await;
            let before = to.position();
            let refused = copy(&from, &to, ONCE, &mut |_| {}).await;
            assert!(matches!(refused, Err(CopyError::SomethingElse(_))), "{what}: {refused:?}");
            assert_eq!(to.position(), before, "{what}: nothing was made");
        }
        // What is behind the last entry is found in the end.
        let wrong = store_of(&[others[0].clone(), others[1].clone(), appends[2].clone()]).await;
        let copied = copy(&from, &wrong, ONCE, &mut |_| {}).await.expect("it looks like a beginning");
        assert_eq!(copied.differences, ["the ledger of the organization acme"]);
        let none = copy(&MemoryStore::new(), &from, ONCE, &mut |_| {}).await;
        assert!(matches!(none, Err(CopyError::Empty)), "{none:?}");
    });
}

#[test]
fn what_goes_on_meanwhile_is_said_and_copied_the_next_time() {
    runtime().block_on(async {
        let appends = some_appends("two").await;
        let (from, to) = (store_of(&appends[..3]).await, store_of(&appends[..1]).await);
        let mut more = appends[3..].iter();
        let mut go_on = |progress: Progress| {
            if progress.step == CopyStep::Orgs
                && let Some(append) = more.next()
            {
                let made = pin!(from.append(vec![append.clone()]));
                let made = made.poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(made, Poll::Ready(Ok(_))), "a store in memory does not wait");
            }
        };
        for (entries, moved) in [(2, 1), (1, 1), (1, 0)] {
            let copied = copy(&from, &to, ONCE, &mut go_on).await.expect("copies");
            let wanted = Copied { orgs: 1, entries, moved, ..Copied::default() };
            assert_eq!(copied, wanted);
        }
        let version = to.versions(&[appends[0].partition.clone()]).await.expect("a version");
        assert_eq!(version, [5]);
    });
}
