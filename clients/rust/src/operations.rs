//! Every native operation of the API, made of openapi.json by a test; not written by hand.

use http::Method;

use crate::Operation;

/// `GET /v1/orgs/{org}/balance`
#[rustfmt::skip]
pub const BALANCE: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}/balance", query: &["users_limit"] };

/// `GET /v1/orgs/{org}/bill`
#[rustfmt::skip]
pub const BILL: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}/bill", query: &["month", "format"] };

/// `POST /v1/holds/{hold}/capture`
#[rustfmt::skip]
pub const CAPTURE: Operation =
    Operation { method: Method::POST, path: "/v1/holds/{hold}/capture", query: &[] };

/// `GET /v1/channels/{id}/deliveries`
#[rustfmt::skip]
pub const CHANNEL_DELIVERIES: Operation =
    Operation { method: Method::GET, path: "/v1/channels/{id}/deliveries", query: &["limit", "before", "requests"] };

/// `POST /v1/usage/check`
#[rustfmt::skip]
pub const CHECK: Operation =
    Operation { method: Method::POST, path: "/v1/usage/check", query: &[] };

/// `POST /v1/orgs/{org}/bill/close`
#[rustfmt::skip]
pub const CLOSE_BILL: Operation =
    Operation { method: Method::POST, path: "/v1/orgs/{org}/bill/close", query: &[] };

/// `POST /v1/api-keys`
#[rustfmt::skip]
pub const CREATE_API_KEY: Operation =
    Operation { method: Method::POST, path: "/v1/api-keys", query: &[] };

/// `POST /v1/channels`
#[rustfmt::skip]
pub const CREATE_CHANNEL: Operation =
    Operation { method: Method::POST, path: "/v1/channels", query: &[] };

/// `POST /v1/orgs/{org}/portal-links`
#[rustfmt::skip]
pub const CREATE_PORTAL_LINK: Operation =
    Operation { method: Method::POST, path: "/v1/orgs/{org}/portal-links", query: &[] };

/// `DELETE /v1/channels/{id}`
#[rustfmt::skip]
pub const DELETE_CHANNEL: Operation =
    Operation { method: Method::DELETE, path: "/v1/channels/{id}", query: &[] };

/// `DELETE /v1/orgs/{org}/limits`
#[rustfmt::skip]
pub const DELETE_LIMIT: Operation =
    Operation { method: Method::DELETE, path: "/v1/orgs/{org}/limits", query: &["meter", "scope", "user", "path", "window"] };

/// `DELETE /v1/orgs/{org}/plan`
#[rustfmt::skip]
pub const DELETE_PLAN: Operation =
    Operation { method: Method::DELETE, path: "/v1/orgs/{org}/plan", query: &["at"] };

/// `DELETE /v1/orgs/{org}/plan/scheduled`
#[rustfmt::skip]
pub const DELETE_SCHEDULED_PLAN: Operation =
    Operation { method: Method::DELETE, path: "/v1/orgs/{org}/plan/scheduled", query: &[] };

/// `GET /v1/catalog`
#[rustfmt::skip]
pub const GET_CATALOG: Operation =
    Operation { method: Method::GET, path: "/v1/catalog", query: &[] };

/// `GET /v1/catalog/versions/{version}`
#[rustfmt::skip]
pub const GET_CATALOG_VERSION: Operation =
    Operation { method: Method::GET, path: "/v1/catalog/versions/{version}", query: &[] };

/// `GET /v1/channels/{id}`
#[rustfmt::skip]
pub const GET_CHANNEL: Operation =
    Operation { method: Method::GET, path: "/v1/channels/{id}", query: &[] };

/// `GET /v1/holds/{hold}`
#[rustfmt::skip]
pub const GET_HOLD: Operation =
    Operation { method: Method::GET, path: "/v1/holds/{hold}", query: &[] };

/// `GET /v1/orgs/{org}`
#[rustfmt::skip]
pub const GET_ORG: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}", query: &[] };

/// `GET /v1/orgs/{org}/notices`
#[rustfmt::skip]
pub const GET_ORG_NOTICES: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}/notices", query: &[] };

/// `GET /v1/orgs/{org}/plan`
#[rustfmt::skip]
pub const GET_PLAN: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}/plan", query: &[] };

/// `GET /health`
#[rustfmt::skip]
pub const HEALTH: Operation =
    Operation { method: Method::GET, path: "/health", query: &[] };

/// `POST /v1/holds`
#[rustfmt::skip]
pub const HOLD: Operation =
    Operation { method: Method::POST, path: "/v1/holds", query: &[] };

/// `GET /v1/orgs/{org}/ledger`
#[rustfmt::skip]
pub const LEDGER: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}/ledger", query: &["order", "kind", "user", "path", "meter", "key", "actor", "from", "to", "limit", "cursor"] };

/// `GET /v1/orgs/{org}/ledger/{entry}`
#[rustfmt::skip]
pub const LEDGER_ENTRY: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}/ledger/{entry}", query: &[] };

/// `GET /v1/api-keys`
#[rustfmt::skip]
pub const LIST_API_KEYS: Operation =
    Operation { method: Method::GET, path: "/v1/api-keys", query: &["limit", "cursor"] };

/// `GET /v1/orgs/{org}/bills`
#[rustfmt::skip]
pub const LIST_BILLS: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}/bills", query: &["limit", "cursor"] };

/// `GET /v1/catalog/versions`
#[rustfmt::skip]
pub const LIST_CATALOGS: Operation =
    Operation { method: Method::GET, path: "/v1/catalog/versions", query: &["limit", "cursor"] };

/// `GET /v1/channels`
#[rustfmt::skip]
pub const LIST_CHANNELS: Operation =
    Operation { method: Method::GET, path: "/v1/channels", query: &[] };

/// `GET /v1/orgs/{org}/holds`
#[rustfmt::skip]
pub const LIST_HOLDS: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}/holds", query: &["limit", "cursor"] };

/// `GET /v1/orgs/{org}/limits`
#[rustfmt::skip]
pub const LIST_LIMITS: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}/limits", query: &[] };

/// `GET /v1/orgs`
#[rustfmt::skip]
pub const LIST_ORGS: Operation =
    Operation { method: Method::GET, path: "/v1/orgs", query: &["plan", "name", "used_at_least", "refused_today", "limit", "cursor"] };

/// `GET /v1/orgs/{org}/paths`
#[rustfmt::skip]
pub const LIST_PATHS: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}/paths", query: &["meter", "limit", "cursor"] };

/// `GET /v1/orgs/{org}/top-ups`
#[rustfmt::skip]
pub const LIST_TOP_UPS: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}/top-ups", query: &["meter", "limit", "cursor"] };

/// `GET /v1/orgs/{org}/users`
#[rustfmt::skip]
pub const LIST_USERS: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}/users", query: &["meter", "month", "limit", "cursor"] };

/// `GET /v1/notices`
#[rustfmt::skip]
pub const NOTICES: Operation =
    Operation { method: Method::GET, path: "/v1/notices", query: &["org", "kind", "since", "limit", "cursor"] };

/// `PUT /v1/catalog`
#[rustfmt::skip]
pub const PUT_CATALOG: Operation =
    Operation { method: Method::PUT, path: "/v1/catalog", query: &["dry_run"] };

/// `PUT /v1/channels/{id}`
#[rustfmt::skip]
pub const PUT_CHANNEL: Operation =
    Operation { method: Method::PUT, path: "/v1/channels/{id}", query: &[] };

/// `PUT /v1/orgs/{org}/limits`
#[rustfmt::skip]
pub const PUT_LIMIT: Operation =
    Operation { method: Method::PUT, path: "/v1/orgs/{org}/limits", query: &[] };

/// `PUT /v1/orgs/{org}`
#[rustfmt::skip]
pub const PUT_ORG: Operation =
    Operation { method: Method::PUT, path: "/v1/orgs/{org}", query: &[] };

/// `PUT /v1/orgs/{org}/notices`
#[rustfmt::skip]
pub const PUT_ORG_NOTICES: Operation =
    Operation { method: Method::PUT, path: "/v1/orgs/{org}/notices", query: &[] };

/// `PUT /v1/orgs/{org}/plan`
#[rustfmt::skip]
pub const PUT_PLAN: Operation =
    Operation { method: Method::PUT, path: "/v1/orgs/{org}/plan", query: &[] };

/// `GET /ready`
#[rustfmt::skip]
pub const READY: Operation =
    Operation { method: Method::GET, path: "/ready", query: &[] };

/// `POST /v1/usage/batch`
#[rustfmt::skip]
pub const RECORD: Operation =
    Operation { method: Method::POST, path: "/v1/usage/batch", query: &["results"] };

/// `POST /v1/holds/{hold}/release`
#[rustfmt::skip]
pub const RELEASE: Operation =
    Operation { method: Method::POST, path: "/v1/holds/{hold}/release", query: &[] };

/// `POST /v1/channels/{id}/replay`
#[rustfmt::skip]
pub const REPLAY_CHANNEL: Operation =
    Operation { method: Method::POST, path: "/v1/channels/{id}/replay", query: &[] };

/// `POST /v1/usage/reversals`
#[rustfmt::skip]
pub const REVERSE: Operation =
    Operation { method: Method::POST, path: "/v1/usage/reversals", query: &[] };

/// `DELETE /v1/api-keys/{id}`
#[rustfmt::skip]
pub const REVOKE_API_KEY: Operation =
    Operation { method: Method::DELETE, path: "/v1/api-keys/{id}", query: &[] };

/// `POST /v1/channels/{id}/secret`
#[rustfmt::skip]
pub const ROTATE_CHANNEL_SECRET: Operation =
    Operation { method: Method::POST, path: "/v1/channels/{id}/secret", query: &[] };

/// `POST /v1/channels/{id}/test`
#[rustfmt::skip]
pub const TEST_CHANNEL: Operation =
    Operation { method: Method::POST, path: "/v1/channels/{id}/test", query: &[] };

/// `POST /v1/orgs/{org}/top-ups`
#[rustfmt::skip]
pub const TOP_UP: Operation =
    Operation { method: Method::POST, path: "/v1/orgs/{org}/top-ups", query: &[] };

/// `GET /v1/orgs/{org}/usage`
#[rustfmt::skip]
pub const USAGE_SERIES: Operation =
    Operation { method: Method::GET, path: "/v1/orgs/{org}/usage", query: &["meter", "window", "from", "to", "user", "group_by", "limit", "cursor"] };

/// `POST /v1/usage`
#[rustfmt::skip]
pub const USE: Operation =
    Operation { method: Method::POST, path: "/v1/usage", query: &[] };

/// `POST /v1/orgs/{org}/top-ups/{entry}/void`
#[rustfmt::skip]
pub const VOID_TOP_UP: Operation =
    Operation { method: Method::POST, path: "/v1/orgs/{org}/top-ups/{entry}/void", query: &[] };

/// `POST /v1/orgs/{org}/top-ups/void`
#[rustfmt::skip]
pub const VOID_TOP_UP_BY_KEY: Operation =
    Operation { method: Method::POST, path: "/v1/orgs/{org}/top-ups/void", query: &[] };

/// `POST /v1/whatif`
#[rustfmt::skip]
pub const WHAT_IF: Operation =
    Operation { method: Method::POST, path: "/v1/whatif", query: &[] };
