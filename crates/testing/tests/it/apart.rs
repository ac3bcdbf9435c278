//! Engines on one shared store whose clocks are apart.

use std::collections::BTreeMap;

use tollgate_domain::{
    Actor, Denial, MeterId, OrgCommand, OrgDecision, OrgId, PlanId, PutOrg, Quantity, SetPlan,
    SignedDuration, Timestamp, TopUp, TopUpExpiry, TopUpStart, UsageKey, Use,
};
use tollgate_engine::Clock;
use tollgate_storage::{Scan, Store};

use crate::shared::Replicas;

/// By the slow clock, by the fast one, and by the slow one again, which has not heard of any org yet.
const SLOW: usize = 0;
const FAST: usize = 1;
const COLD: usize = 2;

/// Engines that are asked one after the other.
struct Asked<S> {
    replicas: Replicas<S>,
    keys: std::cell::Cell<u32>,
}

impl<S: Store> Asked<S> {
    fn ask(&self, engine: usize, org: &OrgId, command: OrgCommand) -> OrgDecision {
        let asked = self.replicas.engines()[engine].submit(&Actor::Local, org.clone(), command);
        self.replicas.block_on(asked).expect("a decision")
    }

    /// Uses some reports; says when that was decided, or `None` if there is no credit left.
    fn uses(&self, engine: usize, org: &OrgId, reports: &str) -> Option<Timestamp> {
        self.keys.set(self.keys.get() + 1);
        let usage = Use {
            user: None,
            path: None,
            meter: reports_meter(),
            quantity: Quantity::parse(reports).expect("a quantity"),
            key: UsageKey::new(&format!("key {}", self.keys.get())).expect("a key"),
            occurred_at: None,
            properties: BTreeMap::new(),
        };
        match self.ask(engine, org, OrgCommand::Use(usage)) {
            OrgDecision::Use(Ok(allowed)) => Some(self.time_of(org, allowed.entry)),
            OrgDecision::Use(Err(denied)) if matches!(denied.denial, Denial::OutOfCredit(_)) => None,
            other => panic!("{other:?}"),
        }
    }

    /// Adds five reports; says when that was decided.
    fn tops_up(&self, engine: usize, org: &OrgId, expiry: TopUpExpiry) -> Timestamp {
        let top_up = TopUp {
            meter: reports_meter(),
            amount: Quantity::parse("5").expect("a quantity"),
            key: None,
            expiry,
            start: TopUpStart::Now,
            priority: 0,
            reason: None,
            metadata: BTreeMap::new(),
        };
        match self.ask(engine, org, OrgCommand::TopUp(top_up)) {
            OrgDecision::TopUp(Ok(topped_up)) => self.time_of(org, topped_up.entry),
            other => panic!("{other:?}"),
        }
    }

    /// Makes a change that matters to nothing; says when that was decided.
    fn changes(&self, engine: usize, org: &OrgId, name: &str) -> Timestamp {
        let put = PutOrg { name: Some(Some(name.to_owned())), zone: None, metadata: None };
        match self.ask(engine, org, OrgCommand::Put(put)) {
            OrgDecision::Change(Ok(changed)) => self.time_of(org, changed.entry.expect("an entry")),
            other => panic!("{other:?}"),
        }
    }

    fn time_of(&self, org: &OrgId, entry: u64) -> Timestamp {
        let entry = self.replicas.block_on(self.replicas.engines()[SLOW].entry(org, entry));
        entry.expect("a look").expect("the entry").at
    }

    /// What an engine says is left of the reports, and as of when.
    fn left(&self, engine: usize, org: &OrgId) -> (String, Timestamp) {
        let balance = self.replicas.block_on(self.replicas.engines()[engine].balance(org));
        let (_, balance) = balance.expect("a look").expect("the org");
        let left = balance.meters.iter().find(|(meter, _)| *meter == reports_meter());
        let left = left.and_then(|(_, meter)| meter.remaining).expect("a limited meter");
        (left.to_string(), balance.at)
    }
}

fn reports_meter() -> MeterId {
    MeterId::new("reports").expect("an id")
}

/// The time of an org stands still where a clock is up to five seconds behind its latest entry, and no further: three engines,
/// the second by the fast clock, the others by the slow one. Both clocks show `noon`.
pub(crate) fn decide_by_clocks_apart<S: Store>(
    replicas: Replicas<S>,
    slow: &Clock,
    fast: &Clock,
    noon: Timestamp,
) {
    let after = |millis: i64| noon + SignedDuration::from_millis(millis);
    let asked = Asked { replicas, keys: std::cell::Cell::new(0) };
    fast.set(after(2_000));

    // A top-up.
    let acme = asked.replicas.customer("topped up");
    assert_eq!(asked.uses(SLOW, &acme, "20"), Some(noon));
    assert_eq!(asked.uses(SLOW, &acme, "1"), None, "the plan has no more");
    assert_eq!(asked.tops_up(FAST, &acme, TopUpExpiry::Never), after(2_000));
    assert_eq!(asked.left(SLOW, &acme), ("5".to_owned(), after(2_000)));
    assert_eq!(
        asked.uses(SLOW, &acme, "1"),
        Some(after(2_000)),
        "what another engine granted is there at once"
    );
    slow.set(after(1_999));
    assert_eq!(asked.changes(SLOW, &acme, "a"), after(2_000));
    slow.set(after(2_001));
    assert_eq!(asked.changes(SLOW, &acme, "b"), after(2_001), "the clock has caught up");
    assert_eq!(asked.left(SLOW, &acme), ("4".to_owned(), after(2_001)));
    slow.set(noon);

    // From an image, without any entry since.
    let images = asked.replicas.engines()[FAST].scan(&Scan::Orgs, None, 10);
    asked.replicas.block_on(images).expect("images are kept");
    assert_eq!(asked.uses(COLD, &acme, "4"), Some(after(2_001)));

    // A plan.
    let planned = asked.replicas.customer("planned");
    assert_eq!(asked.uses(SLOW, &planned, "20"), Some(noon));
    let basic = PlanId::new("basic").expect("an id");
    let set = asked.ask(FAST, &planned, OrgCommand::SetPlan(SetPlan::now(basic)));
    assert!(matches!(set, OrgDecision::Change(Ok(_))), "{set:?}");
    assert_eq!(asked.uses(SLOW, &planned, "80"), Some(after(2_000)), "the plan is in force at once");

    // What has expired for one engine has expired for all.
    let expiring = asked.replicas.customer("expiring");
    assert_eq!(asked.uses(SLOW, &expiring, "20"), Some(noon));
    asked.tops_up(SLOW, &expiring, TopUpExpiry::At(after(3_000)));
    fast.set(after(3_000));
    slow.set(after(2_999));
    assert_eq!(asked.uses(SLOW, &expiring, "1"), Some(after(2_999)), "the last moment");
    assert_eq!(asked.changes(FAST, &expiring, "a"), after(3_000));
    assert_eq!(asked.uses(SLOW, &expiring, "1"), None);
    assert_eq!(asked.left(SLOW, &expiring), ("0".to_owned(), after(3_000)));
    slow.set(noon);

    // Five seconds apart, and a little more.
    let apart = asked.replicas.customer("apart");
    fast.set(after(5_000));
    assert_eq!(asked.changes(FAST, &apart, "a"), after(5_000));
    assert_eq!(asked.changes(SLOW, &apart, "b"), after(5_000));
    fast.set(after(5_001));
    assert_eq!(asked.changes(FAST, &apart, "c"), after(5_001));
    assert_eq!(asked.changes(SLOW, &apart, "d"), noon, "such a clock is wrong");

    // An hour ahead.
    let dragged = asked.replicas.customer("dragged");
    fast.set(after(3_600_000));
    assert_eq!(asked.uses(SLOW, &dragged, "20"), Some(noon));
    assert_eq!(asked.tops_up(FAST, &dragged, TopUpExpiry::Never), after(3_600_000));
    assert_eq!(asked.left(SLOW, &dragged), ("0".to_owned(), noon));
    assert_eq!(asked.uses(SLOW, &dragged, "1"), None, "in force from the moment at which it was stamped");
    assert_eq!(asked.changes(SLOW, &dragged, "a"), noon);
    slow.set(after(3_600_000));
    assert_eq!(asked.uses(SLOW, &dragged, "1"), Some(after(3_600_000)));
    asked.replicas.shut_down();
}
