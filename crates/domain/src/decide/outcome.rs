//! The answers: closed enums whose order is the order of the checks.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::records::Standing;
use crate::{
    Amount, Bill, BillError, Currency, Entry, Hold, MeterId, Period, PlanId, ScopePath, Timestamp, UserId,
    Window,
};

/// An answer, and the entry that makes it true (`None`: nothing changes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the caller is told.
    pub decision: OrgDecision,
    /// What the ledger must remember.
    pub entry: Option<Entry>,
}

/// What the caller is told. A batch has thousands of them on their way: what is large is boxed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrgDecision {
    /// To a use.
    Use(Result<Box<Allowed>, Box<Denied>>),
    /// To a record.
    Record(Result<Recorded, RecordDenial>),
    /// To a check.
    Check(Box<Checked>),
    /// To a hold.
    Hold(Result<Box<TakenHold>, HoldRefused>),
    /// To a capture.
    Capture(Result<Box<CapturedHold>, HoldDenial>),
    /// To a release.
    Release(Result<EndedHold, HoldDenial>),
    /// To [`crate::OrgCommand::Expire`]: whether a hold had expired.
    Expire(bool),
    /// To a reversal.
    Reverse(Result<Reversed, ReversalDenial>),
    /// To a top-up.
    TopUp(Result<Box<ToppedUp>, ConfigDenial>),
    /// To [`crate::OrgCommand::Void`].
    Void(Result<Box<Voided>, ConfigDenial>),
    /// To a change of org, plan or limits.
    Change(Result<Changed, ConfigDenial>),
    /// To the closing of a month.
    Close(Result<Closed, CloseDenial>),
}

/// Yes: it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenHold {
    /// The hold as it is now.
    pub hold: Arc<Hold>,
    /// Whether the key had been held before: nothing was held now.
    pub replayed: bool,
    /// How the org stood after it was taken.
    pub standing: Standing,
    /// The credit and limits it went by; empty in a replay, and where it was carved out of another hold.
    pub policies: Policies,
}

/// No: nothing was held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldRefused {
    /// As a usage would be.
    Gate(Box<Denied>),
    /// The meter is not a sum, so nothing of it can be held.
    NotHeld,
    /// As many holds are open as may be.
    TooMany,
    /// The hold that it is to be carved out of is not open, or of another meter or user.
    NoParent,
    /// The hold that it is to be carved out of does not leave room for it.
    ParentReached(Box<ReachedLimit>),
}

impl HoldRefused {
    /// The stable code of the refusal.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Gate(denied) => denied.denial.code(),
            Self::NotHeld => "not_held",
            Self::TooMany => "too_many",
            Self::NoParent => "unknown_hold",
            Self::ParentReached(_) => "hold_limit_reached",
        }
    }
}

/// What is held was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedHold {
    /// The hold as it is now.
    pub hold: Arc<Hold>,
    /// How much was captured.
    pub quantity: Amount,
    /// The number of the entry that counted it, or ended the hold.
    pub entry: u64,
    /// Whether the key had been counted before: nothing was captured now.
    pub replayed: bool,
    /// How the org stood after it.
    pub standing: Standing,
}

/// What is held was given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedHold {
    /// The hold.
    pub hold: Arc<Hold>,
    /// Whether it had been released before.
    pub replayed: bool,
}

/// Why a hold is neither captured nor released, in the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldDenial {
    /// Nobody has heard of the org.
    UnknownOrg,
    /// The org has no such hold.
    UnknownHold,
    /// The key's usage was taken back.
    KeyReversed,
    /// The hold has ended.
    Ended(Arc<Hold>),
    /// The key stands for another content.
    KeyReused,
    /// More is to be captured than is held, and than it may overrun.
    MoreThanHeld {
        /// The most that may be captured.
        most: Amount,
    },
    /// A part of nothing.
    NothingToCapture,
    /// The catalog has its meter no more.
    UnknownMeter(MeterId),
}

impl HoldDenial {
    /// The stable code of the denial.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownOrg => "unknown_org",
            Self::UnknownHold => "unknown_hold",
            Self::KeyReversed => "key_reversed",
            Self::Ended(_) => "hold_ended",
            Self::KeyReused => "key_reused",
            Self::MoreThanHeld { .. } => "more_than_held",
            Self::NothingToCapture => "invalid_field",
            Self::UnknownMeter(_) => "unknown_meter",
        }
    }
}

/// Yes: it was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The number of the entry that counted it; zero for a check.
    pub entry: u64,
    /// Whether the key had been counted before and this is that answer again.
    pub replayed: bool,
    /// How the org stood after it.
    pub standing: Standing,
    /// The credit and limits it went by; empty in a replay.
    pub policies: Policies,
}

/// Credit and limits: a few.
pub type Policies = SmallVec<[Policy; 2]>;

/// The answer to a check, with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What a use would be answered.
    pub result: Result<Allowed, Denied>,
    /// Every check that was made, in order.
    pub steps: Vec<crate::Step>,
}

/// No: nothing was consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub denial: Denial,
    /// How the org stands, where it is known.
    pub standing: Option<Standing>,
}

/// Why a usage is refused, in the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The key stands for another content.
    KeyReused,
    /// The key's usage was taken back.
    KeyReversed,
    /// The catalog has no such meter.
    UnknownMeter,
    /// The meter does not declare this property, and refuses those that it does not.
    UnknownProperty(String),
    /// Nobody has heard of the org.
    UnknownOrg,
    /// The org has no plan.
    NoPlan,
    /// The trial is over.
    TrialEnded,
    /// A limit per user is in force and no user was given.
    UserRequired,
    /// The org's credit does not cover it.
    OutOfCredit(ReachedLimit),
    /// A limit on the whole org does not leave room for it.
    OrgLimitReached(ReachedLimit),
    /// A limit on the path, or on one that it lies below, does not leave room for it.
    PathLimitReached(ReachedLimit),
    /// A limit on the user does not leave room for it.
    UserLimitReached(ReachedLimit),
}

impl Denial {
    /// The stable code of the denial.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::KeyReused => "key_reused",
            Self::KeyReversed => "key_reversed",
            Self::UnknownMeter => "unknown_meter",
            Self::UnknownProperty(_) => "unknown_property",
            Self::UnknownOrg => "unknown_org",
            Self::NoPlan => "no_plan",
            Self::TrialEnded => "trial_ended",
            Self::UserRequired => "user_required",
            Self::OutOfCredit(_) | Self::OrgLimitReached(_) => "org_limit_reached",
            Self::PathLimitReached(_) => "path_limit_reached",
            Self::UserLimitReached(_) => "user_limit_reached",
        }
    }

    /// The limit that refused it.
    #[must_use]
    pub const fn limit(&self) -> Option<&ReachedLimit> {
        match self {
            Self::OutOfCredit(limit)
            | Self::OrgLimitReached(limit)
            | Self::PathLimitReached(limit)
            | Self::UserLimitReached(limit) => Some(limit),
            _ => None,
        }
    }
}

/// A usage was counted after the fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The number of the entry that counted it.
    pub entry: u64,
    /// When it was counted.
    pub at: Timestamp,
    /// Whether the key had been counted before: nothing was counted now.
    pub duplicate: bool,
}

/// Why usage that has happened is not counted, in the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordDenial {
    /// The key stands for another content.
    KeyReused,
    /// The key's usage was taken back.
    KeyReversed,
    /// The catalog has no such meter.
    UnknownMeter,
    /// The meter does not declare this property, and refuses those that it does not.
    UnknownProperty(String),
    /// Nobody has heard of the org.
    UnknownOrg,
}

impl RecordDenial {
    /// The stable code of the denial; the same as that of the [`Denial`] of its name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::KeyReused => Denial::KeyReused.code(),
            Self::KeyReversed => Denial::KeyReversed.code(),
            Self::UnknownMeter => Denial::UnknownMeter.code(),
            Self::UnknownProperty(_) => "unknown_property",
            Self::UnknownOrg => Denial::UnknownOrg.code(),
        }
    }
}

impl From<RecordDenial> for Denial {
    fn from(denial: RecordDenial) -> Self {
        match denial {
            RecordDenial::KeyReused => Self::KeyReused,
            RecordDenial::KeyReversed => Self::KeyReversed,
            RecordDenial::UnknownMeter => Self::UnknownMeter,
            RecordDenial::UnknownProperty(name) => Self::UnknownProperty(name),
            RecordDenial::UnknownOrg => Self::UnknownOrg,
        }
    }
}

/// A limit, or the org's credit, that does not leave room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachedLimit {
    /// The user, for a limit on users.
    pub user: Option<UserId>,
    /// The path that is full, for a limit on paths: that of the usage, or one that it lies below.
    pub path: Option<ScopePath>,
    /// The stretch of time; `None` for credit that goes by no calendar window.
    pub window: Option<Window>,
    /// The limit.
    pub amount: Amount,
    /// Used of it.
    pub used: Amount,
    /// Held of it.
    pub held: Amount,
    /// When there is room again without anybody doing anything.
    pub resets_at: Option<Timestamp>,
}

impl ReachedLimit {
    /// What is left of it.
    #[must_use]
    pub fn remaining(&self) -> Amount {
        (self.amount - self.used - self.held).at_least_zero()
    }
}

/// Credit or a limit that a usage went by, as it stands after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whose.
    pub scope: PolicyScope,
    /// The window as the limit names it; `None` is the org's credit.
    pub window: Option<Window>,
    /// Which one of its kind.
    pub period: Option<Period>,
    /// How much may be used in it.
    pub amount: Amount,
    /// What is left of it.
    pub remaining: Amount,
    /// When it starts afresh.
    pub resets_at: Option<Timestamp>,
}

/// Whose credit or limit it is that a usage went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyScope {
    /// The whole org's.
    Org,
    /// That of the path of so many of the first names of the usage's own.
    Path(u8),
    /// The user's.
    User,
}

/// A usage was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversed {
    /// The number of the entry that took it back.
    pub entry: u64,
    /// The number of the entry that had counted it.
    pub reversed_entry: u64,
    /// Whether it had been taken back before.
    pub replayed: bool,
}

/// Why a usage cannot be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversalDenial {
    /// Nobody has heard of the org.
    UnknownOrg,
    /// No usage is remembered under the key.
    UnknownKey,
    /// It is the last of those that a maximum or a last value is known by: what comes next could not be told.
    NotReversible,
}

/// Credit was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToppedUp {
    /// The number of the entry that added it.
    pub entry: u64,
    /// Whether the key had been seen before and this is that answer again.
    pub replayed: bool,
    /// How the org stood after it.
    pub standing: Standing,
    /// When the credit expires; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// Unused credit was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voided {
    /// The number of the entry that took it back; `None`: nothing of it was unused.
    pub entry: Option<u64>,
    /// Whether nothing was taken back by this request: the key had been seen before, or nothing was unused.
    pub replayed: bool,
    /// How much was taken back.
    pub amount: Amount,
    /// How the org stood after it.
    pub standing: Standing,
}

/// Something was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The number of the entry, `None` when all was so already.
    pub entry: Option<u64>,
    /// Whether the plan that was set is on its way out.
    pub deprecated: bool,
}

/// The bill of a month is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The number of the entry, `None` when it was closed already.
    pub entry: Option<u64>,
    /// The bill.
    pub bill: Arc<Bill>,
}

/// Why a month cannot be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseDenial {
    /// It is not over.
    MonthRuns,
    /// A month before it, in which a plan with prices was in force, is open: this one.
    EarlierOpen(Period),
    /// A later month is closed, and this one had nothing to bill.
    LaterClosed,
    /// There is no bill of it.
    Bill(BillError),
}

/// Why something cannot be set, in the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigDenial {
    /// The key stands for another content.
    KeyReused,
    /// The catalog has no such meter.
    UnknownMeter,
    /// The meter does not add up, so it burns no credit.
    MeterWithoutCredit,
    /// The meter does not add up, so no window that goes by usage limits it.
    MeterWithoutSum,
    /// Nobody has heard of the org.
    UnknownOrg,
    /// The catalog has no such plan.
    UnknownPlan(PlanId),
    /// The plan is refused to orgs that do not have it already.
    PlanRetired(PlanId),
    /// The change would take effect before now.
    PlanInPast,
    /// The org has had its trial.
    TrialUsed,
    /// A trial begins when it is set, and cannot be scheduled.
    TrialScheduled,
    /// The month has prices in another currency.
    CurrencyChange {
        /// The currency of the month.
        from: Currency,
        /// That of the plan.
        to: Currency,
    },
    /// The org has no plan.
    NoPlan,
    /// The trial is over.
    TrialEnded,
    /// The org has no such top-up.
    UnknownTopUp,
    /// More is to be taken back than is unused.
    MoreThanUnused {
        /// How much is.
        unused: Amount,
    },
    /// The expiry is not after the time the credit can first be burned.
    ExpiryPassed,
    /// The org has as many limits, open grants or changes of plan as it may have.
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_small() {
        assert!(size_of::<OrgDecision>() <= 48, "{}", size_of::<OrgDecision>());
    }
}
