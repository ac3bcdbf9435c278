//! Credit: the pots an org can burn on a meter, and in which order they burn.

use smallvec::SmallVec;

use crate::catalog::{Enforcement, MeterRules};
use crate::counter::ScopeRef;
use crate::decide::settle::add_burn;
use crate::moment::Moment;
use crate::records::Standing;
use crate::{Account, Amount, Burn, Burns, Counter, MeterId, Org, Source, Timestamp, Window};

/// One source of credit in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pot {
    pub(crate) source: Source,
    pub(crate) granted: Amount,
    pub(crate) burned: Amount,
    /// What holds reserve of it.
    pub(crate) held: Amount,
    /// Whether what is unused of it was taken back: then it grants what is burned of it, which holds can still do.
    pub(crate) closed: bool,
    pub(crate) priority: u8,
    /// While less than this remains, it burns after all others.
    pub(crate) last_below: Amount,
    pub(crate) effective_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Pot {
    /// What can still be burned; never negative, also when the plan became smaller than what was used.
    pub(crate) fn remaining(&self) -> Amount {
        (self.granted - self.burned - self.held).at_least_zero()
    }

    /// By what it burns before or after another.
    fn rank(&self) -> impl Ord + use<> {
        let last = self.remaining() < self.last_below;
        (last, self.priority, self.expires_at.unwrap_or(Timestamp::MAX), self.effective_at, self.source)
    }

    /// What was burned of what it grants now: with what is held and what remains, that is all of it.
    fn used(&self) -> Amount {
        self.burned.min(self.granted)
    }

    /// What is held of what it grants now.
    fn shown_held(&self) -> Amount {
        self.held.min(self.granted - self.used())
    }
}

/// All credit of an org on a meter at a moment, in the order it burns.
#[derive(Clone, Debug)]
pub(crate) struct Credit {
    /// Most often the allowance alone.
    pub(crate) pots: SmallVec<[Pot; 1]>,
    pub(crate) debt: Amount,
    /// What holds will take beyond all credit: debt, once it is captured.
    pub(crate) held_debt: Amount,
    pub(crate) enforcement: Enforcement,
    /// Whether the org is on a trial that runs.
    pub(crate) trial: bool,
    /// What was counted of the org in the month …
    pub(crate) month: Amount,
    /// … and the part of it that no credit covered.
    pub(crate) overage: Amount,
    /// What is held of the org in the month.
    pub(crate) held_in_month: Amount,
}

impl Credit {
    pub(crate) fn new(
        org: &Org,
        meter: &MeterId,
        plan: &MeterRules,
        account: &Account,
        moment: &Moment,
        month: &Counter,
    ) -> Self {
        let MeterRules { trial, allowance, .. } = plan;
        let held = |source| org.held_of(meter, source);
        let mut pots: SmallVec<[Pot; 1]> = SmallVec::new();
        if let Some(allowance) = allowance {
            let (source, burned, from, until) = match &org.trial {
                Some(given) if *trial => {
                    (Source::Trial, account.trial_burned, given.started_at, given.ends_at)
                }
                _ => {
                    let segment = moment.period(Window::Segment).number;
                    let burned = account.allowance_burned(moment.month.number);
                    (Source::Allowance(segment), burned, moment.month_start, moment.month_end)
                }
            };
            // A plan that is a trial gives nothing to an org that has none, or whose trial is over.
            if !*trial || (source == Source::Trial && moment.at < until) {
                pots.push(Pot {
                    source,
                    granted: allowance.amount,
                    burned,
                    held: held(source),
                    closed: false,
                    priority: allowance.priority,
                    last_below: allowance.last_below,
                    effective_at: from,
                    expires_at: Some(until),
                });
            }
        }
        let in_force = account.grants.iter().filter(|grant| {
            grant.effective_at <= moment.at && grant.expires_at.is_none_or(|expiry| moment.at < expiry)
        });
        pots.extend(in_force.map(|grant| Pot {
            source: Source::Grant(grant.entry),
            granted: grant.granted(),
            burned: grant.burned,
            held: held(Source::Grant(grant.entry)),
            closed: grant.closed,
            priority: grant.priority,
            last_below: Amount::ZERO,
            effective_at: grant.effective_at,
            expires_at: grant.expires_at,
        }));
        pots.sort_by_key(Pot::rank);
        let enforcement = allowance.as_ref().map(|allowance| allowance.enforcement).unwrap_or_default();
        let (month, overage) = (month.value, month.extras().overage);
        Self {
            pots,
            debt: account.debt(),
            held_debt: held(Source::Overdraft),
            enforcement,
            trial: *trial,
            month,
            overage,
            held_in_month: org.held_in(meter, ScopeRef::Org, moment.month),
        }
    }

    /// Looks at the allowance as it is at the end of its segment of the month, whatever was burned later.
    pub(crate) fn as_of_segment(&mut self, account: &Account) {
        for pot in &mut self.pots {
            if let Source::Allowance(segment) = pot.source {
                pot.burned = account.allowance_burned_until(segment);
            }
        }
        self.pots.sort_by_key(Pot::rank);
    }

    /// What may still be used; below zero after an overdraft.
    pub(crate) fn available(&self) -> Amount {
        self.pots.iter().map(Pot::remaining).sum::<Amount>() - self.debt - self.held_debt
    }

    /// Whether nothing of it is left, nor held.
    pub(crate) fn is_used_up(&self) -> bool {
        self.is_asked() && !(self.available() + self.held()).is_positive()
    }

    /// What holds reserve of it.
    fn held(&self) -> Amount {
        self.pots.iter().map(Pot::shown_held).sum::<Amount>() + self.held_debt
    }

    /// Whether usage is refused where there is no credit.
    pub(crate) const fn is_asked(&self) -> bool {
        matches!(self.enforcement, Enforcement::Hard | Enforcement::Overdraft)
    }

    /// Whether the credit lets a quantity pass.
    pub(crate) fn covers(&self, quantity: Amount) -> bool {
        match self.enforcement {
            Enforcement::Hard => self.available() >= quantity,
            Enforcement::Overdraft => self.available().is_positive(),
            Enforcement::Soft | Enforcement::None => true,
        }
    }

    /// Burns a quantity by priority, nearest expiry, oldest; of an allowance that is nearly used up, last.
    pub(crate) fn burn(&mut self, quantity: Amount) -> Burns {
        self.burn_and_spill(quantity, self.enforcement)
    }

    /// Burns a quantity that has been used already: what no credit covers is overage and makes no debt.
    pub(crate) fn burn_afterwards(&mut self, quantity: Amount) -> Burns {
        let spill = match self.enforcement {
            Enforcement::None => Enforcement::None,
            Enforcement::Hard | Enforcement::Overdraft | Enforcement::Soft => Enforcement::Soft,
        };
        self.burn_and_spill(quantity, spill)
    }

    /// Reserves a quantity: what would burn is held.
    pub(crate) fn reserve(&mut self, quantity: Amount) -> Burns {
        let before = self.clone();
        let burns = self.burn(quantity);
        *self = before;
        burns.iter().for_each(|burn| self.hold(*burn));
        self.held_in_month += quantity;
        burns
    }

    /// Holds an amount of a source; gives it back, if it is below zero.
    fn hold(&mut self, burn: Burn) {
        match burn.source {
            Source::Overdraft => self.held_debt += burn.amount,
            source => {
                if let Some(pot) = self.pots.iter_mut().find(|pot| pot.source.shares_with(source)) {
                    pot.held += burn.amount;
                }
            }
        }
    }

    /// Gives back what was held.
    pub(crate) fn release(&mut self, quantity: Amount, reserved: &[Burn]) {
        reserved.iter().for_each(|burn| self.hold(Burn { source: burn.source, amount: -burn.amount }));
        self.held_in_month -= quantity;
    }

    /// Burns what was held of some sources, and what it is beyond as used already; what it burned.
    pub(crate) fn capture(&mut self, within: Amount, mut burns: Burns, beyond: Amount) -> Burns {
        self.release(within, &burns);
        for burn in &burns {
            match burn.source {
                Source::Overdraft => self.debt += burn.amount,
                Source::Overage => self.overage += burn.amount,
                source => {
                    if let Some(pot) = self.pots.iter_mut().find(|pot| pot.source.takes_in(source)) {
                        pot.burned += burn.amount;
                        if pot.closed {
                            pot.granted = pot.burned;
                        }
                    }
                }
            }
        }
        self.month += within;
        for burn in self.burn_afterwards(beyond) {
            add_burn(&mut burns, burn.source, burn.amount);
        }
        burns
    }

    fn burn_and_spill(&mut self, quantity: Amount, spill: Enforcement) -> Burns {
        let (mut burns, beyond) = self.draw(quantity);
        self.month += quantity;
        if beyond.is_positive() {
            let trial = self.pots.iter_mut().find(|pot| pot.source == Source::Trial);
            match (spill, trial) {
                // What a trial takes beyond its allowance stays with the trial.
                (_, Some(trial)) => {
                    trial.burned += beyond;
                    add_burn(&mut burns, Source::Trial, beyond);
                }
                (Enforcement::Soft, None) => {
                    self.overage += beyond;
                    add_burn(&mut burns, Source::Overage, beyond);
                }
                (Enforcement::None, None) => {}
                (Enforcement::Hard | Enforcement::Overdraft, None) => {
                    self.debt += beyond;
                    add_burn(&mut burns, Source::Overdraft, beyond);
                }
            }
        }
        burns
    }

    /// Settles the debt as far as the credit goes.
    pub(crate) fn settle(&mut self) -> Burns {
        let (mut burns, left) = self.draw(self.debt);
        add_burn(&mut burns, Source::Overdraft, left - self.debt);
        self.debt = left;
        burns
    }

    /// Takes an amount from the pots in their order; what was taken from which, and what they could not give.
    fn draw(&mut self, amount: Amount) -> (Burns, Amount) {
        let mut burns = Burns::new();
        let mut left = amount;
        for pot in &mut self.pots {
            let taken = left.min(pot.remaining());
            if taken.is_positive() {
                pot.burned += taken;
                left -= taken;
                burns.push(Burn { source: pot.source, amount: taken });
            }
        }
        (burns, left)
    }

    /// How the org stands by this credit.
    pub(crate) fn standing(&self, user_used: Option<Amount>) -> Standing {
        let granted = self.pots.iter().map(|pot| pot.granted).sum();
        let burned: Amount = self.pots.iter().map(Pot::used).sum();
        let asked = self.enforcement != Enforcement::None;
        // What was billed as overage was used of no credit, so used and remaining add up to what is granted.
        let used = if asked { burned + self.debt } else { self.month };
        let held = if asked { self.held() } else { self.held_in_month };
        Standing { granted, used, held, remaining: asked.then(|| self.available()), user_used }
    }

    /// When the first of the pots that are in force starts afresh or expires.
    pub(crate) fn resets_at(&self, moment: &Moment) -> Option<Timestamp> {
        if self.trial {
            self.pots.iter().find(|pot| pot.source == Source::Trial)?.expires_at
        } else {
            Some(moment.month_end)
        }
    }

    /// The month that notices on this credit belong to; `None` is the trial.
    pub(crate) fn notice_month(&self, moment: &Moment) -> Option<i32> {
        (!self.trial).then_some(moment.month.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(amount: i64) -> Amount {
        Amount::from_whole(amount)
    }

    fn pot(entry: u64, granted: i64) -> Pot {
        Pot {
            source: Source::Grant(entry),
            granted: whole(granted),
            burned: Amount::ZERO,
            held: Amount::ZERO,
            closed: false,
            priority: 0,
            last_below: Amount::ZERO,
            effective_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
        }
    }

    fn credit(enforcement: Enforcement, debt: i64) -> Credit {
        let pots = SmallVec::from_vec(vec![pot(1, 10), pot(2, 5)]);
        Credit {
            pots,
            debt: whole(debt),
            held_debt: Amount::ZERO,
            enforcement,
            trial: false,
            month: Amount::ZERO,
            overage: Amount::ZERO,
            held_in_month: Amount::ZERO,
        }
    }

    #[test]
    fn burns_spill_as_enforcement_says() {
        use Enforcement::{Hard, None, Overdraft, Soft};
        let grant = |entry, amount| (Source::Grant(entry), amount);
        for (enforcement, quantity, wanted, remaining) in [
            (Hard, 12, vec![grant(1, 10), grant(2, 2)], Some(3)),
            (Soft, 20, vec![grant(1, 10), grant(2, 5), (Source::Overage, 5)], Some(0)),
            (Overdraft, 20, vec![grant(1, 10), grant(2, 5), (Source::Overdraft, 5)], Some(-5)),
            (None, 99, vec![grant(1, 10), grant(2, 5)], Option::None),
        ] {
            let mut credit = credit(enforcement, 0);
            let burns: Vec<_> =
                credit.burn(whole(quantity)).iter().map(|burn| (burn.source, burn.amount)).collect();
            let wanted: Vec<_> = wanted.into_iter().map(|(source, amount)| (source, whole(amount))).collect();
            assert_eq!(burns, wanted, "{enforcement:?} {quantity}");
            assert_eq!(
                credit.standing(Option::None).remaining,
                remaining.map(whole),
                "{enforcement:?} {quantity}"
            );
        }
    }

    /// However the credit is used, what is held is neither used nor left, and capturing all of it is using it.
    #[test]
    fn what_is_held_is_neither_used_nor_left() {
        use Enforcement::{Hard, None, Overdraft, Soft};
        for (enforcement, quantity) in [(Hard, 12), (Soft, 20), (Overdraft, 20), (None, 99)] {
            let (mut used, mut held) = (credit(enforcement, 0), credit(enforcement, 0));
            let burns = used.burn(whole(quantity));
            let reserved = held.reserve(whole(quantity));
            assert_eq!(reserved, burns, "{enforcement:?}");
            let standing = held.standing(Option::None);
            assert_eq!(standing.used, Amount::ZERO, "{enforcement:?}");
            assert_eq!(standing.remaining, used.standing(Option::None).remaining, "{enforcement:?}");
            if let Some(remaining) = standing.remaining {
                assert_eq!(standing.held + remaining, standing.granted, "{enforcement:?}");
            }
            let mut released = held.clone();
            released.release(whole(quantity), &reserved);
            assert_eq!(released.standing(Option::None), credit(enforcement, 0).standing(Option::None));
            assert_eq!(held.capture(whole(quantity), reserved, Amount::ZERO), burns, "{enforcement:?}");
            assert_eq!(held.standing(Option::None), used.standing(Option::None), "{enforcement:?}");
        }
    }

    #[test]
    fn a_voided_pot_grants_what_is_captured_of_it() {
        use Enforcement::{Hard, None};
        for enforcement in [Hard, None] {
            let mut credit = credit(enforcement, 0);
            let reserved = credit.reserve(whole(4));
            let pot = &mut credit.pots[0];
            (pot.closed, pot.granted) = (true, Amount::ZERO);
            credit.capture(whole(4), reserved, Amount::ZERO);
            let standing = credit.standing(Option::None);
            assert_eq!((standing.granted, standing.used), (whole(9), whole(4)), "{enforcement:?}");
            assert_eq!(standing.remaining, credit.is_asked().then(|| whole(5)), "{enforcement:?}");
        }
    }

    #[test]
    fn a_debt_is_settled_as_far_as_the_credit_goes() {
        for (debt, wanted, left) in [
            (0, vec![], 0),
            (4, vec![(Source::Grant(1), 4), (Source::Overdraft, -4)], 0),
            (17, vec![(Source::Grant(1), 10), (Source::Grant(2), 5), (Source::Overdraft, -15)], 2),
        ] {
            let mut credit = credit(Enforcement::Overdraft, debt);
            let burns: Vec<_> = credit.settle().iter().map(|burn| (burn.source, burn.amount)).collect();
            let wanted: Vec<_> = wanted.into_iter().map(|(source, amount)| (source, whole(amount))).collect();
            assert_eq!((burns, credit.debt), (wanted, whole(left)), "{debt}");
        }
    }
}
