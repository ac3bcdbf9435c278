//! The provider: a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::tools::{program, tool};

/// How long it may take to say something before a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// What its clients show that they are.
pub(super) const SECRET: &str = "the secret of the client";

/// A running provider.
pub(super) struct Idp {
    /// Where it is.
    pub(super) issuer: String,
    like: &'static str,
    process: Child,
    input: Option<ChildStdin>,
    said: Receiver<String>,
}

impl Idp {
    /// One that is like something; see the script.
    pub(super) fn start(like: &'static str) -> Self {
        Self::on("0", like, &[])
    }

    /// One that speaks TLS as `localhost`, with the certificate `cert.pem` in a folder.
    pub(super) fn over_tls() -> (Self, TempDir) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        (Self::on("0", "token", &[&certificate, &key]), folder)
    }

    fn on(port: &str, like: &'static str, tls: &[&Path]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/oidc/provider.mjs");
        let mut node = Command::new(program("node"));
        node.arg(script).arg(tool("oidc-provider")).args([port, like]).args(tls);
        let mut process =
            node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the provider starts");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        let (tell, said) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let issuer = said.recv_timeout(PATIENCE).expect("the provider says where it is");
        let input = process.stdin.take();
        Self { issuer, like, process, input, said }
    }

    /// Tells it what to do from now on; gives the paths that it was asked for since it was last told something.
    pub(super) fn tell(&mut self, what: &str) -> Vec<String> {
        let input = self.input.as_mut().expect("it listens");
        writeln!(input, "{what}").and_then(|()| input.flush()).expect("it listens");
        let asked = self.said.recv_timeout(PATIENCE).expect("the provider answers");
        serde_json::from_str(&asked).expect("paths")
    }

    /// Ends it, as a crash does.
    pub(super) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again where it was.
    pub(super) fn restart(&mut self) {
        let port = self.issuer.rsplit(':').next().expect("a port").to_owned();
        *self = Self::on(&port, self.like, &[]);
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.kill();
    }
}
