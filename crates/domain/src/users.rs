//! The users of a meter of an org, as far as they were looked up.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::UserId;

/// Something of each user. Many orgs have one user, who lies in place; the others are found by their hash.
#[derive(Clone, Debug)]
pub(crate) struct Users<T> {
    first: Option<(UserId, T)>,
    others: HashMap<UserId, T, RandomState>,
}

impl<T> Default for Users<T> {
    fn default() -> Self {
        Self { first: None, others: HashMap::default() }
    }
}

impl<T> Users<T> {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    /// Reads where a user would be looked for, which lies elsewhere than what is found there.
    pub(crate) fn warm(&self) -> bool {
        self.others.keys().next().is_some()
    }

    /// That of a user.
    pub(crate) fn get(&self, user: &UserId) -> Option<&T> {
        match &self.first {
            Some((first, value)) if first == user => Some(value),
            _ => self.others.get(user),
        }
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, user: &UserId) -> Option<&mut T> {
        match &mut self.first {
            Some((first, value)) if first == user => Some(value),
            _ => self.others.get_mut(user),
        }
    }

    /// Takes that of a user who was not looked up; of one who was, what is here stays.
    pub(crate) fn put(&mut self, user: UserId, value: T) -> &mut T {
        match &self.first {
            Some((first, _)) if *first != user => self.others.entry(user).or_insert(value),
            _ => &mut self.first.get_or_insert((user, value)).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_what_was_taken_first() {
        let mut users = Users::default();
        let user = |number: usize| UserId::new(&format!("user {number}")).expect("an id");
        for number in 0..20 {
            assert_eq!((users.len(), users.get(&user(number))), (number, None));
            users.put(user(number), number);
            users.put(user(number), 99);
            *users.get_mut(&user(number)).expect("just taken") += 100;
        }
        for number in 0..20 {
            assert_eq!(users.get(&user(number)), Some(&(number + 100)));
        }
        assert!(users.get_mut(&user(20)).is_none());
    }
}
