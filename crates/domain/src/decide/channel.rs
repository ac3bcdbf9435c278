//! Channels: made, changed and removed by people, moved on by whoever delivers.

use std::collections::HashSet;

use crate::decide::SystemDenial;
use crate::limits::CHANNELS_MAX;
use crate::{
    ChangeChannel, ChannelChange, ChannelId, DeliveryClaim, Digest, Round, Subject, SystemEntryKind,
    SystemRecords, Timestamp,
};

pub(super) fn change_channel(
    records: &SystemRecords,
    change: &ChangeChannel,
) -> Result<SystemEntryKind, SystemDenial> {
    let known = records.channel(&change.id).is_some();
    match &change.change {
        ChannelChange::Gather(digest) => gather(records, &change.id, digest),
        ChannelChange::Make { .. } if known => Err(SystemDenial::ChannelExists),
        ChannelChange::Make { .. } if records.system().channels.len() >= CHANNELS_MAX => {
            Err(SystemDenial::TooManyChannels)
        }
        ChannelChange::Make { .. } => Ok(SystemEntryKind::ChannelChanged(Box::new(change.clone()))),
        _ if known => Ok(SystemEntryKind::ChannelChanged(Box::new(change.clone()))),
        _ => Err(SystemDenial::UnknownChannel),
    }
}

/// Of the notices that somebody saw waiting, those that still do.
fn gather(records: &SystemRecords, id: &ChannelId, digest: &Digest) -> Result<SystemEntryKind, SystemDenial> {
    let channel = records.channel(id).ok_or(SystemDenial::UnknownChannel)?;
    let waiting: HashSet<&Subject> = channel.progress.waiting.iter().map(|each| &each.subject).collect();
    let mut digest = digest.clone();
    digest.notices.retain(|notice| waiting.contains(&Subject::Notice(notice.clone())));
    if digest.notices.is_empty() {
        return Err(SystemDenial::ChannelMoved);
    }
    let change = ChannelChange::Gather(digest);
    Ok(SystemEntryKind::ChannelChanged(Box::new(ChangeChannel { id: id.clone(), change })))
}

/// What a round did, unless the channel was changed since it began: then its reading does not count any more.
pub(super) fn deliver(
    records: &SystemRecords,
    at: Timestamp,
    round: &Round,
) -> Result<SystemEntryKind, SystemDenial> {
    let channel = records.channel(&round.channel).ok_or(SystemDenial::UnknownChannel)?;
    if channel.progress.round != round.round {
        return Err(SystemDenial::ChannelMoved);
    }
    let disabled = channel.is_disabled_by(round, at);
    let mut round = round.clone();
    round.told.retain(|told| disabled && *told != round.channel && records.channel(told).is_some());
    Ok(SystemEntryKind::Delivered { round: Box::new(round), disabled })
}

/// Another one delivers until its time is over.
pub(super) fn claim_delivery(
    records: &SystemRecords,
    at: Timestamp,
    claim: DeliveryClaim,
) -> Result<SystemEntryKind, SystemDenial> {
    match records.system().delivery {
        Some(held) if held.holder != claim.holder && at < held.until => Err(SystemDenial::DeliveryClaimed),
        _ => Ok(SystemEntryKind::DeliveryClaimed(claim)),
    }
}
