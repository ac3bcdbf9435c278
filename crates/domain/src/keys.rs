//! What is remembered of callers' keys, as far as it was looked up.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::{KeyRecord, KeySpace, UsageKey};

/// Keys that were looked up since the last time they were forgotten: one in most orgs, thousands where an org sends a batch.
/// So one lies in place, a few are looked through, and many are found by their hash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    few: SmallVec<[(KeySpace, UsageKey, Option<KeyRecord>); 1]>,
    many: HashMap<(KeySpace, UsageKey), Option<KeyRecord>, RandomState>,
}

/// How many are looked through.
const FEW: usize = 8;

impl Keys {
    /// What is remembered of a key; `None`: it was not looked up.
    pub(crate) fn get(&self, space: KeySpace, key: &UsageKey) -> Option<&Option<KeyRecord>> {
        if self.many.is_empty() {
            let known = self.few.iter().find(|(of, known, _)| known == key && *of == space);
            return known.map(|(_, _, record)| record);
        }
        self.many.get(&(space, key.clone()))
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, space: KeySpace, key: &UsageKey) -> Option<&mut Option<KeyRecord>> {
        if self.many.is_empty() {
            let known = self.few.iter_mut().find(|(of, known, _)| known == key && *of == space);
            return known.map(|(_, _, record)| record);
        }
        self.many.get_mut(&(space, key.clone()))
    }

    /// Takes what is remembered of a key that was not looked up.
    pub(crate) fn insert(&mut self, space: KeySpace, key: UsageKey, record: Option<KeyRecord>) {
        if self.many.is_empty() && self.few.len() < FEW {
            self.few.push((space, key, record));
            return;
        }
        let few = std::mem::take(&mut self.few);
        self.many.extend(few.into_iter().map(|(space, key, record)| ((space, key), record)));
        self.many.insert((space, key), record);
    }

    /// Whether none was looked up.
    pub(crate) fn is_empty(&self) -> bool {
        self.few.is_empty() && self.many.is_empty()
    }

    /// Forgets a key.
    pub(crate) fn remove(&mut self, space: KeySpace, key: &UsageKey) {
        self.few.retain(|(of, known, _)| known != key || *of != space);
        self.many.remove(&(space, key.clone()));
    }

    /// Forgets all, and the room they took.
    pub(crate) fn clear(&mut self) {
        if self.few.spilled() || !self.many.is_empty() {
            *self = Self::default();
        }
        self.few.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Amount, Standing, Timestamp};

    fn record(number: usize) -> KeyRecord {
        let entry = u64::try_from(number).expect("a number");
        let standing = Standing {
            granted: Amount::ZERO,
            used: Amount::ZERO,
            held: Amount::ZERO,
            remaining: None,
            user_used: None,
        };
        KeyRecord { entry, fingerprint: 0, at: Timestamp::UNIX_EPOCH, standing, reversed_by: None }
    }

    /// However many there are, each is known by its space and key.
    #[test]
    fn few_and_many_keys_are_known_alike() {
        for count in [1, FEW - 1, FEW, FEW + 1, 10 * FEW] {
            let mut keys = Keys::default();
            let key = |number: usize| UsageKey::new(&format!("key {number}")).expect("an id");
            for number in 0..count {
                keys.insert(KeySpace::Use, key(number), None);
                *keys.get_mut(KeySpace::Use, &key(number)).expect("just taken") = Some(record(number));
                keys.insert(KeySpace::TopUp, key(number), None);
            }
            for number in 0..count {
                assert_eq!(keys.get(KeySpace::Use, &key(number)), Some(&Some(record(number))));
                assert_eq!(keys.get(KeySpace::TopUp, &key(number)), Some(&None));
            }
            assert_eq!(keys.get(KeySpace::Use, &key(count)), None);
            keys.remove(KeySpace::TopUp, &key(0));
            assert_eq!(keys.get(KeySpace::TopUp, &key(0)), None);
            assert!(keys.get(KeySpace::Use, &key(0)).is_some(), "spaces are apart");
            keys.clear();
            assert_eq!(keys.get(KeySpace::Use, &key(0)), None);
        }
    }
}
