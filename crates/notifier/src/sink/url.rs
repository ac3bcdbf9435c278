//! Which sink: read from a URL, shown without its secrets.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;

use crate::ask::check_port;

/// Which sink: `http(s)://…`, `nats://HOST:PORT/SUBJECT`, `folder:PATH`. Shown and logged without passwords and queries.
#[derive(Clone, PartialEq, Eq)]
pub enum SinkUrl {
    /// An endpoint that takes a POST.
    Http(HiddenUrl),
    /// A subject of a NATS JetStream.
    Nats(HiddenUrl),
    /// A folder of this machine.
    Folder(PathBuf),
}

/// A URL of which what may be secret is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct HiddenUrl(Uri, String);

/// A text that is not the URL of a sink. It does not tell the text: there may be a password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkUrlError {
    /// None of the forms there are.
    #[error("not a sink; expected http://…, https://…, nats://HOST:PORT/SUBJECT or folder:PATH")]
    Form,
    /// A port that is none.
    #[error("not a sink: its port must be from 1 to 65535")]
    Port,
    /// A subject that NATS does not publish to.
    #[error(
        "not a subject; expected nats://HOST:PORT/SUBJECT with words of letters and digits, and dots between them"
    )]
    Subject,
    /// This build knows no NATS.
    #[error("this build has no NATS; build it with the feature 'nats'")]
    NotBuilt,
}

impl FromStr for SinkUrl {
    type Err = SinkUrlError;

    fn from_str(text: &str) -> Result<Self, SinkUrlError> {
        if let Some(path) = text.strip_prefix("folder:") {
            return if path.is_empty() { Err(SinkUrlError::Form) } else { Ok(Self::Folder(path.into())) };
        }
        let uri: Uri = text.parse().map_err(|_| SinkUrlError::Form)?;
        if uri.host().is_none_or(str::is_empty) {
            return Err(SinkUrlError::Form);
        }
        check_port(&uri).map_err(|_| SinkUrlError::Port)?;
        match uri.scheme_str() {
            Some("http" | "https") => Ok(Self::Http(HiddenUrl(uri, text.to_owned()))),
            Some("nats") if !is_subject(subject_of(&uri)) || uri.query().is_some() => {
                Err(SinkUrlError::Subject)
            }
            Some("nats") => Ok(Self::Nats(HiddenUrl(uri, text.to_owned()))),
            _ => Err(SinkUrlError::Form),
        }
    }
}

fn subject_of(uri: &Uri) -> &str {
    uri.path().strip_prefix('/').unwrap_or_default()
}

/// Words without wildcards, and dots between them.
fn is_subject(text: &str) -> bool {
    let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    text.split('.').all(|word| !word.is_empty() && word.chars().all(is_part))
}

impl HiddenUrl {
    /// All of it, with what may be secret.
    pub(crate) fn text(&self) -> &str {
        &self.1
    }

    /// The server, with what may be secret, and without the path.
    #[cfg(feature = "nats")]
    pub(crate) fn server(&self) -> String {
        let authority = self.0.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        format!("{}://{authority}", self.0.scheme_str().unwrap_or_default())
    }

    /// Whether it is of this machine alone.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.0.host().unwrap_or_default();
        ["127.", "localhost", "[::1]"].iter().any(|loopback| host.starts_with(loopback))
    }

    /// The path as a subject.
    #[cfg(feature = "nats")]
    pub(crate) fn subject(&self) -> &str {
        subject_of(&self.0)
    }
}

impl fmt::Display for HiddenUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(uri, _) = self;
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let user = if host.len() == authority.len() { "" } else { "***@" };
        let query = if uri.query().is_some() { "?***" } else { "" };
        write!(formatter, "{}://{user}{host}{}{query}", uri.scheme_str().unwrap_or_default(), uri.path())
    }
}

impl fmt::Debug for HiddenUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for SinkUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) | Self::Nats(url) => fmt::Display::fmt(url, formatter),
            Self::Folder(path) => write!(formatter, "folder:{}", path.display()),
        }
    }
}

impl fmt::Debug for SinkUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_is_chosen_by_its_url_and_shown_without_secrets() {
        for (text, shown) in [
            ("http://127.0.0.1:9000/commit", "http://127.0.0.1:9000/commit"),
            ("https://ann:s3cret@proc.example/in?token=s3cret", "https://***@proc.example/in?***"),
            ("https://s3cret@proc.example", "https://***@proc.example/"),
            ("nats://127.0.0.1:4222/aggregates.daily", "nats://127.0.0.1:4222/aggregates.daily"),
            ("nats://u:s3cret@[::1]/a-b_c", "nats://***@[::1]/a-b_c"),
            ("folder:/var/lib/out", "folder:/var/lib/out"),
            ("folder:out", "folder:out"),
        ] {
            let url: SinkUrl = text.parse().expect(text);
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_sink_is_refused_without_being_told() {
        for (text, wanted) in [
            ("", SinkUrlError::Form),
            ("folder:", SinkUrlError::Form),
            ("out", SinkUrlError::Form),
            ("/out", SinkUrlError::Form),
            ("ftp://h/x", SinkUrlError::Form),
            ("http://", SinkUrlError::Form),
            ("http://u:s3cret@/x", SinkUrlError::Form),
            ("http://h:99999/x", SinkUrlError::Port),
            ("nats://u:s3cret@h:0/a", SinkUrlError::Port),
            ("nats://h:4222", SinkUrlError::Subject),
            ("nats://h:4222/", SinkUrlError::Subject),
            ("nats://h:4222/a.*", SinkUrlError::Subject),
            ("nats://h:4222/a..b", SinkUrlError::Subject),
            ("nats://h:4222/a/b", SinkUrlError::Subject),
            ("nats://h:4222/a?s3cret", SinkUrlError::Subject),
        ] {
            let error = text.parse::<SinkUrl>().expect_err(text);
            assert_eq!(error, wanted, "{text}");
            assert!(!error.to_string().contains("s3cret"));
        }
    }
}
