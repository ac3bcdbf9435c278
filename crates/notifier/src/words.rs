//! Notices in words.

use tollgate_api::NoticeItem;
use tollgate_domain::{MeterId, Notice, NoticeKind, Period};
use tollgate_storage::NoticeRow;

/// A notice as replies and messages tell it.
#[must_use]
pub fn notice_item(row: &NoticeRow) -> NoticeItem {
    NoticeItem {
        id: format!("{}/{}/{}", row.org, row.entry, row.index),
        org: row.org.to_string(),
        kind: row.notice.kind.name().to_owned(),
        at: row.at.to_string(),
        entry: row.entry,
        meter: row.notice.meter.clone().map(Into::into),
        user: row.notice.user.clone().map(Into::into),
        period: row.notice.period.map(Period::label),
        summary: notice_summary(&row.notice),
    }
}

/// What happened, in a line for people.
#[must_use]
pub fn notice_summary(notice: &Notice) -> String {
    let meter = notice.meter.as_ref().map_or("", MeterId::as_str);
    match &notice.kind {
        NoticeKind::ThresholdCrossed { percent, used, limit } => {
            format!("{percent} % of the {meter} are used: {used} of {limit}")
        }
        NoticeKind::OnTrackToRunOut { used, projected, limit, day } => {
            let day = Period::day(*day).label();
            format!(
                "on track to run out of {meter} on {day}: {used} of {limit} used, {projected} expected this month"
            )
        }
        NoticeKind::LimitReached { used, limit, credit } => {
            let whose = notice
                .user
                .as_ref()
                .map_or_else(|| "the organization".to_owned(), |user| format!("user '{user}'"));
            let what = if *credit { "credit" } else { "limit" };
            format!("{whose} has reached the {what} of {limit} {meter} ({used} used)")
        }
        NoticeKind::TrialEnding { ends_at, remaining } => {
            format!("the trial ends: {remaining} {meter} left, until {ends_at}")
        }
        NoticeKind::TrialEnded { used } => format!("the trial is over: {used} {meter} used"),
        NoticeKind::FirstDenial { reason } => format!("the first denial of {meter} this period: {reason}"),
        NoticeKind::TopUpGranted { amount, expires_at, .. } => {
            let until = expires_at.map_or_else(|| "for ever".to_owned(), |at| format!("until {at}"));
            format!("{amount} {meter} were added {until}")
        }
        NoticeKind::BillClosed { number, total } => {
            let month = notice.period.map(Period::label).unwrap_or_default();
            format!("bill {number} of {month} is closed: {total}")
        }
    }
}
