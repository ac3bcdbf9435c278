//! What may be done with an organization. Each form is the request of the API that it stands for.

use axum::extract::State;
use axum::response::Response;
use tollgate_api::{
    CloseRequest, LimitRequest, OrgNoticesRequest, OrgRequest, PlanReply, PlanRequest, PortalLinkReply,
    PortalLinkRequest, TopUpRequest, VoidRequest,
};
use tollgate_console::Limited;
use tollgate_domain::{OrgId, UsageKey};

use super::session::Sent;
use super::{address, encoded, org, refused, request, said, see_other};
use crate::app::App;
use crate::extract::{EntryPath, IdempotencyKey, Json, NoQuery, OrgPath};
use crate::native;
use crate::native::top_ups::OrNothing;
use crate::reply::Failure;

/// What a form was answered: the word for what is done now, or why it is not.
type Acted = Result<&'static str, Failure>;

/// Shows what a form has changed, or the form again with what is wrong with it.
async fn answer(app: App, org: OrgId, sent: Sent, form: &str, acted: Acted) -> Result<Response, Failure> {
    match acted {
        Ok(word) => {
            let path = format!("/console/orgs/{}", encoded(org.as_str()));
            Ok(see_other(&address(&path, [("done", word)])))
        }
        Err(failure) => {
            let answered = refused(form, &sent.values, failure)?;
            let reader = app.clone();
            let again = async move {
                let limited = Limited::default();
                org::summary(&reader, &sent.visitor, org, None, limited, Some(answered), None).await
            };
            app.readers.read(again).await?
        }
    }
}

/// The key that makes a form count once.
fn once(sent: &Sent) -> IdempotencyKey {
    IdempotencyKey(UsageKey::new(sent.value("once")).ok())
}

/// Adds credit.
pub(crate) async fn top_up(
    State(app): State<App>,
    OrgPath(org): OrgPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let acted = match request::<TopUpRequest>(&sent.values, &["meter", "amount", "expires_at", "reason"]) {
        Ok(request) => {
            let (state, caller, path) =
                (State(app.clone()), sent.visitor.caller.clone(), OrgPath(org.clone()));
            native::top_ups::top_up(state, caller, path, NoQuery, once(&sent), Json(request))
                .await
                .map(|_| "top_up")
        }
        Err(failure) => Err(failure),
    };
    answer(app, org, sent, "top_up", acted).await
}

/// Takes credit back that is not used.
pub(crate) async fn void(
    State(app): State<App>,
    EntryPath(org, entry): EntryPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let acted = match request::<VoidRequest>(&sent.values, &["amount", "reason"]) {
        Ok(request) => {
            let (state, caller) = (State(app.clone()), sent.visitor.caller.clone());
            let path = EntryPath(org.clone(), entry);
            native::top_ups::void(state, caller, path, NoQuery, once(&sent), OrNothing(request))
                .await
                .map(|_| "void")
        }
        Err(failure) => Err(failure),
    };
    answer(app, org, sent, &format!("void-{entry}"), acted).await
}

/// Sets the plan, or schedules it.
pub(crate) async fn plan(
    State(app): State<App>,
    OrgPath(org): OrgPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let acted = match request::<PlanRequest>(&sent.values, &["plan", "at"]) {
        Ok(request) => {
            let (state, caller, path) =
                (State(app.clone()), sent.visitor.caller.clone(), OrgPath(org.clone()));
            let set =
                said::<PlanReply>(native::plans::set(state, caller, path, NoQuery, Json(request))).await;
            set.map(|set| if set.scheduled.is_some() { "scheduled" } else { "plan" })
        }
        Err(failure) => Err(failure),
    };
    answer(app, org, sent, "plan", acted).await
}

/// Calls off the change of plan that is scheduled.
pub(crate) async fn call_off(
    State(app): State<App>,
    OrgPath(org): OrgPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let (state, caller, path) = (State(app.clone()), sent.visitor.caller.clone(), OrgPath(org.clone()));
    let acted = native::plans::call_off(state, caller, path, NoQuery).await.map(|_| "called_off");
    answer(app, org, sent, "call_off", acted).await
}

/// Sets a limit, or removes it where no amount is given.
pub(crate) async fn limit(
    State(app): State<App>,
    OrgPath(org): OrgPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let acted = match limit_request(&sent) {
        Ok(request) => {
            let word = if request.amount.is_some() { "limit" } else { "unlimited" };
            let (state, caller, path) =
                (State(app.clone()), sent.visitor.caller.clone(), OrgPath(org.clone()));
            native::orgs::put_limit(state, caller, path, NoQuery, Json(request)).await.map(|_| word)
        }
        Err(failure) => Err(failure),
    };
    answer(app, org, sent, "limit", acted).await
}

fn limit_request(sent: &Sent) -> Result<LimitRequest, Failure> {
    let given = |field: &str| Some(sent.value(field)).filter(|value| !value.is_empty());
    let mut members = serde_json::json!({ "amount": given("amount") });
    for field in ["meter", "scope", "user", "path", "window"] {
        if let (Some(value), Some(members)) = (given(field), members.as_object_mut()) {
            members.insert(field.to_owned(), value.into());
        }
    }
    crate::extract::parse(members.to_string().as_bytes())
}

/// Sets name and time zone. A name that is empty is removed.
pub(crate) async fn name(
    State(app): State<App>,
    OrgPath(org): OrgPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let acted = match request::<OrgRequest>(&sent.values, &["name", "time_zone"]) {
        Ok(mut request) => {
            request.name.get_or_insert(None);
            let (state, caller, path) =
                (State(app.clone()), sent.visitor.caller.clone(), OrgPath(org.clone()));
            native::orgs::put(state, caller, path, NoQuery, Json(request)).await.map(|_| "name")
        }
        Err(failure) => Err(failure),
    };
    answer(app, org, sent, "name", acted).await
}

/// Sets which shares of the credit notices tell of; without any, as the plan says.
pub(crate) async fn thresholds(
    State(app): State<App>,
    OrgPath(org): OrgPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let acted = match shares_request(&sent) {
        Ok(request) => {
            let word = if request.thresholds.is_some() { "thresholds" } else { "as_planned" };
            let (state, caller, path) =
                (State(app.clone()), sent.visitor.caller.clone(), OrgPath(org.clone()));
            native::org_notices::put(state, caller, path, NoQuery, Json(request)).await.map(|_| word)
        }
        Err(mut failure) => {
            // Which of them, its text says.
            let of_shares = |field: &String| field.starts_with("thresholds[");
            if failure.problem.field.as_ref().is_some_and(of_shares) {
                failure.problem.field = Some("thresholds".to_owned());
            }
            Err(failure)
        }
    };
    answer(app, org, sent, "notices", acted).await
}

fn shares_request(sent: &Sent) -> Result<OrgNoticesRequest, Failure> {
    let text = sent.value("thresholds");
    let shares = text.split([',', ' ', '%']).filter(|share| !share.is_empty());
    let number = |share: &str| share.parse::<i64>().map_or_else(|_| share.into(), serde_json::Value::from);
    let thresholds: Option<Vec<serde_json::Value>> = match text.trim() {
        "" => None,
        "none" => Some(Vec::new()),
        _ => Some(shares.map(number).collect()),
    };
    crate::extract::parse(serde_json::json!({ "thresholds": thresholds }).to_string().as_bytes())
}

/// Makes a link for the customer; it is on the page that answers.
pub(crate) async fn portal_link(
    State(app): State<App>,
    OrgPath(org): OrgPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let seconds = sent.value("expires_in").parse().ok();
    let request = Json(PortalLinkRequest { expires_in: seconds });
    let (state, caller, path) = (State(app.clone()), sent.visitor.caller.clone(), OrgPath(org.clone()));
    let made: PortalLinkReply = said(super::make_link(state, caller, path, NoQuery, request)).await?;
    let link = Some((made.path, made.expires_at));
    let reader = app.clone();
    let limited = Limited::default();
    let again = async move { org::summary(&reader, &sent.visitor, org, None, limited, None, link).await };
    app.readers.read(again).await?
}

/// Closes the bill of a month.
pub(crate) async fn close(
    State(app): State<App>,
    OrgPath(org): OrgPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let acted = match request::<CloseRequest>(&sent.values, &["month"]) {
        Ok(request) => {
            let (state, caller, path) =
                (State(app.clone()), sent.visitor.caller.clone(), OrgPath(org.clone()));
            native::bills::close(state, caller, path, NoQuery, IdempotencyKey(None), Json(request))
                .await
                .map(drop)
        }
        Err(failure) => Err(failure),
    };
    match acted {
        Ok(()) => {
            let path = format!("/console/orgs/{}/bills", encoded(org.as_str()));
            Ok(see_other(&address(&path, [("done", "closed")])))
        }
        Err(failure) => {
            let answered = refused("close", &sent.values, failure)?;
            let reader = app.clone();
            let again = async move {
                super::bills::list_of(&reader, &sent.visitor, org, None, None, Some(answered)).await
            };
            app.readers.read(again).await?
        }
    }
}
