//! Check and consume, check only, and take back.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, Request, State};
use axum::response::Response;
use tollgate_api::{
    CheckReply, CheckStep, Code, HeaderKey, Problem, PropertyValue, ReversalReply, ReversalRequest, Time,
    UsageReply, UsageRequest, counted,
};
use tollgate_domain::limits::{PROPERTIES_MAX, TEXT_CHARS_MAX};
use tollgate_domain::{
    Check, Checked, OrgCommand, OrgDecision, OrgId, PRICED_AS, PRICED_BY, Reverse, Role, Timestamp, Use,
};
use tollgate_engine::CatalogInForce;

use crate::Settings;
use crate::app::App;
use crate::auth::Caller;
use crate::convert::{conflict, limit_detail, reversal_problem, some_held};
use crate::extract::{IdempotencyKey, Json, NoQuery, Query};
use crate::limit_headers::{gate_problem, gate_refusal, of_allowed, of_denied};
use crate::native::problems::{P402, P404, P409, P429};
use crate::pricing::content;
use crate::refusals::note_refusal;
use crate::reply::{Failure, ok};

/// Which times a usage may name, by the settings and the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    now: Timestamp,
    late_days: u32,
    ahead_secs: u32,
}

/// Asks to use something: counted, or refused with the reason.
#[utoipa::path(
    post, path = "/v1/usage", tag = "Usage", operation_id = "use",
    request_body = UsageRequest,
    params(("Idempotency-Key" = Option<HeaderKey>, Header, description = "The key, where the body has none, or the same; bare or quoted")),
    responses(
        (status = 200, description = "Allowed and counted, or counted before", body = UsageReply, headers(
            ("RateLimit-Policy" = String, description = "Credit and limits: `\"org\";q=45, \"user-month\";q=15`"),
            ("RateLimit" = String, description = "What is left of each, and the seconds until it starts afresh: `\"org\";r=20;t=842808`"),
        )),
        P402,
        P429,
        P404,
        P409,
    )
)]
pub(crate) async fn use_(State(app): State<App>, request: Request) -> Result<Response, Failure> {
    let caller = app.api_keys.authenticate(request.headers())?;
    let key = IdempotencyKey::read(request.headers())?;
    Query::read(request.uri())?.end()?;
    let Json(request) = Json::<UsageRequest>::from_request(request, &app).await?;
    caller.require(Role::Ingest, Some(&request.org))?;
    let read_time = |time| Times::read_now(&app, time);
    let (org, usage) = read_usage(request, key, || app.engine.catalog(), read_time)?;
    let Use { key, user, path, meter, quantity, .. } = &usage;
    let (key, user, path) = (key.clone(), user.clone(), path.clone());
    let (meter, quantity) = (meter.clone(), *quantity);
    #[cfg(feature = "otlp")]
    crate::telemetry::note_usage(&app, &org, &usage);
    match app.engine.submit(&caller.actor, org.clone(), OrgCommand::Use(usage)).await? {
        OrgDecision::Use(Ok(allowed)) => {
            let reply = UsageReply {
                allowed: true,
                replayed: allowed.replayed,
                key,
                org,
                user,
                path,
                meter,
                quantity: quantity.amount().into(),
                remaining: allowed.standing.remaining.map(Into::into),
                held: some_held(allowed.standing.held),
                used: allowed.standing.used.into(),
                total: allowed.standing.granted.into(),
                user_used: allowed.standing.user_used.map(Into::into),
                entry: allowed.entry,
            };
            let mut response = ok(&reply);
            of_allowed(response.headers_mut(), &allowed.policies, app.engine.clock().now());
            Ok(response)
        }
        OrgDecision::Use(Err(denied)) => {
            let now = app.engine.clock().now();
            note_refusal(&app, &org, &denied.denial);
            let problem = gate_problem(&app, &denied, &org, &meter, quantity);
            Ok(gate_refusal(problem, &denied.denial, now))
        }
        _ => Err(conflict()),
    }
}

pub(crate) fn read_usage(
    request: UsageRequest,
    header: IdempotencyKey,
    in_force: impl FnOnce() -> CatalogInForce,
    read_time: impl FnOnce(Option<Time>) -> Result<Option<Timestamp>, Failure>,
) -> Result<(OrgId, Use), Failure> {
    let key = header.needed(request.key, "count once")?;
    let occurred_at = read_time(request.time)?;
    let given = request.properties.unwrap_or_default().0;
    let (quantity, properties) = content(in_force, request.quantity, request.call.as_deref(), given)?;
    let UsageRequest { org, user, path, meter, .. } = request;
    let usage = Use { user, path, meter, quantity, key, occurred_at, properties };
    Ok((org, usage))
}

impl Times {
    pub(crate) fn of(app: &App) -> Self {
        let Settings { late_days, ahead_secs, .. } = app.settings;
        Self { now: app.engine.clock().now(), late_days, ahead_secs }
    }

    /// Reads a time; the clock is read only where there is one.
    pub(crate) fn read_now(app: &App, given: Option<Time>) -> Result<Option<Timestamp>, Failure> {
        if given.is_none() { Ok(None) } else { Self::of(app).read(given) }
    }

    pub(crate) fn read(self, given: Option<Time>) -> Result<Option<Timestamp>, Failure> {
        let Some(Time(time)) = given else { return Ok(None) };
        let Self { now, late_days, ahead_secs } = self;
        let age = now.as_microsecond() - time.as_microsecond();
        let [ahead, late] =
            [i64::from(ahead_secs), i64::from(late_days) * 86_400].map(|secs| secs * 1_000_000);
        if !(-ahead..=late).contains(&age) {
            let (late, ahead) = (counted(late_days, "day"), counted(ahead_secs, "second"));
            let detail = format!("time: must be at most {late} back and {ahead} ahead");
            return Err(Problem::new(Code::InvalidField, detail).on_field("time").into());
        }
        Ok(Some(time))
    }
}

/// The properties of a usage as its caller gives them.
pub(crate) fn properties(
    given: BTreeMap<String, PropertyValue>,
) -> Result<BTreeMap<String, String>, Failure> {
    properties_and(given, BTreeMap::new())
}

/// The same with what the server notes among them, which takes the place of what is given.
pub(crate) fn properties_and(
    mut given: BTreeMap<String, PropertyValue>,
    notes: BTreeMap<String, PropertyValue>,
) -> Result<BTreeMap<String, String>, Failure> {
    let invalid = |field: String, text: String| {
        Failure::from(Problem::new(Code::InvalidField, format!("{field}: {text}")).on_field(field))
    };
    // By these a retry is told from another usage.
    if let Some(name) = [PRICED_BY, PRICED_AS].into_iter().find(|name| given.contains_key(*name)) {
        return Err(invalid(format!("properties.{name}"), "is written by the server".to_owned()));
    }
    given.extend(notes);
    if given.is_empty() {
        return Ok(BTreeMap::new());
    }
    if given.len() > PROPERTIES_MAX {
        return Err(invalid("properties".to_owned(), format!("there may be at most {PROPERTIES_MAX}")));
    }
    for (name, PropertyValue(value)) in &given {
        let shown = || {
            format!("properties.{}", name.chars().take(40).filter(|c| !c.is_control()).collect::<String>())
        };
        if name.is_empty() || [name, value].iter().any(|text| text.chars().count() > TEXT_CHARS_MAX) {
            let text = format!(
                "name and value must have at most {TEXT_CHARS_MAX} characters, the name at least one"
            );
            return Err(invalid(shown(), text));
        }
        let in_value = |character: char| character.is_control() && !['\t', '\n'].contains(&character);
        if name.chars().any(char::is_control) || value.chars().any(in_value) {
            let text = "must not hold control characters, but for tab and line feed in the value";
            return Err(invalid(shown(), text.to_owned()));
        }
    }
    Ok(given.into_iter().map(|(name, PropertyValue(value))| (name, value)).collect())
}

/// Asks what a usage would be answered, and why; nothing is consumed.
///
/// Takes the body of a usage as it is and refuses what a usage would. It says nothing about the key.
#[utoipa::path(
    post, path = "/v1/usage/check", tag = "Usage", operation_id = "check",
    request_body = UsageRequest,
    responses(
        (status = 200, description = "The decision, whichever it is, with every check behind it", body = CheckReply, headers(
            ("RateLimit-Policy" = String, description = "Credit and limits: `\"org\";q=45, \"user-month\";q=15`"),
            ("RateLimit" = String, description = "What is left of each, and the seconds until it starts afresh: `\"org\";r=20;t=842808`"),
        )),
    )
)]
pub(crate) async fn check(
    State(app): State<App>,
    caller: Caller,
    _: NoQuery,
    Json(request): Json<UsageRequest>,
) -> Result<Response, Failure> {
    caller.require_ingest_or_read(Some(&request.org))?;
    Times::read_now(&app, request.time)?;
    let given = request.properties.unwrap_or_default().0;
    let (quantity, properties) =
        content(|| app.engine.catalog(), request.quantity, request.call.as_deref(), given)?;
    let (user, path) = (request.user, request.path);
    let check = Check { user, path, meter: request.meter.clone(), quantity, properties };
    let OrgDecision::Check(checked) =
        app.engine.submit(&caller.actor, request.org.clone(), OrgCommand::Check(check)).await?
    else {
        return Err(conflict());
    };
    let Checked { result, steps } = *checked;
    let standing = match &result {
        Ok(allowed) => Some(allowed.standing),
        Err(denied) => denied.standing,
    };
    let denied = result.as_ref().err();
    let problem = denied.map(|denied| gate_problem(&app, denied, &request.org, &request.meter, quantity));
    let reply = CheckReply {
        allowed: result.is_ok(),
        code: denied.map(|denied| denied.denial.code().to_owned()),
        detail: problem.map(|problem| problem.detail),
        limit: denied.and_then(|denied| denied.denial.limit()).map(limit_detail),
        org: request.org.into(),
        meter: request.meter.into(),
        quantity: quantity.amount().into(),
        remaining: standing.and_then(|standing| standing.remaining).map(Into::into),
        used: standing.map(|standing| standing.used.into()),
        steps: steps
            .into_iter()
            .map(|step| CheckStep { check: step.check.to_owned(), passed: step.passed, detail: step.detail })
            .collect(),
    };
    let mut response = ok(&reply);
    let now = app.engine.clock().now();
    match &result {
        Ok(allowed) => of_allowed(response.headers_mut(), &allowed.policies, now),
        Err(denied) => of_denied(response.headers_mut(), &denied.denial, now),
    }
    Ok(response)
}

/// Takes a usage back by its key: its credit, counters and bill are put right.
#[utoipa::path(
    post, path = "/v1/usage/reversals", tag = "Usage", operation_id = "reverse",
    params(("Idempotency-Key" = Option<HeaderKey>, Header, description = "Taken, and not needed: sent again, the request changes nothing more")),
    request_body = ReversalRequest,
    responses(
        (status = 200, description = "Taken back, now or before", body = ReversalReply),
        P404,
        P409,
    )
)]
pub(crate) async fn reverse(
    State(app): State<App>,
    caller: Caller,
    _: NoQuery,
    _: IdempotencyKey,
    Json(request): Json<ReversalRequest>,
) -> Result<Response, Failure> {
    caller.require(Role::Ingest, Some(&request.org))?;
    let command = OrgCommand::Reverse(Reverse { key: request.key.clone() });
    match app.engine.submit(&caller.actor, request.org.clone(), command).await? {
        OrgDecision::Reverse(Ok(reversed)) => Ok(ok(&ReversalReply {
            reversed: true,
            replayed: reversed.replayed,
            org: request.org.into(),
            key: request.key.into(),
            entry: reversed.entry,
            reversed_entry: reversed.reversed_entry,
        })),
        OrgDecision::Reverse(Err(denial)) => Err(reversal_problem(denial, &request.org, &request.key).into()),
        _ => Err(conflict()),
    }
}
