//! Usage over time: counters of an org as of one of its versions, in pages.
//!
//! Which counters a page holds is listed first, then all of them are loaded at once, with the org: a load comes from one
//! moment. Should the org have moved in between, the list is made again; what is not on it at the moment of the load
//! would be missing from the page.

use std::collections::BTreeMap;

use tollgate_domain::catalog::Meter;
use tollgate_domain::{
    Amount, GroupBy, MeterId, Org, OrgId, OrgState, Period, Scope, UserId, Window, usage_by,
};
use tollgate_storage::{Cursor, Row, Scan, Store, StoreError, StoreErrorKind};

use crate::limits::{READ_ROUNDS_MAX, SERIES_GROUPED_PERIODS_MAX, SERIES_PERIODS_MAX};
use crate::read::store_error;
use crate::{Engine, EngineError};

/// Which usage over time is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesAsk {
    /// Whose.
    pub org: OrgId,
    /// Of what.
    pub meter: MeterId,
    /// A point for each window of this kind …
    pub window: Window,
    /// … from the one with this number on …
    pub from: i32,
    /// … up to but not including this one.
    pub until: i32,
    /// In which parts.
    pub split: Split,
}

/// In which parts usage over time is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// All of the org's together.
    Whole,
    /// One user's.
    User(UserId),
    /// Each user's by itself, user by user.
    Users,
    /// By values of properties of the meter as it is in the catalog, period by period; days and months only.
    Properties(Box<Meter>, GroupBy),
}

/// The usage of one part of a period. There is none where nothing is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesPoint {
    /// When.
    pub period: Period,
    /// The user, where the series is of users.
    pub user: Option<UserId>,
    /// The values of the properties it is grouped by; `None` is that of usage without the property.
    pub properties: BTreeMap<String, Option<String>>,
    /// How much.
    pub value: Amount,
}

/// Some points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesPage {
    /// The org, at the version that all points are of.
    pub org: Org,
    /// The points: by period, or by user and period.
    pub points: Vec<SeriesPoint>,
    /// Where the next page begins; `None` when there is nothing more.
    pub next: Option<Cursor>,
}

/// Why there is no series.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    /// Nobody has heard of the org.
    #[error("the organization is not known")]
    UnknownOrg,
    /// More periods than are told user by user.
    #[error("there are more than {SERIES_PERIODS_MAX} windows with usage")]
    TooManyPeriods,
    /// It cannot be read.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What a page is of.
struct Listed {
    version: u64,
    periods: Vec<Period>,
    users: Vec<UserId>,
    next: Option<Cursor>,
}

impl Listed {
    /// Whether a list made later is of the same counters.
    fn names_the_same(&self, later: &Self) -> bool {
        self.periods == later.periods && self.users == later.users && self.next == later.next
    }
}

impl<S: Store> Engine<S> {
    /// A page of usage over time, from the beginning or from where a former page ended: at most `limit` points, unless one
    /// period has more groups, or one user more periods.
    ///
    /// # Errors
    /// [`SeriesError`]; [`EngineError::Contended`] when the org never held still.
    pub async fn series(
        &self,
        ask: &SeriesAsk,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<SeriesPage, SeriesError> {
        let mut listed = self.list_series(ask, after, limit).await?;
        for _ in 0..READ_ROUNDS_MAX {
            let (org, points) = self.load_series(ask, &listed).await?;
            if org.version != listed.version {
                let again = self.list_series(ask, after, limit).await?;
                if !listed.names_the_same(&again) {
                    listed = again;
                    continue;
                }
            }
            return Ok(page(ask, org, points, listed.next, limit));
        }
        Err(EngineError::Contended.into())
    }

    async fn list_series(
        &self,
        ask: &SeriesAsk,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Listed, SeriesError> {
        if ask.split != Split::Users {
            let grouped = matches!(ask.split, Split::Properties(..));
            let most = if grouped { limit.min(SERIES_GROUPED_PERIODS_MAX) } else { limit };
            let from = after.map_or(Ok(ask.from), number_after)?;
            let (version, periods, more) = self.list_periods(ask, from, most).await?;
            let next = periods.last().filter(|_| more).map(|last| cursor_after(*last));
            return Ok(Listed { version, periods, users: Vec::new(), next });
        }
        let (version, periods, more) = self.list_periods(ask, ask.from, SERIES_PERIODS_MAX).await?;
        if more {
            return Err(SeriesError::TooManyPeriods);
        }
        let scan = Scan::Tallies { org: ask.org.clone(), meter: ask.meter.clone() };
        let most = limit.checked_div(periods.len()).unwrap_or(limit).max(1);
        let page = self.list(&scan, after, most).await?;
        let user = |row| if let Row::Tally(row) = row { Some(row.user) } else { None };
        let users = page.rows.into_iter().filter_map(user).collect();
        // Without usage of the org there is none of its users.
        let next = page.next.filter(|_| !periods.is_empty());
        Ok(Listed { version, periods, users, next })
    }

    /// The version of an org, the periods from a number on in which it used something, and whether there are more.
    async fn list_periods(
        &self,
        ask: &SeriesAsk,
        from: i32,
        limit: usize,
    ) -> Result<(u64, Vec<Period>, bool), SeriesError> {
        let SeriesAsk { org, meter, window, until, .. } = ask.clone();
        // The open counter first: should it be closed in between, it is among the others.
        let look = |state: &OrgState, _| {
            let version = state.org()?.version;
            let open = state.account(&meter).map(|account| account.tally.open().to_vec());
            Some((version, open.unwrap_or_default()))
        };
        let Some((version, open)) = self.view(&org, look).await? else { return Err(SeriesError::UnknownOrg) };
        let scan = Scan::OrgCounters { org, meter, window, from, until };
        let page = self.list(&scan, None, limit).await?;
        let closed = page.rows.into_iter().filter_map(|row| match row {
            Row::Counter(row) => Some(row.id.period),
            _ => None,
        });
        let mut periods: Vec<Period> = closed.collect();
        let mut more = page.next.is_some();
        if !more {
            let is_next = |period: &Period| {
                period.window == window
                    && (from..until).contains(&period.number)
                    && periods.last().is_none_or(|last| last.number < period.number)
            };
            let open = open.iter().map(|open| open.period).find(is_next);
            more = open.is_some() && periods.len() == limit;
            periods.extend(open.filter(|_| !more));
        }
        Ok((version, periods, more))
    }

    /// The points of a page, all as of one version of the org.
    async fn load_series(
        &self,
        ask: &SeriesAsk,
        listed: &Listed,
    ) -> Result<(Org, Vec<SeriesPoint>), SeriesError> {
        let view = |state: &OrgState, _| state.org().cloned().map(|org| (org, points(state, ask, listed)));
        self.view(&ask.org, view).await?.ok_or(SeriesError::UnknownOrg)
    }
}

/// Whose counters a series is made of.
fn scopes(split: &Split, users: &[UserId]) -> Vec<Scope> {
    match split {
        Split::Whole | Split::Properties(..) => vec![Scope::Org],
        Split::User(user) => vec![Scope::User(user.clone())],
        Split::Users => users.iter().cloned().map(Scope::User).collect(),
    }
}

fn points(state: &OrgState, ask: &SeriesAsk, listed: &Listed) -> Vec<SeriesPoint> {
    let SeriesAsk { meter, split, .. } = ask;
    let mut points = Vec::new();
    for scope in scopes(split, &listed.users) {
        for period in &listed.periods {
            if let Split::Properties(meter, by) = split {
                let parts = usage_by(state, meter, *period, by).into_iter();
                points.extend(parts.map(|(properties, value)| SeriesPoint {
                    period: *period,
                    user: None,
                    properties,
                    value,
                }));
                continue;
            }
            let value = state.counter(meter, &scope, *period).value;
            let user = if let Scope::User(user) = &scope { Some(user.clone()) } else { None };
            let properties = BTreeMap::new();
            points.push(SeriesPoint { period: *period, user, properties, value });
        }
    }
    points.retain(|point| !point.value.is_zero());
    points
}

/// A page of at most `limit` points, unless its first period has more: groups come many at a time.
fn page(
    ask: &SeriesAsk,
    org: Org,
    mut points: Vec<SeriesPoint>,
    mut next: Option<Cursor>,
    limit: usize,
) -> SeriesPage {
    let grouped = matches!(ask.split, Split::Properties(..));
    if let (true, Some(first), Some(beyond)) = (grouped, points.first(), points.get(limit)) {
        let (first, beyond) = (first.period, beyond.period);
        let is_whole = |period: Period| if first == beyond { period == first } else { period < beyond };
        let kept = points.partition_point(|point| is_whole(point.period));
        if kept < points.len() {
            points.truncate(kept);
            next = points.last().map(|last| cursor_after(last.period));
        }
    }
    SeriesPage { org, points, next }
}

/// A cursor of a series by period: the number of its last.
fn cursor_after(period: Period) -> Cursor {
    Cursor(period.number.to_be_bytes().to_vec())
}

/// The number of the first period after a cursor.
fn number_after(cursor: &Cursor) -> Result<i32, EngineError> {
    let number = <[u8; 4]>::try_from(cursor.0.as_slice()).map(i32::from_be_bytes);
    number.map(|number| number.saturating_add(1)).map_err(|_| {
        store_error(StoreError::new(StoreErrorKind::BadCursor, "the cursor was not given by a series"))
    })
}
