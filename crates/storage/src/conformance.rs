//! The suite every store must pass: the definition of the contract.
//!
//! A store's tests implement [`Subject`] and call [`run`]. Every case gets a fresh store; cases that need a durable
//! store run where [`crate::Capabilities::durable`] says so. A failure names the case and the seed; setting the
//! environment variable [`SEED_VARIABLE`] to that seed repeats it.
//!
//! The entries appended are made up, and the images are what the domain's own [`tollgate_domain::apply`] makes of them.
//! Whether images are kept at once, later or never, an image with the entries since must come to the same. What a store
//! should answer is remembered by a naive model.
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test, though part of the library so that every store can run it"
)]

mod basics;
mod concurrency;
mod durability;
mod guards;
mod harness;
mod images;
mod keys;
mod leases;
mod own;
mod random;
mod rows;
mod samples;
mod scans;
mod whole;
mod world;

use std::env;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tollgate_domain::OrgId;

use crate::{Append, Capabilities, Image, Store, StoreError};
use harness::Harness;
use samples::{moment, used, used_once};
use world::World;

/// The environment variable that sets the seed of the random cases; without it each run takes a new one.
pub const SEED_VARIABLE: &str = "TOLLGATE_SEED";

/// A kind of store to put to the test.
pub trait Subject: Sync {
    /// The store.
    type Store: Store;

    /// Makes a new, empty store that shares nothing with those made before.
    fn fresh(&self) -> Self::Store;

    /// Opens again what a store has kept.
    ///
    /// The store was closed before, or was not: then this is a crash, and everything that holds it goes with it. Called
    /// for durable stores only.
    ///
    /// # Errors
    /// When the store does not open; the suite fails.
    fn reopen(&self, store: Self::Store) -> Result<Self::Store, StoreError>;

    /// Opens what a store keeps a second time, as another process would. Called for shared stores only.
    ///
    /// # Errors
    /// When the store does not open; the suite fails.
    fn beside(&self, store: &Self::Store) -> Result<Self::Store, StoreError> {
        panic!("a store that says {:?} opens beside itself", store.capabilities())
    }

    /// Runs a future to its end; called from several threads at once.
    fn block_on<F: Future>(&self, future: F) -> F::Output;
}

/// An append to an org, at a version, that counts a usage of one of the meter `reports` by `ann` under each key, decided at
/// the moment with a number.
///
/// # Panics
/// When a key is none.
pub fn append_using<'a>(
    org: &OrgId,
    ticks: u32,
    expected_version: u64,
    keys: impl IntoIterator<Item = &'a str>,
) -> Append {
    let lines = keys.into_iter().map(|key| used(used_once("reports", Some("ann"), key)).into());
    world::append_of(org, moment(ticks), expected_version, lines)
}

/// The image of a partition after all its appends, with all of its records.
///
/// # Panics
/// When the appends are not all of one partition in order, from its first on.
pub fn image_after<'a>(appends: impl IntoIterator<Item = &'a Append>) -> Image {
    let mut world = World::default();
    for append in appends {
        assert_eq!(append.expected_version, world.version(&append.partition), "appends follow one another");
        world.take(append);
    }
    let partitions = world.partitions();
    let [partition] = &partitions[..] else { panic!("one partition, not {partitions:?}") };
    world.image(partition).expect("an image of entries")
}

/// Runs every case that fits the store.
///
/// # Panics
/// When a case fails, after the others have run; the message names the cases that failed.
pub fn run<S: Subject>(subject: &S) {
    run_where(subject, |_| true);
}

/// Runs the cases whose name is wanted and that fit the store.
///
/// # Panics
/// As [`run`] does, and when there is no such case.
pub fn run_where<S: Subject>(subject: &S, wanted: impl Fn(&str) -> bool) {
    let seed = seed();
    let mut failed = Vec::new();
    let mut passed = 0;
    for case in cases().into_iter().filter(|case| wanted(case.name)) {
        let harness = Harness::new(subject, seed);
        let can = harness.store().capabilities();
        if !case.needs.is_met_by(can) {
            continue;
        }
        eprintln!("store case {} (seed {seed})", case.name);
        match catch_unwind(AssertUnwindSafe(|| (case.run)(harness))) {
            Ok(()) => passed += 1,
            Err(_) => failed.push(case.name),
        }
    }
    assert!(
        failed.is_empty(),
        "{} store cases failed, {passed} passed (set {SEED_VARIABLE}={seed} to repeat): {}",
        failed.len(),
        failed.join(", ")
    );
    assert!(passed > 0, "no case that fits this store was wanted");
}

fn seed() -> u64 {
    match env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE} is not a whole number: {text}")),
        Err(_) => fastrand::u64(..),
    }
}

/// What a case asks of a store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Durable,
    Shared,
}

impl Needs {
    const fn is_met_by(self, can: Capabilities) -> bool {
        match self {
            Self::Nothing => true,
            Self::Durable => can.durable,
            Self::Shared => can.shared,
        }
    }
}

struct Case<'a, S: Subject> {
    name: &'static str,
    needs: Needs,
    run: fn(Harness<'a, S>),
}

macro_rules! cases {
    ($($needs:ident $module:ident::$name:ident),* $(,)?) => {
        vec![$(Case {
            name: concat!(stringify!($module), "::", stringify!($name)),
            needs: Needs::$needs,
            run: $module::$name,
        }),*]
    };
}

/// The table of all cases.
fn cases<'a, S: Subject>() -> Vec<Case<'a, S>> {
    cases![
        Nothing basics::an_empty_store_holds_nothing,
        Nothing basics::every_kind_of_record_comes_back,
        Nothing basics::every_kind_of_entry_and_notice_comes_back,
        Nothing basics::records_are_replaced,
        Nothing basics::answers_come_in_the_order_asked,
        Nothing basics::ids_are_never_taken_for_one_another,
        Nothing basics::the_longest_ids_fit,
        Nothing basics::large_appends_are_whole,
        Nothing keys::keys_are_found_at_once,
        Nothing keys::keys_of_usages_and_of_top_ups_are_apart,
        Nothing keys::a_reversed_key_says_so,
        Nothing keys::of_a_key_made_again_the_latest_is_found,
        Nothing keys::nothing_is_made_where_a_key_is_not_new,
        Nothing images::what_an_image_lacks_is_answered_by_the_entries_since,
        Nothing images::an_image_that_is_not_newer_changes_nothing,
        Nothing images::what_an_image_does_not_name_stays,
        Nothing images::a_load_is_of_the_image_that_was_opened,
        Nothing images::behind_are_those_whose_images_lack_entries,
        Nothing guards::a_wrong_version_leaves_nothing,
        Nothing guards::conflicts_do_not_hold_up_the_others,
        Nothing guards::versions_are_per_partition,
        Nothing guards::a_loser_reads_the_entries_that_won,
        Nothing guards::full_calls_fit_and_larger_ones_are_refused_whole,
        Nothing scans::orgs_come_by_id,
        Nothing scans::entries_come_from_either_end,
        Nothing scans::entries_go_on_under_later_appends,
        Nothing scans::org_counters_come_by_period,
        Nothing scans::tallies_come_by_user,
        Nothing scans::what_is_unsent_comes_by_org_and_day,
        Nothing scans::notices_come_as_they_were_appended,
        Nothing scans::the_system_is_listed,
        Nothing scans::neighbours_do_not_leak,
        Nothing scans::foreign_cursors_are_refused,
        Nothing scans::what_is_appended_is_seen_at_once,
        Shared leases::one_holder_has_a_lease_until_it_ends,
        Shared leases::of_many_who_claim_one_gets_it,
        Nothing concurrency::readers_never_see_half_an_append_or_half_an_image,
        Nothing concurrency::one_of_many_writers_wins_each_version,
        Durable durability::closing_and_reopening_keeps_everything,
        Durable durability::a_crash_keeps_everything,
        Durable durability::a_crash_before_any_checkpoint_keeps_everything,
        Durable durability::what_is_behind_is_known_after_reopening,
        Durable durability::what_was_found_behind_stays_so,
        Durable durability::cursors_outlive_the_process,
        Nothing random::a_random_history_matches_the_model,
    ]
}
