//! Sinks: where shipments go. Each takes a shipment for good, or says why not.

mod folder;
mod http;
#[cfg(feature = "nats")]
mod nats;
mod url;

use std::fmt::Display;

use tollgate_domain::Shipment;

use crate::SigningKey;
#[cfg(feature = "nats")]
use crate::limits::ATTEMPT_TIMEOUT;
use crate::limits::ERROR_CHARS_MAX;

pub use url::{SinkUrl, SinkUrlError};

/// Where shipments go. A shipment that is sent again is the same to the byte, under the same name.
#[derive(Debug)]
pub enum Sink {
    /// An HTTP endpoint.
    Http(http::HttpSink),
    /// A stream of NATS JetStream.
    #[cfg(feature = "nats")]
    Nats(nats::NatsSink),
    /// A folder of this machine.
    Folder(folder::FolderSink),
}

/// Why a sink did not take a shipment, as far as one knows: it may have. Holds no secret of the sink's URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(String);

impl SinkError {
    /// In one line, with the beginning of what the cause says.
    pub(crate) fn new(text: impl Display) -> Self {
        let line = text
            .to_string()
            .chars()
            .map(|each| if each.is_control() { ' ' } else { each })
            .collect::<String>();
        Self(line.chars().take(ERROR_CHARS_MAX).collect())
    }

    pub(crate) fn caused_by(cause: impl Display) -> Self {
        Self::new(cause)
    }
}

impl Sink {
    /// The sink of a URL. Nothing is connected or written yet. Requests are signed where there is a key for it.
    ///
    /// # Errors
    /// [`SinkUrlError`] for a kind of sink that this build does not know.
    pub fn open(url: &SinkUrl, key: Option<SigningKey>) -> Result<Self, SinkUrlError> {
        match url {
            SinkUrl::Http(url) => Ok(Self::Http(http::HttpSink::new(url, key))),
            SinkUrl::Folder(path) => Ok(Self::Folder(folder::FolderSink::new(path.clone()))),
            #[cfg(feature = "nats")]
            SinkUrl::Nats(url) => Ok(Self::Nats(nats::NatsSink::new(url))),
            #[cfg(not(feature = "nats"))]
            SinkUrl::Nats(_) => Err(SinkUrlError::NotBuilt),
        }
    }

    /// Sends a shipment; on return it was taken for good.
    ///
    /// # Errors
    /// [`SinkError`]: whether it was taken is not known.
    pub async fn send(&self, shipment: &Shipment) -> Result<(), SinkError> {
        match self {
            Self::Http(sink) => sink.send(shipment).await,
            #[cfg(feature = "nats")]
            Self::Nats(sink) => sink.send(shipment).await,
            Self::Folder(sink) => sink.send(shipment).await,
        }
    }
}

/// Gives up what takes longer than an attempt may.
#[cfg(feature = "nats")]
async fn within_attempt(work: impl Future<Output = Result<(), SinkError>>) -> Result<(), SinkError> {
    let seconds = ATTEMPT_TIMEOUT.as_secs();
    tokio::time::timeout(ATTEMPT_TIMEOUT, work)
        .await
        .unwrap_or_else(|_| Err(SinkError::new(format_args!("no answer within {seconds} s"))))
}

/// Runs what blocks beside the threads that serve connections.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
) -> Result<T, SinkError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(SinkError::caused_by(error)))
}
