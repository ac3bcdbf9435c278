//! What must be true of what a store is given, whoever gives it.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use tollgate_domain::{Partition, Record, RecordKey};

use crate::{Append, EntryChange, Image, StoreError, StoreErrorKind};

/// Refuses what is larger than a store declares.
///
/// # Errors
/// [`StoreErrorKind::TooLarge`].
///
/// # Panics
/// When two appends are of one partition, or the entries of one are not numbered from its version on without gaps.
pub fn check_appends(appends: &[Append], appends_max: usize, entries_max: usize) -> Result<(), StoreError> {
    let entries: usize = appends.iter().map(|append| append.entries.len()).sum();
    if appends.len() > appends_max || entries > entries_max {
        let text = format!(
            "{} appends with {entries} entries are more than the {appends_max} and {entries_max} of one call",
            appends.len()
        );
        return Err(StoreError::new(StoreErrorKind::TooLarge, text));
    }
    if appends.len() > 1 {
        let partitions: HashSet<&Partition, RandomState> =
            appends.iter().map(|append| &append.partition).collect();
        assert_eq!(partitions.len(), appends.len(), "a call has at most one append to a partition");
    }
    appends.iter().for_each(check_append);
    Ok(())
}

fn check_append(append: &Append) {
    let partition = &append.partition;
    assert!(!append.entries.is_empty(), "an append to {partition:?} has an entry");
    for (number, entry) in (append.expected_version + 1..).zip(&append.entries) {
        let own = match (entry, partition) {
            (EntryChange::Org(entry), Partition::Org(_)) => entry.number,
            (EntryChange::System(entry), Partition::System) => entry.number,
            _ => 0,
        };
        assert_eq!(own, number, "the entries of {partition:?} are its own and numbered without gaps");
    }
}

/// Checks an image.
///
/// # Panics
/// When a record is not of its partition, stands twice, or is not of the kind of its key; when the head is missing, or is
/// not of the image's version.
pub fn check_image(image: &Image) {
    let partition = &image.partition;
    let mut headed = false;
    for (key, record) in &image.records {
        assert_eq!(key.partition(), *partition, "a record of an image belongs to its partition");
        assert!(is_kind_of(key, record), "the record of {key:?} is of its kind");
        if matches!(record, Record::Org(_) | Record::System(_)) {
            assert_eq!(
                record.version(),
                image.version,
                "the head of {partition:?} is of the image's version"
            );
            headed = true;
        }
    }
    assert!(headed, "an image of {partition:?} has its head");
    let keys: HashSet<&RecordKey, RandomState> = image.records.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), image.records.len(), "an image of {partition:?} holds a record once");
}

/// Keys and entries are facts: no image holds them.
fn is_kind_of(key: &RecordKey, record: &Record) -> bool {
    match (key, record) {
        (RecordKey::Org(id), Record::Org(org)) => *id == org.id,
        (RecordKey::Catalog(version), Record::Catalog(catalog)) => *version == catalog.version,
        (RecordKey::ApiKey(id), Record::ApiKey(api_key)) => *id == api_key.id,
        (RecordKey::Channel(id), Record::Channel(channel)) => *id == channel.id,
        (RecordKey::Delivery(..), Record::Delivery(_)) => true,
        (RecordKey::Bill(_, month), Record::Bill(bill)) => *month == bill.rated.month.number,
        (RecordKey::Account(..), Record::Account(_))
        | (RecordKey::Tally(..) | RecordKey::PathTally(..) | RecordKey::Seen(..), Record::Tally(_))
        | (RecordKey::Counter(_), Record::Counter(_))
        | (RecordKey::Groups(..), Record::Groups(_))
        | (RecordKey::Unsent(..), Record::Unsent(_))
        | (RecordKey::Shipment, Record::Shipment(_))
        | (RecordKey::System, Record::System(_)) => true,
        _ => false,
    }
}
