//! Commands: what callers ask for, already checked for form.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::catalog::Meter;
use crate::{
    Amount, ApiKey, ApiKeyId, ChangeChannel, EntryKind, GatewayBudget, KeySpace, LimitScope, MeterId,
    OnExpiry, OrgId, OrgState, PartKey, PlanId, Quantity, Round, ScopePath, ShipmentId, ShipmentLine, Sku,
    UsageKey, UserId, Window, Zone,
};

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Something of one org.
    Org(OrgId, OrgCommand),
    /// Something of the system.
    System(SystemCommand),
}

/// What a caller asks for of one org.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrgCommand {
    /// Check and consume.
    Use(Use),
    /// Count what was used already, whatever credit and limits say.
    Record(Use),
    /// The same decision, nothing consumed.
    Check(Check),
    /// Take a usage back.
    Reverse(Reverse),
    /// Check and reserve.
    Hold(TakeHold),
    /// Consume what is held.
    Capture(Capture),
    /// Give back what is held: of the hold with this number.
    Release(u64),
    /// End the hold that has expired first, if one has. Whoever decides on an org has to put this first, as often as
    /// [`OrgState::has_due_hold`](crate::OrgState::has_due_hold) says.
    Expire,
    /// Set name and zone.
    Put(PutOrg),
    /// Make the org, if nobody has heard of it.
    Welcome(Welcome),
    /// Set the plan or leave it, now or later.
    SetPlan(SetPlan),
    /// Call off the change of plan that is scheduled.
    CallOffPlan,
    /// Set or remove a limit.
    SetLimit(SetLimit),
    /// Set the shares of credit, in percent, that cause a notice when crossed: in order, each once; `None`: as the plan says.
    SetThresholds(Option<Vec<u8>>),
    /// Add credit.
    TopUp(TopUp),
    /// Take back credit that is not used.
    Void(Void),
    /// Close the bill of a month that is over.
    CloseMonth(CloseMonth),
    /// Take what a shipment brought to the processor off what is unsent.
    Settle(Settle),
    /// Tell people of a budget that a gateway keeps by itself.
    TellBudget(Box<TellBudget>),
}

/// The property of a usage whose quantity was made of a call of a model: by which catalog. A retry of it is compared by its
/// other properties, which name model and tokens, and not by its quantity.
pub const PRICED_BY: &str = "priced_by";

/// The property that names whose prices a call was priced by, where the catalog has none of its model.
pub const PRICED_AS: &str = "priced_as";

/// A usage: to be checked and consumed, or to be recorded after the fact.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Use {
    /// Who uses it.
    pub user: Option<UserId>,
    /// Where below the org it is used.
    pub path: Option<ScopePath>,
    /// What is used.
    pub meter: MeterId,
    /// How much.
    pub quantity: Quantity,
    /// The caller's id of it.
    pub key: UsageKey,
    /// When it happened, as the caller says. A use keeps it and goes by the server's time; a record is counted by it.
    pub occurred_at: Option<Timestamp>,
    /// What the caller tells about it.
    pub properties: BTreeMap<String, String>,
}

/// Ask what [`Use`] would be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Who would use it.
    pub user: Option<UserId>,
    /// Where below the org.
    pub path: Option<ScopePath>,
    /// What would be used.
    pub meter: MeterId,
    /// How much.
    pub quantity: Quantity,
    /// What would be told about it.
    pub properties: BTreeMap<String, String>,
}

/// Check and reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeHold {
    /// What is to be used; its time is not looked at.
    pub usage: Use,
    /// The hold that it is to be carved out of.
    pub within: Option<u64>,
    /// How long it lasts, in seconds.
    pub secs: u32,
    /// How much more than is held may be captured.
    pub overrun: Amount,
    /// What becomes of it when nobody ends it.
    pub on_expiry: OnExpiry,
}

/// Consume what is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The number of the hold.
    pub hold: u64,
    /// How much; `None`: all that is held.
    pub quantity: Option<Amount>,
    /// The caller's id of it, if it is a part; `None`: it is the last, which ends the hold and has its key.
    pub part: Option<UsageKey>,
}

/// Take a usage back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reverse {
    /// The key it was counted with.
    pub key: UsageKey,
}

/// Set name and zone; what is `None` stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutOrg {
    /// A name for people; `Some(None)` removes it.
    pub name: Option<Option<String>>,
    /// The zone of its calendar.
    pub zone: Option<Zone>,
    /// What the caller keeps with it for itself, in place of all that was there.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// Make an org that nobody has heard of; one that is known stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The plan it gets.
    pub plan: Option<PlanId>,
}

/// Set the plan or leave it; setting one makes the org if need be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPlan {
    /// The plan; `None`: leave.
    pub plan: Option<PlanId>,
    /// From when.
    pub from: PlanTime,
}

/// When a change of plan takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlanTime {
    /// At once.
    Now,
    /// At a moment.
    At(Timestamp),
    /// With the first moment of the day with this number, in the org's zone.
    Day(i32),
    /// With the first moment of the next month, in the org's zone.
    NextMonth,
}

impl SetPlan {
    /// Sets a plan at once.
    #[must_use]
    pub const fn now(plan: PlanId) -> Self {
        Self { plan: Some(plan), from: PlanTime::Now }
    }

    /// Leaves the plan at once.
    #[must_use]
    pub const fn leave() -> Self {
        Self { plan: None, from: PlanTime::Now }
    }
}

/// Set or remove a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetLimit {
    /// On what.
    pub meter: MeterId,
    /// For whom.
    pub scope: LimitScope,
    /// Over which stretch of time.
    pub window: Window,
    /// How much, at least 1; `None` removes the limit.
    pub amount: Option<Amount>,
}

/// Add credit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopUp {
    /// On what.
    pub meter: MeterId,
    /// How much.
    pub amount: Quantity,
    /// The caller's id of the top-up; counts once.
    pub key: Option<UsageKey>,
    /// When it expires.
    pub expiry: TopUpExpiry,
    /// From when it can be burned.
    pub start: TopUpStart,
    /// Lower burns first.
    pub priority: u8,
    /// Why, for people.
    pub reason: Option<String>,
    /// What the caller keeps with it for itself.
    pub metadata: BTreeMap<String, String>,
}

/// Close the bill of a month that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseMonth {
    /// The number of the month.
    pub month: i32,
}

/// Take what a shipment brought to the processor off what is unsent; once for each shipment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    /// The number of the shipment.
    pub shipment: u64,
    /// The number of its day.
    pub day: i32,
    /// What it brought of the org.
    pub lines: Vec<(Sku, Amount)>,
}

/// Tell people of a budget that a gateway keeps by itself; the same once in a day of the org.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TellBudget {
    /// Stands for what is told: which budget, how large, and how it stands.
    pub key: UsageKey,
    /// The user whose budget it is, or who used it up.
    pub user: Option<UserId>,
    /// What the gateway told.
    pub budget: GatewayBudget,
}

/// From when a top-up can be burned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopUpStart {
    /// At once.
    Now,
    /// From a moment on.
    At {
        /// The moment; one that has passed is now.
        at: Timestamp,
        /// The number of the month that the caller wrote, in the zone in which the caller wrote it.
        written_month: i32,
    },
    /// From the first moment of the day with this number, in the org's zone.
    Day(i32),
}

/// Take back credit that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Void {
    /// Which credit.
    pub target: VoidTarget,
    /// How much; `None`: all that is unused.
    pub amount: Option<Quantity>,
    /// The caller's id of it; takes back once.
    pub key: Option<UsageKey>,
    /// Why, for people.
    pub reason: Option<String>,
}

/// Which credit is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum VoidTarget {
    /// The top-up of the entry with this number.
    Entry(u64),
    /// The top-up with this key.
    Key(UsageKey),
    /// Top-ups of a meter in force: a correction.
    Meter(MeterId),
}

impl VoidTarget {
    /// The key that names the top-up, if it is named by one.
    pub(crate) const fn key(&self) -> Option<&UsageKey> {
        match self {
            Self::Key(key) => Some(key),
            Self::Entry(_) | Self::Meter(_) => None,
        }
    }

    /// The entry that names the top-up, if it is named by one.
    pub(crate) const fn entry(&self) -> Option<u64> {
        match self {
            Self::Entry(entry) => Some(*entry),
            Self::Key(_) | Self::Meter(_) => None,
        }
    }

    /// The entry of the top-up, by its number or its key.
    pub(crate) fn top_up(&self, state: &OrgState) -> Option<u64> {
        self.entry().or_else(|| state.key(KeySpace::TopUp, self.key()?).map(|key| key.entry))
    }

    /// The meter, as far as it is known which it is.
    pub(crate) fn meter<'a>(&'a self, state: &'a OrgState) -> Option<&'a MeterId> {
        if let Self::Meter(meter) = self {
            return Some(meter);
        }
        match &state.entry(self.top_up(state)?)?.kind {
            EntryKind::ToppedUp(topped_up) => Some(&topped_up.meter),
            _ => None,
        }
    }
}

/// When a top-up expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopUpExpiry {
    /// With the month that it begins in, in the org's zone.
    EndOfMonth,
    /// At a moment.
    At(Timestamp),
    /// With the last moment of the day with this number, in the org's zone.
    Day(i32),
    /// Never: a prepaid pot.
    Never,
}

/// What a caller asks for of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemCommand {
    /// Bring a catalog into force.
    ApplyCatalog(ApplyCatalog),
    /// Ask what [`SystemCommand::ApplyCatalog`] would be answered.
    CheckCatalog(ApplyCatalog),
    /// Create meters that the catalog lacks: in order, as many as there may be.
    CreateMeters(Vec<NewMeter>),
    /// Make an API key.
    MakeApiKey(ApiKey),
    /// Revoke an API key.
    RevokeApiKey(RevokeApiKey),
    /// Make a shipment.
    MakeShipment(MakeShipment),
    /// Remember that the shipment with this number was sent, and its orgs settled.
    ShipmentSent(u64),
    /// Make, change or remove a channel.
    ChangeChannel(Box<ChangeChannel>),
    /// Remember what was read and tried of a channel.
    Deliver(Box<Round>),
    /// Be the one of several servers that delivers, until a moment.
    ClaimDelivery {
        /// Who.
        holder: String,
        /// Until when.
        until: Timestamp,
    },
}

impl OrgCommand {
    /// The part with the caller's key that it names.
    #[must_use]
    pub fn named_key(&self) -> Option<PartKey> {
        match self {
            Self::Hold(take) => Some(PartKey::Key(KeySpace::Use, take.usage.key.clone())),
            Self::Capture(capture) => Some(PartKey::Key(KeySpace::Use, capture.part.clone()?)),
            Self::Use(usage) | Self::Record(usage) => Some(PartKey::Key(KeySpace::Use, usage.key.clone())),
            Self::Reverse(reverse) => Some(PartKey::Key(KeySpace::Use, reverse.key.clone())),
            Self::TopUp(top_up) => Some(PartKey::Key(KeySpace::TopUp, top_up.key.clone()?)),
            Self::Void(void) => Some(PartKey::Key(KeySpace::TopUp, void.key.clone()?)),
            Self::TellBudget(tell) => Some(PartKey::Key(KeySpace::Told, tell.key.clone())),
            _ => None,
        }
    }

    /// The plan that it gives an org, now or later.
    #[must_use]
    pub const fn plan_given(&self) -> Option<&PlanId> {
        match self {
            Self::SetPlan(set) => set.plan.as_ref(),
            Self::Welcome(welcome) => welcome.plan.as_ref(),
            _ => None,
        }
    }
}

/// A meter that usage names and the catalog lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMeter {
    /// Its id.
    pub id: MeterId,
    /// As what its usage is to be sent to the sink; `None`: it is not.
    pub sink: Option<Sku>,
}

impl From<&MeterId> for NewMeter {
    fn from(id: &MeterId) -> Self {
        Self { id: id.clone(), sink: None }
    }
}

/// Revoke an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokeApiKey {
    /// Which one.
    pub id: ApiKeyId,
    /// Whether there is an admin key besides those that are stored, so that the last of them may go.
    pub admin_besides: bool,
}

/// Make a shipment of amounts that are unsent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MakeShipment {
    /// Its name to the processor.
    pub id: ShipmentId,
    /// The number of the shipment before it: the amounts were read after that one was sent and its orgs settled.
    pub after: u64,
    /// The number of its day.
    pub day: i32,
    /// Its lines.
    pub lines: Vec<ShipmentLine>,
}

/// Bring a catalog into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyCatalog {
    /// Its TOML text.
    pub text: String,
    /// Plans that orgs have; removing one of them is refused.
    pub plans_in_use: Vec<(PlanId, OrgId)>,
    /// Its meters as the latest catalog that had them says; counting them anew is refused.
    pub former_meters: Vec<Meter>,
    /// The version in force when these were found out: if another is by now, it is refused. `None`: whichever it is.
    pub after: Option<u32>,
}

impl ApplyCatalog {
    /// A catalog; the engine finds out what it may not change.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self { text, plans_in_use: Vec::new(), former_meters: Vec::new(), after: None }
    }
}
