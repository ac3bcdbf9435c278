//! Reading requests: bodies with limits and time-outs, paths, queries, callers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};
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
pub(crate) fn read_json(
    app: &App,
    request: Request,
    bytes_max: usize,
) -> impl Future<Output = Result<Bytes, Failure>> + use<> {
    let is_json = |kind: &str| kind == "application/json" || is_structured(kind);
    let kind = content_type(&request, is_json, "application/json").map(drop);
    let body = read_decoded(request, bytes_max, app.settings.request_timeout);
    async move {
        kind?;
        body.await
    }
}

fn is_structured(kind: &str) -> bool {
    kind.starts_with("application/") && kind.ends_with("+json")
}

/// The media type of a body, in small letters and without parameters, if it is one that the route takes.
///
/// A body must say what it is: those that a page of another origin may send without asking first (a form, plain text, a
/// `Blob` of no type) are none that a route of the API takes; the console takes forms, with a token. Where there is no body, there is no type.
pub(crate) fn content_type<'a>(
    request: &'a Request,
    takes: impl Fn(&str) -> bool,
    expected: &str,
) -> Result<Cow<'a, str>, Failure> {
    let unsupported = |detail: String| {
        Failure::from(Problem::new(Code::UnsupportedMediaType, detail).on_field("Content-Type"))
    };
    let Some(value) = request.headers().get(CONTENT_TYPE) else {
        if request.body().is_end_stream() {
            return Ok(Cow::Borrowed(""));
        }
        return Err(unsupported(format!("the body has no Content-Type; expected {expected}")));
    };
    let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let kind = match kind.trim() {
        small if !small.bytes().any(|byte| byte.is_ascii_uppercase()) => Cow::Borrowed(small),
        other => Cow::Owned(other.to_ascii_lowercase()),
    };
    if takes(&kind) {
        return Ok(kind);
    }
    Err(unsupported(format!("the body is '{}'; expected {expected}", shortened(&kind))))
}

/// A whole body as it was before it was compressed, within a size and a time. While it comes, nothing else of the request
/// is kept.
pub(crate) fn read_decoded(
    request: Request,
    bytes_max: usize,
    timeout: Duration,
) -> impl Future<Output = Result<Bytes, Failure>> + use<> {
    let coding = Coding::of(request.headers());
    let body = request.into_body();
    async move {
        let coding = coding?;
        coding.decompress(read_limited(body, bytes_max, timeout).await?, bytes_max)
    }
}

/// A whole body as it comes, within a size and a time.
pub(crate) async fn read_limited(
    mut body: Body,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Bytes, Failure> {
    let mut found = Collected { pieces: Pieces::None, bytes_max };
    // What is announced as too large is not asked for.
    if usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX) > bytes_max {
        return Err(found.too_large());
    }
    // Most bodies are here by now: for them there is no timer.
    while let Some(frame) = body.frame().now_or_never() {
        match frame {
            Some(frame) => found.add(frame)?,
            None => return Ok(found.into_bytes()),
        }
    }
    let rest = async move {
        while let Some(frame) = body.frame().await {
            found.add(frame)?;
        }
        Ok(found.into_bytes())
    };
    match Box::pin(tokio::time::timeout(timeout, rest)).await {
        Ok(body) => body,
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", timeout.as_secs());
            Err(Problem::new(Code::RequestTimeout, detail).into())
        }
    }
}

/// What has arrived of a body.
struct Collected {
    pieces: Pieces,
    bytes_max: usize,
}

/// Most bodies come in one piece, which is kept as it is.
enum Pieces {
    None,
    One(Bytes),
    Many(Vec<u8>),
}

impl Collected {
    fn add(&mut self, frame: Result<Frame<Bytes>, axum::Error>) -> Result<(), Failure> {
        let frame = frame.map_err(|error| {
            Failure::from(Problem::new(Code::Unreadable, "the request body ended early"))
                .caused_by(error.to_string())
        })?;
        let Ok(data) = frame.into_data() else { return Ok(()) };
        let so_far = match &self.pieces {
            Pieces::None => 0,
            Pieces::One(first) => first.len(),
            Pieces::Many(bytes) => bytes.len(),
        };
        if so_far.saturating_add(data.len()) > self.bytes_max {
            return Err(self.too_large());
        }
        self.pieces = match std::mem::replace(&mut self.pieces, Pieces::None) {
            Pieces::None => Pieces::One(data),
            Pieces::One(first) => Pieces::Many([first, data].concat()),
            Pieces::Many(mut bytes) => {
                bytes.extend_from_slice(&data);
                Pieces::Many(bytes)
            }
        };
        Ok(())
    }

    fn too_large(&self) -> Failure {
        let detail = format!("the body has more than {} bytes", self.bytes_max);
        Problem::new(Code::BodyTooLarge, detail).into()
    }

    fn into_bytes(self) -> Bytes {
        match self.pieces {
            Pieces::None => Bytes::new(),
            Pieces::One(all) => all,
            Pieces::Many(bytes) => bytes.into(),
        }
    }
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

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        path_id(&parts.extensions, "org", OrgId::new).map(Self)
    }
}

/// The org and the number of an entry in the path.
pub(crate) struct EntryPath(pub(crate) OrgId, pub(crate) u64);

impl FromRequestParts<App> for EntryPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let OrgPath(org) = OrgPath::from_request_parts(parts, app).await?;
        let entry = path_param(&parts.extensions, "entry")?;
        Ok(Self(org, whole_number("entry", &entry, u64::MAX)?))
    }
}

/// What the path of a request names, as it is sent; kept with the request.
#[derive(Clone, Debug)]
pub(crate) struct PathParams(Vec<(String, String)>);

impl PathParams {
    pub(crate) fn new<'a>(params: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        Self(params.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

/// A parameter of the path, decoded.
pub(crate) fn path_param(extensions: &Extensions, name: &str) -> Result<String, Failure> {
    let params = extensions.get::<PathParams>();
    let found = params.and_then(|PathParams(params)| params.iter().find(|(found, _)| found == name));
    let Some((_, value)) = found else {
        return Err(Problem::new(Code::Internal, format!("the route has no '{name}'")).into());
    };
    percent_decoded(value).ok_or_else(|| invalid_parameter(name, "is not valid UTF-8"))
}

/// An id in the path.
pub(crate) fn path_id<T, E: Display>(
    extensions: &Extensions,
    name: &str,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Failure> {
    read(&path_param(extensions, name)?).map_err(|error| invalid_parameter(name, &error.to_string()))
}

/// A text without its percent-encoding; `None` if it is not UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = after
            .first_chunk::<2>()
            .filter(|digits| *byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let decoded = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(*byte));
        rest = if decoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(bytes).ok()
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
    /// A query with these parameters.
    pub(crate) fn of<'a>(params: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(params.into_iter().map(|(name, value)| (name.to_owned(), vec![value.to_owned()])).collect())
    }

    /// Those of some parameters that are not empty, as forms send what was left empty.
    pub(crate) fn take_given(&mut self, names: &[&str]) -> BTreeMap<String, String> {
        let given = names.iter().filter_map(|name| {
            let value = self.take(name).filter(|value| !value.trim().is_empty())?;
            Some(((*name).to_owned(), value.trim().to_owned()))
        });
        given.collect()
    }

    /// The query of an address.
    pub(crate) fn read(uri: &Uri) -> Result<Self, Failure> {
        Self::parse(uri.query().unwrap_or_default().as_bytes())
    }

    /// What a form or the query of an address says.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Failure> {
        let mut found = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text) {
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

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

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
        let Some(value) = headers.get(&IDEMPOTENCY_KEY) else { return Ok(Self(None)) };
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

    /// The key of a request that must have one; `makes` says what it makes of a retry.
    pub(crate) fn needed(self, body: Option<UsageKey>, makes: &str) -> Result<UsageKey, Failure> {
        self.with(body)?.ok_or_else(|| {
            let detail = format!(
                "the field 'key' is missing; it, or the header Idempotency-Key, makes a retry {makes}"
            );
            Problem::new(Code::MissingField, detail).on_field("key").into()
        })
    }
}

fn wrong_key(text: &str) -> Failure {
    let detail = format!("Idempotency-Key: {text}");
    Problem::new(Code::InvalidField, detail).on_field("Idempotency-Key").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_where_it_is_one() {
        for (text, decoded) in [
            ("acme", Some("acme")),
            ("a%20b%2Fc%2f", Some("a b/c/")),
            ("100%", Some("100%")),
            ("%4", Some("%4")),
            ("%+5%zz%%41", Some("%+5%zz%A")),
            ("z%C3%BCrich", Some("zürich")),
            ("%ff", None),
        ] {
            assert_eq!(percent_decoded(text).as_deref(), decoded, "{text}");
        }
    }
}
