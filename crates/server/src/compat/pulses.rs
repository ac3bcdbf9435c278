//! The pulses API: `POST /pulses`, `GET /aggregates`, `POST /aggregates/commit` (also `/agreggates/commit`).
//!
//! A pulse is usage that has happened: recorded on the meter of its product and unit, which is made if need be, as is the
//! tenant. Aggregates are what is unsent of those meters; a commit ships it. Answers are JSON strings, as its clients
//! expect; what is wrong with a request is in the header `X-Problem-Detail`. Unknown fields and parameters are ignored.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::Uri;
use serde::Deserialize;
use tollgate_api::{Aggregate, Code, Day, Id, PositiveDecimal, Problem, Time};
use tollgate_domain::catalog::NewcomerSettings;
use tollgate_domain::{Actor, Denied, OrgId, Period, RecordDenial, Role, Sku, UsageKey, Use};
use tollgate_engine::ShipError;
use tollgate_notifier::{Shipper, SinkError, aggregate};
use tollgate_storage::UnsentRow;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::compat::keys::new_key;
use crate::convert::denial_problem;
use crate::extract::{IdempotencyKey, Query, parse, read_json};
use crate::limits::AGGREGATES_MAX;
use crate::native::problems::{P409, P422, P502};
use crate::native::usage::Times;
use crate::newcomers;
use crate::reply::{Failure, ok, words_response};

const TAKEN: &str = "Pulse processed successfully";
const COMMITTED: &str = "Aggregated data committed and cleared successfully";
const INVALID: &str = "Invalid input";
const NOT_SENT: &str = "Failed to send aggregated data";

/// An error of this API, in its own words where it has any.
#[derive(Debug)]
pub(crate) struct PulseFailure {
    words: Option<&'static str>,
    failure: Failure,
}

impl From<Failure> for PulseFailure {
    fn from(mut failure: Failure) -> Self {
        let field = failure.problem.field.take();
        failure.problem.field = field.map(|field| own_name(&field).to_owned());
        Self { words: None, failure }
    }
}

/// What a field of the native API is called in this API.
fn own_name(field: &str) -> &str {
    match field {
        "org" => "tenant_id",
        "meter" => "product_sku",
        "key" => "id",
        other => other,
    }
}

impl IntoResponse for PulseFailure {
    fn into_response(self) -> Response {
        match self.words {
            Some(words) => words_response(self.failure, words),
            None => self.failure.into_response(),
        }
    }
}

/// An error with the API's own words and status.
fn told(status: u16, words: &'static str, mut failure: Failure) -> PulseFailure {
    failure.problem.status = status;
    PulseFailure { words: Some(words), failure }
}

/// A wrong request: 400 here, whatever it is in the native API, but for a body that is not JSON by its own account.
fn invalid(failure: impl Into<Failure>) -> PulseFailure {
    let failure = failure.into();
    let status = if failure.problem.code == Code::UnsupportedMediaType { 415 } else { 400 };
    told(status, INVALID, failure)
}

fn invalid_field(field: &str, text: impl std::fmt::Display) -> PulseFailure {
    invalid(Problem::new(Code::InvalidField, format!("{field}: {text}")).on_field(field))
}

/// Usage of a product by a tenant.
#[derive(Deserialize, ToSchema)]
#[schema(as = Pulse)]
pub(crate) struct PulseBody {
    /// The organization.
    #[schema(value_type = Id)]
    tenant_id: OrgId,
    /// The product; with its unit it is a meter.
    product_sku: String,
    /// What it is counted in.
    use_unit: String,
    /// How much.
    used_amount: PositiveDecimal,
    /// The caller's id of the pulse: it counts once however often it is sent. One without an id counts each time.
    #[schema(value_type = Option<Id>)]
    id: Option<UsageKey>,
    /// When it happened; now unless given.
    #[schema(value_type = Option<String>, format = DateTime)]
    time: Option<Time>,
}

/// Takes a pulse.
#[utoipa::path(
    post, path = "/pulses", tag = "Pulses API", operation_id = "pulse",
    request_body = PulseBody,
    responses((status = 200, description = "It was taken, now or before", body = String, content_type = "application/json"), P409, P422)
)]
pub(crate) async fn take(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    header: Result<IdempotencyKey, Failure>,
    request: Request,
) -> Result<Response, PulseFailure> {
    let caller = caller?;
    let mut pulse: PulseBody = read_json(&app, request, app.settings.body_bytes_max)
        .await
        .and_then(|body| parse(&body))
        .map_err(invalid)?;
    caller.require(Role::Ingest, Some(&pulse.tenant_id))?;
    pulse.id = header.and_then(|header| header.with(pulse.id.take())).map_err(invalid)?;
    let tenant = pulse.tenant_id.clone();
    let sku = Sku { product: pulse.product_sku.clone(), unit: pulse.use_unit.clone() };
    let usage = usage(&app, pulse, &sku)?;
    let newcomers = NewcomerSettings::default();
    let recorded = newcomers::record(&app, &caller.actor, &tenant, &usage, Some(&sku), &newcomers).await?;
    match recorded {
        Ok(_) => Ok(ok(TAKEN)),
        Err(denial) => Err(refused(&denial, &tenant, &usage)),
    }
}

fn usage(app: &App, pulse: PulseBody, sku: &Sku) -> Result<Use, PulseFailure> {
    let usual = sku.meter().map_err(|error| {
        let field = if sku.unit.is_empty() && !sku.product.is_empty() { "use_unit" } else { "product_sku" };
        invalid_field(field, error)
    })?;
    let catalog = app.engine.catalog().catalog;
    let meter = match catalog.meter_sent_as(sku) {
        Some(meter) => meter.id.clone(),
        None if catalog.meter(&usual).is_some() => {
            let Sku { product, unit } = sku;
            let text = format!(
                "the catalog's meter '{usual}' is not sent to the sink; let it say sink = {{ product = {product:?}, \
                 unit = {unit:?} }}"
            );
            return Err(invalid_field("product_sku", text));
        }
        None => usual,
    };
    let occurred_at = Times::read_now(app, pulse.time).map_err(invalid)?;
    let key = pulse.id.map_or_else(new_key, Ok)?;
    let quantity = pulse.used_amount.0;
    Ok(Use {
        user: None,
        path: None,
        meter,
        quantity,
        key,
        occurred_at,
        properties: std::collections::BTreeMap::new(),
    })
}

/// A pulse that is not counted. The catalog may say that no meter is made by usage.
fn refused(denial: &RecordDenial, tenant: &OrgId, usage: &Use) -> PulseFailure {
    let denied = Denied { denial: denial.clone().into(), standing: None };
    let mut failure = Failure::from(denial_problem(&denied, tenant, &usage.meter));
    failure.problem.allowed = None;
    match denial {
        RecordDenial::UnknownMeter | RecordDenial::UnknownOrg | RecordDenial::UnknownProperty(_) => {
            invalid(failure)
        }
        RecordDenial::KeyReused | RecordDenial::KeyReversed => failure.into(),
    }
}

/// The day that a request names, by its number.
fn day(text: &str) -> Result<i32, &'static str> {
    Period::parse_day(text).map(|day| day.number).ok_or("must be a day such as 2026-11-21")
}

/// Lists what is not committed, by tenant and day.
#[utoipa::path(
    get, path = "/aggregates", tag = "Pulses API", operation_id = "aggregates",
    params(
        ("date" = Option<Day>, Query, description = "Of this day only"),
        ("tenant_id" = Option<Id>, Query, description = "Of this tenant only"),
    ),
    responses((status = 200, description = "What is not committed", body = Vec<Aggregate>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    uri: Uri,
) -> Result<Response, PulseFailure> {
    let caller = caller?;
    let mut query = Query::read(&uri).map_err(invalid)?;
    let day = query.take_as("date", day).map_err(invalid)?;
    let tenant = query.take_as("tenant_id", OrgId::new).map_err(invalid)?.or_else(|| caller.org.clone());
    caller.require(Role::Read, tenant.as_ref())?;
    Ok(ok(&aggregates(&app, tenant.as_ref(), day).await?))
}

async fn aggregates(
    app: &App,
    tenant: Option<&OrgId>,
    day: Option<i32>,
) -> Result<Vec<Aggregate>, PulseFailure> {
    let days = day.map_or(i32::MIN..=i32::MAX, |day| day..=day);
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let unsent = app.engine.unsent(tenant, &days, from.as_ref());
        let (rows, next) = unsent.await.map_err(Failure::from)?;
        found.extend(rows.iter().flat_map(of_day));
        if found.len() > AGGREGATES_MAX {
            let detail =
                format!("there are more than {AGGREGATES_MAX} aggregates: ask with date or tenant_id");
            return Err(invalid(Problem::new(Code::TooMany, detail)));
        }
        from = next;
        if from.is_none() {
            return Ok(found);
        }
        tokio::task::yield_now().await;
    }
}

fn of_day(UnsentRow { org, day, unsent }: &UnsentRow) -> impl Iterator<Item = Aggregate> {
    unsent.iter().map(move |(sku, amount)| aggregate(org, sku, *day, amount))
}

/// Which day is committed.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = CommitRequest)]
pub(crate) struct CommitBody {
    /// The day; all days unless given.
    #[schema(value_type = Option<Day>)]
    date: Option<String>,
}

/// Commits what is not committed, of one day or of all.
///
/// The day is named by the parameter or by the body, which may be empty. `/agreggates/commit` does the same.
#[utoipa::path(
    post, path = "/aggregates/commit", tag = "Pulses API", operation_id = "commit",
    params(("date" = Option<Day>, Query, description = "Of this day only")),
    request_body = Option<CommitBody>,
    responses((status = 200, description = "It was sent and is cleared", body = String, content_type = "application/json"), P502)
)]
pub(crate) async fn commit(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    request: Request,
) -> Result<Response, PulseFailure> {
    let caller = caller?;
    caller.require(Role::Manage, None)?;
    let in_query = Query::read(request.uri()).map_err(invalid)?.take("date");
    let body = read_json(&app, request, app.settings.body_bytes_max).await;
    let body = match body.map_err(invalid)? {
        empty if empty.trim_ascii().is_empty() => CommitBody::default(),
        body => parse(&body).map_err(invalid)?,
    };
    let date = in_query.or(body.date);
    let day = date.map(|text| day(&text)).transpose().map_err(|error| invalid_field("date", error))?;
    let shipper = app.shipper.as_ref().ok_or_else(no_sink)?;
    ship(&app, &caller.actor, shipper, day).await
}

async fn ship(
    app: &App,
    actor: &Actor,
    shipper: &Shipper,
    day: Option<i32>,
) -> Result<Response, PulseFailure> {
    match shipper.commit(&app.engine, actor, day).await {
        Ok(_) => Ok(ok(COMMITTED)),
        Err(ShipError::Carrier(error)) => Err(not_sent(&error)),
        Err(ShipError::Engine(error)) => Err(Failure::from(error).into()),
    }
}

/// The sink did not take it; what it said is for the operator.
fn not_sent(error: &SinkError) -> PulseFailure {
    let detail = "the sink did not take the batch; it will be sent again";
    told(502, NOT_SENT, Failure::from(Problem::new(Code::SinkFailed, detail)).caused_by(error.to_string()))
}

fn no_sink() -> PulseFailure {
    let detail = "there is no sink to send to: set --sink or TOLLGATE_SINK";
    told(502, NOT_SENT, Problem::new(Code::SinkFailed, detail).into())
}
