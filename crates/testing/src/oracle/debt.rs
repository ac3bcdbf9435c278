//! What overdrafts took, and how credit pays it; credit that is taken back.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tollgate_domain::{Amount, Catalog, ConfigDenial, MeterId, Quantity, UsageKey, Void, VoidTarget, Window};

use super::history::{Granted, History, Pot, PotInForce, burn};
use super::{Look, sum};

/// A meter, and how much of which of its top-ups.
type Unused<'a> = (&'a MeterId, Vec<(u64, Amount)>);

/// What overdrafts took of a meter.
#[derive(Debug, Default)]
pub(super) struct Debt {
    /// What is owed, by the entry of the usage.
    pub(super) owed: Vec<(u64, Amount)>,
    /// When the account was last touched while something was owed.
    touched: Option<Timestamp>,
    /// What paid for what a usage took, by its entry.
    paid: Vec<(u64, Pot, Amount)>,
}

impl Granted<'_> {
    /// How much it grants, less what was taken back, where so much of it is burned.
    pub(super) fn granted(&self, burned: Amount) -> Amount {
        if self.closed { burned } else { self.top_up.amount.amount() - self.voided }
    }
}

impl<'a> History<'a> {
    /// What an overdraft took beyond all credit and is owed.
    #[must_use]
    pub fn debt(&self, meter: &MeterId) -> Amount {
        sum(self.debts.get(meter).into_iter().flat_map(|debt| &debt.owed).map(|(_, owed)| *owed))
    }

    /// Lets all credit that came into force since the last time, in order, pay what is owed on a meter.
    pub fn pay(&mut self, at: Timestamp, catalog: &Catalog, meter: &'a MeterId) {
        if self.debt(meter) <= Amount::ZERO {
            return;
        }
        let since = self.debts.get(meter).and_then(|debt| debt.touched).unwrap_or(at);
        let grants = self.grants.iter().filter(|grant| grant.top_up.meter == *meter);
        let mut times: BTreeSet<Timestamp> =
            grants.map(|grant| grant.from).filter(|from| since < *from).collect();
        // A plan may have been set after the last entry on the meter, at the same time.
        times.extend(self.plans.iter().map(|setting| setting.since).filter(|from| since <= *from));
        let mut months = Vec::new();
        let mut end = self.calendar.end(&self.zone, Window::Month, since);
        while let Some(next) = end.filter(|end| *end <= at) {
            months.push(next);
            end = self.calendar.end(&self.zone, Window::Month, next);
        }
        // Longer than ten years nobody looks back.
        times.extend(months.into_iter().rev().take(120));
        for time in times.into_iter().filter(|time| *time < at) {
            self.pay_at(time, catalog, meter, Look::Record);
        }
        self.pay_at(at, catalog, meter, Look::Gate);
    }

    /// Lets the credit in force at a moment pay what it can.
    pub(super) fn pay_at(&mut self, at: Timestamp, catalog: &Catalog, meter: &'a MeterId, look: Look) {
        let mut pots = self.pots(catalog, at, meter, look);
        for pot in &mut pots {
            // However the moment is looked at, what was burned of the month was burned.
            pot.burned = self.burned_of_allowance(meter, pot.pot, Look::Gate);
        }
        let (burns, _) = burn(&pots, self.debt(meter));
        let debt = self.debts.entry(meter).or_default();
        for (pot, amount) in burns {
            *self.burned.entry((meter, pot)).or_default() += amount;
            let mut left = amount;
            for (entry, owed) in &mut debt.owed {
                let part = if *owed < left { *owed } else { left };
                *owed -= part;
                left -= part;
                debt.paid.push((*entry, pot, part));
            }
        }
    }

    /// Notes that an entry was made on a meter.
    pub(super) fn touch(&mut self, at: Timestamp, meter: &'a MeterId) {
        let owes = self.debt(meter) > Amount::ZERO;
        if let Some(debt) = self.debts.get_mut(meter) {
            debt.touched = owes.then(|| debt.touched.map_or(at, |before| before.max(at)));
        }
    }

    /// Takes a usage back: it owes no longer, what paid for it is given back, and what came back pays what is still owed.
    pub(super) fn take_back(&mut self, entry: u64, at: Timestamp, catalog: &Catalog, key: &UsageKey) {
        let known = self.uses.iter().rev().find(|known| known.key == key);
        let Some(meter) = known.map(|known| &known.usage.meter) else { return };
        self.pay(at, catalog, meter);
        let Some(counted) = self.uses.iter_mut().rev().find(|known| known.key == key) else { return };
        counted.reversed_by = Some(entry);
        for (pot, amount) in &counted.burns {
            *self.burned.entry((meter, *pot)).or_default() -= *amount;
        }
        let debt = self.debts.entry(meter).or_default();
        debt.owed.retain(|(owes, _)| *owes != counted.entry);
        for (_, pot, amount) in debt.paid.iter().filter(|(owes, ..)| *owes == counted.entry) {
            *self.burned.entry((meter, *pot)).or_default() -= *amount;
        }
        debt.paid.retain(|(owes, ..)| *owes != counted.entry);
        self.pay_at(at, catalog, meter, Look::Gate);
        self.touch(at, meter);
    }

    /// Takes credit back.
    pub(super) fn void(&mut self, at: Timestamp, catalog: &Catalog, void: &'a Void) {
        let Ok((meter, parts)) = self.unused_parts(at, catalog, void) else { return };
        let closes = self.closes(at, void);
        for grant in &mut self.grants {
            let taken = parts.iter().filter(|(entry, _)| *entry == grant.entry);
            grant.voided += sum(taken.map(|(_, amount)| *amount));
            grant.closed |= closes == Some(grant.entry);
            grant.renamed |= void.key.is_some() && grant.top_up.key == void.key;
        }
        self.touch(at, meter);
    }

    /// The top-up that is taken back as a whole, if it was not before and has not expired.
    pub(super) fn closes(&self, at: Timestamp, void: &Void) -> Option<u64> {
        let one = self.only(void).filter(|_| void.amount.is_none())?;
        Some(one.entry).filter(|_| !one.closed && one.until.is_none_or(|until| at < until))
    }

    /// The one top-up that is meant.
    fn only(&self, void: &Void) -> Option<&Granted<'a>> {
        match &void.target {
            VoidTarget::Meter(_) => None,
            VoidTarget::Entry(entry) => self.grants.iter().rev().find(|grant| grant.entry == *entry),
            VoidTarget::Key(key) => {
                let mut latest_first = self.grants.iter().rev();
                latest_first.find(|grant| !grant.renamed && grant.top_up.key.as_ref() == Some(key))
            }
        }
    }

    /// How much of which top-ups is taken back, of those that burn last first; what is owed is paid before.
    pub(super) fn unused_parts(
        &mut self,
        at: Timestamp,
        catalog: &Catalog,
        void: &'a Void,
    ) -> Result<Unused<'a>, ConfigDenial> {
        let one = self.only(void).map(|grant| (&grant.top_up.meter, grant.entry));
        let meter = match (&void.target, one) {
            (VoidTarget::Meter(meter), _) if catalog.meter(meter).is_none() => {
                return Err(ConfigDenial::UnknownMeter);
            }
            (VoidTarget::Meter(meter), _) | (_, Some((meter, _))) => meter,
            _ => return Err(ConfigDenial::UnknownTopUp),
        };
        self.pay(at, catalog, meter);
        let unused = match one {
            Some((_, entry)) => self.unused_of(at, meter, entry),
            None => self.pots(catalog, at, meter, Look::Gate).iter().rev().filter_map(of_top_up).collect(),
        };
        let most = sum(unused.iter().map(|(_, amount)| *amount));
        let mut left = void.amount.map_or(most, Quantity::amount);
        if left > most {
            return Err(ConfigDenial::MoreThanUnused { unused: most });
        }
        let mut parts = Vec::new();
        for (entry, amount) in unused {
            let taken = if amount < left { amount } else { left };
            if taken > Amount::ZERO {
                parts.push((entry, taken));
                left -= taken;
            }
        }
        Ok((meter, parts))
    }

    fn unused_of(&self, at: Timestamp, meter: &MeterId, entry: u64) -> Vec<(u64, Amount)> {
        let grants = self.grants.iter().filter(|grant| grant.entry == entry);
        let runs = grants.filter(|grant| grant.until.is_none_or(|until| until > at));
        let burned = self.burned(meter, Pot::TopUp(entry));
        let held = self.held_of(meter, Pot::TopUp(entry));
        runs.map(|grant| (entry, (grant.granted(burned) - burned - held).at_least_zero())).collect()
    }
}

fn of_top_up(pot: &PotInForce) -> Option<(u64, Amount)> {
    match pot.pot {
        Pot::TopUp(entry) => Some((entry, pot.left())),
        _ => None,
    }
}
