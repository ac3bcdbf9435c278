//! Decisions of the house: the catalogue, meters beside it, and API keys.

use std::collections::HashSet;

use crate::decide::shipment::{make_shipment, shipment_sent};
use crate::limits::CREATED_METERS_MAX;
use crate::{
    ApplyCatalog, Catalog, CatalogError, House, HouseCommand, HouseEntry, HouseEntryKind, MeterId, OrgId,
    PlanId, RecordKey, Records, Timestamp,
};

/// An answer, and the entry that makes it true (`None`: nothing changes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HouseOutcome {
    /// What the caller is told: the version of the catalogue in force.
    pub decision: Result<u32, HouseDenial>,
    /// What the ledger must remember.
    pub entry: Option<HouseEntry>,
}

/// Why something of the house cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HouseDenial {
    /// The catalogue is wrong.
    Catalog(CatalogError),
    /// The catalogue lacks plans that orgs have.
    PlansInUse(Vec<(PlanId, OrgId)>),
    /// There is no such API key.
    UnknownApiKey,
    /// There is an API key with this id already.
    ApiKeyExists,
    /// Another shipment was made since the amounts of this one were read.
    ShipmentsMoved,
}

/// Answers a command of the house.
#[must_use]
pub fn decide_house(records: &Records, at: Timestamp, command: &HouseCommand) -> HouseOutcome {
    let house = records.house();
    let entry = |kind| HouseEntry { number: house.version + 1, at, kind };
    let result = match command {
        HouseCommand::ApplyCatalog(apply) => apply_catalog(apply).map(|()| {
            let version = house.catalog + 1;
            Some(entry(HouseEntryKind::CatalogApplied { version, text: apply.text.clone() }))
        }),
        HouseCommand::CheckCatalog(apply) => apply_catalog(apply).map(|()| None),
        HouseCommand::CreateMeters(meters) => {
            let new = new_meters(&house, meters);
            Ok((!new.is_empty()).then(|| entry(HouseEntryKind::MetersCreated(new))))
        }
        HouseCommand::MakeApiKey(api_key) if records.api_key(&api_key.id).is_some() => {
            Err(HouseDenial::ApiKeyExists)
        }
        HouseCommand::MakeApiKey(api_key) => {
            let mut api_key = api_key.clone();
            api_key.created_at = at;
            api_key.revoked_at = None;
            Ok(Some(entry(HouseEntryKind::ApiKeyMade(api_key))))
        }
        HouseCommand::RevokeApiKey(id) => match records.api_key(id) {
            None => Err(HouseDenial::UnknownApiKey),
            Some(known) if known.revoked_at.is_some() => Ok(None),
            Some(_) => Ok(Some(entry(HouseEntryKind::ApiKeyRevoked(id.clone())))),
        },
        HouseCommand::MakeShipment(make) => make_shipment(&house, at, make).map(|kind| Some(entry(kind))),
        HouseCommand::ShipmentSent(number) => Ok(shipment_sent(&house, *number).map(entry)),
    };
    match result {
        Ok(entry) => {
            let version = match entry.as_ref().map(|entry| &entry.kind) {
                Some(HouseEntryKind::CatalogApplied { version, .. }) => *version,
                _ => house.catalog,
            };
            HouseOutcome { decision: Ok(version), entry }
        }
        Err(denial) => HouseOutcome { decision: Err(denial), entry: None },
    }
}

fn apply_catalog(apply: &ApplyCatalog) -> Result<(), HouseDenial> {
    let catalog = Catalog::from_toml(&apply.text).map_err(HouseDenial::Catalog)?;
    for former in &apply.former_meters {
        let next = catalog.meter(&former.id);
        next.map_or(Ok(()), |next| next.check_follows(former)).map_err(HouseDenial::Catalog)?;
    }
    let removed: Vec<_> =
        apply.plans_in_use.iter().filter(|(plan, _)| catalog.plan(plan).is_none()).cloned().collect();
    if removed.is_empty() { Ok(()) } else { Err(HouseDenial::PlansInUse(removed)) }
}

/// Those that were not created before, each once, as many as there may be. Whether the catalogue declares one matters
/// to nobody: what it declares is as it says.
fn new_meters(house: &House, meters: &[MeterId]) -> Vec<MeterId> {
    let mut known: HashSet<&MeterId> = house.created_meters.iter().map(|created| &created.id).collect();
    let room = CREATED_METERS_MAX.saturating_sub(house.created_meters.len());
    meters.iter().filter(|meter| known.insert(meter)).take(room).cloned().collect()
}

/// Adds the keys of the records that a decision of the house needs and that are not at hand yet.
pub fn missing_of_house(records: &Records, command: &HouseCommand, keys: &mut Vec<RecordKey>) {
    let mut need = vec![RecordKey::House];
    match command {
        HouseCommand::ApplyCatalog(_)
        | HouseCommand::CheckCatalog(_)
        | HouseCommand::CreateMeters(_)
        | HouseCommand::MakeShipment(_)
        | HouseCommand::ShipmentSent(_) => {}
        HouseCommand::MakeApiKey(api_key) => need.push(RecordKey::ApiKey(api_key.id.clone())),
        HouseCommand::RevokeApiKey(id) => need.push(RecordKey::ApiKey(id.clone())),
    }
    keys.extend(need.into_iter().filter(|key| !records.holds(key)));
}
