//! The plans of an org in time: the one in force, those before it, and the one that is scheduled.
//!
//! What was in force at a time is looked up, so nothing needs to run when a scheduled change comes due.

use jiff::Timestamp;

use crate::PlanId;

/// The history of an org's plans, in the order they were set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plans {
    changes: Vec<PlanChange>,
}

/// From a moment on, a plan or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanChange {
    /// Its number among all changes of the org: 1, 2, 3 … What is used under it is counted under this number.
    pub number: u32,
    /// The plan; `None`: the org left.
    pub plan: Option<PlanId>,
    /// From when.
    pub since: Timestamp,
    /// Whether it took effect when it was made: it stays in force, whatever the server's clock shows afterwards.
    pub at_once: bool,
    /// Whether it was called off before it came into force. It stays: usage whose own time was ahead of the server's may
    /// have been counted under it.
    pub called_off: bool,
}

/// A stretch of time in which one change was the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch<'a> {
    /// The change; `None`: before the first.
    pub change: Option<&'a PlanChange>,
    /// Its first moment; `None`: it has no beginning.
    pub from: Option<Timestamp>,
    /// The first moment after it; `None`: it has no end yet.
    pub until: Option<Timestamp>,
}

impl Stretch<'_> {
    /// The number that usage is counted under.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.change.map_or(0, |change| change.number)
    }

    /// The plan, if there was one.
    #[must_use]
    pub fn plan(&self) -> Option<&PlanId> {
        self.change?.plan.as_ref()
    }

    /// Whether a moment lies in it.
    #[must_use]
    pub fn holds(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }

    /// Whether some moment lies both in it and in another stretch, from a first moment until a last.
    #[must_use]
    pub fn meets(&self, from: Option<Timestamp>, until: Option<Timestamp>) -> bool {
        let starts = self.from.max(from);
        let ends = [self.until, until].into_iter().flatten().min();
        starts.zip(ends).is_none_or(|(starts, ends)| starts < ends)
    }
}

impl Plans {
    /// None was ever set.
    #[must_use]
    pub const fn new() -> Self {
        Self { changes: Vec::new() }
    }

    /// Builds the history from its changes, in the order they were made.
    #[must_use]
    pub const fn from_changes(changes: Vec<PlanChange>) -> Self {
        Self { changes }
    }

    /// All changes, in the order they were made.
    #[must_use]
    pub fn changes(&self) -> &[PlanChange] {
        &self.changes
    }

    /// The change in force at a moment.
    #[must_use]
    pub fn at(&self, at: Timestamp) -> Option<&PlanChange> {
        self.standing().rev().find(|change| change.since <= at)
    }

    /// The change in force by the server's clock: where the clock steps back behind one that took effect at once, it is
    /// that one still.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> Option<&PlanChange> {
        self.standing().rev().find(|change| change.at_once || change.since <= now)
    }

    /// When the plans began that an org has had without a break until the change with a number.
    #[must_use]
    pub fn began(&self, number: u32) -> Option<Timestamp> {
        self.first_of(number).map(|first| first.since)
    }

    fn first_of(&self, number: u32) -> Option<&PlanChange> {
        let until = self.standing().take_while(|change| change.number <= number);
        until.fold(None, |first, change| change.plan.as_ref().and(first.or(Some(change))))
    }

    /// The change with a number.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Option<&PlanChange> {
        self.changes.iter().rev().find(|change| change.number == number)
    }

    /// The plan in force at a moment.
    #[must_use]
    pub fn plan_at(&self, at: Timestamp) -> Option<&PlanId> {
        self.at(at)?.plan.as_ref()
    }

    /// The change that is scheduled for after a moment.
    #[must_use]
    pub fn scheduled(&self, at: Timestamp) -> Option<&PlanChange> {
        self.standing().find(|change| !change.at_once && change.since > at)
    }

    /// Since when the latest change that took effect at once is in force: no other takes effect before it.
    #[must_use]
    pub fn latest_at_once(&self) -> Option<Timestamp> {
        self.standing().rev().find(|change| change.at_once).map(|change| change.since)
    }

    /// The stretches of time between the changes, in order: they cover the line once. Those that were called off, or
    /// were over at once, are between them, without any moment.
    pub fn stretches(&self) -> impl Iterator<Item = Stretch<'_>> {
        let first =
            Stretch { change: None, from: None, until: self.standing().next().map(|change| change.since) };
        let later = self.changes.iter().enumerate().map(|(place, change)| {
            let next = self.changes.iter().skip(place + 1).find(|next| !next.called_off);
            let until = if change.called_off { Some(change.since) } else { next.map(|next| next.since) };
            Stretch { change: Some(change), from: Some(change.since), until }
        });
        std::iter::once(first).chain(later)
    }

    /// The latest change, called off or not.
    pub(crate) fn last(&self) -> Option<&PlanChange> {
        self.changes.last()
    }

    fn standing(&self) -> impl DoubleEndedIterator<Item = &PlanChange> {
        self.changes.iter().filter(|change| !change.called_off)
    }

    /// Adds a change from a moment on, made at another: what was scheduled is called off.
    pub fn change(&mut self, plan: Option<PlanId>, since: Timestamp, at_once: bool, at: Timestamp) {
        self.call_off(at);
        let number = self.changes.last().map_or(0, |last| last.number).saturating_add(1);
        self.changes.push(PlanChange { number, plan, since, at_once, called_off: false });
    }

    /// Calls off what is scheduled for after a moment.
    pub fn call_off(&mut self, at: Timestamp) {
        let scheduled = self.changes.iter_mut().filter(|change| !change.at_once && change.since > at);
        scheduled.for_each(|change| change.called_off = true);
    }

    /// Forgets what was over at a moment, but for the numbers, and for the change that [`Self::began`] goes by.
    pub(crate) fn forget_before(&mut self, at: Timestamp) {
        let in_force = self.at(at).map_or(0, |change| change.number);
        let first = self.first_of(in_force).map_or(0, |first| first.number);
        self.changes
            .retain(|change| change.number >= in_force || change.since >= at || change.number == first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).expect("a time")
    }

    fn history(changes: &[(Option<&str>, i64, i64)]) -> Plans {
        let mut plans = Plans::default();
        for (plan, since, made_at) in changes {
            let plan = plan.map(|plan| PlanId::new(plan).expect("an id"));
            plans.change(plan, at(*since), since == made_at, at(*made_at));
        }
        plans
    }

    #[test]
    fn the_plan_in_force_is_looked_up_by_time() {
        let plans = history(&[(Some("a"), 10, 10), (Some("b"), 20, 20), (None, 40, 30)]);
        let ids = [5, 10, 19, 20, 39, 40].map(|secs| plans.plan_at(at(secs)).map(PlanId::as_str));
        assert_eq!(ids, [None, Some("a"), Some("a"), Some("b"), Some("b"), None]);
        assert_eq!(plans.scheduled(at(30)).map(|change| change.since), Some(at(40)));
        assert_eq!(plans.scheduled(at(40)), None);
        let covered: Vec<_> = plans.stretches().map(|stretch| (stretch.from, stretch.until)).collect();
        let [ten, twenty, forty] = [10, 20, 40].map(|secs| Some(at(secs)));
        assert_eq!(covered, [(None, ten), (ten, twenty), (twenty, forty), (forty, None)]);
    }

    #[test]
    fn another_change_calls_off_what_was_scheduled() {
        for (next, since) in [(Some("c"), 30), (Some("c"), 50), (None, 25)] {
            let mut plans = history(&[(Some("a"), 10, 10), (Some("b"), 40, 20)]);
            plans.change(next.map(|plan| PlanId::new(plan).expect("an id")), at(since), since == 25, at(25));
            assert_eq!(plans.plan_at(at(since)).map(PlanId::as_str), next);
            assert_eq!(plans.plan_at(at(since - 1)).map(PlanId::as_str), Some("a"));
            assert!(plans.stretches().all(|stretch| stretch.number() != 2 || stretch.from == stretch.until));
        }
        let mut plans = history(&[(Some("a"), 10, 10), (Some("b"), 40, 20)]);
        plans.call_off(at(25));
        assert_eq!(plans.plan_at(at(60)).map(PlanId::as_str), Some("a"));
        plans.change(Some(PlanId::new("c").expect("an id")), at(30), true, at(30));
        assert_eq!(plans.at(at(30)).map(|change| change.number), Some(3), "no number is given twice");
    }

    #[test]
    fn a_clock_that_steps_back_takes_no_plan_away() {
        let plans = history(&[(Some("a"), 10, 10), (Some("b"), 20, 20), (Some("c"), 40, 25)]);
        let in_force = [5, 15, 20, 39, 40].map(|secs| plans.in_force(at(secs)).map(|change| change.number));
        assert_eq!(in_force, [Some(2), Some(2), Some(2), Some(2), Some(3)]);
        assert_eq!(plans.scheduled(at(5)).map(|change| change.number), Some(3));
        assert_eq!(plans.latest_at_once(), Some(at(20)));
    }

    #[test]
    fn plans_begin_when_the_first_without_a_break_was_set() {
        let mut plans = history(&[
            (Some("a"), 10, 10),
            (Some("b"), 20, 20),
            (None, 30, 30),
            (Some("c"), 40, 40),
            (Some("a"), 90, 45),
            (Some("d"), 50, 50),
            (Some("e"), 60, 60),
        ]);
        let began = [0, 1, 2, 3, 4, 6, 7].map(|number| plans.began(number).map(Timestamp::as_second));
        assert_eq!(began, [None, Some(10), Some(10), None, Some(40), Some(40), Some(40)]);
        plans.forget_before(at(70));
        assert_eq!(plans.changes().len(), 3);
        assert_eq!(plans.began(7), Some(at(40)), "it outlives what is forgotten");
        assert_eq!(plans.plan_at(at(70)).map(PlanId::as_str), Some("e"));
    }

    #[test]
    fn what_is_forgotten_leaves_the_plan_in_force() {
        let mut plans =
            history(&[(Some("a"), 10, 10), (None, 15, 15), (Some("b"), 20, 20), (Some("c"), 40, 40)]);
        plans.forget_before(at(30));
        assert_eq!(plans.changes().len(), 2);
        assert_eq!(plans.plan_at(at(30)).map(PlanId::as_str), Some("b"));
        plans.forget_before(at(30));
        plans.change(None, at(50), true, at(50));
        assert_eq!(plans.at(at(50)).map(|change| change.number), Some(5));
    }
}
