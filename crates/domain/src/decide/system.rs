//! Decisions of the system: the catalog, meters beside it, API keys, shipments and channels.

use std::collections::HashSet;

use crate::decide::channel::{change_channel, claim_delivery, deliver};
use crate::decide::shipment::{make_shipment, shipment_sent};
use crate::limits::CREATED_METERS_MAX;
use crate::{
    Actor, ApplyCatalog, Catalog, CatalogError, DeliveryClaim, MeterId, NewMeter, OrgId, PlanId, RecordKey,
    RevokeApiKey, System, SystemCommand, SystemEntry, SystemEntryKind, SystemRecords, Timestamp,
};

/// An answer, and the entry that makes it true (`None`: nothing changes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemOutcome {
    /// What the caller is told: the version of the catalog in force.
    pub decision: Result<u32, SystemDenial>,
    /// What the ledger must remember.
    pub entry: Option<SystemEntry>,
}

/// Why something of the system cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemDenial {
    /// The catalog is wrong.
    Catalog(CatalogError),
    /// The catalog lacks plans that orgs have.
    PlansInUse(Vec<(PlanId, OrgId)>),
    /// The catalog lacks plans that other processes on the same store may still give to orgs.
    PlansNotRetired(Vec<PlanId>),
    /// There is no such API key.
    UnknownApiKey,
    /// There is an API key with this id already.
    ApiKeyExists,
    /// Another catalog came into force, or a plan that this one removes was given to an org, since it was prepared.
    CatalogMoved,
    /// It is the last API key that can make others.
    LastAdminKey,
    /// Another shipment was made since the amounts of this one were read.
    ShipmentsMoved,
    /// There is no such channel.
    UnknownChannel,
    /// There is a channel with this id already.
    ChannelExists,
    /// There are as many channels as there may be.
    TooManyChannels,
    /// The channel was changed since this began.
    ChannelMoved,
    /// Another server delivers.
    DeliveryClaimed,
}

/// Answers a command of the system.
#[must_use]
pub fn decide_system(
    records: &SystemRecords,
    at: Timestamp,
    actor: &Actor,
    command: &SystemCommand,
) -> SystemOutcome {
    let system = records.system();
    let entry = |kind| SystemEntry { number: system.version + 1, at, actor: actor.clone(), kind };
    let result = match command {
        SystemCommand::ApplyCatalog(apply) => apply_catalog(&system, apply).map(|()| {
            let version = system.catalog + 1;
            Some(entry(SystemEntryKind::CatalogApplied { version, text: apply.text.clone() }))
        }),
        SystemCommand::CheckCatalog(apply) => apply_catalog(&system, apply).map(|()| None),
        SystemCommand::CreateMeters(meters) => {
            let new = new_meters(&system, meters);
            Ok((!new.is_empty()).then(|| entry(SystemEntryKind::MetersCreated(new))))
        }
        SystemCommand::MakeApiKey(api_key) if records.api_key(&api_key.id).is_some() => {
            Err(SystemDenial::ApiKeyExists)
        }
        SystemCommand::MakeApiKey(api_key) => {
            let mut api_key = api_key.clone();
            api_key.created_at = at;
            api_key.revoked_at = None;
            Ok(Some(entry(SystemEntryKind::ApiKeyMade(api_key))))
        }
        SystemCommand::RevokeApiKey(RevokeApiKey { id, admin_besides }) => match records.api_key(id) {
            None => Err(SystemDenial::UnknownApiKey),
            Some(known) if known.revoked_at.is_some() => Ok(None),
            Some(known) if known.makes_others() && system.admin_keys <= 1 && !admin_besides => {
                Err(SystemDenial::LastAdminKey)
            }
            Some(_) => Ok(Some(entry(SystemEntryKind::ApiKeyRevoked(id.clone())))),
        },
        SystemCommand::MakeShipment(make) => make_shipment(&system, at, make).map(|kind| Some(entry(kind))),
        SystemCommand::ShipmentSent(number) => Ok(shipment_sent(&system, *number).map(entry)),
        SystemCommand::ChangeChannel(change) => change_channel(records, change).map(|kind| Some(entry(kind))),
        SystemCommand::Deliver(round) => deliver(records, at, round).map(|kind| Some(entry(kind))),
        SystemCommand::ClaimDelivery { holder, until } => {
            let claim = DeliveryClaim { holder: holder.clone(), until: *until };
            claim_delivery(records, at, claim).map(|kind| Some(entry(kind)))
        }
    };
    match result {
        Ok(entry) => {
            let version = match entry.as_ref().map(|entry| &entry.kind) {
                Some(SystemEntryKind::CatalogApplied { version, .. }) => *version,
                _ => system.catalog,
            };
            SystemOutcome { decision: Ok(version), entry }
        }
        Err(denial) => SystemOutcome { decision: Err(denial), entry: None },
    }
}

fn apply_catalog(system: &System, apply: &ApplyCatalog) -> Result<(), SystemDenial> {
    if apply.after.is_some_and(|after| after != system.catalog) {
        return Err(SystemDenial::CatalogMoved);
    }
    let catalog = Catalog::from_toml(&apply.text).map_err(SystemDenial::Catalog)?;
    for former in &apply.former_meters {
        let next = catalog.meter(&former.id);
        next.map_or(Ok(()), |next| next.check_follows(former)).map_err(SystemDenial::Catalog)?;
    }
    let removed: Vec<_> =
        apply.plans_in_use.iter().filter(|(plan, _)| catalog.plan(plan).is_none()).cloned().collect();
    if removed.is_empty() { Ok(()) } else { Err(SystemDenial::PlansInUse(removed)) }
}

/// Those that were not created before, each once, as many as there may be. Whether the catalog declares one matters
/// to nobody: what it declares is as it says.
fn new_meters(system: &System, meters: &[NewMeter]) -> Vec<NewMeter> {
    let mut known: HashSet<&MeterId> = system.created_meters.iter().map(|created| &created.id).collect();
    let room = CREATED_METERS_MAX.saturating_sub(system.created_meters.len());
    meters.iter().filter(|meter| known.insert(&meter.id)).take(room).cloned().collect()
}

/// The keys of the records that a decision of the system reads.
#[must_use]
pub fn read_by_system(command: &SystemCommand) -> Vec<RecordKey> {
    let mut keys = vec![RecordKey::System];
    match command {
        SystemCommand::ApplyCatalog(_)
        | SystemCommand::CheckCatalog(_)
        | SystemCommand::CreateMeters(_)
        | SystemCommand::MakeShipment(_)
        | SystemCommand::ShipmentSent(_)
        | SystemCommand::ClaimDelivery { .. } => {}
        SystemCommand::ChangeChannel(change) => keys.push(RecordKey::Channel(change.id.clone())),
        SystemCommand::Deliver(round) => keys.extend(round.channels()),
        SystemCommand::MakeApiKey(api_key) => keys.push(RecordKey::ApiKey(api_key.id.clone())),
        SystemCommand::RevokeApiKey(RevokeApiKey { id, .. }) => keys.push(RecordKey::ApiKey(id.clone())),
    }
    keys
}
