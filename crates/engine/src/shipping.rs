//! Shipping: what is unsent goes to the processor, in shipments that are written down before they are sent.
//!
//! 1. The system writes a shipment down: its name and its exact lines.
//! 2. A carrier brings it, as often as it takes until the processor has it.
//! 3. Each org of it takes its lines off what is unsent; once, however often it is told to.
//! 4. The system notes that it was sent. Only then may the next one be made.
//!
//! Whoever finds a shipment that was made and not noted as sent begins at 2, with the same name and lines: after a crash,
//! after a failure, or on another server of the same store at the same time.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::RangeInclusive;

use tollgate_domain::limits::SHIPMENT_LINES_MAX;
use tollgate_domain::{
    Actor, MakeShipment, OrgCommand, OrgId, Record, RecordKey, Settle, Shipment, ShipmentId, ShipmentLine,
    SystemCommand, SystemDenial,
};
use tollgate_storage::{Cursor, Row, Scan, Store, UnsentRow};

use crate::limits::{CONFLICT_ROUNDS_MAX, UNSENT_PAGE};
use crate::{Engine, EngineError};

/// Brings shipments to the processor.
pub trait Carrier: Sync {
    /// Why a shipment was not brought.
    type Error: Send;

    /// A name that no shipment of anybody has.
    ///
    /// # Errors
    /// When there is none; nothing is shipped.
    fn name(&self) -> Result<ShipmentId, Self::Error>;

    /// Brings a shipment; on return the processor has it for good.
    ///
    /// # Errors
    /// It is not known that the processor has it. It will be brought again, under the same name.
    fn bring(&self, shipment: &Shipment) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Why not all was shipped. What was counted is not lost: it goes with the next attempt.
#[derive(Debug)]
pub enum ShipError<E> {
    /// The carrier could not bring it.
    Carrier(E),
    /// The engine could not read or write what it needs.
    Engine(EngineError),
}

impl<E> From<EngineError> for ShipError<E> {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// The lines of shipments to be made, by day.
type Lines = BTreeMap<i32, Vec<ShipmentLine>>;

impl<S: Store> Engine<S> {
    /// Ships for an actor what is unsent of some days, and what was made and not sent before; gives how many shipments it
    /// took. What is counted meanwhile may go with it, or stays for the next time.
    ///
    /// Any number of these may run at a time, here and on other servers of the same store.
    ///
    /// # Errors
    /// [`ShipError`] at the first shipment that was not brought, or when the engine fails.
    pub async fn ship<C: Carrier>(
        &self,
        actor: &Actor,
        days: &RangeInclusive<i32>,
        carrier: &C,
    ) -> Result<u64, ShipError<C::Error>> {
        let (mut shipped, mut from) = (0, None);
        let mut moved = 0;
        loop {
            let (latest, brought) = self.finish_open(actor, carrier).await?;
            // Read after the one before was settled: what is in that one is not unsent any more.
            let (unsent, next) = self.unsent(None, days, from.as_ref()).await?;
            let (made, all) = self.ship_lines(actor, latest, lines(unsent), carrier).await?;
            shipped += u64::from(brought) + made;
            if all {
                from = next;
                moved = 0;
                if from.is_none() {
                    return Ok(shipped);
                }
            } else {
                // Another server made one meanwhile, and the amounts may be in that one: they are read again.
                moved += 1;
                if moved == CONFLICT_ROUNDS_MAX {
                    return Err(ShipError::Engine(EngineError::Contended));
                }
            }
        }
    }

    /// What is unsent of some days, of all orgs or of one, by org and day: some of it, from the beginning or from where a
    /// former page ended.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn unsent(
        &self,
        org: Option<&OrgId>,
        days: &RangeInclusive<i32>,
        from: Option<&Cursor>,
    ) -> Result<(Vec<UnsentRow>, Option<Cursor>), EngineError> {
        let scan = Scan::Unsent { org: org.cloned() };
        let page = self.scan(&scan, from, UNSENT_PAGE).await?;
        let rows = page.rows.into_iter().filter_map(|row| match row {
            Row::Unsent(row) if days.contains(&row.day) => Some(row),
            _ => None,
        });
        Ok((rows.collect(), page.next))
    }

    /// Ships lines that were read after the shipment with a number was sent, and nothing was made since. Gives how many
    /// shipments it took, and whether nobody else made one.
    async fn ship_lines<C: Carrier>(
        &self,
        actor: &Actor,
        latest: u64,
        lines: Lines,
        carrier: &C,
    ) -> Result<(u64, bool), ShipError<C::Error>> {
        let mut made = 0;
        for (day, lines) in lines {
            for lines in lines.chunks(SHIPMENT_LINES_MAX) {
                let id = carrier.name().map_err(ShipError::Carrier)?;
                let after = latest + made;
                let make = MakeShipment { id, after, day, lines: lines.to_vec() };
                match self.submit_system(actor, SystemCommand::MakeShipment(make)).await? {
                    Ok(_) => made += 1,
                    Err(SystemDenial::ShipmentsMoved) => return Ok((made, false)),
                    // Nothing else refuses it.
                    Err(_) => return Ok((made, false)),
                }
                self.finish_open(actor, carrier).await?;
            }
        }
        Ok((made, true))
    }

    /// Brings the shipment that was made and is not known to have been sent, and settles its orgs. Gives the number of
    /// the latest shipment, which has been sent, and whether there was one to bring.
    async fn finish_open<C: Carrier>(
        &self,
        actor: &Actor,
        carrier: &C,
    ) -> Result<(u64, bool), ShipError<C::Error>> {
        let records = self.system(&[RecordKey::Shipment]).await?;
        let system = records.system();
        let Some(Record::Shipment(shipment)) = records.get(&RecordKey::Shipment) else {
            return Ok((0, false));
        };
        let Some(open) = system.open_shipment() else { return Ok((system.shipments, false)) };
        assert_eq!(shipment.number, open, "a shipment is written with its number");
        carrier.bring(shipment).await.map_err(ShipError::Carrier)?;
        self.submit_batch(actor, settlements(shipment)).await?;
        // Another server may have noted it already, and even gone on: then this changes nothing.
        drop(self.submit_system(actor, SystemCommand::ShipmentSent(open)).await?);
        Ok((open, true))
    }
}

fn lines(unsent: Vec<UnsentRow>) -> Lines {
    let mut lines = Lines::new();
    for UnsentRow { org, day, unsent } in unsent {
        let of_org = unsent.iter();
        let of_org = of_org.map(|(sku, amount)| ShipmentLine { org: org.clone(), sku: sku.clone(), amount });
        lines.entry(day).or_default().extend(of_org);
    }
    lines
}

/// What the orgs of a shipment are told: the lines of each.
fn settlements(shipment: &Shipment) -> Vec<(OrgId, OrgCommand)> {
    let of_orgs = shipment.lines.chunk_by(|a, b| a.org == b.org);
    let settlements = of_orgs.filter_map(|of_org| {
        let org = of_org.first()?.org.clone();
        let lines = of_org.iter().map(|line| (line.sku.clone(), line.amount)).collect();
        let settle = Settle { shipment: shipment.number, day: shipment.day, lines };
        Some((org, OrgCommand::Settle(settle)))
    });
    settlements.collect()
}
