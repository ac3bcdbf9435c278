//! A layer for axum, tonic, hyper and whatever else is made of tower's services.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::amount::Quantity;
use crate::client::{Client, new_key};
use crate::wire::{Decision, Denied, Usage};

/// Who uses what a request uses, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The organization.
    pub org: String,
    /// The user within it.
    pub user: Option<String>,
    /// How much.
    pub quantity: Quantity,
}

impl Caller {
    /// One unit, by an organization.
    pub fn new(org: impl Into<String>) -> Self {
        Self { org: org.into(), user: None, quantity: Quantity::from(1_u8) }
    }

    /// By this user of it.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }
}

/// Says who calls, or none for what is not counted.
type Identify = dyn Fn(&Parts) -> Option<Caller> + Send + Sync;

/// Asks before the service works.
///
/// A denial is answered with the problem of the server, and the service does not run. The request's `Idempotency-Key` is the key;
/// without one each request counts. If the service fails (5xx, an error, a panic, or the caller is gone before it is done) the usage
/// is taken back, by a task on the Tokio runtime. When Tollgate cannot be asked, the answer is 503.
#[derive(Clone)]
pub struct TollgateLayer {
    client: Client,
    meter: Arc<str>,
    identify: Arc<Identify>,
}

impl TollgateLayer {
    /// A layer that counts requests on a meter.
    pub fn new(
        client: Client,
        meter: &str,
        identify: impl Fn(&Parts) -> Option<Caller> + Send + Sync + 'static,
    ) -> Self {
        Self { client, meter: meter.into(), identify: Arc::new(identify) }
    }
}

impl std::fmt::Debug for TollgateLayer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TollgateLayer").field("meter", &self.meter).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for TollgateLayer {
    type Service = Tollgate<S>;

    fn layer(&self, service: S) -> Tollgate<S> {
        Tollgate { service, layer: self.clone() }
    }
}

/// A service behind a [`TollgateLayer`].
#[derive(Clone, Debug)]
pub struct Tollgate<S> {
    service: S,
    layer: TollgateLayer,
}

impl<S, B, R> Service<Request<B>> for Tollgate<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    R: From<Bytes>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // What was found ready is what is called; its clone is asked for the next request.
        let next = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, next);
        let (parts, body) = request.into_parts();
        let Some(caller) = (self.layer.identify)(&parts) else {
            return Box::pin(service.call(Request::from_parts(parts, body)));
        };
        let key = given_key(&parts).unwrap_or_else(new_key);
        let client = self.layer.client.clone();
        let usage = Usage { user: caller.user, ..Usage::new(caller.org, &*self.layer.meter) };
        let usage = usage.quantity(caller.quantity).key(key);
        Box::pin(async move {
            let allowed = match client.try_use(&usage).await {
                Ok(Decision::Allowed(allowed)) => allowed,
                Ok(Decision::Denied(denied)) => return Ok(refusal(&denied)),
                Err(_) => return Ok(unchecked()),
            };
            // A replay was paid for by the request that came first.
            let mut paid = Paid { client, org: usage.org, key: allowed.key, is_owed: !allowed.replayed };
            let response = service.call(Request::from_parts(parts, body)).await?;
            paid.is_owed &= response.status().is_server_error();
            Ok(response)
        })
    }
}

fn given_key(parts: &Parts) -> Option<String> {
    let key = parts.headers.get("idempotency-key")?.to_str().ok()?.trim_matches('"');
    (!key.is_empty()).then(|| key.to_owned())
}

/// A usage that is taken back when this is dropped, unless the work was done.
struct Paid {
    client: Client,
    org: String,
    key: String,
    is_owed: bool,
}

impl Drop for Paid {
    fn drop(&mut self) {
        if !self.is_owed {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (client, org, key) = (self.client.clone(), self.org.clone(), self.key.clone());
        runtime.spawn(async move {
            // Nobody is left to tell; the usage stands in the ledger under its key.
            let _ = client.reverse(&org, &key).await;
        });
    }
}

fn refusal<R: From<Bytes>>(denied: &Denied) -> Response<R> {
    let status = StatusCode::from_u16(denied.status).unwrap_or(StatusCode::FORBIDDEN);
    let mut response = problem(status, Bytes::from(denied.problem.clone()));
    if let Some(after) = denied.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
    }
    response
}

/// Tollgate could not be asked, so nobody knows whether there is room.
fn unchecked<R: From<Bytes>>() -> Response<R> {
    const PROBLEM: &[u8] = br#"{"type":"about:blank","title":"The quota could not be checked","status":503}"#;
    problem(StatusCode::SERVICE_UNAVAILABLE, Bytes::from_static(PROBLEM))
}

fn problem<R: From<Bytes>>(status: StatusCode, body: Bytes) -> Response<R> {
    let mut response = Response::new(R::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
