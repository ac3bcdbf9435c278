//! Parts: what an org has beside itself, by name.

use std::sync::Arc;

use crate::{
    CounterId, KeyId, KeySpace, MeterId, OrgId, Period, RecordKey, Scope, ScopePath, Seen, UsageKey, UserId,
};

/// Names a part of an org.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartKey {
    /// How it stands on a meter.
    Account(MeterId),
    /// The open counters of a user on a meter.
    Tally(MeterId, UserId),
    /// The open counters of a path on a meter.
    PathTally(MeterId, ScopePath),
    /// The open counters of a value that a meter counts once.
    Seen(MeterId, Arc<Seen>),
    /// A closed counter.
    Counter(MeterId, Scope, Period),
    /// What was used of a meter in a period, by the properties the meter is counted by.
    Groups(MeterId, Period),
    /// The closed bill of the month with this number.
    Bill(i32),
    /// What is unsent of the day with this number.
    Unsent(i32),
    /// A key that was seen.
    Key(KeySpace, UsageKey),
    /// An entry, by its number.
    Entry(u64),
    /// A version of the catalog. It is the system's; bills of the org go by it.
    Catalog(u32),
}

impl PartKey {
    /// The part with the open counters of a scope.
    #[must_use]
    pub fn tally(meter: &MeterId, scope: &Scope) -> Self {
        match scope {
            Scope::Org => Self::Account(meter.clone()),
            Scope::User(user) => Self::Tally(meter.clone(), user.clone()),
            Scope::Path(path) => Self::PathTally(meter.clone(), path.clone()),
            Scope::Seen(seen) => Self::Seen(meter.clone(), Arc::clone(seen)),
        }
    }

    /// The name of this part of an org in a store.
    #[must_use]
    pub fn of(self, org: &OrgId) -> RecordKey {
        let org = org.clone();
        match self {
            Self::Account(meter) => RecordKey::Account(org, meter),
            Self::Tally(meter, user) => RecordKey::Tally(org, meter, user),
            Self::PathTally(meter, path) => RecordKey::PathTally(org, meter, path),
            Self::Seen(meter, seen) => RecordKey::Seen(org, meter, seen),
            Self::Counter(meter, scope, period) => {
                RecordKey::Counter(CounterId { org, meter, scope, period })
            }
            Self::Groups(meter, period) => RecordKey::Groups(org, meter, period),
            Self::Bill(month) => RecordKey::Bill(org, month),
            Self::Unsent(day) => RecordKey::Unsent(org, day),
            Self::Key(space, key) => RecordKey::Key(KeyId { org, space, key }),
            Self::Entry(number) => RecordKey::Entry(org, number),
            Self::Catalog(version) => RecordKey::Catalog(version),
        }
    }

    /// The org and the part of it that a record is; `None`: it is an org itself, or the system's.
    #[must_use]
    pub fn in_org(key: &RecordKey) -> Option<(&OrgId, Self)> {
        let part = match key.clone() {
            RecordKey::Account(_, meter) => Self::Account(meter),
            RecordKey::Tally(_, meter, user) => Self::Tally(meter, user),
            RecordKey::PathTally(_, meter, path) => Self::PathTally(meter, path),
            RecordKey::Seen(_, meter, seen) => Self::Seen(meter, seen),
            RecordKey::Counter(CounterId { meter, scope, period, .. }) => Self::Counter(meter, scope, period),
            RecordKey::Groups(_, meter, period) => Self::Groups(meter, period),
            RecordKey::Bill(_, month) => Self::Bill(month),
            RecordKey::Unsent(_, day) => Self::Unsent(day),
            RecordKey::Key(KeyId { space, key, .. }) => Self::Key(space, key),
            RecordKey::Entry(_, number) => Self::Entry(number),
            RecordKey::Org(_)
            | RecordKey::System
            | RecordKey::Catalog(_)
            | RecordKey::ApiKey(_)
            | RecordKey::Shipment
            | RecordKey::Channel(_)
            | RecordKey::Delivery(..) => return None,
        };
        Some((key.org()?, part))
    }

    /// Whether it follows from entries alone, or is the system's: no image of the org holds it.
    #[must_use]
    pub const fn is_fact(&self) -> bool {
        matches!(self, Self::Key(..) | Self::Entry(_) | Self::Catalog(_))
    }

    /// Whether it hardly ever changes after it was made: there is no use in keeping it in memory once a store has it.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Counter(..) | Self::Bill(_))
    }
}

/// The parts that a question lacked. Load them, and ask again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants(pub Vec<PartKey>);
