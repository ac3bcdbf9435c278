//! What the store asks of a database: items by partition and sort key, each of which is changed by itself, if it is as it is
//! expected to be.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tollgate_storage::{StoreError, StoreErrorKind};

use crate::asking::{Asking, Outcome, not_known};

/// Where an item is: in a partition, sorted by bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) partition: String,
    pub(crate) sort: Vec<u8>,
}

/// A value in an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// An item: values by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Item(pub(crate) BTreeMap<String, Value>);

impl Item {
    /// An item of one value.
    pub(crate) fn of(name: &str, value: Value) -> Self {
        Self([(name.to_owned(), value)].into())
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name)? {
            Value::Number(number) => Some(*number),
            Value::Bytes(_) => None,
        }
    }

    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        match self.0.get(name)? {
            Value::Bytes(bytes) => Some(bytes),
            Value::Number(_) => None,
        }
    }
}

/// When an item may be forgotten, in seconds since 1970; the database forgets it by itself some time after.
pub(crate) const ENDS: &str = "ends";

/// What a change makes of an item, which it makes if need be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) set: BTreeMap<String, Value>,
    pub(crate) remove: Vec<String>,
    /// The change is made only if this number of the item is lower, or not there.
    pub(crate) below: Option<(&'static str, u64)>,
}

/// A range of items in a partition.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub(crate) partition: String,
    /// From this sort key on, it included.
    pub(crate) from: Vec<u8>,
    /// Up to this sort key, it included.
    pub(crate) until: Vec<u8>,
    pub(crate) newest_first: bool,
    pub(crate) limit: usize,
}

/// Items of a partition by their sort keys, in order.
pub(crate) type Sorted = Vec<(Vec<u8>, Item)>;

/// Some items of a range, and whether there are more behind them.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) rows: Sorted,
    pub(crate) more: bool,
}

/// A table of a database. Every call is one attempt; what is read is as new as the latest change that was answered.
pub(crate) trait Table: Send + Sync + 'static {
    /// What the threads of the store are called.
    const THREAD: &'static str;

    /// Most items that one call of [`Table::put`] takes, and most changes that one of [`Table::change`] does.
    const PUTS_MAX: usize;
    const CHANGES_MAX: usize;

    /// Most ranges that one call of [`Table::read_each`] reads.
    const RANGES_MAX: usize;

    /// Makes the table if need be and if it may; refuses one that is not as it should be.
    fn prepare(&self, migrate: bool) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Makes new items, each by itself; says of each whether it was made, or one was there.
    fn insert(&self, items: &[(Place, Item)]) -> impl Future<Output = Vec<Result<bool, Failure>>> + Send;

    /// Puts items into their places, whatever was there; no place twice. Of an attempt that failed some may be there.
    fn put(&self, items: &[(Place, Item)]) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Changes items, each by itself; says of each whether it was as expected. Of an attempt that failed some may be changed.
    fn change(&self, changes: &[(Place, Change)]) -> impl Future<Output = Result<Vec<bool>, Failure>> + Send;

    /// Removes an item; where a number is given, only if it is this one.
    fn remove(
        &self,
        place: &Place,
        only: Option<(&'static str, u64)>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Gets items, at most [`super::limits::GET_MAX`], no place twice.
    fn get(&self, places: &[Place]) -> impl Future<Output = Result<HashMap<Place, Item>, Failure>> + Send;

    /// Reads items in order.
    fn read(&self, range: &Range) -> impl Future<Output = Result<Rows, Failure>> + Send;

    /// Reads items of ranges, of each from its beginning on, oldest first; no two are of one partition.
    fn read_each(&self, ranges: &[Range]) -> impl Future<Output = Result<Vec<Rows>, Failure>> + Send;
}

/// A failed attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) outcome: Outcome,
    pub(crate) error: StoreError,
}

impl Failure {
    pub(crate) fn new(outcome: Outcome, kind: StoreErrorKind, text: impl Into<String>) -> Self {
        Self { outcome, error: StoreError::new(kind, text) }
    }

    pub(crate) fn caused_by(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { error: self.error.caused_by(source), ..self }
    }
}

/// A table that is asked until it answers, for as long as there is patience.
#[derive(Debug)]
pub(crate) struct Asked<T> {
    pub(crate) table: T,
    patience: Duration,
    /// Whether it answered when it was last asked: while it does not, nobody waits for long.
    answers: AtomicBool,
}

impl<T: Table> Asked<T> {
    pub(crate) const fn new(table: T, patience: Duration) -> Self {
        Self { table, patience, answers: AtomicBool::new(true) }
    }

    /// Asks what may be done more than once without doing more than once. An error of a kind that says that nothing was changed
    /// is given only when that is known of every attempt.
    pub(crate) async fn ask<R, F>(&self, attempt: impl Fn() -> F + Send) -> Result<R, StoreError>
    where
        R: Send,
        F: Future<Output = Result<R, Failure>> + Send,
    {
        let mut asking = self.asking();
        loop {
            match attempt().await {
                Ok(answer) => {
                    asking.answered();
                    return Ok(answer);
                }
                Err(Failure { outcome, error }) => {
                    if outcome == Outcome::Refused {
                        asking.answered();
                    }
                    asking.failed(outcome, error).await?;
                }
            }
        }
    }

    fn asking(&self) -> Asking<'_> {
        Asking::new(self.patience, &self.answers)
    }

    /// Makes new items that carry the call which makes them; says of each whether this call made it.
    pub(crate) async fn insert(
        &self,
        items: Vec<(Place, Item)>,
        is_ours: impl Fn(&Item) -> bool + Send + Sync,
    ) -> Vec<Result<bool, StoreError>> {
        let mut answers: Vec<Option<Result<bool, StoreError>>> = items.iter().map(|_| None).collect();
        // Those that are not answered yet, each with whether an attempt may have made it.
        let mut open: Vec<(usize, bool)> = (0..items.len()).map(|index| (index, false)).collect();
        let mut asking = self.asking();
        while !open.is_empty() {
            let asked: Vec<(Place, Item)> =
                open.iter().filter_map(|(index, _)| items.get(*index).cloned()).collect();
            let said = self.table.insert(&asked).await;
            let (mut left, mut worst) = (Vec::new(), None);
            for ((index, unknown), said) in open.into_iter().zip(said) {
                let answer = match said {
                    Ok(false) if unknown => self.see_whose(items.get(index), &is_ours).await,
                    Ok(made) => {
                        asking.answered();
                        Ok(made)
                    }
                    Err(failure) => {
                        let unknown = unknown || failure.outcome == Outcome::Unknown;
                        if failure.outcome != Outcome::Refused {
                            worst = Some(failure.outcome);
                            left.push((index, unknown));
                        }
                        Err(if unknown { not_known(failure.error) } else { failure.error })
                    }
                };
                if let Some(place) = answers.get_mut(index) {
                    *place = Some(answer);
                }
            }
            open = left;
            let Some(outcome) = worst else { break };
            let unknown = open.iter().any(|(_, unknown)| *unknown);
            if !asking.goes_on(outcome, unknown).await {
                break;
            }
        }
        let unasked = || Err(StoreError::new(StoreErrorKind::Io, "the database did not answer for all"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(unasked)).collect()
    }

    /// Whether an item that is there was made by an attempt of this call, whose answer was lost.
    async fn see_whose(
        &self,
        item: Option<&(Place, Item)>,
        is_ours: &(impl Fn(&Item) -> bool + Send + Sync),
    ) -> Result<bool, StoreError> {
        let Some((place, _)) = item else { return Ok(false) };
        let found = self.get(std::slice::from_ref(place)).await.map_err(not_known)?;
        Ok(found.get(place).is_some_and(is_ours))
    }

    /// Puts items into their places, however many; no place twice.
    pub(crate) async fn put(&self, items: &[(Place, Item)]) -> Result<(), StoreError> {
        let asked = items.chunks(T::PUTS_MAX).map(|some| self.ask(|| self.table.put(some)));
        super::each(asked).await.map(drop)
    }

    pub(crate) async fn put_one(&self, place: Place, item: Item) -> Result<(), StoreError> {
        self.put(&[(place, item)]).await
    }

    /// Changes items, however many; says of each whether it was as expected.
    pub(crate) async fn change(&self, changes: &[(Place, Change)]) -> Result<Vec<bool>, StoreError> {
        let asked = changes.chunks(T::CHANGES_MAX).map(|some| self.ask(|| self.table.change(some)));
        Ok(super::each(asked).await?.into_iter().flatten().collect())
    }

    pub(crate) async fn change_one(&self, place: Place, change: Change) -> Result<bool, StoreError> {
        Ok(self.change(&[(place, change)]).await?.contains(&true))
    }

    pub(crate) async fn remove(
        &self,
        place: &Place,
        only: Option<(&'static str, u64)>,
    ) -> Result<(), StoreError> {
        self.ask(|| self.table.remove(place, only)).await
    }

    /// Gets items, however many.
    pub(crate) async fn get(&self, places: &[Place]) -> Result<HashMap<Place, Item>, StoreError> {
        let mut places = places.to_vec();
        places.sort_unstable();
        places.dedup();
        let asked = places.chunks(super::limits::GET_MAX).map(|some| self.ask(|| self.table.get(some)));
        Ok(super::each(asked).await?.into_iter().flatten().collect())
    }

    pub(crate) async fn get_one(&self, place: &Place) -> Result<Option<Item>, StoreError> {
        Ok(self.get(std::slice::from_ref(place)).await?.remove(place))
    }

    pub(crate) async fn read(&self, range: &Range) -> Result<Rows, StoreError> {
        self.ask(|| self.table.read(range)).await
    }

    /// Reads a range to its end, however many items it has.
    pub(crate) async fn read_all(&self, range: Range) -> Result<Sorted, StoreError> {
        let range = Range { limit: usize::MAX, ..range };
        let first = self.read(&range).await?;
        self.read_rest(range, first).await
    }

    /// Reads the rest of a range, of which some was read.
    async fn read_rest(
        &self,
        mut range: Range,
        Rows { mut rows, mut more }: Rows,
    ) -> Result<Sorted, StoreError> {
        while more {
            if let Some((sort, _)) = rows.last() {
                range.from = behind(sort);
            }
            let next = self.read(&range).await?;
            more = next.more;
            rows.extend(next.rows);
        }
        Ok(rows)
    }

    /// Reads ranges to their ends, oldest first; no two are of one partition.
    pub(crate) async fn read_each(&self, ranges: Vec<Range>) -> Result<Vec<Sorted>, StoreError> {
        let asked = ranges.chunks(T::RANGES_MAX).map(|some| self.ask(|| self.table.read_each(some)));
        let first: Vec<Rows> = super::each(asked).await?.into_iter().flatten().collect();
        super::each(ranges.into_iter().zip(first).map(|(range, first)| self.read_rest(range, first))).await
    }
}

/// The first sort key behind another.
pub(crate) fn behind(sort: &[u8]) -> Vec<u8> {
    [sort, &[0]].concat()
}
