//! Appending: one item a partition, made if nobody made one behind the same version.
//!
//! A pack lies at the version that it was decided on, so of two that were decided on the same one is refused. What is left to
//! guard against is a version in the middle of a pack, or one that never was: behind it there is no item either. So the version must be known
//! to have been the end of a ledger at some time; such an end remains one. It is what this object read or made, or it reads it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tollgate_domain::Partition;
use tollgate_storage::{Append, Appended, EntryChange, StoreError, StoreErrorKind};

use super::limits::{ENDS_KEPT, MARK_EVERY};
use super::pack::{self, CALL};
use super::places::{BEHIND, NOTED, in_list, name_of};
use super::table::{Item, Place, Table, Value};
use super::{Core, each, now_nanos, now_secs};
use crate::asking::together;

/// When a mark was made.
pub(crate) const MARKED_AT: &str = "t";

/// Of an append with notices: the name of its partition, and the version it was decided on.
pub(crate) const OF: &str = "p";
pub(crate) const AFTER: &str = "x";

/// What this object knows of partitions that it works on.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    known: Mutex<HashMap<Partition, Known>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The number of the latest entry, as far as this object saw: the end of a pack.
    end: u64,
    /// When it was marked by this object as one whose image lacks entries.
    marked: Option<Instant>,
}

impl Ends {
    fn known(&self) -> MutexGuard<'_, HashMap<Partition, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, partition: &Partition) -> Known {
        self.known().get(partition).copied().unwrap_or_default()
    }

    /// The number of the latest entry that was seen, if any look was taken.
    pub(crate) fn seen(&self, partition: &Partition) -> Option<u64> {
        self.known().get(partition).map(|known| known.end)
    }

    fn update(&self, partition: &Partition, update: impl FnOnce(&mut Known)) {
        let mut known = self.known();
        if known.len() >= ENDS_KEPT && !known.contains_key(partition) {
            known.clear();
        }
        update(known.entry(partition.clone()).or_default());
    }

    /// Notes the number of a latest entry that was seen.
    pub(crate) fn see(&self, partition: &Partition, end: u64) {
        self.update(partition, |known| known.end = known.end.max(end));
    }
}

/// A call, which its packs carry: who lost an answer finds out by it what became of what was asked.
pub(crate) fn new_call() -> Result<[u8; 16], StoreError> {
    let mut call = [0; 16];
    let failed = |error| {
        StoreError::new(StoreErrorKind::Unavailable, "the system gives no randomness").caused_by(error)
    };
    getrandom::fill(&mut call).map_err(failed)?;
    Ok(call)
}

/// Appends, and says of each what became of it.
pub(crate) async fn append<T: Table>(
    core: &Core<T>,
    appends: &[Append],
) -> Result<Vec<Appended>, StoreError> {
    let call = new_call()?;
    // Nothing is made until here: a failure is known to have changed nothing that counts.
    let ready = prepare(core, appends, call).await.map_err(nothing_made)?;
    let (mut places, mut items) = (Vec::new(), Vec::new());
    for (index, item) in ready.into_iter().enumerate() {
        if let Some(item) = item {
            places.push(index);
            items.push(item);
        }
    }
    let beside: Vec<Vec<Place>> = items.iter().map(|(place, item)| pack::pieces_of(place, item)).collect();
    let is_ours = move |item: &Item| item.bytes(CALL) == Some(&call);
    let made = core.table.insert(items, is_ours).await;
    let mut answers = vec![Appended::Conflict; appends.len()];
    for ((index, made), beside) in places.into_iter().zip(&made).zip(beside) {
        let Some(append) = appends.get(index) else { continue };
        match made {
            Ok(true) => {
                note_made(core, append).await;
                if let Some(answer) = answers.get_mut(index) {
                    *answer = Appended::Done;
                }
            }
            // What lay beside the pack says nothing to anybody.
            Ok(false) => drop(each(beside.iter().map(|piece| core.table.remove(piece, None))).await),
            Err(_) => {}
        }
    }
    together(made, |made| *made)?;
    Ok(answers)
}

/// The error of a call that failed before any pack was made.
fn nothing_made(error: StoreError) -> StoreError {
    match error.kind() {
        StoreErrorKind::Io => {
            let text = "the database does not answer; nothing was appended";
            StoreError::new(StoreErrorKind::Unavailable, text).caused_by(error)
        }
        _ => error,
    }
}

/// Makes the packs of appends, and notes where they will be looked for; `None`: the partition is not at its version.
async fn prepare<T: Table>(
    core: &Core<T>,
    appends: &[Append],
    call: [u8; 16],
) -> Result<Vec<Option<(Place, Item)>>, StoreError> {
    let fit = each(appends.iter().map(|append| is_at_version(core, append))).await?;
    let fitting = || appends.iter().zip(&fit).zip(0_u32..).filter(|((_, fits), _)| **fits);
    let (began, nanos) = (Instant::now(), now_nanos());
    let (mut marked, mut notes) = (Vec::new(), Vec::new());
    for ((append, _), index) in fitting() {
        let name = name_of(&append.partition);
        if core.ends.of(&append.partition).marked.is_none_or(|marked| marked.elapsed() >= MARK_EVERY) {
            let mark = Item::of(MARKED_AT, Value::Number(now_secs()));
            notes.push((in_list(BEHIND, name.as_bytes()), mark));
            marked.push(&append.partition);
        }
        if has_notices(append) {
            let sort = [nanos.to_be_bytes().as_slice(), &index.to_be_bytes(), &call].concat();
            let of = (OF.to_owned(), Value::Bytes(name.into_bytes()));
            let after = (AFTER.to_owned(), Value::Number(append.expected_version));
            notes.push((in_list(NOTED, sort), Item([of, after].into())));
        }
    }
    // Before the packs: whoever looks later for what images lack finds it by the marks, and who reads notices looks whether the
    // packs of those noted came to be.
    core.table.put(&notes).await?;
    marked.into_iter().for_each(|partition| core.ends.update(partition, |known| known.marked = Some(began)));
    each(appends.iter().zip(fit).map(|(append, fits)| async move {
        if !fits {
            return Ok(None);
        }
        let place = pack::place_behind(&append.partition, append.expected_version);
        let item = pack::make(&core.table, &place, &call, &append.entries).await?;
        Ok(Some((place, item)))
    }))
    .await
}

/// Whether a partition is at the version that an append was decided on, as far as is known here.
async fn is_at_version<T: Table>(core: &Core<T>, append: &Append) -> Result<bool, StoreError> {
    let (partition, expected) = (&append.partition, append.expected_version);
    if core.ends.of(partition).end == expected {
        return Ok(true);
    }
    let end = pack::version(&core.table, &name_of(partition)).await?;
    core.see(partition, end);
    Ok(end == expected)
}

fn has_notices(append: &Append) -> bool {
    append.entries.iter().any(|change| match change {
        EntryChange::Org(entry) => !entry.notices.is_empty(),
        EntryChange::System(_) => false,
    })
}

async fn note_made<T: Table>(core: &Core<T>, append: &Append) {
    let end = append.entries.last().map_or(append.expected_version, EntryChange::number);
    core.see(&append.partition, end);
    if let Partition::Org(org) = &append.partition {
        core.keys.note(org, append.expected_version, &append.entries).await;
    }
}
