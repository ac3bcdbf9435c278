//! Which organizations were refused, and when last: since the server was started, and as many as there is room for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tollgate_domain::{Denial, Org, OrgId, Timestamp, Window};

use crate::app::App;
use crate::limits::REFUSED_ORGS_MAX;

/// Notes that a usage or hold was refused.
pub(crate) fn note_refusal(app: &App, org: &OrgId, denial: &Denial) {
    app.refusals.note(org, denial, app.engine.clock().now());
}

/// The latest refusal of each organization, and why.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<OrgId, (Timestamp, &'static str)>>);

impl Refusals {
    /// Notes a refusal of an organization that is known. What was wrong with the request itself is none.
    fn note(&self, org: &OrgId, denial: &Denial, at: Timestamp) {
        if !matters(denial) {
            return;
        }
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= REFUSED_ORGS_MAX && !refused.contains_key(org) {
            // No day anywhere is longer than two of 24 hours.
            refused.retain(|_, (last, _)| at.as_second() - last.as_second() < 2 * 86_400);
            if refused.len() >= REFUSED_ORGS_MAX {
                return;
            }
        }
        refused.insert(org.clone(), (at, denial.code()));
    }

    /// Whether an organization was refused on the day of a moment, by its calendar.
    pub(crate) fn today(&self, org: &Org, now: Timestamp) -> bool {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let day = |at| org.zone.period_at(Window::Day, at);
        refused.get(&org.id).is_some_and(|(last, _)| day(*last) == day(now))
    }

    /// The organizations that were refused last, when and why, the latest first.
    pub(crate) fn latest(&self, most: usize) -> Vec<(OrgId, Timestamp, &'static str)> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest: Vec<_> = refused.iter().map(|(org, (at, reason))| (org, *at, *reason)).collect();
        latest.sort_by_key(|(_, at, _)| std::cmp::Reverse(*at));
        latest.truncate(most);
        latest.into_iter().map(|(org, at, reason)| (org.clone(), at, reason)).collect()
    }
}

const fn matters(denial: &Denial) -> bool {
    match denial {
        Denial::NoPlan
        | Denial::TrialEnded
        | Denial::OutOfCredit(_)
        | Denial::OrgLimitReached(_)
        | Denial::PathLimitReached(_)
        | Denial::UserLimitReached(_) => true,
        Denial::KeyReused
        | Denial::KeyReversed
        | Denial::UnknownMeter
        | Denial::UnknownProperty(_)
        | Denial::UnknownOrg
        | Denial::UserRequired => false,
    }
}
