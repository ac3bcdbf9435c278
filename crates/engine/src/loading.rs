//! What a turn reads of the store: orgs as they are now, parts of them, keys, and the system.

use std::sync::Arc;

use tollgate_domain::{
    KeyId, KeyRecord, KeySpace, OrgId, OrgState, PartKey, Partition, Record, RecordKey, SystemRecords,
    UsageKey, apply, apply_system, touched, touched_by_system,
};
use tollgate_storage::{EntryChange, Image, Opened, Store, StoreError, StoreErrorKind};

use crate::limits::OPEN_ROUNDS_MAX;
use crate::queue::Asked;

/// A key that a command names, and what is known of it.
pub(crate) type FoundKey = (KeySpace, UsageKey, Option<KeyRecord>);

/// The state of an org: its image with the entries since; and the version of the image.
pub(crate) async fn replayed<S: Store>(
    store: &S,
    org: OrgId,
    opened: Opened,
) -> Result<(OrgState, u64), StoreError> {
    let image = opened.image();
    let mut state = OrgState::of(org, opened.head);
    for change in opened.entries {
        let EntryChange::Org(entry) = change else { continue };
        while let Err(wants) = touched(&state, &entry) {
            load(store, &mut state, image, wants.0).await?;
        }
        apply(&mut state, &entry);
    }
    state.forget_facts();
    Ok((state, image))
}

/// Looks up the keys that commands name; what is known of each, `None` where a command names none.
pub(crate) async fn find_keys<S: Store>(
    store: &S,
    requests: &[Asked<'_>],
) -> Result<impl Iterator<Item = Option<FoundKey>> + use<S>, StoreError> {
    let mut keys = Vec::with_capacity(requests.len());
    let mut names = Vec::with_capacity(requests.len());
    for Asked { org, command, .. } in requests {
        let named = match command.named_key() {
            Some(PartKey::Key(space, key)) => Some((space, key)),
            _ => None,
        };
        names.push(named.is_some());
        keys.extend(named.map(|(space, key)| KeyId { org: (*org).clone(), space, key }));
    }
    let found = if keys.is_empty() { Vec::new() } else { store.find(&keys).await? };
    assert_eq!(found.len(), keys.len(), "a store answers every key");
    let mut found = keys.into_iter().zip(found).map(|(KeyId { space, key, .. }, found)| (space, key, found));
    Ok(names.into_iter().map(move |named| if named { found.next() } else { None }))
}

/// Loads parts of an org.
pub(crate) async fn load<S: Store>(
    store: &S,
    state: &mut OrgState,
    image: u64,
    keys: Vec<PartKey>,
) -> Result<(), StoreError> {
    let (of_org, others): (Vec<PartKey>, Vec<PartKey>) =
        keys.into_iter().partition(|key| !matches!(key, PartKey::Key(..) | PartKey::Catalog(_)));
    let names: Vec<RecordKey> = of_org.iter().map(|key| key.clone().of(state.id())).collect();
    if !names.is_empty() {
        let partition = Partition::Org(state.id().clone());
        let Some(loaded) = store.load(&partition, image, &names).await? else { return Err(moved()) };
        assert_eq!(loaded.len(), names.len(), "a store answers every key");
        of_org.into_iter().zip(loaded).for_each(|(key, record)| state.put(key, record));
    }
    for key in others {
        let record = match &key {
            PartKey::Key(space, name) => {
                let id = KeyId { org: state.id().clone(), space: *space, key: name.clone() };
                let found = store.find(std::slice::from_ref(&id)).await?.pop().flatten();
                found.map(|record| Record::Key(Arc::new(record)))
            }
            key => {
                let name = key.clone().of(state.id());
                system_records(store, std::slice::from_ref(&name)).await?.get(&name).cloned()
            }
        };
        state.put(key, record);
    }
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
            store.load(&Partition::System, image, &names).await?
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
