//! Which facts follow from a line of the ledger, and the fingerprints that name orgs and keys among them: 128 bits, so that
//! two share one never in practice; who finds an entry by one compares the entry itself.

use tollgate_domain::{Entry, KeyId, KeySpace, OrgId, Partition, UsageKey};
use tollgate_storage::codec::LineRef;
use xxhash_rust::xxh3::xxh3_128;

use super::facts::EntryFacts;
use super::segment::Location;

/// Ids hold no control characters, so nothing else starts with one.
const SYSTEM: &[u8] = &[0];

const USE: u8 = 1;
const TOP_UP: u8 = 2;
const REVERSAL: u8 = 3;

/// The fingerprint of a partition.
pub(crate) fn of_partition(partition: &Partition) -> u128 {
    match partition {
        Partition::Org(org) => of_org(org),
        Partition::System => of_system(),
    }
}

fn of_org(org: &OrgId) -> u128 {
    xxh3_128(org.as_str().as_bytes())
}

fn of_system() -> u128 {
    xxh3_128(SYSTEM)
}

/// The fingerprint of a caller's key.
pub(crate) fn of_key(id: &KeyId) -> u128 {
    of_key_in(id.space, &id.org, &id.key)
}

fn of_key_in(space: KeySpace, org: &OrgId, key: &UsageKey) -> u128 {
    let space = match space {
        KeySpace::Use => USE,
        KeySpace::TopUp => TOP_UP,
    };
    tagged(space, org, key)
}

/// The fingerprint of the reversal of the usage with a key.
pub(crate) fn of_reversal(org: &OrgId, key: &UsageKey) -> u128 {
    tagged(REVERSAL, org, key)
}

fn tagged(tag: u8, org: &OrgId, key: &UsageKey) -> u128 {
    xxh3_128(&[&[tag], org.as_str().as_bytes(), &[0], key.as_str().as_bytes()].concat())
}

/// What follows from a line of the ledger.
pub(crate) fn facts_of(line: LineRef<'_>, location: Location) -> EntryFacts {
    match line {
        LineRef::Org(org, entry) => facts_of_entry(org, entry, location),
        LineRef::System(entry) => EntryFacts {
            org: of_system(),
            number: entry.number,
            location,
            key: None,
            reverses: None,
            notices: 0,
            at_secs: entry.at.as_second(),
        },
    }
}

fn facts_of_entry(org: &OrgId, entry: &Entry, location: Location) -> EntryFacts {
    EntryFacts {
        org: of_org(org),
        number: entry.number,
        location,
        key: entry.named_key().map(|(space, key)| of_key_in(space, org, key)),
        reverses: entry.took_back_key().map(|key| of_reversal(org, key)),
        notices: u32::try_from(entry.notices.len()).unwrap_or(u32::MAX),
        at_secs: entry.at.as_second(),
    }
}
