//! The way out: what was counted, on its way to whoever processes it, and notices, on their way to whoever should know.
//!
//! The [`Courier`] delivers notices through channels: a reconciler that reads what is new, tries what is due, and writes
//! down what came of it. An `outlet` sends one message by webhook, Slack, e-mail, SQS, SNS or the log.
//!
//! The [`Shipper`] ships what is unsent when it is told to, and every interval. A [`Sink`] brings one shipment: to an HTTP
//! endpoint, to a NATS stream, or into a folder. What is shipped, and that nothing is lost or shipped twice, is the
//! engine's business ([`tollgate_engine::Engine::ship`]); here are bytes, signatures, time-outs and retries.
//!
//! Deliberately absent: rules, records, what an HTTP caller is told.
//!
//! Start reading at [`Courier`], then the `outlet` module; or at [`Shipper`], then the `sink` module.

mod address;
mod ask;
#[cfg(feature = "aws")]
mod aws;
mod body;
mod courier;
mod letter;
pub mod limits;
mod mail;
mod message;
mod metrics;
mod outlet;
mod post;
mod read_ahead;
mod retry;
mod shipper;
mod sign;
mod sink;
mod traces;
mod words;

pub use address::{AddressError, Reach};
pub use ask::{AskError, Asker, check_port};
pub use body::aggregate;
pub use courier::{Courier, CourierError};
pub use mail::{
    MailError, MailSettings, Mailer, PublicUrl, Sender, SmtpLogin, SmtpTls, is_address, is_of_its_mail,
};
pub use metrics::{CourierMetrics, ShipperMetrics};
pub use outlet::Outcome;
pub use read_ahead::{end_of_notices, notices_after};
pub use shipper::Shipper;
pub use sign::{SigningKey, SigningKeyError};
pub use sink::{Sink, SinkError, SinkUrl, SinkUrlError};
pub use traces::{Cause, Traces};
pub use words::{notice_item, notice_summary};
