//! The rules of Tollgate: plain values in, plain values out.
//!
//! [`decide`](decide()) answers a [`Command`] from the [`OrgState`] it is given and the time it is told, and says what
//! the ledger must remember: an [`Entry`]. [`apply`](apply()) turns an entry into changed state. Nothing else
//! changes it, so a replay of the ledger from empty gives the same state. [`rate`](rate()) makes money of a
//! month's usage by the prices of the [`catalog`].
//!
//! Deliberately absent: IO, clocks, randomness, async, logging, JSON, HTTP, storage.
//!
//! Start reading at [`decide`](decide()), then [`apply`](apply()), then [`OrgState`].

mod account;
mod actor;
mod amount;
mod api_key;
mod apply;
mod balance;
mod bill;
mod calendar;
pub mod catalog;
mod channel;
mod command;
mod counter;
mod counting;
mod decide;
mod entry;
mod explain;
mod forecast;
mod groups;
mod hold;
mod hours;
mod ids;
mod keys;
pub mod limits;
mod moment;
mod money;
mod moving;
mod notice;
mod org;
mod part;
mod path;
mod plans;
mod ranks;
mod rate;
mod records;
mod segments;
mod shipment;
mod sku;
mod state;
mod text;
mod users;
mod whatif;
mod window;

pub use account::{Account, AllowanceUse, CreditMarks, DayUse, Grant, Overdraft, Source};
pub use actor::{Actor, PersonId};
pub use amount::{Amount, AmountError, Quantity};
pub use api_key::{ApiKey, ApiKeyId, Role};
pub use apply::{apply, apply_system, load_and_apply, touched, touched_by_system};
pub use balance::{Balance, CreditLine, LimitLine, MeterBalance, TopUpLine, balance, path_limits, top_ups};
pub use bill::{Adjustment, Bill, BillError, bill, rate_month};
pub use calendar::{Period, Zone, ZoneError};
pub use catalog::{Catalog, CatalogError, ThresholdsFrom};
pub use channel::{
    Attempt, AttemptResult, ChangeChannel, Channel, ChannelChange, ChannelId, ChannelSecret, ChannelSetup,
    Delivery, Digest, Filter, Progress, ReadTo, Replay, Round, Subject, Target, Waiting,
};
pub use command::{
    ApplyCatalog, Capture, Check, CloseMonth, Command, MakeShipment, NewMeter, OrgCommand, PRICED_AS,
    PRICED_BY, PlanTime, PutOrg, Reverse, RevokeApiKey, SetLimit, SetPlan, Settle, SystemCommand, TakeHold,
    TellBudget, TopUp, TopUpExpiry, TopUpStart, Use, Void, VoidTarget, Welcome,
};
pub use counter::{Counter, CounterExtras, CounterId, OpenCounter, Place, Scope, Tally};
pub use counting::{Among, Counting, Seen};
pub use decide::{
    Allowed, CapturedHold, Changed, Checked, CloseDenial, Closed, ConfigDenial, Context, Denial, Denied,
    EndedHold, GivenLimit, HoldDenial, HoldRefused, OrgDecision, Outcome, Policies, Policy, PolicyScope,
    ReachedLimit, RecordDenial, Recorded, ReversalDenial, Reversed, SystemDenial, SystemOutcome, TakenHold,
    ToppedUp, Voided, decide, decide_system, first_to_bill, given_limits, read_by_system,
};
pub use entry::{
    Burn, Burns, Entry, EntryKind, HeldEntry, HoldEndedEntry, Periods, SystemEntry, SystemEntryKind,
    ToppedUpEntry, UsedEntry, VoidedEntry,
};
pub use explain::{Step, explain};
pub use forecast::{Pace, project};
pub use groups::{GROUPED, Group, GroupBy, Groups, usage_by};
pub use hold::{Captured, EndedBy, Hold, HoldEnd, HoldSum, Holds, OnExpiry};
pub use hours::{ClockTime, Hours, HoursError, QuietHours};
pub use ids::{IdError, MeterId, OrgId, PlanId, ShipmentId, UsageKey, UserId};
pub use moment::{Moment, Moments};
pub use money::{Currency, CurrencyError, Exact, Money};
pub use moving::Slots;
pub use notice::{BudgetStage, GatewayBudget, Notice, NoticeKind, NoticeRef};
pub use org::{Limit, LimitScope, Org, Trial, UsedMeter};
pub use part::{PartKey, Wants};
pub use path::{Along, LimitPath, PathCounters, PathError, ScopePath};
pub use plans::{PlanChange, Plans, Stretch};
pub use ranks::{Rank, Ranks};
pub use rate::{
    BillLine, Bound, MeterUsage, Part, PriceRef, RateError, Rated, RatedSegment, Segment, Share, Terms,
    Unbilled, UsageGroup, rate,
};
pub use records::{
    CatalogVersion, CreatedMeter, DeliveryClaim, KeyId, KeyRecord, KeySpace, Partition, Record, RecordKey,
    Standing, System, SystemRecords,
};
pub use shipment::{Shipment, ShipmentLine, Unsent};
pub use sku::Sku;
pub use state::{Distance, OrgState};
pub use whatif::{Denials, DeniedSum, Rerun, TakenBack};
pub use window::{MonthDay, WeekDay, Window, WindowError, WindowHours};

/// A stretch of time of fixed length, to the nanosecond.
pub use jiff::SignedDuration;
/// A moment on the UTC timeline, to the nanosecond.
pub use jiff::Timestamp;
