//! Orgs whose images are wanted before others, by lists, which show what is in images; and which entries lists show.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use tollgate_domain::{EntryKind, OrgId};

/// Notes of orgs that were saved since are let go of once there are so many more of them than others.
const PASSED_OVER_MAX: usize = 1_024;

/// Orgs of which something changed that their images lack: in the order in which that was noted, each once.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// With the number of the note. One that was saved since is passed over.
    queue: VecDeque<(u64, OrgId)>,
    orgs: HashMap<OrgId, u64, RandomState>,
    notes: u64,
}

impl Noted {
    /// Notes an org, unless it is noted.
    pub(crate) fn note(&mut self, org: &OrgId) {
        if self.orgs.contains_key(org) {
            return;
        }
        self.notes += 1;
        self.orgs.insert(org.clone(), self.notes);
        self.queue.push_back((self.notes, org.clone()));
        if self.queue.len() > 2 * self.orgs.len() + PASSED_OVER_MAX {
            let Self { queue, orgs, .. } = self;
            queue.retain(|(note, org)| orgs.get(org) == Some(note));
        }
    }

    /// How many notes there were so far.
    pub(crate) const fn notes(&self) -> u64 {
        self.notes
    }

    /// The next org, up to a note: it is noted no more.
    pub(crate) fn next(&mut self, until: u64) -> Option<OrgId> {
        while let Some((note, org)) = self.queue.pop_front_if(|(note, _)| *note <= until) {
            if self.orgs.get(&org) == Some(&note) {
                self.orgs.remove(&org);
                return Some(org);
            }
        }
        None
    }

    /// The image of an org is up to date.
    pub(crate) fn saved(&mut self, org: &OrgId) {
        self.orgs.remove(org);
    }
}

/// Whether lists of orgs show what an entry changed.
pub(crate) const fn is_more_than_usage(kind: &EntryKind) -> bool {
    !matches!(
        kind,
        EntryKind::Used(_)
            | EntryKind::Refused { .. }
            | EntryKind::Reversed { .. }
            | EntryKind::Held(_)
            | EntryKind::HoldEnded(_)
    )
}

/// Whether an entry may change what is unsent.
pub(crate) fn changes_unsent(kind: &EntryKind) -> bool {
    match kind {
        EntryKind::Used(used) => used.sink.is_some(),
        EntryKind::Reversed { .. } | EntryKind::Shipped { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(number: usize) -> OrgId {
        OrgId::new(&format!("org-{number}")).expect("an id")
    }

    #[test]
    fn orgs_come_once_in_the_order_of_their_notes() {
        let mut noted = Noted::default();
        [1, 2, 1, 3].map(org).iter().for_each(|org| noted.note(org));
        noted.saved(&org(2));
        let until = noted.notes();
        [2, 4].map(org).iter().for_each(|org| noted.note(org));
        assert_eq!([(); 3].map(|()| noted.next(until)), [Some(org(1)), Some(org(3)), None]);
        assert_eq!([(); 3].map(|()| noted.next(u64::MAX)), [Some(org(2)), Some(org(4)), None]);
    }

    #[test]
    fn what_is_saved_by_others_takes_no_memory() {
        let mut noted = Noted::default();
        for round in 0..10 * PASSED_OVER_MAX {
            noted.note(&org(round % 3));
            noted.saved(&org(round % 3));
        }
        assert!(noted.queue.len() <= PASSED_OVER_MAX + 2, "{}", noted.queue.len());
        assert_eq!(noted.next(u64::MAX), None);
    }
}
