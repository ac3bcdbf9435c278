//! A pgbouncer between clients and a PostgreSQL.

use std::fs;
use std::io::{BufRead, BufReader, Error};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

use tempfile::TempDir;

use crate::Postgres;
use crate::postgres::{command, free_port};

/// Where the program is.
const PROGRAMS: [&str; 2] = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];

const ADVICE: &str =
    "pgbouncer is needed: `cargo xtask test` installs it, or on Debian `apt-get install pgbouncer`";

/// A running pgbouncer in transaction mode: each statement may go to another session of the server.
#[derive(Debug)]
pub struct Bouncer {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Bouncer {
    /// Starts one that has only a few sessions of the server for all its clients.
    ///
    /// # Errors
    /// When its program is not there, or does not start.
    pub fn start(server: &Postgres) -> Result<Self, Error> {
        let program = PROGRAMS.iter().map(Path::new).find(|program| program.exists());
        let program = program.ok_or_else(|| Error::other(ADVICE))?;
        let folder = tempfile::Builder::new().prefix("tollgate-pgbouncer-").tempdir()?;
        let port = free_port()?;
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = 3\nmax_client_conn = 500\n",
            server.port()
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, settings)?;
        let mut bouncer = command(program, folder.path())?;
        bouncer.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = bouncer.spawn()?;
        let news = child.stderr.take().ok_or_else(|| Error::other("no news of it"))?;
        let bouncer = Self { child, port, _folder: folder };
        let mut lines = BufReader::new(news).lines();
        let mut said = Vec::new();
        for line in lines.by_ref() {
            let line = line?;
            if line.contains("process up") {
                // It goes on telling; nobody listens, and it must not wait for that.
                thread::spawn(move || lines.for_each(drop));
                return Ok(bouncer);
            }
            said.push(line);
        }
        Err(Error::other(format!("pgbouncer does not start: {}", said.join("; "))))
    }

    /// Where the database is by way of it.
    #[must_use]
    pub fn url(&self, server: &Postgres) -> String {
        server.url_by(self.port)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
