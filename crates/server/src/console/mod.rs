//! The console: pages for people, over the handlers of the native API.
//!
//! A page asks the API's own handlers, inside the process, as whoever is signed in: it has no numbers and no rights of its
//! own, and what it changes is written into the ledger as that caller's. A form is read as the body of the request that it
//! stands for, so what is refused is refused in the API's words, beside the field that they name.

mod actions;
mod bills;
mod channels;
mod health;
mod holds;
#[cfg(feature = "oidc")]
mod identity;
mod keys;
mod lists;
mod notices;
mod org;
mod orgs;
mod overview;
mod paths;
mod plans;
pub(crate) mod portal;
mod session;
mod sign_in;
mod survey;
mod unsubscribe;
mod usage;

use std::collections::BTreeMap;
use std::future::Future;

use axum::response::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, REFRESH,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tollgate_api::{Code, Problem};
use tollgate_console::{Answered, Choice, Page, STYLE};

use crate::app::App;
use crate::auth::hexadecimal;
use crate::extract::{NoQuery, parse};
use crate::reply::Failure;

pub(crate) use actions::{call_off, close, limit, name, plan, portal_link, thresholds, top_up, void};
pub(crate) use bills::{bill, of_all as bills, of_org as org_bills};
pub(crate) use channels::{
    change as change_channel, list as channels, make as make_channel, remove as remove_channel,
    replay as replay_channel, rotate as rotate_channel, set_enabled as set_channel_enabled, show as channel,
    test as test_channel,
};
pub(crate) use health::show as health;
pub(crate) use holds::{list as holds, release as release_hold};
#[cfg(feature = "oidc")]
pub(crate) use identity::{begin as begin_sign_in, end as end_sign_in};
pub(crate) use keys::{list as keys, make as make_key, revoke as revoke_key};
pub(crate) use lists::{entry, ledger, users};
pub(crate) use notices::{NoticeMarks, show as notices};
pub(crate) use org::show as org;
pub(crate) use orgs::{add as add_org, list as orgs};
pub(crate) use overview::show as overview;
pub(crate) use paths::show as paths;
pub(crate) use plans::{apply as apply_catalog, show as plans, try_form, try_it as try_catalog};
pub(crate) use portal::{bill as portal_bill, link as make_link, show as portal};
pub(crate) use session::Sessions;
#[cfg(feature = "oidc")]
pub(crate) use session::sign;
pub(crate) use sign_in::{show as sign_in_page, sign_in, sign_out};
pub(crate) use survey::Survey;
pub(crate) use unsubscribe::{show as unsubscribe_page, stop as unsubscribe};
pub(crate) use usage::{csv as usage_csv, show as usage};

/// What an answer of a handler says.
async fn said<T: DeserializeOwned>(
    answering: impl Future<Output = Result<Response, Failure>>,
) -> Result<T, Failure> {
    let unreadable = |error: String| {
        Failure::from(Problem::new(Code::Internal, "the page cannot read what the API answered"))
            .caused_by(error)
    };
    let body = answering.await?.into_body().collect().await.map_err(|error| unreadable(error.to_string()))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| unreadable(error.to_string()))
}

/// A page as a response.
fn page(status: StatusCode, page: &impl Page) -> Result<Response, Failure> {
    let text = page.render().map_err(|error| {
        Failure::from(Problem::new(Code::Internal, "the page cannot be written")).caused_by(error.to_string())
    })?;
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Ok(response)
}

/// Sends a browser on to read what a form has changed, or to sign in.
fn see_other(path: &str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(path) = HeaderValue::from_str(path) {
        response.headers_mut().insert(LOCATION, path);
    }
    response
}

/// Has a browser ask for a page of its own accord: with the cookie, which it leaves out where a link from elsewhere, or what that
/// leads to, asks.
fn afresh(path: &str) -> Response {
    let mut response = Response::default();
    if let Ok(path) = HeaderValue::from_str(&format!("0; url={path}")) {
        response.headers_mut().insert(REFRESH, path);
    }
    response
}

/// What every page says to browsers beside its text: nothing of it is kept, nothing from elsewhere is loaded, no script
/// runs, and no other page shows it in a frame, but for the portal in pages of some origins.
pub(crate) fn dressed(mut response: Response, path: &str, frames: &[String]) -> Response {
    crate::reply::as_page(&mut response);
    let frames = match path.starts_with("/portal/") && !frames.is_empty() {
        true => frames.join(" "),
        false => "'none'".to_owned(),
    };
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; \
         frame-ancestors {frames}"
    );
    let headers = response.headers_mut();
    // A bill has a policy of its own, which lets it bring its style along; nothing else of it is less strict.
    let policy = match headers.get(CONTENT_SECURITY_POLICY).and_then(|own| own.to_str().ok()) {
        Some(own) => format!("{own}; frame-ancestors {frames}"),
        None => policy,
    };
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// The style sheet. It may be kept for ever: another one has another address.
pub(crate) async fn style(mut query: crate::extract::Query) -> Result<Response, Failure> {
    query.take("v");
    query.end()?;
    let mut response = Response::new(STYLE.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    Ok(response)
}

/// The name of the style sheet, which changes with its content.
pub(crate) fn style_name() -> String {
    let hash = crate::auth::hash(STYLE);
    format!("style.css?v={}", hexadecimal(hash.get(..6).unwrap_or_default()))
}

/// A text as a part of a path or a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&hexadecimal(&[byte]));
        }
    }
    encoded
}

/// The address of a page with parameters; those without a value are left out.
fn address<'a>(path: &str, params: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> = params
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// The next page of a list, filtered as this one.
fn next_page(path: &str, asked: &BTreeMap<String, String>, next: Option<&str>) -> Option<String> {
    let params = asked.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    next.map(|next| address(path, params.chain([("cursor", next)])))
}

/// A form as the request that it stands for: a member for each of some fields that is not empty.
fn request<T: DeserializeOwned>(values: &BTreeMap<String, String>, fields: &[&str]) -> Result<T, Failure> {
    let given = fields.iter().filter_map(|field| {
        let value = values.get(*field).map(|value| value.trim()).filter(|value| !value.is_empty())?;
        Some(((*field).to_owned(), serde_json::Value::from(value)))
    });
    let members: serde_json::Map<_, _> = given.collect();
    parse(serde_json::Value::Object(members).to_string().as_bytes())
}

/// A form that was refused, to be shown again; what is not the form's fault fails as it is.
fn refused(form: &str, values: &BTreeMap<String, String>, failure: Failure) -> Result<Answered, Failure> {
    let elsewhere = [Code::Forbidden, Code::Unauthorized, Code::UnknownOrg];
    if failure.problem.status >= 500 || elsewhere.contains(&failure.problem.code) {
        return Err(failure);
    }
    Ok(Answered { form: form.to_owned(), values: values.clone(), problem: *failure.problem })
}

/// The plans of the catalog in force.
fn plan_choices(app: &App) -> Vec<Choice> {
    let catalog = app.engine.catalog().catalog;
    catalog.plans.iter().map(|plan| Choice::pair((plan.id.as_str(), plan.name.as_str()))).collect()
}

/// The meters of the catalog in force.
fn meter_choices(app: &App) -> Vec<Choice> {
    let catalog = app.engine.catalog().catalog;
    catalog.meters.iter().map(|meter| Choice::pair((meter.id.as_str(), meter.name.as_str()))).collect()
}

/// Makes a form count once, however often it is sent.
fn once() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::from(Problem::new(Code::Internal, "no randomness")).caused_by(error.to_string())
    })?;
    Ok(format!("console-{}", hexadecimal(&bytes)))
}

/// What was just done, in words; an address can ask for these only.
fn done(word: Option<&str>) -> Option<&'static str> {
    Some(match word? {
        "top_up" => "The top-up is there.",
        "void" => "It is taken back.",
        "released" => "The hold is released: what it held is given back.",
        "applied" => "The catalog is in force.",
        "plan" => "The plan is set.",
        "scheduled" => "The change of plan is scheduled.",
        "called_off" => "The change of plan is called off.",
        "limit" => "The limit is set.",
        "unlimited" => "The limit is removed.",
        "name" => "It is saved.",
        "thresholds" => "Notices go by these shares of the credit now.",
        "as_planned" => "Notices go by the plan again.",
        "added" => "The organization is there.",
        "closed" => "The bill is closed.",
        "channel" => "The channel is saved.",
        "enabled" => "The channel delivers.",
        "paused" => "The channel is paused: nothing is delivered until it is enabled.",
        "replayed" => "They are delivered again; the log below shows each attempt.",
        "removed" => "The channel is removed.",
        "revoked" => "The key is revoked.",
        _ => return None,
    })
}

/// No parameters.
const NO_QUERY: NoQuery = NoQuery;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_holds_any_text() {
        assert_eq!(encoded("a/b?c&ü <\"'"), "a%2fb%3fc%26%c3%bc%20%3c%22%27");
        assert_eq!(address("/console", [("a", ""), ("b", "x y")]), "/console?b=x%20y");
    }
}
