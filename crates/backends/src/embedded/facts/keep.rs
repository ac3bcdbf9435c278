//! Keeping: sealing tables that nothing is added to any more, making filters, storing them, letting keys expire. A thread
//! does it, or who adds, or who waits for it; one at a time, in steps of some milliseconds but for writing a file.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tollgate_storage::{StoreError, StoreErrorKind};

use super::super::error::io_error;
use super::super::limits::{FACTS_FILTER_STEP_BLOCKS, RETRY_MILLIS};
use super::super::segment::Segments;
use super::super::sync::{Condvar, Mutex, RwLock, yield_to_callers};
use super::file::{FactsFile, Files};
use super::filter::Filter;
use super::group::{self, Filters, Group};
use super::table::{SHARDS, Table};
use super::write::write_facts;
use super::{FactsOptions, View, unpoisoned};

/// What queries, the writer and the keeper share.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) segments: Arc<Segments>,
    pub(super) files: Files,
    options: FactsOptions,
    view: RwLock<Arc<View>>,
    keeper: Mutex<Keeper>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Something was added to a further segment since the thread looked.
    due: bool,
    closed: bool,
}

/// Belongs to whoever makes a step.
#[derive(Debug, Default)]
struct Keeper {
    building: Option<Building>,
    /// First segments of groups of which a file is damaged: they get no filters before the store is opened again.
    damaged: BTreeSet<u32>,
}

/// Filters that have not seen all facts of their group yet.
#[derive(Debug)]
struct Building {
    first: u32,
    filters: Filters,
    /// Of which file what comes next is.
    ordinal: u32,
    next: NextBlock,
}

#[derive(Clone, Copy, Debug)]
enum NextBlock {
    Orgs(u64),
    Keys(u64),
}

impl Keeping {
    pub(super) fn new(segments: Arc<Segments>, files: Files, options: FactsOptions, view: View) -> Self {
        Self {
            segments,
            files,
            options,
            view: RwLock::new(Arc::new(view)),
            keeper: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The facts as they are now.
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&*unpoisoned(self.view.read()))
    }

    /// Changes what later queries see, in one step.
    pub(super) fn publish(&self, change: impl FnOnce(&mut View)) {
        let mut published = unpoisoned(self.view.write());
        change(Arc::make_mut(&mut published));
    }

    /// Has the thread look for what is to be done.
    pub(super) fn wake(&self) {
        unpoisoned(self.state.lock()).due = true;
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        unpoisoned(self.state.lock()).closed = true;
        self.changed.notify_all();
    }

    /// What the thread does.
    pub(super) fn keep_until_closed(&self) {
        yield_to_callers();
        loop {
            let worked = self.step().inspect_err(report);
            let mut state = unpoisoned(self.state.lock());
            if worked.is_err() {
                let pause = Duration::from_millis(RETRY_MILLIS);
                state = unpoisoned(self.changed.wait_timeout_while(state, pause, |state| !state.closed)).0;
            } else if matches!(worked, Ok(false)) {
                while !state.due && !state.closed {
                    state = unpoisoned(self.changed.wait(state));
                }
            }
            if state.closed {
                return;
            }
            state.due = false;
        }
    }

    /// Does all that is to be done; what fails is tried again when a segment is sealed next.
    pub(super) fn work_off(&self) {
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return report(&error),
            }
        }
    }

    /// Does one thing; false when there is nothing to do.
    pub(super) fn step(&self) -> Result<bool, StoreError> {
        let mut keeper = unpoisoned(self.keeper.lock());
        let view = self.view();
        if let [sealing, _, ..] = view.tables.as_slice() {
            self.seal(sealing)?;
            return Ok(true);
        }
        let unfiltered = view.groups.iter().rev().find(|group| {
            group.filters.is_none() && group.is_whole() && !keeper.damaged.contains(&group.first)
        });
        if let Some(group) = unfiltered {
            keeper.build(self, &view, group)?;
            return Ok(true);
        }
        let closed = view.groups.split_last().map(|(_, closed)| closed).unwrap_or_default();
        let unstored =
            closed.iter().find(|group| !group.stored && group.filters.is_some() && group.is_whole());
        let Some(group) = unstored else { return Ok(false) };
        group::store(&self.segments.disk, &self.segments.dir, group)?;
        self.replace(group.first, |group| group.stored = true);
        self.expire();
        Ok(true)
    }

    /// Changes the group that starts with a segment.
    fn replace(&self, first: u32, change: impl FnOnce(&mut Group)) {
        self.publish(|view| {
            if let Some(group) = view.groups.iter_mut().find(|group| group.first == first) {
                change(Arc::make_mut(group));
            }
        });
    }

    /// Writes the file of a table, and has it take the table's place.
    fn seal(&self, table: &Table) -> Result<(), StoreError> {
        let ordinal = table.ordinal;
        let file = write_facts(&self.segments.disk, &self.segments.dir, table)
            .map_err(|(action, source)| io_error(action, &self.files.path(ordinal), source))?;
        self.files.forget(ordinal);
        let (place, group) = self.group_with(table, Arc::new(file));
        self.publish(|view| {
            view.tables.retain(|table| table.ordinal != ordinal);
            match place {
                Ok(place) => {
                    if let Some(place) = view.groups.get_mut(place) {
                        *place = Arc::new(group);
                    }
                }
                Err(place) => view.groups.insert(place, Arc::new(group)),
            }
        });
        self.expire();
        Ok(())
    }

    /// The group that a file belongs to, with it, and its place: that of the group it replaces, or where it goes.
    fn group_with(&self, table: &Table, file: Arc<FactsFile>) -> (Result<usize, usize>, Group) {
        let view = self.view();
        let (ordinal, counts) = (table.ordinal, file.header.counts);
        let place = view.group_of(ordinal);
        if let Some(known) = place.ok().and_then(|place| view.groups.get(place)) {
            // It was made again: its group's filters have seen it, or will.
            let mut group = Group::clone(known);
            group.files.insert(ordinal, file);
            return (place, group);
        }
        let last = view.groups.last().filter(|group| group.last.checked_add(1) == Some(ordinal));
        if let Some(last) = last {
            let before = view.groups.len().checked_sub(2).and_then(|place| view.groups.get(place));
            let capacity = match &last.filters {
                Some(filters) => filters.keys.capacity(),
                None => last.keys_capacity(before.map(Arc::as_ref)),
            };
            if !last.stored && last.has_room(capacity, Some(&counts), self.options) {
                let mut group = Group::clone(last);
                group.last = ordinal;
                group.files.insert(ordinal, file);
                group.filters.iter().for_each(|filters| put_all(filters, table));
                return (Ok(view.groups.len() - 1), group);
            }
        }
        let mut group = Group::starting_at(ordinal);
        group.files.insert(ordinal, file);
        let filters = Filters::new(group.keys_capacity(view.groups.last().map(Arc::as_ref)), counts.orgs);
        put_all(&filters, table);
        group.filters = Some(filters);
        (place, group)
    }

    /// Searches the keys no more that are past their time by the latest entry there is in a file.
    pub(super) fn expire(&self) {
        let view = self.view();
        let latest = view.groups.iter().flat_map(|group| group.files.values());
        let latest = latest.map(|file| file.header.latest_secs).max().unwrap_or(i64::MIN);
        self.drop_before(latest.saturating_sub(self.options.key_keep_secs));
    }

    /// Searches the keys no more of files whose latest entry is older.
    pub(super) fn drop_before(&self, secs: i64) {
        let expired = |file: &FactsFile| file.has_live_keys() && file.header.latest_secs < secs;
        let unused = |group: &Group| {
            let held = group.filters.as_ref().is_some_and(|filters| filters.keys.capacity() > 0);
            // What is not stored yet is stored with its keys: it may be opened with a longer keep time.
            group.stored && held && !group.has_live_keys()
        };
        let due = |group: &Group| group.files.values().any(|file| expired(file)) || unused(group);
        if !self.view().groups.iter().any(|group| due(group)) {
            return;
        }
        self.publish(|view| {
            for group in view.groups.iter_mut().filter(|group| due(group)) {
                let group = Arc::make_mut(group);
                for file in group.files.values_mut().filter(|file| expired(file)) {
                    *file = Arc::new(file.without_keys());
                }
                if unused(group) {
                    group.filters = group.filters.as_ref().map(Filters::without_keys);
                }
            }
        });
    }
}

fn report(error: &StoreError) {
    tracing::warn!(%error, "the facts of a segment stay in memory until their files can be written");
}

fn put_all(filters: &Filters, table: &Table) {
    for shard in 0..SHARDS {
        table.keys(shard).iter().for_each(|key| filters.keys.put(key.fingerprint));
        table.orgs(shard).iter().for_each(|fact| filters.orgs.put_once(fact.org));
    }
}

impl Keeper {
    /// Reads on through the files of a group that has no filters; they answer once all has been read.
    fn build(&mut self, keeping: &Keeping, view: &View, group: &Group) -> Result<(), StoreError> {
        let mut building = self
            .building
            .take()
            .filter(|building| building.first == group.first)
            .unwrap_or_else(|| Building::start(view, group));
        let Some(file) = group.files.get(&building.ordinal) else {
            keeping.replace(group.first, |group| group.filters = Some(building.filters));
            keeping.expire();
            return Ok(());
        };
        match building.read(&keeping.files, file) {
            Ok(()) => self.building = Some(building),
            Err(error) => {
                let damaged = error.kind() == StoreErrorKind::Corrupt;
                if damaged {
                    self.damaged.insert(group.first);
                }
                return Err(keeping.files.heal(file.ordinal(), error));
            }
        }
        Ok(())
    }
}

impl Building {
    fn start(view: &View, group: &Group) -> Self {
        let before = view.group_of(group.first).ok().and_then(|place| view.groups.get(place.checked_sub(1)?));
        let takes_more = view.groups.last().is_some_and(|last| last.first == group.first);
        let capacity = if takes_more { group.keys_capacity(before.map(Arc::as_ref)) } else { 0 };
        let filters = Filters::new(group.keys().max(capacity), group.orgs_of_one());
        Self { first: group.first, filters, ordinal: group.first, next: NextBlock::Orgs(0) }
    }

    /// Takes some blocks, at most up to the end of a file.
    fn read(&mut self, files: &Files, file: &FactsFile) -> Result<(), StoreError> {
        for _ in 0..FACTS_FILTER_STEP_BLOCKS {
            match self.next {
                NextBlock::Orgs(number) => {
                    let Some(orgs) = file.org_block(files, number)? else {
                        self.next = NextBlock::Keys(0);
                        continue;
                    };
                    orgs.into_iter().for_each(|org| self.filters.orgs.put_once(org));
                    self.next = NextBlock::Orgs(number + 1);
                }
                NextBlock::Keys(number) => {
                    let Some(keys) = file.key_block(files, number)? else {
                        (self.ordinal, self.next) = (self.ordinal + 1, NextBlock::Orgs(0));
                        return Ok(());
                    };
                    let filter: &Filter = &self.filters.keys;
                    keys.into_iter().for_each(|key| filter.put(key));
                    self.next = NextBlock::Keys(number + 1);
                }
            }
        }
        Ok(())
    }
}
