//! Shipments: made by the system of what orgs have unsent, and taken off by each org once the processor has them.

use std::sync::Arc;

use crate::decide::config::{change, changed, unchanged};
use crate::decide::{ConfigDenial, Context, Outcome, SystemDenial};
use crate::limits::SHIPMENT_LINES_MAX;
use crate::{
    EntryKind, MakeShipment, OrgState, Settle, Shipment, ShipmentLine, System, SystemEntryKind, Timestamp,
};

/// The next shipment. Its amounts were read when the one before it had been sent and settled: had there been another
/// since, they might be in that one.
pub(super) fn make_shipment(
    system: &System,
    at: Timestamp,
    make: &MakeShipment,
) -> Result<SystemEntryKind, SystemDenial> {
    if system.open_shipment().is_some() || system.shipments != make.after {
        return Err(SystemDenial::ShipmentsMoved);
    }
    assert!(
        (1..=SHIPMENT_LINES_MAX).contains(&make.lines.len()),
        "a shipment is neither empty nor too large"
    );
    let place = |line: &ShipmentLine| (line.org.clone(), line.sku.clone());
    assert!(make.lines.is_sorted_by(|a, b| place(a) < place(b)), "a shipment has a line once");
    let (id, day, lines) = (make.id.clone(), make.day, make.lines.clone());
    let shipment = Shipment { number: system.shipments + 1, id, day, at, lines };
    Ok(SystemEntryKind::ShipmentMade(Arc::new(shipment)))
}

/// That a shipment was sent, if that is not known already.
pub(super) fn shipment_sent(system: &System, number: u64) -> Option<SystemEntryKind> {
    (system.open_shipment() == Some(number)).then_some(SystemEntryKind::ShipmentSent(number))
}

pub(super) fn decide_settle(state: &OrgState, context: &Context<'_>, settle: &Settle) -> Outcome {
    let Some(known) = state.org() else { return change(Err(ConfigDenial::UnknownOrg)) };
    // Shipments follow each other, so whoever has settled this one or a later one has settled it.
    if known.settled >= settle.shipment {
        return change(Ok(unchanged(false)));
    }
    let Settle { shipment, day, lines } = settle.clone();
    let entry = context.entry(Some(known), EntryKind::Shipped { shipment, day, lines }, Vec::new());
    change(Ok(changed(entry, false)))
}
