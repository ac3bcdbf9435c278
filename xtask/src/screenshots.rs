//! `screenshots`: every page of the console and the portal as a picture, of a demo, at two widths, light and dark.
//!
//! They are looked at by people: what a test can find, the tests in `crates/server/tests/it/console/` do.

use std::process::Command;
use std::{fs, io};

use crate::Result;
use crate::process::{cargo, root, run as run_command, say, target_folder};
use crate::started::Started;
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
    let Started { mut process, url } = demo()?;
    let mut node = Command::new("node");
    node.arg(root()?.join("xtask/src/screenshots.cjs"))
        .arg(&url)
        .arg(&folder)
        .env("NODE_PATH", browser.join("node_modules"))
        .env("CHROMIUM", find("chromium").ok_or("chromium is not on the path")?);
    let made = run_command(node);
    // In order, so that it takes its temporary folder along.
    let mut stop = Command::new("kill");
    stop.arg("-TERM").arg(process.id().to_string());
    run_command(stop)?;
    process.wait()?;
    made?;
    let count = fs::read_dir(&folder)?.count();
    say(&format!("screenshots: {count} in {}", folder.display()))
}

/// A demo on a port of its own.
fn demo() -> Result<Started> {
    let mut command = Command::new(binary()?);
    command.args(["serve", "--demo", "--listen", "127.0.0.1:0", "--allow-private-webhooks"]);
    Started::start(command, io::sink())
}
