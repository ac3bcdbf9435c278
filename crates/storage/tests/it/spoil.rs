//! What faults do to what a sound store answers, and to what it is given.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use tollgate_domain::{Entry, KeyId, KeyRecord, OrgId, Partition, Record, RecordKey, Timestamp};
use tollgate_storage::{
    Cursor, EntryChange, Image, MemoryStore, NoticeRow, Opened, Parts, Row, Scan, Store, StoreError,
    StoreErrorKind,
};

use crate::fault::Fault;
use crate::kept::{Call, KeptStore, Shelf, image_in, open_in, org_entries};

impl KeptStore {
    pub(crate) fn trimmed(&self, partition: &Partition) -> Partition {
        match partition {
            Partition::Org(id) if self.fault == Fault::TrimsIds => {
                Partition::Org(OrgId::new(id.as_str().trim_end()).unwrap_or_else(|_| id.clone()))
            }
            partition => partition.clone(),
        }
    }

    /// Opens, with faults of when things are read.
    pub(crate) fn open_torn(&self, inner: &MemoryStore, partitions: &[Partition]) -> Vec<Opened> {
        let one_by_one = || partitions.chunks(1);
        match self.fault {
            Fault::TearsHeadsFromEntries => one_by_one()
                .map(|one| {
                    let head = open_in(inner, one).remove(0).head;
                    thread::yield_now();
                    Opened { head, entries: open_in(inner, one).remove(0).entries }
                })
                .collect(),
            Fault::MissesWhatOthersAppend => {
                let mut cache = self.cache.lock().expect("no panic");
                let opened = one_by_one().map(|one| {
                    let opened = cache.entry(one[0].clone()).or_insert_with(|| open_in(inner, one).remove(0));
                    opened.clone()
                });
                opened.collect()
            }
            _ => open_in(inner, partitions),
        }
    }

    /// Spoils what was opened.
    pub(crate) fn spoil(&self, inner: &MemoryStore, partition: &Partition, opened: &mut Opened) {
        match (self.fault, partition) {
            (Fault::LeavesOutTheLastEntry, _) => drop(opened.entries.pop()),
            (Fault::RepeatsAnEntry, Partition::Org(org)) => {
                let image = opened.image();
                let keys = vec![RecordKey::Entry(org.clone(), image)];
                let asked = Parts { partition: partition.clone(), image, keys };
                let loaded = pollster::block_on(inner.load_one(&asked)).expect("it loads");
                if let Some(Some(Record::Entry(entry))) = loaded.and_then(|mut loaded| loaded.pop()) {
                    opened.entries.insert(0, EntryChange::Org(Entry::clone(&entry)));
                }
            }
            _ => {}
        }
    }

    /// Spoils what was found of a key.
    pub(crate) fn spoil_key(&self, inner: &MemoryStore, key: &KeyId, known: &mut Option<KeyRecord>) {
        let image = || image_in(inner, &Partition::Org(key.org.clone()));
        match (self.fault, &mut *known) {
            (Fault::ForgetsKeysAtCheckpoints, Some(record)) if record.entry <= image() => *known = None,
            (Fault::FindsKeysAfterCheckpoints, Some(record)) if record.entry > image() => *known = None,
            (Fault::FindsAsOfWhatWasSeen, Some(record)) => {
                let seen = self.seen_of(&key.org);
                record.reversed_by = record.reversed_by.filter(|by| *by <= seen);
                if record.entry > seen {
                    *known = None;
                }
            }
            (Fault::MissesKeysOfOthers, Some(_)) if !self.has_appended_to(&key.org) => *known = None,
            (Fault::MissesReversals, Some(record)) => record.reversed_by = None,
            (Fault::MissesLateReversals, Some(record)) if record.entry <= image() => {
                record.reversed_by = None;
            }
            (Fault::RemembersKeysOfConflicts, None) => *known = self.first_made(key, false),
            (Fault::FindsTheFirst, Some(_)) => *known = self.first_made(key, true),
            _ => {}
        }
    }

    fn has_appended_to(&self, org: &OrgId) -> bool {
        self.own.lock().expect("no panic").contains(&Partition::Org(org.clone()))
    }

    /// What the first entry that made a key made of it: of the entries that were appended, or of those that were not.
    fn first_made(&self, id: &KeyId, appended: bool) -> Option<KeyRecord> {
        let shelf = self.shelf();
        let done = shelf.log.iter().filter_map(|call| match call {
            Call::Append(appends) if appended => Some(appends.iter()),
            _ => None,
        });
        let conflicts = (!appended).then_some(shelf.conflicts.iter());
        let mut entries = done.flatten().chain(conflicts.into_iter().flatten()).flat_map(org_entries);
        entries.find_map(|(org, entry)| {
            let (space, key, record) = entry.made_key()?;
            (*org == id.org && space == id.space && *key == id.key).then_some(record)
        })
    }

    /// Spoils the images of a call.
    pub(crate) fn spoil_images(&self, shelf: &mut Shelf, images: &mut Vec<Image>) {
        match self.fault {
            Fault::KeepsTheFirstImage => images.truncate(1),
            Fault::KeepsHeadsOnly => images.iter_mut().for_each(|image| {
                image.records.retain(|(_, record)| matches!(record, Record::Org(_) | Record::System(_)));
            }),
            Fault::KeepsWhatIsNothing => images.iter_mut().for_each(|image| {
                image.records.retain(|(_, record)| !record.is_nothing());
            }),
            // The former image is as if it had never been, or its records are under those of the older one.
            Fault::DropsWhatImagesDoNotName | Fault::TakesOlderImages => {
                for image in images {
                    if self.fault == Fault::TakesOlderImages {
                        image.records = overwritten(&shelf.log, image);
                    }
                    shelf.redo(|call| {
                        if let Call::Checkpoint(former, _) = call {
                            former.retain(|former| former.partition != image.partition);
                        }
                    });
                }
            }
            _ => {}
        }
    }

    /// Spoils what is said to be behind.
    pub(crate) fn spoil_behind(&self, behind: &mut Vec<Partition>) {
        let shelf = self.shelf();
        let since = |ends: fn(&Call) -> bool| {
            let last = shelf.log.iter().rposition(ends).map_or(0, |last| last + 1);
            appended_in(&shelf.log[last..])
        };
        match self.fault {
            Fault::NamesNothing => behind.clear(),
            Fault::NamesEverything => *behind = appended_in(&shelf.log).into_iter().collect(),
            Fault::LeavesOutTheSystem => behind.retain(|partition| *partition != Partition::System),
            Fault::TrustsAnyCheckpoint => {
                let later = since(|call| matches!(call, Call::Checkpoint(..)));
                behind.retain(|partition| later.contains(partition));
            }
            Fault::TrustsOneAppendTooMany => {
                let whole = shelf.log.iter().map(|call| match call {
                    Call::Checkpoint(_, until) => usize::try_from(*until).expect("a count"),
                    _ => 0,
                });
                // Positions are counted from one on: those before the latest one that is whole, it, and the next.
                let whole = whole.max().unwrap_or(0) + 1;
                let appends = shelf.log.iter().filter(|call| matches!(call, Call::Append(_)));
                let later = appended_in(&appends.skip(whole).cloned().collect::<Vec<_>>());
                behind.retain(|partition| later.contains(partition));
            }
            Fault::ForgetsWhatItFoundBehind => {
                // What the process before the latest found behind, and did not append to itself.
                let opens: Vec<usize> =
                    (0..shelf.log.len()).filter(|place| matches!(shelf.log[*place], Call::Open)).collect();
                if let [.., former, _] = &opens[..]
                    && shelf.log[*former..].iter().any(|call| matches!(call, Call::Checkpoint(_, 1..)))
                {
                    let later = appended_in(&shelf.log[*former..]);
                    behind.retain(|partition| later.contains(partition));
                }
            }
            Fault::MissesWhatOthersLeaveBehind => {
                let own = self.own.lock().expect("no panic");
                behind.retain(|partition| own.contains(partition));
            }
            _ => {}
        }
    }

    pub(crate) fn given(&self, scan: &Scan, cursor: Cursor) -> Cursor {
        match self.fault {
            Fault::TakesAnyCursor => Cursor(cursor.0[format!("{scan:?}").len()..].to_vec()),
            Fault::ForgetsCursors => Cursor([&[self.opened], &cursor.0[..]].concat()),
            _ => cursor,
        }
    }

    pub(crate) fn taken(&self, scan: &Scan, cursor: &Cursor) -> Result<Cursor, StoreError> {
        match self.fault {
            Fault::TakesAnyCursor => Ok(Cursor([format!("{scan:?}").as_bytes(), &cursor.0[..]].concat())),
            Fault::ForgetsCursors => match cursor.0.split_first() {
                Some((opened, rest)) if *opened == self.opened => Ok(Cursor(rest.to_vec())),
                _ => Err(StoreError::new(StoreErrorKind::BadCursor, "a cursor of another process")),
            },
            _ => Ok(cursor.clone()),
        }
    }

    /// Spoils the rows of a page.
    pub(crate) fn spoil_rows(&self, inner: &MemoryStore, scan: &Scan, rows: &mut Vec<Row>) {
        match self.fault {
            Fault::CutsTime => rows.iter_mut().for_each(cut),
            Fault::SortsByUtf16 => rows.sort_by_key(utf16),
            Fault::OrdersNoticesByClock => rows.sort_by_key(notice_time),
            Fault::ListsWhatImagesHold => rows.retain(|row| match (row, scan) {
                (Row::Entry(entry), Scan::Entries { org, .. }) => {
                    entry.number <= image_in(inner, &Partition::Org(org.clone()))
                }
                (Row::Notice(row), _) => row.entry <= image_in(inner, &Partition::Org(row.org.clone())),
                _ => true,
            }),
            Fault::ListsNoticesOfConflicts if *scan == Scan::Notices => {
                rows.extend(self.shelf().conflicts.iter().flat_map(org_entries).flat_map(|(org, entry)| {
                    (0..).zip(&entry.notices).map(|(index, notice)| {
                        let (org, notice) = (org.clone(), notice.clone());
                        Row::Notice(NoticeRow { org, entry: entry.number, index, at: entry.at, notice })
                    })
                }));
            }
            _ => {}
        }
    }
}

/// The partitions of the appends among calls.
fn appended_in(log: &[Call]) -> BTreeSet<Partition> {
    let appends =
        log.iter().filter_map(|call| if let Call::Append(appends) = call { Some(appends) } else { None });
    appends.flatten().map(|append| append.partition.clone()).collect()
}

/// The records of an image over those of all that were kept of its partition before, however new.
fn overwritten(log: &[Call], image: &Image) -> Vec<(RecordKey, Record)> {
    let kept = log
        .iter()
        .filter_map(|call| if let Call::Checkpoint(images, _) = call { Some(images) } else { None });
    let former = kept.flatten().filter(|former| former.partition == image.partition);
    let records: BTreeMap<RecordKey, Record> =
        former.chain([image]).flat_map(|image| image.records.iter().cloned()).collect();
    records.into_iter().collect()
}

/// Cuts the time of a notice to microseconds.
fn cut(row: &mut Row) {
    if let Row::Notice(notice) = row {
        notice.at = Timestamp::from_microsecond(notice.at.as_microsecond()).expect("a time");
    }
}

fn notice_time(row: &Row) -> Option<Timestamp> {
    if let Row::Notice(notice) = row { Some(notice.at) } else { None }
}

fn utf16(row: &Row) -> Vec<u16> {
    match row {
        Row::Org(org) => org.id.as_str().encode_utf16().collect(),
        Row::Tally(tally) => tally.user.as_str().encode_utf16().collect(),
        _ => Vec::new(),
    }
}
