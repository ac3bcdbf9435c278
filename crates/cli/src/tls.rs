//! TLS to a server whose certificates are in a file of the user's (`--ca-file`).
//!
//! A certificate in the file is trusted as an authority, and also as the server's own: what `openssl req -x509` makes is
//! both at once, and a verifier of public certificates refuses an authority that serves by itself.

use std::fmt;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, StreamOwned,
};
use ureq::tls::{PemItem, parse_pem};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use crate::failure::Failure;

/// Wraps connections to `https` servers in TLS that trusts the certificates of a file.
#[derive(Debug)]
pub(crate) struct TrustFile(Arc<ClientConfig>);

impl TrustFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Failure`] naming the file and what is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let pem = std::fs::read(path).map_err(|error| {
            Failure::Other(format!("ca-file: {} cannot be read: {error}", path.display()))
        })?;
        Self::from_pem(&pem)
            .map_err(|reason| Failure::Usage(format!("ca-file: {}: {reason}", path.display())))
    }

    fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let mut trusted = Vec::new();
        for item in parse_pem(pem) {
            if let PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? {
                trusted.push(CertificateDer::from(certificate.der().to_vec()));
            }
        }
        if trusted.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        let mut roots = RootCertStore::empty();
        for certificate in &trusted {
            let added = roots.add(certificate.clone());
            added.map_err(|error| format!("a certificate in it cannot be read: {error}"))?;
        }
        let provider = Arc::new(default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { inner, trusted }))
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

/// Verifies as for public certificates, with one exception: an authority of the file may serve by itself.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

/// Whether the only thing wrong with a certificate is that it is an authority's: its dates were looked at before.
fn is_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(error) if is_authority(&error) && self.trusted.iter().any(|known| known == end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            // An authority that the file does not hold is, first of all, unknown.
            Err(error) if is_authority(&error) => Err(CertificateError::UnknownIssuer.into()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl<In: Transport> Connector<In> for TrustFile {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host)
            .map_err(|_| ureq::Error::BadUri(format!("'{host}' is neither a name nor an address")))?;
        let mut conn = ClientConnection::new(Arc::clone(&self.0), name.to_owned())?;
        let mut sock = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        sock.set_timeout(details.timeout);
        conn.complete_io(&mut sock)?;
        let sizes = (details.config.input_buffer_size(), details.config.output_buffer_size());
        let transport =
            TlsTransport { buffers: LazyBuffers::new(sizes.0, sizes.1), stream: StreamOwned { conn, sock } };
        Ok(Some(Either::B(transport)))
    }
}

/// A connection in TLS.
pub(crate) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsTransport").field("chained", self.stream.sock.inner()).finish()
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        Ok(self.stream.write_all(output)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// What a failed handshake means, and what to do about it.
pub(crate) fn told(error: &Error) -> (String, &'static str) {
    const TRUST: &str = "--ca-file FILE or TOLLGATE_CA_FILE trusts the certificates in a PEM file";
    const RENEW: &str =
        "give the server a new certificate (--tls-cert, --tls-key); check both clocks if it is new";
    const NAME: &str = "connect by a name that the certificate has, or make one with this name among its \
                        subjectAltName";
    const PLAIN: &str = "does the server speak TLS? http:// in place of https:// asks without it";
    let Error::InvalidCertificate(reason) = error else {
        let hint = if matches!(error, Error::InvalidMessage(_)) { PLAIN } else { TRUST };
        return (format!("TLS: {error}"), hint);
    };
    match reason {
        CertificateError::UnknownIssuer => {
            ("the server's certificate is signed by nobody that is trusted here".to_owned(), TRUST)
        }
        CertificateError::Other(_) if is_authority(error) => {
            ("the server's certificate is self-signed, and not trusted here".to_owned(), TRUST)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("the server's certificate has expired".to_owned(), RENEW)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("the server's certificate is not valid yet".to_owned(), RENEW)
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            (format!("the server's certificate is not for {} but for {names}", expected.to_str()), NAME)
        }
        CertificateError::NotValidForName => {
            ("the server's certificate is for another name".to_owned(), NAME)
        }
        other => (format!("the server's certificate is refused: {other}"), TRUST),
    }
}
