//! Top-ups: adding credit, listing it, and taking it back.

use axum::extract::{FromRequest, Request, State};
use axum::response::Response;
use tollgate_api::{
    Code, HeaderKey, Id, NonZeroDecimal, Problem, TopUpItem, TopUpPage, TopUpReply, TopUpRequest, TopUpState,
    VoidByKeyRequest, VoidReply, VoidRequest,
};
use tollgate_domain::catalog::PRIORITY_DEFAULT;
use tollgate_domain::{
    Amount, MeterId, OrgCommand, OrgDecision, OrgId, Period, Quantity, Role, Timestamp, TopUp, TopUpExpiry,
    TopUpLine, TopUpStart, UsageKey, Void, VoidTarget,
};
use tollgate_storage::Cursor;

use crate::app::App;
use crate::auth::Caller;
use crate::convert::{config_problem, conflict, with_suggestion};
use crate::extract::{EntryPath, IdempotencyKey, Json, NoQuery, OrgPath, Query, parse, read_json};
use crate::native::orgs::{read_time, text_line, unknown_org};
use crate::native::plans::read_day;
use crate::native::problems::{P402, P404, P409};
use crate::native::series::need_meter;
use crate::paging::{Paging, invalid_cursor};
use crate::reply::{Failure, ok};

/// Adds credit, or takes some back by an amount below zero.
#[utoipa::path(
    post, path = "/v1/orgs/{org}/top-ups", tag = "Organizations", operation_id = "top_up",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("Idempotency-Key" = Option<HeaderKey>, Header, description = "The key, where the body has none, or the same; bare or quoted"),
    ),
    request_body = TopUpRequest,
    responses(
        (status = 200, description = "The credit is there", body = TopUpReply),
        P402,
        P404,
        P409,
    )
)]
pub(crate) async fn top_up(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    _: NoQuery,
    header: IdempotencyKey,
    Json(request): Json<TopUpRequest>,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, Some(&org))?;
    let key = header.with(request.key.clone())?;
    let reason = request.reason.clone().map(|reason| text_line("reason", reason)).transpose()?;
    let NonZeroDecimal { magnitude, negative } = request.amount;
    if negative {
        return correct(&app, &caller, org, request, magnitude, key, reason).await;
    }
    let top_up = TopUp {
        meter: request.meter.clone(),
        amount: magnitude,
        key,
        expiry: expiry(request.expires_at.as_deref())?,
        start: start(request.effective_at.as_deref())?,
        priority: request.priority.unwrap_or(PRIORITY_DEFAULT),
        reason,
        metadata: request.metadata.clone().unwrap_or_default().0,
    };
    #[cfg(feature = "otlp")]
    crate::telemetry::note_top_up(&app, &org, &top_up);
    match app.engine.submit(&caller.actor, org.clone(), OrgCommand::TopUp(top_up)).await? {
        OrgDecision::TopUp(Ok(topped_up)) => Ok(ok(&TopUpReply {
            org: org.into(),
            meter: request.meter.into(),
            amount: magnitude.amount().into(),
            replayed: topped_up.replayed,
            remaining: topped_up.standing.remaining.map(Into::into),
            total: topped_up.standing.granted.into(),
            expires_at: topped_up.expires_at.map(|at| at.to_string()),
            entry: topped_up.entry,
        })),
        OrgDecision::TopUp(Err(denial)) => {
            let problem = config_problem(&denial, &org);
            Err(with_suggestion(problem, &app.engine.catalog().catalog, request.meter.as_str()).into())
        }
        _ => Err(conflict()),
    }
}

/// Takes credit of a meter back that is not used.
async fn correct(
    app: &App,
    caller: &Caller,
    org: OrgId,
    request: TopUpRequest,
    magnitude: Quantity,
    key: Option<UsageKey>,
    reason: Option<String>,
) -> Result<Response, Failure> {
    let wrong = |field: &str, detail: &str| {
        Failure::from(Problem::new(Code::InvalidField, format!("{field}: {detail}")).on_field(field))
    };
    if reason.is_none() {
        return Err(wrong("reason", "is needed where the amount is below zero"));
    }
    for (field, given) in [
        ("expires_at", request.expires_at.is_some()),
        ("effective_at", request.effective_at.is_some()),
        ("priority", request.priority.is_some()),
        ("metadata", request.metadata.is_some()),
    ] {
        if given {
            return Err(wrong(field, "says nothing where the amount is below zero"));
        }
    }
    let void =
        Void { target: VoidTarget::Meter(request.meter.clone()), amount: Some(magnitude), key, reason };
    let voided = void_credit(app, caller, &org, void).await?;
    Ok(ok(&TopUpReply {
        org: org.into(),
        meter: request.meter.into(),
        amount: (-voided.amount.0).into(),
        replayed: voided.replayed,
        remaining: voided.remaining,
        total: voided.total,
        expires_at: None,
        entry: voided.entry.unwrap_or_default(),
    }))
}

fn start(text: Option<&str>) -> Result<TopUpStart, Failure> {
    let Some(text) = text else { return Ok(TopUpStart::Now) };
    if let Some(day) = read_day("effective_at", text)? {
        return Ok(TopUpStart::Day(day));
    }
    let at = read_time("effective_at", text)?;
    // The month as the caller wrote it, in the caller's own zone.
    let written_month = text.get(..7).and_then(Period::parse_month).map_or(i32::MIN, |month| month.number);
    Ok(TopUpStart::At { at, written_month })
}

fn expiry(text: Option<&str>) -> Result<TopUpExpiry, Failure> {
    Ok(match text {
        None => TopUpExpiry::EndOfMonth,
        Some("never") => TopUpExpiry::Never,
        Some(text) => match read_day("expires_at", text)? {
            Some(day) => TopUpExpiry::Day(day),
            None => TopUpExpiry::At(read_time("expires_at", text)?),
        },
    })
}

/// The top-ups of an organization, the latest first.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/top-ups", tag = "Organizations", operation_id = "list_top_ups",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("meter" = Option<Id>, Query, description = "Only those of a meter"),
        Paging,
    ),
    responses(
        (status = 200, description = "Some top-ups", body = TopUpPage),
        P404,
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    mut query: Query,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&org))?;
    let paging = Paging::take(&mut query)?;
    let meter = query.take_as("meter", MeterId::new)?;
    query.end()?;
    if let Some(meter) = &meter {
        need_meter(&app, &org, meter).await?;
    }
    let (lines, at) = app.engine.top_ups(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let list = ("top-ups", org.clone(), meter.clone());
    let (after, limit) = paging.begin(&list)?;
    let before = match after {
        None => u64::MAX,
        Some(Cursor(bytes)) => u64::from_be_bytes(bytes.as_slice().try_into().map_err(|_| invalid_cursor())?),
    };
    let wanted = |line: &&TopUpLine| {
        line.grant.entry < before && meter.as_ref().is_none_or(|meter| *meter == line.meter)
    };
    let mut wanted = lines.iter().filter(wanted);
    let page: Vec<&TopUpLine> = wanted.by_ref().take(limit).collect();
    let last = page.last().map(|line| Cursor(line.grant.entry.to_be_bytes().to_vec()));
    let next = last.filter(|_| wanted.next().is_some());
    Ok(ok(&TopUpPage {
        org: org.into(),
        top_ups: page.into_iter().map(|line| item(line, at)).collect(),
        next: Paging::next(&list, next),
    }))
}

fn item(line: &TopUpLine, at: Timestamp) -> TopUpItem {
    let grant = &line.grant;
    let state = if grant.expires_at.is_some_and(|expiry| expiry <= at) {
        TopUpState::Expired
    } else if line.unused <= Amount::ZERO {
        TopUpState::Exhausted
    } else if grant.effective_at > at {
        TopUpState::Scheduled
    } else {
        TopUpState::Active
    };
    TopUpItem {
        entry: grant.entry,
        key: grant.key.clone().map(Into::into),
        meter: line.meter.to_string(),
        state,
        amount: grant.amount.into(),
        used: grant.burned.into(),
        voided: (grant.amount - grant.granted()).into(),
        remaining: line.unused.into(),
        priority: grant.priority,
        effective_at: grant.effective_at.to_string(),
        expires_at: grant.expires_at.map(|at| at.to_string()),
        reason: grant.reason.clone(),
    }
}

/// Takes back what is unused of a top-up; what was used of it stays used. Asking again takes nothing more.
#[utoipa::path(
    post, path = "/v1/orgs/{org}/top-ups/{entry}/void", tag = "Organizations", operation_id = "void_top_up",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("entry" = u64, Path, description = "The ledger entry of the top-up"),
        ("Idempotency-Key" = Option<HeaderKey>, Header, description = "The caller's id of the request, bare or quoted: an amount is taken back once"),
    ),
    request_body(content = VoidRequest, description = "May be left out"),
    responses(
        (status = 200, description = "It is taken back", body = VoidReply),
        P404,
        P409,
    )
)]
pub(crate) async fn void(
    State(app): State<App>,
    caller: Caller,
    EntryPath(org, entry): EntryPath,
    _: NoQuery,
    header: IdempotencyKey,
    OrNothing(request): OrNothing,
) -> Result<Response, Failure> {
    let VoidRequest { amount, reason } = request;
    let target = VoidTarget::Entry(entry);
    void_one(&app, &caller, &org, target, amount.map(|amount| amount.0), header.with(None)?, reason).await
}

/// The same of the top-up with a key.
#[utoipa::path(
    post, path = "/v1/orgs/{org}/top-ups/void", tag = "Organizations", operation_id = "void_top_up_by_key",
    params(
        ("org" = Id, Path, description = "The organization"),
        ("Idempotency-Key" = Option<HeaderKey>, Header, description = "The caller's id of the request, bare or quoted: an amount is taken back once"),
    ),
    request_body = VoidByKeyRequest,
    responses(
        (status = 200, description = "It is taken back", body = VoidReply),
        P404,
        P409,
    )
)]
pub(crate) async fn void_by_key(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    _: NoQuery,
    header: IdempotencyKey,
    Json(request): Json<VoidByKeyRequest>,
) -> Result<Response, Failure> {
    let VoidByKeyRequest { key, amount, reason } = request;
    let target = VoidTarget::Key(key);
    void_one(&app, &caller, &org, target, amount.map(|amount| amount.0), header.with(None)?, reason).await
}

async fn void_one(
    app: &App,
    caller: &Caller,
    org: &OrgId,
    target: VoidTarget,
    amount: Option<Quantity>,
    key: Option<UsageKey>,
    reason: Option<String>,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, Some(org))?;
    let reason = reason.map(|reason| text_line("reason", reason)).transpose()?;
    Ok(ok(&void_credit(app, caller, org, Void { target, amount, key, reason }).await?))
}

async fn void_credit(app: &App, caller: &Caller, org: &OrgId, void: Void) -> Result<VoidReply, Failure> {
    match app.engine.submit(&caller.actor, org.clone(), OrgCommand::Void(void)).await? {
        OrgDecision::Void(Ok(voided)) => Ok(VoidReply {
            org: org.to_string(),
            amount: voided.amount.into(),
            replayed: voided.replayed,
            remaining: voided.standing.remaining.map(Into::into),
            total: voided.standing.granted.into(),
            entry: voided.entry,
        }),
        OrgDecision::Void(Err(denial)) => Err(config_problem(&denial, org).into()),
        _ => Err(conflict()),
    }
}

/// A JSON body that may be left out.
pub(crate) struct OrNothing(pub(crate) VoidRequest);

impl FromRequest<App> for OrNothing {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let body = read_json(app, request, app.settings.body_bytes_max).await?;
        if body.is_empty() { Ok(Self(VoidRequest::default())) } else { parse(&body).map(Self) }
    }
}
