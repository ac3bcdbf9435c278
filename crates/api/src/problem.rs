//! Problems: every error as `application/problem+json` with a stable code.

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::{Decimal, HoldItem};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// The stable code of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code on the wire.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status it goes with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// What it means, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The body is not JSON.
    Unreadable = "unreadable", 400, "The request cannot be read";
    /// A query parameter is wrong.
    InvalidParameter = "invalid_parameter", 400, "A parameter is not valid";
    /// The cursor is not one of this list.
    InvalidCursor = "invalid_cursor", 400, "The cursor is not one of this list";
    /// No API key, or one that is unknown or revoked.
    Unauthorized = "unauthorized", 401, "A valid API key is needed";
    /// The org has no plan.
    NoPlan = "no_plan", 402, "The organization has no plan";
    /// The trial is over.
    TrialEnded = "trial_ended", 402, "The trial is over";
    /// The org's credit, or a limit on the whole org, does not leave room.
    OrgLimitReached = "org_limit_reached", 402, "The organization's limit is reached";
    /// A limit on the path, or on one that it lies below, does not leave room.
    PathLimitReached = "path_limit_reached", 403, "The limit of a path is reached";
    /// A limit on the user does not leave room.
    UserLimitReached = "user_limit_reached", 403, "The user's limit is reached";
    /// The hold that another is to be carved out of does not leave room.
    HoldLimitReached = "hold_limit_reached", 403, "The hold leaves no room";
    /// The API key may not do this.
    Forbidden = "forbidden", 403, "The API key may not do this";
    /// A web page of an origin that the server does not allow asks.
    ForeignOrigin = "foreign_origin", 403, "The request comes from a web page of another origin";
    /// There is no such route.
    UnknownRoute = "unknown_route", 404, "There is no such route";
    /// Nobody has heard of the org.
    UnknownOrg = "unknown_org", 404, "The organization is not known";
    /// No usage is remembered under the key.
    UnknownKey = "unknown_key", 404, "No usage is remembered under this key";
    /// There is no such entry.
    UnknownEntry = "unknown_entry", 404, "There is no such entry";
    /// The org has no such top-up.
    UnknownTopUp = "unknown_top_up", 404, "There is no such top-up";
    /// The org has no such hold, or it ended so long ago that its key is forgotten.
    UnknownHold = "unknown_hold", 404, "There is no such hold";
    /// There is no such version of the catalog.
    UnknownVersion = "unknown_version", 404, "There is no such version";
    /// There is no such API key.
    UnknownApiKey = "unknown_api_key", 404, "There is no such API key";
    /// There is no such channel.
    UnknownChannel = "unknown_channel", 404, "There is no such channel";
    /// There is no such notice.
    UnknownNotice = "unknown_notice", 404, "There is no such notice";
    /// The gateway knows no cost of the call.
    NoCost = "no_cost", 404, "The gateway knows no cost of the call";
    /// The catalog has no such meter.
    UnknownMeter = "unknown_meter", 404, "The catalog has no such meter";
    /// The catalog has no such plan.
    UnknownPlan = "unknown_plan", 404, "The catalog has no such plan";
    /// The org had no plan in the month.
    UnknownBill = "unknown_bill", 404, "There is no bill of this month";
    /// The route does not take this method.
    MethodNotAllowed = "method_not_allowed", 405, "The route does not take this method";
    /// The request did not arrive in time.
    RequestTimeout = "request_timeout", 408, "The request did not arrive in time";
    /// The usage was taken back.
    KeyReversed = "key_reversed", 409, "The usage under this key was taken back";
    /// The hold was captured, released, or has expired.
    HoldEnded = "hold_ended", 409, "The hold has ended";
    /// More is to be captured than is held, and than it may overrun.
    MoreThanHeld = "more_than_held", 409, "More is to be captured than is held";
    /// What a maximum or a last value would be without the usage is not known.
    NotReversible = "not_reversible", 409, "The usage cannot be taken back";
    /// The plan is not offered any more.
    PlanRetired = "plan_retired", 409, "The plan is not offered any more";
    /// The org has had its trial.
    TrialUsed = "trial_used", 409, "The organization has had its trial";
    /// The plan's prices are in another currency than those of its month.
    CurrencyChange = "currency_change", 409, "A month is billed in one currency";
    /// The catalog lacks plans that orgs have.
    PlanInUse = "plan_in_use", 409, "The catalog lacks plans that organizations have";
    /// The month is not over.
    MonthRuns = "month_runs", 409, "The month is not over";
    /// An earlier month is to be closed first.
    EarlierMonthOpen = "earlier_month_open", 409, "An earlier month is to be closed first";
    /// A later month is closed.
    LaterMonthClosed = "later_month_closed", 409, "A later month is closed";
    /// The month makes more money than can be counted.
    Unrated = "unrated", 409, "The month cannot be rated";
    /// An API key was made under the same `Idempotency-Key`.
    ApiKeyExists = "api_key_exists", 409, "The API key was made before";
    /// More credit is to be taken back than is unused.
    MoreThanUnused = "more_than_unused", 409, "More is to be taken back than is unused";
    /// It is the last API key that can make others.
    LastAdminKey = "last_admin_key", 409, "It is the last admin key";
    /// There are as many as there may be: limits, grants or open holds of the org, or meters that usage created.
    TooMany = "too_many", 409, "There are as many as there may be";
    /// The body is too large.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// The body is not of a type the route reads.
    UnsupportedMediaType = "unsupported_media_type", 415, "The body is not of a type this route reads";
    /// A server without API keys is called by a name that is not one of loopback.
    UnknownHost = "unknown_host", 421, "The server does not answer to this host name";
    /// The key stands for another content.
    KeyReused = "key_reused", 422, "The key was used for another content";
    /// A limit per user is in force and no user was given.
    UserRequired = "user_required", 422, "A user is needed";
    /// The meter refuses a property that it does not declare.
    UnknownProperty = "unknown_property", 422, "The meter does not declare the property";
    /// The meter is counted in another way than as a sum, so nothing of it can be held.
    NotHeld = "not_held", 422, "Nothing of the meter can be held";
    /// A field is missing.
    MissingField = "missing_field", 422, "A field is missing";
    /// There is no such field.
    UnknownField = "unknown_field", 422, "There is no such field";
    /// A field is not valid.
    InvalidField = "invalid_field", 422, "A field is not valid";
    /// The catalog has no price of a call of a model.
    NoPrice = "no_price", 422, "The catalog has no price of the call";
    /// The catalog is wrong.
    InvalidCatalog = "invalid_catalog", 422, "The catalog is not valid";
    /// Too many requests from this connection's address.
    RateLimited = "rate_limited", 429, "Too many requests";
    /// A defect.
    Internal = "internal", 500, "The server failed";
    /// The gateway that prices calls did not answer, or not with a price.
    GatewayFailed = "gateway_failed", 502, "The gateway did not price the call";
    /// What aggregates are committed to did not take them.
    SinkFailed = "sink_failed", 502, "The sink did not take it";
    /// Too many requests wait.
    Overloaded = "overloaded", 503, "Too many requests are waiting";
    /// The server is shutting down.
    ShuttingDown = "shutting_down", 503, "The server is shutting down";
    /// Other writers changed the org at the same time.
    Contended = "contended", 503, "The organization is being changed by other writers";
    /// The store has no room.
    StoreFull = "store_full", 503, "The store has no room";
    /// The store cannot be read or written.
    StoreFailed = "store_failed", 503, "The store cannot be used";
}

impl Code {
    /// Whether it is sent with a status. What a limit refuses is 402 where buying helps, 429 where waiting does.
    #[must_use]
    pub const fn goes_with(self, status: u16) -> bool {
        match self {
            Self::OrgLimitReached => matches!(status, 402 | 403 | 429),
            Self::PathLimitReached | Self::UserLimitReached => matches!(status, 403 | 429),
            other => other.status() == status,
        }
    }
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let texts = Self::ALL.iter().map(|code| code.text());
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The stable code of a problem."))
            .enum_values(Some(texts))
            .into()
    }
}

impl ToSchema for Code {}

/// An error (RFC 9457), with members of our own.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI of the kind of problem: `urn:tollgate:problem:` and the code.
    pub r#type: String,
    /// What the code means, in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, and what is allowed.
    pub detail: String,
    /// The stable code.
    pub code: Code,
    /// The field or parameter that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The id of the request, as in the header `X-Request-Id` and the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// False on a denied usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<bool>,
    /// How much was asked for, on a denied usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Decimal>,
    /// What the org may still use, on a denied usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<Decimal>,
    /// The limit that refused a usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitDetail>,
    /// The hold that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Box<HoldItem>>,
    /// What is in the way, such as the organizations that have a plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
}

/// The limit, or the credit, that refused a usage.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LimitDetail {
    /// `org`, `path`, `user` or `hold`.
    pub scope: String,
    /// The user, for a limit on users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The path that is full, for a limit on paths: that of the usage, or one that it lies below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `minute`, `hour`, `day`, `week`, `month`, `lifetime`; null for a trial.
    pub window: Option<String>,
    /// The limit.
    pub amount: Decimal,
    /// Used of it.
    pub used: Decimal,
    /// What holds reserve of it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Decimal>,
    /// What is left of it: neither used nor held.
    pub remaining: Decimal,
    /// When there is room again by itself; null is never.
    pub resets_at: Option<String>,
}

impl Problem {
    /// A problem with its code's title and status.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            r#type: format!("urn:tollgate:problem:{}", code.text()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            field: None,
            request_id: None,
            allowed: None,
            quantity: None,
            remaining: None,
            limit: None,
            hold: None,
            conflicts: Vec::new(),
        }
    }

    /// The same, naming the field that is wrong.
    #[must_use]
    pub fn on_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}
