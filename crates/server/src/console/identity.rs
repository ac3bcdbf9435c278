//! Signing in by a provider of OpenID Connect: to it, and back.

use axum::extract::State;
use axum::response::Response;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, StatusCode};
use tollgate_api::{Code, Problem, shortened};

use super::session::{Who, cookie_named, cookie_of, random_id, secure, set_cookie};
use super::sign_in::{Refused, ask, inside};
use super::{afresh, see_other};
use crate::app::App;
use crate::extract::Query;
use crate::limits::OIDC_VISIT_SECS;
use crate::oidc::{OidcError, Provider};
use crate::reply::Failure;

/// The cookie of a sign-in that is under way. The way back is a link from elsewhere, which strict cookies do not come with.
const NAME: &str = "tollgate_sign_in";

fn provider(app: &App) -> Result<&Provider, Failure> {
    let detail = "this server has no provider of sign-ins: oidc-issuer is not set";
    app.oidc.as_ref().ok_or_else(|| Problem::new(Code::UnknownRoute, detail).into())
}

/// Sends a browser to the provider.
pub(crate) async fn begin(
    State(app): State<App>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Failure> {
    let to = query.take("to").unwrap_or_default();
    query.end()?;
    let provider = provider(&app)?;
    match provider.begin(&random_id()?, inside(&to), app.engine.clock().now()).await {
        Ok((visit, url)) => {
            let mut response = see_other(&url);
            keep(&app, &headers, &mut response, &visit.cookie, OIDC_VISIT_SECS);
            Ok(response)
        }
        Err(error) => refuse(&app, &headers, &to, &error),
    }
}

/// Takes in who comes back from the provider, under a new id.
pub(crate) async fn end(
    State(app): State<App>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Failure> {
    let provider = provider(&app)?;
    let now = app.engine.clock().now();
    // Providers add parameters of their own.
    let mut take = |name: &str| query.take(name);
    let (state, code, error) = (take("state").unwrap_or_default(), take("code"), take("error"));
    let (description, issuer) = (take("error_description"), take("iss"));
    let Some(visit) = provider.returned(cookie_named(&headers, NAME), &state, now) else {
        let text = "This sign-in was not begun in this browser, was begun too long ago, or has ended. Please try again.";
        return told(&app, &headers, "", StatusCode::UNAUTHORIZED, text.to_owned());
    };
    let page = visit.page.clone();
    let code = match (error, code) {
        _ if !provider.is_issuer(issuer.as_deref()) => {
            return refuse(
                &app,
                &headers,
                &page,
                &OidcError::Invalid("it is another issuer's answer".to_owned()),
            );
        }
        (None, Some(code)) => code,
        (error, _) => {
            let said = description.or(error).unwrap_or_else(|| "nothing".to_owned());
            let text = format!("The provider did not sign you in. It says: {}", shortened(&said));
            return told(&app, &headers, &page, StatusCode::UNAUTHORIZED, text);
        }
    };
    match provider.person(visit, code, now).await {
        Ok(person) => {
            tracing::info!(role = person.role.name(), "somebody signed in by the provider of OpenID Connect");
            app.sessions.close(cookie_of(&headers));
            let id = app.sessions.open(Who::Person(person), now)?;
            // The provider led here, so the cookie would not come along to where this led.
            let mut response = afresh(inside(&page));
            set_cookie(&app, &headers, &mut response, Some(&id));
            keep(&app, &headers, &mut response, "", 0);
            Ok(response)
        }
        Err(error) => refuse(&app, &headers, &page, &error),
    }
}

/// The sign-in page, with why a person is not signed in. What more there is to know, the log says.
fn refuse(app: &App, headers: &HeaderMap, to: &str, error: &OidcError) -> Result<Response, Failure> {
    tracing::warn!(%error, "somebody is not signed in by the provider of OpenID Connect");
    let (status, text) = match error {
        OidcError::Provider(_) => (
            StatusCode::BAD_GATEWAY,
            "The provider of sign-ins does not answer as it should. Please try again later, or sign in with an API key."
                .to_owned(),
        ),
        OidcError::Invalid(_) => (
            StatusCode::UNAUTHORIZED,
            "What the provider says of you is not valid, so you are not signed in. The server’s log says why."
                .to_owned(),
        ),
        OidcError::NoName(claim) => (
            StatusCode::FORBIDDEN,
            format!(
                "The provider knows you, but does not say by which name: its claim “{claim}” names nobody. Ask whoever runs \
                 this server."
            ),
        ),
        OidcError::NoRole(claim) => (
            StatusCode::FORBIDDEN,
            format!(
                "The provider knows you, but you have no role here: its claim “{claim}” gives you none. Ask whoever runs this \
                 server."
            ),
        ),
        OidcError::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many people are signing in at the moment. Please try again.".to_owned(),
        ),
    };
    told(app, headers, to, status, text)
}

fn told(
    app: &App,
    headers: &HeaderMap,
    to: &str,
    status: StatusCode,
    text: String,
) -> Result<Response, Failure> {
    let mut response = ask(app, headers, to, Refused::Person(status, text))?;
    keep(app, headers, &mut response, "", 0);
    Ok(response)
}

/// Gives a browser the cookie of its sign-in, or takes it away.
fn keep(app: &App, headers: &HeaderMap, response: &mut Response, value: &str, seconds: i64) {
    let secure = secure(app, headers);
    let cookie =
        format!("{NAME}={value}; Path=/console/sign-in; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}
