//! The wire: requests, replies and problem codes of the native API, as plain types.
//!
//! The server answers with these types and the client commands read them, so the two cannot drift apart. Their schemas
//! are derived from them and make up `openapi.json`.
//!
//! Deliberately absent: handlers, HTTP, conversions from domain outcomes (they live at the server's edge), the compatible APIs'
//! dialects.
//!
//! Start reading at [`UsageRequest`] and [`Problem`].

mod admin;
mod batch;
mod bill;
mod body;
mod call;
mod channel;
mod decimal;
mod hold;
mod ledger;
mod members;
mod metadata;
mod objects;
mod org;
mod problem;
mod pulse;
mod text;
mod top_up;
mod usage;

pub use admin::{
    ApiKeyCreated, ApiKeyItem, ApiKeyList, ApiKeyRequest, CatalogReply, CatalogVersionItem, CatalogVersions,
    CreatedMeterItem, Health, Ready,
};
pub use batch::{BatchReply, RecordResult, RecordStatus, ResultsName};
pub use bill::{
    AdjustmentItem, BillFormat, BillItem, BillLineItem, BillPage, BillPart, BillReply, BillStatus,
    CloseRequest, SegmentItem, UnbilledItem, WhatIfDenied, WhatIfItem, WhatIfReply, WhatIfRequest,
    WhatIfTotal,
};
pub use body::{BodyError, read_body, shortened};
pub use call::{CALL_TOKENS_MAX, CallRequest, ServiceTierName};
pub use channel::{
    ChannelCreated, ChannelItem, ChannelKind, ChannelList, ChannelRequest, ChannelState, ChannelTested,
    DeliveryItem, DeliveryList, DeliveryResult, QuietTimes, ReplayRequest, RotateReply, RotateRequest,
    SentMessage,
};
pub use decimal::{Decimal, NonZeroDecimal, PositiveDecimal, RequestDecimal};
pub use hold::{
    CaptureReply, CaptureRequest, HoldId, HoldIdError, HoldItem, HoldPage, HoldReply, HoldRequest,
    OnExpiryName, ReleaseReply,
};
pub use ledger::{BurnLine, EntryItem, LedgerPage, NoticeItem, NoticePage, UsagePoint, UsageSeries};
pub use members::{Members, repeated_member};
pub use metadata::Metadata;
pub use org::{
    BalanceReply, CreditItem, GivenLimitItem, LimitGiver, LimitItem, LimitReply, LimitRequest, LimitsReply,
    MeterBalanceReply, OrgItem, OrgMeterItem, OrgNoticesReply, OrgNoticesRequest, OrgPage, OrgRequest,
    PathItem, PathLimitItem, PathPage, Percent, PlanReply, PlanRequest, PortalLinkReply, PortalLinkRequest,
    ScheduledPlan, ScopeName, ThresholdsGiver, TrialItem, UserItem, UserPage,
};
pub use problem::{Code, LimitDetail, Problem};
pub use pulse::{Aggregate, AggregateBatch, AggregatesCommitted};
pub use text::{
    Day, HeaderKey, Id, LimitPathName, Line, Month, OrderName, PathName, RoleName, SeriesWindow, TimeOrNever,
    WindowName, counted, grouped, noun,
};
pub use top_up::{
    TopUpItem, TopUpPage, TopUpReply, TopUpRequest, TopUpState, VoidByKeyRequest, VoidReply, VoidRequest,
};
pub use usage::{
    CheckReply, CheckStep, Properties, PropertyValue, ReversalReply, ReversalRequest, Time, UsageReply,
    UsageRequest,
};
