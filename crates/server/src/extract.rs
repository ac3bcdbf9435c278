//! Reading requests: bodies with limits and time-outs, paths, queries, callers.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Uri};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tollgate_api::{Code, Problem, read_body, shortened};
use tollgate_domain::{OrgId, UsageKey};

use crate::app::App;
use crate::auth::Caller;
use crate::compressed::Coding;
use crate::reply::Failure;

/// A JSON body; an error names its field.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let body = read_json(app, request, app.settings.body_bytes_max).await?;
        parse(&body).map(Self)
    }
}

/// A JSON body of bytes; an error names its field.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    read_body(body).map_err(|error| {
        let mut problem = Problem::new(error.code, error.detail);
        problem.field = error.field;
        problem.into()
    })
}

/// The bytes of a body that says it is JSON.
pub(crate) async fn read_json(app: &App, request: Request, bytes_max: usize) -> Result<Bytes, Failure> {
    let is_json = |kind: &str| kind == "application/json" || is_structured(kind);
    content_type(&request, is_json, "application/json")?;
    read_decoded(request, bytes_max, app.settings.request_timeout).await
}

fn is_structured(kind: &str) -> bool {
    kind.starts_with("application/") && kind.ends_with("+json")
}

/// The media type of a body, in small letters and without parameters, if it is one that the route takes.
///
/// A body must say what it is: those that a page of another origin may send without asking first (a form, plain text, a
/// `Blob` of no type) are none that any route takes. Where there is no body, there is no type.
pub(crate) fn content_type(
    request: &Request,
    takes: impl Fn(&str) -> bool,
    expected: &str,
) -> Result<String, Failure> {
    let unsupported = |detail: String| {
        Failure::from(Problem::new(Code::UnsupportedMediaType, detail).on_field("Content-Type"))
    };
    let Some(value) = request.headers().get(CONTENT_TYPE) else {
        if request.body().is_end_stream() {
            return Ok(String::new());
        }
        return Err(unsupported(format!("the body has no Content-Type; expected {expected}")));
    };
    let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    if takes(&kind) {
        return Ok(kind);
    }
    Err(unsupported(format!("the body is '{}'; expected {expected}", shortened(&kind))))
}

/// A whole body as it was before it was compressed, within a size and a time.
pub(crate) async fn read_decoded(
    request: Request,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Bytes, Failure> {
    let coding = Coding::of(request.headers())?;
    let body = read_limited(request, bytes_max, timeout).await?;
    coding.decompress(body, bytes_max)
}

/// A whole body as it comes, within a size and a time.
pub(crate) async fn read_limited(
    request: Request,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Bytes, Failure> {
    match tokio::time::timeout(timeout, collect(request.into_body(), bytes_max)).await {
        Ok(body) => body,
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", timeout.as_secs());
            Err(Problem::new(Code::RequestTimeout, detail).into())
        }
    }
}

async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, Failure> {
    let too_large = || {
        let detail = format!("the body has more than {bytes_max} bytes");
        Failure::from(Problem::new(Code::BodyTooLarge, detail))
    };
    // What is announced as too large is not asked for.
    if usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX) > bytes_max {
        return Err(too_large());
    }
    let mut first: Option<Bytes> = None;
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::from(Problem::new(Code::Unreadable, "the request body ended early"))
                .caused_by(error.to_string())
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let so_far = first.as_ref().map_or(rest.len(), Bytes::len);
        if so_far.saturating_add(data.len()) > bytes_max {
            return Err(too_large());
        }
        if let Some(begun) = first.take() {
            rest.extend_from_slice(&begun);
            rest.extend_from_slice(&data);
        } else if rest.is_empty() {
            first = Some(data);
        } else {
            rest.extend_from_slice(&data);
        }
    }
    Ok(first.unwrap_or_else(|| rest.into()))
}

/// The caller, as the edge has found it.
impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        app.api_keys.authenticate(&parts.headers)
    }
}

/// The org of the path.
pub(crate) struct OrgPath(pub(crate) OrgId);

impl FromRequestParts<App> for OrgPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let org = path_param(parts, app, "org").await?;
        OrgId::new(&org).map(Self).map_err(|error| invalid_parameter("org", &error.to_string()))
    }
}

/// The org and the number of an entry in the path.
pub(crate) struct EntryPath(pub(crate) OrgId, pub(crate) u64);

impl FromRequestParts<App> for EntryPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let OrgPath(org) = OrgPath::from_request_parts(parts, app).await?;
        let entry = path_param(parts, app, "entry").await?;
        Ok(Self(org, whole_number("entry", &entry, u64::MAX)?))
    }
}

/// A parameter of the path, decoded.
pub(crate) async fn path_param(parts: &mut Parts, app: &App, name: &str) -> Result<String, Failure> {
    let params = RawPathParams::from_request_parts(parts, app)
        .await
        .map_err(|error| invalid_parameter(name, "is not valid UTF-8").caused_by(error.to_string()))?;
    let found = params.iter().find(|(found, _)| *found == name).map(|(_, value)| value.to_owned());
    found.ok_or_else(|| Problem::new(Code::Internal, format!("the route has no '{name}'")).into())
}

/// A whole number in a path: digits and nothing else.
pub(crate) fn whole_number<T: FromStr + Display + Copy>(
    name: &str,
    text: &str,
    most: T,
) -> Result<T, Failure> {
    let number = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.and_then(|text| text.parse().ok());
    number.ok_or_else(|| invalid_parameter(name, &format!("must be a whole number from 0 to {most}")))
}

pub(crate) fn invalid_parameter(name: &str, text: &str) -> Failure {
    let name = shortened(name);
    Problem::new(Code::InvalidParameter, format!("{name}: {text}")).on_field(name).into()
}

/// The query of a request: each parameter is taken, what is left over is an error.
#[derive(Debug)]
pub(crate) struct Query(BTreeMap<String, Vec<String>>);

/// The one parameter that may be given several times.
pub(crate) const GROUP_BY: &str = "group_by";

impl FromRequestParts<App> for Query {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        Self::read(&parts.uri)
    }
}

/// The query of a route that takes no parameter: there is none.
pub(crate) struct NoQuery;

impl FromRequestParts<App> for NoQuery {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        Query::read(&parts.uri)?.end().map(|()| Self)
    }
}

impl Query {
    /// The query of an address.
    pub(crate) fn read(uri: &Uri) -> Result<Self, Failure> {
        let mut found = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let values: &mut Vec<String> = found.entry(name.clone().into_owned()).or_default();
            if !values.is_empty() && name != GROUP_BY {
                return Err(invalid_parameter(&name, "is given twice"));
            }
            values.push(value.into_owned());
        }
        Ok(Self(found))
    }

    /// A parameter as text.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.take_all(name).into_iter().next()
    }

    /// All values of a parameter, in order.
    pub(crate) fn take_all(&mut self, name: &str) -> Vec<String> {
        self.0.remove(name).unwrap_or_default()
    }

    /// The parameters whose names begin with some text, by the rest of their names.
    pub(crate) fn take_prefixed(&mut self, prefix: &str) -> BTreeMap<String, String> {
        let taken = self.0.extract_if(.., |name, _| name.starts_with(prefix));
        let by_rest = taken.filter_map(|(name, values)| {
            Some((name.strip_prefix(prefix)?.to_owned(), values.into_iter().next()?))
        });
        by_rest.collect()
    }

    /// A parameter read by a function, whose error says what is allowed.
    pub(crate) fn take_as<T, E: ToString>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Failure> {
        self.take(name)
            .map(|text| read(&text).map_err(|error| invalid_parameter(name, &error.to_string())))
            .transpose()
    }

    /// A parameter that must be given.
    pub(crate) fn need<T, E: ToString>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Failure> {
        self.take_as(name, read)?.ok_or_else(|| invalid_parameter(name, "is missing"))
    }

    /// Refuses what nobody took.
    pub(crate) fn end(self) -> Result<(), Failure> {
        match self.0.into_keys().next() {
            Some(name) => Err(invalid_parameter(&name, "is not a parameter of this route")),
            None => Ok(()),
        }
    }
}

/// The header `Idempotency-Key`, bare or quoted, if it is there. On a route whose command is the same however often it is
/// sent it need only be well-formed.
#[derive(Debug)]
pub(crate) struct IdempotencyKey(pub(crate) Option<UsageKey>);

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        Self::read(&parts.headers)
    }
}

impl IdempotencyKey {
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Failure> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default();
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let key = UsageKey::new(bare).ok().filter(|_| !bare.contains('"'));
        let wrong = || wrong_key("must be 1 to 128 visible characters of ASCII or spaces, bare or in quotes");
        key.map(|key| Self(Some(key))).ok_or_else(wrong)
    }

    /// The key of a request, whose body may have one too: not another.
    pub(crate) fn with(self, body: Option<UsageKey>) -> Result<Option<UsageKey>, Failure> {
        match (self.0, body) {
            (Some(header), Some(body)) if header != body => {
                Err(wrong_key("must be the key that the body has, or be left out"))
            }
            (header, body) => Ok(body.or(header)),
        }
    }
}

fn wrong_key(text: &str) -> Failure {
    let detail = format!("Idempotency-Key: {text}");
    Problem::new(Code::InvalidField, detail).on_field("Idempotency-Key").into()
}
