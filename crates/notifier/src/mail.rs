//! E-mail, by an SMTP server of the operator.
//!
//! A mail names its receiver in its links: whoever has one can have the channel send no more, and nothing else.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use http::Uri;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use sha2::Sha256;
use tokio::time::timeout;
use tollgate_domain::{Channel, Target};

use crate::ask::check_port;
use crate::letter::Letter;
use crate::limits::{MAIL_ADDRESS_CHARS_MAX, MAIL_TIMEOUT};
use crate::message::Message;
use crate::outlet::Outcome;
use crate::post::line;

/// The path of the page on which one says that no more mail is wanted, without the link's text.
const UNSUBSCRIBE: &str = "/unsubscribe/";

/// How mail leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailSettings {
    /// The SMTP server.
    pub host: String,
    /// Its port; the usual one of its TLS unless given.
    pub port: Option<u16>,
    /// How connections to it are encrypted.
    pub tls: SmtpTls,
    /// Whose certificates it may have, as a PEM file; those that browsers trust unless given.
    pub ca: Option<PathBuf>,
    /// Who sends, if the server wants to know.
    pub login: Option<SmtpLogin>,
    /// Whom mail is from.
    pub from: Sender,
    /// Where people reach the console: links begin with it.
    pub public_url: PublicUrl,
}

/// User and password at an SMTP server. No log and no error shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpLogin {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for SmtpLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SmtpLogin({}, ***)", self.user)
    }
}

/// How connections to an SMTP server are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SmtpTls {
    /// After a greeting in plain text, always.
    #[default]
    StartTls,
    /// From the first byte.
    Implicit,
    /// Not at all.
    None,
}

impl SmtpTls {
    const fn port(self) -> u16 {
        match self {
            Self::StartTls => smtp::SUBMISSION_PORT,
            Self::Implicit => smtp::SUBMISSIONS_PORT,
            Self::None => smtp::SMTP_PORT,
        }
    }
}

impl FromStr for SmtpTls {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "starttls" => Ok(Self::StartTls),
            "implicit" => Ok(Self::Implicit),
            "none" => Ok(Self::None),
            _ => Err(format!("'{text}' is not allowed; expected starttls, implicit or none")),
        }
    }
}

impl fmt::Display for SmtpTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
            Self::None => "none",
        })
    }
}

/// Whom mail is from: `billing@example.com`, or `Example <billing@example.com>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender(Mailbox);

impl FromStr for Sender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let from = text.parse::<Mailbox>().ok().filter(|from| is_address(from.email.as_ref()));
        let wrong = || "not an address; expected such as Example <billing@example.com>".to_owned();
        from.filter(|_| !text.chars().any(char::is_control)).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Where people reach the server: an `http` or `https` URL without a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "not a URL of a server; expected such as https://tollgate.example.com".to_owned();
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let has_user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
        if !is_http || has_user || uri.query().is_some() || text.contains('#') {
            return Err(wrong());
        }
        check_port(&uri)?;
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether a text is an address that mail can be sent to by any server: of ASCII, one, and without a name.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.is_ascii() && text.len() <= MAIL_ADDRESS_CHARS_MAX && text.parse::<Address>().is_ok()
}

/// Why no mail can leave.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// Everybody on the way could read the password.
    #[error("smtp-tls is none and smtp-user is set: a password is sent over TLS only")]
    PlainPassword,
    /// The file of certificates cannot be read.
    #[error("the file {0} of smtp-ca cannot be read: {1}")]
    CaFile(PathBuf, std::io::Error),
    /// There is no TLS with these certificates and this host.
    #[error("no TLS for the SMTP server: {0}")]
    Tls(#[from] smtp::Error),
}

/// Why a mail is none.
#[derive(Debug, thiserror::Error)]
enum UnwrittenError {
    #[error("its address is none: {0}")]
    Address(#[from] lettre::address::AddressError),
    #[error("it cannot be put into a mail: {0}")]
    Mail(#[from] lettre::error::Error),
    #[error("it cannot be put into words: {0}")]
    Words(#[from] askama::Error),
    #[error("the channel has nothing to sign links with")]
    Unsigned,
}

/// Sends mail.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    public_url: PublicUrl,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Mailer").field("public_url", &self.public_url).finish_non_exhaustive()
    }
}

impl Mailer {
    /// Sends by the SMTP server of the settings. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`MailError`].
    pub fn new(settings: &MailSettings) -> Result<Self, MailError> {
        let MailSettings { host, port, tls, ca, login, from: Sender(from), public_url } = settings;
        if *tls == SmtpTls::None && login.is_some() {
            return Err(MailError::PlainPassword);
        }
        let parameters = || {
            let mut builder =
                TlsParameters::builder(host.clone()).certificate_store(CertificateStore::WebpkiRoots);
            if let Some(path) = ca {
                let pem = std::fs::read(path).map_err(|error| MailError::CaFile(path.clone(), error))?;
                builder = builder.certificate_store(CertificateStore::None);
                builder = builder.add_root_certificate(Certificate::from_pem(&pem)?);
            }
            Ok::<_, MailError>(builder.build()?)
        };
        let encryption = match tls {
            SmtpTls::StartTls => Tls::Required(parameters()?),
            SmtpTls::Implicit => Tls::Wrapper(parameters()?),
            SmtpTls::None => Tls::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.as_str())
            .port(port.unwrap_or(tls.port()))
            .tls(encryption)
            .timeout(Some(MAIL_TIMEOUT))
            .hello_name(ClientId::Domain(from.email.domain().to_owned()));
        if let Some(SmtpLogin { user, password }) = login {
            transport = transport.credentials(Credentials::new(user.clone(), password.clone()));
        }
        Ok(Self { transport: transport.build(), from: from.clone(), public_url: public_url.clone() })
    }

    /// Sends a message to the address of a channel.
    pub(crate) async fn send(&self, channel: &Channel, to: &str, message: &Message) -> Outcome {
        let mail = match self.mail(channel, to, message) {
            Ok(mail) => mail,
            Err(error) => return Outcome::failed(&error.to_string()),
        };
        match timeout(MAIL_TIMEOUT, self.transport.send(mail)).await {
            Ok(Ok(reply)) => {
                let text = reply.message().collect::<Vec<_>>().join(" ");
                Outcome { status: Some(reply.code().into()), reply: line(&text), ..Outcome::taken() }
            }
            Ok(Err(error)) => {
                Outcome { status: error.status().map(u16::from), ..Outcome::failed(&said(&error)) }
            }
            Err(_) => Outcome::failed(&format!("it did not answer within {} s", MAIL_TIMEOUT.as_secs())),
        }
    }

    fn mail(
        &self,
        channel: &Channel,
        to: &str,
        message: &Message,
    ) -> Result<lettre::Message, UnwrittenError> {
        let path = unsubscribe_path(channel).ok_or(UnwrittenError::Unsigned)?;
        let letter = Letter::new(channel, message, &self.public_url.0, &path);
        let header = |name, value: String| HeaderValue::new(HeaderName::new_from_ascii_str(name), value);
        let mail = lettre::Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.parse()?))
            .message_id(Some(format!("<{}@{}>", message.id, self.from.email.domain())))
            .subject(letter.subject.clone())
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()))
            .raw_header(header("List-Unsubscribe", format!("<{}{path}>", self.public_url)))
            .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()))
            .multipart(MultiPart::alternative_plain_html(letter.plain()?, letter.html()?))?;
        Ok(mail)
    }
}

/// What the server said, or why it said nothing.
fn said(error: &smtp::Error) -> String {
    match (error.status(), std::error::Error::source(error)) {
        (Some(_), Some(reply)) => reply.to_string(),
        (None, _) | (Some(_), None) => format!("the SMTP server: {error}"),
    }
}

/// The path of the page on which the receiver of a channel's mail says that no more is wanted; `None`: it sends none.
fn unsubscribe_path(channel: &Channel) -> Option<String> {
    let mac = signature(channel)?.finalize().into_bytes();
    Some(format!("{UNSUBSCRIBE}{}.{}", channel.id.0, BASE64_URL_SAFE_NO_PAD.encode(mac)))
}

/// Whether a text is what the links in a channel's mail are signed with.
#[must_use]
pub fn is_of_its_mail(channel: &Channel, text: &str) -> bool {
    let signed = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    signed.zip(signature(channel)).is_some_and(|(signed, mac)| mac.verify_slice(&signed).is_ok())
}

/// Of the channel and its address, so that the links to a former address say nothing any more.
fn signature(channel: &Channel) -> Option<Hmac<Sha256>> {
    let Target::Email { to } = &channel.setup.target else { return None };
    let secret = channel.secrets.first()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.text.as_bytes()).ok()?;
    mac.update(format!("unsubscribe {} {to}", channel.id.0).as_bytes());
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_one_of_ascii_without_a_name() {
        for good in ["ann@example.com", "ann+tollgate@mail.example.com"] {
            assert!(is_address(good), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(300));
        for wrong in [
            "",
            "ann",
            "@example.com",
            "Ann <ann@example.com>",
            "ann@example.com, bob@example.com",
            "ann@example.com\r\nRCPT TO:<bob@example.com>",
            "ann@exämple.com",
            long.as_str(),
        ] {
            assert!(!is_address(wrong), "{wrong}");
        }
    }

    #[test]
    fn senders_and_urls_are_checked() {
        for (text, shown) in [
            ("billing@example.com", Some("billing@example.com")),
            ("Example <billing@example.com>", Some("Example <billing@example.com>")),
            ("billing", None),
            ("a@example.com\r\nBcc: b@example.com", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Sender>().map(|from| from.to_string()).ok().as_deref(), shown, "{text}");
        }
        for (text, shown) in [
            ("https://tollgate.example.com", Some("https://tollgate.example.com")),
            ("http://127.0.0.1:8080/", Some("http://127.0.0.1:8080")),
            ("https://example.com/tollgate/", Some("https://example.com/tollgate")),
            ("https://ann@example.com", None),
            ("https://example.com/?a=b", None),
            ("ftp://example.com", None),
            ("example.com", None),
        ] {
            assert_eq!(text.parse::<PublicUrl>().map(|url| url.to_string()).ok().as_deref(), shown, "{text}");
        }
        assert!("tls".parse::<SmtpTls>().is_err());
    }

    #[test]
    fn a_password_is_shown_nowhere_and_never_sent_in_plain_text() {
        let mut settings = MailSettings {
            host: "smtp.example.com".to_owned(),
            port: None,
            tls: SmtpTls::None,
            ca: None,
            login: Some(SmtpLogin { user: "ann".to_owned(), password: "hush".to_owned() }),
            from: "a@example.com".parse().expect("an address"),
            public_url: "https://example.com".parse().expect("a URL"),
        };
        assert!(!format!("{settings:?}").contains("hush"));
        assert!(matches!(Mailer::new(&settings), Err(MailError::PlainPassword)));
        settings.tls = SmtpTls::StartTls;
        assert!(!format!("{:?}", Mailer::new(&settings).expect("a mailer")).contains("hush"));
        settings.ca = Some(PathBuf::from("/nowhere/ca.pem"));
        assert!(matches!(Mailer::new(&settings), Err(MailError::CaFile(..))));
    }
}
