//! Holds, with all else that an org does meanwhile: reserve, capture, give back, expire.

#![expect(clippy::indexing_slicing, reason = "a mistake of the oracle stops the test")]

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tollgate_domain::catalog::Aggregation;
use tollgate_domain::{
    Along, Amount, Capture, CapturedHold, Catalog, Denial, Denied, EndedBy, EndedHold, Hold, HoldDenial,
    HoldEnd, HoldRefused, MeterId, OnExpiry, OrgCommand, OrgDecision, PathCounters, Periods, Policies,
    ReachedLimit, ScopePath, Standing, TakeHold, TakenHold, UsageKey, UserId, Window,
};

use super::gate::Ask;
use super::history::{Counted, History, Places, Pot, TakenFrom, spread};
use super::plans::Whose;
use super::totals::{aggregation, refused_property};
use super::{Fact, Label, Look, Now, sum};

/// A hold, as it is after some commands.
#[derive(Clone, Debug)]
pub struct Held<'a> {
    /// The number of its entry.
    pub entry: u64,
    take: &'a TakeHold,
    user: Option<&'a UserId>,
    path: Option<&'a ScopePath>,
    made_at: Timestamp,
    counts_at: Timestamp,
    expires_at: Timestamp,
    /// Where it reserves room.
    places: Places,
    /// Which of the org's plans it counts under.
    under: u32,
    /// What is still reserved, in the order it is taken.
    reserve: Vec<(TakenFrom, Amount)>,
    captured: Amount,
    overran: Amount,
    carved: Amount,
    end: Option<HoldEnd>,
    /// What was left of it when it ended.
    left: Amount,
}

/// Takes out of an answer what the oracle does not give of a hold: where it counts and what it reserves shows in what comes of it.
pub fn without_reserves(decision: &mut OrgDecision) {
    let hold = match decision {
        OrgDecision::Hold(Ok(taken)) => &mut taken.hold,
        OrgDecision::Capture(Ok(captured)) => &mut captured.hold,
        OrgDecision::Release(Ok(ended)) => &mut ended.hold,
        OrgDecision::Capture(Err(HoldDenial::Ended(hold)))
        | OrgDecision::Release(Err(HoldDenial::Ended(hold))) => hold,
        _ => return,
    };
    let hold = Arc::make_mut(hold);
    hold.fingerprint = 0;
    hold.periods.clear();
    hold.reserve.clear();
    if let Some(along) = &mut hold.path {
        along.counted.clear();
    }
}

impl Held<'_> {
    const fn meter(&self) -> &MeterId {
        &self.take.usage.meter
    }

    const fn is_open(&self) -> bool {
        self.end.is_none()
    }

    fn free(&self) -> Amount {
        match self.end {
            Some(_) => Amount::ZERO,
            None => self.take.usage.quantity.amount() - (self.captured - self.overran) - self.carved,
        }
    }

    fn most(&self) -> Amount {
        if self.is_open() { self.free() + self.take.overrun - self.overran } else { Amount::ZERO }
    }

    pub(super) fn ended(&self) -> Option<(HoldEnd, Amount)> {
        self.end.map(|end| (end, self.left))
    }

    /// Takes of what is reserved; what was taken from where.
    fn draw(&mut self, amount: Amount) -> Vec<(TakenFrom, Amount)> {
        let (mut left, mut drawn) = (amount, Vec::new());
        for (from, reserved) in &mut self.reserve {
            let taken = if *reserved < left { *reserved } else { left };
            *reserved -= taken;
            left -= taken;
            if taken.is_positive() {
                drawn.push((*from, taken));
            }
        }
        drawn
    }

    /// Whether it reserves room of an org, a user or a path in a window.
    fn is_in(&self, whose: &Whose, window: Window, label: Option<Label>) -> bool {
        let mine = whose.user().is_none() || self.user == whose.user();
        let here = match (label, whose.path()) {
            (Some(label), Some(path)) => self.places.along.contains(&(path.clone(), label)),
            (Some(label), None) => self.places.labels.contains(&label),
            (None, path) => self.places.moving.contains(&(window, path.cloned())),
        };
        mine && here
    }

    /// As callers see it.
    fn shown(&self) -> Hold {
        let usage = &self.take.usage;
        let along = |path: &ScopePath| Along { path: path.clone(), counted: PathCounters::new() };
        Hold {
            number: self.entry,
            key: usage.key.clone(),
            fingerprint: 0,
            parent: self.take.within,
            user: self.user.cloned(),
            path: self.path.map(along).map(Box::new),
            meter: usage.meter.clone(),
            quantity: usage.quantity,
            overrun: self.take.overrun,
            on_expiry: self.take.on_expiry,
            properties: usage.properties.clone(),
            made_at: self.made_at,
            counts_at: self.counts_at,
            periods: Periods::new(),
            expires_at: self.expires_at,
            captured: self.captured,
            overran: self.overran,
            carved: self.carved,
            reserve: tollgate_domain::Burns::new(),
            end: self.end,
        }
    }
}

impl<'a> History<'a> {
    /// A hold, open or not.
    pub(super) fn held(&self, number: u64) -> Option<&Held<'a>> {
        self.holds.iter().find(|hold| hold.entry == number)
    }

    /// All that is held, of any meter.
    #[must_use]
    pub fn all_held(&self) -> Amount {
        sum(self.holds.iter().map(Held::free))
    }

    fn open_on<'h>(&'h self, meter: &'h MeterId) -> impl Iterator<Item = &'h Held<'a>> {
        self.holds.iter().filter(move |hold| hold.is_open() && hold.meter() == meter)
    }

    fn reserved(&self, meter: &MeterId, counts: impl Fn(TakenFrom) -> bool) -> Amount {
        let reserves = self.open_on(meter).flat_map(|hold| &hold.reserve);
        sum(reserves.filter(|(from, _)| counts(*from)).map(|(_, amount)| *amount))
    }

    /// What holds reserve of a pot; of a month's allowance under any plan.
    pub(super) fn held_of(&self, meter: &MeterId, pot: Pot) -> Amount {
        self.reserved(meter, |from| match (from, pot) {
            (TakenFrom::Pot(Pot::Month(year, month, _)), Pot::Month(of, in_it, _)) => {
                (year, month) == (of, in_it)
            }
            _ => from == TakenFrom::Pot(pot),
        })
    }

    /// What holds will take beyond all credit.
    pub(super) fn held_debt(&self, meter: &MeterId) -> Amount {
        self.reserved(meter, |from| from == TakenFrom::Debt)
    }

    /// What is held of an org, a user or a path under a label; without one in a window that goes by usage.
    pub(super) fn held_in(
        &self,
        meter: &MeterId,
        whose: &Whose,
        window: Window,
        label: Option<Label>,
    ) -> Amount {
        sum(self.open_on(meter).filter(|hold| hold.is_in(whose, window, label)).map(Held::free))
    }

    /// The hold that is to end first of those whose time is over: of one moment the latest.
    pub(super) fn due(&self, at: Timestamp) -> Option<u64> {
        let due = self.holds.iter().filter(|hold| hold.is_open() && hold.expires_at <= at);
        due.min_by_key(|hold| (hold.expires_at, std::cmp::Reverse(hold.entry))).map(|hold| hold.entry)
    }

    /// How many holds are to end.
    pub(super) fn all_due(&self, at: Timestamp) -> usize {
        self.holds.iter().filter(|hold| hold.is_open() && hold.expires_at <= at).count()
    }

    /// How much an entry captured; `None`: nothing.
    #[must_use]
    pub fn captured_by(&self, entry: u64) -> Option<Amount> {
        let counted = self.uses.iter().find(|counted| counted.entry == entry)?;
        counted.of_hold.map(|_| counted.quantity)
    }

    pub(super) fn hold(&mut self, entry: u64, at: Timestamp, catalog: &Catalog, take: &'a TakeHold) {
        let meter = &take.usage.meter;
        self.pay(at, catalog, meter);
        let lasts = SignedDuration::from_secs(take.secs.into());
        let expires_at = at.checked_add(lasts).unwrap_or(Timestamp::MAX);
        let parent = self.holds.iter().position(|hold| Some(hold.entry) == take.within);
        let mut hold = Held {
            entry,
            take,
            user: take.usage.user.as_ref(),
            path: take.usage.path.as_ref(),
            made_at: at,
            counts_at: at,
            expires_at,
            places: Places { labels: Vec::new(), along: Vec::new(), moving: Vec::new() },
            under: self.setting_at(at, Look::Gate).map_or(0, |setting| setting.number),
            reserve: Vec::new(),
            captured: Amount::ZERO,
            overran: Amount::ZERO,
            carved: Amount::ZERO,
            end: None,
            left: Amount::ZERO,
        };
        let quantity = take.usage.quantity.amount();
        if let Some(place) = parent {
            let parent = self.holds[place].clone();
            hold.user = parent.user;
            hold.path = hold.path.or(parent.path);
            hold.places = parent.places.clone();
            let above = parent.path.map_or(0, ScopePath::depth);
            let named = (hold.user, hold.path);
            let own = self.places(catalog, parent.counts_at, meter, named, Look::Record);
            hold.places.along.extend(own.along.into_iter().filter(|(path, _)| path.depth() > above));
            let deeper = |path: &Option<ScopePath>| path.as_ref().is_some_and(|path| path.depth() > above);
            hold.places.moving.extend(own.moving.into_iter().filter(|(_, path)| deeper(path)));
            (hold.counts_at, hold.under) = (parent.counts_at, parent.under);
            hold.expires_at = expires_at.min(parent.expires_at);
            hold.reserve = self.holds[place].draw(quantity);
            self.holds[place].carved += quantity;
        } else {
            let named = (hold.user, hold.path);
            hold.places = self.places(catalog, at, meter, named, Look::Gate);
            let pots = self.pots(catalog, at, meter, Look::Gate);
            let enforcement = self.enforcement(catalog, at, meter, Look::Gate);
            hold.reserve = spread(&pots, quantity, enforcement, false);
        }
        self.holds.push(hold);
        self.touch(at, meter);
    }

    pub(super) fn capture(&mut self, made: (u64, Timestamp), catalog: &Catalog, capture: &'a Capture) {
        let Some(place) = self.place_of(capture.hold) else { return };
        let hold = &self.holds[place];
        let (meter, quantity) = (&hold.take.usage.meter, capture.quantity.unwrap_or_else(|| hold.free()));
        self.pay(made.1, catalog, meter);
        let key = capture.part.as_ref().unwrap_or(&self.holds[place].take.usage.key);
        self.count_captured(made, catalog, place, (key, quantity));
        if capture.part.is_none() {
            self.end(place, made, EndedBy::Capture);
        }
        self.pay_what_is_left(made.1, catalog, meter);
    }

    pub(super) fn release(&mut self, made: (u64, Timestamp), catalog: &Catalog, number: u64) {
        let Some(place) = self.place_of(number) else { return };
        let meter = &self.holds[place].take.usage.meter;
        self.pay(made.1, catalog, meter);
        self.end(place, made, EndedBy::Release);
        self.pay_what_is_left(made.1, catalog, meter);
    }

    /// Ends the first hold whose time is over: what is left of it is given back, or charged.
    pub(super) fn expire(&mut self, made: (u64, Timestamp), catalog: &Catalog) {
        let Some(place) = self.due(made.1).and_then(|number| self.place_of(number)) else { return };
        let (take, left) = (self.holds[place].take, self.holds[place].free());
        let meter = &take.usage.meter;
        self.pay(made.1, catalog, meter);
        if take.on_expiry == OnExpiry::Charge && is_sum(catalog, meter) {
            self.count_captured(made, catalog, place, (&take.usage.key, left));
        }
        self.end(place, made, EndedBy::Expiry);
        self.pay_what_is_left(made.1, catalog, meter);
    }

    fn place_of(&self, number: u64) -> Option<usize> {
        self.holds.iter().position(|hold| hold.entry == number)
    }

    /// What a hold gives back, or what a capture owes, is settled at once.
    fn pay_what_is_left(&mut self, at: Timestamp, catalog: &Catalog, meter: &'a MeterId) {
        self.pay_at(at, catalog, meter, Look::Gate);
        self.touch(at, meter);
    }

    /// Counts what was captured of a hold, where it reserved its room.
    fn count_captured(
        &mut self,
        (entry, now): (u64, Timestamp),
        catalog: &Catalog,
        place: usize,
        (key, quantity): (&'a UsageKey, Amount),
    ) {
        if !quantity.is_positive() {
            return;
        }
        let hold = &mut self.holds[place];
        let within = if quantity < hold.free() { quantity } else { hold.free() };
        let drawn = hold.draw(within);
        hold.captured += quantity;
        hold.overran += quantity - within;
        let hold = hold.clone();
        let meter = &hold.take.usage.meter;
        let part = |(window, path): &(Window, Option<ScopePath>)| {
            let whose = path.clone().map_or_else(|| Whose::from(hold.user), Whose::Path);
            (*window, path.clone(), self.part_now((meter, &whose), *window, now))
        };
        let mut counted = Counted {
            entry,
            at: hold.counts_at,
            usage: &hold.take.usage,
            key,
            user: hold.user,
            of_hold: Some(hold.entry),
            quantity,
            aggregation: Aggregation::Sum,
            labels: hold.places.labels.clone(),
            along: hold.places.along.clone(),
            parts: hold.places.moving.iter().map(part).collect(),
            under: hold.under,
            burns: Vec::new(),
            debt: Amount::ZERO,
            overage: Amount::ZERO,
            reversed_by: None,
        };
        drawn.into_iter().for_each(|(from, amount)| counted.take(from, amount));
        // What is beyond finds the pots as they are at the time that the hold counts at, once they gave what was reserved.
        let own = counted.burns.clone();
        own.iter().for_each(|(pot, amount)| *self.burned.entry((meter, *pot)).or_default() += *amount);
        let pots = self.pots(catalog, hold.counts_at, meter, Look::Record);
        own.iter().for_each(|(pot, amount)| *self.burned.entry((meter, *pot)).or_default() -= *amount);
        let enforcement = self.enforcement(catalog, hold.counts_at, meter, Look::Record);
        for (from, amount) in spread(&pots, quantity - within, enforcement, true) {
            counted.take(from, amount);
        }
        self.add(counted);
    }

    /// Ends a hold: what is left of it goes back to the one that it was carved out of, or to nobody.
    fn end(&mut self, place: usize, (entry, at): (u64, Timestamp), by: EndedBy) {
        let left = self.holds[place].free();
        let within = self.holds[place].take.within;
        let reserve = std::mem::take(&mut self.holds[place].reserve);
        self.holds[place].left = left;
        self.holds[place].end = Some(HoldEnd { entry, at, by });
        let parent = within.and_then(|number| self.place_of(number));
        let Some(parent) = parent.map(|parent| &mut self.holds[parent]).filter(|parent| parent.is_open())
        else {
            return;
        };
        parent.carved -= left;
        for (from, amount) in reserve {
            match parent.reserve.iter_mut().find(|(of, _)| *of == from) {
                Some((_, reserved)) => *reserved += amount,
                None => parent.reserve.push((from, amount)),
            }
        }
    }
}

fn is_sum(catalog: &Catalog, meter: &MeterId) -> bool {
    catalog.meter(meter).is_some() && aggregation(catalog, meter) == Aggregation::Sum
}

/// A refusal as of a usage, before it is known how the org stands.
fn refused(denial: Denial) -> HoldRefused {
    HoldRefused::Gate(Box::new(Denied { denial, standing: None }))
}

impl Now<'_> {
    pub(super) fn decide_hold(&self, take: &TakeHold) -> (OrgDecision, bool) {
        let result = self.hold_again(take).unwrap_or_else(|| self.try_hold(take));
        let accepted = matches!(&result, Ok(taken) if !taken.replayed);
        (OrgDecision::Hold(result.map(Box::new)), accepted)
    }

    /// The answer to a hold whose key was seen.
    fn hold_again(&self, take: &TakeHold) -> Option<Result<TakenHold, HoldRefused>> {
        let key = &take.usage.key;
        let last = self.last_made(key).filter(|last| self.remembers(last.at))?;
        let history = self.history()?;
        let hold = last.of_hold().and_then(|number| history.held(number));
        let Some(hold) = hold.filter(|hold| is_same(hold.take, take)) else {
            return Some(Err(refused(Denial::KeyReused)));
        };
        if self.reversal(last, key).is_some() {
            return Some(Err(refused(Denial::KeyReversed)));
        }
        let (hold, standing) = (Arc::new(hold.shown()), self.standing_of(hold)?);
        Some(Ok(TakenHold { hold, replayed: true, standing, policies: Policies::new() }))
    }

    /// How the org stood when a hold was made; of one within another nobody asks how its user stands.
    fn standing_of(&self, hold: &Held<'_>) -> Option<Standing> {
        let made = self.facts.iter().find(|fact| fact.entry == hold.entry)?;
        let user = hold.user.filter(|_| hold.take.within.is_none());
        let then = self.history_until(hold.entry);
        Some(then.standing_on_any_plan(&made.catalog, made.at, hold.meter(), user, Look::Gate))
    }

    fn try_hold(&self, take: &TakeHold) -> Result<TakenHold, HoldRefused> {
        let usage = &take.usage;
        if !self.knows(&usage.meter) {
            return Err(refused(Denial::UnknownMeter));
        }
        if let Some(name) = refused_property(self.catalog, usage) {
            return Err(refused(Denial::UnknownProperty(name)));
        }
        if !is_sum(self.catalog, &usage.meter) {
            return Err(HoldRefused::NotHeld);
        }
        let command = OrgCommand::Hold(take.clone());
        let Some((mut history, mut after)) = self.history().zip(self.history()) else {
            return Err(refused(Denial::UnknownOrg));
        };
        history.pay(self.at, self.catalog, &usage.meter);
        let ask = Ask {
            user: usage.user.as_ref(),
            path: usage.path.as_ref(),
            meter: &usage.meter,
            quantity: usage.quantity.amount(),
        };
        match take.within {
            Some(number) => self.refusal_within(&history, number, take)?,
            None => {
                let standing = history.standing(self.catalog, self.at, ask.meter, ask.user);
                let standing = standing.ok_or_else(|| refused(Denial::NoPlan))?;
                if let Some(denial) = self.refusal(&history, None, &ask) {
                    return Err(HoldRefused::Gate(Box::new(Denied { denial, standing: Some(standing) })));
                }
            }
        }
        after.follow(self.entry, self.at, self.catalog, &command);
        let user = ask.user.filter(|_| take.within.is_none());
        let standing = after.standing_on_any_plan(self.catalog, self.at, ask.meter, user, Look::Gate);
        let policies = match take.within {
            Some(_) => Policies::new(),
            None => self.policies(&after, &ask),
        };
        let hold = after.held(self.entry).ok_or_else(|| refused(Denial::UnknownOrg))?.shown();
        Ok(TakenHold { hold: Arc::new(hold), replayed: false, standing, policies })
    }

    /// Why a hold cannot be carved out of another.
    fn refusal_within(&self, history: &History<'_>, number: u64, take: &TakeHold) -> Result<(), HoldRefused> {
        let usage = &take.usage;
        let lies_within = |path: &ScopePath, of: &ScopePath| {
            path == of || path.as_str().strip_prefix(of.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        let fits = |parent: &&Held<'_>| {
            parent.is_open()
                && *parent.meter() == usage.meter
                && (usage.user.is_none() || parent.user == usage.user.as_ref())
                && usage.path.as_ref().zip(parent.path).is_none_or(|(path, of)| lies_within(path, of))
        };
        let parent = history.held(number).filter(fits).ok_or(HoldRefused::NoParent)?;
        if usage.quantity.amount() > parent.free() {
            return Err(HoldRefused::ParentReached(Box::new(ReachedLimit {
                user: None,
                path: None,
                window: None,
                amount: parent.take.usage.quantity.amount(),
                used: parent.captured - parent.overran,
                held: parent.carved,
                resets_at: None,
            })));
        }
        let above = parent.path.map_or(0, ScopePath::depth);
        let (user, path) = (parent.user, usage.path.as_ref());
        let ask = Ask { user, path, meter: &usage.meter, quantity: usage.quantity.amount() };
        let limits = history.limits_on(self.catalog, parent.counts_at, ask.meter, (user, path), Look::Record);
        let deeper =
            limits.iter().filter(|limit| limit.whose.path().is_some_and(|path| path.depth() > above));
        for limit in deeper {
            let when = (parent.counts_at, Look::Record);
            if let Some(denial) = self.reached((history, None), limit, &ask, when) {
                let standing =
                    history.standing_on_any_plan(self.catalog, self.at, ask.meter, None, Look::Gate);
                return Err(HoldRefused::Gate(Box::new(Denied { denial, standing: Some(standing) })));
            }
        }
        Ok(())
    }

    pub(super) fn decide_capture(&self, capture: &Capture) -> (OrgDecision, bool) {
        let result = self.try_capture(capture);
        let accepted = matches!(&result, Ok(captured) if !captured.replayed);
        (OrgDecision::Capture(result.map(Box::new)), accepted)
    }

    fn try_capture(&self, capture: &Capture) -> Result<CapturedHold, HoldDenial> {
        let command = OrgCommand::Capture(capture.clone());
        let Some((history, mut after)) = self.history().zip(self.history()) else {
            return Err(HoldDenial::UnknownOrg);
        };
        let hold = self.known_hold(&history, capture.hold).ok_or(HoldDenial::UnknownHold)?;
        if let Some(before) = self.captured_before(&history, hold, capture)? {
            return Ok(before);
        }
        let quantity = capture.quantity.unwrap_or_else(|| hold.free());
        if quantity > hold.most() {
            return Err(HoldDenial::MoreThanHeld { most: hold.most() });
        }
        if !quantity.is_positive() && capture.part.is_some() {
            return Err(HoldDenial::NothingToCapture);
        }
        if quantity.is_positive() && !is_sum(self.catalog, hold.meter()) {
            return Err(HoldDenial::UnknownMeter(hold.meter().clone()));
        }
        after.follow(self.entry, self.at, self.catalog, &command);
        let standing = self.standing_after(&after, self.entry, (self.at, self.catalog), capture.hold);
        let hold = after.held(capture.hold).ok_or(HoldDenial::UnknownHold)?.shown();
        Ok(CapturedHold { hold: Arc::new(hold), quantity, entry: self.entry, replayed: false, standing })
    }

    /// How the org stands after an entry: that captured something, at the time it counts at.
    fn standing_after(
        &self,
        after: &History<'_>,
        entry: u64,
        (at, catalog): (Timestamp, &Catalog),
        number: u64,
    ) -> Standing {
        let Some(hold) = after.held(number) else { return Standing::default() };
        match after.captured_by(entry) {
            Some(_) => after.standing_of_record(catalog, hold.counts_at, hold.meter(), hold.user),
            None => after.standing_on_any_plan(catalog, at, hold.meter(), None, Look::Gate),
        }
    }

    /// A hold that is open, or that ended and whose key stands for that.
    fn known_hold<'h, 'f>(&self, history: &'h History<'f>, number: u64) -> Option<&'h Held<'f>> {
        let hold = history.held(number)?;
        let last = self.last_made(&hold.take.usage.key).map(|last| last.entry);
        hold.end.is_none_or(|end| last == Some(end.entry)).then_some(hold)
    }

    /// The answer to a capture that was made before.
    fn captured_before(
        &self,
        history: &History<'_>,
        hold: &Held<'_>,
        capture: &Capture,
    ) -> Result<Option<CapturedHold>, HoldDenial> {
        let ended = || HoldDenial::Ended(Arc::new(hold.shown()));
        let quantity_of = |entry| history.captured_by(entry).unwrap_or_default();
        let before: Option<&Fact> = match (&capture.part, hold.end) {
            (None, None) => None,
            (None, Some(end)) => {
                let same = capture.quantity.is_none_or(|asked| asked == quantity_of(end.entry));
                let last = self.facts.iter().find(|fact| fact.entry == end.entry);
                Some(last.filter(|_| same && end.by == EndedBy::Capture).ok_or_else(ended)?)
            }
            (Some(key), end) => {
                let known = self.last_made(key).filter(|known| self.remembers(known.at));
                let same = |known: &&Fact| matches!(&known.command, Some(OrgCommand::Capture(before)) if before == capture);
                match known.filter(same) {
                    Some(known) => Some(known),
                    None if end.is_some() => return Err(ended()),
                    None if known.is_some() => return Err(HoldDenial::KeyReused),
                    None => None,
                }
            }
        };
        let Some(before) = before else { return Ok(None) };
        if self.made_key(before).and_then(|key| self.reversal(before, key)).is_some() {
            return Err(HoldDenial::KeyReversed);
        }
        let then = self.history_until(before.entry);
        let standing = self.standing_after(&then, before.entry, (before.at, &before.catalog), capture.hold);
        Ok(Some(CapturedHold {
            hold: Arc::new(hold.shown()),
            quantity: quantity_of(before.entry),
            entry: before.entry,
            replayed: true,
            standing,
        }))
    }

    pub(super) fn decide_release(&self, number: u64) -> (OrgDecision, bool) {
        let result = self.try_release(number);
        let accepted = matches!(&result, Ok(ended) if !ended.replayed);
        (OrgDecision::Release(result), accepted)
    }

    fn try_release(&self, number: u64) -> Result<EndedHold, HoldDenial> {
        let command = OrgCommand::Release(number);
        let Some((history, mut after)) = self.history().zip(self.history()) else {
            return Err(HoldDenial::UnknownOrg);
        };
        let hold = self.known_hold(&history, number).ok_or(HoldDenial::UnknownHold)?;
        let shown = Arc::new(hold.shown());
        match hold.end.map(|end| end.by) {
            Some(EndedBy::Release) => return Ok(EndedHold { hold: shown, replayed: true }),
            Some(_) => return Err(HoldDenial::Ended(shown)),
            None => after.follow(self.entry, self.at, self.catalog, &command),
        }
        let hold = after.held(number).ok_or(HoldDenial::UnknownHold)?.shown();
        Ok(EndedHold { hold: Arc::new(hold), replayed: false })
    }
}

/// Whether two stand for the same.
fn is_same(one: &TakeHold, other: &TakeHold) -> bool {
    let told = |take: &TakeHold| {
        let mut told = take.clone();
        told.usage.occurred_at = None;
        told
    };
    told(one) == told(other)
}
