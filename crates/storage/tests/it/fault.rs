//! What may be wrong with a store, and the case that notices it.

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    Sound,
    /// Nothing: it finds keys as of the version of an org that it last saw, as a store may.
    FindsAsOfWhatWasSeen,

    /// Answers in the order of what was asked for.
    SortsAnswers,
    /// Takes the keys of top-ups for those of usages.
    SharesKeySpaces,
    /// Takes ids that end in a space for those that do not.
    TrimsIds,
    /// Keeps microseconds.
    CutsTime,
    /// Reads the image at one moment, the entries at another.
    TearsHeadsFromEntries,
    /// Appends entry by entry.
    TearsAppends,

    /// Gives a row more than asked.
    OverfillsPages,
    /// Gives a cursor at the end too.
    GoesOnAtTheEnd,
    /// Takes the cursor of any scan.
    TakesAnyCursor,
    /// Forgets its cursors with its process.
    ForgetsCursors,
    /// Reads ranges to their last number, too.
    ReadsPastRanges,
    /// Sorts by UTF-16.
    SortsByUtf16,
    /// Orders the notices of a page by their time.
    OrdersNoticesByClock,
    /// Lists entries and notices once an image holds them.
    ListsWhatImagesHold,

    /// Makes nothing of what comes after a conflict.
    StopsAtConflicts,
    /// Answers a conflict as made.
    HidesConflicts,
    /// Remembers the keys of what was not made.
    RemembersKeysOfConflicts,
    /// Lists the notices of what was not made.
    ListsNoticesOfConflicts,
    /// Takes more than it declares.
    TakesTooMuch,
    /// Gives every append the same position.
    StandsStill,
    /// Takes the versions of images for those of partitions.
    GivesVersionsOfImages,

    /// Lets an older image overwrite a newer one.
    TakesOlderImages,
    /// Takes the head of an image and leaves its parts.
    KeepsHeadsOnly,
    /// Takes an image for all there is of its partition.
    DropsWhatImagesDoNotName,
    /// Does not take out of an image what has become nothing.
    KeepsWhatIsNothing,
    /// Keeps one image of a call.
    KeepsTheFirstImage,
    /// Loads from whatever image there is.
    LoadsFromAnyImage,
    /// Leaves out, of what is loaded together, that of which the image moved.
    LoadsWithGaps,
    /// Loads nothing where one image moved.
    LoadsAllOrNothing,
    /// Does not know entries one by one while no image holds them.
    LoadsEntriesOfImages,
    /// Leaves out the last entry on opening.
    LeavesOutTheLastEntry,
    /// Gives an entry that the image holds again on opening.
    RepeatsAnEntry,

    /// Forgets keys once an image holds their entries.
    ForgetsKeysAtCheckpoints,
    /// Finds keys once an image holds their entries.
    FindsKeysAfterCheckpoints,
    /// Does not know that usages are taken back.
    MissesReversals,
    /// Does not know it once the image holds the usage.
    MissesLateReversals,
    /// Finds the first of the entries that a key made.
    FindsTheFirst,
    /// Appends under known keys that were taken for new.
    TakesKnownKeysForNew,
    /// Makes nothing of any org where one of them has a known key.
    StopsAtKnownKeys,

    /// Says that nothing is behind.
    NamesNothing,
    /// Says that everything is behind.
    NamesEverything,
    /// Does not say that the system is behind.
    LeavesOutTheSystem,
    /// Takes everything before the latest checkpoint for whole.
    TrustsAnyCheckpoint,
    /// Takes the append after those that are said to be whole for whole, too.
    TrustsOneAppendTooMany,
    /// Forgets what it found behind when it is told that what it appended is whole.
    ForgetsWhatItFoundBehind,

    /// Loses its last append in a crash.
    LosesTheLastAppend,
    /// Loses in a crash what no image holds.
    LosesWhatImagesLack,
    /// Loses its images in a crash.
    LosesImages,
    /// Loses what was not of an org when it is closed.
    LosesTheSystem,

    /// Opens what it has opened before from memory, whatever others have appended.
    MissesWhatOthersAppend,
    /// Finds the keys of orgs to which it appended itself, whatever it has seen.
    MissesKeysOfOthers,
    /// Names only what it appended itself.
    MissesWhatOthersLeaveBehind,

    /// Gives a lease to whoever asks.
    GivesLeasesToAll,
    /// Gives every holder of a lease the same number.
    NumbersLeasesAlike,
    /// Gives a lease that was given back to nobody else.
    NeverEndsLeases,
}

impl Fault {
    /// Whether it is one of stores that several processes have.
    pub(crate) fn is_of_shared(self) -> bool {
        matches!(
            self,
            Self::MissesWhatOthersAppend
                | Self::MissesKeysOfOthers
                | Self::MissesWhatOthersLeaveBehind
                | Self::GivesLeasesToAll
                | Self::NumbersLeasesAlike
                | Self::NeverEndsLeases
        )
    }
}

/// Each fault, and a case that notices it.
pub(crate) const NOTICED: [(Fault, &str); 71] = [
    (Fault::SortsAnswers, "basics::answers_come_in_the_order_asked"),
    (Fault::SharesKeySpaces, "keys::keys_of_usages_and_of_top_ups_are_apart"),
    (Fault::TrimsIds, "basics::ids_are_never_taken_for_one_another"),
    (Fault::CutsTime, "scans::notices_come_as_they_were_appended"),
    (Fault::TearsHeadsFromEntries, "concurrency::readers_never_see_half_an_append_or_half_an_image"),
    (Fault::TearsAppends, "concurrency::readers_never_see_half_an_append_or_half_an_image"),
    (Fault::OverfillsPages, "scans::entries_come_from_either_end"),
    (Fault::GoesOnAtTheEnd, "scans::orgs_come_by_id"),
    (Fault::TakesAnyCursor, "scans::foreign_cursors_are_refused"),
    (Fault::ForgetsCursors, "durability::cursors_outlive_the_process"),
    (Fault::ReadsPastRanges, "scans::org_counters_come_by_period"),
    (Fault::SortsByUtf16, "scans::orgs_come_by_id"),
    (Fault::SortsByUtf16, "scans::tallies_come_by_user"),
    (Fault::OrdersNoticesByClock, "scans::notices_come_as_they_were_appended"),
    (Fault::ListsWhatImagesHold, "scans::entries_come_from_either_end"),
    (Fault::ListsWhatImagesHold, "scans::what_is_appended_is_seen_at_once"),
    (Fault::StopsAtConflicts, "guards::conflicts_do_not_hold_up_the_others"),
    (Fault::HidesConflicts, "guards::a_wrong_version_leaves_nothing"),
    (Fault::HidesConflicts, "guards::a_loser_reads_the_entries_that_won"),
    (Fault::HidesConflicts, "concurrency::one_of_many_writers_wins_each_version"),
    (Fault::RemembersKeysOfConflicts, "guards::a_wrong_version_leaves_nothing"),
    (Fault::RemembersKeysOfConflicts, "guards::a_loser_reads_the_entries_that_won"),
    (Fault::RemembersKeysOfConflicts, "concurrency::one_of_many_writers_wins_each_version"),
    (Fault::ListsNoticesOfConflicts, "guards::a_wrong_version_leaves_nothing"),
    (Fault::TakesTooMuch, "guards::full_calls_fit_and_larger_ones_are_refused_whole"),
    (Fault::StandsStill, "guards::versions_are_per_partition"),
    (Fault::GivesVersionsOfImages, "guards::versions_are_per_partition"),
    (Fault::TakesOlderImages, "images::an_image_that_is_not_newer_changes_nothing"),
    (Fault::TakesOlderImages, "concurrency::one_of_many_writers_wins_each_version"),
    (Fault::KeepsHeadsOnly, "images::what_an_image_lacks_is_answered_by_the_entries_since"),
    (Fault::KeepsHeadsOnly, "concurrency::readers_never_see_half_an_append_or_half_an_image"),
    (Fault::DropsWhatImagesDoNotName, "images::what_an_image_does_not_name_stays"),
    (Fault::KeepsWhatIsNothing, "scans::what_is_unsent_comes_by_org_and_day"),
    (Fault::KeepsTheFirstImage, "images::what_an_image_lacks_is_answered_by_the_entries_since"),
    (Fault::LoadsFromAnyImage, "images::a_load_is_of_the_image_that_was_opened"),
    (Fault::LoadsFromAnyImage, "concurrency::readers_never_see_half_an_append_or_half_an_image"),
    (Fault::LoadsWithGaps, "images::a_load_is_of_the_image_that_was_opened"),
    (Fault::LoadsAllOrNothing, "images::a_load_is_of_the_image_that_was_opened"),
    (Fault::LoadsEntriesOfImages, "scans::what_is_appended_is_seen_at_once"),
    (Fault::LeavesOutTheLastEntry, "images::what_an_image_lacks_is_answered_by_the_entries_since"),
    (Fault::RepeatsAnEntry, "images::what_an_image_lacks_is_answered_by_the_entries_since"),
    (Fault::ForgetsKeysAtCheckpoints, "keys::keys_are_found_at_once"),
    (Fault::FindsKeysAfterCheckpoints, "keys::keys_are_found_at_once"),
    (Fault::MissesReversals, "keys::a_reversed_key_says_so"),
    (Fault::MissesLateReversals, "keys::a_reversed_key_says_so"),
    (Fault::FindsTheFirst, "keys::of_a_key_made_again_the_latest_is_found"),
    (Fault::TakesKnownKeysForNew, "keys::nothing_is_made_where_a_key_is_not_new"),
    (Fault::StopsAtKnownKeys, "keys::nothing_is_made_where_a_key_is_not_new"),
    (Fault::NamesNothing, "durability::what_is_behind_is_known_after_reopening"),
    (Fault::NamesEverything, "images::behind_are_those_whose_images_lack_entries"),
    (Fault::LeavesOutTheSystem, "durability::what_is_behind_is_known_after_reopening"),
    (Fault::TrustsAnyCheckpoint, "durability::what_is_behind_is_known_after_reopening"),
    (Fault::TrustsOneAppendTooMany, "durability::what_is_behind_is_known_after_reopening"),
    (Fault::ForgetsWhatItFoundBehind, "durability::what_was_found_behind_stays_so"),
    (Fault::LosesTheLastAppend, "durability::a_crash_before_any_checkpoint_keeps_everything"),
    (Fault::LosesWhatImagesLack, "durability::a_crash_before_any_checkpoint_keeps_everything"),
    (Fault::LosesImages, "durability::a_crash_keeps_everything"),
    (Fault::LosesTheSystem, "durability::closing_and_reopening_keeps_everything"),
    (Fault::MissesWhatOthersAppend, "guards::a_loser_reads_the_entries_that_won"),
    (Fault::MissesWhatOthersAppend, "random::a_random_history_matches_the_model"),
    (Fault::MissesKeysOfOthers, "keys::keys_are_found_at_once"),
    (Fault::MissesKeysOfOthers, "keys::nothing_is_made_where_a_key_is_not_new"),
    (Fault::MissesKeysOfOthers, "scans::what_is_appended_is_seen_at_once"),
    (Fault::MissesWhatOthersLeaveBehind, "images::behind_are_those_whose_images_lack_entries"),
    (Fault::GivesLeasesToAll, "leases::one_holder_has_a_lease_until_it_ends"),
    (Fault::GivesLeasesToAll, "leases::of_many_who_claim_one_gets_it"),
    (Fault::NumbersLeasesAlike, "leases::one_holder_has_a_lease_until_it_ends"),
    (Fault::NeverEndsLeases, "leases::one_holder_has_a_lease_until_it_ends"),
    (Fault::TakesOlderImages, "random::a_random_history_matches_the_model"),
    (Fault::MissesLateReversals, "random::a_random_history_matches_the_model"),
    (Fault::TrustsAnyCheckpoint, "random::a_random_history_matches_the_model"),
];
