//! The server as its callers see it: over real connections, on a real store, through the months of a clock set by hand.
//!
//! Start reading at [`task_sheet`]. What the tests share is in [`client`] and [`server`].
#![expect(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]
#![expect(clippy::print_stdout, reason = "a failing case names itself")]
#![expect(clippy::needless_pass_by_value, reason = "bodies are written with json! at the call")]

mod aggregations;
mod api;
mod attacker;
mod bad_input;
mod billing;
mod bills;
mod channels;
mod client;
mod clients;
mod closing;
mod console;
mod cors;
mod credits;
mod early;
#[cfg(feature = "envoy")]
mod envoy;
mod events;
mod focus;
mod hours;
mod idempotency;
mod lago;
mod litellm;
mod litellm_budgets;
mod litellm_calls;
mod mail;
mod meters;
mod metrics;
mod model;
mod model_prices;
#[cfg(feature = "oidc")]
mod oidc;
mod openmeter;
mod pages;
mod plans;
mod portkey;
mod portkey_guardrail;
mod pulses;
mod races;
mod readers;
mod receiver;
#[cfg(feature = "postgres")]
mod replicas;
mod reports;
mod series;
mod server;
mod shutdown;
mod slack;
mod smtpd;
mod strangers;
mod streams;
mod stripe;
mod task_sheet;
#[cfg(feature = "otlp")]
mod telemetry;
mod tools;
mod whatif;
mod wire;
