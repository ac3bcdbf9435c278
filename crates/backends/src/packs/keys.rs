//! Callers' keys: which entry a key made.
//!
//! A key is in its entry, and nothing else is written for it when it is used. Who looks for keys of an org reads the packs that it
//! has not seen yet, and remembers a hash of each key. Of an org whose keys are known up to the version that was last seen here
//! nothing is read: what another process appended since has moved the version, so what is decided without it is refused.
//!
//! The keys of every [`RUN_ENTRIES`] entries are written down once as a *run*: four bytes of
//! hash and two of the entry's number for each. A run says nothing that the ledger does not, so whoever writes it writes the same; it
//! is read in place of the packs by those who come later. What a hash finds is looked up in the ledger, which says whether
//! it is the key.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Mutex as AsyncMutex;
use tollgate_domain::{Entry, KeyId, KeyRecord, KeySpace, OrgId, Partition, UsageKey};
use tollgate_storage::{EntryChange, StoreError};
use xxhash_rust::xxh3::xxh3_64;

use super::limits::{KEYS_BYTES_MAX, RUN_ENTRIES};
use super::places::{after_of, of_org, packs, run, runs};
use super::table::{Asked, ENDS, Item, Place, Table, Value};
use super::value::{BODY, bytes_of, damaged, keep};
use super::{Core, each, now_secs, pack};

/// The first run is written when an org has so many entries: the latest of them stay apart.
const SEALED_FROM: u64 = 2 * RUN_ENTRIES;

/// Bytes that an org without any keys takes, and a key that is in no run yet.
const ORG_BYTES: usize = 512;
const RECENT_BYTES: usize = 40;

/// Bytes of a key in a run, and of a usage that was taken back.
const RUN_KEY_BYTES: usize = 6;
const REVERSAL_BYTES: usize = 16;

/// The keys of the orgs that are worked on.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    orgs: Mutex<HashMap<OrgId, Arc<OfOrg>>>,
    bytes: AtomicUsize,
}

/// The keys of an org, from when on somebody looked for one.
#[derive(Debug, Default)]
struct OfOrg {
    /// The latest version of the org that was seen here since.
    seen: AtomicU64,
    keys: AsyncMutex<OrgKeys>,
}

/// What is known of the keys of an org.
#[derive(Debug, Default)]
struct OrgKeys {
    /// Whether all up to `until` are known.
    loaded: bool,
    /// The keys of the entries up to this number are in runs; those behind, up to the next, are in `recent`.
    sealed: u64,
    until: u64,
    runs: Vec<Run>,
    /// By hash the number of the latest entry.
    recent: HashMap<u64, u64>,
    /// By the number of an entry whose usage was taken back, that of the one which took it back.
    reversed: HashMap<u64, u64>,
}

/// The keys of some entries, sorted by hash: a part of the hash, and where behind `after` the entry is.
#[derive(Debug)]
struct Run {
    after: u64,
    keys: Vec<(u32, u16)>,
}

fn hash_of(space: KeySpace, key: &UsageKey) -> u64 {
    let space = match space {
        KeySpace::Use => "u",
        KeySpace::TopUp => "t",
        KeySpace::Told => "b",
    };
    xxh3_64([space, key.as_str()].concat().as_bytes())
}

/// The part of a hash that a run has.
fn short(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or_default()
}

/// The key that an entry made, as its hash, and the entry that it took back.
fn facts_of(entry: &Entry) -> (Option<u64>, Option<u64>) {
    (entry.made_key().map(|(space, key, _)| hash_of(space, key)), entry.took_back())
}

impl OrgKeys {
    fn note(&mut self, entries: &[EntryChange]) {
        for change in entries {
            let EntryChange::Org(entry) = change else { continue };
            if entry.number <= self.until {
                continue;
            }
            let (made, took_back) = facts_of(entry);
            if let Some(hash) = made {
                self.recent.insert(hash, entry.number);
            }
            if let Some(number) = took_back {
                self.reversed.insert(number, entry.number);
            }
            self.until = entry.number;
        }
    }

    /// The numbers of the entries that may have made a key, latest first.
    fn candidates(&self, hash: u64) -> Vec<u64> {
        let recent = self.recent.get(&hash).copied();
        let in_runs = self.runs.iter().rev().flat_map(|run| run.candidates(short(hash)));
        recent.into_iter().chain(in_runs).collect()
    }

    fn bytes(&self) -> usize {
        let in_runs: usize = self.runs.iter().map(|run| run.keys.len()).sum();
        ORG_BYTES + in_runs * RUN_KEY_BYTES + (self.recent.len() + self.reversed.len()) * RECENT_BYTES
    }
}

impl Run {
    fn candidates(&self, hash: u32) -> impl Iterator<Item = u64> + '_ {
        let start = self.keys.partition_point(|(other, _)| *other < hash);
        let same =
            self.keys.get(start..).unwrap_or_default().iter().take_while(move |(other, _)| *other == hash);
        let mut numbers: Vec<u64> = same.map(|(_, place)| self.after + 1 + u64::from(*place)).collect();
        numbers.reverse();
        numbers.into_iter()
    }

    /// Of the entries behind a number, in order.
    fn of(after: u64, entries: &[Entry]) -> (Self, Vec<(u64, u64)>) {
        let (mut keys, mut reversed) = (Vec::new(), Vec::new());
        for entry in entries {
            let (made, took_back) = facts_of(entry);
            if let (Some(hash), Ok(place)) = (made, u16::try_from(entry.number - after - 1)) {
                keys.push((short(hash), place));
            }
            reversed.extend(took_back.map(|number| (number, entry.number)));
        }
        keys.sort_unstable();
        (Self { after, keys }, reversed)
    }

    fn encode(&self, reversed: &[(u64, u64)]) -> Vec<u8> {
        let count = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        let mut bytes = count.to_be_bytes().to_vec();
        self.keys.iter().for_each(|(hash, _)| bytes.extend_from_slice(&hash.to_be_bytes()));
        self.keys.iter().for_each(|(_, place)| bytes.extend_from_slice(&place.to_be_bytes()));
        for (number, by) in reversed {
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&by.to_be_bytes());
        }
        bytes
    }

    fn decode(after: u64, bytes: &[u8]) -> Option<(Self, Vec<(u64, u64)>)> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_be_bytes(*count)).ok()?;
        let (hashes, rest) = rest.split_at_checked(count.checked_mul(4)?)?;
        let (places, rest) = rest.split_at_checked(count.checked_mul(2)?)?;
        let hashes = hashes.as_chunks::<4>().0.iter().map(|hash| u32::from_be_bytes(*hash));
        let places = places.as_chunks::<2>().0.iter().map(|place| u16::from_be_bytes(*place));
        let reversals = rest.as_chunks::<REVERSAL_BYTES>().0.iter().filter_map(|pair| {
            let (number, by) = pair.split_first_chunk::<8>()?;
            Some((u64::from_be_bytes(*number), u64::from_be_bytes(by.try_into().ok()?)))
        });
        Some((Self { after, keys: hashes.zip(places).collect() }, reversals.collect()))
    }
}

impl Keys {
    fn orgs(&self) -> MutexGuard<'_, HashMap<OrgId, Arc<OfOrg>>> {
        self.orgs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, org: &OrgId) -> Arc<OfOrg> {
        let mut orgs = self.orgs();
        if self.bytes.load(Ordering::Relaxed) > KEYS_BYTES_MAX {
            orgs.clear();
            self.bytes.store(0, Ordering::Relaxed);
        }
        Arc::clone(orgs.entry(org.clone()).or_default())
    }

    /// Notes the number of a latest entry that was seen: whoever looks for keys from now on knows those up to it.
    pub(crate) fn see(&self, org: &OrgId, version: u64) {
        if let Some(known) = self.orgs().get(org) {
            known.seen.fetch_max(version, Ordering::SeqCst);
        }
    }

    /// Notes the keys of an org of which all entries were read: nothing more is read to look for one.
    pub(crate) async fn begin(&self, org: &OrgId, entries: &[EntryChange]) {
        let kept = self.of(org);
        let mut known = kept.keys.lock().await;
        if !known.loaded {
            *known = OrgKeys { loaded: true, ..OrgKeys::default() };
            known.note(entries);
            self.bytes.fetch_add(known.bytes(), Ordering::Relaxed);
        }
    }

    /// Notes the keys of what was appended behind a version, where all before it are known.
    pub(crate) async fn note(&self, org: &OrgId, after: u64, entries: &[EntryChange]) {
        let known = self.orgs().get(org).map(Arc::clone);
        if let Some(known) = known {
            let mut known = known.keys.lock().await;
            if known.loaded && known.until == after {
                known.note(entries);
            }
        }
    }
}

/// Finds callers' keys; see [`tollgate_storage::Store::find`].
pub(crate) async fn find<T: Table>(
    core: &Core<T>,
    keys: &[KeyId],
) -> Result<Vec<Option<KeyRecord>>, StoreError> {
    let mut by_org = HashMap::<&OrgId, Vec<usize>>::new();
    for (index, id) in keys.iter().enumerate() {
        by_org.entry(&id.org).or_default().push(index);
    }
    read_young(core, by_org.keys().copied()).await?;
    let of_orgs = each(by_org.iter().map(|(org, indexes)| find_in(core, org, indexes, keys))).await?;
    let mut found = vec![None; keys.len()];
    for (index, record) in of_orgs.into_iter().flatten() {
        if let Some(place) = found.get_mut(index) {
            *place = Some(record);
        }
    }
    Ok(found)
}

/// Reads the keys of those orgs of which none were read yet and which have no runs, of all together.
async fn read_young<'a, T: Table>(
    core: &Core<T>,
    orgs: impl Iterator<Item = &'a OrgId>,
) -> Result<(), StoreError> {
    let is_young = |org: &OrgId| {
        core.keys.of(org).keys.try_lock().is_ok_and(|known| !known.loaded)
            && core.ends.seen(&Partition::Org(org.clone())).is_some_and(|end| end < SEALED_FROM)
    };
    let young: Vec<&OrgId> = orgs.filter(|org| is_young(org)).collect();
    let all =
        core.table.read_each(young.iter().map(|org| packs(&of_org(org), 0, u64::MAX)).collect()).await?;
    for (org, all) in young.into_iter().zip(all) {
        let partition = Partition::Org(org.clone());
        core.keys.begin(org, &pack::entries_of_all(&core.table, &partition, all).await?).await;
    }
    Ok(())
}

/// Finds those of the keys that are of an org; gives their indexes with what is remembered.
async fn find_in<T: Table>(
    core: &Core<T>,
    org: &OrgId,
    indexes: &[usize],
    keys: &[KeyId],
) -> Result<Vec<(usize, KeyRecord)>, StoreError> {
    let kept = core.keys.of(org);
    let mut asked = Vec::new();
    {
        let mut known = kept.keys.lock().await;
        let before = known.bytes();
        let extended = extend(core, org, &mut known, kept.seen.load(Ordering::SeqCst)).await;
        core.keys.bytes.fetch_add(known.bytes().saturating_sub(before), Ordering::Relaxed);
        extended?;
        for (index, id) in indexes.iter().filter_map(|index| Some((*index, keys.get(*index)?))) {
            let candidates = known.candidates(hash_of(id.space, &id.key));
            let candidates =
                candidates.into_iter().map(|number| (number, known.reversed.get(&number).copied()));
            let candidates: Vec<(u64, Option<u64>)> = candidates.collect();
            if !candidates.is_empty() {
                asked.push((index, id, candidates));
            }
        }
    }
    let numbers = asked.iter().flat_map(|(_, _, candidates)| candidates.iter().map(|(number, _)| *number));
    let entries = pack::entries(&core.table, org, numbers.collect()).await?;
    let found = asked.into_iter().filter_map(|(index, id, candidates)| {
        let record = candidates.into_iter().find_map(|(number, reversed_by)| {
            let (space, key, record) = entries.get(&number)?.made_key()?;
            ((space, key) == (id.space, &id.key)).then_some(KeyRecord { reversed_by, ..record })
        });
        Some((index, record?))
    });
    Ok(found.collect())
}

/// Reads what came since the last look, where something did that was seen, and writes down runs that are due.
async fn extend<T: Table>(
    core: &Core<T>,
    org: &OrgId,
    known: &mut OrgKeys,
    seen: u64,
) -> Result<(), StoreError> {
    if !known.loaded || known.until < seen {
        read_on(core, org, known).await?;
    }
    while known.until >= known.sealed + SEALED_FROM {
        let sealed = seal(core, org, known.sealed).await?;
        known.sealed += RUN_ENTRIES;
        let sealed_until = known.sealed;
        known.recent.retain(|_, number| *number > sealed_until);
        known.runs.push(sealed);
    }
    Ok(())
}

/// Reads all that is not known yet.
async fn read_on<T: Table>(core: &Core<T>, org: &OrgId, known: &mut OrgKeys) -> Result<(), StoreError> {
    let (partition, name) = (Partition::Org(org.clone()), of_org(org));
    if !known.loaded {
        *known = OrgKeys::default();
        if core.ends.seen(&partition).is_none_or(|end| end >= SEALED_FROM) {
            load_runs(&core.table, &name, known).await?;
        }
        if known.until > 0
            && let Some((place, item)) = pack::holding(&core.table, &name, known.until + 1).await?
        {
            known.note(&pack::entries_of(&core.table, &partition, &place, &item).await?);
        }
    }
    let since = core.table.read_all(packs(&name, known.until, u64::MAX)).await?;
    known.note(&pack::entries_of_all(&core.table, &partition, since).await?);
    known.loaded = true;
    Ok(())
}

async fn load_runs<T: Table>(table: &Asked<T>, name: &str, known: &mut OrgKeys) -> Result<(), StoreError> {
    let now = now_secs();
    for (sort, item) in table.read_all(runs(name)).await? {
        let bad = || damaged(&format!("a run of keys of {name}"));
        let after = after_of(&sort).ok_or_else(bad)?;
        known.sealed = after + RUN_ENTRIES;
        if item.number(ENDS).is_some_and(|ends| ends < now) {
            continue;
        }
        let place = run(name, after);
        let bytes = bytes_of(table, &place, &[], item.bytes(BODY).ok_or_else(bad)?).await?;
        let (run, reversed) = Run::decode(after, &bytes).ok_or_else(bad)?;
        known.runs.push(run);
        known.reversed.extend(reversed);
    }
    known.until = known.sealed;
    Ok(())
}

/// Writes down the keys of the entries behind a number.
async fn seal<T: Table>(core: &Core<T>, org: &OrgId, after: u64) -> Result<Run, StoreError> {
    let (partition, name) = (Partition::Org(org.clone()), of_org(org));
    let until = after + RUN_ENTRIES;
    let first = pack::holding(&core.table, &name, after + 1).await?;
    let rest = core.table.read_all(packs(&name, after + 1, until - 1)).await?;
    let rest = rest.into_iter().map(|(sort, item)| (Place { partition: name.clone(), sort }, item));
    let mut entries = Vec::new();
    for (place, item) in first.into_iter().chain(rest) {
        for change in pack::entries_of(&core.table, &partition, &place, &item).await? {
            match change {
                EntryChange::Org(entry) if entry.number > after && entry.number <= until => {
                    entries.push(entry);
                }
                _ => {}
            }
        }
    }
    let (sealed, reversed) = Run::of(after, &entries);
    let place = run(&name, after);
    let body = keep(&core.table, &place, &[], &sealed.encode(&reversed)).await?;
    let mut item = Item::of(BODY, Value::Bytes(body));
    let latest = entries.iter().map(|entry| entry.at.as_second()).max();
    if let (Some(keep_secs), Some(latest)) = (core.keeping.key_secs, latest) {
        item.0.insert(ENDS.to_owned(), Value::Number(u64::try_from(latest + keep_secs).unwrap_or_default()));
    }
    core.table.put_one(place, item).await?;
    Ok(sealed)
}
