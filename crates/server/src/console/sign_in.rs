//! Signing in and out.

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use tollgate_console::SignInView;
use tollgate_domain::Role;

use super::session::{Sent, Who, check_token, cookie_of, form, random_id, set_cookie};
use super::{address, page, see_other, style_name};
use crate::app::App;
use crate::auth::hash;
use crate::extract::Query;
use crate::reply::Failure;

/// Asks for an API key, or offers the provider of OpenID Connect.
pub(crate) async fn show(
    State(app): State<App>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Failure> {
    let to = query.take("to").unwrap_or_default();
    query.end()?;
    if app.api_keys.is_empty() {
        return Ok(see_other(inside(&to)));
    }
    ask(&app, &headers, &to, Refused::Nobody)
}

/// Who was not let in.
pub(super) enum Refused {
    /// Nobody tried.
    Nobody,
    /// Whoever had a key: what was wrong with it.
    Key(String),
    /// Somebody who came back from the provider: why.
    #[cfg(feature = "oidc")]
    Person(StatusCode, String),
}

/// The form. Its token is of a cookie that is no session's: whoever signs in gets another.
pub(super) fn ask(app: &App, headers: &HeaderMap, to: &str, refused: Refused) -> Result<Response, Failure> {
    let visit = random_id()?;
    let (status, wrong, failed) = match refused {
        Refused::Nobody => (StatusCode::OK, None, None),
        Refused::Key(text) => (StatusCode::UNAUTHORIZED, Some(text), None),
        #[cfg(feature = "oidc")]
        Refused::Person(status, text) => (status, None, Some(text)),
    };
    let view = SignInView {
        style: style_name(),
        token: app.sessions.token(&visit),
        to: inside(to).to_owned(),
        wrong,
        failed,
        provider: app.settings.oidc.is_some().then(|| address("/console/sign-in/oidc", [("to", inside(to))])),
    };
    let mut response = page(status, &view)?;
    set_cookie(app, headers, &mut response, Some(&visit));
    Ok(response)
}

/// A path of the console: nobody is sent anywhere else.
pub(super) fn inside(to: &str) -> &str {
    let is_inside = to == "/console" || to.starts_with("/console/") || to.starts_with("/console?");
    // What a browser may read as another server's name.
    let is_plain = !to.contains('\\') && !to.contains("//") && !to.chars().any(char::is_control);
    if is_inside && is_plain && !to.starts_with("/console/sign-") { to } else { "/console" }
}

/// Signs in, under a new id.
pub(crate) async fn sign_in(State(app): State<App>, request: Request) -> Result<Response, Failure> {
    let headers = request.headers().clone();
    let values = form(&app, request, app.settings.body_bytes_max).await?;
    let field = |name: &str| values.get(name).map_or("", |value| value.trim());
    check_token(&app, &headers, values.get("token"))?;
    let key = hash(field("key"));
    let wrong = |text: &str| ask(&app, &headers, field("to"), Refused::Key(text.to_owned()));
    let Some(caller) = app.api_keys.caller(&key) else {
        return wrong("This key is not known, or was revoked.");
    };
    if !caller.role.covers(Role::Read) {
        return wrong("A key with the role 'ingest' sees nothing here.");
    }
    app.sessions.close(cookie_of(&headers));
    let id = app.sessions.open(Who::Key(key), app.engine.clock().now())?;
    let mut response = see_other(inside(field("to")));
    set_cookie(&app, &headers, &mut response, Some(&id));
    Ok(response)
}

/// Signs out, here or everywhere.
pub(crate) async fn sign_out(
    State(app): State<App>,
    headers: HeaderMap,
    sent: Sent,
) -> Result<Response, Failure> {
    let id = cookie_of(&headers);
    if sent.value("where") == "everywhere" {
        app.sessions.close_all(id);
    } else {
        app.sessions.close(id);
    }
    let mut response = see_other("/console/sign-in");
    set_cookie(&app, &headers, &mut response, None);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for (to, leads) in [
            ("/console/orgs?plan=basic", "/console/orgs?plan=basic"),
            ("/console?done=plan", "/console?done=plan"),
            ("", "/console"),
            ("https://evil.example", "/console"),
            ("//evil.example", "/console"),
            ("/\\evil.example", "/console"),
            ("/console//evil.example", "/console"),
            ("/console\\evil", "/console"),
            ("/console/\r\nset-cookie: a=b", "/console"),
            ("/consoles", "/console"),
            ("/console/sign-out", "/console"),
        ] {
            assert_eq!(inside(to), leads, "{to:?}");
        }
    }
}
