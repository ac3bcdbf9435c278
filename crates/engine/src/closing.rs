//! Months that close by themselves: looked for a page of orgs at a time, and closed like those that people close.

use std::collections::BTreeMap;

use tollgate_domain::{
    Actor, BillError, CloseDenial, CloseMonth, Org, OrgCommand, OrgDecision, Period, SignedDuration, Window,
    first_to_bill,
};
use tollgate_storage::{Cursor, Row, Scan, Store};

use crate::limits::{CLOSING_MONTHS_MAX, CLOSING_ORGS_MAX};
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
        let page = self.scan(&Scan::Orgs, from, CLOSING_ORGS_MAX).await?;
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

    /// The months of an org that are to be closed, oldest first: from the first that has something to bill, and of an org
    /// that was billed before the latest ones too, for what its closed months came to differ by.
    fn due_months(&self, org: &Org, grace: SignedDuration) -> std::ops::Range<i32> {
        let nothing = 0..0;
        let Ok(latest_end) = self.clock().now().checked_sub(grace) else { return nothing };
        let running = org.zone.period_at(Window::Month, latest_end).number;
        let billed = org.billed_until.map(|billed| {
            let next = billed.saturating_add(1);
            next.max(running.saturating_sub(CLOSING_MONTHS_MAX))
        });
        let first = first_to_bill(org, &self.catalog().catalog);
        first.into_iter().chain(billed).min().map_or(nothing, |first| first..running)
    }
}
