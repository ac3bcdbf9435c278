//! Lists whose items are found by their id.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Deref;
use std::slice;

use foldhash::fast::RandomState;
use serde::{Deserialize, Deserializer};

/// What has an id.
pub trait HasId {
    /// Its id.
    type Id: Clone + Eq + Hash;

    /// Its id.
    fn id(&self) -> &Self::Id;
}

/// Items in the order they were declared in, each found by its id at once: every usage asks for its meter and plan, and
/// there may be thousands. Of items with the same id the first is found; a catalog that is checked has none.
#[derive(Clone, Debug)]
pub struct Listed<T: HasId> {
    items: Vec<T>,
    places: HashMap<T::Id, usize, RandomState>,
}

impl<T: HasId> Listed<T> {
    /// The item with an id.
    #[must_use]
    pub fn find(&self, id: &T::Id) -> Option<&T> {
        self.items.get(*self.places.get(id)?)
    }

    /// Adds items behind the others.
    pub(super) fn extend(&mut self, items: impl IntoIterator<Item = T>) {
        for item in items {
            self.places.entry(item.id().clone()).or_insert(self.items.len());
            self.items.push(item);
        }
    }
}

impl<T: HasId> Deref for Listed<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T: HasId> Default for Listed<T> {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl<T: HasId + PartialEq> PartialEq for Listed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
    }
}

impl<T: HasId + Eq> Eq for Listed<T> {}

impl<T: HasId> From<Vec<T>> for Listed<T> {
    fn from(items: Vec<T>) -> Self {
        let mut listed = Self { items: Vec::with_capacity(items.len()), places: HashMap::default() };
        listed.extend(items);
        listed
    }
}

impl<T: HasId> IntoIterator for Listed<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T: HasId> IntoIterator for &'a Listed<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<'de, T: HasId + Deserialize<'de>> Deserialize<'de> for Listed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}
