//! A server within the test: on a port of its own, a store in a folder of its own, a clock set by hand.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rcgen::CertifiedKey;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tollgate_domain::Timestamp;
use tollgate_engine::Clock;
use tollgate_server::{RunningServer, Secret, ServeError, Settings, StoreUrl, TlsFiles, start};

use crate::client::{Ask, Client};

/// When every test begins: a Monday morning.
pub(crate) const START: &str = "2026-11-02T10:00:00Z";

/// A running server; it is shut down in order when the test ends.
pub(crate) struct TestServer {
    runtime: Runtime,
    running: Option<RunningServer>,
    address: SocketAddr,
    settings: Settings,
    clock: Clock,
    /// Gone with the server.
    _folder: TempDir,
}

impl TestServer {
    /// A server that nobody needs an API key for.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// The same with other settings.
    pub(crate) fn with(adjust: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut settings = settings(folder.path());
        adjust(&mut settings);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let clock = Clock::manual(time(START));
        let running = runtime.block_on(start(settings.clone(), clock.clone())).expect("the server starts");
        let address = running.address;
        Self { runtime, running: Some(running), address, settings, clock, _folder: folder }
    }

    /// One with an admin key and a catalog, and two orgs on a plan of it, with a client that has the key.
    pub(crate) fn selling(catalog: &str, plan: &str) -> (Self, Client) {
        let server = Self::with(|settings| settings.api_key = Some(Secret("admin".to_owned())));
        let mut client = server.client().with_key("admin");
        client.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog)).ok();
        for org in ["acme", "globex"] {
            client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": plan})).ok();
        }
        (server, client)
    }

    /// The same over TLS; the certificate, for `localhost`, is `cert.pem` in the folder.
    pub(crate) fn with_tls(adjust: impl FnOnce(&mut Settings)) -> (Self, TempDir) {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tls =
            TlsFiles { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        std::fs::write(&tls.certificate, cert.pem()).expect("written");
        std::fs::write(&tls.key, signing_key.serialize_pem()).expect("written");
        let server = Self::with(|settings| {
            settings.tls = Some(tls);
            adjust(settings);
        });
        (server, folder)
    }

    /// What a server with other settings says instead of starting.
    pub(crate) fn refusal(adjust: impl FnOnce(&mut Settings)) -> ServeError {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut settings = settings(folder.path());
        adjust(&mut settings);
        let runtime = Runtime::new().expect("a runtime");
        match runtime.block_on(start(settings, Clock::manual(time(START)))) {
            Ok(running) => panic!("a server that must not start listens on {}", running.address),
            Err(error) => error,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The runtime it runs on.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Sets the clock.
    pub(crate) fn at(&self, at: &str) {
        self.clock.set(time(at));
    }

    /// Shuts it down, as at SIGTERM.
    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.shutdown()).expect("the server shuts down in order");
        }
    }

    /// Shuts it down and starts another on the same store.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let running = self.runtime.block_on(start(self.settings.clone(), self.clock.clone()));
        let running = running.expect("the server starts again");
        self.address = running.address;
        self.running = Some(running);
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let closed = self.runtime.block_on(running.shutdown());
            if !std::thread::panicking() {
                closed.expect("the server shuts down in order");
            }
        }
    }
}

fn settings(folder: &Path) -> Settings {
    Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        store: StoreUrl::Embedded(folder.join("store")),
        environment: "test".to_owned(),
        segment_bytes: 1024 * 1024,
        shutdown_grace: Duration::from_secs(10),
        ..Settings::default()
    }
}

/// A time.
pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text} is not a time: {error}"))
}
