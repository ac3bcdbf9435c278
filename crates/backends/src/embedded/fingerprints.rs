//! Which facts follow from a line of the ledger, and the fingerprints that name orgs and keys among them: 128 bits, so that
//! two share one never in practice; who finds an entry by one compares the entry itself.

use tollgate_domain::{KeyId, KeySpace, OrgId, Partition, UsageKey};
use tollgate_storage::codec::LineRef;
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use super::facts::{EntryFacts, Place};

/// Ids hold no control characters, so nothing else starts with one.
const SYSTEM: &[u8] = &[0];

/// What a key stands for: each has fingerprints of its own.
const USE: u64 = 1;
const TOP_UP: u64 = 2;
const REVERSAL: u64 = 3;
const TOLD: u64 = 4;

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
    of_key_in(of_org(&id.org), id.space, &id.key)
}

fn of_key_in(org: u128, space: KeySpace, key: &UsageKey) -> u128 {
    let space = match space {
        KeySpace::Use => USE,
        KeySpace::TopUp => TOP_UP,
        KeySpace::Told => TOLD,
    };
    tagged(org, space, key)
}

/// The fingerprint of the reversal of the usage with a key.
pub(crate) fn of_reversal(org: &OrgId, key: &UsageKey) -> u128 {
    tagged(of_org(org), REVERSAL, key)
}

/// The org's fingerprint and the tag are the seed of the key's.
fn tagged(org: u128, tag: u64, key: &UsageKey) -> u128 {
    let seed = u64::try_from(org >> 64).unwrap_or_default();
    xxh3_128_with_seed(key.as_str().as_bytes(), seed.wrapping_add(tag))
}

/// What follows from a line of the ledger at a place.
pub(crate) fn facts_of(line: LineRef<'_>, place: Place) -> EntryFacts {
    match line {
        LineRef::Org(org, entry) => {
            let org = of_org(org);
            EntryFacts {
                org,
                number: entry.number,
                place,
                key: entry.named_key().map(|(space, key)| of_key_in(org, space, key)),
                reverses: entry.took_back_key().map(|key| tagged(org, REVERSAL, key)),
                notices: u32::try_from(entry.notices.len()).unwrap_or(u32::MAX),
                at_secs: entry.at.as_second(),
            }
        }
        LineRef::System(entry) => EntryFacts {
            org: of_system(),
            number: entry.number,
            place,
            key: None,
            reverses: None,
            notices: 0,
            at_secs: entry.at.as_second(),
        },
    }
}
