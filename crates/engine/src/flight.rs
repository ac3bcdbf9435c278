//! A turn on its way to the store: what was decided of it is in memory, and nobody has been answered yet.
//!
//! The next turn may be decided meanwhile, on states that hold what is not durable yet. So that this is exact:
//!
//! - An answer leaves after its own turn has arrived, and after all turns before it. That goes for denials too.
//! - The facts of such a turn (callers' keys) stay with the orgs until no turn is on its way, for the store does not know them yet.
//! - Such an org stays in memory, and no image of it is written before the turn has arrived.
//! - If the store refuses a turn, every org that was decided on since is opened again as it is there.
//!
//! Only a store of one process has turns of an engine on their way while the next is decided. Where others append too, a turn
//! must arrive before it is known whether it was decided on what was there.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tollgate_domain::{
    Actor, Context, Entry, KeyId, Moments, OrgDecision, OrgId, PartKey, Partition, Record, Timestamp,
};
use tollgate_storage::{Append, Appends, EntryChange, StoreError};

use crate::catalog::CatalogInForce;
use crate::resident::{Place, Resident};

/// What one turn goes by.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) catalog: &'a CatalogInForce,
    pub(crate) key_keep_secs: i64,
    pub(crate) at: Timestamp,
    /// Whether callers' keys may be taken for new, where the store checks that when it appends.
    pub(crate) new_keys: bool,
}

impl<'a> Terms<'a> {
    pub(crate) fn context(self, moments: &'a Moments, actor: &'a Actor) -> Context<'a> {
        Context {
            catalog: &self.catalog.catalog,
            catalog_version: self.catalog.version,
            catalog_since: self.catalog.since,
            moments,
            key_keep_secs: self.key_keep_secs,
            actor,
        }
    }
}

/// What became of one request of a turn.
#[derive(Debug)]
pub(crate) enum Settled<T> {
    /// Durable and true: to be answered.
    Answered(T),
    /// Another process was faster: to be decided again.
    Again,
}

impl<T> Settled<T> {
    /// The answer, if there is one.
    pub(crate) fn answered(self) -> Option<T> {
        match self {
            Self::Answered(answer) => Some(answer),
            Self::Again => None,
        }
    }
}

/// The entries of a turn: one append per org, and where each org is.
#[derive(Default)]
pub(crate) struct Staged {
    pub(crate) appends: Vec<Append>,
    pub(crate) places: Vec<Place>,
    pub(crate) entries: usize,
    /// Keys that were taken for new: the store checks whether they are.
    pub(crate) new: Vec<KeyId>,
}

impl Staged {
    /// Adds an entry of an org that is at a place.
    pub(crate) fn add(&mut self, resident: &mut Resident, place: Place, entry: Entry) {
        self.entries += 1;
        match resident.append.and_then(|append| self.appends.get_mut(append)) {
            Some(append) => append.entries.push(EntryChange::Org(entry)),
            None => {
                resident.append = Some(self.appends.len());
                self.places.push(place);
                self.appends.push(Append {
                    partition: Partition::Org(resident.state.id().clone()),
                    expected_version: entry.number - 1,
                    entries: vec![EntryChange::Org(entry)],
                });
            }
        }
    }

    /// An entry of the turn: no store has it yet.
    fn entry(&self, append: Option<usize>, number: u64) -> Option<Record> {
        let append = self.appends.get(append?)?;
        let place = usize::try_from(number.checked_sub(append.expected_version + 1)?).ok()?;
        match append.entries.get(place)? {
            EntryChange::Org(entry) => Some(Record::Entry(Arc::new(entry.clone()))),
            EntryChange::System(_) => None,
        }
    }

    /// Gives an org those of the parts it wants that are of the turn; the others are left.
    pub(crate) fn give(&self, resident: &mut Resident, wants: &mut Vec<PartKey>) {
        wants.retain(|key| {
            let PartKey::Entry(number) = key else { return true };
            let entry = self.entry(resident.append, *number);
            let is_left = entry.is_none();
            if !is_left {
                resident.state.put(key.clone(), entry);
            }
            is_left
        });
    }
}

/// A turn that was decided.
pub(crate) struct Turn {
    /// What was decided of each request.
    pub(crate) decisions: Vec<OrgDecision>,
    /// Where the org of each is.
    pub(crate) places: Vec<Place>,
    pub(crate) staged: Staged,
}

impl Turn {
    /// How many entries it makes.
    pub(crate) const fn entries(&self) -> usize {
        self.staged.entries
    }
}

/// An append that goes on; without entries there is none.
pub(crate) type Appending = Pin<Box<dyn Future<Output = Result<Option<Appends>, StoreError>> + Send>>;

/// A turn on its way to the store.
pub(crate) struct Flight {
    pub(crate) decisions: Vec<OrgDecision>,
    pub(crate) places: Vec<Place>,
    /// Where the org of each append is, and how many entries it has.
    pub(crate) appended: Vec<(Place, usize)>,
    pub(crate) entries: usize,
    /// On a store of several processes, the orgs of which nothing is appended: what was decided of them counts only if they
    /// are still as they were.
    pub(crate) unguarded: Vec<(OrgId, Place)>,
    pub(crate) appending: Appending,
    pub(crate) result: Option<Result<Option<Appends>, StoreError>>,
}

impl std::fmt::Debug for Flight {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Flight").field("entries", &self.entries).finish_non_exhaustive()
    }
}
