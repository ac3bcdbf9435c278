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
use std::sync::Arc;

use tollgate_domain::limits::SHIPMENT_LINES_MAX;
use tollgate_domain::{
    Actor, Days, MakeShipment, OrgCommand, OrgId, Record, RecordKey, Settle, Shipment, ShipmentId,
    ShipmentLine, SystemCommand, SystemDenial, Unsent,
};
use tollgate_storage::{Cursor, Row, Scan, Store};

use crate::engine::unreachable_answer;
use crate::limits::{CONFLICT_ROUNDS_MAX, ORG_PAGE, UNSENT_PAGE};
use crate::read::store_error;
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

/// What is unsent of an org's day.
#[derive(Clone, Debug)]
pub struct UnsentDay {
    /// The org.
    pub org: OrgId,
    /// The number of the day, of the org's calendar.
    pub day: i32,
    /// The amounts, by meter.
    pub unsent: Arc<Unsent>,
}

/// The lines of shipments to be made, by day.
type Lines = BTreeMap<i32, Vec<ShipmentLine>>;

impl<S: Store> Engine<S> {
    /// Ships for an actor what is unsent, of one day or of all, and what was made and not sent before; gives how many shipments it
    /// took. What is counted meanwhile may go with it, or stays for the next time.
    ///
    /// Any number of these may run at a time, here and on other servers of the same store.
    ///
    /// # Errors
    /// [`ShipError`] at the first shipment that was not brought, or when the engine fails.
    pub async fn ship<C: Carrier>(
        &self,
        actor: &Actor,
        day: Option<i32>,
        carrier: &C,
    ) -> Result<u64, ShipError<C::Error>> {
        let (_, brought) = self.finish_open(actor, carrier).await?;
        let (mut shipped, mut from) = (u64::from(brought), None);
        loop {
            let (orgs, next) = self.unsent_orgs(day, from.as_ref()).await?;
            if !orgs.is_empty() {
                shipped += self.ship_of(actor, &orgs, carrier).await?;
            }
            from = next;
            if from.is_none() {
                return Ok(shipped);
            }
        }
    }

    /// What is unsent, of one day or of all, of orgs by id: some, from the beginning or from where a former page ended.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn unsent(
        &self,
        day: Option<i32>,
        from: Option<&Cursor>,
    ) -> Result<(Vec<UnsentDay>, Option<Cursor>), EngineError> {
        let (orgs, next) = self.unsent_orgs(day, from).await?;
        Ok((self.unsent_days(&orgs).await?, next))
    }

    /// What is unsent of one org, of one day or of all.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn unsent_of(&self, org: &OrgId, day: Option<i32>) -> Result<Vec<UnsentDay>, EngineError> {
        let days = self.org(org).await?.and_then(|known| among(known.unsent?, day));
        self.unsent_days(&days.map(|days| (org.clone(), days)).into_iter().collect::<Vec<_>>()).await
    }

    /// Ships what is unsent of some orgs on some days. When another server makes a shipment meanwhile, the amounts are
    /// read anew: they may be in that one.
    async fn ship_of<C: Carrier>(
        &self,
        actor: &Actor,
        orgs: &[(OrgId, Days)],
        carrier: &C,
    ) -> Result<u64, ShipError<C::Error>> {
        let mut shipped = 0;
        for _ in 0..CONFLICT_ROUNDS_MAX {
            let (latest, brought) = self.finish_open(actor, carrier).await?;
            shipped += u64::from(brought);
            let (made, all) = self.ship_lines(actor, latest, self.lines(orgs).await?, carrier).await?;
            shipped += made;
            if all {
                return Ok(shipped);
            }
        }
        Err(ShipError::Engine(EngineError::Contended))
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
                    Err(_) => unreachable_answer()?,
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
        let loaded = self.load(&[RecordKey::System, RecordKey::Shipment]).await?;
        let [Some(Record::System(system)), Some(Record::Shipment(shipment))] = loaded.as_slice() else {
            return Ok((0, false));
        };
        let Some(open) = system.open_shipment() else { return Ok((system.shipments, false)) };
        assert_eq!(shipment.number, open, "a shipment is written with its number");
        carrier.bring(shipment).await.map_err(ShipError::Carrier)?;
        self.submit_batch(actor, settlements(shipment)).await?;
        // Another server may have noted it already, and even gone on: then this changes nothing.
        if self.submit_system(actor, SystemCommand::ShipmentSent(open)).await?.is_err() {
            unreachable_answer::<()>()?;
        }
        Ok((open, true))
    }

    /// Some orgs of which something may be unsent, by id, and on which days, at most on one day if it is given.
    async fn unsent_orgs(
        &self,
        day: Option<i32>,
        from: Option<&Cursor>,
    ) -> Result<(Vec<(OrgId, Days)>, Option<Cursor>), EngineError> {
        let page = self.store.scan(&Scan::Orgs, from, ORG_PAGE).await.map_err(store_error)?;
        let orgs = page.rows.into_iter().filter_map(|row| match row {
            Row::Org(org) => Some((org.id, among(org.unsent?, day)?)),
            _ => None,
        });
        Ok((orgs.collect(), page.next))
    }

    /// What is unsent of some orgs on some days.
    async fn unsent_days(&self, orgs: &[(OrgId, Days)]) -> Result<Vec<UnsentDay>, EngineError> {
        let mut found = Vec::new();
        for keys in unsent_keys(orgs).chunks(UNSENT_PAGE) {
            for (key, record) in keys.iter().zip(self.load(keys).await?) {
                if let (RecordKey::Unsent(org, day), Some(Record::Unsent(unsent))) = (key, record)
                    && !unsent.is_empty()
                {
                    found.push(UnsentDay { org: org.clone(), day: *day, unsent });
                }
            }
        }
        Ok(found)
    }

    async fn lines(&self, orgs: &[(OrgId, Days)]) -> Result<Lines, EngineError> {
        let mut lines = Lines::new();
        for UnsentDay { org, day, unsent } in self.unsent_days(orgs).await? {
            let of_org = unsent.iter().map(|(meter, amount)| ShipmentLine {
                org: org.clone(),
                meter: meter.clone(),
                amount,
            });
            lines.entry(day).or_default().extend(of_org);
        }
        Ok(lines)
    }
}

fn unsent_keys(orgs: &[(OrgId, Days)]) -> Vec<RecordKey> {
    let mut keys = Vec::new();
    for (org, days) in orgs {
        keys.extend((days.first..=days.last).map(|day| RecordKey::Unsent(org.clone(), day)));
    }
    keys
}

/// The days of some, or the one day that is asked for if it is among them.
fn among(days: Days, day: Option<i32>) -> Option<Days> {
    match day {
        None => Some(days),
        Some(day) => (days.first..=days.last).contains(&day).then_some(Days { first: day, last: day }),
    }
}

/// What the orgs of a shipment are told: the lines of each.
fn settlements(shipment: &Shipment) -> Vec<(OrgId, OrgCommand)> {
    let of_orgs = shipment.lines.chunk_by(|a, b| a.org == b.org);
    let settlements = of_orgs.filter_map(|of_org| {
        let org = of_org.first()?.org.clone();
        let lines = of_org.iter().map(|line| (line.meter.clone(), line.amount)).collect();
        let settle = Settle { shipment: shipment.number, day: shipment.day, lines };
        Some((org, OrgCommand::Settle(settle)))
    });
    settlements.collect()
}
