//! Filters in memory in front of the tables whose rows are mostly asked for before there is one: the keys of new usages
//! and the tallies of new users. What a filter has not seen is in no table.
//!
//! They are made from the tables, never stored: after a start, and whenever a table has outgrown its filter, the rows
//! are read through between folds, and until that is done everything may be in the table.

use std::ops::Bound::{self, Excluded, Unbounded};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use tollgate_storage::StoreError;
use xxhash_rust::xxh3::xxh3_64;

use super::codec::Table;
use super::io::to_u64;
use super::limits::{FILTER_BITS_PER_ROW, FILTER_GROWTH, FILTER_ROWS_MIN, FILTER_STEP_ROWS};
use super::sync::RwLock;
use super::tables::{RawRow, Tables};

/// The tables that have a filter.
const FILTERED: [Table; 2] = [Table::Keys, Table::Tallies];

const WORDS_A_BLOCK: usize = 4;

/// A set that may hold more than was put into it, and never less: eight bits of one block of 32 bytes for each row.
#[derive(Debug)]
struct Filter {
    words: Vec<AtomicU64>,
    blocks: u64,
    /// Rows it is made for.
    capacity: u64,
    rows: AtomicU64,
}

impl Filter {
    fn new(capacity: u64) -> Self {
        let bits = to_u64(WORDS_A_BLOCK) * 64;
        let blocks = (capacity * FILTER_BITS_PER_ROW).div_ceil(bits).max(1);
        let words = usize::try_from(blocks).unwrap_or(usize::MAX).saturating_mul(WORDS_A_BLOCK);
        let words = std::iter::repeat_with(AtomicU64::default).take(words).collect();
        Self { words, blocks, capacity, rows: AtomicU64::new(0) }
    }

    /// The words of a row's block, each with the bits the row has in it.
    fn bits(&self, row_key: &[u8]) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let hash = xxh3_64(row_key);
        let block = (u128::from(hash) * u128::from(self.blocks)) >> 64;
        let first = usize::try_from(block).unwrap_or(0) * WORDS_A_BLOCK;
        // The place of the block is in the upper bits; those inside it are mixed from all of them.
        let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let words = self.words.get(first..first + WORDS_A_BLOCK).unwrap_or_default();
        words.iter().zip([0, 12, 24, 36]).map(move |(word, shift)| {
            let two = mixed >> (shift + 16);
            (word, 1 << (two & 63) | 1 << ((two >> 6) & 63))
        })
    }

    fn put(&self, row_key: &[u8]) {
        for (word, bits) in self.bits(row_key) {
            word.fetch_or(bits, Ordering::Relaxed);
        }
        self.rows.fetch_add(1, Ordering::Relaxed);
    }

    fn may_hold(&self, row_key: &[u8]) -> bool {
        self.bits(row_key).all(|(word, bits)| word.load(Ordering::Relaxed) & bits == bits)
    }

    fn is_full(&self) -> bool {
        self.rows.load(Ordering::Relaxed) > self.capacity
    }
}

/// The filters that answer. Nothing is in a table that was put here before its fold ended.
#[derive(Debug, Default)]
pub(crate) struct Filters([RwLock<Option<Arc<Filter>>>; 2]);

impl Filters {
    fn slot(&self, table: Table) -> Option<&RwLock<Option<Arc<Filter>>>> {
        let place = FILTERED.iter().position(|filtered| *filtered == table)?;
        self.0.get(place)
    }

    fn of(&self, table: Table) -> Option<Arc<Filter>> {
        self.slot(table)?.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a row may be in a table.
    pub(crate) fn may_hold(&self, table: Table, row_key: &[u8]) -> bool {
        let Some(slot) = self.slot(table) else { return true };
        let filter = slot.read().unwrap_or_else(PoisonError::into_inner);
        filter.as_ref().is_none_or(|filter| filter.may_hold(row_key))
    }

    fn serve(&self, table: Table, filter: Filter) {
        if let Some(slot) = self.slot(table) {
            *slot.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(filter));
        }
    }
}

/// Makes the filters and keeps them up; belongs to whoever folds.
#[derive(Debug)]
pub(crate) struct FilterKeeper {
    building: Vec<Building>,
}

/// A filter that has not seen all rows of its table yet.
#[derive(Debug)]
struct Building {
    table: Table,
    filter: Filter,
    /// From where the rows of the table are still to be read; those before it are in.
    from: Bound<Vec<u8>>,
}

impl FilterKeeper {
    /// Everything is to be built.
    pub(crate) fn new(tables: &Tables) -> Self {
        let building = FILTERED.map(|table| {
            let rows = tables.rows_estimated(table).saturating_mul(FILTER_GROWTH).max(FILTER_ROWS_MIN);
            Building { table, filter: Filter::new(rows), from: Unbounded }
        });
        Self { building: building.into() }
    }

    /// Takes the rows of a fold before they go into the tables.
    pub(crate) fn put<'a>(&self, filters: &Filters, rows: impl Iterator<Item = &'a (Table, RawRow)>) {
        let serving = FILTERED.map(|table| (table, filters.of(table)));
        for (table, (row_key, _)) in rows.filter(|(table, _)| FILTERED.contains(table)) {
            let served = serving.iter().find(|(of, _)| of == table).and_then(|(_, filter)| filter.as_deref());
            let built = self.building.iter().find(|building| building.table == *table);
            for filter in served.into_iter().chain(built.map(|building| &building.filter)) {
                filter.put(row_key);
            }
        }
    }

    /// Reads on through a table whose filter is not whole; false when there is none left.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub(crate) fn step(&mut self, filters: &Filters, tables: &Tables) -> Result<bool, StoreError> {
        let Some(mut building) = self.building.pop() else {
            let served = FILTERED.into_iter().filter_map(|table| Some((table, filters.of(table)?)));
            self.building.extend(served.filter_map(|(table, filter)| outgrown(table, &filter)));
            return Ok(!self.building.is_empty());
        };
        let mut rows = tables.view().range(building.table, building.from.clone(), Unbounded);
        let mut last = None;
        for row in rows.by_ref().take(FILTER_STEP_ROWS) {
            let (row_key, _) = row?;
            building.filter.put(&row_key);
            last = Some(row_key);
        }
        match last {
            Some(last) if rows.next().is_some() => {
                building.from = Excluded(last);
                self.building.push(building);
            }
            _ => filters.serve(building.table, building.filter),
        }
        Ok(true)
    }
}

fn outgrown(table: Table, filter: &Filter) -> Option<Building> {
    filter.is_full().then(|| {
        let capacity = filter.rows.load(Ordering::Relaxed).saturating_mul(FILTER_GROWTH);
        Building { table, filter: Filter::new(capacity), from: Unbounded }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_forgets_nothing_and_takes_few_for_what_they_are_not() {
        let filter = Filter::new(10_000);
        let row = |number: u32| number.to_be_bytes().repeat(4);
        (0..10_000).for_each(|number| filter.put(&row(number)));
        assert!((0..10_000).all(|number| filter.may_hold(&row(number))));
        let wrong = (10_000..110_000).filter(|number| filter.may_hold(&row(*number))).count();
        assert!(wrong < 1_000, "{wrong} of 100,000 absent rows may be there");
        assert!(!filter.is_full());
        filter.put(&row(10_000));
        assert!(filter.is_full());
    }
}
