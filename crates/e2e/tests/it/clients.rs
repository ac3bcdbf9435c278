//! The client libraries of `clients/` against the real server: the README's tour, and a storm of calls over two kills.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tempfile::TempDir;
use tollgate_e2e::{Result, Server, Tollgate, tollgate};

/// Calls of a storm, and records beside them, unless `TOLLGATE_CLIENT_CALLS` says otherwise.
const CALLS: u64 = 500;

/// After how many tenths of the calls the server is killed.
const KILLS: [u32; 2] = [2, 6];

/// Held while Go compiles: a second build finds all in the cache.
static GO_BUILD: Mutex<()> = Mutex::new(());

/// A file or folder of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// What `cargo xtask tools` installed beside the binary.
pub(crate) fn tool(name: &str) -> Result<PathBuf> {
    let binary = tollgate()?;
    let folder =
        binary.ancestors().nth(2).ok_or("the binary lies in a target folder")?.join("tools").join(name);
    if folder.join("made-for").is_file() {
        return Ok(folder);
    }
    Err(format!("{} is not there: `cargo xtask tools` installs it", folder.display()).into())
}

/// A client library that can run its scripts.
struct Library {
    program: PathBuf,
    scripts: PathBuf,
    extension: &'static str,
    path: Option<PathBuf>,
    // Holds what was built.
    _folder: Option<TempDir>,
}

impl Library {
    fn python() -> Result<Self> {
        Ok(Self {
            program: tool("python-client")?.join("bin/python"),
            scripts: repository("clients/python/tests"),
            extension: "py",
            path: Some(repository("clients/python/src")),
            _folder: None,
        })
    }

    /// Compiles the library into a folder of its own, and puts its scripts beside it.
    fn typescript() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let modules = tool("typescript-client")?.join("node_modules");
        for part in ["src", "tests", "package.json", "tsconfig.json"] {
            symlink(repository("clients/typescript").join(part).canonicalize()?, folder.path().join(part))?;
        }
        symlink(&modules, folder.path().join("node_modules"))?;
        let mut compile = Command::new("node");
        compile.args(["--preserve-symlinks"]).arg(modules.join("typescript/bin/tsc"));
        compile.args(["--preserveSymlinks", "--project", "."]).current_dir(folder.path());
        finish(&mut compile)?;
        Ok(Self {
            program: "node".into(),
            scripts: folder.path().join("tests"),
            extension: "mjs",
            path: None,
            _folder: Some(folder),
        })
    }

    /// Builds the library's programs; what Go compiles is kept beside the tool.
    fn go() -> Result<Self> {
        let _one_build = GO_BUILD.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir()?;
        let go = tool("go")?;
        let mut build = Command::new(go.join("bin/go"));
        build.args(["build", "-o"]).arg(folder.path()).arg("./...").current_dir(repository("clients/go"));
        // Nothing is fetched: it has no dependencies.
        build.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
        build.env("GOCACHE", go.join("cache")).env("GOPATH", go.join("path"));
        finish(&mut build)?;
        Ok(Self {
            program: "env".into(),
            scripts: folder.path().to_owned(),
            extension: "",
            path: None,
            _folder: Some(folder),
        })
    }

    /// Its programs are examples of the workspace, which are built with its tests.
    fn rust() -> Result<Self> {
        let binary = tollgate()?;
        let scripts = binary.parent().ok_or("the binary lies in a folder")?.join("examples");
        if !scripts.join("storm").is_file() {
            let folder = scripts.display();
            let how = "`cargo build -p tollgate-client --examples` makes it";
            return Err(format!("there is no {folder}/storm: {how}").into());
        }
        Ok(Self { program: "env".into(), scripts, extension: "", path: None, _folder: None })
    }

    fn script(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        if self.extension == "mjs" {
            command.args(["--preserve-symlinks", "--preserve-symlinks-main"]);
        }
        command.arg(self.scripts.join(name).with_extension(self.extension)).args(args);
        if let Some(path) = &self.path {
            command.env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
        }
        command
    }
}

/// Runs a program to its end; gives what it printed.
pub(crate) fn finish(command: &mut Command) -> Result<String> {
    let run = command.output()?;
    let printed = String::from_utf8_lossy(&run.stdout).into_owned();
    if run.status.success() {
        return Ok(printed);
    }
    Err(format!("{command:?} ended with {}:\n{printed}{}", run.status, String::from_utf8_lossy(&run.stderr))
        .into())
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// The tour of the README, in the library's language.
fn tour(library: &Library) -> Result<()> {
    let _machine = super::beside_others();
    let folder = tempfile::tempdir()?;
    let server = Tollgate::serve_small(&folder.path().join("data"), 1 << 20).start()?;
    let printed = finish(&mut library.script("tour", &[&url(server.address())]))?;
    assert_eq!(printed, "done\n");
    server.stop()
}

/// A server on an address that it has had before.
fn restarted(data: &Path, address: SocketAddr) -> Result<Server> {
    let listen = address.to_string();
    let serve = Tollgate::command(&[
        "serve",
        "--listen",
        &listen,
        "--log-level",
        "warn",
        "--segment-bytes",
        "1048576",
    ]);
    serve.arg("--store").arg(format!("embedded:{}", data.display())).start()
}

/// Concurrent calls and a stream of records while the server is killed twice: each is counted once.
fn storm(library: &Library) -> Result<()> {
    let _machine = super::beside_others();
    let calls = super::given("TOLLGATE_CLIENT_CALLS").unwrap_or(CALLS);
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let mut server = Some(Tollgate::serve_small(&data, 1 << 20).start()?);
    let address = server.as_ref().map(Server::address).ok_or("a server")?;
    let mut storm = library.script("storm", &[&url(address), &calls.to_string()]);
    let mut child = storm.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("the script has an output")?;
    let (mut tenths, mut is_done) = (0, false);
    for line in BufReader::new(output).lines() {
        is_done |= line? == "done";
        tenths += 1;
        if KILLS.contains(&tenths) {
            server.take().ok_or("a server runs")?.kill()?;
            server = Some(restarted(&data, address)?);
        }
    }
    assert!(child.wait()?.success() && is_done, "the script ended before it was done");
    let server = server.ok_or("a server runs")?;
    let mut client = server.client();
    for org in ["acme", "globex"] {
        let balance = client.call("GET", &format!("/v1/orgs/{org}/balance"), None)?.json()?;
        let used = balance.pointer("/meters/api_call/lifetime").and_then(Value::as_u64);
        assert_eq!(used, Some(calls), "{org}: nothing is lost, nothing counted twice");
    }
    server.stop()?;
    super::assert_verified(&data);
    Ok(())
}

#[test]
fn the_python_client_runs_the_tour() -> Result<()> {
    let library = Library::python()?;
    let source = repository("clients/python/src");
    let mut check = Command::new(tool("python-client")?.join("bin/mypy"));
    let cache = tempfile::tempdir()?;
    check.args(["--strict", "--cache-dir"]).arg(cache.path()).arg(source.join("tollgate"));
    finish(check.arg(repository("clients/python/tests/tour.py")).env("MYPYPATH", &source))?;
    tour(&library)
}

#[test]
fn the_python_client_loses_and_doubles_nothing_over_kills() -> Result<()> {
    storm(&Library::python()?)
}

#[test]
fn the_go_client_runs_the_tour() -> Result<()> {
    tour(&Library::go()?)
}

#[test]
fn the_go_client_loses_and_doubles_nothing_over_kills() -> Result<()> {
    storm(&Library::go()?)
}

#[test]
fn the_rust_client_runs_the_tour() -> Result<()> {
    tour(&Library::rust()?)
}

#[test]
fn the_rust_client_loses_and_doubles_nothing_over_kills() -> Result<()> {
    storm(&Library::rust()?)
}

#[test]
fn the_typescript_client_runs_the_tour() -> Result<()> {
    tour(&Library::typescript()?)
}

#[test]
fn the_typescript_client_loses_and_doubles_nothing_over_kills() -> Result<()> {
    storm(&Library::typescript()?)
}
