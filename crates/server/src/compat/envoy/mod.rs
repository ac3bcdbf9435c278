//! Envoy's rate limit service, by gRPC: `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.
//!
//! Each descriptor is a usage, decided and counted as by `POST /v1/usage`. A request passes if all of its descriptors do. Of one
//! that does not pass nothing stays counted. What is deliberately absent: limits in the words of Envoy's reference service.
//! Start reading at [`take`]; `asked.rs` says what a descriptor means, `messages.rs` has the wire.

mod asked;
mod messages;

use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use tollgate_api::Problem;
use tollgate_domain::{
    Actor, Amount, Check, Denial, Denied, OrgCommand, OrgDecision, OrgId, Policies, Policy, PolicyScope,
    ReachedLimit, Reverse, Timestamp, UsageKey, Use, Window,
};
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code as GrpcCode, Status};
use tonic_prost::ProstCodec;

use self::asked::{Asked, Mode};
use self::messages::{
    Code, DescriptorStatus, Duration, Header, Limit, RateLimitRequest, RateLimitResponse, Unit,
};
use crate::app::App;
use crate::auth::Caller;
use crate::convert::{conflict, denial_problem};
use crate::extract::{content_type, read_limited};
use crate::limit_headers::{floor, gate_problem, gate_refusal, of_allowed, scope_of, secs_until};
use crate::refusals::note_refusal;
use crate::reply::Failure;

/// A failure as gRPC tells it: with HTTP status 200, and its own in a header.
pub(crate) struct EnvoyFailure(Failure);

impl From<Failure> for EnvoyFailure {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for EnvoyFailure {
    fn into_response(self) -> Response {
        status_of(self.0).into_http()
    }
}

/// Answers a call.
pub(crate) async fn take(State(app): State<App>, request: Request) -> Result<Response, EnvoyFailure> {
    let caller = app.api_keys.authenticate(request.headers())?;
    let is_grpc = |kind: &str| matches!(kind, "application/grpc" | "application/grpc+proto");
    content_type(&request, is_grpc, "application/grpc")?;
    let (parts, body) = request.into_parts();
    let body = read_limited(body, app.settings.body_bytes_max, app.settings.request_timeout).await?;
    let mut grpc = Grpc::new(ProstCodec::<RateLimitResponse, RateLimitRequest>::default());
    let response = grpc.unary(Gate { app, caller }, http::Request::from_parts(parts, Full::new(body))).await;
    Ok(response.map(Body::new))
}

/// What answers a message.
struct Gate {
    app: App,
    caller: Caller,
}

impl UnaryService<RateLimitRequest> for Gate {
    type Response = RateLimitResponse;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<RateLimitResponse>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<RateLimitRequest>) -> Self::Future {
        let (app, actor) = (Arc::clone(&self.app), self.caller.actor.clone());
        let asked = asked::read(request.get_ref(), &self.caller, &app.engine.catalog().catalog);
        Box::pin(async move {
            let decided = match asked {
                Ok(asked) => decide(app, actor, asked).await,
                Err(failure) => Err(failure),
            };
            decided.map(tonic::Response::new).map_err(status_of)
        })
    }
}

/// Decides on all that is asked.
async fn decide(app: App, actor: Actor, asked: Vec<Asked>) -> Result<RateLimitResponse, Failure> {
    if asked.len() == 1 {
        return Decision::new(app, actor).all(asked).await;
    }
    // A caller that goes away must not leave half of it counted.
    let deciding = tokio::spawn(async move { Decision::new(app, actor).all(asked).await });
    deciding.await.unwrap_or_else(|error| Err(conflict().caused_by(error.to_string())))
}

/// A decision on some descriptors, one after the other.
struct Decision {
    app: App,
    actor: Actor,
    /// What was counted by it.
    counted: Vec<(OrgId, UsageKey)>,
    is_denied: bool,
    statuses: Vec<DescriptorStatus>,
    /// The headers of the descriptor that decides.
    headers: HeaderMap,
}

impl Decision {
    fn new(app: App, actor: Actor) -> Self {
        let (counted, statuses, headers) = (Vec::new(), Vec::new(), HeaderMap::new());
        Self { app, actor, counted, is_denied: false, statuses, headers }
    }

    async fn all(mut self, asked: Vec<Asked>) -> Result<RateLimitResponse, Failure> {
        for asked in asked {
            let decided = match asked.mode {
                // After a no there is nothing more to count.
                _ if self.is_denied => self.look(asked).await,
                Mode::Look => self.look(asked).await,
                Mode::Use => self.use_(asked).await,
                Mode::Record => self.record(asked).await,
            };
            if let Err(failure) = decided {
                self.take_back().await;
                return Err(failure);
            }
        }
        if self.is_denied {
            self.take_back().await;
        }
        let overall_code = if self.is_denied { Code::OverLimit } else { Code::Ok };
        let response_headers_to_add = self.headers.iter().filter_map(|(name, value)| {
            Some(Header { key: name.as_str().to_owned(), value: value.to_str().ok()?.to_owned() })
        });
        Ok(RateLimitResponse {
            overall_code: overall_code.into(),
            response_headers_to_add: response_headers_to_add.collect(),
            statuses: self.statuses,
        })
    }

    async fn use_(&mut self, Asked { org, usage, .. }: Asked) -> Result<(), Failure> {
        #[cfg(feature = "otlp")]
        crate::telemetry::note_usage(&self.app, &org, &usage);
        let command = OrgCommand::Use(usage.clone());
        match self.app.engine.submit(&self.actor, org.clone(), command).await? {
            OrgDecision::Use(Ok(allowed)) => {
                if !allowed.replayed {
                    self.counted.push((org, usage.key));
                }
                self.allow(&allowed.policies);
                Ok(())
            }
            OrgDecision::Use(Err(denied)) => {
                note_refusal(&self.app, &org, &denied.denial);
                self.deny(&org, &usage, &denied)
            }
            _ => Err(conflict()),
        }
    }

    async fn look(&mut self, Asked { org, usage, .. }: Asked) -> Result<(), Failure> {
        let Use { user, meter, quantity, properties, .. } = usage.clone();
        let command = OrgCommand::Check(Check { user, path: None, meter, quantity, properties });
        match self.app.engine.submit(&self.actor, org.clone(), command).await? {
            OrgDecision::Check(checked) => match checked.result {
                Ok(allowed) => {
                    self.allow(&allowed.policies);
                    Ok(())
                }
                Err(denied) => self.deny(&org, &usage, &denied),
            },
            _ => Err(conflict()),
        }
    }

    async fn record(&mut self, Asked { org, usage, .. }: Asked) -> Result<(), Failure> {
        let (meter, key) = (usage.meter.clone(), usage.key.clone());
        match self.app.engine.submit(&self.actor, org.clone(), OrgCommand::Record(usage)).await? {
            OrgDecision::Record(Ok(recorded)) => {
                if !recorded.duplicate {
                    self.counted.push((org, key));
                }
                self.allow(&Policies::new());
                Ok(())
            }
            OrgDecision::Record(Err(denial)) => {
                let denied = Denied { denial: denial.into(), standing: None };
                Err(denial_problem(&denied, &org, &meter).into())
            }
            _ => Err(conflict()),
        }
    }

    /// One more descriptor passes, by some credit and limits.
    fn allow(&mut self, policies: &[Policy]) {
        let now = self.app.engine.clock().now();
        if self.headers.is_empty() {
            of_allowed(&mut self.headers, policies, now);
        }
        // Envoy shows one limit of a descriptor: the one that ends first.
        let tightest = policies.iter().min_by_key(|policy| policy.remaining);
        self.statuses.push(match tightest {
            Some(policy) => DescriptorStatus {
                code: Code::Ok.into(),
                current_limit: Some(limit(
                    policy.scope,
                    policy.period.map(|period| period.window),
                    policy.amount,
                )),
                limit_remaining: whole(policy.remaining),
                duration_until_reset: until(policy.resets_at, now),
            },
            None => DescriptorStatus { code: Code::Ok.into(), ..DescriptorStatus::default() },
        });
    }

    /// A descriptor does not pass: a no, or a failure where what it says is wrong.
    fn deny(&mut self, org: &OrgId, usage: &Use, denied: &Denied) -> Result<(), Failure> {
        let problem = gate_problem(&self.app, denied, org, &usage.meter, usage.quantity);
        if !matches!(problem.status, 402 | 403 | 429) {
            return Err(problem.into());
        }
        let now = self.app.engine.clock().now();
        self.statuses.push(match denied.denial.limit() {
            Some(reached) => reached_status(&denied.denial, reached, now),
            None => DescriptorStatus { code: Code::OverLimit.into(), ..DescriptorStatus::default() },
        });
        if !self.is_denied {
            self.is_denied = true;
            self.headers = gate_refusal(problem, &denied.denial, now).into_parts().0.headers;
            self.headers.remove(CONTENT_TYPE);
        }
        Ok(())
    }

    /// Takes back what was counted of a request that does not pass.
    async fn take_back(&mut self) {
        for (org, key) in std::mem::take(&mut self.counted) {
            let taken = self.app.engine.submit(&self.actor, org, OrgCommand::Reverse(Reverse { key })).await;
            if !matches!(taken, Ok(OrgDecision::Reverse(Ok(_)))) {
                tracing::warn!(?taken, "usage of a request that did not pass stays counted");
            }
        }
    }
}

fn reached_status(denial: &Denial, reached: &ReachedLimit, now: Timestamp) -> DescriptorStatus {
    let window = reached.window.filter(|_| !matches!(denial, Denial::OutOfCredit(_)));
    DescriptorStatus {
        code: Code::OverLimit.into(),
        current_limit: Some(limit(scope_of(reached), window, reached.amount)),
        limit_remaining: whole(reached.remaining()),
        duration_until_reset: until(reached.resets_at, now),
    }
}

/// A limit as Envoy tells it, under the name that it has in the header `RateLimit`.
fn limit(scope: PolicyScope, window: Option<Window>, amount: Amount) -> Limit {
    let whose = match scope {
        PolicyScope::Org => "org".to_owned(),
        PolicyScope::Path(depth) => format!("path-{depth}"),
        PolicyScope::User => "user".to_owned(),
    };
    let name = window.map_or_else(|| whose.clone(), |window| format!("{whose}-{}", window.name()));
    let unit = match window {
        Some(Window::Minute) => Unit::Minute,
        Some(Window::Hour) => Unit::Hour,
        Some(Window::Day) => Unit::Day,
        Some(Window::Week | Window::WeekFrom(_)) => Unit::Week,
        Some(Window::Month) => Unit::Month,
        _ => Unit::Unknown,
    };
    Limit { requests_per_unit: whole(amount), unit: unit.into(), name }
}

/// Whole units, as many as the message can tell.
fn whole(amount: Amount) -> u32 {
    u32::try_from(floor(amount.at_least_zero())).unwrap_or(u32::MAX)
}

fn until(resets_at: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    resets_at.map(|at| Duration { seconds: secs_until(at, now) })
}

/// The code of an answer by gRPC, if it is one. A refusal has it in a header; what went well has it behind its message.
pub(crate) fn code_of(response: &Response) -> Option<GrpcCode> {
    let headers = response.headers();
    headers.get(CONTENT_TYPE).filter(|kind| *kind == GRPC_CONTENT_TYPE)?;
    let status = headers.get(&Status::GRPC_STATUS);
    Some(status.map_or(GrpcCode::Ok, |status| GrpcCode::from_bytes(status.as_bytes())))
}

/// A failure as a status of gRPC.
fn status_of(failure: Failure) -> Status {
    failure.log();
    let Problem { code, status, detail, .. } = *failure.problem;
    // The line of the request says 200, as gRPC has it.
    tracing::info!(code = code.text(), "a call of the rate limit service was refused");
    let grpc = match status {
        401 => GrpcCode::Unauthenticated,
        402 | 413 | 429 => GrpcCode::ResourceExhausted,
        403 | 421 => GrpcCode::PermissionDenied,
        404 => GrpcCode::NotFound,
        405 => GrpcCode::Unimplemented,
        408 => GrpcCode::DeadlineExceeded,
        409 => GrpcCode::FailedPrecondition,
        400 | 415 | 422 => GrpcCode::InvalidArgument,
        503 => GrpcCode::Unavailable,
        _ => GrpcCode::Internal,
    };
    Status::new(grpc, format!("{}: {detail}", code.text()))
}
