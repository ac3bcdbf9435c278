//! Holds: reserve, capture, release, show.

use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::response::Response;
use http::Extensions;
use http::request::Parts;
use tollgate_api::{
    CaptureReply, CaptureRequest, Code, HeaderKey, HoldId, HoldItem, HoldPage, HoldReply, HoldRequest, Id,
    OnExpiryName, Problem, ReleaseReply,
};
use tollgate_domain::limits::{HOLD_SECS, HOLD_SECS_MAX, HOLDS_OPEN_MAX};
use tollgate_domain::{
    Amount, Capture, Hold, HoldDenial, HoldRefused, MeterId, OnExpiry, OrgCommand, OrgDecision, OrgId, Role,
    TakeHold, Use,
};
use tollgate_engine::CatalogInForce;
use tollgate_storage::Cursor;

use crate::app::App;
use crate::auth::Caller;
use crate::convert::{conflict, limit_detail, path_of};
use crate::extract::{IdempotencyKey, Json, NoQuery, OrgPath, Query, path_id};
use crate::limit_headers::{gate_problem, gate_refusal, of_allowed};
use crate::native::orgs::unknown_org;
use crate::native::problems::{P402, P404, P409, P429};
use crate::paging::{Paging, invalid_cursor};
use crate::pricing::{content, of_capture, one_of_both};
use crate::refusals::note_refusal;
use crate::reply::{Failure, ok};

/// The hold of the path.
pub(crate) struct HoldPath(pub(crate) HoldId);

impl FromRequestParts<App> for HoldPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        hold_id(&parts.extensions).map(Self)
    }
}

fn hold_id(extensions: &Extensions) -> Result<HoldId, Failure> {
    path_id(extensions, "hold", str::parse)
}

/// Reserves an amount in every limit and credit of its sources, or is refused with the reason.
#[utoipa::path(
    post, path = "/v1/holds", tag = "Holds", operation_id = "hold",
    request_body = HoldRequest,
    params(("Idempotency-Key" = Option<HeaderKey>, Header, description = "The key, where the body has none, or the same; bare or quoted")),
    responses(
        (status = 200, description = "Held, now or before", body = HoldReply, headers(
            ("RateLimit-Policy" = String, description = "Credit and limits: `\"org\";q=45, \"user-month\";q=15`"),
            ("RateLimit" = String, description = "What is left of each, and the seconds until it starts afresh: `\"org\";r=20;t=842808`"),
        )),
        P402,
        P429,
        P404,
        P409,
    )
)]
pub(crate) async fn hold(State(app): State<App>, request: Request) -> Result<Response, Failure> {
    let caller = app.api_keys.authenticate(request.headers())?;
    Query::read(request.uri())?.end()?;
    let header = IdempotencyKey::read(request.headers())?;
    let Json(request) = Json::<HoldRequest>::from_request(request, &app).await?;
    caller.require(Role::Ingest, Some(&request.org))?;
    let (org, within) = (request.org.clone(), request.within.clone());
    let take = read_hold(request, header, || app.engine.catalog())?;
    let (meter, quantity) = (take.usage.meter.clone(), take.usage.quantity);
    let now = || app.engine.clock().now();
    #[cfg(feature = "otlp")]
    crate::telemetry::note_usage(&app, &org, &take.usage);
    match app.engine.submit(&caller.actor, org.clone(), OrgCommand::Hold(take)).await? {
        OrgDecision::Hold(Ok(taken)) => {
            let reply = HoldReply {
                allowed: true,
                replayed: taken.replayed,
                remaining: taken.standing.remaining.map(Into::into),
                hold: item(&org, &taken.hold),
            };
            let mut response = ok(&reply);
            of_allowed(response.headers_mut(), &taken.policies, now());
            Ok(response)
        }
        OrgDecision::Hold(Err(HoldRefused::Gate(denied))) => {
            note_refusal(&app, &org, &denied.denial);
            let problem = gate_problem(&app, &denied, &org, &meter, quantity);
            Ok(gate_refusal(problem, &denied.denial, now()))
        }
        OrgDecision::Hold(Err(refused)) => {
            Err(refusal(&refused, &meter, quantity.amount(), within.as_ref()).into())
        }
        _ => Err(conflict()),
    }
}

fn read_hold(
    request: HoldRequest,
    header: IdempotencyKey,
    in_force: impl FnOnce() -> CatalogInForce,
) -> Result<TakeHold, Failure> {
    let key = header.needed(request.key, "hold once")?;
    let invalid = |field: &str, detail: String| {
        Failure::from(Problem::new(Code::InvalidField, format!("{field}: {detail}")).on_field(field))
    };
    let secs = request.expires_in.unwrap_or(HOLD_SECS);
    if !(1..=HOLD_SECS_MAX).contains(&secs) {
        return Err(invalid("expires_in", format!("must be from 1 to {HOLD_SECS_MAX} seconds")));
    }
    if request.within.as_ref().is_some_and(|within| within.org != request.org) {
        return Err(invalid("within", "is a hold of another organization".to_owned()));
    }
    let given = request.properties.unwrap_or_default().0;
    let (quantity, properties) = content(in_force, request.quantity, request.call.as_ref(), given)?;
    let (user, path, meter) = (request.user, request.path, request.meter);
    let usage = Use { user, path, meter, quantity, key, occurred_at: None, properties };
    Ok(TakeHold {
        usage,
        within: request.within.map(|within| within.number),
        secs,
        overrun: request.overrun.map_or(Amount::ZERO, |overrun| overrun.0.amount()),
        on_expiry: match request.on_expiry.unwrap_or_default() {
            OnExpiryName::Release => OnExpiry::Release,
            OnExpiryName::Charge => OnExpiry::Charge,
        },
    })
}

/// A refusal that a usage does not get.
pub(crate) fn refusal(
    refused: &HoldRefused,
    meter: &MeterId,
    asked: Amount,
    within: Option<&HoldId>,
) -> Problem {
    let parent = within.map(ToString::to_string).unwrap_or_default();
    let mut problem = match refused {
        HoldRefused::NotHeld => {
            let detail = format!("the meter '{meter}' is not a sum of quantities");
            Problem::new(Code::NotHeld, detail).on_field("meter")
        }
        HoldRefused::TooMany => {
            let detail =
                format!("an organization has at most {HOLDS_OPEN_MAX} open holds: one must end first");
            Problem::new(Code::TooMany, detail)
        }
        HoldRefused::NoParent => {
            let detail =
                format!("'{parent}' is no open hold of this meter and user, at this path or above it");
            Problem::new(Code::UnknownHold, detail).on_field("within")
        }
        HoldRefused::ParentReached(limit) => {
            let left = limit.remaining();
            let detail = format!(
                "{asked} asked, {left} left: {} of {} are used or held of hold '{parent}'",
                limit.amount - left,
                limit.amount
            );
            let mut problem = Problem::new(Code::HoldLimitReached, detail);
            problem.limit =
                Some(tollgate_api::LimitDetail { scope: "hold".to_owned(), ..limit_detail(limit) });
            problem
        }
        HoldRefused::Gate(denied) => Problem::new(Code::Internal, denied.denial.code()),
    };
    problem.allowed = Some(false);
    problem.quantity = Some(asked.into());
    problem
}

/// Shows a hold, open or ended: as long as its key is remembered.
#[utoipa::path(
    get, path = "/v1/holds/{hold}", tag = "Holds", operation_id = "get_hold",
    params(("hold" = HoldId, Path, description = "The hold")),
    responses(
        (status = 200, description = "The hold", body = HoldItem),
        P404,
    )
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    HoldPath(id): HoldPath,
    _: NoQuery,
) -> Result<Response, Failure> {
    caller.require_ingest_or_read(Some(&id.org))?;
    let hold = app.engine.hold(&id.org, id.number).await?;
    let hold = hold.ok_or_else(|| denial(&id, &HoldDenial::UnknownHold))?;
    Ok(ok(&item(&id.org, &hold)))
}

/// Captures what was used of a hold: it counts, and burns credit, where the hold reserved its room.
///
/// The last capture ends the hold and gives back the rest. It needs no key: sent again with the same quantity it is the same
/// capture. A part needs one.
#[utoipa::path(
    post, path = "/v1/holds/{hold}/capture", tag = "Holds", operation_id = "capture",
    params(
        ("hold" = HoldId, Path, description = "The hold"),
        ("Idempotency-Key" = Option<HeaderKey>, Header, description = "The key of a part, where the body has none, or the same; bare or quoted"),
    ),
    request_body = CaptureRequest,
    responses(
        (status = 200, description = "Captured, now or before", body = CaptureReply),
        P404,
        P409,
    )
)]
pub(crate) async fn capture(State(app): State<App>, request: Request) -> Result<Response, Failure> {
    let caller = app.api_keys.authenticate(request.headers())?;
    let id = hold_id(request.extensions())?;
    Query::read(request.uri())?.end()?;
    let header = IdempotencyKey::read(request.headers())?;
    let Json(request) = Json::<CaptureRequest>::from_request(request, &app).await?;
    caller.require(Role::Ingest, Some(&id.org))?;
    let part = if request.is_final.unwrap_or(true) {
        // The last has the key of the hold.
        header.with(request.key)?;
        None
    } else {
        Some(header.needed(request.key, "of a part count once")?)
    };
    let quantity = match (request.quantity, &request.call) {
        (Some(_), Some(_)) => return Err(one_of_both()),
        (None, Some(call)) => Some(of_capture(&app, &id, call).await?),
        (quantity, None) => quantity.map(|quantity| quantity.0),
    };
    if quantity.is_some_and(|quantity| quantity < Amount::ZERO) {
        let detail = "quantity: must not be below zero";
        return Err(Problem::new(Code::InvalidField, detail).on_field("quantity").into());
    }
    let capture = Capture { hold: id.number, quantity, part };
    match app.engine.submit(&caller.actor, id.org.clone(), OrgCommand::Capture(capture)).await? {
        OrgDecision::Capture(Ok(captured)) => Ok(ok(&CaptureReply {
            captured: captured.quantity.into(),
            replayed: captured.replayed,
            remaining: captured.standing.remaining.map(Into::into),
            entry: captured.entry,
            hold: item(&id.org, &captured.hold),
        })),
        OrgDecision::Capture(Err(denied)) => Err(denial(&id, &denied).into()),
        _ => Err(conflict()),
    }
}

/// Gives back what is still held, and ends the hold.
#[utoipa::path(
    post, path = "/v1/holds/{hold}/release", tag = "Holds", operation_id = "release",
    params(
        ("hold" = HoldId, Path, description = "The hold"),
        ("Idempotency-Key" = Option<HeaderKey>, Header, description = "Taken, and not needed: sent again, the request changes nothing more"),
    ),
    responses(
        (status = 200, description = "Given back, now or before", body = ReleaseReply),
        P404,
        P409,
    )
)]
pub(crate) async fn release(
    State(app): State<App>,
    caller: Caller,
    HoldPath(id): HoldPath,
    _: NoQuery,
    _: IdempotencyKey,
) -> Result<Response, Failure> {
    caller.require(Role::Ingest, Some(&id.org))?;
    match app.engine.submit(&caller.actor, id.org.clone(), OrgCommand::Release(id.number)).await? {
        OrgDecision::Release(Ok(ended)) => Ok(ok(&ReleaseReply {
            released: true,
            replayed: ended.replayed,
            hold: item(&id.org, &ended.hold),
        })),
        OrgDecision::Release(Err(denied)) => Err(denial(&id, &denied).into()),
        _ => Err(conflict()),
    }
}

/// The open holds of an organization, the oldest first.
#[utoipa::path(
    get, path = "/v1/orgs/{org}/holds", tag = "Holds", operation_id = "list_holds",
    params(("org" = Id, Path, description = "The organization"), Paging),
    responses(
        (status = 200, description = "Some holds", body = HoldPage),
        P404,
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    OrgPath(id): OrgPath,
    mut query: Query,
) -> Result<Response, Failure> {
    caller.require(Role::Read, Some(&id))?;
    let paging = Paging::take(&mut query)?;
    query.end()?;
    let org = app.engine.holds(&id).await?.ok_or_else(|| unknown_org(&id))?;
    let list = ("holds", id.clone());
    let (after, limit) = paging.begin(&list)?;
    let from = match after {
        None => 0,
        Some(Cursor(bytes)) => u64::from_be_bytes(bytes.as_slice().try_into().map_err(|_| invalid_cursor())?),
    };
    let mut open = org.holds.iter().flat_map(|holds| holds.from_number(from));
    let holds: Vec<HoldItem> = open.by_ref().take(limit).map(|hold| item(&id, hold)).collect();
    let next = open.next().map(|next| Cursor(next.number.to_be_bytes().to_vec()));
    Ok(ok(&HoldPage { org: id.into(), holds, next: Paging::next(&list, next) }))
}

fn item(org: &OrgId, hold: &Hold) -> HoldItem {
    let id = |number| HoldId { number, org: org.clone() };
    HoldItem {
        hold: id(hold.number),
        state: hold.state().to_owned(),
        org: org.to_string(),
        user: hold.user.clone().map(Into::into),
        path: path_of(hold.path.as_deref()),
        meter: hold.meter.to_string(),
        key: hold.key.to_string(),
        quantity: hold.quantity.amount().into(),
        held: hold.free().into(),
        captured: hold.captured.into(),
        overran: hold.overran.into(),
        carved: hold.carved.into(),
        overrun: hold.overrun.into(),
        on_expiry: match hold.on_expiry {
            OnExpiry::Release => OnExpiryName::Release,
            OnExpiry::Charge => OnExpiryName::Charge,
        },
        within: hold.parent.map(id),
        made_at: hold.made_at.to_string(),
        expires_at: hold.expires_at.to_string(),
        ended_at: hold.end.map(|end| end.at.to_string()),
        ended_by: hold.end.map(|end| end.entry),
        properties: hold.properties.clone(),
    }
}

/// Why a hold is neither captured nor released, as a problem.
pub(crate) fn denial(id: &HoldId, denied: &HoldDenial) -> Problem {
    match denied {
        HoldDenial::UnknownOrg | HoldDenial::UnknownHold => {
            Problem::new(Code::UnknownHold, format!("there is no hold '{id}'")).on_field("hold")
        }
        HoldDenial::KeyReversed => {
            Problem::new(Code::KeyReversed, "what was captured under this key was taken back").on_field("key")
        }
        HoldDenial::Ended(hold) => {
            let detail = format!(
                "the hold '{id}' was {}, and {} of it was captured; what was used beyond that can be recorded",
                hold.state(),
                hold.captured
            );
            let mut problem = Problem::new(Code::HoldEnded, detail).on_field("hold");
            problem.hold = Some(Box::new(item(&id.org, hold)));
            problem
        }
        HoldDenial::KeyReused => {
            Problem::new(Code::KeyReused, "the key was used for another content; use a new key")
                .on_field("key")
        }
        HoldDenial::MoreThanHeld { most } => {
            Problem::new(Code::MoreThanHeld, format!("quantity: at most {most} can be captured"))
                .on_field("quantity")
        }
        HoldDenial::NothingToCapture => {
            let detail = "quantity: a part must be above zero, and something must be held";
            Problem::new(Code::InvalidField, detail).on_field("quantity")
        }
        HoldDenial::UnknownMeter(meter) => {
            let detail = format!("the catalog has no meter '{meter}' that is a sum any more");
            Problem::new(Code::UnknownMeter, detail).on_field("meter")
        }
    }
}
