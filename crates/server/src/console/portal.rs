//! The portal: a customer's own page, by a link that ends.
//!
//! A link names an organization, when it ends, and who made it. It is signed with the API key of whoever that is: it ends with that
//! key, and every server on the same store knows it. That of a person is signed with what the server shows the provider by which
//! people sign in. Who has neither signs with a secret of the process.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use tollgate_api::{
    BalanceReply, BillPage, Code, Id, OrgItem, PlanReply, PortalLinkReply, PortalLinkRequest, Problem,
};
use tollgate_console::{BillsView, PortalView};
use tollgate_domain::{Actor, ApiKeyId, OrgId, PersonId, Role, SignedDuration, Timestamp};

use super::org::charts;
use super::session::sign;
use super::{meter_choices, page, plan_choices, said, style_name};
use crate::app::App;
use crate::auth::{Caller, hash};
use crate::extract::{Json, NoQuery, OrgPath, Query, path_param};
use crate::limits::{PORTAL_LINK_SECS_DEFAULT, PORTAL_LINK_SECS_MAX};
use crate::native;
use crate::native::orgs::unknown_org;
use crate::native::problems::P404;
use crate::reply::{Failure, ok};

/// Makes a link to the customer's own page: it shows this organization alone, changes nothing, and ends.
///
/// It ends with its time, or with the API key that made it.
#[utoipa::path(
    post, path = "/v1/orgs/{org}/portal-links", tag = "Organizations", operation_id = "create_portal_link",
    params(("org" = Id, Path, description = "The organization")),
    request_body = PortalLinkRequest,
    responses(
        (status = 200, description = "The link", body = PortalLinkReply),
        P404,
    )
)]
pub(crate) async fn link(
    State(app): State<App>,
    caller: Caller,
    OrgPath(org): OrgPath,
    _: NoQuery,
    Json(request): Json<PortalLinkRequest>,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, Some(&org))?;
    let seconds = request.expires_in.unwrap_or(PORTAL_LINK_SECS_DEFAULT);
    if !(1..=PORTAL_LINK_SECS_MAX).contains(&seconds) {
        let detail =
            format!("expires_in: must be a whole number of seconds from 1 to {PORTAL_LINK_SECS_MAX}");
        return Err(Problem::new(Code::InvalidField, detail).on_field("expires_in").into());
    }
    app.engine.org(&org).await?.ok_or_else(|| unknown_org(&org))?;
    let now = app.engine.clock().now();
    let until = now.checked_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(now);
    let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
    let key = key_of(&app, &caller.actor).ok_or_else(no_link)?;
    let text = text_of(&caller.actor, until, &org);
    let signature = BASE64_URL_SAFE_NO_PAD.encode(sign(&key, &signed(&text)));
    let path = format!("/portal/{}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(&text));
    Ok(ok(&PortalLinkReply { org: org.to_string(), path, expires_at: until.to_string() }))
}

/// What stands before the name of a person, which may hold anything.
const PERSON: &str = "person:";

/// What a link says: until when, by whom it was made, whose it is. Only the last may hold a space.
fn text_of(actor: &Actor, until: Timestamp, org: &OrgId) -> String {
    let actor = match actor {
        Actor::Person(id) => format!("{PERSON}{}", BASE64_URL_SAFE_NO_PAD.encode(id.name())),
        other => other.to_string(),
    };
    format!("{} {actor} {org}", until.as_second())
}

/// What is signed is not what other signatures with the same key are of.
fn signed(text: &str) -> String {
    format!("portal link:{text}")
}

/// What the links of a caller are signed with.
fn key_of(app: &App, actor: &Actor) -> Option<[u8; 32]> {
    match actor {
        Actor::Local if app.api_keys.is_empty() => Some(app.sessions.signature("portal links")),
        Actor::Local => None,
        Actor::Person(_) => Some(match &app.settings.oidc.as_ref()?.client_secret {
            Some(secret) => hash(&secret.0),
            None => app.sessions.signature("portal links of people"),
        }),
        other => app.api_keys.hash_of(other),
    }
}

/// A person as a link names them.
fn person(name: &str) -> Option<PersonId> {
    PersonId::named(&String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(name).ok()?).ok()?)
}

fn no_link() -> Failure {
    let detail = "the link is not good, or not any more; ask for another where you got it";
    Problem::new(Code::Unauthorized, detail).into()
}

/// Whose page a link shows.
pub(crate) struct Guest {
    link: String,
    org: OrgId,
    until: Timestamp,
    caller: Caller,
}

impl FromRequestParts<App> for Guest {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let link = path_param(&parts.extensions, "link")?;
        Self::read(app, link).ok_or_else(no_link)
    }
}

impl Guest {
    fn read(app: &App, link: String) -> Option<Self> {
        let (text, signature) = link.split_once('.')?;
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut words = text.splitn(3, ' ');
        let until = Timestamp::from_second(words.next()?.parse().ok()?).ok()?;
        let actor = match words.next()? {
            "local" => Actor::Local,
            "configured" => Actor::Configured,
            word if word.starts_with(PERSON) => Actor::Person(person(word.strip_prefix(PERSON)?)?),
            id => Actor::Key(ApiKeyId(id.to_owned())),
        };
        let org = OrgId::new(words.next()?).ok()?;
        let wanted = BASE64_URL_SAFE_NO_PAD.encode(sign(&key_of(app, &actor)?, &signed(&text)));
        // Compared by their hashes, so that the time it takes tells nothing.
        if hash(&wanted) != hash(signature) || app.engine.clock().now() >= until {
            return None;
        }
        let caller = Caller { actor, role: Role::Read, org: Some(org.clone()) };
        Some(Self { link, org, until, caller })
    }
}

/// Balance, limits, usage and bills of one organization.
pub(crate) async fn show(State(app): State<App>, guest: Guest, _: NoQuery) -> Result<Response, Failure> {
    let at = || (State(app.clone()), guest.caller.clone(), OrgPath(guest.org.clone()));
    let (state, caller, path) = at();
    let org: OrgItem = said(native::orgs::show(state, caller, path, NoQuery)).await?;
    let (state, caller, path) = at();
    let plan: PlanReply = said(native::plans::show(state, caller, path, NoQuery)).await?;
    let (state, caller, path) = at();
    let balance = native::balance::show(state, caller, path, Query::of([("users_limit", "0")]));
    let balance: BalanceReply = said(balance).await?;
    let (state, caller, path) = at();
    let bills: BillPage =
        said(native::bill_list::list(state, caller, path, Query::of([("limit", "12")]))).await?;
    let charts = charts(&app, &guest.caller, &guest.org, &org.time_zone, &balance).await?;
    let named =
        |id: &String| plan_choices(&app).into_iter().find(|plan| plan.value == *id).map(|plan| plan.label);
    let view = PortalView {
        style: style_name(),
        plan_name: plan.plan.as_ref().map(|id| named(id).unwrap_or_else(|| id.clone())),
        link: guest.link,
        until: guest.until.to_string(),
        org,
        plan,
        balance,
        meters: meter_choices(&app),
        charts,
        bills: BillsView::rows_of(bills),
    };
    page(StatusCode::OK, &view)
}

/// One bill, as a page.
pub(crate) async fn bill(
    State(app): State<App>,
    guest: Guest,
    mut query: Query,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let month = query.take("month").unwrap_or_default();
    query.end()?;
    let asked = Query::of([("month", month.as_str()), ("format", "html")]);
    native::bills::show(State(app), guest.caller, OrgPath(guest.org), asked, headers).await
}
