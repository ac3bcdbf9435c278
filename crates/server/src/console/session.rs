//! Who is signed in: a cookie with a random id, and the API key or the person that it stands for.
//!
//! Sessions are in memory: they end with the server, with their time, with their key, or when somebody signs out. Only
//! hashes of ids and of keys are kept. What a form brings back is made of the cookie and a secret of the process, so that
//! only a page of this server can know it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use http::header::{COOKIE, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sha2::Sha256;
use tollgate_api::{Code, Problem};
use tollgate_console::{Frame, Section};
use tollgate_domain::{Actor, Role, Timestamp};

use super::{address, afresh, done, see_other, style_name};
use crate::app::App;
use crate::auth::{Caller, hash, hexadecimal};
use crate::extract::{content_type, read_limited};
use crate::limits::{CATALOG_FORM_BYTES_MAX, SESSION_SECS, SESSIONS_MAX};
use crate::oidc::Person;
use crate::reply::Failure;

/// The cookie.
const NAME: &str = "tollgate_session";

/// What a form brings back in.
const TOKEN: &str = "token";

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who is signed in.
pub(crate) struct Sessions {
    /// What tokens are made with.
    secret: [u8; 32],
    /// By the hash of the id.
    open: Mutex<HashMap<[u8; 32], Session>>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sessions").finish_non_exhaustive()
    }
}

struct Session {
    who: Who,
    until: Timestamp,
}

/// Who somebody is signed in as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever has the API key with a hash.
    Key([u8; 32]),
    /// Somebody whom a provider knows.
    #[cfg_attr(not(any(feature = "oidc", test)), expect(dead_code, reason = "nobody is signed in so"))]
    Person(Person),
}

impl Who {
    /// Whether both are the same, whatever they may do by now.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(one), Self::Key(other)) => one == other,
            (Self::Person(one), Self::Person(other)) => one.id == other.id,
            (Self::Key(_), Self::Person(_)) | (Self::Person(_), Self::Key(_)) => false,
        }
    }
}

impl Sessions {
    /// Nobody is signed in.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Self { secret, open: Mutex::default() })
    }

    /// Signs in, under an id that nobody had before; gives the id.
    pub(super) fn open(&self, who: Who, now: Timestamp) -> Result<String, Failure> {
        let id = random_id()?;
        let seconds = tollgate_domain::SignedDuration::from_secs(SESSION_SECS);
        let until = now.checked_add(seconds).unwrap_or(now);
        let mut open = self.locked();
        open.retain(|_, session| now < session.until);
        if open.len() >= SESSIONS_MAX
            && let Some(oldest) = open.iter().min_by_key(|(_, session)| session.until).map(|(id, _)| *id)
        {
            open.remove(&oldest);
        }
        open.insert(hash(&id), Session { who, until });
        Ok(id)
    }

    /// Who is signed in.
    fn who(&self, id: &str, now: Timestamp) -> Option<Who> {
        self.locked().get(&hash(id)).filter(|session| now < session.until).map(|session| session.who.clone())
    }

    /// Signs out.
    pub(super) fn close(&self, id: &str) {
        self.locked().remove(&hash(id));
    }

    /// Signs out all that are signed in with the same key, or as the same person.
    pub(super) fn close_all(&self, id: &str) {
        let mut open = self.locked();
        if let Some(Session { who, .. }) = open.remove(&hash(id)) {
            open.retain(|_, session| !session.who.is(&who));
        }
    }

    /// What signs a text so that only this process can.
    pub(super) fn signature(&self, text: &str) -> [u8; 32] {
        sign(&self.secret, text)
    }

    /// What a form of a page brings back.
    pub(super) fn token(&self, cookie: &str) -> String {
        hexadecimal(&self.signature(&format!("form:{cookie}")))
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signs a text.
pub(crate) fn sign(key: &[u8; 32], text: &str) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

pub(super) fn random_id() -> Result<String, Failure> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::from(Problem::new(Code::Internal, "no randomness")).caused_by(error.to_string())
    })?;
    Ok(hexadecimal(&bytes))
}

/// The value of the cookie; empty where there is none.
pub(super) fn cookie_of(headers: &HeaderMap) -> &str {
    cookie_named(headers, NAME)
}

/// The value of a cookie; empty where there is none.
pub(super) fn cookie_named<'a>(headers: &'a HeaderMap, wanted: &str) -> &'a str {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == wanted).map_or("", |(_, value)| value)
}

/// Gives a browser its cookie, or takes it away.
pub(super) fn set_cookie(app: &App, headers: &HeaderMap, response: &mut Response, value: Option<&str>) {
    let secure = secure(app, headers);
    let (value, seconds) = value.map_or(("", 0), |value| (value, SESSION_SECS));
    let cookie =
        format!("{NAME}={value}; Path=/console; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

/// What is said of cookies where everything is encrypted.
pub(super) fn secure(app: &App, headers: &HeaderMap) -> &'static str {
    let forwarded = headers.get(&X_FORWARDED_PROTO).is_some_and(|scheme| scheme == "https");
    if app.settings.tls.is_some() || forwarded { "; Secure" } else { "" }
}

/// Whether a form brings back what its page was given.
pub(super) fn check_token(app: &App, headers: &HeaderMap, token: Option<&String>) -> Result<(), Failure> {
    let wanted = hash(&app.sessions.token(cookie_of(headers)));
    // Compared by their hashes, so that the time it takes tells nothing of the token.
    if token.is_some_and(|token| hash(token) == wanted) {
        return Ok(());
    }
    let detail = "the form is not one that this server gave you, or you have signed in or out since: go back, reload the \
                  page and send it again";
    Err(Problem::new(Code::Forbidden, detail).on_field(TOKEN).into())
}

/// Whoever looks at a page.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(super) caller: Caller,
    who: Option<String>,
    token: String,
}

impl Visitor {
    fn of(app: &App, headers: &HeaderMap) -> Option<Self> {
        let cookie = cookie_of(headers);
        let token = app.sessions.token(cookie);
        if app.api_keys.is_empty() {
            return Some(Self { caller: Caller::ANYONE, who: None, token });
        }
        let caller = match app.sessions.who(cookie, app.engine.clock().now())? {
            Who::Key(key) => app.api_keys.caller(&key)?,
            Who::Person(Person { id, role }) => Caller { actor: Actor::Person(id), role, org: None },
        };
        let name = match &caller.actor {
            Actor::Key(id) => format!("key {}", id.0),
            Actor::Person(id) => id.name().to_owned(),
            other => format!("key of the settings ({other})"),
        };
        Some(Self { who: Some(format!("{name}, {}", caller.role.name())), caller, token })
    }

    /// What is around a page.
    pub(super) fn frame(&self, section: Section, title: &str) -> Frame {
        Frame {
            title: title.to_owned(),
            section,
            who: self.who.clone(),
            may_manage: self.caller.role.covers(Role::Manage),
            may_administer: self.caller.role.covers(Role::Admin),
            bound: self.caller.org.as_ref().map(ToString::to_string),
            token: self.token.clone(),
            done: None,
            style: style_name(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// The same, with what was just done.
    pub(super) fn frame_after(&self, section: Section, title: &str, word: Option<&str>) -> Frame {
        Frame { done: done(word), ..self.frame(section, title) }
    }
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        if let Some(visitor) = Self::of(app, &parts.headers) {
            return Ok(visitor);
        }
        let here = parts.uri.path_and_query().map_or("/console", |here| here.as_str());
        let reads = parts.method == Method::GET;
        // A link from elsewhere comes without the cookie. Asked once more by this page itself, the browser sends it.
        let from_elsewhere = parts
            .headers
            .get(&SEC_FETCH_SITE)
            .is_some_and(|site| site == "cross-site" || site == "same-site");
        if reads && from_elsewhere {
            return Err(afresh(here));
        }
        Err(see_other(&address("/console/sign-in", [("to", if reads { here } else { "" })])))
    }
}

/// A form that somebody sent who may: it has the token of its page.
pub(crate) struct Sent {
    pub(super) visitor: Visitor,
    pub(super) values: BTreeMap<String, String>,
}

impl FromRequest<App> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        Self::read(request, app, app.settings.body_bytes_max).await
    }
}

impl Sent {
    async fn read(request: Request, app: &App, bytes_max: usize) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, app).await?;
        let headers = parts.headers.clone();
        let request = Request::from_parts(parts, body);
        let mut values = form(app, request, bytes_max).await.map_err(IntoResponse::into_response)?;
        let token = values.remove(TOKEN);
        check_token(app, &headers, token.as_ref()).map_err(IntoResponse::into_response)?;
        Ok(Self { visitor, values })
    }
}

/// A form with a catalog in it, which may be as large as a catalog may be.
pub(crate) struct SentCatalog {
    pub(super) visitor: Visitor,
    /// With the ends of lines that it had before a browser changed them.
    pub(super) catalog: String,
    /// The other fields; the catalog's is there, and empty.
    pub(super) values: BTreeMap<String, String>,
}

impl FromRequest<App> for SentCatalog {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let Sent { visitor, mut values } = Sent::read(request, app, CATALOG_FORM_BYTES_MAX).await?;
        let catalog = values.insert("catalog".to_owned(), String::new()).unwrap_or_default();
        Ok(Self { visitor, catalog: catalog.replace("\r\n", "\n"), values })
    }
}

impl SentCatalog {
    /// A field; empty where there is none.
    pub(super) fn value(&self, field: &str) -> String {
        self.values.get(field).map(|value| value.trim().to_owned()).unwrap_or_default()
    }
}

/// The fields of a form.
pub(super) async fn form(
    app: &App,
    request: Request,
    bytes_max: usize,
) -> Result<BTreeMap<String, String>, Failure> {
    const KIND: &str = "application/x-www-form-urlencoded";
    content_type(&request, |kind| kind == KIND, KIND)?;
    let body = read_limited(request.into_body(), bytes_max, app.settings.request_timeout).await?;
    Ok(form_urlencoded::parse(&body).map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
}

impl Sent {
    /// A field; empty where there is none.
    pub(super) fn value(&self, field: &str) -> &str {
        self.values.get(field).map_or("", |value| value.trim())
    }
}

#[cfg(test)]
mod tests {
    use tollgate_domain::PersonId;

    use super::*;

    #[test]
    fn sessions_end_with_their_time_and_are_closed_one_or_all() {
        let sessions = Sessions::new().expect("randomness");
        let at = |second| Timestamp::from_second(second).expect("a time");
        let [one, two, other] =
            [[1; 32], [1; 32], [2; 32]].map(|key| sessions.open(Who::Key(key), at(0)).expect("an id"));
        assert!(one != two && one.len() == 64);
        assert_eq!(sessions.who(&one, at(SESSION_SECS - 1)), Some(Who::Key([1; 32])));
        assert_eq!(sessions.who(&one, at(SESSION_SECS)), None, "its time is over");
        assert_eq!(sessions.who("", at(0)), None);
        sessions.close_all("somebody else's");
        sessions.close_all(&one);
        let signed_in = [&one, &two, &other].map(|id| sessions.who(id, at(1)).is_some());
        assert_eq!(signed_in, [false, false, true]);
        sessions.close(&other);
        assert_eq!(sessions.who(&other, at(1)), None);
        let person = |name: &str, role| {
            let id = PersonId::named(name).expect("a name");
            sessions.open(Who::Person(Person { id, role }), at(0)).expect("an id")
        };
        let ann = [Role::Read, Role::Admin].map(|role| person("ann", role));
        let bob = person("bob", Role::Read);
        sessions.close_all(&ann[0]);
        assert!(ann.iter().all(|id| sessions.who(id, at(1)).is_none()), "whatever her role was");
        assert!(sessions.who(&bob, at(1)).is_some());
        for _ in 0..SESSIONS_MAX + 3 {
            sessions.open(Who::Key([3; 32]), at(2)).expect("an id");
        }
        assert_eq!(sessions.locked().len(), SESSIONS_MAX);
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        for (cookies, found) in [
            (vec!["tollgate_session=a"], "a"),
            (vec!["x=1; tollgate_session=b; y=2"], "b"),
            (vec!["x=1", "tollgate_session=c"], "c"),
            (vec!["xtollgate_session=d"], ""),
            (vec![], ""),
        ] {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(COOKIE, HeaderValue::from_static(cookie));
            }
            assert_eq!(cookie_of(&headers), found);
        }
    }
}
