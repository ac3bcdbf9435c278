//! The database: connections, and asking it until it answers.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;
use tollgate_storage::{StoreError, StoreErrorKind};

use super::error::{Failure, unavailable};
use super::limits::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, SENT_AFTER_MAX};
use super::options::{PostgresOptions, Trust};
use crate::asking::Asking;

/// Values of a statement, with the types that they have there.
pub(crate) type Values<'a> = [(&'a (dyn ToSql + Sync), Type)];

/// A database, and the schema of the store in it.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) pool: Pool,
    pub(crate) schema: String,
    /// How long a call asks again before it gives up.
    patience: Duration,
    /// Whether it answered when it was last asked: while it does not, nobody waits for long.
    answers: AtomicBool,
}

impl Database {
    pub(crate) fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let config = options.config.clone();
        let manager = match &options.tls {
            None => Manager::from_config(config, NoTls, manager),
            Some(trust) => Manager::from_config(config, MakeRustlsConnect::new(tls_config(trust)?), manager),
        };
        let pool = Pool::builder(manager)
            .max_size(options.connections_max)
            .wait_timeout(Some(ANSWER_TIMEOUT))
            .create_timeout(Some(2 * CONNECT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| unavailable("no connections can be kept").caused_by(error))?;
        let (schema, patience) = (options.schema.clone(), options.patience);
        Ok(Self { pool, schema, patience, answers: AtomicBool::new(true) })
    }

    /// The statement that runs a function of the schema with as many values.
    pub(crate) fn call(&self, function: &str, values: usize) -> String {
        let places: Vec<String> = (1..=values).map(|place| format!("${place}")).collect();
        format!("SELECT * FROM {}.{function}({})", self.schema, places.join(", "))
    }

    /// Asks until there is an answer, for as long as there is patience; see [`Asking`].
    pub(crate) async fn ask(
        &self,
        statement: &str,
        values: &Values<'_>,
        timeout: Duration,
    ) -> Result<Vec<Row>, StoreError> {
        let (began, mut asking) = (Instant::now(), Asking::new(self.patience, &self.answers));
        loop {
            match self.attempt(statement, values, timeout, began).await {
                Ok(rows) => {
                    asking.answered();
                    return Ok(rows);
                }
                Err(Failure { outcome, error, .. }) => asking.failed(outcome, error).await?,
            }
        }
    }

    /// Asks once, in one round trip: the statement is unnamed and comes with its types, so nothing is prepared in a session,
    /// and every statement may go to another one, as behind a pooler. A call that was made long ago is not sent any more.
    async fn attempt(
        &self,
        statement: &str,
        values: &Values<'_>,
        timeout: Duration,
        began: Instant,
    ) -> Result<Vec<Row>, Failure> {
        let client = self.pool.get().await.map_err(Failure::not_sent)?;
        if began.elapsed() > SENT_AFTER_MAX {
            return Err(Failure::late());
        }
        let answer = tokio::time::timeout(timeout, client.query_typed(statement, values)).await;
        let failure = match answer {
            Ok(Ok(rows)) => return Ok(rows),
            Ok(Err(error)) => Failure::answered(error),
            Err(_) => Failure::timeout(),
        };
        if failure.breaks {
            drop(Object::take(client));
        }
        Err(failure)
    }
}

/// Verifies who answers.
pub(crate) fn tls_config(trust: &Trust) -> Result<ClientConfig, StoreError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::System => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
        Trust::File(path) => {
            let bad = |error: String| {
                let text = format!("the certificates in {} cannot be read", path.display());
                StoreError::new(StoreErrorKind::Format, text).caused_by(error)
            };
            let read = CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
            for certificate in read {
                let certificate = certificate.map_err(|error| bad(error.to_string()))?;
                roots.add(certificate).map_err(|error| bad(error.to_string()))?;
            }
        }
    }
    if roots.is_empty() {
        let text = "no certificate authority is trusted; name a file of them with sslrootcert";
        return Err(StoreError::new(StoreErrorKind::Format, text));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::new(StoreErrorKind::Format, "TLS cannot be used").caused_by(error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
