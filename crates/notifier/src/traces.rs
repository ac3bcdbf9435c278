//! Which trace some usage belongs to: what webhooks carry on.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use tollgate_domain::{OrgId, UsageKey};

use crate::limits::TRACES_MAX;

/// The traces of the latest usages that came with one. In memory alone: after a restart, and on another server, a message goes
/// without.
#[derive(Debug, Default)]
pub struct Traces(Mutex<Latest>);

#[derive(Debug, Default)]
struct Latest {
    by_usage: HashMap<(OrgId, UsageKey), String>,
    /// From the oldest on.
    order: VecDeque<(OrgId, UsageKey)>,
}

impl Traces {
    /// Remembers the header `traceparent` of the usage under a key.
    pub fn note(&self, org: &OrgId, key: &UsageKey, traceparent: &str) {
        let usage = (org.clone(), key.clone());
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.by_usage.insert(usage.clone(), traceparent.to_owned()).is_some() {
            return;
        }
        latest.order.push_back(usage);
        if latest.order.len() > TRACES_MAX
            && let Some(oldest) = latest.order.pop_front()
        {
            latest.by_usage.remove(&oldest);
        }
    }

    /// The header of the usage under a key, if it is remembered.
    pub(crate) fn find(&self, org: &OrgId, key: &UsageKey) -> Option<String> {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.by_usage.get(&(org.clone(), key.clone())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered() {
        let (traces, org) = (Traces::default(), OrgId::new("acme").expect("an id"));
        let key = |number: usize| UsageKey::new(&format!("k{number}")).expect("a key");
        for number in 0..=TRACES_MAX {
            traces.note(&org, &key(number), "first");
            traces.note(&org, &key(number), "retry");
        }
        assert_eq!(traces.find(&org, &key(0)), None);
        for number in [1, TRACES_MAX] {
            assert_eq!(traces.find(&org, &key(number)).as_deref(), Some("retry"), "{number}");
        }
        assert_eq!(traces.find(&OrgId::new("globex").expect("an id"), &key(1)), None);
    }
}
