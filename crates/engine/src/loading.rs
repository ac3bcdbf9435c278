//! What a turn reads of the store: orgs as they are now, parts of them, keys, and the system.

use std::collections::VecDeque;
use std::sync::Arc;

use tollgate_domain::{
    KeyId, KeyRecord, KeySpace, OrgId, OrgState, PartKey, Partition, Record, RecordKey, SystemRecords,
    UsageKey, apply, apply_system, touched, touched_by_system,
};
use tollgate_storage::{EntryChange, Image, Opened, Parts, Store, StoreError, StoreErrorKind};

use crate::limits::OPEN_ROUNDS_MAX;
use crate::queue::Asked;

/// A key that a command names, and what is known of it.
pub(crate) type FoundKey = (KeySpace, UsageKey, Option<KeyRecord>);

/// The states of orgs at their latest entries; and the versions of their images.
pub(crate) async fn replayed<S: Store>(
    store: &S,
    orgs: impl Iterator<Item = Replaying>,
) -> Result<Vec<(OrgState, u64)>, StoreError> {
    let mut all: Vec<Replaying> = orgs.collect();
    loop {
        // What they lack is loaded of all together.
        let lacking = all.iter_mut().enumerate().filter_map(|(place, org)| Some((place, org.go_on()?)));
        let (places, lacking): (Vec<usize>, Vec<Lacking>) = lacking.unzip();
        if lacking.is_empty() {
            break;
        }
        for (place, loaded) in places.into_iter().zip(load_all(store, lacking).await?) {
            let (Some(org), Some(loaded)) = (all.get_mut(place), loaded) else { return Err(moved()) };
            loaded.into_iter().for_each(|(key, record)| org.state.put(key, record));
        }
    }
    Ok(all
        .into_iter()
        .map(|Replaying { mut state, image, .. }| {
            state.forget_facts();
            (state, image)
        })
        .collect())
}

/// An org on its way to its latest entry.
pub(crate) struct Replaying {
    state: OrgState,
    image: u64,
    /// Those that are still to be applied.
    entries: VecDeque<EntryChange>,
}

impl Replaying {
    /// From its image.
    pub(crate) fn of(org: OrgId, opened: Opened) -> Self {
        let image = opened.image();
        Self { state: OrgState::of(org, opened.head), image, entries: opened.entries.into() }
    }

    /// From a state of it, the parts of which were loaded from the image of a version.
    pub(crate) fn from(state: OrgState, image: u64, since: Vec<EntryChange>) -> Self {
        Self { state, image, entries: since.into() }
    }

    /// Applies entries until something is lacking; `None` at the end.
    fn go_on(&mut self) -> Option<Lacking> {
        while let Some(change) = self.entries.front() {
            if let EntryChange::Org(entry) = change {
                if let Err(wants) = touched(&self.state, entry) {
                    let (org, image) = (self.state.id().clone(), self.image);
                    return Some(Lacking { org, image, whole: image == 0, keys: wants.0 });
                }
                apply(&mut self.state, entry);
            }
            self.entries.pop_front();
        }
        None
    }
}

/// Looks up the keys that commands name; what is known of each, `None` where a command names none.
pub(crate) async fn find_keys<S: Store>(
    store: &S,
    requests: &[Asked<'_>],
) -> Result<impl Iterator<Item = Option<FoundKey>> + use<S>, StoreError> {
    let mut keys = Vec::with_capacity(requests.len());
    let mut names = Vec::with_capacity(requests.len());
    for asked in requests {
        let named = asked.key();
        names.push(named.is_some());
        keys.extend(named.map(|(space, key)| KeyId { org: asked.org.clone(), space, key }));
    }
    let found = if keys.is_empty() { Vec::new() } else { store.find(&keys).await? };
    assert_eq!(found.len(), keys.len(), "a store answers every key");
    let mut found = keys.into_iter().zip(found).map(|(KeyId { space, key, .. }, found)| (space, key, found));
    Ok(names.into_iter().map(move |named| if named { found.next() } else { None }))
}

/// Parts of an org that are to be loaded.
pub(crate) struct Lacking {
    pub(crate) org: OrgId,
    /// The version of its image.
    pub(crate) image: u64,
    /// Whether the org was opened by all of its entries. Then all that an image would hold is in memory, except what was let go
    /// of, and a part that is lacking does not exist.
    pub(crate) whole: bool,
    pub(crate) keys: Vec<PartKey>,
}

impl Lacking {
    /// Whether the store is asked for a part that its images or its ledger may have.
    fn is_loaded(&self, key: &PartKey) -> bool {
        match key {
            PartKey::Key(..) | PartKey::Catalog(_) => false,
            PartKey::Entry(_) => true,
            key => !self.whole || key.is_closed(),
        }
    }
}

/// Parts of an org as they were loaded; `None`: its image moved.
pub(crate) type LoadedParts = Option<Vec<(PartKey, Option<Record>)>>;

/// Loads parts of orgs, what images have of all of them in one call.
pub(crate) async fn load_all<S: Store>(
    store: &S,
    lacking: Vec<Lacking>,
) -> Result<Vec<LoadedParts>, StoreError> {
    let asked: Vec<Parts> = lacking
        .iter()
        .map(|lacking| Parts {
            partition: Partition::Org(lacking.org.clone()),
            image: lacking.image,
            keys: lacking
                .keys
                .iter()
                .filter(|key| lacking.is_loaded(key))
                .map(|key| key.clone().of(&lacking.org))
                .collect(),
        })
        .collect();
    let loaded = match asked.iter().all(|parts| parts.keys.is_empty()) {
        true => vec![Some(Vec::new()); asked.len()],
        false => store.load(&asked).await?,
    };
    assert_eq!(loaded.len(), lacking.len(), "a store answers of every partition");
    let mut all = Vec::with_capacity(lacking.len());
    for (mut lacking, loaded) in lacking.into_iter().zip(loaded) {
        let Some(loaded) = loaded else {
            all.push(None);
            continue;
        };
        let keys = std::mem::take(&mut lacking.keys);
        let (of_store, others): (Vec<PartKey>, Vec<PartKey>) =
            keys.into_iter().partition(|key| lacking.is_loaded(key));
        assert_eq!(loaded.len(), of_store.len(), "a store answers every key");
        let mut parts: Vec<_> = of_store.into_iter().zip(loaded).collect();
        for key in others {
            let record = match key.is_fact() {
                true => find_other(store, &lacking.org, &key).await?,
                false => None,
            };
            parts.push((key, record));
        }
        all.push(Some(parts));
    }
    Ok(all)
}

/// A part that no image of an org has.
async fn find_other<S: Store>(store: &S, org: &OrgId, key: &PartKey) -> Result<Option<Record>, StoreError> {
    if let PartKey::Key(space, name) = key {
        let id = KeyId { org: org.clone(), space: *space, key: name.clone() };
        let found = store.find(std::slice::from_ref(&id)).await?.pop().flatten();
        return Ok(found.map(|record| Record::Key(Arc::new(record))));
    }
    let name = key.clone().of(org);
    Ok(system_records(store, std::slice::from_ref(&name)).await?.get(&name).cloned())
}

/// Loads parts of an org.
pub(crate) async fn load<S: Store>(
    store: &S,
    state: &mut OrgState,
    lacking: Lacking,
) -> Result<(), StoreError> {
    let Some(loaded) = load_all(store, vec![lacking]).await?.pop().flatten() else { return Err(moved()) };
    loaded.into_iter().for_each(|(key, record)| state.put(key, record));
    Ok(())
}

/// Records of the system: its image with the entries since. The system itself is always among them.
pub(crate) async fn system_records<S: Store>(
    store: &S,
    keys: &[RecordKey],
) -> Result<SystemRecords, StoreError> {
    for _ in 0..OPEN_ROUNDS_MAX {
        let Some(opened) = store.open(&[Partition::System]).await?.pop() else { break };
        let image = opened.image();
        let entries = opened.entries.iter().filter_map(|change| match change {
            EntryChange::System(entry) => Some(entry),
            EntryChange::Org(_) => None,
        });
        let mut names: Vec<RecordKey> = keys.to_vec();
        names.extend(entries.clone().flat_map(touched_by_system));
        names.retain(|name| *name != RecordKey::System);
        let loaded = if names.is_empty() {
            Some(Vec::new())
        } else {
            let asked = Parts { partition: Partition::System, image, keys: names.clone() };
            store.load_one(&asked).await?
        };
        let Some(loaded) = loaded else { continue };
        let mut records = SystemRecords::default();
        records.put(RecordKey::System, opened.head.clone());
        names.into_iter().zip(loaded).for_each(|(name, record)| records.put(name, record));
        entries.for_each(|entry| apply_system(&mut records, entry));
        return Ok(records);
    }
    Err(moved())
}

/// Brings the image of the system up to date.
pub(crate) async fn save_system<S: Store>(store: &S) -> Result<(), StoreError> {
    let records = system_records(store, &[]).await?;
    let records: Vec<_> = records.changed().map(|(key, record)| (key.clone(), record.clone())).collect();
    let Some(version) = records.iter().map(|(_, record)| record.version()).find(|version| *version > 0)
    else {
        return Ok(());
    };
    let image = Image { partition: Partition::System, version, records };
    store.checkpoint(Arc::new([image]), 0).await
}

/// An image changed while its parts were loaded: what needs them begins again.
pub(crate) fn moved() -> StoreError {
    StoreError::new(StoreErrorKind::Moved, "the organization changed while it was loaded")
}
