//! Going through a ledger again under the catalog it was written under.

use std::collections::BTreeSet;

use tollgate_domain::{Catalog, Entry, EntryKind, OrgId, Rerun, TakenBack, Window, Zone};

use super::{Books, hold};

/// What a catalog allowed, it would allow again: in every month of every org that knew no other catalog and held nothing. What is
/// captured burns the credit that its hold reserved, and there none is reserved.
///
/// # Errors
/// A sentence on the first usage that would be denied.
pub fn check(books: &Books<'_>) -> Result<(), String> {
    for (org, entries) in books.ledgers {
        if entries.iter().any(|entry| matches!(entry.kind, EntryKind::Held(_))) {
            continue;
        }
        let versions: BTreeSet<u32> = entries.iter().map(|entry| entry.catalog).collect();
        let mut versions = versions.into_iter();
        let (Some(version), None) = (versions.next(), versions.next()) else { continue };
        let index = usize::try_from(version).unwrap_or_default().wrapping_sub(1);
        let Some(catalog) = books.catalogs.get(index) else { continue };
        // Of every zone: a month that no entry falls in is asked for in vain.
        let month = |entry: &Entry| Zone::UTC.period_at(Window::Month, entry.at).number;
        let months: BTreeSet<i32> =
            entries.iter().map(month).flat_map(|month| month - 1..=month + 1).collect();
        for month in months {
            allows_again(org, entries, month, catalog)?;
        }
    }
    Ok(())
}

fn allows_again(org: &OrgId, entries: &[Entry], month: i32, catalog: &Catalog) -> Result<(), String> {
    let mut taken_back = TakenBack::default();
    entries.iter().for_each(|entry| taken_back.see(entry));
    let mut rerun = Rerun::new(org.clone(), month, [catalog, catalog], taken_back);
    let _ended = entries.iter().all(|entry| rerun.see(entry));
    for denials in rerun.denials() {
        hold!(
            denials.is_empty(),
            "month {month} of '{org}' was allowed, and would be denied now by the same catalog: {denials:?}"
        );
    }
    Ok(())
}
