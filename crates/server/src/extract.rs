//! Reading requests: bodies with limits and time-outs, paths, queries, callers.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http::{HeaderMap, Uri};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tollgate_api::{Code, Problem, read_body, shortened};
use tollgate_domain::{OrgId, UsageKey};

use crate::app::App;
use crate::auth::Caller;
use crate::limits::DISCARDED_BODY_BYTES_MAX;
use crate::reply::Failure;

/// A JSON body; an error names its field.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        json_content_type(request.headers())?;
        let body = read_limited(request, app.settings.body_bytes_max, app.settings.request_timeout).await?;
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

/// Refuses a body that says it is something else than JSON.
pub(crate) fn json_content_type(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let kind =
        value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        return Ok(());
    }
    let detail = format!("the body is '{kind}'; expected application/json");
    Err(Problem::new(Code::UnsupportedMediaType, detail).on_field("Content-Type").into())
}

/// A whole body, within a size and a time.
pub(crate) async fn read_limited(
    request: Request,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Bytes, Failure> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok())
        .and_then(|length| usize::try_from(length).ok());
    let waits_for_continue = request.headers().contains_key(EXPECT);
    let too_large = || {
        let detail = format!("the body has more than {bytes_max} bytes");
        Failure::from(Problem::new(Code::BodyTooLarge, detail))
    };
    let hopeless = announced.is_some_and(|length| length > DISCARDED_BODY_BYTES_MAX);
    if hopeless || (waits_for_continue && announced.is_some_and(|length| length > bytes_max)) {
        return Err(too_large());
    }
    match tokio::time::timeout(timeout, collect(request.into_body(), bytes_max)).await {
        Ok(Ok(Some(body))) => Ok(body),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(failure)) => Err(failure),
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", timeout.as_secs());
            Err(Problem::new(Code::RequestTimeout, detail).into())
        }
    }
}

/// The bytes of a body, or `None` when there are too many; those are read to their end and thrown away.
async fn collect(mut body: Body, bytes_max: usize) -> Result<Option<Bytes>, Failure> {
    let mut first: Option<Bytes> = None;
    let mut rest: Vec<u8> = Vec::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::from(Problem::new(Code::Unreadable, "the body broke off")).caused_by(error.to_string())
        })?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > DISCARDED_BODY_BYTES_MAX {
            return Ok(None);
        }
        if length > bytes_max {
            (first, rest) = (None, Vec::new());
        } else if let Some(begun) = first.take() {
            rest.extend_from_slice(&begun);
            rest.extend_from_slice(&data);
        } else if rest.is_empty() {
            first = Some(data);
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if length > bytes_max {
        return Ok(None);
    }
    Ok(Some(first.unwrap_or_else(|| rest.into())))
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

/// The header `Idempotency-Key`, bare or quoted.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<UsageKey>, Failure> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    UsageKey::new(bare).ok().filter(|_| !bare.contains('"')).map(Some).ok_or_else(|| {
        let detail =
            "Idempotency-Key: must be 1 to 128 visible characters of ASCII or spaces, bare or in quotes";
        Problem::new(Code::InvalidField, detail).on_field("Idempotency-Key").into()
    })
}
