//! The billing API: `POST /api/v1/usage`, `GET /api/v1/usage/{customer_id}`, `GET /api/v1/billing/{customer_id}`.
//!
//! Usage has happened when it comes here: it is recorded whatever credit and limits say. A customer that nobody has
//! heard of is made, with the plan of the catalog's `[compat.billing]`, and a resource type that the catalog lacks
//! becomes a meter. Unknown fields and parameters are ignored.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tollgate_api::{
    AdjustmentItem, BillLineItem, Code, Decimal, Id, Members, PositiveDecimal, Problem, PropertyValue,
    UnbilledItem, repeated_member, shortened,
};
use tollgate_domain::{
    Amount, Denied, Entry, EntryKind, MeterId, OrgId, RecordDenial, Role, Timestamp, UsageKey, Use, UsedEntry,
};
use tollgate_storage::{Order, Row, Scan};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::bills::bill_reply;
use crate::compat::failure::{self, Dialect, agreed, read};
use crate::compat::keys::new_key;
use crate::convert::denial_problem;
use crate::extract::{IdempotencyKey, Query, path_param};
use crate::limits::PAGE_ROWS_MAX;
use crate::native::bills::bill_failure;
use crate::native::orgs::unknown_org;
use crate::native::problems::{P404, P409, P422};
use crate::native::usage::properties;
use crate::newcomers;
use crate::paging::Paging;
use crate::reply::{Failure, json, ok};

/// Where a list goes on, if it does.
static NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// How this API reports errors.
#[derive(Debug)]
pub(crate) struct Billing;

impl Dialect for Billing {
    fn own_name(field: &str) -> &str {
        match field {
            "org" => "customer_id",
            "meter" => "resource_type",
            "key" => "id",
            other => other,
        }
    }
}

type CompatFailure = failure::CompatFailure<Billing>;

/// The customer of the path.
pub(crate) struct CustomerPath(OrgId);

impl FromRequestParts<App> for CustomerPath {
    type Rejection = CompatFailure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, CompatFailure> {
        let customer = path_param(&parts.extensions, "customer_id")?;
        OrgId::new(&customer)
            .map(Self)
            .map_err(|error| CompatFailure::bad_field("customer_id", &error.to_string()))
    }
}

/// Usage that has happened.
#[derive(Deserialize, ToSchema)]
#[schema(as = BillingUsageRequest)]
pub(crate) struct UsageBody {
    /// The organization.
    #[schema(value_type = Id)]
    customer_id: OrgId,
    /// The meter.
    #[schema(value_type = Id)]
    resource_type: MeterId,
    /// How much.
    quantity: PositiveDecimal,
    /// What should be known of it: any JSON by name.
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>)]
    metadata: Option<Members<Box<RawValue>>>,
    /// The caller's id of the usage: it counts once however often it is sent. One without an id counts each time.
    #[schema(value_type = Option<Id>)]
    id: Option<UsageKey>,
}

/// A usage; one that takes another back has a quantity below zero.
#[derive(Serialize, ToSchema)]
#[schema(as = BillingUsage)]
pub(crate) struct UsageItem {
    /// Its id.
    id: String,
    /// The organization.
    customer_id: String,
    /// The meter.
    resource_type: String,
    /// How much.
    quantity: Decimal,
    /// When it was recorded.
    timestamp: String,
    /// What is known of it, as it was sent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, serde_json::Value>, required = false)]
    metadata: BTreeMap<String, Box<RawValue>>,
}

/// Records a usage.
#[utoipa::path(
    post, path = "/api/v1/usage", tag = "Billing API", operation_id = "billing_usage",
    request_body = UsageBody,
    responses((status = 201, description = "It was recorded, now or before", body = UsageItem), P409, P422)
)]
pub(crate) async fn record(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    header: Result<IdempotencyKey, Failure>,
    request: Request,
) -> Result<Response, CompatFailure> {
    let caller = caller?;
    let body: UsageBody = read(&app, request).await?;
    caller.require(Role::Ingest, Some(&body.customer_id))?;
    let usage = Use {
        user: None,
        path: None,
        meter: body.resource_type,
        quantity: body.quantity.0,
        key: agreed::<Billing>(header, body.id)?.map_or_else(new_key, Ok)?,
        occurred_at: None,
        properties: stored(body.metadata.unwrap_or_default().0)?,
    };
    let newcomers = app.engine.catalog().declared.compat.billing.clone();
    let recorded = newcomers::record(&app, &caller.actor, &body.customer_id, &usage, None, &newcomers)
        .await
        .map_err(bad_meter)?;
    match recorded {
        Ok(recorded) => {
            let Use { meter, quantity, key, properties, .. } = &usage;
            let item = item(&body.customer_id, recorded.at, meter, quantity.amount(), key, properties);
            Ok(json(StatusCode::CREATED, &item))
        }
        Err(denial) => Err(refused(&denial, &body.customer_id, &usage.meter)),
    }
}

/// A meter that cannot be created is a wrong field here.
fn bad_meter(failure: Failure) -> CompatFailure {
    match failure.problem.code {
        Code::TooMany => CompatFailure::bad(*failure.problem),
        _ => failure.into(),
    }
}

fn refused(denial: &RecordDenial, customer: &OrgId, meter: &MeterId) -> CompatFailure {
    let denied = Denied { denial: denial.clone().into(), standing: None };
    let mut problem = denial_problem(&denied, customer, meter);
    problem.allowed = None;
    match denial {
        RecordDenial::KeyReused => CompatFailure::told(422, "the id was used for another content", problem),
        RecordDenial::KeyReversed => CompatFailure::told(409, "the usage was taken back", problem),
        RecordDenial::UnknownMeter | RecordDenial::UnknownProperty(_) | RecordDenial::UnknownOrg => {
            CompatFailure::bad(problem)
        }
    }
}

fn item(
    customer: &OrgId,
    at: Timestamp,
    meter: &MeterId,
    quantity: Amount,
    key: &UsageKey,
    properties: &BTreeMap<String, String>,
) -> UsageItem {
    UsageItem {
        id: key.to_string(),
        customer_id: customer.to_string(),
        resource_type: meter.to_string(),
        quantity: quantity.into(),
        timestamp: at.to_string(),
        metadata: properties.iter().map(|(name, text)| (name.clone(), told(text))).collect(),
    }
}

/// Metadata as properties: a text as it is, anything else as its JSON. A text that would read as JSON keeps its quotes,
/// so that each comes back as it was sent.
fn stored(metadata: BTreeMap<String, Box<RawValue>>) -> Result<BTreeMap<String, String>, CompatFailure> {
    let repeated = metadata.iter().find_map(|(name, value)| Some((name, repeated_member(value.get())?)));
    if let Some((name, member)) = repeated {
        return Err(CompatFailure::bad_field(
            &shortened(&format!("metadata.{name}.{member}")),
            "is given twice",
        ));
    }
    let text = |value: Box<RawValue>| match serde_json::from_str::<String>(value.get()) {
        Ok(text) if serde_json::from_str::<&RawValue>(&text).is_err() => text,
        _ => value.get().to_owned(),
    };
    let given = metadata.into_iter().map(|(name, value)| (name, PropertyValue(text(value)))).collect();
    properties(given).map_err(|failure| {
        let problem = *failure.problem;
        let as_metadata = |text: &str| text.replacen("properties", "metadata", 1);
        CompatFailure::bad(Problem {
            detail: as_metadata(&problem.detail),
            field: problem.field.as_deref().map(as_metadata),
            ..problem
        })
    })
}

/// A property as it was sent.
fn told(text: &str) -> Box<RawValue> {
    let as_json = RawValue::from_string(text.to_owned());
    as_json.or_else(|_| serde_json::value::to_raw_value(text)).unwrap_or_default()
}

/// Lists the usage of a customer, newest first.
#[utoipa::path(
    get, path = "/api/v1/usage/{customer_id}", tag = "Billing API", operation_id = "billing_list",
    params(("customer_id" = Id, Path, description = "The organization"), Paging),
    responses(
        (status = 200, description = "Some usage", body = Vec<UsageItem>,
            headers(("X-Next-Cursor" = String, description = "From where the next page is read; absent when there is nothing more"))),
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    CustomerPath(customer): CustomerPath,
    query: Result<Query, Failure>,
) -> Result<Response, CompatFailure> {
    caller?.require(Role::Read, Some(&customer))?;
    let mut paging = Paging::take_or(&mut query?, PAGE_ROWS_MAX)?;
    let scan = Scan::Entries { org: customer.clone(), order: Order::Newest };
    loop {
        let page = paging.read(&app, &scan).await?;
        let usages: Vec<UsageItem> = page
            .rows
            .iter()
            .filter_map(|row| match row {
                Row::Entry(entry) => listed(&customer, entry),
                _ => None,
            })
            .collect();
        let Some(next) = page.next else { return Ok(ok(&usages)) };
        // Entries that are no usage fill no page by themselves.
        if usages.is_empty() {
            paging = paging.at(&next)?;
            continue;
        }
        let mut response = ok(&usages);
        if let Ok(next) = HeaderValue::try_from(next) {
            response.headers_mut().insert(&NEXT_CURSOR, next);
        }
        return Ok(response);
    }
}

/// An entry that is usage, or takes usage back: that is a quantity below zero.
fn listed(customer: &OrgId, entry: &Entry) -> Option<UsageItem> {
    let told = |used: &UsedEntry, quantity| {
        item(customer, entry.at, &used.meter, quantity, &used.key, &used.properties)
    };
    match &entry.kind {
        EntryKind::Used(used) => Some(told(used, used.quantity.amount())),
        EntryKind::Reversed { used, .. } => Some(told(used, -used.quantity.amount())),
        _ => None,
    }
}

/// The bill of a month so far.
#[derive(Serialize, ToSchema)]
#[schema(as = BillingBill)]
pub(crate) struct BillBody {
    /// The organization.
    customer_id: String,
    /// The month, such as `2026-10`.
    month: String,
    /// The last plan of the month.
    plan: Option<String>,
    /// The currency of all amounts.
    currency: String,
    /// The total, as a number with all its digits.
    #[schema(value_type = f64)]
    estimated_bill: Box<RawValue>,
    /// What it is made of.
    lines: Vec<BillLineItem>,
    /// What no price takes because credit covered it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    included: Vec<UnbilledItem>,
    /// What no price takes and no credit covered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    unpriced: Vec<UnbilledItem>,
    /// What closed months came to differ by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    adjustments: Vec<AdjustmentItem>,
}

/// Estimates the bill of the month that runs.
#[utoipa::path(
    get, path = "/api/v1/billing/{customer_id}", tag = "Billing API", operation_id = "billing_bill",
    params(("customer_id" = Id, Path, description = "The organization")),
    responses((status = 200, description = "The bill so far", body = BillBody), P404)
)]
pub(crate) async fn bill(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    CustomerPath(customer): CustomerPath,
) -> Result<Response, CompatFailure> {
    caller?.require(Role::Read, Some(&customer))?;
    let found = app.engine.bill(&customer, None).await.map_err(Failure::from)?;
    let (month, bill) = found.ok_or_else(|| unknown_org(&customer))?;
    let bill = bill.map_err(|error| bill_failure(&error, &customer, month))?;
    let reply = bill_reply(&customer, &bill);
    // All digits of the total, as a number.
    let estimated_bill = RawValue::from_string(reply.total).map_err(|error| {
        Failure::from(Problem::new(Code::Internal, "the total cannot be written"))
            .caused_by(error.to_string())
    })?;
    Ok(ok(&BillBody {
        customer_id: reply.org,
        month: reply.month,
        plan: reply.plan,
        currency: reply.currency,
        estimated_bill,
        lines: reply.lines,
        included: reply.included,
        unpriced: reply.unpriced,
        adjustments: reply.adjustments,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_comes_back_as_it_was_sent() {
        for (sent, kept) in [
            (r#""eu-west-1""#, "eu-west-1"),
            (r#""a \"b\" \u00e9""#, "a \"b\" é"),
            ("3", "3"),
            (r#""3""#, r#""3""#),
            ("0.10", "0.10"),
            ("true", "true"),
            (r#""null""#, r#""null""#),
            ("null", "null"),
            (r#""""#, ""),
            (r#"{"a": [1, "b"]}"#, r#"{"a": [1, "b"]}"#),
            (r#""{\"a\"""#, r#"{"a""#),
        ] {
            let value = RawValue::from_string(sent.to_owned()).expect("JSON");
            let properties = stored(BTreeMap::from([("x".to_owned(), value)])).expect(sent);
            assert_eq!(properties["x"], kept, "{sent}");
            let back: serde_json::Value = serde_json::from_str(told(kept).get()).expect("JSON");
            let same: serde_json::Value = serde_json::from_str(sent).unwrap_or_default();
            assert!(back == same || told(kept).get() == sent, "{sent} came back as {back}");
        }
    }
}
