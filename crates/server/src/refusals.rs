//! Which organizations were refused, and when last: since the server was started, and as many as there is room for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tollgate_domain::{Denial, Org, OrgId, Timestamp, Window};

use crate::limits::REFUSED_ORGS_MAX;

/// The latest refusal of each organization.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<OrgId, Timestamp>>);

impl Refusals {
    /// Notes a refusal of an organization that is known. What was wrong with the request itself is none.
    pub(crate) fn note(&self, org: &OrgId, denial: &Denial, at: Timestamp) {
        if !matters(denial) {
            return;
        }
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= REFUSED_ORGS_MAX && !refused.contains_key(org) {
            // No day anywhere is longer than two of 24 hours.
            refused.retain(|_, last| at.as_second() - last.as_second() < 2 * 86_400);
            if refused.len() >= REFUSED_ORGS_MAX {
                return;
            }
        }
        refused.insert(org.clone(), at);
    }

    /// Whether an organization was refused on the day of a moment, by its calendar.
    pub(crate) fn today(&self, org: &Org, now: Timestamp) -> bool {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let day = |at| org.zone.period_at(Window::Day, at);
        refused.get(&org.id).is_some_and(|last| day(*last) == day(now))
    }
}

const fn matters(denial: &Denial) -> bool {
    match denial {
        Denial::NoPlan
        | Denial::TrialEnded
        | Denial::OutOfCredit(_)
        | Denial::OrgLimitReached(_)
        | Denial::UserLimitReached(_) => true,
        Denial::KeyReused
        | Denial::KeyReversed
        | Denial::UnknownMeter
        | Denial::UnknownProperty(_)
        | Denial::UnknownOrg
        | Denial::UserRequired => false,
    }
}
