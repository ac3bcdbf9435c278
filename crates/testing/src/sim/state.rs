//! The final state: images and keys against a replay of the ledger, notices against the ledger, the system against its
//! requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_domain::{
    ApiKey, Catalog, CreatedMeter, Entry, KeyId, KeyRecord, KeySpace, OrgId, OrgState, PartKey, Partition,
    Record, RecordKey, RevokeApiKey, Scope, SystemCommand, Timestamp, Window, load_and_apply,
};
use tollgate_storage::{NoticeRow, Order, Parts, Row, Scan, Store};

use super::log::Happened;
use super::{Catalogs, at_once};
use crate::hold;
use crate::invariants::{Books, Stored, ledger, notices, whatif};

/// Rows read at a time.
const PAGE: usize = 64;

/// What a store holds in the end.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) ledgers: BTreeMap<OrgId, Vec<Entry>>,
    pub(super) catalogs: Catalogs,
    /// Since when each was in force.
    since: Vec<Timestamp>,
    texts: Vec<String>,
    created_meters: Vec<CreatedMeter>,
    api_keys: Vec<ApiKey>,
    notices: Vec<NoticeRow>,
}

impl Found {
    /// A version of the catalog.
    pub(super) fn catalog(&self, version: u32) -> Option<Arc<Catalog>> {
        let place = usize::try_from(version.checked_sub(1)?).ok()?;
        self.catalogs.get(place).map(Arc::clone)
    }

    /// The catalogs in their order, and since when each was in force.
    pub(super) fn catalogs_in_time(&self) -> impl Iterator<Item = (Timestamp, &Arc<Catalog>)> {
        self.since.iter().copied().zip(&self.catalogs)
    }
}

/// All rows of a scan, page by page.
fn rows<S: Store>(store: &S, scan: &Scan) -> Result<Vec<Row>, String> {
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let page = at_once(store.scan(scan, cursor.as_ref(), PAGE))
            .map_err(|error| format!("{scan:?} cannot be read in the end: {error}"))?;
        rows.extend(page.rows);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(rows);
        }
    }
}

/// The head of the image of a partition, which lacks nothing: all engines were shut down in order.
fn head<S: Store>(store: &S, partition: &Partition) -> Result<Option<Record>, String> {
    let opened = at_once(store.open(std::slice::from_ref(partition)))
        .map_err(|error| format!("{partition:?} cannot be opened in the end: {error}"))?;
    let opened = opened.into_iter().next().unwrap_or_default();
    hold!(
        opened.entries.is_empty(),
        "the image of {partition:?} is of version {} after the shutdown, its ledger of {}",
        opened.image(),
        opened.version()
    );
    Ok(opened.head)
}

/// Reads everything there is.
pub(super) fn read<S: Store>(store: &S, happened: &Happened) -> Result<Found, String> {
    let mut ledgers = BTreeMap::new();
    let mut orgs = BTreeSet::new();
    for row in rows(store, &Scan::Orgs)? {
        if let Row::Org(org) = row {
            orgs.insert(org.id.clone());
        }
    }
    orgs.extend(happened.attempts.iter().map(|attempt| attempt.org.clone()));
    for org in orgs {
        let mut entries = Vec::new();
        for row in rows(store, &Scan::Entries { org: org.clone(), order: Order::Oldest })? {
            if let Row::Entry(entry) = row {
                hold!(
                    entry.number == u64::try_from(entries.len()).unwrap_or(0) + 1,
                    "{org}: entry {} comes after {} others",
                    entry.number,
                    entries.len()
                );
                entries.push(entry);
            }
        }
        if !entries.is_empty() {
            ledgers.insert(org, entries);
        }
    }
    let (mut catalogs, mut since, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut api_keys, mut notices) = (Vec::new(), Vec::new());
    let others = [Scan::Catalogs, Scan::ApiKeys, Scan::Notices];
    for row in others.iter().map(|scan| rows(store, scan)).collect::<Result<Vec<_>, _>>()?.concat() {
        match row {
            Row::Catalog(catalog) => {
                catalogs.push(Arc::new(
                    Catalog::from_toml(&catalog.text).map_err(|error| format!("a catalog: {error}"))?,
                ));
                since.push(catalog.at);
                texts.push(catalog.text);
                hold!(
                    usize::try_from(catalog.version) == Ok(texts.len()),
                    "catalog {} is the {}th",
                    catalog.version,
                    texts.len()
                );
            }
            Row::ApiKey(api_key) => api_keys.push(api_key),
            Row::Notice(notice) => notices.push(notice),
            Row::Org(_)
            | Row::Entry(_)
            | Row::SystemEntry(_)
            | Row::Counter(_)
            | Row::Tally(_)
            | Row::PathTally(_)
            | Row::Unsent(_) => {}
        }
    }
    let created_meters = match head(store, &Partition::System)? {
        Some(Record::System(system)) => system.created_meters.clone(),
        _ => Vec::new(),
    };
    Ok(Found { ledgers, catalogs, since, texts, created_meters, api_keys, notices })
}

/// Checks what a store holds against itself and against what was asked.
pub(super) fn check<S: Store>(
    found: &Found,
    store: &S,
    happened: &Happened,
    key_keep_secs: i64,
    all_hard: bool,
) -> Result<(), String> {
    let behind = at_once(store.behind()).map_err(|error| format!("what is behind: {error}"))?;
    hold!(behind.is_empty(), "images lag behind after the shutdown: {behind:?}");
    let records = records(found, store)?;
    for (key, record) in &records {
        if let Record::Org(org) = record {
            hold!(org.holds.is_none(), "{key:?} holds something after all holds have ended: {:?}", org.holds);
        }
    }
    let books = Books {
        ledgers: &found.ledgers,
        system: &[],
        catalogs: &found.catalogs,
        records: &records,
        key_keep_secs,
        all_hard,
    };
    ledger::check(&books)?;
    whatif::check(&books)?;
    keys_agree(found, store)?;
    scans_agree(store, &records)?;
    lists_agree(store, &records)?;
    let mut due = Vec::new();
    for (org, entries) in &found.ledgers {
        notices::check_ledger(org, entries)?;
        for entry in entries {
            due.extend((0..).zip(&entry.notices).map(|(index, notice)| NoticeRow {
                org: org.clone(),
                entry: entry.number,
                index,
                at: entry.at,
                notice: notice.clone(),
            }));
        }
    }
    // Those of an org come in the order of its ledger; how orgs follow one another is the store's to say.
    let mut given = found.notices.clone();
    given.sort_by(|a, b| a.org.cmp(&b.org));
    hold!(
        due == given,
        "the ledgers hold {} notices, {} are to be delivered\nonly in ledgers: {:?}\nonly to be delivered: {:?}",
        due.len(),
        found.notices.len(),
        due.iter().filter(|notice| !found.notices.contains(notice)).collect::<Vec<_>>(),
        found.notices.iter().filter(|notice| !due.contains(notice)).collect::<Vec<_>>()
    );
    system(found, happened)
}

/// The records of a store that any entry touched, or a replay makes.
fn records<S: Store>(found: &Found, store: &S) -> Result<Stored, String> {
    let mut all = Stored::default();
    for (org, entries) in &found.ledgers {
        let mut replayed = OrgState::new(org.clone(), None);
        let mut keys = Vec::new();
        for entry in entries {
            let note = |key: &RecordKey| {
                keys.push(key.clone());
                Ok::<_, String>(None)
            };
            load_and_apply(&mut replayed, entry, note)?;
        }
        keys.extend(replayed.take_changed().into_iter().map(|(key, _)| key));
        keys.retain(|key| PartKey::in_org(key).is_some_and(|(_, part)| !part.is_fact()));
        keys.sort_unstable();
        keys.dedup();
        let partition = Partition::Org(org.clone());
        let head = head(store, &partition)?.ok_or_else(|| format!("{org} has a ledger and no image"))?;
        let asked = Parts { partition, image: head.version(), keys: keys.clone() };
        let loaded = at_once(store.load_one(&asked))
            .map_err(|error| format!("{org} cannot be loaded: {error}"))?
            .ok_or_else(|| format!("the image of {org} is not of the version of its head"))?;
        all.insert(RecordKey::Org(org.clone()), head);
        all.extend(keys.into_iter().zip(loaded).filter_map(|(key, record)| Some((key, record?))));
    }
    Ok(all)
}

/// What is remembered of every key is what the latest entry that was made for it says, and whether it was taken back.
fn keys_agree<S: Store>(found: &Found, store: &S) -> Result<(), String> {
    for (org, entries) in &found.ledgers {
        let id = |space, key: &tollgate_domain::UsageKey| KeyId { org: org.clone(), space, key: key.clone() };
        let mut told: BTreeMap<KeyId, KeyRecord> = BTreeMap::new();
        for entry in entries {
            if let Some((space, key, record)) = entry.made_key() {
                told.insert(id(space, key), record);
            }
            let took_back = entry.took_back_key().and_then(|key| told.get_mut(&id(KeySpace::Use, key)));
            if let Some(record) = took_back {
                record.reversed_by = Some(entry.number);
            }
        }
        let keys: Vec<KeyId> = told.keys().cloned().collect();
        let remembered =
            at_once(store.find(&keys)).map_err(|error| format!("keys of {org} cannot be found: {error}"))?;
        for ((key, told), remembered) in told.iter().zip(&remembered) {
            hold!(
                remembered.as_ref() == Some(told),
                "of {key:?} is remembered {remembered:?}\nthe ledger says {told:?}"
            );
        }
    }
    Ok(())
}

/// The counters that scans give are those that loads give, and no others.
fn scans_agree<S: Store>(store: &S, records: &Stored) -> Result<(), String> {
    let mut accounts = BTreeSet::new();
    for key in records.keys() {
        if let RecordKey::Account(org, meter) = key {
            accounts.insert((org, meter));
        }
    }
    for (org, meter) in accounts {
        for window in [Window::Day, Window::Month, Window::Lifetime] {
            let scan = Scan::OrgCounters {
                org: org.clone(),
                meter: meter.clone(),
                window,
                from: i32::MIN,
                until: i32::MAX,
            };
            let mut scanned = BTreeMap::new();
            for row in rows(store, &scan)? {
                if let Row::Counter(row) = row {
                    scanned.insert(row.id, row.counter);
                }
            }
            let loaded: BTreeMap<_, _> = records
                .iter()
                .filter_map(|(key, record)| match (key, record) {
                    (RecordKey::Counter(id), Record::Counter(counter))
                        if id.org == *org
                            && id.meter == *meter
                            && id.scope == Scope::Org
                            && id.period.window == window =>
                    {
                        Some((id.clone(), counter.as_ref().clone()))
                    }
                    _ => None,
                })
                .collect();
            hold!(scanned == loaded, "{scan:?} gives {scanned:#?}\nloads and the ledger {loaded:#?}");
        }
        let scan = Scan::Tallies { org: org.clone(), meter: meter.clone() };
        let mut scanned = BTreeMap::new();
        for row in rows(store, &scan)? {
            if let Row::Tally(row) = row {
                scanned.insert(row.user, row.tally);
            }
        }
        let loaded: BTreeMap<_, _> = records
            .iter()
            .filter_map(|(key, record)| match (key, record) {
                (RecordKey::Tally(of, on, user), Record::Tally(tally)) if of == org && on == meter => {
                    Some((user.clone(), Arc::clone(tally)))
                }
                _ => None,
            })
            .collect();
        hold!(scanned == loaded, "{scan:?} gives {scanned:#?}\nloads and the ledger {loaded:#?}");
    }
    Ok(())
}

/// The lists of all orgs and of all that is unsent are of the same records.
fn lists_agree<S: Store>(store: &S, records: &Stored) -> Result<(), String> {
    let mut listed = BTreeMap::new();
    for row in rows(store, &Scan::Orgs)?.into_iter().chain(rows(store, &Scan::Unsent { org: None })?) {
        match row {
            Row::Org(org) => listed.insert(RecordKey::Org(org.id.clone()), Record::Org(Arc::new(org))),
            Row::Unsent(row) => {
                listed.insert(RecordKey::Unsent(row.org, row.day), Record::Unsent(row.unsent))
            }
            _ => None,
        };
    }
    let loaded: BTreeMap<_, _> = records
        .iter()
        .filter(|(key, _)| matches!(key, RecordKey::Org(_) | RecordKey::Unsent(..)))
        .filter(|(_, record)| !record.is_nothing())
        .map(|(key, record)| (key.clone(), record.clone()))
        .collect();
    hold!(listed == loaded, "the lists give {listed:#?}\nloads and the ledger {loaded:#?}");
    Ok(())
}

/// The catalogs and API keys are those that were asked for, and all that were promised.
fn system(found: &Found, happened: &Happened) -> Result<(), String> {
    let mut promised = BTreeSet::new();
    for attempt in &happened.system {
        match (&attempt.command, &attempt.reply) {
            (SystemCommand::ApplyCatalog(apply), Some(Ok(version))) => {
                hold!(promised.insert(*version), "two catalogs were promised version {version}");
                let place = usize::try_from(*version).unwrap_or(0).wrapping_sub(1);
                hold!(
                    found.texts.get(place) == Some(&apply.text),
                    "catalog {version} is not the one that was promised it"
                );
            }
            (SystemCommand::CreateMeters(meters), Some(Ok(_))) => {
                let times = |meter: &tollgate_domain::NewMeter| {
                    found.created_meters.iter().filter(|created| created.id == meter.id).count()
                };
                hold!(
                    meters.iter().all(|meter| times(meter) == 1),
                    "each of {meters:?} should be created once: {:?}",
                    found.created_meters
                );
            }
            (SystemCommand::MakeApiKey(api_key), Some(Ok(_))) => {
                hold!(
                    found.api_keys.iter().any(|known| known.id == api_key.id && known.name == api_key.name),
                    "the API key of {api_key:?} is not there"
                );
            }
            (SystemCommand::RevokeApiKey(RevokeApiKey { id, .. }), Some(Ok(_))) => {
                hold!(
                    found.api_keys.iter().any(|known| known.id == *id && known.revoked_at.is_some()),
                    "API key {id:?} is not revoked"
                );
            }
            _ => {}
        }
    }
    for text in &found.texts {
        let asked = happened.system.iter().any(|attempt| {
            !attempt.not_done
                && matches!(&attempt.command, SystemCommand::ApplyCatalog(apply) if apply.text == *text)
        });
        hold!(asked, "nobody asked for the catalog {text}");
    }
    Ok(())
}
