//! Reading notices ahead: those that are new since a place, and which of them a channel takes.

use tollgate_domain::{Channel, Filter, NoticeRef, ReadTo};
use tollgate_engine::{Engine, EngineError};
use tollgate_storage::{Cursor, NoticeRow, Page, Row, Scan, Store};

use crate::limits::{NOTICES_LOOKED_AT, NOTICES_PASSED_OVER, NOTICES_READ, WAITING_MAX};

/// What was read.
pub(crate) struct Ahead {
    /// Up to where, and those that the channel takes; `None`: nothing that must be written down.
    pub(crate) read: Option<(ReadTo, Vec<NoticeRef>)>,
    /// Whether there may be more.
    pub(crate) more: bool,
}

/// Reads notices behind those that a channel has read, as many as may wait at it.
pub(crate) async fn read_ahead<S: Store>(
    engine: &Engine<S>,
    channel: &Channel,
) -> Result<Ahead, EngineError> {
    let progress = &channel.progress;
    let mut place = progress.read.clone();
    let mut room = WAITING_MAX.saturating_sub(progress.waiting.len());
    let (mut found, mut looked_at, mut more) = (Vec::new(), 0, true);
    while more && room > 0 && looked_at < NOTICES_LOOKED_AT {
        let rows = notices_after(engine, &mut place, room.min(NOTICES_READ), &mut more).await?;
        looked_at += rows.len();
        for row in rows {
            if takes(engine, &channel.setup.filter, &place, &row).await? {
                found.push(NoticeRef { org: row.org, entry: row.entry, index: row.index });
            }
        }
        room = WAITING_MAX.saturating_sub(progress.waiting.len() + found.len());
    }
    let told = !found.is_empty() || looked_at >= NOTICES_PASSED_OVER;
    Ok(Ahead { read: told.then_some((place, found)), more: more && room > 0 })
}

/// The place behind all notices that there are, looked for from another.
///
/// # Errors
/// When the store cannot read.
pub async fn end_of_notices<S: Store>(engine: &Engine<S>, mut place: ReadTo) -> Result<ReadTo, EngineError> {
    let mut more = true;
    while more {
        notices_after(engine, &mut place, NOTICES_LOOKED_AT, &mut more).await?;
        tokio::task::yield_now().await;
    }
    Ok(place)
}

/// The notices behind a place, which is moved behind them. The store gives a cursor only where another notice follows:
/// behind the last one, it is counted how many were read.
///
/// # Errors
/// When the store cannot read.
pub async fn notices_after<S: Store>(
    engine: &Engine<S>,
    place: &mut ReadTo,
    limit: usize,
    more: &mut bool,
) -> Result<Vec<NoticeRow>, EngineError> {
    let seen = usize::try_from(place.seen).unwrap_or(usize::MAX);
    let cursor = place.cursor.clone().map(Cursor);
    let Page { rows, next } = engine.scan(&Scan::Notices, cursor.as_ref(), seen + limit).await?;
    *more = next.is_some();
    match next {
        Some(Cursor(bytes)) => {
            place.cursor = Some(bytes);
            place.seen = 0;
        }
        None => place.seen = u32::try_from(rows.len()).unwrap_or(u32::MAX),
    }
    let notice = |row| if let Row::Notice(row) = row { Some(row) } else { None };
    Ok(rows.into_iter().skip(seen).filter_map(notice).collect())
}

/// Whether a channel takes a notice.
async fn takes<S: Store>(
    engine: &Engine<S>,
    filter: &Filter,
    place: &ReadTo,
    row: &NoticeRow,
) -> Result<bool, EngineError> {
    let Filter { kinds, orgs, plans, meters } = filter;
    let passes = place.since.is_none_or(|since| row.at >= since)
        && (kinds.is_empty() || kinds.contains(row.notice.kind.name()))
        && (orgs.is_empty() || orgs.contains(&row.org))
        && (meters.is_empty() || row.notice.meter.as_ref().is_some_and(|meter| meters.contains(meter)));
    if !passes || plans.is_empty() {
        return Ok(passes);
    }
    let org = engine.org(&row.org).await?;
    let change = org.as_ref().and_then(|org| org.plans.in_force(row.at));
    Ok(change.and_then(|change| change.plan.as_ref()).is_some_and(|plan| plans.contains(plan)))
}
