//! Which rows of a list are asked for: by the parameters of its query.

use tollgate_api::{EntryItem, NoticeItem, Time};
use tollgate_domain::limits::{TEXT_CHARS_MAX, TIME_MAX_SECS, TIME_MIN_SECS};
use tollgate_domain::{
    Amount, Balance, Catalog, EntryKind, MeterId, NoticeKind, Org, OrgId, PlanId, ScopePath, Timestamp,
    UsageKey, UserId,
};
use utoipa::IntoParams;

use crate::extract::{Query, invalid_parameter};
use crate::reply::Failure;

/// Which entries of a ledger are asked for.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EntryFilter {
    /// Only entries of this kind.
    #[param(value_type = Option<String>, example = "topped_up")]
    kind: Option<&'static str>,
    /// Only what names this user.
    #[param(value_type = Option<tollgate_api::Id>)]
    user: Option<UserId>,
    /// Only what names this path, or one below it.
    #[param(value_type = Option<tollgate_api::PathName>)]
    path: Option<ScopePath>,
    /// Only what names this meter.
    #[param(value_type = Option<tollgate_api::Id>)]
    meter: Option<MeterId>,
    /// Only what names this key, of a usage or a top-up.
    #[param(value_type = Option<tollgate_api::Id>)]
    key: Option<UsageKey>,
    /// Only what this actor caused: the id of an API key, `person:` and a name, or `local`, `configured`, `closing`, `shipper`, `system`.
    #[param(value_type = Option<String>)]
    actor: Option<String>,
    /// Only what was decided at this time or later (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Only what was decided before this time (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
}

impl EntryFilter {
    pub(crate) fn take(query: &mut Query) -> Result<Self, Failure> {
        let filter = Self {
            kind: query.take_as("kind", |text| word(text, EntryKind::NAMES))?,
            user: query.take_as("user", UserId::new)?,
            path: query.take_as("path", ScopePath::new)?,
            meter: query.take_as("meter", MeterId::new)?,
            key: query.take_as("key", UsageKey::new)?,
            actor: query.take_as("actor", line)?,
            from: query.take_as("from", time)?,
            to: query.take_as("to", time)?,
        };
        if let (Some(from), Some(to)) = (filter.from, filter.to)
            && from >= to
        {
            return Err(invalid_parameter("to", "must be after 'from'"));
        }
        Ok(filter)
    }

    /// Whether an entry that was decided at a time passes.
    pub(crate) fn passes(&self, at: Timestamp, entry: &EntryItem) -> bool {
        let Self { kind, user, path, meter, key, actor, from, to } = self;
        is_asked(*kind, Some(&entry.kind))
            && is_asked(user.as_ref().map(UserId::as_str), entry.user.as_ref())
            && path.as_ref().is_none_or(|path| entry.path.as_deref().is_some_and(|named| path.covers(named)))
            && is_asked(meter.as_ref().map(MeterId::as_str), entry.meter.as_ref())
            && is_asked(key.as_ref().map(UsageKey::as_str), entry.key.as_ref())
            && is_asked(actor.as_deref(), Some(&entry.actor))
            && from.is_none_or(|from| at >= from)
            && to.is_none_or(|to| at < to)
    }
}

/// Which notices are asked for.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct NoticeFilter {
    /// Only those of this organization.
    #[param(value_type = Option<tollgate_api::Id>)]
    pub(crate) org: Option<OrgId>,
    /// Only notices of this kind.
    #[param(value_type = Option<String>, example = "limit_reached")]
    kind: Option<&'static str>,
    /// Only those whose entries were decided at this time or later (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

impl NoticeFilter {
    pub(crate) fn take(query: &mut Query) -> Result<Self, Failure> {
        Ok(Self {
            org: query.take_as("org", OrgId::new)?,
            kind: query.take_as("kind", |text| word(text, NoticeKind::NAMES))?,
            since: query.take_as("since", time)?,
        })
    }

    /// Whether a notice of an entry that was decided at a time passes.
    pub(crate) fn passes(&self, at: Timestamp, notice: &NoticeItem) -> bool {
        is_asked(self.org.as_ref().map(OrgId::as_str), Some(&notice.org))
            && is_asked(self.kind, Some(&notice.kind))
            && self.since.is_none_or(|since| at >= since)
    }
}

/// Which organizations are asked for.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OrgFilter {
    /// Only those with this plan.
    #[param(value_type = Option<tollgate_api::Id>)]
    plan: Option<PlanId>,
    /// Only those whose name or id contains this, whatever the case.
    #[param(value_type = Option<tollgate_api::Line>)]
    name: Option<String>,
    /// Only those that have used at least so many percent of their credit on some meter.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000, example = 80)]
    used_at_least: Option<u16>,
    /// With `true`, only those of which a usage was refused today, by the organization's calendar, for want of plan,
    /// credit or limit. The server remembers it since it was started.
    #[param(value_type = Option<bool>)]
    refused_today: Option<bool>,
}

impl OrgFilter {
    pub(crate) fn take(query: &mut Query) -> Result<Self, Failure> {
        Ok(Self {
            plan: query.take_as("plan", PlanId::new)?,
            name: query.take_as("name", |text| line(text).map(|name| name.to_lowercase()))?,
            used_at_least: query.take_as("used_at_least", |text| match text.parse() {
                Ok(percent @ 1..=1_000) => Ok(percent),
                _ => Err("must be a whole number of percent from 1 to 1000"),
            })?,
            refused_today: query.take_as("refused_today", |text| match text {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err("must be 'true' or 'false'"),
            })?,
        })
    }

    /// The plan that is asked for, where the catalog lacks it: no organization has it then.
    pub(crate) fn unknown_plan(&self, catalog: &Catalog) -> Option<&PlanId> {
        self.plan.as_ref().filter(|plan| catalog.plan(plan).is_none())
    }

    /// Whether an organization passes, but for its balance.
    pub(crate) fn passes(&self, org: &Org, now: Timestamp, refused_today: impl FnOnce(&Org) -> bool) -> bool {
        let has = |org: &'_ Org| org.plans.in_force(org.now(now)).and_then(|change| change.plan.clone());
        let named = |part: &String| {
            org.name.as_ref().is_some_and(|name| name.to_lowercase().contains(part))
                || org.id.as_str().to_lowercase().contains(part)
        };
        self.plan.as_ref().is_none_or(|plan| has(org).is_some_and(|has| has == *plan))
            && self.name.as_ref().is_none_or(named)
            && self.refused_today.is_none_or(|asked| refused_today(org) == asked)
    }

    /// Whether its balance matters.
    pub(crate) const fn asks_balance(&self) -> bool {
        self.used_at_least.is_some()
    }

    /// Whether a balance passes. Where there is no credit, all of it is used.
    pub(crate) fn passes_balance(&self, balance: &Balance) -> bool {
        let Some(percent) = self.used_at_least else { return true };
        balance.meters.iter().any(|(_, meter)| {
            let granted = meter.allowance + meter.topped_up;
            let is_asked_for = meter.remaining.is_some();
            let share = granted.scale_floor(percent.into(), 100);
            is_asked_for && (meter.used > Amount::ZERO || granted > Amount::ZERO) && meter.used >= share
        })
    }
}

fn is_asked(asked: Option<&str>, found: Option<&String>) -> bool {
    asked.is_none_or(|asked| found.is_some_and(|found| found == asked))
}

/// One of some words.
fn word(text: &str, words: &[&'static str]) -> Result<&'static str, String> {
    let known = words.iter().find(|word| **word == text).copied();
    known.ok_or_else(|| format!("must be one of '{}'", words.join("', '")))
}

fn line(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length == 0 || length > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(format!("must have 1 to {TEXT_CHARS_MAX} characters, none of them a control character"));
    }
    Ok(text.to_owned())
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    let in_range = |at: &Timestamp| (TIME_MIN_SECS..TIME_MAX_SECS).contains(&at.as_second());
    text.parse().ok().map(|Time(at)| at).filter(in_range).ok_or("must be a time such as 2026-11-21T00:00:00Z")
}
