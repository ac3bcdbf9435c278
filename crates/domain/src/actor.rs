//! Who caused an entry.

use std::fmt;

use crate::ApiKeyId;

/// Who caused an entry: kept with it, and no part of what makes two requests the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A caller without a key, from the server's own machine.
    Local,
    /// The API key of the settings. It has no public id.
    Configured,
    /// A stored API key.
    Key(ApiKeyId),
    /// The server, closing months that are over.
    Closing,
    /// The server, shipping aggregates.
    Shipper,
    /// The server, for anything else: its first catalog, the demo.
    System,
}

impl Actor {
    /// The text on the wire. No id of an API key is one of the words: ids are hexadecimal.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Configured => "configured",
            Self::Key(id) => &id.0,
            Self::Closing => "closing",
            Self::Shipper => "shipper",
            Self::System => "system",
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}
