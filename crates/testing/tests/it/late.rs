//! Shipping by an engine that was held up, while another one has its work by now.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tollgate_domain::{
    Actor, Amount, ApplyCatalog, MeterId, OrgCommand, OrgDecision, OrgId, PutOrg, Quantity, Shipment,
    ShipmentId, SystemCommand, UsageKey, Use,
};
use tollgate_engine::{Carrier, Engine};
use tollgate_storage::Store;

use crate::shared::Replicas;

const CATALOG: &str = r#"
[[meters]]
id = "seats"
name = "Seats"
unit = "seat"
sink = { product = "seat", unit = "day" }

[[plans]]
id = "free"
name = "Free"
"#;

/// The lease of shipping.
const SHIPPING: &str = "shipping";

/// Takes each shipment once, by its name.
#[derive(Default)]
struct Processor {
    taken: Mutex<BTreeMap<ShipmentId, Shipment>>,
    brought: AtomicU32,
}

impl Processor {
    fn take(&self, shipment: &Shipment) {
        self.brought.fetch_add(1, Ordering::SeqCst);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let known = taken.entry(shipment.id.clone()).or_insert_with(|| shipment.clone());
        assert_eq!(known, shipment, "what comes again is the same");
    }

    /// The amounts of all shipments, in the order of their numbers.
    fn amounts(&self) -> Vec<Amount> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shipments: Vec<&Shipment> = taken.values().collect();
        shipments.sort_by_key(|shipment| shipment.number);
        let lines = shipments.into_iter().flat_map(|shipment| &shipment.lines);
        lines.map(|line| line.amount).collect()
    }
}

/// One engine's way to the processor. It may be held up there, before the processor hears of anything.
struct Way {
    of: &'static str,
    processor: Arc<Processor>,
    names: AtomicU32,
    held_up: Option<Arc<HeldUp>>,
}

#[derive(Default)]
struct HeldUp {
    begun: Notify,
    goes_on: Notify,
}

impl Carrier for Way {
    type Error = ();

    fn name(&self) -> Result<ShipmentId, ()> {
        let number = self.names.fetch_add(1, Ordering::SeqCst);
        ShipmentId::new(&format!("{}-{number}", self.of)).map_err(drop)
    }

    async fn bring(&self, shipment: &Shipment) -> Result<(), ()> {
        if let Some(held_up) = &self.held_up {
            held_up.begun.notify_one();
            held_up.goes_on.notified().await;
        }
        self.processor.take(shipment);
        Ok(())
    }
}

/// Whoever had the work of shipping, was held up on its way and goes on when another has the work ships nothing twice, and holds
/// nothing up.
pub(crate) fn a_late_shipper_ships_nothing_twice<S: Store>(replicas: Replicas<S>) {
    let [first, second] = replicas.engines() else { panic!("two engines") };
    let acme = OrgId::new("acme").expect("an id");
    let apply = SystemCommand::ApplyCatalog(ApplyCatalog::new(CATALOG.to_owned()));
    replicas.block_on(first.submit_system(&Actor::Local, apply)).expect("a decision").expect("a catalog");
    replicas.block_on(second.follow()).expect("follows");
    let put = OrgCommand::Put(PutOrg { name: None, zone: None, metadata: None });
    replicas.block_on(first.submit(&Actor::Local, acme.clone(), put)).expect("a decision");
    let record = |engine: &Arc<Engine<S>>, key: &str, seats: &str| {
        let usage = Use {
            user: None,
            path: None,
            meter: MeterId::new("seats").expect("an id"),
            quantity: Quantity::parse(seats).expect("a quantity"),
            key: UsageKey::new(key).expect("a key"),
            occurred_at: None,
            properties: BTreeMap::new(),
        };
        let recorded = engine.submit(&Actor::Local, acme.clone(), OrgCommand::Record(usage));
        let recorded = replicas.block_on(recorded).expect("a decision");
        assert!(matches!(recorded, OrgDecision::Record(Ok(_))), "{recorded:?}");
    };
    record(first, "a", "5");
    let (processor, days) = (Arc::new(Processor::default()), i32::MIN..=i32::MAX);
    let way = |of, held_up| Way { of, processor: Arc::clone(&processor), names: AtomicU32::new(0), held_up };
    // The lease ends while its holder is on the way.
    let claim =
        |holder, time| replicas.block_on(first.store().claim(SHIPPING, holder, time)).expect("a claim");
    let before = claim(1, Duration::from_millis(1)).expect("nobody has it");
    let held_up = Arc::new(HeldUp::default());
    let late = {
        let (engine, way, days) = (Arc::clone(first), way("first", Some(Arc::clone(&held_up))), days.clone());
        replicas.spawn(async move { engine.ship(&Actor::Shipper, &days, &way).await })
    };
    replicas.block_on(held_up.begun.notified());
    let after = std::iter::repeat_with(|| claim(2, Duration::from_mins(1))).flatten().next();
    assert_eq!(after, Some(before + 1), "the next holder has the next number");
    let ship = |engine: &Arc<Engine<S>>, way: &Way| {
        replicas.block_on(engine.ship(&Actor::Shipper, &days, way)).expect("ships")
    };
    let other = way("second", None);
    assert_eq!(ship(second, &other), 1, "what was made before is brought, under its name");
    record(second, "b", "7");
    assert_eq!(ship(second, &other), 1);
    // It goes on: what it brings is known there, and what it wants to note was noted.
    held_up.goes_on.notify_one();
    replicas.block_on(late).expect("it ends").expect("it is told nothing else");
    assert_eq!(processor.amounts(), [5, 7].map(Amount::from_whole));
    assert_eq!(processor.brought.load(Ordering::SeqCst), 3, "one came twice, and was known");
    assert_eq!(claim(1, Duration::from_mins(1)), None, "it has the work no more");
    assert_eq!(ship(first, &way("first again", None)), 0, "nothing is left");
    let (unsent, _) = replicas.block_on(second.unsent(None, &days, None)).expect("a look");
    assert!(unsent.is_empty(), "{unsent:?}");
    replicas.shut_down();
}
