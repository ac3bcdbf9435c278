//! Shipments: made by the house of what orgs have unsent, and taken off by each org once the processor has them.

use std::sync::Arc;

use crate::decide::config::{change, changed, unchanged};
use crate::decide::{ConfigDenial, Context, HouseDenial, Outcome};
use crate::limits::SHIPMENT_LINES_MAX;
use crate::{
    EntryKind, House, HouseEntryKind, MakeShipment, OrgId, Records, Settle, Shipment, ShipmentLine, Timestamp,
};

/// The next shipment. Its amounts were read when the one before it had been sent and settled: had there been another
/// since, they might be in that one.
pub(super) fn make_shipment(
    house: &House,
    at: Timestamp,
    make: &MakeShipment,
) -> Result<HouseEntryKind, HouseDenial> {
    if house.open_shipment().is_some() || house.shipments != make.after {
        return Err(HouseDenial::ShipmentsMoved);
    }
    assert!(
        (1..=SHIPMENT_LINES_MAX).contains(&make.lines.len()),
        "a shipment is neither empty nor too large"
    );
    let place = |line: &ShipmentLine| (line.org.clone(), line.meter.clone());
    assert!(make.lines.is_sorted_by(|a, b| place(a) < place(b)), "a shipment has a line once");
    let (id, day, lines) = (make.id.clone(), make.day, make.lines.clone());
    let shipment = Shipment { number: house.shipments + 1, id, day, at, lines };
    Ok(HouseEntryKind::ShipmentMade(Arc::new(shipment)))
}

/// That a shipment was sent, if that is not known already.
pub(super) fn shipment_sent(house: &House, number: u64) -> Option<HouseEntryKind> {
    (house.open_shipment() == Some(number)).then_some(HouseEntryKind::ShipmentSent(number))
}

pub(super) fn decide_settle(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    settle: &Settle,
) -> Outcome {
    let Some(known) = records.org(org) else { return change(Err(ConfigDenial::UnknownOrg)) };
    // Shipments follow each other, so whoever has settled this one or a later one has settled it.
    if known.settled >= settle.shipment {
        return change(Ok(unchanged(false)));
    }
    let Settle { shipment, day, lines } = settle.clone();
    let entry = context.entry(Some(known), EntryKind::Shipped { shipment, day, lines }, Vec::new());
    change(Ok(changed(entry, false)))
}
