//! The server: HTTP at the edge, the native API, the compatible APIs, and the wiring of store, engine and listener.
//!
//! [`serve`] runs everything until a signal. Handlers translate between the wire ([`tollgate_api`]) and the domain and
//! decide nothing themselves. Only the `stores` module names backends.
//!
//! Deliberately absent: rules (domain), batching and durability (engine, stores), configuration sources (cli).
//!
//! Start reading at [`serve`], then `routes`, then `native::usage` (the gate).

mod app;
mod auth;
mod bills;
mod channel_items;
mod closing;
mod compat;
mod compressed;
mod console;
mod convert;
mod copying;
mod csv;
mod decimal;
mod demo;
mod discard;
mod docs;
mod edge;
mod expiring;
mod extract;
mod files;
mod following;
mod form;
mod limit_headers;
pub mod limits;
mod metrics;
mod native;
mod newcomers;
mod oidc;
mod openapi;
mod origins;
mod paging;
mod portkey;
mod pricing;
mod readers;
mod refusals;
mod reply;
mod routes;
mod serve;
mod settings;
mod stores;
#[cfg(feature = "otlp")]
mod telemetry;

pub use copying::copy;
pub use oidc::{Issuer, OidcSettings, RoleMap, Scopes};
pub use openapi::openapi_json;
pub use origins::Origins;
pub use portkey::PortkeyUrl;
pub use serve::{RunningServer, ServeError, serve, serve_demo, start};
pub use settings::{DatabaseUrl, OtlpUrl, Secret, Settings, StoreUrl, TlsFiles};
pub use stores::{embedded_options, migrate};
pub use tollgate_engine::{Copied, CopyError, CopyStep, Progress, Side};
pub use tollgate_notifier::{
    MailSettings, PublicUrl, Reach, Sender, SigningKey, SinkUrl, SmtpLogin, SmtpTls,
};
