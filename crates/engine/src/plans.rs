//! What a new catalog must respect, found out beside the writer: it takes a look at all organizations, during which
//! decisions go on.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tollgate_domain::catalog::Meter;
use tollgate_domain::{
    Actor, ApplyCatalog, Catalog, MeterId, OrgId, PlanId, SystemCommand, SystemDenial, decide_system,
    read_by_system,
};
use tollgate_storage::{Row, Scan, Store};

use crate::limits::{CATALOG_PAGE, CONFLICT_ROUNDS_MAX, ORG_PAGE, PLANS_IN_USE_NAMED_MAX, RETIRED_MIN};
use crate::{CatalogInForce, Engine, EngineError};

/// When each plan was last given to an org, by a count of all such commands.
#[derive(Debug, Default)]
pub(crate) struct PlansGiven(Mutex<Given>);

#[derive(Debug, Default)]
struct Given {
    count: u64,
    last: HashMap<PlanId, u64>,
}

impl PlansGiven {
    fn given(&self) -> MutexGuard<'_, Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers plans that orgs were given, once that is in the store.
    pub(crate) fn add<'a>(&self, plans: impl Iterator<Item = &'a PlanId>) {
        for plan in plans {
            let mut given = self.given();
            given.count += 1;
            let count = given.count;
            given.last.insert(plan.clone(), count);
        }
    }

    fn count(&self) -> u64 {
        self.given().count
    }

    /// Whether an org was given one of some plans after a count.
    pub(crate) fn any_since(&self, guard: &PlansGuard) -> bool {
        let given = self.given();
        guard.removed.iter().any(|plan| given.last.get(plan).is_some_and(|last| *last > guard.count))
    }
}

/// What must still hold when a catalog is applied: that no org was given one of the plans it removes since they were
/// looked through.
#[derive(Debug)]
pub(crate) struct PlansGuard {
    removed: Vec<PlanId>,
    count: u64,
}

impl<S: Store> Engine<S> {
    /// Brings a catalog into force; again, when what it must respect changed while that was found out.
    pub(crate) async fn apply_catalog(
        &self,
        actor: &Actor,
        apply: &ApplyCatalog,
    ) -> Result<Result<u32, SystemDenial>, EngineError> {
        for _ in 0..CONFLICT_ROUNDS_MAX {
            let (informed, guard) = self.informed(apply).await?;
            if let Some(denial) = self.denial_of_shared(&informed, &guard) {
                return Ok(Err(denial));
            }
            let command = SystemCommand::ApplyCatalog(informed);
            match self.ask_system(actor, command, Some(guard)).await? {
                Err(SystemDenial::CatalogMoved) => {}
                decision => return Ok(decision),
            }
        }
        Err(EngineError::Contended)
    }

    /// What [`Self::apply_catalog`] would be answered. The writer has no part in it.
    pub(crate) async fn check_catalog(
        &self,
        actor: &Actor,
        check: &ApplyCatalog,
    ) -> Result<Result<u32, SystemDenial>, EngineError> {
        let (informed, guard) = self.informed(check).await?;
        if let Some(denial) = self.denial_of_shared(&informed, &guard) {
            return Ok(Err(denial));
        }
        let command = SystemCommand::CheckCatalog(informed);
        let records = self.system(&read_by_system(&command)).await?;
        Ok(decide_system(&records, self.clock().now(), actor, &command).decision)
    }

    /// Of a catalog that lacks plans: other processes on the store may give them to orgs until they have read that nobody new
    /// gets them, so they are retired first.
    fn denial_of_shared(&self, informed: &ApplyCatalog, guard: &PlansGuard) -> Option<SystemDenial> {
        let in_force = self.catalog();
        let is_first = in_force.version == 0;
        if !self.store().capabilities().shared || is_first || !informed.plans_in_use.is_empty() {
            return None;
        }
        let age = self.clock().now().duration_since(in_force.since);
        let is_known = age.unsigned_abs() >= RETIRED_MIN && age.is_positive();
        let retired =
            |plan: &&PlanId| is_known && in_force.declared.plan(plan).is_none_or(|plan| plan.retired);
        let plans: Vec<PlanId> = guard.removed.iter().filter(|plan| !retired(plan)).cloned().collect();
        (!plans.is_empty()).then_some(SystemDenial::PlansNotRetired(plans))
    }

    async fn informed(&self, apply: &ApplyCatalog) -> Result<(ApplyCatalog, PlansGuard), EngineError> {
        // Counted first: what is given after it may or may not be seen below.
        let count = self.plans_given.count();
        let in_force = self.catalog();
        let mut informed =
            ApplyCatalog { after: Some(in_force.version), ..ApplyCatalog::new(apply.text.clone()) };
        let mut guard = PlansGuard { removed: Vec::new(), count };
        // One that cannot be read is refused for that.
        if let Ok(next) = Catalog::from_toml(&apply.text) {
            let plans = in_force.catalog.plans.iter().map(|plan| &plan.id);
            guard.removed = plans.filter(|plan| next.plan(plan).is_none()).cloned().collect();
            informed.plans_in_use = self.plans_in_use(&guard.removed).await?;
            informed.former_meters = self.former_meters(&in_force, &next).await?;
        }
        Ok((informed, guard))
    }

    /// Orgs that have one of some plans. All orgs are read, but only if there is such a plan.
    async fn plans_in_use(&self, removed: &[PlanId]) -> Result<Vec<(PlanId, OrgId)>, EngineError> {
        let (mut found, now) = (Vec::new(), self.clock().now());
        let mut cursor = None;
        while !removed.is_empty() && found.len() < PLANS_IN_USE_NAMED_MAX {
            let page = self.scan(&Scan::Orgs, cursor.as_ref(), ORG_PAGE).await?;
            for row in page.rows {
                let Row::Org(org) = row else { continue };
                let in_use = |plan: &&PlanId| org.plans_in_use(now).any(|used| used == *plan);
                found.extend(removed.iter().filter(in_use).map(|plan| (plan.clone(), org.id.clone())));
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
        found.truncate(PLANS_IN_USE_NAMED_MAX);
        Ok(found)
    }

    /// The meters of a new catalog as the latest one that had them says. All are read, but only if there is a meter that
    /// the one in force has not.
    async fn former_meters(
        &self,
        in_force: &CatalogInForce,
        next: &Catalog,
    ) -> Result<Vec<Meter>, EngineError> {
        let in_force = &in_force.catalog;
        let ids = next.meters.iter().map(|meter| &meter.id);
        let (known, new): (Vec<_>, Vec<_>) = ids.partition(|id| in_force.meter(id).is_some());
        let mut found: BTreeMap<MeterId, Meter> = BTreeMap::new();
        let mut cursor = None;
        while !new.is_empty() {
            let page = self.scan(&Scan::Catalogs, cursor.as_ref(), CATALOG_PAGE).await?;
            for row in page.rows {
                let Row::Catalog(version) = row else { continue };
                let Ok(catalog) = Catalog::from_toml(&version.text) else { continue };
                let meters = catalog.meters.into_iter().filter(|meter| new.contains(&&meter.id));
                found.extend(meters.map(|meter| (meter.id.clone(), meter)));
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let known = known.into_iter().filter_map(|id| in_force.meter(id).cloned());
        Ok(known.chain(found.into_values()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_was_given_since_is_noticed_and_no_other() {
        let plan = |id: &str| PlanId::new(id).expect("an id");
        let given = PlansGiven::default();
        given.add([plan("a"), plan("b")].iter());
        let guard = |removed: &[&str]| PlansGuard {
            removed: removed.iter().map(|id| plan(id)).collect(),
            count: given.count(),
        };
        let guards = [guard(&["a"]), guard(&["b", "c"]), guard(&["c"]), guard(&[])];
        assert!(guards.iter().all(|guard| !given.any_since(guard)));
        given.add([plan("b"), plan("d")].iter());
        assert_eq!(guards.each_ref().map(|guard| given.any_since(guard)), [false, true, false, false]);
    }
}
