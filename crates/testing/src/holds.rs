//! Holds once more, by the slowest means there is: an oracle that keeps every hold and usage of one org on one meter, and for
//! every answer adds all of them up again. It knows no credit but its sum, no counters and no entries.
//!
//! Deliberately absent: plans that change, debt, months that end. What becomes of those is in the tests of the domain.

use tollgate_domain::{Amount, EndedBy, OnExpiry, Timestamp};

/// What an org may use: all of it together, in each minute, by each user, and at each team and run.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// All credit.
    pub credit: Amount,
    /// What the org may use in a minute.
    pub minute: Amount,
    /// What each user may use.
    pub user: Amount,
    /// What each team may use.
    pub team: Amount,
    /// What each run of a team may use, in each minute.
    pub run: Amount,
}

/// Where something is used: a team, and a run of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The team.
    pub team: Option<u8>,
    /// The run of the team.
    pub run: Option<u8>,
}

impl At {
    /// Whether it is another place, or lies in it.
    const fn is_within(self, other: Self) -> bool {
        match (other.team, other.run) {
            (None, _) => true,
            (Some(team), None) => matches!(self.team, Some(own) if own == team),
            (Some(team), Some(run)) => {
                matches!((self.team, self.run), (Some(own), Some(of)) if own == team && of == run)
            }
        }
    }
}

/// A hold as the oracle knows it.
#[derive(Clone, Debug)]
pub struct KnownHold {
    /// The hold it was carved out of, by its place.
    pub parent: Option<usize>,
    /// Whose it is.
    pub user: u8,
    /// Where it is to be used; with a parent, none is where that one is.
    pub place: At,
    /// How much was held at first.
    pub quantity: Amount,
    /// How much more may be captured.
    pub overrun: Amount,
    /// What becomes of it when it expires.
    pub on_expiry: OnExpiry,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The minute that it counts in.
    pub minute: i64,
    /// What was captured, within what was held and beyond it.
    pub captured: (Amount, Amount),
    /// How it ended.
    pub ended: Option<EndedBy>,
    /// What it gave back to its parent.
    pub gave_back: Amount,
}

/// The oracle.
#[derive(Clone, Debug)]
pub struct Oracle {
    room: Room,
    /// Every hold there ever was.
    pub holds: Vec<KnownHold>,
    /// What was used without a hold: how much, by whom, where, in which minute.
    uses: Vec<(Amount, u8, At, i64)>,
    /// What was captured beyond all credit that was left then: it is billed, and burned none.
    pub overage: Amount,
}

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum No {
    /// The hold that it is to be carved out of is not open.
    Parent,
    /// That hold leaves no room.
    ParentReached,
    /// The credit, or a limit on the org.
    Org,
    /// A limit on the team, or on the run.
    Path,
    /// A limit on the user.
    User,
    /// The hold has ended.
    Ended,
    /// More than is held, and than it may overrun.
    TooMuch,
}

/// The minute of a moment.
#[must_use]
pub fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

impl Oracle {
    /// An org that has used and holds nothing.
    #[must_use]
    pub const fn new(room: Room) -> Self {
        Self { room, holds: Vec::new(), uses: Vec::new(), overage: Amount::ZERO }
    }

    /// What is still held by the hold at a place.
    #[must_use]
    pub fn free(&self, place: usize) -> Amount {
        let Some(hold) = self.holds.get(place).filter(|hold| hold.ended.is_none()) else {
            return Amount::ZERO;
        };
        let within = self.holds.iter().filter(|child| child.parent == Some(place));
        let out: Amount = within.map(|child| child.quantity - child.gave_back).sum();
        hold.quantity - hold.captured.0 - out
    }

    /// All that was used, and all that is held.
    #[must_use]
    pub fn sums(&self) -> (Amount, Amount) {
        self.sums_of(|_, _, _| true)
    }

    /// What is left of the credit.
    #[must_use]
    pub fn left(&self) -> Amount {
        let (used, held) = self.sums();
        self.room.credit - (used - self.overage) - held
    }

    fn sums_of(&self, counts: impl Fn(u8, At, i64) -> bool) -> (Amount, Amount) {
        let of = |hold: &KnownHold| counts(hold.user, hold.place, hold.minute);
        let of_holds = self.holds.iter().filter(|hold| of(hold));
        let captured: Amount = of_holds.map(|hold| hold.captured.0 + hold.captured.1).sum();
        let uses = self.uses.iter().filter(|(_, user, place, minute)| counts(*user, *place, *minute));
        let used: Amount = uses.map(|(quantity, ..)| *quantity).sum();
        let open = self.holds.iter().enumerate().filter(|(_, hold)| of(hold));
        (captured + used, open.map(|(place, _)| self.free(place)).sum())
    }

    /// Ends what has expired, the first to do so first, and of those of one moment the latest first.
    pub fn expire(&mut self, at: Timestamp) {
        while let Some(place) = self.due(at) {
            let left = self.free(place);
            if let Some(hold) = self.holds.get_mut(place).filter(|hold| hold.on_expiry == OnExpiry::Charge) {
                hold.captured.0 += left;
            }
            self.end(place, EndedBy::Expiry);
        }
    }

    fn due(&self, at: Timestamp) -> Option<usize> {
        let due = |hold: &KnownHold| hold.ended.is_none() && hold.expires_at <= at;
        let open = self.holds.iter().enumerate().filter(|(_, hold)| due(hold));
        open.min_by_key(|(place, hold)| (hold.expires_at, std::cmp::Reverse(*place))).map(|(place, _)| place)
    }

    fn end(&mut self, place: usize, by: EndedBy) {
        let left = self.free(place);
        let parent = self.holds.get(place).and_then(|hold| hold.parent);
        let parent_is_open =
            parent.and_then(|parent| self.holds.get(parent)).is_some_and(|parent| parent.ended.is_none());
        if let Some(hold) = self.holds.get_mut(place) {
            hold.ended = Some(by);
            hold.gave_back = if parent_is_open { left } else { Amount::ZERO };
        }
    }

    /// Whether so much more fits.
    fn fits(&self, counts: impl Fn(u8, At, i64) -> bool, quantity: Amount, most: Amount) -> bool {
        let (used, held) = self.sums_of(counts);
        used + held + quantity <= most
    }

    /// Why the gate refuses a quantity, if it does.
    fn refusal(&self, minute: i64, (user, place): (u8, At), quantity: Amount) -> Option<No> {
        if quantity > self.left() || !self.fits(|_, _, of| of == minute, quantity, self.room.minute) {
            return Some(No::Org);
        }
        if self.no_room_at(minute, (place, At::default()), quantity) {
            return Some(No::Path);
        }
        (!self.fits(|of, _, _| of == user, quantity, self.room.user)).then_some(No::User)
    }

    /// Whether a limit on a place, or on one that it lies in, leaves no room; not those on another place and what that lies in.
    fn no_room_at(&self, minute: i64, (place, but): (At, At), quantity: Amount) -> bool {
        let team = At { run: None, ..place };
        let (has_team, has_run) = (but.team.is_none(), but.run.is_none());
        let of_team = |_: u8, of: At, _: i64| of.is_within(team);
        let of_run = |_: u8, of: At, at: i64| at == minute && of.is_within(place);
        (place.team.is_some() && has_team && !self.fits(of_team, quantity, self.room.team))
            || (place.run.is_some() && has_run && !self.fits(of_run, quantity, self.room.run))
    }

    /// Uses a quantity without a hold.
    ///
    /// # Errors
    /// Why not.
    pub fn use_(&mut self, at: Timestamp, (user, place): (u8, At), quantity: Amount) -> Result<(), No> {
        if let Some(no) = self.refusal(minute_of(at), (user, place), quantity) {
            return Err(no);
        }
        self.uses.push((quantity, user, place, minute_of(at)));
        Ok(())
    }

    /// Takes a hold at a moment, as if it had just been made: its user, minute and end follow from its parent, if it has one.
    ///
    /// # Errors
    /// Why not.
    pub fn hold(&mut self, at: Timestamp, mut hold: KnownHold) -> Result<usize, No> {
        match hold.parent {
            Some(place) => {
                let open = self.holds.get(place).filter(|parent| parent.ended.is_none());
                let lies_within =
                    |parent: &&KnownHold| hold.place == At::default() || hold.place.is_within(parent.place);
                let parent = open.filter(lies_within).ok_or(No::Parent)?;
                if hold.quantity > self.free(place) {
                    return Err(No::ParentReached);
                }
                if hold.place == At::default() {
                    hold.place = parent.place;
                }
                // What lies above was asked when the parent was made.
                if self.no_room_at(parent.minute, (hold.place, parent.place), hold.quantity) {
                    return Err(No::Path);
                }
                hold.user = parent.user;
                hold.minute = parent.minute;
                hold.expires_at = hold.expires_at.min(parent.expires_at);
            }
            None => {
                if let Some(no) = self.refusal(minute_of(at), (hold.user, hold.place), hold.quantity) {
                    return Err(no);
                }
                hold.minute = minute_of(at);
            }
        }
        self.holds.push(hold);
        Ok(self.holds.len() - 1)
    }

    /// Captures of the hold at a place; the last capture ends it.
    ///
    /// # Errors
    /// Why not.
    pub fn capture(&mut self, place: usize, quantity: Amount, last: bool) -> Result<(), No> {
        let (free, left) = (self.free(place), self.left());
        let Some(hold) = self.holds.get_mut(place).filter(|hold| hold.ended.is_none()) else {
            return Err(No::Ended);
        };
        if quantity > free + hold.overrun - hold.captured.1 {
            return Err(No::TooMuch);
        }
        let within = quantity.min(free);
        hold.captured.0 += within;
        hold.captured.1 += quantity - within;
        self.overage += (quantity - within - left).at_least_zero();
        if last {
            self.end(place, EndedBy::Capture);
        }
        Ok(())
    }

    /// Releases the hold at a place; one that was released before stays so.
    ///
    /// # Errors
    /// Why not.
    pub fn release(&mut self, place: usize) -> Result<(), No> {
        match self.holds.get(place).and_then(|hold| hold.ended) {
            None => {
                self.end(place, EndedBy::Release);
                Ok(())
            }
            Some(EndedBy::Release) => Ok(()),
            Some(_) => Err(No::Ended),
        }
    }
}
