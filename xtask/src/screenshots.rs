//! `screenshots`: every page of the console and the portal as a picture, of a demo, at two widths, light and dark.
//!
//! They are looked at by people: what a test can find, the tests in `crates/server/tests/it/console/` do.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::{env, fs, thread};

use crate::Result;
use crate::fuzz_http::url_in;
use crate::process::{cargo, root, run as run_command, say, target_folder};
use crate::test::{FEATURES, binary};
use crate::tools::{ensure, ensure_for_browser, find};

/// Builds the server, starts a demo and makes the pictures.
pub(crate) fn run() -> Result<()> {
    ensure("chromium", &["chromium"])?;
    let browser = ensure_for_browser()?;
    run_command(cargo(&["build", "--workspace", "--bins", "--features", FEATURES, "--locked"])?)?;
    let folder = target_folder()?.join("screenshots");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let (mut server, address) = demo()?;
    let mut node = Command::new("node");
    node.arg(root()?.join("xtask/src/screenshots.cjs"))
        .arg(&address)
        .arg(&folder)
        .env("NODE_PATH", browser.join("node_modules"))
        .env("CHROMIUM", find("chromium").ok_or("chromium is not on the path")?);
    let made = run_command(node);
    // In order, so that it takes its temporary folder along.
    let mut stop = Command::new("kill");
    stop.arg("-TERM").arg(server.id().to_string());
    run_command(stop)?;
    server.wait()?;
    made?;
    let count = fs::read_dir(&folder)?.count();
    say(&format!("screenshots: {count} in {}", folder.display()))
}

/// A demo on a port of its own, and its address.
fn demo() -> Result<(Child, String)> {
    let mut command = Command::new(binary()?);
    command.args(["serve", "--demo", "--listen", "127.0.0.1:0", "--allow-private-webhooks"]);
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("TOLLGATE_")) {
        command.env_remove(name);
    }
    let mut server = command.stderr(Stdio::piped()).spawn()?;
    let mut told = BufReader::new(server.stderr.take().ok_or("no standard error")?);
    let mut line = String::new();
    loop {
        line.clear();
        if told.read_line(&mut line)? == 0 {
            return Err(format!("the demo does not start ({})", server.wait()?).into());
        }
        if let Some(address) = url_in(&line).map(str::to_owned) {
            // Read to its end, or the server would wait for room to log.
            thread::spawn(move || io::copy(&mut told, &mut io::sink()));
            return Ok((server, address));
        }
    }
}
