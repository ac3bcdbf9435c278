//! Which trace the cause of a notice belongs to: what webhooks carry on.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use tollgate_domain::{Amount, Entry, EntryKind, MeterId, OrgId, Quantity, ScopePath, UsageKey, UserId};

use crate::limits::TRACES_MAX;

/// What caused a notice of an org, as both its entry in the ledger and its request know it, the request before it is decided on:
/// a notice can be on its way before the answer is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The usage or hold under a key.
    Usage(UsageKey),
    /// A usage or hold that was refused. Its entry has no key, so it is known by what was asked.
    Refusal {
        /// By whom.
        user: Option<UserId>,
        /// Where below the org.
        path: Option<ScopePath>,
        /// Of which meter.
        meter: MeterId,
        /// How much.
        quantity: Quantity,
    },
    /// Credit that was added.
    TopUp {
        /// On what.
        meter: MeterId,
        /// How much.
        amount: Amount,
        /// The caller's id of it.
        key: Option<UsageKey>,
    },
}

impl Cause {
    /// What caused an entry; `None`: nothing that carries a trace on.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        Some(match &entry.kind {
            EntryKind::Used(used) => Self::Usage(used.key.clone()),
            EntryKind::Held(held) => Self::Usage(held.hold.key.clone()),
            EntryKind::HoldEnded(ended) => Self::Usage(ended.key.clone()),
            EntryKind::Refused { user, path, meter, quantity, .. } => Self::Refusal {
                user: user.clone(),
                path: path.as_deref().cloned(),
                meter: meter.clone(),
                quantity: *quantity,
            },
            EntryKind::ToppedUp(topped_up) => Self::TopUp {
                meter: topped_up.meter.clone(),
                amount: topped_up.grant.amount,
                key: topped_up.grant.key.clone(),
            },
            _ => return None,
        })
    }
}

/// The traces of the latest causes that came with one. In memory alone: after a restart, and on another server, a message goes
/// without.
#[derive(Debug, Default)]
pub struct Traces(Mutex<Latest>);

#[derive(Debug, Default)]
struct Latest {
    by_cause: HashMap<(OrgId, Cause), String>,
    /// From the oldest on.
    order: VecDeque<(OrgId, Cause)>,
}

impl Traces {
    /// Remembers the header `traceparent` of a cause.
    pub fn note(&self, org: &OrgId, cause: Cause, traceparent: &str) {
        let cause = (org.clone(), cause);
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.by_cause.insert(cause.clone(), traceparent.to_owned()).is_some() {
            return;
        }
        latest.order.push_back(cause);
        if latest.order.len() > TRACES_MAX
            && let Some(oldest) = latest.order.pop_front()
        {
            latest.by_cause.remove(&oldest);
        }
    }

    /// The header of a cause, if it is remembered.
    pub(crate) fn find(&self, org: &OrgId, cause: &Cause) -> Option<String> {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.by_cause.get(&(org.clone(), cause.clone())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered() {
        let (traces, org) = (Traces::default(), OrgId::new("acme").expect("an id"));
        let key = |number: usize| Cause::Usage(UsageKey::new(&format!("k{number}")).expect("a key"));
        for number in 0..=TRACES_MAX {
            traces.note(&org, key(number), "first");
            traces.note(&org, key(number), "retry");
        }
        assert_eq!(traces.find(&org, &key(0)), None);
        for number in [1, TRACES_MAX] {
            assert_eq!(traces.find(&org, &key(number)).as_deref(), Some("retry"), "{number}");
        }
        assert_eq!(traces.find(&OrgId::new("globex").expect("an id"), &key(1)), None);
    }
}
