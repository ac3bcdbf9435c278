//! PostgreSQL with the same rules in one PL/pgSQL function (`peers/usage.sql`), and as a table that usage is inserted in.
//!
//! Fairness: every connection has the statement prepared and sends Bind, Execute and Sync in one write, one round trip a
//! usage, over the same event loop as the others rather than through a driver, whose cost would count against
//! PostgreSQL on shared cores. Memory and the write-ahead log are set so that no checkpoint falls into a run, and the
//! counters' pages keep room for updates in place. Nothing that costs durability is changed: `fsync` and
//! `synchronous_commit` are on. A batch is one prepared statement with an array for each column, so that nothing is parsed or
//! planned anew and one round trip carries it all; it keeps no meter, and makes no check but that of the key.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Ask, Daemon, free_address, open, times_from_now};
use crate::Result;
use crate::load::{KEY, ORG, Template, USER, org_id};
use crate::wire::{error_text, first_column, postgres_message};

const SCHEMA: &str = include_str!("../../peers/usage.sql");
const CALL: &str = "SELECT allowed, reason, remaining FROM use_credit($1, $2, $3, $4)";
/// A key counts once.
const KEEP: &str = "
    INSERT INTO usage_ledger (org, user_id, quantity, key, at)
    SELECT * FROM unnest($1::text[], $2::text[], $3::numeric[], $4::text[], $5::timestamptz[])
    ON CONFLICT (org, key) DO NOTHING";
/// What became of it moves the counters of org and user; in order, lest two batches wait for one another.
const COUNT: &str = "
    , counted AS (
      INSERT INTO counters (org, scope, month, used)
      SELECT org, scope, month, sum(quantity)
      FROM (SELECT org, quantity, date_trunc('month', at AT TIME ZONE 'UTC')::date AS month,
                   unnest(ARRAY['', user_id]) AS scope FROM kept) moved
      GROUP BY org, scope, month ORDER BY org, scope, month
      ON CONFLICT (org, scope, month) DO UPDATE SET used = counters.used + excluded.used)
    SELECT count(*) =";

/// Where Debian and others keep the server's programs, newest last.
const FOLDERS: [&str; 4] = ["/usr/lib/postgresql/15/bin", "/usr/pgsql-15/bin", "/usr/local/bin", "/usr/bin"];

/// Finds a program of PostgreSQL.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let found = FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    found.ok_or_else(|| format!("{name} not found: apt-get install postgresql-15").into())
}

/// Makes a cluster in `folder` and starts it. PostgreSQL refuses to run as root: then it runs as the user `postgres`.
pub(crate) fn start(folder: &Path) -> Result<Daemon> {
    let data = folder.join("data");
    let mut initdb = command("initdb", folder)?;
    initdb.args(["--auth=trust", "--username=postgres", "--no-sync", "--locale=C", "--encoding=UTF8", "-D"]);
    let made = initdb.arg(&data).output()?;
    if !made.status.success() {
        return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    let address = free_address()?;
    let mut server = command("postgres", folder)?;
    server.arg("-D").arg(&data).args(["-p", &address.port().to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=320",
        "fsync=on",
        "synchronous_commit=on",
        "shared_buffers=1GB",
        "wal_buffers=16MB",
        "max_wal_size=16GB",
        "checkpoint_timeout=1h",
    ] {
        server.args(["-c", setting]);
    }
    Daemon::start(server, folder.join("log"), address, |address| query(address, "SELECT 1").is_ok())
}

/// A command that runs as a user PostgreSQL accepts, in a folder which that user can use.
fn command(name: &str, folder: &Path) -> Result<Command> {
    let mut command = Command::new(program(name)?);
    command.current_dir(folder);
    if fs::metadata("/proc/self")?.uid() == 0 {
        let (user, group) = user_postgres()?;
        chown(folder, Some(user), Some(group))?;
        command.uid(user).gid(group);
    }
    Ok(command)
}

fn user_postgres() -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line.ok_or("no user `postgres`, which root needs to run PostgreSQL")?.split(':').skip(2);
    let mut number = || fields.next().unwrap_or_default().parse::<u32>();
    Ok((number()?, number()?))
}

/// Makes the tables, the function and the orgs.
pub(crate) fn prepare(address: SocketAddr, orgs: u32) -> Result<()> {
    query(address, SCHEMA)?;
    query(
        address,
        &format!(
            "INSERT INTO orgs (org, allowance, top_up, user_limit)
             SELECT 'o' || lpad(n::text, 7, '0'), 1000, 1000000000000, 1000000000000
             FROM generate_series(0, {orgs} - 1) n"
        ),
    )?;
    query(address, "VACUUM ANALYZE orgs")?;
    query(address, "CHECKPOINT")?;
    Ok(())
}

/// What the org has used this month.
pub(crate) fn used(address: SocketAddr, org: u32, ask: Ask) -> Result<u64> {
    let org = org_id(org);
    let sql = match ask {
        Ask::Keep(_) => format!("SELECT sum(quantity)::bigint FROM usage_ledger WHERE org = '{org}'"),
        _ => format!("SELECT used::bigint FROM counters WHERE org = '{org}' AND scope = ''"),
    };
    Ok(query(address, &sql)?.ok_or("no counter")?.parse()?)
}

/// What each connection prepares.
fn statement(ask: Ask) -> String {
    match ask {
        Ask::Gate => CALL.to_owned(),
        Ask::Keep(_) => KEEP.to_owned(),
        Ask::Count(usages) | Ask::CountGroups(usages) => {
            format!("WITH kept AS ({KEEP} RETURNING *) {COUNT} {usages} FROM kept")
        }
    }
}

/// The request: Bind, Execute and Sync of the prepared statement.
pub(crate) fn template(ask: Ask) -> Result<Template> {
    let one = |text: &str| text.to_owned();
    match ask {
        Ask::Gate => Template::new(call(&[format!("o{ORG}"), format!("u{USER}"), one("1"), one(KEY)])?),
        Ask::Keep(usages) | Ask::Count(usages) | Ask::CountGroups(usages) => {
            let array = |element: &str| format!("{{{}}}", vec![element; usages].join(","));
            let times: Vec<String> =
                times_from_now(usages)?.iter().map(|time| format!("\"{time}\"")).collect();
            let columns = [
                array(&format!("o{ORG}")),
                array(&format!("u{USER}")),
                array("1"),
                array(KEY),
                format!("{{{}}}", times.join(",")),
            ];
            Template::of_many(call(&columns)?, usages)
        }
    }
}

fn call(parameters: &[String]) -> Result<Vec<u8>> {
    let mut bind = b"\0use\0\0\0".to_vec(); // no portal name, the statement, all parameters as text
    bind.extend(u16::try_from(parameters.len())?.to_be_bytes());
    for parameter in parameters {
        bind.extend(u32::try_from(parameter.len())?.to_be_bytes());
        bind.extend(parameter.as_bytes());
    }
    bind.extend([0, 0]); // all results as text
    Ok([message(b'B', &bind)?, message(b'E', b"\0\0\0\0\0")?, message(b'S', b"")?].concat())
}

/// Starts a session and prepares the statement.
pub(crate) fn greet(stream: &mut TcpStream, ask: Ask) -> Result<()> {
    log_in(stream)?;
    let parse = format!("use\0{}\0\0\0", statement(ask));
    stream.write_all(&[message(b'P', parse.as_bytes())?, message(b'S', b"")?].concat())?;
    finish(stream)?;
    Ok(())
}

fn log_in(stream: &mut TcpStream) -> Result<()> {
    let mut start = 196_608_u32.to_be_bytes().to_vec(); // protocol 3.0
    start.extend(b"user\0postgres\0database\0postgres\0\0");
    let length = u32::try_from(start.len() + 4)?.to_be_bytes();
    stream.write_all(&[length.as_slice(), &start].concat())?;
    finish(stream)?;
    Ok(())
}

fn message(kind: u8, body: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(body.len() + 4)?.to_be_bytes();
    Ok([&[kind], length.as_slice(), body].concat())
}

/// Runs SQL on its own connection; gives the first column of the last row.
fn query(address: SocketAddr, sql: &str) -> Result<Option<String>> {
    let mut stream = open(address)?;
    log_in(&mut stream)?;
    stream.write_all(&message(b'Q', format!("{sql}\0").as_bytes())?)?;
    finish(&mut stream)
}

/// Reads up to the server's readiness for the next query.
fn finish(stream: &mut TcpStream) -> Result<Option<String>> {
    let (mut bytes, mut row, mut failure) = (Vec::new(), None, None);
    let mut part = [0_u8; 4096];
    loop {
        while let Some((kind, body, size)) = postgres_message(&bytes) {
            match kind {
                b'D' => row = first_column(body).map(|text| String::from_utf8_lossy(text).into_owned()),
                b'E' => failure = Some(error_text(body)),
                b'Z' => return failure.map_or(Ok(row), |text| Err(format!("postgres: {text}").into())),
                _ => {}
            }
            bytes.drain(..size);
        }
        let read = stream.read(&mut part)?;
        if read == 0 {
            let text = failure.unwrap_or_else(|| "closed the connection".to_owned());
            return Err(format!("postgres: {text}").into());
        }
        bytes.extend_from_slice(part.get(..read).unwrap_or_default());
    }
}
