//! Clients that generators make of the OpenAPI document: they type-check, and run the README's tour.

mod drift;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::server::TestServer;
use crate::tools::{run, tool};

/// A folder with the document and some files of this one.
fn workplace(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let document = tollgate_server::openapi_json();
    for (name, text) in files.iter().copied().chain([("openapi.json", document.as_str())]) {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

/// A program that runs in a folder.
fn within(folder: &Path, program: impl AsRef<Path>, args: &[&str]) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(args).current_dir(folder);
    command
}

fn url(server: &TestServer) -> String {
    format!("http://{}", server.address())
}

#[test]
fn a_typescript_client_is_made_of_the_document_and_runs_the_tour() {
    let folder = workplace(&[
        ("tour.mts", include_str!("tour.mts")),
        ("tsconfig.json", include_str!("tsconfig.json")),
    ]);
    let modules = tool("typescript-client").join("node_modules");
    symlink(&modules, folder.path().join("node_modules")).expect("a link");
    let node = |script: &str, args: &[&str]| {
        let script = modules.join(script).display().to_string();
        run(within(folder.path(), "node", &[&[script.as_str()], args].concat()))
    };
    node("openapi-typescript/bin/cli.js", &["openapi.json", "--output", "schema.d.ts"]);
    node("typescript/bin/tsc", &["--project", "."]);
    let server = TestServer::start();
    let said = run(within(folder.path(), "node", &["out/tour.mjs", &url(&server)]));
    assert_eq!(said, "done\n");
}

#[test]
fn a_python_client_is_made_of_the_document_and_runs_the_tour() {
    let folder = workplace(&[("tour.py", include_str!("tour.py")), ("config.yml", "post_hooks: []\n")]);
    let programs = tool("python-client").join("bin");
    let args = ["generate", "--path", "openapi.json", "--output-path", "tollgate_api", "--meta", "none"];
    let args = [&args[..], &["--config", "config.yml"]].concat();
    run(within(folder.path(), programs.join("openapi-python-client"), &args));
    run(within(folder.path(), programs.join("mypy"), &["--strict", "tour.py"]));
    let server = TestServer::start();
    let said = run(within(folder.path(), programs.join("python"), &["tour.py", &url(&server)]));
    assert_eq!(said, "done\n");
}
