//! Where everything lies.
//!
//! ```text
//! partition   sort key                        an item is
//! o:ORG       h                               the head of the image of an org
//!             e, the version before           a pack: the entries of one append
//!             p, table, row                   a part of the image
//!             k, the number before            a run of callers' keys
//!             z, …                            a piece of a value that is too long for one item
//! system      the same                        of the system
//! orgs        the org                         an org that has an image
//! unsent      the org                         an org that may have something unsent
//! behind      the partition                   a partition whose image may lack entries
//! noted       when, and which call            an append with notices that nobody has put in order yet
//! notices     1, 2 …                          appends with notices, in the order in which they are read
//! leases      the work                        who does what one process should do
//! ```

use sha2::{Digest, Sha256};
use tollgate_domain::{OrgId, Partition};

use super::table::{Place, Range};
use crate::rows::Table as RowTable;

/// The partitions of lists.
pub(crate) const ORGS: &str = "orgs";
pub(crate) const UNSENT: &str = "unsent";
pub(crate) const BEHIND: &str = "behind";
pub(crate) const NOTED: &str = "noted";
pub(crate) const NOTICES: &str = "notices";
pub(crate) const LEASES: &str = "leases";

const SYSTEM: &str = "system";
const ORG_PREFIX: &str = "o:";

const HEAD: u8 = b'h';
const PACK: u8 = b'e';
const PART: u8 = b'p';
const RUN: u8 = b'k';
const PIECE: u8 = b'z';

/// Most bytes of the key of a row as it is; DynamoDB takes sort keys of 1,024 bytes.
const ROW_BYTES_MAX: usize = 900;

/// Bytes of the hashes that stand for what is longer.
const HASH_BYTES: usize = 16;

/// The name of the partition of a ledger in the database.
pub(crate) fn name_of(partition: &Partition) -> String {
    match partition {
        Partition::Org(org) => of_org(org),
        Partition::System => SYSTEM.to_owned(),
    }
}

pub(crate) fn of_org(org: &OrgId) -> String {
    format!("{ORG_PREFIX}{org}")
}

/// The partition of a name.
pub(crate) fn partition_of(name: &[u8]) -> Option<Partition> {
    let name = str::from_utf8(name).ok()?;
    match name.strip_prefix(ORG_PREFIX) {
        Some(org) => OrgId::new(org).ok().map(Partition::Org),
        None => (name == SYSTEM).then_some(Partition::System),
    }
}

pub(crate) fn in_list(list: &str, sort: impl Into<Vec<u8>>) -> Place {
    Place { partition: list.to_owned(), sort: sort.into() }
}

pub(crate) fn head(name: &str) -> Place {
    Place { partition: name.to_owned(), sort: vec![HEAD] }
}

fn numbered(kind: u8, number: u64) -> Vec<u8> {
    [&[kind], number.to_be_bytes().as_slice()].concat()
}

/// Of the pack of the entries behind a version.
pub(crate) fn pack(name: &str, after: u64) -> Place {
    Place { partition: name.to_owned(), sort: numbered(PACK, after) }
}

/// The version behind which the entries of a pack, or of a run, are.
pub(crate) fn after_of(sort: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(sort.get(1..)?.try_into().ok()?))
}

/// Of the packs of the entries behind versions from one to another, both included.
pub(crate) fn packs(name: &str, from: u64, until: u64) -> Range {
    Range {
        partition: name.to_owned(),
        from: numbered(PACK, from),
        until: numbered(PACK, until),
        newest_first: false,
        limit: usize::MAX,
    }
}

pub(crate) fn run(name: &str, after: u64) -> Place {
    Place { partition: name.to_owned(), sort: numbered(RUN, after) }
}

pub(crate) fn runs(name: &str) -> Range {
    Range { from: numbered(RUN, 0), until: numbered(RUN, u64::MAX), ..packs(name, 0, 0) }
}

/// Everything in a list, from a sort key on.
pub(crate) fn list(list: &str, from: Vec<u8>, limit: usize) -> Range {
    // No sort key is empty, nor may one be asked for.
    let from = if from.is_empty() { vec![0] } else { from };
    Range { partition: list.to_owned(), from, until: vec![0xFF; 64], newest_first: false, limit }
}

/// A piece of a value of an item.
pub(crate) fn piece(owner: &Place, token: &[u8], number: u32) -> Place {
    let hash = hash_of(&[owner.sort.as_slice(), &[0], token].concat());
    let sort = [&[PIECE], hash.as_slice(), &number.to_be_bytes()].concat();
    Place { partition: owner.partition.clone(), sort }
}

fn hash_of(bytes: &[u8]) -> [u8; HASH_BYTES] {
    *Sha256::digest(bytes).first_chunk().unwrap_or(&[0; HASH_BYTES])
}

/// The sort key of a part of an image. It is the row key without the org, which the partition says, and with a hash for the
/// meter: rows of one meter sort as they should, and all fit. What is longer still is never read in order.
pub(crate) fn part_sort(table: RowTable, row_key: &[u8]) -> Vec<u8> {
    let mut sort = vec![PART, tag_of(table)];
    let mut rest = row_key;
    match table {
        RowTable::Accounts | RowTable::Tallies | RowTable::Counters => {
            let (meter, behind) = past_id(past_id(rest).1);
            sort.extend_from_slice(&hash_of(meter));
            rest = behind;
        }
        RowTable::Bills | RowTable::Unsent => rest = past_id(rest).1,
        RowTable::Orgs | RowTable::System => {}
    }
    match rest.split_at_checked(ROW_BYTES_MAX) {
        Some((start, end)) => {
            sort.extend_from_slice(start);
            sort.extend_from_slice(&hash_of(end));
        }
        None => sort.extend_from_slice(rest),
    }
    sort
}

/// An id in a row key, and what is behind it.
fn past_id(row_key: &[u8]) -> (&[u8], &[u8]) {
    let end = row_key.iter().position(|byte| *byte == 0).unwrap_or(row_key.len());
    let (id, rest) = row_key.split_at_checked(end).unwrap_or((row_key, &[]));
    (id, rest.split_first().map_or(&[], |(_, rest)| rest))
}

const fn tag_of(table: RowTable) -> u8 {
    match table {
        RowTable::Orgs => b'o',
        RowTable::Accounts => b'a',
        RowTable::Tallies => b't',
        RowTable::Counters => b'c',
        RowTable::Bills => b'b',
        RowTable::Unsent => b'u',
        RowTable::System => b's',
    }
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{MeterId, RecordKey, ScopePath, UserId};

    use super::*;
    use crate::rows::row_key;

    #[test]
    fn the_longest_ids_fit_and_sort_by_user() {
        let long = |end: char| "\u{10348}".repeat(127) + &end.to_string();
        let (org, meter) = (OrgId::new(&long('a')).unwrap(), MeterId::new(&long('m')).unwrap());
        let sort = |user: &str| {
            let key = RecordKey::Tally(org.clone(), meter.clone(), UserId::new(user).unwrap());
            let (table, row_key) = row_key(&key).unwrap();
            part_sort(table, &row_key)
        };
        let sorted = [sort("a"), sort("ab"), sort("b"), sort(&long('a')), sort(&long('b'))];
        assert!(sorted.is_sorted(), "{sorted:?}");
        let half = "\u{10348}".repeat(tollgate_domain::limits::PATH_CHARS_MAX / 2 - 1);
        let path = ScopePath::new(&format!("{half}/{half}")).unwrap();
        let key = RecordKey::PathTally(org.clone(), meter.clone(), path.clone());
        let (table, of_path) = row_key(&key).unwrap();
        assert!(part_sort(table, &of_path).ends_with(path.as_str().as_bytes()), "it is read from its key");
        assert!(sorted.iter().all(|sort| sort.len() <= 1_024));
        assert!(of_org(&org).len() <= 2_048);
    }

    #[test]
    fn names_say_their_partitions() {
        for partition in [Partition::System, Partition::Org(OrgId::new("system").unwrap())] {
            assert_eq!(partition_of(name_of(&partition).as_bytes()), Some(partition));
        }
        assert_eq!(partition_of(b"orgs"), None);
    }
}
