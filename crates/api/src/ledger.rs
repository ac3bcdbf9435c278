//! The ledger, notices, and series of usage.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Decimal;

/// Some entries of an organization's ledger.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LedgerPage {
    /// The entries.
    pub entries: Vec<EntryItem>,
    /// From where the next page is read (`?cursor=`); null when there is nothing more.
    pub next: Option<String>,
    /// Oldest first only: from where what comes after these entries is read, also what is not there yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
}

/// One entry. Members that say nothing about its kind are left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct EntryItem {
    /// Its number in the organization's ledger: 1, 2, 3 …
    pub entry: u64,
    /// When it was decided, by the server's time.
    pub at: String,
    /// `used`, `refused`, `reversed`, `held`, `hold_ended`, `org_set`, `plan_set`, `plan_called_off`, `limit_set`, `thresholds_set`,
    /// `topped_up`, `top_up_voided`, `bill_closed`, `shipped`, `budget_told`.
    pub kind: String,
    /// Who caused it: the id of an API key, `configured` (the key of the settings), `local` (a caller without a key, from
    /// the server's own machine), `person:` and a name (somebody who signed in to the console by a provider of OpenID Connect), or
    /// the server itself: `closing`, `shipper`, `system`.
    pub actor: String,
    /// The version of the catalog it was decided on.
    pub catalog: u32,
    /// The meter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where below the organization; of a limit which path it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The quantity used, refused, taken back or added; the amount of a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Decimal>,
    /// The caller's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When a usage happened, as the caller said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Whether it was recorded after the fact: counted whatever credit and limits said, by its own time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
    /// What the caller told about a usage.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
    /// Which credit was burned, or put back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub burns: Vec<BurnLine>,
    /// How credit that came into force settled what an overdraft took; or was given back, with usage taken back that it had
    /// settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub settled: Vec<BurnLine>,
    /// Which periods were counted in, such as `2026-11` and `2026-11-21`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub periods: Vec<String>,
    /// What the organization could still use after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<Decimal>,
    /// The number of the hold that was made, captured or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<u64>,
    /// The entry that a reversal took back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverses: Option<u64>,
    /// The plan that was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Why a usage was refused, or why credit was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the caller keeps with it for itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// For people: the whole entry in a line.
    pub summary: String,
    /// What people should know of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// Credit burned from one source.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BurnLine {
    /// `allowance 2026-11`, `trial`, `top_up 17` (the entry that made it), `overdraft`, `overage`.
    pub source: String,
    /// How much.
    pub amount: Decimal,
}

/// Some notices, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NoticePage {
    /// The notices.
    pub notices: Vec<NoticeItem>,
    /// From where the next page is read; null when there is nothing more.
    pub next: Option<String>,
    /// From where what comes after these notices is read, also what is not there yet.
    pub resume: String,
}

/// A notice.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NoticeItem {
    /// Unique: the organization, the entry, and which of the entry's notices.
    pub id: String,
    /// The organization.
    pub org: String,
    /// `threshold_crossed`, `on_track_to_run_out`, `limit_reached`, `trial_ending`, `trial_ended`, `first_denial`,
    /// `top_up_granted`, `bill_closed`, `gateway_budget`.
    pub kind: String,
    /// When the entry that caused it was decided.
    pub at: String,
    /// The entry that caused it.
    pub entry: u64,
    /// The meter.
    pub meter: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The path, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The period, such as `2026-11`.
    pub period: Option<String>,
    /// For people: what happened.
    pub summary: String,
}

/// Usage over time.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageSeries {
    /// The organization.
    pub org: String,
    /// The meter.
    pub meter: String,
    /// `minute`, `hour`, `day`, `week` or `month`.
    pub window: String,
    /// A point for each window with usage, oldest first; of users, user by user.
    pub points: Vec<UsagePoint>,
    /// From where the next page is read; null when there is nothing more.
    pub next: Option<String>,
}

/// The usage of one window, or of a part of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsagePoint {
    /// The window: `2026-11-21T09:00Z`, `2026-11-21` or `2026-11`.
    pub period: String,
    /// Its first moment.
    pub start: Option<String>,
    /// The first moment after it.
    pub end: Option<String>,
    /// The user, where the series is of users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The values of the properties it is grouped by; null is that of usage without the property.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Option<String>>,
    /// How much was used.
    pub quantity: Decimal,
}
