//! Orgs, plans, limits, top-ups, balances.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tollgate_domain::{LimitPath, MeterId, PlanId, UserId, Window};
use utoipa::ToSchema;

use crate::body::given;
use crate::text::word;
use crate::{Decimal, Id, LimitPathName, Line, Metadata, PositiveDecimal, WindowName};

/// Sets name and time zone; what is not given stays.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgRequest {
    /// A name for people; null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Line>)]
    pub name: Option<Option<String>>,
    /// The IANA time zone whose months and days its quotas go by; UTC unless set.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, example = "Europe/Berlin")]
    pub time_zone: Option<String>,
    /// What the caller keeps with it for itself, in place of all that was there; null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Metadata>)]
    pub metadata: Option<Option<Metadata>>,
}

/// An organization.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OrgItem {
    /// Its id.
    pub org: String,
    /// A name for people.
    pub name: Option<String>,
    /// Its time zone.
    pub time_zone: String,
    /// What its caller keeps with it for itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Its plan; null if none is set.
    pub plan: Option<String>,
    /// Its trial, running or over; null if it never had one.
    pub trial: Option<TrialItem>,
    /// The number of its latest ledger entry.
    pub version: u64,
    /// When it was first heard of.
    pub created_at: String,
    /// Per meter of its plan: how it stands.
    pub meters: BTreeMap<String, OrgMeterItem>,
}

/// How an organization stands on a meter, in a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OrgMeterItem {
    /// Used of its credit.
    pub used: Decimal,
    /// What it may still use; null where credit is not asked.
    pub remaining: Option<Decimal>,
    /// Expected usage of the whole month; null in a trial.
    pub projected: Option<Decimal>,
}

/// A trial.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TrialItem {
    /// When it started.
    pub started_at: String,
    /// When it ends, or ended.
    pub ends_at: String,
}

/// Some organizations, by id.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OrgPage {
    /// The organizations.
    pub orgs: Vec<OrgItem>,
    /// From where the next page is read (`?cursor=`); null when there is nothing more.
    pub next: Option<String>,
}

/// Sets the plan, now or later.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// A plan of the catalog.
    #[schema(value_type = Id, example = "enterprise")]
    pub plan: PlanId,
    /// From when: a time, a day such as `2026-12-01` (from its first moment in the organization's time zone), or
    /// `next_month`. At once unless given. What was scheduled before is called off.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, example = "next_month", min_length = 1)]
    pub at: Option<String>,
}

/// The plan in force, and what is scheduled.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlanReply {
    /// The organization.
    pub org: String,
    /// The plan in force; null: there is none.
    pub plan: Option<String>,
    /// Since when it is so.
    pub since: Option<String>,
    /// The change that is scheduled; null: there is none.
    pub scheduled: Option<ScheduledPlan>,
    /// Whether anything changed.
    pub changed: bool,
    /// Whether the plan that was set is on its way out.
    pub deprecated: bool,
}

/// A change of plan that is scheduled.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ScheduledPlan {
    /// The plan; null: the organization leaves.
    pub plan: Option<String>,
    /// From when, by the organization's clocks.
    #[schema(example = "2026-12-01T00:00:00+01:00")]
    pub at: String,
}

/// Sets or removes a limit.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitRequest {
    /// What is capped.
    #[schema(value_type = Id)]
    pub meter: MeterId,
    /// `org`: all usage together. `user`: that of each user, or of the one that `user` names. `path`: that at the path that
    /// `path` names.
    #[serde(deserialize_with = "word")]
    pub scope: ScopeName,
    /// The one user the limit is for, in place of the number for each user on the same meter and window.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Id, required = false)]
    pub user: Option<UserId>,
    /// The path the limit is on, with the scope `path`: all usage at and below it together. Where its last name is `*`, each path
    /// of so many names by itself.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = LimitPathName, required = false)]
    pub path: Option<LimitPath>,
    /// Over which stretch of time; `month` unless given.
    #[serde(default = "month", deserialize_with = "word")]
    #[schema(value_type = WindowName, required = false)]
    pub window: Window,
    /// How much may be used in it, at least 1; null removes the limit.
    // Told apart: a missing amount is an error.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(value_type = Option<PositiveDecimal>, required = true)]
    pub amount: Option<PositiveDecimal>,
}

const fn month() -> Window {
    Window::Month
}

/// Whose usage is capped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScopeName {
    /// All usage of the organization together.
    Org,
    /// That of each user, or of one user.
    User,
    /// That at a path and below it, or at each path below one.
    Path,
}

/// The limit is set or removed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LimitReply {
    /// The organization.
    pub org: String,
    /// Whether anything changed.
    pub changed: bool,
    /// The limits the organization has set itself.
    pub limits: Vec<LimitItem>,
}

/// The limits that an organization and its plan give.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LimitsReply {
    /// The organization.
    pub org: String,
    /// Its plan; null if none is set.
    pub plan: Option<String>,
    /// The limits: the organization's own, then those of its plan.
    pub limits: Vec<GivenLimitItem>,
}

/// A limit, and who gives it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GivenLimitItem {
    /// What is capped.
    pub meter: String,
    /// Whose usage.
    pub scope: ScopeName,
    /// The one user, if it is for one. Usage of that user goes by it in place of the limit on each user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The path, if it is on paths; `*` as its last name stands for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Over which stretch of time.
    #[schema(value_type = WindowName)]
    pub window: Window,
    /// How much may be used in it.
    pub amount: Decimal,
    /// Who gives it.
    pub from: LimitGiver,
    /// Whether usage goes by it: false where the organization's own limit takes the place of its plan's.
    pub in_force: bool,
}

/// Who gives a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitGiver {
    /// The organization: set by `PUT /v1/orgs/{org}/limits`.
    Org,
    /// Its plan in the catalog.
    Plan,
}

/// Says which shares of its credit an organization's notices tell of.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgNoticesRequest {
    /// The shares, in percent, each from 1 to 100, in any order; an empty list is none of them, and null is as the plan says.
    // Told apart: missing thresholds are an error.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(value_type = Option<Vec<u8>>, required = true, example = json!([50, 90, 100]))]
    pub thresholds: Option<Vec<Percent>>,
}

/// A share, from 1 to 100 percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u8);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PercentVisitor;
        impl Visitor<'_> for PercentVisitor {
            type Value = Percent;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number of percent from 1 to 100")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Percent, E> {
                let percent = u8::try_from(number).ok().filter(|percent| (1..=100).contains(percent));
                percent.map(Percent).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }
        }
        deserializer.deserialize_u64(PercentVisitor)
    }
}

/// Which shares of its credit an organization's notices tell of.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OrgNoticesReply {
    /// The organization.
    pub org: String,
    /// Its plan; null if none is set.
    pub plan: Option<String>,
    /// The shares in force, in percent, in order.
    #[schema(example = json!([50, 90, 100]))]
    pub thresholds: Vec<u8>,
    /// Who gives them.
    pub from: ThresholdsGiver,
    /// Whether anything changed.
    pub changed: bool,
}

/// Who gives the thresholds of an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdsGiver {
    /// The organization: set by `PUT /v1/orgs/{org}/notices`.
    Org,
    /// Its plan in the catalog.
    Plan,
    /// The catalog, for all organizations.
    Catalog,
}

/// A link to the customer's own page.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortalLinkRequest {
    /// For how many seconds it is good; a day unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 31_622_400)]
    pub expires_in: Option<u32>,
}

/// A link to the customer's own page: whoever has it sees this organization, and changes nothing.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PortalLinkReply {
    /// Whose page it is.
    pub org: String,
    /// Where the page is on this server.
    #[schema(example = "/portal/MTc5Njg…")]
    pub path: String,
    /// When it ends (RFC 3339).
    pub expires_at: String,
}

/// The balance of an organization.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BalanceReply {
    /// The organization.
    pub org: String,
    /// Its plan; null if none is set.
    pub plan: Option<String>,
    /// When the balance was looked at.
    pub at: String,
    /// Per meter.
    pub meters: BTreeMap<String, MeterBalanceReply>,
}

/// The balance of a meter.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MeterBalanceReply {
    /// The plan's allowance: of this month, or of the whole trial.
    pub allowance: Decimal,
    /// Top-ups in force.
    pub topped_up: Decimal,
    /// Used of allowance and top-ups, and beyond them where that is allowed.
    pub used: Decimal,
    /// What holds reserve of it: neither used nor remaining.
    pub held: Decimal,
    /// What may still be used; null where credit is not asked. `used`, `held` and `remaining` add up to `allowance` and
    /// `topped_up`.
    pub remaining: Option<Decimal>,
    /// Billed beyond the credit this month.
    pub overage: Decimal,
    /// Counted this month, whatever it was paid with.
    pub month: Decimal,
    /// Counted ever.
    pub lifetime: Decimal,
    /// When the allowance starts afresh; null in a trial.
    pub resets_at: Option<String>,
    /// Expected usage of the whole month; null in a trial.
    pub projected: Option<Decimal>,
    /// The day on which the credit runs out at this pace. Null if it lasts for the month, is used up already (`remaining` says
    /// so), or is not asked.
    pub runs_out_on: Option<String>,
    /// The credit in force, in the order it burns.
    pub credits: Vec<CreditItem>,
    /// Top-ups that begin later, the first to begin first.
    pub future_credits: Vec<CreditItem>,
    /// The limits in force.
    pub limits: Vec<LimitItem>,
    /// Users of this month, by id: as many as `users_limit` says, as of the same moment as the rest.
    pub users: Vec<UserItem>,
    /// The cursor from which `GET /v1/orgs/{org}/users?meter=…` goes on; null when these are all, or none are asked for.
    pub users_next: Option<String>,
}

/// One source of credit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreditItem {
    /// `allowance`, `trial` or `top_up`.
    pub source: String,
    /// The ledger entry that made a top-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// How much was granted.
    pub granted: Decimal,
    /// How much of it is used.
    pub used: Decimal,
    /// Lower burns first.
    pub priority: u8,
    /// From when it can be used; of a top-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_at: Option<String>,
    /// When it expires; null is never.
    pub expires_at: Option<String>,
}

/// A limit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LimitItem {
    /// What is capped.
    pub meter: String,
    /// Whose usage.
    pub scope: ScopeName,
    /// The one user, if it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The path, if it is on paths; `*` as its last name stands for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Over which stretch of time.
    #[schema(value_type = WindowName)]
    pub window: Window,
    /// How much may be used in it.
    pub amount: Decimal,
    /// Used of it; null for a limit on each user, and on each path below another.
    pub used: Option<Decimal>,
    /// What holds reserve of it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Decimal>,
    /// When it starts afresh; null is never.
    pub resets_at: Option<String>,
}

/// A path below an organization, and the limits on it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PathItem {
    /// The path.
    pub path: String,
    /// The limits that usage at it and below it goes by: the path's own, not those of what it lies below.
    pub limits: Vec<PathLimitItem>,
}

/// How a limit on a path stands.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PathLimitItem {
    /// Over which stretch of time.
    #[schema(value_type = WindowName)]
    pub window: Window,
    /// How much may be used in it.
    pub amount: Decimal,
    /// Used of it.
    pub used: Decimal,
    /// What holds reserve of it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Decimal>,
    /// What is left of it.
    pub remaining: Decimal,
    /// When it starts afresh; null is never, or not yet begun.
    pub resets_at: Option<String>,
}

/// Some paths, by name.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PathPage {
    /// The meter.
    pub meter: String,
    /// The paths at which something was counted or is held, because a limit is on them.
    pub paths: Vec<PathItem>,
    /// From where the next page is read; null when there is nothing more.
    pub next: Option<String>,
}

/// The usage of a user in a month.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UserItem {
    /// The user.
    pub user: String,
    /// Used this month.
    pub used: Decimal,
    /// The user's limit a month, if there is one.
    pub limit: Option<Decimal>,
    /// What the user may still use of it.
    pub remaining: Option<Decimal>,
}

/// Some users, by id.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UserPage {
    /// The meter.
    pub meter: String,
    /// The month, such as `2026-11`.
    pub month: String,
    /// The users.
    pub users: Vec<UserItem>,
    /// From where the next page is read; null when there is nothing more.
    pub next: Option<String>,
}
