//! Keeping images: their records become rows of the tables, in one write with how far the tables are then, on a thread of
//! its own.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use foldhash::fast::RandomState;
use tollgate_storage::check::check_image;
use tollgate_storage::{Image, StoreError};

use super::error::{full, stopped, tables_error};
use super::fingerprints::of_partition;
use super::limits::{CHECKPOINT_FREE_BYTES_MIN, SWEEP_SECS};
use super::open::TABLES_DIR;
use super::options::Work;
use super::orders::Orders;
use super::store::Core;
use super::sync::{Mutex, MutexGuard, thread, yield_to_callers};
use super::tables::{Folded, RawRow, Tables, TablesView, free_bytes};
use super::walk::Position;
use crate::rows::{Table, encode_record, row_key};

/// Images to keep, and up to where images are whole then.
type Order = (Arc<[Image]>, u64);

/// Rows to write, and keys of rows to remove.
#[derive(Default)]
struct Rows {
    rows: Vec<(Table, RawRow)>,
    removed: Vec<(Table, Vec<u8>)>,
}

/// Images on their way to the tables.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    orders: Orders<Order, Result<(), StoreError>>,
    /// Whether the tables take no more writes until they are reopened. Held while writing.
    broken: Mutex<bool>,
}

impl Core {
    /// Keeps images; see [`tollgate_storage::Store::checkpoint`].
    pub(crate) async fn checkpoint(&self, images: Arc<[Image]>, whole_until: u64) -> Result<(), StoreError> {
        if self.options.work == Work::Inline {
            return self.keep(&images, whole_until);
        }
        let kept = self.checkpoints.orders.place((images, whole_until)).await;
        kept.unwrap_or_else(|| Err(stopped("it was closed")))
    }

    /// The thread that writes rows; ends when the store is closed and nothing waits.
    pub(crate) fn keep_until_closed(&self) {
        yield_to_callers();
        self.checkpoints.orders.serve(|(images, whole_until)| self.keep(&images, whole_until));
    }

    /// Lets the thread end once nothing waits.
    pub(crate) fn stop_keeping(&self) {
        self.checkpoints.orders.close();
    }

    /// Writes images into the tables.
    pub(crate) fn keep(&self, images: &[Image], whole_until: u64) -> Result<(), StoreError> {
        let started = Instant::now();
        match self.write(images, whole_until) {
            Ok(sweep) => {
                self.metrics.checkpoint_seconds.record(started.elapsed());
                if sweep {
                    self.sweep_aside();
                }
                Ok(())
            }
            Err(error) => {
                self.metrics.checkpoint_failures.add(1);
                Err(error)
            }
        }
    }

    /// The same; says whether expired rows are to be swept.
    fn write(&self, images: &[Image], whole_until: u64) -> Result<bool, StoreError> {
        images.iter().for_each(check_image);
        if free_bytes(&self.path) < CHECKPOINT_FREE_BYTES_MIN {
            return Err(full(&self.path, "too little is free to write into the tables"));
        }
        let mut broken = self.tables_to_write()?;
        let known = self.folded();
        let latest_secs = known.latest_secs.max(self.keep.latest());
        let sweep = latest_secs.saturating_sub(known.swept_secs) > SWEEP_SECS;
        let swept_secs = if sweep { latest_secs } else { known.swept_secs };
        let seen = self.ledger().last();
        let position = self.whole(images, whole_until, &seen, known.position);
        let next = Folded { count: known.count + 1, position, seen, latest_secs, swept_secs };
        let tables = self.tables.read();
        let tables = tables.get()?;
        let Rows { mut rows, removed } = match self.rows_of(images, &tables.view()) {
            Ok(rows) => rows,
            Err(error) => {
                self.images().clear();
                return Err(error);
            }
        };
        // The tables take sorted rows faster.
        rows.sort_unstable_by(|(table, (key, _)), (other, (other_key, _))| {
            table.cmp(other).then_with(|| key.cmp(other_key))
        });
        let mut batch = tables.batch(rows.len() + removed.len() + Table::ALL.len() + 1);
        rows.iter().for_each(|(table, (key, row))| batch.put(*table, key, row));
        removed.into_iter().for_each(|(table, key)| batch.remove(table, key));
        if let Err(error) = batch.commit(&next) {
            *broken = true;
            self.images().clear();
            return Err(tables_error("write into", error));
        }
        self.set_folded(next);
        let mut behind = self.behind();
        images.iter().for_each(|image| {
            if behind.get(&image.partition).is_some_and(|number| *number <= image.version) {
                behind.remove(&image.partition);
            }
        });
        self.metrics.tables_bytes.set(tables.bytes());
        Ok(sweep && known.swept_secs != 0)
    }

    /// The rows of images that are newer than those in the tables, which count as written from now on.
    fn rows_of(&self, images: &[Image], view: &TablesView<'_>) -> Result<Rows, StoreError> {
        let Rows { mut rows, mut removed } = Rows::default();
        for image in images {
            let in_tables = || self.image_in(view, &image.partition);
            let mut known = self.images();
            let written = known.of(of_partition(&image.partition), in_tables)?;
            if std::mem::replace(written, image.version.max(*written)) >= image.version {
                continue;
            }
            drop(known);
            for (key, record) in &image.records {
                let Some((table, key)) = row_key(key) else { continue };
                // Nothing unsent is no row: what is looked through is what there is to send.
                if record.is_nothing() {
                    removed.push((table, key));
                } else {
                    rows.push((table, (key, encode_record(record))));
                }
            }
        }
        Ok(Rows { rows, removed })
    }

    /// The frame up to which all images are whole once some are kept. While some lack what an earlier process appended, it
    /// stays where it was: that is how the next one finds them.
    fn whole(&self, images: &[Image], whole_until: u64, last: &Position, before: Position) -> Position {
        let behind = self.behind();
        let lifts =
            |image: &&Image| behind.get(&image.partition).is_some_and(|number| *number <= image.version);
        let lifted: HashSet<_, RandomState> =
            images.iter().filter(lifts).map(|image| &image.partition).collect();
        if lifted.len() < behind.len() {
            return before;
        }
        drop(behind);
        let whole = if last.sequence <= whole_until { Some(*last) } else { self.frame_up_to(whole_until) };
        whole.filter(|whole| whole.sequence > before.sequence).unwrap_or(before)
    }

    /// Holds the tables for writing, once they are open; true when they take no more writes.
    pub(crate) fn tables_to_write(&self) -> Result<MutexGuard<'_, bool>, StoreError> {
        let mut broken = self.checkpoints.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if *broken {
            self.reopen_tables()?;
            *broken = false;
        }
        Ok(broken)
    }

    /// Opens the tables again after a write failed, unless they lost what had been kept before.
    fn reopen_tables(&self) -> Result<(), StoreError> {
        let path = self.path.join(TABLES_DIR);
        self.tables.reopen(|| Tables::open(&path, &self.options, &self.keep))?;
        let (now, known) = (self.tables.read().get()?.folded()?, self.folded());
        if now.count < known.count {
            return Err(stopped("the tables lost what was kept; a restart brings them up from the ledger"));
        }
        // What failed may be there all the same; it is written again.
        self.set_folded(now);
        tracing::info!("the tables were reopened after they had failed");
        Ok(())
    }

    /// Sweeps without holding up checkpoints: expired rows hurt nobody meanwhile.
    fn sweep_aside(&self) {
        let Ok(tables) = self.tables.read().get().cloned() else { return };
        let sweep = move || {
            if let Err(error) = tables.sweep() {
                tracing::warn!(%error, "expired rows stay for another week");
            }
        };
        if self.options.work == Work::Inline {
            sweep();
        } else {
            drop(thread::Builder::new().name("tollgate-sweep".into()).spawn(sweep));
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use std::fs;
    use std::path::Path;

    use tollgate_domain::{OrgId, Partition};
    use tollgate_storage::conformance::{append_using, image_after};
    use tollgate_storage::{Append, StoreErrorKind};

    use super::super::{EmbeddedOptions, EmbeddedStore};
    use super::*;

    fn open(path: &Path) -> EmbeddedStore {
        let options = EmbeddedOptions { work: Work::Inline, ..EmbeddedOptions::default() };
        EmbeddedStore::open(path, options).expect("opens")
    }

    /// Appends a usage and keeps its image.
    fn go(store: &EmbeddedStore, appends: &mut Vec<Append>) -> Result<(), StoreError> {
        let version = u64::try_from(appends.len()).expect("a count");
        let org = OrgId::new("acme").expect("an id");
        let append = append_using(&org, 1, version, [version.to_string().as_str()]);
        let appended = store.core.append(std::slice::from_ref(&append)).expect("appends");
        appends.push(append);
        store.core.keep(&[image_after(appends.iter())], appended.position)
    }

    fn image_in(store: &EmbeddedStore) -> u64 {
        let org = Partition::Org(OrgId::new("acme").expect("an id"));
        store.core.open(&[org]).expect("opens")[0].image()
    }

    #[test]
    fn tables_that_failed_are_reopened_before_they_are_written_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let mut appends = Vec::new();
        go(&store, &mut appends).expect("keeps an image");
        *store.core.checkpoints.broken.lock().expect("nobody panicked") = true;
        go(&store, &mut appends).expect("keeps an image in the reopened tables");
        assert_eq!(image_in(&store), 2);
        assert!(!*store.core.checkpoints.broken.lock().expect("nobody panicked"));
        drop(store);
        let store = open(folder.path());
        assert_eq!((image_in(&store), store.core.behind().len()), (2, 0));
    }

    #[test]
    fn tables_that_lost_what_was_kept_take_nothing_until_a_restart_brings_them_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let tables = folder.path().join(TABLES_DIR);
        let store = open(folder.path());
        let mut appends = Vec::new();
        go(&store, &mut appends).expect("keeps an image");
        // As a file system that came back without them: what is open goes on, what is opened next is not there.
        fs::rename(&tables, folder.path().join("lost")).expect("renames");
        *store.core.checkpoints.broken.lock().expect("nobody panicked") = true;
        for _ in 0..2 {
            let refused = go(&store, &mut appends).expect_err("the tables lost an image");
            assert_eq!(refused.kind(), StoreErrorKind::Stopped, "{refused}");
            // What they have is answered with the entries since.
            assert_eq!(image_in(&store), 0);
        }
        assert_eq!(store.metrics().checkpoint_failures.get(), 2);
        drop(store);
        let store = open(folder.path());
        assert_eq!((image_in(&store), store.core.behind().len()), (0, 1));
        store.catch_up().expect("catches up");
        assert_eq!((image_in(&store), store.core.behind().len()), (3, 0));
    }
}
