//! Months that close by themselves: looked for a page of orgs at a time, and closed like those that people close.

use std::collections::BTreeMap;

use tollgate_domain::{
    Actor, BillError, CloseDenial, CloseMonth, Org, OrgCommand, OrgDecision, Period, SignedDuration,
    Timestamp, Window,
};
use tollgate_storage::{Cursor, Row, Scan, Store};

use crate::limits::{CLOSING_MONTHS_MAX, CLOSING_ORGS_MAX};
use crate::read::store_error;
use crate::{Engine, EngineError};

/// What became of one look for months to close.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// How many months were closed, by the label of the month.
    pub closed: BTreeMap<String, u64>,
    /// Months that cannot be rated, so that a person must see to them.
    pub unrated: u64,
    /// Where the next look begins; `None` when all orgs have been looked at.
    pub next: Option<Cursor>,
}

impl<S: Store> Engine<S> {
    /// Looks at some orgs, and closes those of their months that ended at least `grace` ago in the org's own zone: each
    /// org's oldest first.
    ///
    /// It may be cut off anywhere, asked again, and run by several engines on one store: a month closes once. It reads
    /// at most [`CLOSING_ORGS_MAX`] orgs, and asks for one month at a time, so other callers are heard in between.
    ///
    /// # Errors
    /// [`EngineError`]: what was not closed is closed by a later look from the same place.
    pub async fn close_due(
        &self,
        grace: SignedDuration,
        from: Option<&Cursor>,
    ) -> Result<Closing, EngineError> {
        let page = self.store.scan(&Scan::Orgs, from, CLOSING_ORGS_MAX).await.map_err(store_error)?;
        let mut closing = Closing { next: page.next, ..Closing::default() };
        for row in page.rows {
            let Row::Org(org) = row else { continue };
            for number in self.due_months(&org, grace) {
                let month = Period::month(number);
                match self
                    .submit(
                        &Actor::Closing,
                        org.id.clone(),
                        OrgCommand::CloseMonth(CloseMonth { month: number }),
                    )
                    .await?
                {
                    OrgDecision::Close(Ok(closed)) if closed.entry.is_some() => {
                        self.metrics().months_closed.inc();
                        *closing.closed.entry(month.label()).or_default() += 1;
                    }
                    OrgDecision::Close(Err(CloseDenial::Bill(BillError::Rate(error)))) => {
                        tracing::warn!(org = org.id.as_str(), month = month.label(), %error, "a month cannot be closed");
                        closing.unrated += 1;
                        // Months close in order: a person sees to this one first.
                        break;
                    }
                    // Closed before; or there was no plan in it.
                    _ => {}
                }
            }
        }
        Ok(closing)
    }

    /// The months of an org that are to be closed, oldest first: those after the latest closed one, or since its first
    /// plan.
    fn due_months(&self, org: &Org, grace: SignedDuration) -> std::ops::Range<i32> {
        let nothing = 0..0;
        let Ok(latest_end) = self.clock().now().checked_sub(grace) else { return nothing };
        let Some(first_plan) = org.former_plans.first().or(org.plan.as_ref()) else { return nothing };
        let month_at = |at: Timestamp| org.zone.period_at(Window::Month, at).number;
        // An org that was never billed and never could be has nothing to close.
        let catalog = self.catalog().catalog;
        let has_prices = |plan: &tollgate_domain::PlanState| {
            catalog.plan(&plan.id).is_some_and(|plan| !plan.prices.is_empty())
        };
        if org.bills == 0 && !org.former_plans.iter().chain(&org.plan).any(has_prices) {
            return nothing;
        }
        let running = month_at(latest_end);
        let first =
            org.billed_until.map_or_else(|| month_at(first_plan.since), |billed| billed.saturating_add(1));
        first.max(running.saturating_sub(CLOSING_MONTHS_MAX))..running
    }
}
