//! Notices: what a person should know, decided and stored with the change that caused it.

use jiff::Timestamp;

use crate::{Amount, MeterId, Money, OrgId, Period, PlanId, ScopePath, UserId};

/// Something a person should know.
///
/// Each goes out at most once per org, meter, period and kind; raising the limit re-arms it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The meter it is about, if it is about one.
    pub meter: Option<MeterId>,
    /// The user it is about, if it is about one.
    pub user: Option<UserId>,
    /// The path it is about, if it is about one.
    pub path: Option<ScopePath>,
    /// The period it is about; `None` for the trial and for what has no period.
    pub period: Option<Period>,
    /// What happened.
    pub kind: NoticeKind,
}

/// Names a notice; as a text `ORG/ENTRY/INDEX`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoticeRef {
    /// Whose.
    pub org: OrgId,
    /// The number of its entry.
    pub entry: u64,
    /// Which of the entry's notices: 0, 1 …
    pub index: u32,
}

impl std::fmt::Display for NoticeRef {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}/{}", self.org, self.entry, self.index)
    }
}

impl std::str::FromStr for NoticeRef {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // An org's id may hold a slash.
        let mut parts = text.rsplitn(3, '/');
        let (index, entry, org) = (parts.next(), parts.next(), parts.next());
        let parse = || {
            let org = OrgId::new(org?).ok()?;
            Some(Self { org, entry: entry?.parse().ok()?, index: index?.parse().ok()? })
        };
        parse().ok_or("must be the id of a notice, such as acme/5/0")
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// Usage crossed a share of the org's credit.
    ThresholdCrossed {
        /// The share, in percent.
        percent: u8,
        /// Used so far.
        used: Amount,
        /// The credit it is a share of.
        limit: Amount,
    },
    /// At this pace the org's credit runs out before the month does.
    OnTrackToRunOut {
        /// Used so far.
        used: Amount,
        /// Expected at the end of the month.
        projected: Amount,
        /// The credit.
        limit: Amount,
        /// The day number on which it is expected to run out.
        day: i32,
    },
    /// The org's credit, or a limit of the org, a path or a user, is used up.
    LimitReached {
        /// Used so far.
        used: Amount,
        /// The credit or limit.
        limit: Amount,
        /// Whether it is the org's credit, rather than a limit on a counter.
        credit: bool,
    },
    /// The trial is about to end.
    TrialEnding {
        /// When it ends by time.
        ends_at: Timestamp,
        /// What is left of it.
        remaining: Amount,
    },
    /// The trial is over.
    TrialEnded {
        /// Used in it.
        used: Amount,
    },
    /// The first denial of a month.
    FirstDenial {
        /// The code of the denial.
        reason: String,
    },
    /// Credit was added.
    TopUpGranted {
        /// How much.
        amount: Amount,
        /// When it expires; `None` is never.
        expires_at: Option<Timestamp>,
        /// The plan of the org at that time.
        plan: Option<PlanId>,
    },
    /// The bill of a month was closed.
    BillClosed {
        /// Its number among those of the org.
        number: u32,
        /// What is owed.
        total: Money,
    },
    /// A gateway told of a budget that it keeps by itself.
    GatewayBudget(Box<GatewayBudget>),
}

/// What a gateway tells of a budget that it keeps by itself, in US dollars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayBudget {
    /// The gateway.
    pub gateway: String,
    /// Whose budget it is there, for people: `team research`.
    pub whose: String,
    /// How it stands.
    pub stage: BudgetStage,
    /// Spent of it.
    pub spent: Amount,
    /// The budget.
    pub limit: Amount,
    /// What is expected to be spent, where the gateway says so.
    pub projected: Option<Amount>,
}

/// How a budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetStage {
    /// It is nearly used up.
    Nearly,
    /// A budget that stops nobody is used up.
    Soft,
    /// It is used up.
    Reached,
    /// At this pace it will be used up.
    Projected,
}

impl BudgetStage {
    /// The stable name of the stage.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nearly => "nearly",
            Self::Soft => "soft",
            Self::Reached => "reached",
            Self::Projected => "projected",
        }
    }
}

impl NoticeKind {
    /// The names of all kinds.
    pub const NAMES: &[&str] = &[
        "threshold_crossed",
        "on_track_to_run_out",
        "limit_reached",
        "trial_ending",
        "trial_ended",
        "first_denial",
        "top_up_granted",
        "bill_closed",
        "gateway_budget",
    ];

    /// The stable name of the kind.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ThresholdCrossed { .. } => "threshold_crossed",
            Self::OnTrackToRunOut { .. } => "on_track_to_run_out",
            Self::LimitReached { .. } => "limit_reached",
            Self::TrialEnding { .. } => "trial_ending",
            Self::TrialEnded { .. } => "trial_ended",
            Self::FirstDenial { .. } => "first_denial",
            Self::TopUpGranted { .. } => "top_up_granted",
            Self::BillClosed { .. } => "bill_closed",
            Self::GatewayBudget(_) => "gateway_budget",
        }
    }
}
