//! Entries: the lines of the append-only ledgers of the orgs and of the system.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use smallvec::SmallVec;

use crate::counter::ScopeRef;
use crate::counting::{Motion, Move};
use crate::{
    Actor, Along, Amount, ApiKey, ApiKeyId, Bill, Captured, ChangeChannel, Counting, DeliveryClaim, GROUPED,
    Grant, Group, Hold, HoldSum, LimitScope, MeterId, NewMeter, Notice, Period, PlanId, Quantity, Round,
    ScopePath, Shipment, Sku, Source, Trial, UsageKey, UserId, Window, Zone,
    records::{KeyRecord, KeySpace, Standing},
};

/// One line of an org's ledger: all that changed, and why.
///
/// [`crate::apply`] derives the changed records from it and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the org's ledger: 1, 2, 3 …
    pub number: u64,
    /// When it was decided, by the server's time.
    pub at: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// The version of the catalog it was decided on.
    pub catalog: u32,
    /// What changed.
    pub kind: EntryKind,
    /// How credit that came into force settled the debt of an overdraft, or was given back as the usage that it settled was
    /// taken back; besides what the usage itself burned.
    pub settled: Vec<Burn>,
    /// What people should know of it.
    pub notices: Vec<Notice>,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Usage was allowed and counted.
    Used(Box<UsedEntry>),
    /// Usage was refused, and somebody should know; consumes nothing.
    Refused {
        /// Who was refused.
        user: Option<UserId>,
        /// Where below the org.
        path: Option<Box<ScopePath>>,
        /// On which meter.
        meter: MeterId,
        /// How much was asked.
        quantity: Quantity,
        /// The code of the denial.
        reason: String,
    },
    /// A usage was taken back.
    Reversed {
        /// The number of the entry that counted it.
        entry: u64,
        /// What it had counted.
        used: Box<UsedEntry>,
    },
    /// An amount was reserved.
    Held(Box<HeldEntry>),
    /// A hold ended, and nothing was captured with that.
    HoldEnded(Box<HoldEndedEntry>),
    /// The name or zone was set.
    Put {
        /// The name.
        name: Option<String>,
        /// The zone.
        zone: Zone,
        /// What the caller keeps with it for itself.
        metadata: BTreeMap<String, String>,
    },
    /// The plan was set, or scheduled; what was scheduled before is called off.
    PlanSet {
        /// The plan; `None`: the org leaves.
        plan: Option<PlanId>,
        /// From when.
        since: Timestamp,
        /// Whether that is at once.
        at_once: bool,
        /// The trial that starts with it.
        trial: Option<Trial>,
    },
    /// The change of plan that was scheduled was called off.
    PlanCalledOff,
    /// A limit was set or removed.
    LimitSet {
        /// On what.
        meter: MeterId,
        /// For whom.
        scope: LimitScope,
        /// Over which stretch of time.
        window: Window,
        /// How much; `None` removes the limit.
        amount: Option<Amount>,
    },
    /// The shares of credit that cause a notice were set, or left to the plan.
    ThresholdsSet {
        /// The shares, in percent, in order, each once; `None`: those of the plan.
        thresholds: Option<Vec<u8>>,
    },
    /// Credit was added.
    ToppedUp(Box<ToppedUpEntry>),
    /// Credit was taken back: a top-up voided, or a correction.
    Voided(Box<VoidedEntry>),
    /// The bill of a month was closed.
    BillClosed(Arc<Bill>),
    /// The processor has what a shipment brought of the org.
    Shipped {
        /// The number of the shipment.
        shipment: u64,
        /// The number of its day.
        day: i32,
        /// What it brought.
        lines: Vec<(Sku, Amount)>,
    },
    /// A gateway told of a budget that it keeps by itself: what it told is the notice.
    BudgetTold {
        /// What was told, by which it is told once a day.
        key: UsageKey,
    },
}

impl Entry {
    /// The caller's key that it stands for, and what is remembered of it.
    #[must_use]
    pub fn made_key(&self) -> Option<(KeySpace, &UsageKey, KeyRecord)> {
        let (space, key) = self.named_key()?;
        let (fingerprint, standing) = match &self.kind {
            EntryKind::Used(used) => (used.fingerprint, used.standing),
            EntryKind::ToppedUp(topped_up) => (topped_up.fingerprint, topped_up.standing),
            EntryKind::Voided(voided) => (voided.fingerprint, voided.standing),
            EntryKind::Held(held) => (held.hold.fingerprint, held.standing),
            EntryKind::HoldEnded(ended) => (ended.fingerprint, ended.standing),
            EntryKind::BudgetTold { .. } => (0, Standing::default()),
            _ => return None,
        };
        let (entry, at) = (self.number, self.at);
        Some((space, key, KeyRecord { entry, fingerprint, at, standing, reversed_by: None }))
    }

    /// The caller's key that it stands for.
    #[must_use]
    pub fn named_key(&self) -> Option<(KeySpace, &UsageKey)> {
        match &self.kind {
            EntryKind::Used(used) => Some((KeySpace::Use, &used.key)),
            EntryKind::ToppedUp(topped_up) => Some((KeySpace::TopUp, topped_up.grant.key.as_ref()?)),
            EntryKind::Voided(voided) => Some((KeySpace::TopUp, voided.key.as_ref()?)),
            EntryKind::Held(held) => Some((KeySpace::Use, &held.hold.key)),
            EntryKind::HoldEnded(ended) => Some((KeySpace::Use, &ended.key)),
            EntryKind::BudgetTold { key } => Some((KeySpace::Told, key)),
            _ => None,
        }
    }

    /// What a hold came to, if it ended that one.
    #[must_use]
    pub fn ends_hold(&self, number: u64) -> Option<HoldSum> {
        match &self.kind {
            EntryKind::HoldEnded(ended) if ended.hold == number => Some(ended.ends),
            EntryKind::Used(used) => used.captured.filter(|captured| captured.hold == number)?.ends,
            _ => None,
        }
    }

    /// The number of the entry whose usage it takes back.
    #[must_use]
    pub const fn took_back(&self) -> Option<u64> {
        match &self.kind {
            EntryKind::Reversed { entry, .. } => Some(*entry),
            _ => None,
        }
    }

    /// The key of the usage that it takes back.
    #[must_use]
    pub fn took_back_key(&self) -> Option<&UsageKey> {
        match &self.kind {
            EntryKind::Reversed { used, .. } => Some(&used.key),
            _ => None,
        }
    }
}

impl EntryKind {
    /// The names of all kinds.
    pub const NAMES: &[&str] = &[
        "used",
        "refused",
        "reversed",
        "held",
        "hold_ended",
        "org_set",
        "plan_set",
        "plan_called_off",
        "limit_set",
        "thresholds_set",
        "topped_up",
        "top_up_voided",
        "bill_closed",
        "shipped",
        "budget_told",
    ];

    /// The meter whose account it changes.
    #[must_use]
    pub fn meter(&self) -> Option<&MeterId> {
        match self {
            Self::Used(used) | Self::Reversed { used, .. } => Some(&used.meter),
            Self::Refused { meter, .. } => Some(meter),
            Self::ToppedUp(topped_up) => Some(&topped_up.meter),
            Self::Voided(voided) => Some(&voided.meter),
            Self::Held(held) => Some(&held.hold.meter),
            Self::HoldEnded(ended) => Some(&ended.meter),
            Self::Put { .. }
            | Self::PlanSet { .. }
            | Self::PlanCalledOff
            | Self::LimitSet { .. }
            | Self::ThresholdsSet { .. }
            | Self::BillClosed(_)
            | Self::Shipped { .. }
            | Self::BudgetTold { .. } => None,
        }
    }

    /// The stable name of the kind.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Used(_) => "used",
            Self::Refused { .. } => "refused",
            Self::Reversed { .. } => "reversed",
            Self::Held(_) => "held",
            Self::HoldEnded(_) => "hold_ended",
            Self::Put { .. } => "org_set",
            Self::PlanSet { .. } => "plan_set",
            Self::PlanCalledOff => "plan_called_off",
            Self::LimitSet { .. } => "limit_set",
            Self::ThresholdsSet { .. } => "thresholds_set",
            Self::ToppedUp(_) => "topped_up",
            Self::Voided(_) => "top_up_voided",
            Self::BillClosed(_) => "bill_closed",
            Self::Shipped { .. } => "shipped",
            Self::BudgetTold { .. } => "budget_told",
        }
    }
}

/// A usage that was counted, with everything it touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedEntry {
    /// Who used it.
    pub user: Option<UserId>,
    /// Where below the org it was used, and which counters it moved there besides those of [`Self::periods`].
    pub path: Option<Box<Along>>,
    /// What was used.
    pub meter: MeterId,
    /// How much.
    pub quantity: Quantity,
    /// The caller's id of it.
    pub key: UsageKey,
    /// Which content the key stands for.
    pub fingerprint: u64,
    /// When it happened, as the caller said.
    pub occurred_at: Option<Timestamp>,
    /// Whether it was recorded after the fact, or captured of a hold: counted whatever credit and limits said, by its own
    /// time.
    pub recorded: bool,
    /// How it counts.
    pub counting: Counting,
    /// What the caller told about it.
    pub properties: BTreeMap<String, String>,
    /// Which credit it burned.
    pub burns: Burns,
    /// Which counters it moved: those of the org, and of the user if one was given, in each of these periods; in the
    /// segment of the month those of the org alone.
    pub periods: Periods,
    /// The values of the properties that its meter was counted by, and under which it counts in its day and month;
    /// `None` if the meter was counted by none.
    pub group: Option<Group>,
    /// As what it is sent to the sink; `None`: it is not.
    pub sink: Option<Sku>,
    /// The hold that it captures; `None`: none reserved it.
    pub captured: Option<Captured>,
    /// How the org stood after it.
    pub standing: Standing,
}

impl UsedEntry {
    /// The periods in which it is counted by properties; none if its meter was counted by none.
    pub fn grouped(&self) -> impl Iterator<Item = (&Group, Period)> {
        let periods = self.periods.iter().filter(|period| GROUPED.contains(&period.window));
        self.group.iter().flat_map(move |group| periods.clone().map(move |period| (group, *period)))
    }

    /// The periods in which the counters of the org, or of a user of it, are moved: segments are those of the org alone.
    pub(crate) fn periods_of<'a>(
        &'a self,
        user: Option<&UserId>,
    ) -> impl Iterator<Item = Period> + Clone + use<'a> {
        let of_user = user.is_some();
        self.periods.iter().copied().filter(move |period| !of_user || period.window != Window::Segment)
    }

    /// The paths whose counters are moved, outermost first, each with the periods.
    pub(crate) fn paths(
        &self,
    ) -> impl Iterator<Item = (ScopeRef<'_>, impl Iterator<Item = Period> + Clone + '_)> {
        let along = self.path.iter().flat_map(|along| along.scopes());
        along.map(|(path, periods)| (ScopeRef::Path(path), periods))
    }

    /// How it moves counters, by the number of the entry that counts it.
    pub(crate) fn moves(&self, entry: u64, motion: Motion) -> Move<'_> {
        Move { counting: &self.counting, quantity: self.quantity.amount(), entry, motion }
    }

    /// The number of the day it counts in.
    #[must_use]
    pub fn day(&self) -> Option<i32> {
        self.periods.iter().find(|period| period.window == Window::Day).map(|period| period.number)
    }

    /// The part that an overdraft took beyond all credit.
    #[must_use]
    pub fn overdraft(&self) -> Amount {
        self.burns.iter().filter(|burn| burn.source == Source::Overdraft).map(|burn| burn.amount).sum()
    }

    /// The part that no credit covered and that is billed.
    #[must_use]
    pub fn overage(&self) -> Amount {
        self.burns.iter().filter(|burn| burn.source == Source::Overage).map(|burn| burn.amount).sum()
    }
}

/// An amount that was reserved, with everything it reserves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldEntry {
    /// The hold.
    pub hold: Arc<Hold>,
    /// How the org stood after it.
    pub standing: Standing,
}

/// The end of a hold with which nothing was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldEndedEntry {
    /// The number of the hold.
    pub hold: u64,
    /// The caller's id of it.
    pub key: UsageKey,
    /// Which content the key stands for.
    pub fingerprint: u64,
    /// Whose it was.
    pub user: Option<UserId>,
    /// Where below the org it was to be used.
    pub path: Option<ScopePath>,
    /// On which meter.
    pub meter: MeterId,
    /// How much was given back.
    pub amount: Amount,
    /// How it ended.
    pub ends: HoldSum,
    /// How the org stood after it.
    pub standing: Standing,
}

/// Credit that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToppedUpEntry {
    /// On what.
    pub meter: MeterId,
    /// Which content the key stands for.
    pub fingerprint: u64,
    /// The credit.
    pub grant: Grant,
    /// What the caller keeps with it for itself.
    pub metadata: BTreeMap<String, String>,
    /// How the org stood after it.
    pub standing: Standing,
}

/// Credit that was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoidedEntry {
    /// On what.
    pub meter: MeterId,
    /// The caller's id of it.
    pub key: Option<UsageKey>,
    /// Which content the key stands for.
    pub fingerprint: u64,
    /// How much of which top-ups, by the number of their entries.
    pub grants: Vec<(u64, Amount)>,
    /// The top-up of which all that is unused was taken back, and all that comes back to it will be.
    pub closes: Option<u64>,
    /// Why, for people.
    pub reason: Option<String>,
    /// How the org stood after it.
    pub standing: Standing,
}

impl VoidedEntry {
    /// How much of all of them.
    #[must_use]
    pub fn amount(&self) -> Amount {
        self.grants.iter().map(|(_, amount)| *amount).sum()
    }
}

/// Credit taken from some sources, most often from one.
pub type Burns = SmallVec<[Burn; 1]>;

/// Periods that a usage counts in: a few.
pub type Periods = SmallVec<[Period; 6]>;

/// Credit taken from one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burn {
    /// From where.
    pub source: Source,
    /// How much.
    pub amount: Amount,
}

/// One line of the system's ledger: what concerns every org.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemEntry {
    /// Its number: 1, 2, 3 …
    pub number: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// What changed.
    pub kind: SystemEntryKind,
}

/// What changed in the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemEntryKind {
    /// A catalog came into force.
    CatalogApplied {
        /// Its version: 1, 2, 3 …
        version: u32,
        /// Its TOML text.
        text: String,
    },
    /// Usage created meters that the catalog lacks.
    MetersCreated(Vec<NewMeter>),
    /// An API key was made.
    ApiKeyMade(ApiKey),
    /// An API key was revoked.
    ApiKeyRevoked(ApiKeyId),
    /// A shipment was made.
    ShipmentMade(Arc<Shipment>),
    /// The shipment with this number was sent, and its orgs settled.
    ShipmentSent(u64),
    /// A channel was made, changed or removed.
    ChannelChanged(Box<ChangeChannel>),
    /// What was read and tried of a channel.
    Delivered {
        /// What.
        round: Box<Round>,
        /// Whether the channel is disabled by it.
        disabled: bool,
    },
    /// One of several servers delivers until a moment.
    DeliveryClaimed(DeliveryClaim),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every decision moves its entry a few times: kinds that hold much are boxed.
    #[test]
    fn entries_are_small() {
        assert!(size_of::<Entry>() <= 200, "{}", size_of::<Entry>());
    }
}
