//! A real SMTP server that tells which mail it took.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tollgate_server::{MailSettings, SmtpLogin, SmtpTls};

use crate::tools::tool;

/// How long a mail may take to come before a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// What nobody else may see.
pub(crate) const PASSWORD: &str = "hush-hush";

/// A mail that was taken.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) hello: String,
    pub(crate) encrypted: bool,
    pub(crate) user: Option<String>,
    /// As a mail program decodes them.
    pub(crate) headers: Vec<(String, String)>,
    /// As they came.
    pub(crate) head: String,
    pub(crate) longest_line: usize,
    pub(crate) kind: String,
    /// The type and the text of each.
    pub(crate) parts: Vec<(String, String)>,
}

impl Mail {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found: Vec<_> =
            self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).collect();
        let [(_, value)] = found.as_slice() else { panic!("one {name} is wanted: {:?}", self.headers) };
        value
    }
}

/// A running server.
pub(crate) struct Smtpd {
    server: Child,
    said: Receiver<String>,
    port: u16,
    protection: Option<Protection>,
}

/// What a server has that encrypts and asks for a password.
struct Protection {
    certificate: PathBuf,
    key: PathBuf,
    _folder: TempDir,
}

impl Smtpd {
    /// One that takes mail from anybody, in plain text.
    pub(crate) fn plain() -> Self {
        Self::on(0, None)
    }

    /// One that insists on STARTTLS, and on `ann` with her [`PASSWORD`].
    pub(crate) fn protected() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        Self::on(0, Some(Protection { certificate, key, _folder: folder }))
    }

    fn on(port: u16, protection: Option<Protection>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("it").join("smtpd.py");
        let mut command = Command::new(tool("smtp-server").join("bin").join("python"));
        command.arg(script).arg(port.to_string());
        if let Some(Protection { certificate, key, .. }) = &protection {
            command.arg(certificate).arg(key).args(["ann", PASSWORD]);
        }
        let mut server = command.stdout(Stdio::piped()).spawn().expect("the SMTP server starts");
        let output = BufReader::new(server.stdout.take().expect("its output"));
        let (tell, said) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let port = said.recv_timeout(PATIENCE).expect("the SMTP server says its port");
        let port = port.parse().expect("a port");
        Self { server, said, port, protection }
    }

    /// Ends it, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.server.kill().expect("it runs");
        self.server.wait().expect("it ends");
    }

    /// Starts it again on the same port.
    pub(crate) fn restart(&mut self) {
        let protection = self.protection.take();
        *self = Self::on(self.port, protection);
    }

    /// How mail leaves by it.
    pub(crate) fn settings(&self) -> MailSettings {
        let login = SmtpLogin { user: "ann".to_owned(), password: PASSWORD.to_owned() };
        MailSettings {
            host: "localhost".to_owned(),
            port: Some(self.port),
            tls: if self.protection.is_some() { SmtpTls::StartTls } else { SmtpTls::None },
            ca: self.protection.as_ref().map(|protection| protection.certificate.clone()),
            login: self.protection.as_ref().map(|_| login),
            from: "Example <billing@example.com>".parse().expect("an address"),
            public_url: "https://tollgate.example.com".parse().expect("a URL"),
        }
    }

    /// Waits for the next mail.
    #[track_caller]
    pub(crate) fn next(&self) -> Mail {
        let line = self.said.recv_timeout(PATIENCE).expect("a mail");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// A mail that came already.
    pub(crate) fn waiting(&self) -> Option<Value> {
        self.said.try_recv().ok().map(|line| serde_json::from_str(&line).expect("JSON"))
    }
}

impl Drop for Smtpd {
    fn drop(&mut self) {
        // One that was killed has ended.
        drop(self.server.kill());
        drop(self.server.wait());
    }
}
