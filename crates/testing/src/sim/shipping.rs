//! The processor of shipments: it may not hear of one, take one and not be heard, and get one again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tollgate_domain::{Actor, Amount, EntryKind, OrgId, Shipment, ShipmentId, Sku};
use tollgate_engine::Carrier;

use super::World;
use super::faults::Fault;
use super::state::Found;
use crate::hold;

/// What the processor has taken.
#[derive(Debug, Default)]
pub(super) struct Processor {
    taken: Mutex<BTreeMap<ShipmentId, Shipment>>,
}

/// What was used of a SKU on a day.
type Sums = BTreeMap<(OrgId, i32, Sku), Amount>;

impl Processor {
    fn taken(&self) -> MutexGuard<'_, BTreeMap<ShipmentId, Shipment>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was used is what the processor has, each shipment taken once; and each org has settled what came of it.
    pub(super) fn check(&self, found: &Found) -> Result<(), String> {
        let (mut used, mut settled) = (Sums::new(), BTreeMap::new());
        for (org, entries) in &found.ledgers {
            for entry in entries {
                let (counted, sign) = match &entry.kind {
                    EntryKind::Used(counted) => (counted, 1),
                    EntryKind::Reversed { used, .. } => (used, -1),
                    EntryKind::Shipped { shipment, day, lines } => {
                        settled.insert((*shipment, *day, org.clone()), lines.clone());
                        continue;
                    }
                    _ => continue,
                };
                if let (Some(sku), Some(day)) = (&counted.sink, counted.day()) {
                    let amount = Amount::from_billionths(counted.quantity.amount().billionths() * sign);
                    *used.entry((org.clone(), day, sku.clone())).or_default() += amount;
                }
            }
        }
        let (mut sent, mut brought) = (Sums::new(), BTreeMap::new());
        for shipment in self.taken().values() {
            for line in &shipment.lines {
                let place = (line.org.clone(), shipment.day, line.sku.clone());
                *sent.entry(place).or_default() += line.amount;
                let place = (shipment.number, shipment.day, line.org.clone());
                let lines: &mut Vec<_> = brought.entry(place).or_default();
                lines.push((line.sku.clone(), line.amount));
            }
        }
        for sums in [&mut used, &mut sent] {
            sums.retain(|_, amount| !amount.is_zero());
        }
        hold!(used == sent, "used was {used:?}\nthe processor has {sent:?}");
        hold!(settled == brought, "settled was {settled:?}\nthe processor has {brought:?}");
        Ok(())
    }
}

/// Brings shipments to the processor.
pub(super) struct Trip(pub(super) Arc<World>);

impl Carrier for Trip {
    type Error = Fault;

    fn name(&self) -> Result<ShipmentId, Fault> {
        let tag = self.0.tags.fetch_add(1, Ordering::Relaxed);
        Ok(ShipmentId::new(&format!("shipment-{tag}")).expect("a name"))
    }

    async fn bring(&self, shipment: &Shipment) -> Result<(), Fault> {
        let world = &self.0;
        world.sim.sleep(world.sim.millis(0, 200)).await;
        if world.faults.fires(Fault::ShipmentLost) {
            return Err(Fault::ShipmentLost);
        }
        world.sim.trace(&format!("the processor gets {shipment:?}"));
        if let Some(before) = world.processor.taken().insert(shipment.id.clone(), shipment.clone()) {
            world.faults.count(Fault::ShipmentAgain, 1);
            if before != *shipment {
                world.log.wrong(format!("{before:?}\nwas sent again as {shipment:?}"));
            }
        }
        world.sim.sleep(world.sim.millis(0, 200)).await;
        if world.faults.fires(Fault::ShipmentAnswerLost) {
            return Err(Fault::ShipmentAnswerLost);
        }
        Ok(())
    }
}

impl World {
    /// Ships what is unsent, of one day or of all, for as long as there is patience.
    pub(super) async fn ship(self: &Arc<Self>) {
        let slot = self.any_slot();
        let Some(engine) = self.slots.get(slot).and_then(|slot| slot.engine()) else { return };
        let today = tollgate_domain::Zone::UTC.period_at(tollgate_domain::Window::Day, self.generator().at());
        let day = self.sim.chance(3_000).then_some(today.number);
        let days = day.map_or(i32::MIN..=i32::MAX, |day| day..=day);
        let ended = self
            .sim
            .within(self.sim.millis(300, 5_000), engine.ship(&Actor::Shipper, &days, &Trip(Arc::clone(self))))
            .await;
        self.faults.count(Fault::TimedOut, u64::from(ended.is_none()));
    }

    /// Without faults, what is unsent is shipped by every engine at once.
    pub(super) async fn ship_the_rest(self: &Arc<Self>, most: Duration) {
        for slot in &self.slots {
            let Some(engine) = slot.engine() else { continue };
            let world = Arc::clone(self);
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            self.sim.spawn(async move {
                let trip = Trip(Arc::clone(&world));
                match world
                    .sim
                    .within(most, engine.ship(&Actor::Shipper, &(i32::MIN..=i32::MAX), &trip))
                    .await
                {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        world.log.wrong(format!("without faults nothing is shipped: {error:?}"));
                    }
                    None => world.log.wrong(format!("without faults nothing is shipped within {most:?}")),
                }
                world.in_flight.fetch_sub(1, Ordering::Relaxed);
            });
        }
        if !self.settled(most).await {
            self.log.wrong(format!("without faults shipping does not end within {most:?}"));
        }
    }
}
