//! Random holds: taken, captured in full, less, more and in parts, given back, or left to expire.

use jiff::SignedDuration;
use tollgate_domain::{
    Amount, Capture, MeterId, OnExpiry, OrgCommand, OrgId, Quantity, TakeHold, TopUp, TopUpExpiry, UsageKey,
};

use super::{Generator, id};

/// Most seconds that a hold may last.
const SECS_MAX: u32 = 86_400;

/// Nobody knows the number of a hold before it is made: commands name the how-many-th hold it is. This puts the number of its entry
/// in place of that, found by its key; where there is none mostly that of the latest hold that there is.
#[must_use]
pub fn with_number(
    command: &OrgCommand,
    number_of: impl Fn(&UsageKey) -> Option<u64>,
    latest: Option<u64>,
) -> OrgCommand {
    let mut command = command.clone();
    let number = match &mut command {
        OrgCommand::Hold(TakeHold { within: Some(number), .. })
        | OrgCommand::Capture(Capture { hold: number, .. })
        | OrgCommand::Release(number) => number,
        _ => return command,
    };
    let other = latest.filter(|_| !number.is_multiple_of(4));
    *number = number_of(&key(*number)).or(other).unwrap_or(*number);
    command
}

fn key(hold: u64) -> UsageKey {
    id(&format!("hold-{hold}"), UsageKey::new)
}

impl Generator {
    /// A new hold, mostly, and what is to come of it; now and then something of one that is known.
    pub(super) fn of_holds(&mut self, org: &OrgId) -> OrgCommand {
        let known = self.held.get(org).map_or(0, Vec::len);
        if known > 0 && self.one_in(4) {
            return self.of_known_hold(org);
        }
        let take = self.take_hold(org);
        // Mostly there is something to hold.
        let top_up = TopUp { meter: take.usage.meter.clone(), expiry: TopUpExpiry::Never, ..self.top_up() };
        let take = OrgCommand::Hold(take);
        let mut follow_ups = vec![take.clone()];
        follow_ups.extend((0..self.rng.usize(1..6)).map(|_| self.of_known_hold(org)));
        if self.one_in(4) {
            follow_ups.push(take);
        }
        self.follow_ups.entry(org.clone()).or_default().extend(follow_ups);
        OrgCommand::TopUp(top_up)
    }

    /// What is to come of a hold of late: mostly at once, in any order.
    pub(super) fn follow_up(&mut self, org: &OrgId) -> Option<OrgCommand> {
        let wait = self.follow_ups.get(org).map_or(0, Vec::len);
        if wait == 0 || self.one_in(4) {
            return None;
        }
        let place = if self.one_in(4) { self.rng.usize(0..wait) } else { 0 };
        let next = self.follow_ups.get_mut(org)?.remove(place);
        // Sent again later, it is the same.
        if self.one_in(6) {
            self.follow_ups.entry(org.clone()).or_default().push(next.clone());
        }
        Some(next)
    }

    /// A key that a hold or a part of one was named by.
    pub(super) fn name_of_hold(&mut self, org: &OrgId) -> UsageKey {
        let known = self.named.get(org).cloned().unwrap_or_default();
        let from = known.len().saturating_sub(8);
        self.pick(&known[from..]).clone()
    }

    fn of_known_hold(&mut self, org: &OrgId) -> OrgCommand {
        match self.rng.u32(0..20) {
            0..11 => OrgCommand::Capture(self.capture(org)),
            11..13 => OrgCommand::Release(self.known_hold(org).0),
            13..15 => {
                let mut again = self.known_hold(org).1;
                match self.rng.u32(0..6) {
                    0 => again.secs += 1,
                    1 => again.overrun += Amount::from_whole(1),
                    2 => again.usage.quantity = self.quantity(),
                    _ => {}
                }
                OrgCommand::Hold(again)
            }
            _ => OrgCommand::Hold(self.take_hold(org)),
        }
    }

    fn take_hold(&mut self, org: &OrgId) -> TakeHold {
        let mut usage = self.usage(org);
        let known = self.held.get(org).map_or(0, Vec::len);
        let parent = (known > 0 && self.one_in(2)).then(|| self.known_hold(org));
        if let Some((_, parent)) = &parent {
            usage.meter = parent.usage.meter.clone();
            if !self.one_in(6) {
                usage.user = None;
            }
            if self.one_in(2) {
                usage.path.clone_from(&parent.usage.path);
            }
        }
        usage.occurred_at = None;
        if parent.is_none() && !self.one_in(6) {
            let meter = *self.pick(&["reports", "reports", "tokens"]);
            usage.meter = id(meter, MeterId::new);
        }
        let small = self.rng.u32(1..40);
        if !self.one_in(4) {
            usage.quantity =
                Quantity::new(Amount::from_billionths(i128::from(small) * 100_000_000)).expect("a quantity");
        }
        self.holds += 1;
        // Now and then that of a usage.
        if !self.one_in(12) {
            usage.key = key(self.holds);
        }
        self.named.entry(org.clone()).or_default().push(usage.key.clone());
        let secs = match self.rng.u32(0..10) {
            0..2 => self.rng.u32(1..60),
            2..6 => self.rng.u32(60..4_000),
            _ => self.rng.u32(4_000..=SECS_MAX),
        };
        self.edges.push(self.at + SignedDuration::from_secs(secs.into()));
        let overrun = if self.one_in(2) { Amount::from_whole(self.rng.i64(1..6)) } else { Amount::ZERO };
        let on_expiry = if self.one_in(2) { OnExpiry::Charge } else { OnExpiry::Release };
        let within = parent.map(|(number, _)| number);
        let take = TakeHold { usage, within, secs, overrun, on_expiry };
        self.held.entry(org.clone()).or_default().push((self.holds, take.clone()));
        take
    }

    /// One of the holds of an org, mostly of late.
    fn known_hold(&mut self, org: &OrgId) -> (u64, TakeHold) {
        let known = self.held.get(org).cloned().unwrap_or_default();
        let late = *self.pick(&[1, 1, 2, 4, 8, 1_000]);
        let from = known.len().saturating_sub(late);
        self.pick(&known[from..]).clone()
    }

    fn capture(&mut self, org: &OrgId) -> Capture {
        let (hold, take) = self.known_hold(org);
        let whole = take.usage.quantity.amount();
        let half = Amount::from_billionths(whole.billionths() / 2);
        let quantity = match self.rng.u32(0..12) {
            0..3 => None,
            3..5 => Some(whole),
            5..8 => Some(half),
            8 | 9 => Some(whole + take.overrun),
            10 => Some(whole + Amount::from_whole(self.rng.i64(0..4))),
            _ => Some(Amount::ZERO),
        };
        let part = match self.rng.u32(0..12) {
            0..5 => {
                let part = self.new_key();
                self.named.entry(org.clone()).or_default().push(part.clone());
                Some(part)
            }
            5 => Some(self.known_key(org)),
            _ => None,
        };
        Capture { hold, quantity, part }
    }
}
