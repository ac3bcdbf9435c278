//! What the catalog says of the compatible APIs.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::read::{amount, amounts, text_line};
use super::{Catalog, CatalogError};
use crate::limits::HOLD_SECS_MAX;
use crate::{Amount, MeterId, OnExpiry, OrgId, PlanId};

/// Settings of the compatible APIs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompatSettings {
    /// The billing API.
    #[serde(default)]
    pub billing: NewcomerSettings,
    /// The credits API.
    #[serde(default)]
    pub credits: CreditsSettings,
    /// What LiteLLM logs of calls.
    #[serde(default)]
    pub litellm: LitellmSettings,
    /// Portkey's webhook guardrail.
    #[serde(default)]
    pub portkey: PortkeySettings,
    /// Meter events as they are sent to Stripe.
    #[serde(default)]
    pub stripe: StripeSettings,
    /// Events as they are sent to Lago.
    #[serde(default)]
    pub lago: LagoSettings,
}

/// How events that would go to Lago are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LagoSettings {
    /// The billable metrics, by the codes of their events.
    pub metrics: BTreeMap<String, LagoMetric>,
}

/// How the events of a billable metric are usage of a meter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LagoMetric {
    /// What they use.
    pub meter: MeterId,
    /// The property with the quantity; without it each event uses 1.
    pub field: Option<String>,
    /// The property that names the user; none unless given.
    pub user: Option<String>,
}

/// How a meter event that would go to Stripe is read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StripeSettings {
    /// The key of the payload that names the organization; `stripe_customer_id` unless given.
    pub customer: String,
    /// The key of the payload with the quantity; `value` unless given.
    pub value: String,
    /// The key of the payload that names the user; none unless given.
    pub user: Option<String>,
    /// Meters by event name, where the name is not the meter's id.
    pub meters: BTreeMap<String, MeterId>,
}

impl Default for StripeSettings {
    fn default() -> Self {
        Self {
            customer: "stripe_customer_id".to_owned(),
            value: "value".to_owned(),
            user: None,
            meters: BTreeMap::new(),
        }
    }
}

/// How a call that LiteLLM logs is charged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LitellmSettings {
    /// What is charged, in USD; `usd` unless given.
    pub meter: MeterId,
    /// Who pays for keys that have neither an organization nor a team there; nobody unless given.
    pub org: Option<OrgId>,
}

impl Default for LitellmSettings {
    fn default() -> Self {
        Self { meter: MeterId::USD, org: None }
    }
}

/// How calls that pass Portkey's webhook guardrail are held and charged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PortkeySettings {
    /// What is held and charged; `usd` unless given.
    pub meter: MeterId,
    /// Who pays for calls whose metadata names no org; nobody unless given.
    pub org: Option<OrgId>,
    /// The key of the metadata that names the org; `org` unless given.
    pub org_key: String,
    /// How many tokens of answer are held for a call that does not say how many may come; 4,096 unless given.
    pub max_tokens: u32,
    /// How long a hold lasts, in seconds; an hour unless given.
    pub expires_in: u32,
    /// What becomes of a hold whose call nobody heard the end of; it is charged unless given.
    pub on_expiry: OnExpiry,
}

impl PortkeySettings {
    fn check(&self) -> Result<(), CatalogError> {
        text_line("compat.portkey", "org_key", &self.org_key)?;
        for (name, value, most) in
            [("max_tokens", self.max_tokens, u32::MAX), ("expires_in", self.expires_in, HOLD_SECS_MAX)]
        {
            if !(1..=most).contains(&value) {
                return Err(CatalogError(format!("compat.portkey: {name} must be from 1 to {most}")));
            }
        }
        Ok(())
    }
}

impl Default for PortkeySettings {
    fn default() -> Self {
        Self {
            meter: MeterId::USD,
            org: None,
            org_key: "org".to_owned(),
            max_tokens: 4_096,
            expires_in: 3_600,
            on_expiry: OnExpiry::Charge,
        }
    }
}

/// What a call costs in the credits API: USD × `exchange_rate` ÷ the conversion ratio of the caller's plan, rounded up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CreditsSettings {
    /// What is charged; `tokens` unless given.
    pub meter: MeterId,
    /// What a USD is worth in the currency of the conversion ratios; 35 unless given.
    #[serde(deserialize_with = "amount")]
    pub exchange_rate: Amount,
    /// What one unit of the meter is worth in that currency, by plan; 1 unless given.
    #[serde(deserialize_with = "amounts")]
    pub conversion_ratios: BTreeMap<PlanId, Amount>,
}

impl CreditsSettings {
    /// What one unit of the meter is worth for an org with a plan.
    #[must_use]
    pub fn conversion_ratio(&self, plan: &PlanId) -> Amount {
        self.conversion_ratios.get(plan).copied().unwrap_or_else(|| Amount::from_whole(1))
    }
}

impl Default for CreditsSettings {
    fn default() -> Self {
        Self {
            meter: MeterId::TOKENS,
            exchange_rate: Amount::from_whole(35),
            conversion_ratios: BTreeMap::new(),
        }
    }
}

/// What a compatible API does with an org that does not exist yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewcomerSettings {
    /// The plan they get; none unless given.
    pub plan: Option<PlanId>,
}

impl Catalog {
    pub(super) fn check_compat(&self) -> Result<(), CatalogError> {
        let CompatSettings { billing, credits, litellm: _, portkey, stripe, lago } = &self.compat;
        portkey.check()?;
        if let Some(id) = &billing.plan {
            let says = match self.plan(id) {
                None => Some("is not in the catalog"),
                Some(plan) if plan.retired => Some("is retired, so nobody new gets it"),
                Some(_) => None,
            };
            if let Some(says) = says {
                return Err(CatalogError(format!("compat.billing: plan '{id}' {says}")));
            }
        }
        if !credits.exchange_rate.is_positive() {
            return Err(CatalogError("compat.credits: exchange_rate must be greater than zero".to_owned()));
        }
        for (id, ratio) in &credits.conversion_ratios {
            let says = match self.plan(id) {
                None => "is not in the catalog",
                Some(_) if !ratio.is_positive() => "needs a ratio greater than zero",
                Some(_) => continue,
            };
            return Err(CatalogError(format!("compat.credits: conversion_ratios: plan '{id}' {says}")));
        }
        if let Some((event, meter)) = stripe.meters.iter().find(|(_, meter)| self.meter(meter).is_none()) {
            let says = format!("compat.stripe: meters: '{event}': meter '{meter}' is not in the catalog");
            return Err(CatalogError(says));
        }
        if let Some((code, metric)) =
            lago.metrics.iter().find(|(_, metric)| self.meter(&metric.meter).is_none())
        {
            let meter = &metric.meter;
            let says = format!("compat.lago: metrics: '{code}': meter '{meter}' is not in the catalog");
            return Err(CatalogError(says));
        }
        Ok(())
    }
}
